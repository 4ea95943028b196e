// MiniCPM with a score head per layer: bge-reranker-v2-minicpm-layerwise.
// Source: FlagEmbedding inference/reranker/decoder_only/models/modeling_minicpm_reranker.py LayerWiseMiniCPMForCausalLM.
#include "decoder.h"
#include <cmath>

namespace bge {
namespace {

struct MiniCpm : Decoder {
    float residual_scale; // scale_depth / sqrt(n_layer of the whole model)

    MiniCpm(Weights & w, const ArchitectureOptions & options) : Decoder(w, "minicpm", options.max_layer, {"silu", "normal"}) {
        attn.scale = 1.0f / std::sqrt(float(attn.head_dim));
        embedding_scale = read_positive(w.file(), "minicpm.embedding_scale");
        residual_scale = read_positive(w.file(), "minicpm.residual_scale");
        load_heads(w);
    }

    ggml_tensor * build_layer(GraphBuilder & g, int32_t i, ggml_tensor * x, const Rows & rows, Pick pick, const ScoreParams &) const override {
        const DecoderLayer & l = layers[size_t(i)];
        ggml_tensor * mixed = attend(g, i, attn, g.rms_norm(l.attn_norm, x), rows, pick);
        x = g.linear(l.attn_output, mixed, {cpu::Activation::none, g.select(x, rows, pick), residual_scale});
        return g.feed_forward(l.ffn, l.ffn_down, g.rms_norm(l.ffn_norm, x), activation, {cpu::Activation::none, x, residual_scale});
    }
};

} // namespace

std::unique_ptr<Architecture> load_minicpm(Weights & weights, const ArchitectureOptions & options) { return std::make_unique<MiniCpm>(weights, options); }

} // namespace bge
