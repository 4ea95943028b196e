// Gemma 2 with score heads and token compression, as bge-reranker-v2.5-gemma2-lightweight is, or with a classifier.
// Source: FlagEmbedding inference/reranker/decoder_only/models/gemma_model.py CostWiseGemmaForCausalLM over the layers
// of transformers 4.46 modeling_gemma2.py; Gemma2ForSequenceClassification of 4.57, which has no final cap.
#include "decoder.h"
#include <cmath>

namespace bge {
namespace {

struct Gemma2 : Decoder {
    struct PostNorms { Norm attn, ffn; }; // on the way back into the residual stream
    std::vector<PostNorms> post_norms;
    int32_t window;
    float attention_cap, final_cap; // 0 = none

    Gemma2(Weights & w, const ArchitectureOptions & options) : Decoder(w, "gemma2", options.max_layer, {"gelu_tanh", "neox"}) {
        const ModelFile & file = w.file();
        attn.scale = read_positive(file, "gemma2.attention.scale"); // not always 1 / sqrt(head_dim)
        embedding_scale = std::sqrt(float(n_embd));
        window = read_count(file, "gemma2.attention.sliding_window", INT32_MAX);
        attention_cap = cap(file, "gemma2.attn_logit_softcapping");
        final_cap = cap(file, "gemma2.final_logit_softcapping");
        const float eps = layers[0].attn_norm.eps;
        for (int32_t i = 0; i < n_layer_loaded; i++) {
            const std::string blk = "blk." + std::to_string(i) + ".";
            post_norms.push_back({w.norm(blk + "post_attention_norm", n_embd, eps, false), w.norm(blk + "post_ffw_norm", n_embd, eps, false)});
        }
        if (options.label_weights.empty()) load_heads(w);
        else load_labels(w, options.label_weights);
    }

    static float cap(const ModelFile & file, const std::string & key) { return file.has(key) ? read_positive(file, key) : 0.0f; }

    ggml_tensor * build_layer(GraphBuilder & g, int32_t i, ggml_tensor * x, const Rows & rows, Pick pick, const ScoreParams & params) const override {
        const DecoderLayer & l = layers[size_t(i)];
        AttentionShape shape = attn;
        shape.window = i % 2 == 0 ? window : 0;
        // Off unless asked for: the reference runs SDPA, which leaves the cap out.
        shape.soft_cap = params.attention_soft_cap ? attention_cap : 0.0f;
        ggml_tensor * mixed = attend(g, i, shape, g.rms_norm(l.attn_norm, x), rows, pick);
        x = g.rms_norm(post_norms[size_t(i)].attn, g.linear(l.attn_output, mixed), g.select(x, rows, pick));
        return g.rms_norm(post_norms[size_t(i)].ffn, g.feed_forward(l.ffn, l.ffn_down, g.rms_norm(l.ffn_norm, x), activation), x);
    }

    ggml_tensor * finish_score(GraphBuilder & g, ggml_tensor * logits) const override {
        if (final_cap == 0) return logits;
        return ggml_scale(g.ctx(), g.activate(ggml_scale(g.ctx(), logits, 1.0f / final_cap), cpu::Activation::tanh), final_cap);
    }
};

} // namespace

std::unique_ptr<Architecture> load_gemma2(Weights & weights, const ArchitectureOptions & options) { return std::make_unique<Gemma2>(weights, options); }

} // namespace bge
