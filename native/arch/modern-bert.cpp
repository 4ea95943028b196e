// ModernBERT: pre-norm encoder without position embeddings, whose layers see all tokens or a window around each.
// Source: transformers modeling_modernbert.py ModernBertForSequenceClassification; sentence-transformers' modules Pooling, Dense
// and LayerNorm on ModernBertModel, which are the same head under other names.
#include "classifier.h"
#include "hyperparameters.h"
#include <cmath>

namespace bge {
namespace {

struct Layer {
    Norm attn_norm, ffn_norm; // the first layer has no attn_norm
    Linear qkv, attn_output, ffn_down;
    GatedLinear ffn;
    bool is_global = true;
};

struct ModernBert : Architecture {
    ggml_tensor * token_embd;
    Norm embd_norm, output_norm;
    std::vector<Layer> layers;
    std::unique_ptr<Classifier> head;
    AttentionShape attn;
    int window; // of local layers, as AttentionShape counts
    cpu::RopeFrequencies global_rope, local_rope;
    cpu::Activation activation;
    bool mean; // of all tokens, or the first one's state

    ModernBert(Weights & w) {
        const ModelFile & file = w.file();
        const std::string name = "modern-bert";
        n_layer = n_layer_loaded = read_count(file, name + ".block_count", max_layers);
        n_embd = read_count(file, name + ".embedding_length", max_width);
        n_head = read_count(file, name + ".attention.head_count", max_heads);
        const int64_t n_ff = read_count(file, name + ".feed_forward_length", max_width);
        const float eps = read_positive(file, name + ".attention.layer_norm_epsilon");
        if (n_embd % n_head != 0 || n_embd / n_head % 2 != 0) {
            throw invalid(file, std::to_string(n_embd) + " hidden units do not divide into " + std::to_string(n_head) + " heads of an even width");
        }
        head = std::make_unique<Classifier>(w, n_embd, "gelu_erf", eps);
        mean = read_pooling(file);
        attn.n_head = attn.n_head_kv = n_head;
        attn.head_dim = n_embd / n_head;
        attn.scale = 1.0f / std::sqrt(float(attn.head_dim));
        // The key counts the tokens on both sides: half of them to each, rounded down.
        window = read_count(file, name + ".attention.sliding_window", max_width) / 2 + 1;
        global_rope.theta = read_positive(file, name + ".rope.freq_base");
        local_rope.theta = read_positive(file, name + ".rope.freq_base_swa");
        activation = read_activation(file, "reranker.ffn.activation", "gelu_erf");
        const std::vector<bool> local = read_local_layers(file, name + ".attention.sliding_window_pattern");
        n_vocab = read_rows(file, "token_embd.weight");
        n_heads = 1;

        token_embd = w.table("token_embd.weight", {n_embd, n_vocab});
        embd_norm = w.norm("token_embd_norm", n_embd, eps, w.has_bias("token_embd_norm"));
        layers.resize(size_t(n_layer));
        for (int32_t i = 0; i < n_layer; i++) {
            const std::string blk = "blk." + std::to_string(i) + ".";
            Layer & l = layers[size_t(i)];
            const auto linear = [&](const std::string & part, int64_t n_in, int64_t n_out) { return w.linear(blk + part, n_in, n_out, w.has_bias(blk + part)); };
            const auto norm = [&](const std::string & part) { return w.norm(blk + part, n_embd, eps, w.has_bias(blk + part)); };
            l.is_global = !local[size_t(i)];
            if (i > 0) l.attn_norm = norm("attn_norm");
            l.qkv = w.linear_of_rows(blk + "attn_qkv", n_embd, {n_embd, n_embd, n_embd}, w.has_bias(blk + "attn_qkv"));
            l.attn_output = linear("attn_output", n_embd, n_embd);
            l.ffn_norm = norm("ffn_norm");
            l.ffn = w.gated_of_rows(blk + "ffn_up", n_embd, n_ff, FirstHalf::gate, w.has_bias(blk + "ffn_up"));
            l.ffn_down = linear("ffn_down", n_ff, n_embd);
        }
        output_norm = w.norm("output_norm", n_embd, eps, w.has_bias("output_norm"));
    }

    // llama.cpp takes the mean for every file and does not write down what the checkpoint asks for, so that its word is not enough.
    static bool read_pooling(const ModelFile & file) {
        if (!file.has("reranker.pooling") && is_gte(file)) return true;
        if (!file.has("reranker.pooling")) {
            throw Error("MODEL_UNSUPPORTED", file.path() + " does not say whether its head reads the first token or the mean of all (reranker.pooling); "
                        "convert the checkpoint again with this package");
        }
        const std::string pooling = file.text("reranker.pooling");
        if (pooling != "mean" && pooling != "cls") throw Error("MODEL_UNSUPPORTED", file.path() + ": unknown reranker.pooling " + shortened(pooling));
        return pooling == "mean";
    }

    // The one published reranker of this class; its config.json says `classifier_pooling: mean`.
    static bool is_gte(const ModelFile & file) {
        std::string name = file.text("general.name", "");
        for (char & c : name) c = c == ' ' || c == '_' ? '-' : char(std::tolower(static_cast<unsigned char>(c)));
        return name.find("gte-reranker-modernbert-base") != std::string::npos;
    }

    // A number n: every nth layer is global, from the first on. Or which layers are local, one by one.
    std::vector<bool> read_local_layers(const ModelFile & file, const std::string & key) const {
        std::vector<bool> out;
        if (file.is_array(key)) {
            out = file.booleans(key);
            if (out.size() != size_t(n_layer)) throw invalid(file, key + " should have " + std::to_string(n_layer) + " values, found " + std::to_string(out.size()));
            return out;
        }
        const int32_t period = read_count(file, key, max_layers);
        for (int32_t i = 0; i < n_layer; i++) out.push_back(i % period != 0);
        return out;
    }

    ggml_tensor * build_layer(GraphBuilder & g, const Layer & l, ggml_tensor * x, const Rows & rows, Pick pick) const {
        AttentionShape shape = attn;
        if (!l.is_global) shape.window = window;
        shape.codes = l.qkv.packed && l.qkv.packed.is_int8();
        const cpu::RopeFrequencies & rope = l.is_global ? global_rope : local_rope;
        const auto turned = [&](ggml_tensor * heads, Pick of) { return g.rope(heads, positions(rows, of), n_head, attn.head_dim, rope, cpu::RopeStyle::halves); };

        const std::vector<ggml_tensor *> qkv = g.linear_parts(l.qkv, l.attn_norm.weight ? g.layer_norm(l.attn_norm, x) : x);
        ggml_tensor * mixed = g.attention(shape, turned(g.select(qkv[0], rows, pick), pick), turned(qkv[1], Pick::all), qkv[2], rows, pick);
        x = g.linear(l.attn_output, mixed, {cpu::Activation::none, g.select(x, rows, pick), 1.0f});
        return g.feed_forward(l.ffn, l.ffn_down, g.layer_norm(l.ffn_norm, x), activation, {cpu::Activation::none, x, 1.0f});
    }

    Forward build(GraphBuilder & g, const Ubatch & ubatch, const ScoreParams &) const override {
        ggml_tensor * x = g.layer_norm(embd_norm, g.look_up(token_embd, ubatch.ids));
        for (int32_t i = 0; i < n_layer; i++) x = build_layer(g, layers[size_t(i)], x, ubatch.rows, i == n_layer - 1 && !mean ? Pick::first : Pick::all);
        x = g.layer_norm(output_norm, x);
        Forward out;
        out.logits = head->build(g, mean ? g.mean(x, ubatch.rows) : x);
        return out;
    }
};

} // namespace

std::unique_ptr<Architecture> load_modern_bert(Weights & weights, const ArchitectureOptions &) { return std::make_unique<ModernBert>(weights); }

} // namespace bge
