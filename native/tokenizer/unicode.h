// UTF-8 and the properties of characters that tokenizers ask about, each as the Unicode version Hugging Face uses has it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace bge::unicode {

inline constexpr char32_t replacement_character = 0xFFFD;

struct Character {
    char32_t value;
    uint32_t size; // bytes
};

// The character at `position`. A byte that starts none counts as U+FFFD of size 1, so this never reads past the end.
Character decode(std::string_view utf8, size_t position);
// Start of the character before `position`, which must be above 0.
size_t previous(std::string_view utf8, size_t position);
void append(std::string & out, char32_t character);

bool is_valid(std::string_view utf8);
// Every ill-formed sequence becomes one U+FFFD, as TextDecoder does.
std::string replace_invalid(std::string_view bytes);
// Greatest index up to `position` that does not stand inside a character.
size_t character_start(std::string_view utf8, size_t position);

enum class GraphemeBreak : uint8_t {
    Other, CR, LF, Control, Extend, ZWJ, SpacingMark, Prepend, L, V, T, LV, LVT, RegionalIndicator, Pictographic
};
GraphemeBreak grapheme_break(char32_t c);

bool is_white_space(char32_t c);
bool is_word(char32_t c);            // \w
bool is_punctuation(char32_t c);     // with the ASCII symbols, as BERT counts them
bool is_other(char32_t c);           // control, format, private use
bool is_nonspacing_mark(char32_t c); // Mn
bool is_mark(char32_t c);            // M
bool is_nonstarter(char32_t c);      // has a combining class, so normalization may move it
bool is_chinese(char32_t c);         // BERT's ranges of ideographs

// General categories of Unicode 16, which Oniguruma has.
enum class Category : uint8_t {
    Cn, Lu, Ll, Lt, Lm, Lo, Mn, Mc, Me, Nd, Nl, No, Pc, Pd, Ps, Pe, Pi, Pf, Po, Sm, Sc, Sk, So, Zs, Zl, Zp, Cc, Cf, Cs, Co
};
Category category(char32_t c);

void append_lowercase(std::string & out, char32_t c);

enum class NormalForm { NFC, NFD, NFKC, NFKD };
std::string normalize(std::string_view utf8, NormalForm form);

} // namespace bge::unicode
