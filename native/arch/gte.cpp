// GTE, the encoder behind gte-multilingual: BERT with rotary positions, packed q, k and v, and a gated feed-forward block.
// Source: text-embeddings-inference backends/candle/src/models/gte.rs; transformers modeling_gte.py.
#include "classifier.h"
#include "hyperparameters.h"
#include <cmath>

namespace bge {
namespace {

struct Layer {
    Linear qkv, attn_output, ffn_down;
    GatedLinear ffn;
    Norm attn_norm, ffn_norm;
};

struct Gte : Architecture {
    ggml_tensor *token_embd, *token_types = nullptr;
    int32_t n_types = 0;
    Norm embd_norm;
    std::vector<Layer> layers;
    std::unique_ptr<Classifier> head;
    AttentionShape attn;
    cpu::RopeFrequencies rope;
    cpu::Activation activation;

    Gte(Weights & w) {
        const ModelFile & file = w.file();
        n_layer = n_layer_loaded = read_count(file, "gte.block_count", max_layers);
        n_embd = read_count(file, "gte.embedding_length", max_width);
        n_head = read_count(file, "gte.attention.head_count", max_heads);
        const int64_t n_ff = read_count(file, "gte.feed_forward_length", max_width);
        const float eps = read_positive(file, "gte.attention.layer_norm_epsilon");
        if (n_embd % n_head != 0 || n_embd / n_head % 2 != 0) {
            throw invalid(file, std::to_string(n_embd) + " hidden units do not divide into " + std::to_string(n_head) + " heads of an even width");
        }
        head = std::make_unique<Classifier>(w, n_embd, "tanh", eps);
        attn.n_head = attn.n_head_kv = n_head;
        attn.head_dim = n_embd / n_head;
        attn.scale = 1.0f / std::sqrt(float(attn.head_dim));
        rope.theta = read_positive(file, "gte.rope.freq_base");
        if (file.has("gte.rope.scaling.factor")) rope.scale = 1.0f / read_positive(file, "gte.rope.scaling.factor");
        activation = read_activation(file, "reranker.ffn.activation", "gelu_erf");
        n_vocab = read_rows(file, "token_embd.weight");
        n_heads = 1;

        token_embd = w.table("token_embd.weight", {n_embd, n_vocab});
        if (file.find("token_types.weight")) {
            n_types = read_rows(file, "token_types.weight");
            token_types = n_types > 1 ? w.table("token_types.weight", {n_embd, n_types}) : w.tensor("token_types.weight", {n_embd});
        }
        embd_norm = w.norm("token_embd_norm", n_embd, eps, true);
        layers.resize(size_t(n_layer));
        for (int32_t i = 0; i < n_layer; i++) {
            const std::string blk = "blk." + std::to_string(i) + ".";
            Layer & l = layers[size_t(i)];
            l.qkv = w.linear_of_rows(blk + "attn_qkv", n_embd, {n_embd, n_embd, n_embd}, true);
            l.attn_output = w.linear(blk + "attn_output", n_embd, n_embd, true);
            l.attn_norm = w.norm(blk + "attn_output_norm", n_embd, eps, true);
            l.ffn = w.gated_of_rows(blk + "ffn_up", n_embd, n_ff, FirstHalf::up, false);
            l.ffn_down = w.linear(blk + "ffn_down", n_ff, n_embd, true);
            l.ffn_norm = w.norm(blk + "layer_output_norm", n_embd, eps, true);
        }
    }

    ggml_tensor * build_layer(GraphBuilder & g, const Layer & l, ggml_tensor * x, const Rows & rows, Pick pick) const {
        AttentionShape shape = attn;
        shape.codes = l.qkv.packed && l.qkv.packed.is_int8();
        const auto turned = [&](ggml_tensor * heads, Pick of) { return g.rope(heads, positions(rows, of), n_head, attn.head_dim, rope, cpu::RopeStyle::halves); };

        const std::vector<ggml_tensor *> qkv = g.linear_parts(l.qkv, x);
        ggml_tensor * mixed = g.attention(shape, turned(g.select(qkv[0], rows, pick), pick), turned(qkv[1], Pick::all), qkv[2], rows, pick);
        x = g.layer_norm(l.attn_norm, g.linear(l.attn_output, mixed, {cpu::Activation::none, g.select(x, rows, pick), 1.0f}));
        return g.layer_norm(l.ffn_norm, g.feed_forward(l.ffn, l.ffn_down, x, activation, {cpu::Activation::none, x, 1.0f}));
    }

    Forward build(GraphBuilder & g, const Ubatch & ubatch, const ScoreParams &) const override {
        ggml_tensor * x = g.look_up(token_embd, ubatch.ids);
        if (n_types > 1) x = ggml_add(g.ctx(), x, g.look_up(token_types, ubatch.token_types));
        else if (n_types == 1) x = ggml_add(g.ctx(), x, token_types);
        x = g.layer_norm(embd_norm, x);
        for (int32_t i = 0; i < n_layer; i++) x = build_layer(g, layers[size_t(i)], x, ubatch.rows, i == n_layer - 1 ? Pick::first : Pick::all);
        Forward out;
        out.logits = head->build(g, x);
        return out;
    }
};

} // namespace

std::unique_ptr<Architecture> load_gte(Weights & weights, const ArchitectureOptions &) { return std::make_unique<Gte>(weights); }

} // namespace bge
