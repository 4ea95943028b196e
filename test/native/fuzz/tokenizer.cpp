// Fuzz target: any bytes as a text, through the vocabularies of the golden checkpoints.
#include "fuzz.h"
#include "model-file.h"
#include "vocabulary.h"
#include "tokenizer/unicode.h"
#include <algorithm>
#include <cstdlib>
#include <sstream>

using namespace bge;

namespace {

std::vector<std::unique_ptr<Tokenizer>> tokenizers;

constexpr size_t max_text = 1 << 16; // bytes; beyond every window and block of the encoders
// The most ids a byte may become: fourfold where a decomposition of U+FDFA falls back to bytes.
constexpr size_t max_ids_per_byte = 16;

std::vector<int32_t> encode(const Tokenizer & tokenizer, const std::string & text, bool parse_special) {
    std::vector<int32_t> ids = tokenizer.encode(text, {parse_special, SIZE_MAX});
    for (const int32_t id : ids) require(id >= 0 && size_t(id) < tokenizer.vocabulary_size(), "ids of the vocabulary");
    require(ids.size() <= max_ids_per_byte * text.size() + 16, "as many ids as the text is long");
    return ids;
}

} // namespace

// BGE_FUZZ_VOCABULARIES names GGUF files, a line each.
extern "C" int LLVMFuzzerInitialize(int *, char ***) {
    open_ggml();
    const char * given = std::getenv("BGE_FUZZ_VOCABULARIES");
    require(given, "BGE_FUZZ_VOCABULARIES is not set; start with npm run fuzz");
    std::istringstream lines(given);
    for (std::string path; std::getline(lines, path);) {
        const ModelFile file(path);
        tokenizers.push_back(Tokenizer::create(read_vocabulary(file), fuzz_spec(file)));
    }
    return 0;
}

// The first byte says which vocabulary and how, the second how often the rest is repeated and where to stop.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t * data, size_t size) {
    if (size < 2) return 0;
    const Tokenizer & tokenizer = *tokenizers[(data[0] & 0x7F) % tokenizers.size()];
    const bool parse_special = data[0] & 0x80;
    const std::string part(reinterpret_cast<const char *>(data) + 2, size - 2);
    std::string text = part;
    while (text.size() + part.size() <= max_text && text.size() < part.size() << (data[1] & 15)) text += part;

    const std::vector<int32_t> ids = encode(tokenizer, text, parse_special);
    require(encode(tokenizer, unicode::replace_invalid(text), parse_special) == ids, "bytes that are not UTF-8 count as U+FFFD");
    const size_t limit = size_t(data[1] >> 4) * (data[1] >> 4) * (data[1] >> 4);
    const std::vector<int32_t> first = tokenizer.encode(text, {parse_special, limit});
    require(first.size() >= std::min(limit, ids.size()), "as many ids as were asked for");
    require(first.size() <= ids.size() && std::equal(first.begin(), first.begin() + std::ptrdiff_t(std::min(limit, first.size())), ids.begin()), "the first ids of all");
    return 0;
}
