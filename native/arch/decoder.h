// Decoder: what Gemma, Gemma 2, MiniCPM, Qwen and Llama share. It reads their hyperparameters and weights, walks the layers, reads a
// head at every cutoff, merges document tokens in between and stops at the last cutoff. How one layer joins its parts
// is each architecture's own file.
#pragma once
#include "arch.h"
#include "hyperparameters.h"
#include <string>
#include <vector>

namespace bge {

struct DecoderLayer {
    Norm attn_norm, ffn_norm;
    Norm q_norm, k_norm; // of each head; without weights where there is none
    Linear qkv, attn_output, ffn_down;
    GatedLinear ffn;
};

class Decoder : public Architecture {
public:
    Forward build(GraphBuilder & g, const Ubatch & ubatch, const ScoreParams & params) const override;

protected:
    struct Defaults { // where the file does not say
        const char * activation;
        const char * rope_layout;
        bool qkv_bias = false; // what the architecture has
        bool head_norms = false;
    };

    // Reads the `<name>.*` keys, the layers up to `max_layer` (0 = all) and the final norm.
    Decoder(Weights & w, const std::string & name, int32_t max_layer, const Defaults & defaults);

    // Layer i, counted from 0: x [n_embd, n_rows] -> the rows that `pick` names.
    virtual ggml_tensor * build_layer(GraphBuilder & g, int32_t i, ggml_tensor * x, const Rows & rows, Pick pick, const ScoreParams & params) const = 0;
    // From a head's product to the score, [n_seqs, 1].
    virtual ggml_tensor * finish_score(GraphBuilder &, ggml_tensor * logits) const { return logits; }

    // Causal attention of layer i's normed rows h, rotated, before the output projection: [n_head * head_dim, n_rows].
    ggml_tensor * attend(GraphBuilder & g, int32_t i, const AttentionShape & shape, ggml_tensor * h, const Rows & rows, Pick pick) const;

    // `reranker.head.weight`: one row of n_embd weights a head.
    void load_heads(Weights & w);
    // `cls.output.weight`: a row a label, of the language model's head or of a classifier, summed by their weights.
    void load_labels(Weights & w, const std::vector<float> & weights);

    AttentionShape attn; // the scale is the architecture's to set
    float embedding_scale = 1.0f;
    cpu::Activation activation;
    std::vector<DecoderLayer> layers;
    std::vector<float> heads; // [n_heads, n_embd], on the host: a graph takes the row it needs as an input

private:
    ggml_tensor * score(GraphBuilder & g, ggml_tensor * x, const Rows & rows, Pick pick, int32_t head) const;

    ggml_tensor * token_embd;
    Norm output_norm;
    float rope_theta;
    cpu::RopeStyle rope_style;
};

} // namespace bge
