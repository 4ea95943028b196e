#include "causal-decoder.h"
#include <cmath>

namespace bge {

CausalDecoder::CausalDecoder(Weights & w, const std::string & name, const ArchitectureOptions & options, const Options & own)
    : Decoder(w, name, /*max_layer*/ 0, {"silu", own.rope_layout, own.qkv_bias, own.head_norms}) {
    attn.scale = 1.0f / std::sqrt(float(attn.head_dim));
    load_labels(w, options.label_weights);
}

ggml_tensor * CausalDecoder::build_layer(GraphBuilder & g, int32_t i, ggml_tensor * x, const Rows & rows, Pick pick, const ScoreParams &) const {
    const DecoderLayer & l = layers[size_t(i)];
    ggml_tensor * mixed = attend(g, i, attn, g.rms_norm(l.attn_norm, x), rows, pick);
    x = g.linear(l.attn_output, mixed, {cpu::Activation::none, g.select(x, rows, pick), 1.0f});
    return g.feed_forward(l.ffn, l.ffn_down, g.rms_norm(l.ffn_norm, x), activation, {cpu::Activation::none, x, 1.0f});
}

} // namespace bge
