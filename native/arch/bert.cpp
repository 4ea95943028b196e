// BERT and its kin, XLM-RoBERTa, RoBERTa, ELECTRA and DistilBERT: post-norm encoder, head on the first token.
// Source: transformers modeling_xlm_roberta.py, modeling_bert.py, modeling_electra.py, modeling_distilbert.py, ...ForSequenceClassification.
#include "classifier.h"
#include "hyperparameters.h"
#include <algorithm>
#include <cmath>

namespace bge {
namespace {

struct Layer {
    Linear qkv;
    Linear q, kv; // in place of qkv in the last layer, which asks for the first token of each pair only
    PostNormLayer rest;
};

struct Bert : Architecture {
    ggml_tensor *token_embd, *position_embd, *token_types = nullptr;
    Norm embd_norm;
    Linear embd_proj;    // from n_table to n_embd; empty where they are the same
    int32_t n_table = 0; // width of the tables
    std::vector<Layer> layers;
    std::unique_ptr<Classifier> head;
    AttentionShape attn;
    cpu::Activation activation = cpu::Activation::gelu_erf;
    int32_t n_types = 0; // none in DistilBERT
    int32_t pad_id = -1;               // of a <pad> spelled in a text
    std::vector<float> pad_position;   // [n_table] its position embedding; empty = <pad> counts as any other token
    const uint8_t * position_rows;     // the table in the mapped file

    Bert(Weights & w) {
        const ModelFile & file = w.file();
        n_layer = n_layer_loaded = read_count(file, "bert.block_count", max_layers);
        n_embd = read_count(file, "bert.embedding_length", max_width);
        n_head = read_count(file, "bert.attention.head_count", max_heads);
        const int64_t n_ff = read_count(file, "bert.feed_forward_length", max_width);
        const float eps = read_positive(file, "bert.attention.layer_norm_epsilon");
        if (n_embd % n_head != 0) throw invalid(file, std::to_string(n_embd) + " hidden units do not divide into " + std::to_string(n_head) + " heads");
        head = std::make_unique<Classifier>(w, n_embd, "tanh", eps);
        activation = read_activation(file, "reranker.ffn.activation", "gelu_erf");

        n_vocab = read_rows(file, "token_embd.weight");
        n_ctx = read_rows(file, "position_embd.weight");
        n_heads = 1;
        n_table = read_width(file, "token_embd.weight");
        if (file.find("token_types.weight")) n_types = read_rows(file, "token_types.weight"); // llama.cpp stores a single one as a vector
        else if (!file.has("reranker.head.activation")) {
            throw Error("MODEL_UNSUPPORTED", file.path() + " has no token types, as DistilBERT, and does not say its head's activation (reranker.head.activation); "
                        "convert the checkpoint again with this package");
        }
        attn.n_head = attn.n_head_kv = n_head;
        attn.head_dim = n_embd / n_head;
        attn.scale = 1.0f / std::sqrt(float(attn.head_dim));

        token_embd = w.table("token_embd.weight", {n_table, n_vocab});
        position_embd = w.table("position_embd.weight", {n_table, n_ctx});
        if (n_types > 1) token_types = w.table("token_types.weight", {n_table, n_types});
        else if (n_types == 1) token_types = w.tensor("token_types.weight", {n_table});
        embd_norm = w.norm("token_embd_norm", n_table, eps, true);
        if (n_table != n_embd) embd_proj = w.linear("token_embd_proj", n_table, n_embd, true);
        layers.resize(n_layer);
        for (int32_t i = 0; i < n_layer; i++) {
            const std::string blk = "blk." + std::to_string(i) + ".";
            Layer & l = layers[i];
            if (i < n_layer - 1) {
                l.qkv = w.linear({blk + "attn_q", blk + "attn_k", blk + "attn_v"}, n_embd, {n_embd, n_embd, n_embd}, true);
            } else {
                l.q = w.linear(blk + "attn_q", n_embd, n_embd, true);
                l.kv = w.linear({blk + "attn_k", blk + "attn_v"}, n_embd, {n_embd, n_embd}, true);
            }
            l.rest.attn_output = w.linear(blk + "attn_output", n_embd, n_embd, true);
            l.rest.attn_norm = w.norm(blk + "attn_output_norm", n_embd, eps, true);
            l.rest.ffn_up = w.linear(blk + "ffn_up", n_embd, n_ff, true);
            l.rest.ffn_down = w.linear(blk + "ffn_down", n_ff, n_embd, true);
            l.rest.ffn_norm = w.norm(blk + "layer_output_norm", n_embd, eps, true);
            l.rest.activation = activation;
        }
        position_rows = file.data_of("position_embd.weight");
        if (file.has("reranker.position.pad_row") && file.has("tokenizer.ggml.padding_token_id")) {
            pad_position = file.floats("reranker.position.pad_row");
            pad_id = int32_t(file.u32("tokenizer.ggml.padding_token_id"));
            if (pad_position.size() != size_t(n_table)) throw invalid(file, "reranker.position.pad_row should have " + std::to_string(n_table) + " values");
        }
    }

    // Position embeddings [n_table, n_tokens].
    ggml_tensor * build_positions(GraphBuilder & g, const Ubatch & ubatch) const {
        if (pad_position.empty() || std::find(ubatch.ids.begin(), ubatch.ids.end(), pad_id) == ubatch.ids.end()) {
            return g.look_up(position_embd, ubatch.rows.positions());
        }
        // XLM-R numbers positions by counting tokens that are not <pad>, and gives <pad> a position of its own. Rare, so
        // the rows are gathered here. Source: modeling_xlm_roberta.py create_position_ids_from_input_ids.
        std::vector<float> rows(size_t(n_table) * ubatch.n_tokens());
        const size_t row_bytes = ggml_row_size(position_embd->type, n_table);
        const auto to_float = ggml_get_type_traits(position_embd->type)->to_float;
        for (const Span & span : ubatch.rows.spans) {
            int32_t position = 0;
            for (int32_t i = span.begin; i < span.begin + span.n; i++) {
                float * row = rows.data() + size_t(i) * n_table;
                const uint8_t * source = position_rows + row_bytes * position;
                if (ubatch.ids[i] == pad_id) std::copy(pad_position.begin(), pad_position.end(), row);
                else if (position_embd->type == GGML_TYPE_F32) std::copy_n(reinterpret_cast<const float *>(source), n_table, row);
                else to_float(source, row, n_table);
                position += ubatch.ids[i] != pad_id;
            }
        }
        return g.input(std::move(rows), n_table, ubatch.n_tokens());
    }

    // x [n_embd, n_tokens]; the last layer computes the first token of each pair only, which is all the head reads.
    ggml_tensor * build_layer(GraphBuilder & g, const Layer & l, ggml_tensor * x, const Rows & rows, Pick pick) const {
        const Linear & source = pick == Pick::all ? l.qkv : l.kv;
        AttentionShape shape = attn;
        shape.codes = source.packed && source.packed.is_int8();
        if (pick == Pick::all) return g.post_norm(l.rest, g.self_attention(shape, l.qkv, x, rows), x);
        const std::vector<ggml_tensor *> kv = g.linear_parts(l.kv, x);
        x = g.select(x, rows, pick);
        return g.post_norm(l.rest, g.attention(shape, g.linear(l.q, x), kv[0], kv[1], rows, pick), x);
    }

    Forward build(GraphBuilder & g, const Ubatch & ubatch, const ScoreParams &) const override {
        ggml_tensor * x = g.look_up(token_embd, ubatch.ids);
        x = ggml_add(g.ctx(), x, build_positions(g, ubatch));
        if (n_types > 1) x = ggml_add(g.ctx(), x, g.look_up(token_types, ubatch.token_types));
        else if (n_types == 1) x = ggml_add(g.ctx(), x, token_types);
        x = g.layer_norm(embd_norm, x);
        if (n_table != n_embd) x = g.linear(embd_proj, x);
        for (int32_t i = 0; i < n_layer; i++) x = build_layer(g, layers[i], x, ubatch.rows, i == n_layer - 1 ? Pick::first : Pick::all);
        Forward out;
        out.logits = head->build(g, x);
        return out;
    }
};

} // namespace

std::unique_ptr<Architecture> load_bert(Weights & weights, const ArchitectureOptions &) { return std::make_unique<Bert>(weights); }

} // namespace bge
