#include "decoder.h"
#include <algorithm>

namespace bge {

static cpu::RopeStyle read_rope_layout(const ModelFile & file, const std::string & fallback) {
    const std::string name = file.text("reranker.rope.layout", fallback);
    if (name == "neox") return cpu::RopeStyle::halves;
    if (name == "normal") return cpu::RopeStyle::pairs;
    throw Error("MODEL_UNSUPPORTED", file.path() + ": unknown reranker.rope.layout " + shortened(name));
}

static AttentionShape read_attention(const ModelFile & file, const std::string & name, int32_t n_embd) {
    AttentionShape out;
    out.causal = true;
    out.n_head = read_count(file, name + ".attention.head_count", max_heads);
    const std::string n_head_kv = name + ".attention.head_count_kv", key_length = name + ".attention.key_length";
    out.n_head_kv = file.has(n_head_kv) ? read_count(file, n_head_kv, max_heads) : out.n_head;
    if (file.has(key_length)) out.head_dim = read_count(file, key_length, max_width);
    else if (n_embd % out.n_head == 0) out.head_dim = n_embd / out.n_head;
    if (out.head_dim < 2 || out.head_dim % 2 != 0 || out.n_head % out.n_head_kv != 0) {
        throw invalid(file, std::to_string(out.n_head) + " heads of " + std::to_string(out.head_dim) + " over " + std::to_string(out.n_head_kv) +
                      " key heads: a head should have an even width and the heads divide evenly");
    }
    const uint32_t width = uint32_t(out.head_dim);
    if (file.u32(name + ".attention.value_length", width) != width || file.u32(name + ".rope.dimension_count", width) != width) {
        throw Error("MODEL_UNSUPPORTED", file.path() + ": keys, values and rotated dimensions of a head should all be " + std::to_string(width));
    }
    return out;
}

Decoder::Decoder(Weights & w, const std::string & name, int32_t max_layer, const Defaults & defaults) {
    const ModelFile & file = w.file();
    causal = resumable = true;
    n_layer = read_count(file, name + ".block_count", max_layers);
    n_layer_loaded = max_layer > 0 ? std::min(max_layer, n_layer) : n_layer;
    n_embd = read_count(file, name + ".embedding_length", max_width);
    const int64_t n_ff = read_count(file, name + ".feed_forward_length", max_width);
    attn = read_attention(file, name, n_embd);
    n_head = attn.n_head;
    n_embd_kv = attn.n_head_kv * attn.head_dim;
    n_heads = 1;
    const float eps = read_positive(file, name + ".attention.layer_norm_rms_epsilon");
    rope_theta = file.has(name + ".rope.freq_base") ? read_positive(file, name + ".rope.freq_base") : 10000.0f;
    rope_style = read_rope_layout(file, defaults.rope_layout);
    activation = read_activation(file, "reranker.ffn.activation", defaults.activation);
    n_vocab = read_rows(file, "token_embd.weight");

    token_embd = w.table("token_embd.weight", {n_embd, n_vocab});
    const int64_t n_q = int64_t(attn.n_head) * attn.head_dim, n_kv = int64_t(attn.n_head_kv) * attn.head_dim;
    layers.resize(size_t(n_layer_loaded));
    for (int32_t i = 0; i < n_layer_loaded; i++) {
        const std::string blk = "blk." + std::to_string(i) + ".";
        DecoderLayer & l = layers[size_t(i)];
        l.attn_norm = w.norm(blk + "attn_norm", n_embd, eps, false);
        l.qkv = w.linear({blk + "attn_q", blk + "attn_k", blk + "attn_v"}, n_embd, {n_q, n_kv, n_kv}, defaults.qkv_bias);
        if (defaults.head_norms) {
            l.q_norm = w.norm(blk + "attn_q_norm", attn.head_dim, eps, false);
            l.k_norm = w.norm(blk + "attn_k_norm", attn.head_dim, eps, false);
        }
        l.attn_output = w.linear(blk + "attn_output", n_q, n_embd, false);
        l.ffn_norm = w.norm(blk + "ffn_norm", n_embd, eps, false);
        l.ffn = w.gated(blk + "ffn_gate", blk + "ffn_up", n_embd, n_ff);
        l.ffn_down = w.linear(blk + "ffn_down", n_ff, n_embd, false);
    }
    output_norm = w.norm("output_norm", n_embd, eps, false);
}

void Decoder::load_heads(Weights & w) {
    const ggml_tensor * meta = w.file().find("reranker.head.weight");
    if (!meta) {
        throw Error("MODEL_UNSUPPORTED", w.file().path() + " has no score heads (reranker.head.weight): it is a language model, or was converted without them; "
                    "convert the checkpoint again with this package");
    }
    if (meta->ne[1] > max_layers) throw invalid(w.file(), "more score heads than a model can have layers");
    n_heads = int32_t(meta->ne[1]);
    heads = w.rows("reranker.head.weight", n_embd, 0, n_heads);
}

// The score is a weighted sum of the labels' logits, and so the product with one row: the same sum of their rows.
void Decoder::load_labels(Weights & w, const std::vector<float> & weights) {
    const ModelFile & file = w.file();
    if (!file.find("cls.output.weight")) {
        throw Error("MODEL_UNSUPPORTED", file.path() + " has no score head (cls.output.weight): it is a language model; convert the checkpoint with this package");
    }
    const int32_t n_labels = read_rows(file, "cls.output.weight");
    if (size_t(n_labels) != weights.size()) throw invalid(file, "cls.output.weight has " + std::to_string(n_labels) + " labels, weighted are " + std::to_string(weights.size()));
    const std::vector<float> rows = w.rows("cls.output.weight", n_embd, 0, n_labels);
    heads.resize(size_t(n_embd));
    for (size_t i = 0; i < heads.size(); i++) {
        double sum = 0;
        for (size_t label = 0; label < weights.size(); label++) sum += double(weights[label]) * rows[label * heads.size() + i];
        heads[i] = float(sum);
    }
}

ggml_tensor * Decoder::attend(GraphBuilder & g, int32_t i, const AttentionShape & shape, ggml_tensor * h, const Rows & rows, Pick pick) const {
    const DecoderLayer & layer = layers[size_t(i)];
    const std::vector<ggml_tensor *> qkv = g.linear_parts(layer.qkv, h);
    ggml_tensor *q = g.select(qkv[0], rows, pick), *k = qkv[1];
    if (layer.q_norm.weight) {
        q = g.head_norm(layer.q_norm, q, shape.n_head);
        k = g.head_norm(layer.k_norm, k, shape.n_head_kv);
    }
    q = g.rope(q, positions(rows, pick), shape.n_head, shape.head_dim, rope_theta, rope_style);
    k = g.rope(k, positions(rows, Pick::all), shape.n_head_kv, shape.head_dim, rope_theta, rope_style);
    k = g.with_kept_rows(k, rows, i, KeyRows::Kind::keys);
    AttentionShape own = shape;
    own.codes = layer.qkv.packed && layer.qkv.packed.is_int8();
    return g.attention(own, q, k, g.with_kept_rows(qkv[2], rows, i, KeyRows::Kind::values), rows, pick);
}

// The head's product with the normed last row of each scored sequence. `pick` says which rows x still has.
ggml_tensor * Decoder::score(GraphBuilder & g, ggml_tensor * x, const Rows & rows, Pick pick, int32_t head) const {
    if (pick == Pick::all) x = g.select(x, rows, Pick::last);
    const float * weight = heads.data() + size_t(head) * n_embd;
    ggml_tensor * logits = ggml_mul_mat(g.ctx(), g.input(std::vector<float>(weight, weight + n_embd), n_embd, 1), g.rms_norm(output_norm, x)); // [1, n_seqs]
    ggml_mul_mat_set_prec(logits, GGML_PREC_F32);
    return finish_score(g, ggml_reshape_2d(g.ctx(), logits, x->ne[1], 1));
}

// A cutoff k reads the state after k layers, before tokens are merged at k. Source: FlagEmbedding gemma_model.py,
// CostWiseGemmaModel.forward, and modeling_minicpm_reranker.py, LayerWiseMiniCPMModel.forward.
Forward Decoder::build(GraphBuilder & g, const Ubatch & ubatch, const ScoreParams & params) const {
    const std::vector<int32_t> last = {n_layer_loaded};
    const std::vector<int32_t> & cutoffs = params.cutoff_layers.empty() ? last : params.cutoff_layers;
    const auto merges_at = [&](int32_t i) {
        return i > 0 && params.compress_ratio > 1 && std::count(params.compress_layers.begin(), params.compress_layers.end(), i) > 0;
    };
    Forward out;
    Rows rows = ubatch.rows;
    Pick pick = Pick::all;
    ggml_tensor * x = ubatch.first_layer > 0 ? g.input(ubatch.states, n_embd, rows.n_rows)
                                             : ggml_scale(g.ctx(), g.look_up(token_embd, ubatch.ids), embedding_scale);
    std::vector<ggml_tensor *> scores;
    for (int32_t i = ubatch.first_layer;; i++) {
        for (size_t c = 0; c < cutoffs.size(); c++) {
            if (cutoffs[c] == i) scores.push_back(score(g, x, rows, pick, params.heads.empty() ? 0 : params.heads[c]));
        }
        if (i == cutoffs.back()) break;
        if (merges_at(i)) x = g.merge_documents(x, rows, params.compress_ratio);
        // Of the last layer only what the head reads is computed.
        pick = i + 1 == cutoffs.back() && !ubatch.keep_states ? Pick::last : Pick::all;
        x = build_layer(g, i, x, rows, pick, params);
    }
    out.logits = g.concat_rows(std::move(scores));
    if (ubatch.keep_states) out.states = x;
    out.rows = std::move(rows);
    return out;
}

} // namespace bge
