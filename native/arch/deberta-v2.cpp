// DeBERTa-v2 and -v3: BERT whose attention also counts how far apart two tokens stand. No position embeddings, no token types.
// Source: transformers modeling_deberta_v2.py DebertaV2ForSequenceClassification.
#include "classifier.h"
#include "hyperparameters.h"
#include <algorithm>
#include <cmath>

namespace bge {
namespace {

struct Layer {
    Linear q, k, v; // q and k also read the table of distances
    PostNormLayer rest;
};

struct DebertaV2 : Architecture {
    ggml_tensor *token_embd, *distance_embd; // [n_embd, 2 * n_buckets]: the middle row is distance 0
    Norm embd_norm, distance_norm;
    std::vector<Layer> layers;
    std::unique_ptr<Classifier> head;
    AttentionShape attn;
    cpu::Activation activation;
    int32_t n_buckets;       // rows of the table to each side
    int32_t max_distance;    // the last bucket begins here
    bool has_log_buckets;    // else every distance has a row of its own

    DebertaV2(Weights & w) {
        const ModelFile & file = w.file();
        const std::string name = "deberta-v2";
        n_layer = n_layer_loaded = read_count(file, name + ".block_count", max_layers);
        n_embd = read_count(file, name + ".embedding_length", max_width);
        n_head = read_count(file, name + ".attention.head_count", max_heads);
        const int64_t n_ff = read_count(file, name + ".feed_forward_length", max_width);
        const float eps = read_positive(file, name + ".attention.layer_norm_epsilon");
        if (n_embd % n_head != 0) throw invalid(file, std::to_string(n_embd) + " hidden units do not divide into " + std::to_string(n_head) + " heads");
        head = std::make_unique<Classifier>(w, n_embd, "gelu_erf", eps);
        attn.n_head = attn.n_head_kv = n_head;
        attn.head_dim = n_embd / n_head;
        attn.scale = 1.0f / std::sqrt(3.0f * float(attn.head_dim)); // three terms: q·k and two of distances
        activation = read_activation(file, "reranker.ffn.activation", "gelu_erf");
        max_distance = read_count(file, "reranker.relative.max_distance", max_width);
        has_log_buckets = file.u32("reranker.relative.buckets") > 0;
        n_buckets = has_log_buckets ? read_count(file, "reranker.relative.buckets", max_width) : max_distance;
        if (has_log_buckets && (n_buckets < 4 || max_distance <= n_buckets / 2 + 1)) {
            throw invalid(file, "reranker.relative.buckets and .max_distance leave no distance for the outer buckets");
        }
        n_vocab = read_rows(file, "token_embd.weight");
        n_heads = 1;

        token_embd = w.table("token_embd.weight", {n_embd, n_vocab});
        embd_norm = w.norm("token_embd_norm", n_embd, eps, true);
        distance_embd = w.table("relative_embd.weight", {n_embd, 2 * n_buckets});
        distance_norm = w.norm("relative_embd_norm", n_embd, eps, true);
        layers.resize(size_t(n_layer));
        for (int32_t i = 0; i < n_layer; i++) {
            const std::string blk = "blk." + std::to_string(i) + ".";
            Layer & l = layers[size_t(i)];
            l.q = w.linear(blk + "attn_q", n_embd, n_embd, true);
            l.k = w.linear(blk + "attn_k", n_embd, n_embd, true);
            l.v = w.linear(blk + "attn_v", n_embd, n_embd, true);
            l.rest.attn_output = w.linear(blk + "attn_output", n_embd, n_embd, true);
            l.rest.attn_norm = w.norm(blk + "attn_output_norm", n_embd, eps, true);
            l.rest.ffn_up = w.linear(blk + "ffn_up", n_embd, n_ff, true);
            l.rest.ffn_down = w.linear(blk + "ffn_down", n_ff, n_embd, true);
            l.rest.ffn_norm = w.norm(blk + "layer_output_norm", n_embd, eps, true);
            l.rest.activation = activation;
        }
    }

    // Near distances have a bucket each, far ones share them by their logarithm. Source: make_log_bucket_position.
    int32_t bucket(int32_t distance) const {
        const int32_t middle = n_buckets / 2, size = std::abs(distance);
        if (!has_log_buckets || size <= middle) return distance;
        const double outer = std::ceil(std::log(double(size) / middle) / std::log(double(max_distance - 1) / middle) * (middle - 1));
        return distance < 0 ? -int32_t(outer) - middle : int32_t(outer) + middle;
    }

    // The row of the table for a distance.
    int32_t table_row(int32_t distance) const { return std::min(std::max(bucket(distance) + n_buckets, 0), 2 * n_buckets - 1); }

    // The rows that the longest sequence needs, counted from the first of them.
    Distances distances(const Rows & rows, std::vector<int32_t> & table_rows) const {
        Distances out;
        for (const Span & span : rows.spans) out.max_distance = std::max(out.max_distance, span.n - 1);
        const int32_t first = table_row(-out.max_distance);
        std::vector<int32_t> row;
        for (int32_t d = -out.max_distance; d <= out.max_distance; d++) row.push_back(table_row(d) - first);
        out.n_rows = row.back() + 1;
        for (int32_t i = 0; i < out.n_rows; i++) table_rows.push_back(first + i);
        out.row = std::make_shared<const std::vector<int32_t>>(std::move(row));
        return out;
    }

    ggml_tensor * build_layer(GraphBuilder & g, const Layer & l, ggml_tensor * x, ggml_tensor * table, const Distances & distances, const Rows & rows, Pick pick) const {
        const RelativePositions relative = {&distances, g.linear(l.q, table), g.linear(l.k, table)};
        ggml_tensor *k = g.linear(l.k, x), *v = g.linear(l.v, x);
        x = g.select(x, rows, pick);
        return g.post_norm(l.rest, g.attention(attn, g.linear(l.q, x), k, v, rows, pick, &relative), x);
    }

    Forward build(GraphBuilder & g, const Ubatch & ubatch, const ScoreParams &) const override {
        std::vector<int32_t> table_rows;
        const Distances distances = this->distances(ubatch.rows, table_rows);
        ggml_tensor * table = g.layer_norm(distance_norm, g.look_up(distance_embd, table_rows)); // [n_embd, distances.n_rows]
        ggml_tensor * x = g.layer_norm(embd_norm, g.look_up(token_embd, ubatch.ids));
        for (int32_t i = 0; i < n_layer; i++) x = build_layer(g, layers[size_t(i)], x, table, distances, ubatch.rows, i == n_layer - 1 ? Pick::first : Pick::all);
        Forward out;
        out.logits = head->build(g, x);
        return out;
    }
};

} // namespace

std::unique_ptr<Architecture> load_deberta_v2(Weights & weights, const ArchitectureOptions &) { return std::make_unique<DebertaV2>(weights); }

} // namespace bge
