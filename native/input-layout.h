// Query and document ids -> the ids the model reads, truncated as the reference does and reported.
#pragma once
#include "batch.h"
#include "pair-template.h"
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace bge {

struct InputLayout {
    enum class Kind { pair, prompt, chat } kind = Kind::pair; // chat: LengthLimits::parts, see pair-template.h
    std::vector<int32_t> before, between, after; // pair: before query between document after
    int32_t document_token_type = 0;
    int32_t padding = -1; // pair: an id that is not read where the pair ends with it; -1 = none
    std::vector<int32_t> bos; // prompt: bos query separator document separator prompt
    bool frame_on_top = false; // prompt: max_length counts query, separator and document alone
};

// What is cut when a pair is too long: the document alone (FlagEmbedding), or first the longer of the two, as fast tokenizers and
// with them sentence-transformers do.
enum class Truncation { only_second, longest_first };

struct LengthLimits {
    int32_t max_length = 512;
    int32_t query_max_length = 384;
    Truncation truncation = Truncation::only_second; // pair layouts; prompt layouts cut the document
    bool keep_end = false;                           // what is cut loses its beginning

    // First ids of a text that decide what is kept of it, and one more, which tells a cut.
    size_t query_ids() const { return keep_end ? SIZE_MAX : 1 + size_t(truncation == Truncation::longest_first ? std::min(query_max_length, max_length) : query_max_length); }
    size_t document_ids() const { return keep_end ? SIZE_MAX : 1 + size_t(max_length); }
    std::vector<int32_t> separator, prompt; // prompt layouts only
    std::vector<TemplatePart> parts;        // chat layouts only
};

// Which of two texts is the longer one, where both are longer than a pair can be.
enum class Longer { unknown, query, document };

// Whether join() has to be told: an odd token goes to the longer text.
bool depends_on_longer(const InputLayout & layout, const LengthLimits & limits, size_t n_query, size_t n_document);

// `query` and `document` without special tokens; they may be longer than what is kept.
EncodedPair join(const InputLayout & layout, const LengthLimits & limits, const std::vector<int32_t> & query, const std::vector<int32_t> & document,
                 Longer longer = Longer::unknown);

} // namespace bge
