// Charsmap: SentencePiece's precompiled normalization (a double-array trie and the strings it points into), applied the
// way Hugging Face does: to grapheme clusters first, then to characters.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bge {

class Charsmap {
  public:
    // `blob`: size of the trie in bytes (u32), the trie (u32 units), replacements that end in NUL. Little endian.
    explicit Charsmap(std::string_view blob);

    // Throws Error TOKENIZER_UNSUPPORTED when the result is longer than `limit` bytes.
    std::string normalize(std::string_view utf8, size_t limit) const;

  private:
    // Offset of the replacement for the shortest prefix of `text` that has one, or -1.
    int64_t find(std::string_view text) const;

    std::vector<uint32_t> units_;
    std::string replacements_;
    int64_t ascii_[128];
};

} // namespace bge
