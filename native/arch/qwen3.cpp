// Qwen3: Qwen3-Reranker, zerank.
#include "causal-decoder.h"

namespace bge {
namespace {

struct Qwen3 : CausalDecoder {
    Qwen3(Weights & w, const ArchitectureOptions & options) : CausalDecoder(w, "qwen3", options, {"neox", /*qkv_bias*/ false, /*head_norms*/ true}) {}
};

} // namespace

std::unique_ptr<Architecture> load_qwen3(Weights & weights, const ArchitectureOptions & options) { return std::make_unique<Qwen3>(weights, options); }

} // namespace bge
