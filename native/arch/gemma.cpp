// Gemma scored at the last position by the logit of one token, "Yes", as bge-reranker-v2-gemma is, or by a classifier.
// Source: transformers modeling_gemma.py GemmaForCausalLM, GemmaForSequenceClassification; FlagEmbedding inference/reranker/decoder_only/base.py.
#include "decoder.h"
#include <cmath>

namespace bge {
namespace {

struct Gemma : Decoder {
    Gemma(Weights & w, const ArchitectureOptions & options) : Decoder(w, "gemma", /*max_layer*/ 0, {"gelu_tanh", "neox"}) {
        attn.scale = 1.0f / std::sqrt(float(attn.head_dim));
        embedding_scale = std::sqrt(float(n_embd));
        if (!options.label_weights.empty()) {
            load_labels(w, options.label_weights);
            return;
        }
        const int64_t token = options.token_id >= 0 ? options.token_id : int64_t(w.file().u32("reranker.token_id"));
        if (token >= n_vocab) throw Error("MODEL_INVALID", w.file().path() + ": the scored token " + std::to_string(token) + " is not in the vocabulary");
        // A head of its own is stored as the scored token's row; else it is tied to the embeddings.
        heads = w.file().find("reranker.head.weight") ? w.rows("reranker.head.weight", n_embd, 0, 1) : w.rows("token_embd.weight", n_embd, token, 1);
    }

    ggml_tensor * build_layer(GraphBuilder & g, int32_t i, ggml_tensor * x, const Rows & rows, Pick pick, const ScoreParams &) const override {
        const DecoderLayer & l = layers[size_t(i)];
        ggml_tensor * mixed = attend(g, i, attn, g.rms_norm(l.attn_norm, x), rows, pick);
        x = g.linear(l.attn_output, mixed, {cpu::Activation::none, g.select(x, rows, pick), 1.0f});
        return g.feed_forward(l.ffn, l.ffn_down, g.rms_norm(l.ffn_norm, x), activation, {cpu::Activation::none, x, 1.0f});
    }
};

} // namespace

std::unique_ptr<Architecture> load_gemma(Weights & weights, const ArchitectureOptions & options) { return std::make_unique<Gemma>(weights, options); }

} // namespace bge
