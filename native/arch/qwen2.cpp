// Qwen2: mxbai-rerank base and large v2.
#include "causal-decoder.h"

namespace bge {
namespace {

struct Qwen2 : CausalDecoder {
    Qwen2(Weights & w, const ArchitectureOptions & options) : CausalDecoder(w, "qwen2", options, {"neox", /*qkv_bias*/ true, /*head_norms*/ false}) {}
};

} // namespace

std::unique_ptr<Architecture> load_qwen2(Weights & weights, const ArchitectureOptions & options) { return std::make_unique<Qwen2>(weights, options); }

} // namespace bge
