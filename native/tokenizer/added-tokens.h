// AddedTokens: finds the added tokens in a text and gives the stretches between them, as Hugging Face's
// added_vocabulary.rs does: at each place the longest one, never two that overlap.
#pragma once
#include "tokenizer.h"
#include "trie.h"

#include <bitset>

namespace bge {

class AddedTokens {
  public:
    // Tokens whose `content` has already been normalized if they ask for that. Of two equal contents the first counts.
    explicit AddedTokens(std::vector<AddedToken> tokens);

    struct Piece {
        int32_t id; // of an added token, or -1 for a stretch of text
        size_t begin, end;
    };
    // `parse_special` false leaves special tokens in the text around them.
    std::vector<Piece> split(std::string_view text, bool parse_special) const;

    size_t longest() const { return longest_; } // bytes
    // Whether any token takes the white space on its left.
    bool has_lstrip() const { return has_lstrip_; }

  private:
    const AddedToken * match(std::string_view text, size_t begin) const;

    std::vector<AddedToken> tokens_;
    Trie trie_; // ids are indices into tokens_
    std::bitset<256> first_bytes_;
    size_t longest_ = 0;
    bool has_lstrip_ = false;
};

} // namespace bge
