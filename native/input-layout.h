// Query and document ids -> the ids the model reads, truncated as the reference does and reported.
#pragma once
#include "batch.h"
#include <cstdint>
#include <vector>

namespace bge {

struct InputLayout {
    enum class Kind { pair, prompt } kind = Kind::pair;
    std::vector<int32_t> before, between, after; // pair: before query between document after
    int32_t document_token_type = 0;
    std::vector<int32_t> bos; // prompt: bos query separator document separator prompt
};

struct LengthLimits {
    int32_t max_length = 512;
    int32_t query_max_length = 384;
    std::vector<int32_t> separator, prompt; // prompt layouts only
};

// `query` and `document` without special tokens; they may be longer than what is kept.
EncodedPair join(const InputLayout & layout, const LengthLimits & limits, const std::vector<int32_t> & query, const std::vector<int32_t> & document);

} // namespace bge
