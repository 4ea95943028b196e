// The characters that stand for bytes in the vocabularies of byte-level BPE: those that print stand for themselves, the
// others for U+0100 onwards, so that "Ġ" is a blank. Source: tokenizers pre_tokenizers/byte_level.rs.
#pragma once
#include <string>
#include <string_view>

namespace bge {

char32_t byte_character(unsigned char byte);
void append_byte_characters(std::string & out, std::string_view bytes);

} // namespace bge
