#include "model.h"
#include "step.h"

#include <algorithm>

namespace bge {

namespace {
constexpr int32_t unused_piece = 5; // tokenizer.ggml.token_type
}

size_t model_size(const Vocabulary & vocabulary, const TokenizerSpec & spec) {
    const int64_t all = static_cast<int64_t>(vocabulary.pieces.size());
    const int64_t size = number_option(spec, "vocab_size", all);
    if (size < 1 || size > all)
        throw Error("MODEL_INVALID", "tokenizer.json speaks of " + std::to_string(size) + " pieces, tokenizer.ggml.tokens has " + std::to_string(all) + "; convert the model again");
    return static_cast<size_t>(size);
}

bool is_padding(const Vocabulary & vocabulary, size_t id) {
    return !vocabulary.types.empty() && vocabulary.types[id] == unused_piece && vocabulary.pieces[id] == "[PAD" + std::to_string(id) + "]";
}

std::vector<int32_t> byte_pieces(const Vocabulary & vocabulary, size_t n_pieces) {
    const char * digits = "0123456789ABCDEF";
    std::vector<int32_t> ids(256, -1);
    for (size_t id = 0; id < n_pieces; ++id) {
        const std::string & piece = vocabulary.pieces[id];
        if (piece.size() != 6 || piece.compare(0, 3, "<0x") != 0 || piece[5] != '>') continue;
        const char * high = std::find(digits, digits + 16, piece[3]);
        const char * low = std::find(digits, digits + 16, piece[4]);
        if (high < digits + 16 && low < digits + 16) ids[(high - digits) * 16 + (low - digits)] = static_cast<int32_t>(id);
    }
    return ids;
}

} // namespace bge
