// CausalDecoder: the plain pre-norm decoder of Qwen and Llama, scored at the last position by labels: rows of the language
// model's head, or of a classifier. Source: transformers modeling_qwen2.py, modeling_qwen3.py, modeling_llama.py.
#pragma once
#include "decoder.h"

namespace bge {

class CausalDecoder : public Decoder {
public:
    struct Options {
        const char * rope_layout = "neox"; // where the file does not say
        bool qkv_bias = false;
        bool head_norms = false; // RMS norms of each head of q and k, before they are rotated
    };

protected:
    CausalDecoder(Weights & w, const std::string & name, const ArchitectureOptions & options, const Options & own);

    ggml_tensor * build_layer(GraphBuilder & g, int32_t i, ggml_tensor * x, const Rows & rows, Pick pick, const ScoreParams & params) const override;
};

} // namespace bge
