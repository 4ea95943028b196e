#include "byte-characters.h"
#include "unicode.h"

#include <array>

namespace bge {

namespace {

const std::array<std::string, 256> & spellings() {
    using Spellings = std::array<std::string, 256>;
    static const Spellings & all = *new Spellings([] { // never destroyed, see unicode.cpp
        Spellings out;
        for (int byte = 0; byte < 256; ++byte) unicode::append(out[static_cast<size_t>(byte)], byte_character(static_cast<unsigned char>(byte)));
        return out;
    }());
    return all;
}

} // namespace

char32_t byte_character(unsigned char byte) {
    const auto prints = [](int b) { return (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE; };
    if (prints(byte)) return byte;
    char32_t character = 0x100;
    for (int b = 0; b < byte; ++b) character += !prints(b);
    return character;
}

void append_byte_characters(std::string & out, std::string_view bytes) {
    for (const char byte : bytes) out.append(spellings()[static_cast<unsigned char>(byte)]);
}

} // namespace bge
