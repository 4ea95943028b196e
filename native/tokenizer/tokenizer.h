// Tokenizer: text in, the ids Hugging Face `tokenizers` gives out. The vocabulary comes from the GGUF, the rules from
// tokenizer.json by way of a TokenizerSpec, so nothing here knows JSON, files or models.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace bge {

// A token matched in raw text before anything else; the fields mean what they mean in tokenizer.json.
struct AddedToken {
    int32_t id = -1;
    std::string content;
    bool special = false;
    bool normalized = false; // matched in the normalized text, after normalizing `content` too
    bool lstrip = false;     // takes the white space on its left with it
    bool rstrip = false;
    bool single_word = false;
};

// The same as TokenizerSpec of src/addon/native.ts. Steps stand in normalizer.h and pre-tokenizer.h, options in model.h.
struct TokenizerSpec {
    using Step = std::vector<std::string>; // a name and its arguments
    std::string model;                     // "unigram", "bpe" or "wordpiece"
    std::vector<Step> normalizer;
    std::vector<Step> pre_tokenizer;
    std::vector<Step> options;
    std::vector<AddedToken> added_tokens;
};

// The keys tokenizer.ggml.* as they stand in the file; an absent key leaves its field as it is here.
struct Vocabulary {
    std::vector<std::string> pieces;  // tokens
    std::vector<float> scores;        // scores
    std::vector<int32_t> types;       // token_type: 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte
    std::string charsmap;             // precompiled_charsmap, its bytes
    std::vector<std::string> merges;  // merges, "left right"; derived from the scores when empty
    int32_t unknown_id = -1;          // unknown_token_id
};

struct EncodeOptions {
    bool parse_special = true;       // false: the spelling of a special token is ordinary text
    size_t max_tokens = SIZE_MAX;    // enough is enough: the result holds the first max_tokens ids, maybe a few more
};

// Immutable once made: any number of threads may encode at the same time.
class Tokenizer {
  public:
    // Throws Error MODEL_INVALID for a damaged vocabulary, TOKENIZER_UNSUPPORTED for rules it does not have.
    static std::unique_ptr<Tokenizer> create(Vocabulary vocabulary, const TokenizerSpec & spec);
    ~Tokenizer();

    // Ids without the tokens a template puts around a text. `utf8` may hold NUL; bytes that are not UTF-8 count as U+FFFD.
    std::vector<int32_t> encode(std::string_view utf8, const EncodeOptions & options = {}) const;

    size_t vocabulary_size() const;

    struct Stretch {
        int32_t id; // of an added token, or -1 for a stretch of text
        std::string_view text;
    };
    // The added tokens in a text that are matched before it is normalized, and what lies between.
    std::vector<Stretch> split_added_tokens(std::string_view utf8) const;

    // Whether `ids`, the first `n` of a text that begins with `beginning`, reach to its end. For byte-level BPE, whose pieces tell how
    // much of the text they stand for.
    bool covers(const int32_t * ids, size_t n, std::string_view beginning) const;

  private:
    struct Impl;
    explicit Tokenizer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

} // namespace bge
