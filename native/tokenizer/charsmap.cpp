#include "charsmap.h"
#include "grapheme.h"
#include "step.h"
#include "unicode.h"

namespace bge {

namespace {

// A unit of the double array (darts-clone): label, whether a value hangs below it, and the way to its children.
bool has_value(uint32_t unit) { return unit >> 8 & 1; }
uint32_t label(uint32_t unit) { return unit & (1u << 31 | 0xFF); }
uint32_t offset(uint32_t unit) { return unit >> 10 << ((unit & (1u << 9)) >> 6); }

// Longer clusters are not looked up whole (Hugging Face, normalizers/precompiled.rs).
constexpr size_t max_cluster_size = 5;

Error invalid(const std::string & what) {
    return Error("MODEL_INVALID", "tokenizer.ggml.precompiled_charsmap " + what + "; convert the model again");
}

} // namespace

Charsmap::Charsmap(std::string_view blob) {
    const auto read_u32 = [&](size_t at) {
        uint32_t value = 0;
        for (size_t i = 0; i < 4; ++i) value |= static_cast<uint32_t>(static_cast<uint8_t>(blob[at + i])) << (8 * i);
        return value;
    };
    if (blob.size() < 8) throw invalid("is shorter than its header");
    const size_t trie_size = read_u32(0);
    if (trie_size % 4 != 0 || trie_size == 0 || trie_size > blob.size() - 4) throw invalid("has a trie that does not fit in it");
    for (size_t i = 0; i < trie_size; i += 4) units_.push_back(read_u32(4 + i));
    replacements_ = blob.substr(4 + trie_size);
    if (!unicode::is_valid(replacements_)) throw invalid("holds text that is not UTF-8");
    replacements_.push_back('\0');
    for (int c = 0; c < 128; ++c) {
        const char byte = static_cast<char>(c);
        ascii_[c] = find({&byte, 1});
    }
}

int64_t Charsmap::find(std::string_view text) const {
    uint32_t position = offset(units_[0]);
    for (const char c : text) {
        const uint8_t byte = static_cast<uint8_t>(c);
        if (byte == 0) return -1;
        position ^= byte;
        if (position >= units_.size() || label(units_[position]) != byte) return -1;
        const uint32_t unit = units_[position];
        position ^= offset(unit);
        if (has_value(unit)) {
            if (position >= units_.size()) return -1;
            const uint32_t value = units_[position] & 0x7FFFFFFF;
            const bool is_start = value < replacements_.size() && (static_cast<uint8_t>(replacements_[value]) & 0xC0) != 0x80;
            return is_start ? static_cast<int64_t>(value) : -1;
        }
    }
    return -1;
}

std::string Charsmap::normalize(std::string_view text, size_t limit) const {
    std::string out;
    out.reserve(text.size() + text.size() / 16);
    const auto replace = [&](int64_t at, std::string_view original) {
        if (at < 0) out.append(original);
        else out.append(replacements_.c_str() + at);
        check_growth("charsmap", out.size(), limit);
    };
    const auto is_ascii = [&](size_t i) { return i >= text.size() || static_cast<uint8_t>(text[i]) < 0x80; };

    for (size_t i = 0; i < text.size();) {
        if (is_ascii(i) && is_ascii(i + 1) && text[i] != '\r') { // a cluster of its own
            replace(ascii_[static_cast<uint8_t>(text[i])], text.substr(i, 1));
            ++i;
            continue;
        }
        const size_t end = unicode::next_grapheme(text, i);
        if (end - i <= max_cluster_size) {
            const int64_t at = find(text.substr(i, end - i));
            if (at >= 0) {
                replace(at, {});
                i = end;
                continue;
            }
        }
        while (i < end) {
            const std::string_view character = text.substr(i, unicode::decode(text, i).size);
            replace(find(character), character);
            i += character.size();
        }
    }
    return out;
}

} // namespace bge
