// Model: one word of normalized text to ids. Its options stand in the file of each model.
#pragma once
#include "tokenizer.h"

namespace bge {

struct WordOptions {
    bool complete = true;          // false: more text may follow the word
    bool special = true;           // false: never give the id of a special token
    size_t max_tokens = SIZE_MAX;  // may stop once `out` holds this many
};

// Encodes words one after another, with working memory that it keeps between them; for one thread.
struct WordEncoder {
    virtual ~WordEncoder() = default;
    // Appends the ids of a word. Of an incomplete word, only those that no continuation can change.
    virtual void encode(std::string_view word, const WordOptions & options, std::vector<int32_t> & out) = 0;
};

// What all threads share. An encoder refers to its model.
struct Model {
    virtual ~Model() = default;
    virtual std::unique_ptr<WordEncoder> make_encoder() const = 0;
};

// `is_special` has a flag for every id. All copy what they need.
std::unique_ptr<Model> make_unigram(const Vocabulary & vocabulary, const TokenizerSpec & spec, const std::vector<bool> & is_special);
std::unique_ptr<Model> make_bpe(const Vocabulary & vocabulary, const TokenizerSpec & spec, const std::vector<bool> & is_special);
std::unique_ptr<Model> make_wordpiece(const Vocabulary & vocabulary, const TokenizerSpec & spec, const std::vector<bool> & is_special);

// How many of the pieces belong to the model; those behind are added tokens or padding, which no word becomes.
size_t model_size(const Vocabulary & vocabulary, const TokenizerSpec & spec);
// Whether piece `id` only fills the vocabulary up to the size of the embedding matrix.
bool is_padding(const Vocabulary & vocabulary, size_t id);
// The id of each byte's piece, <0x00> to <0xFF>, or -1.
std::vector<int32_t> byte_pieces(const Vocabulary & vocabulary, size_t n_pieces);

} // namespace bge
