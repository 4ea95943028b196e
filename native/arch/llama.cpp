// Llama: fine-tunes of FlagEmbedding's FlagLLMReranker on Llama.
#include "causal-decoder.h"

namespace bge {
namespace {

struct Llama : CausalDecoder {
    Llama(Weights & w, const ArchitectureOptions & options) : CausalDecoder(w, "llama", options, {"normal", /*qkv_bias*/ false, /*head_norms*/ false}) {}
};

} // namespace

std::unique_ptr<Architecture> load_llama(Weights & weights, const ArchitectureOptions & options) { return std::make_unique<Llama>(weights, options); }

} // namespace bge
