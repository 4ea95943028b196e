#include "causal-decoder.h"
#include <cmath>

namespace bge {

CausalDecoder::CausalDecoder(Weights & w, const std::string & name, const ArchitectureOptions & options, const Options & own)
    : Decoder(w, name, /*max_layer*/ 0, {"silu", own.rope_layout, own.qkv_bias, own.head_norms}) {
    attn.scale = 1.0f / std::sqrt(float(attn.head_dim));
    load_labels(w, options.label_weights);
}

// The score is a weighted sum of the labels' logits, and so the product with one row: the same sum of their rows.
void CausalDecoder::load_labels(Weights & w, const std::vector<float> & weights) {
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

ggml_tensor * CausalDecoder::build_layer(GraphBuilder & g, int32_t i, ggml_tensor * x, const Rows & rows, Pick pick, const ScoreParams &) const {
    const DecoderLayer & l = layers[size_t(i)];
    ggml_tensor * mixed = attend(g, l, attn, g.rms_norm(l.attn_norm, x), rows, pick);
    x = g.linear(l.attn_output, mixed, {cpu::Activation::none, g.select(x, rows, pick), 1.0f});
    return g.feed_forward(l.ffn, l.ffn_down, g.rms_norm(l.ffn_norm, x), activation, {cpu::Activation::none, x, 1.0f});
}

} // namespace bge
