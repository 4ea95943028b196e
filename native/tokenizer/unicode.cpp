#include "unicode.h"
#include "unicode-tables.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

namespace bge::unicode {

namespace {

constexpr char32_t last_character = 0x10FFFF;

enum Flag : uint16_t {
    BREAK_MASK = 0x0F,
    WHITE_SPACE = 0x10, // these six stand in the generated table
    WORD = 0x20,
    PUNCTUATION = 0x40,
    OTHER = 0x80,
    NONSPACING_MARK = 0x100,
    MARK = 0x200,
    CANONICAL = 0x400, // these three are added from the other tables
    COMPATIBILITY = 0x800,
    NONSTARTER = 0x1000,
};

template <typename F> void for_each_run(const uint32_t * runs, size_t n, F && visit) {
    for (size_t i = 0; i < n; i += 2) {
        const char32_t end = i + 2 < n ? runs[i + 2] : last_character + 1;
        for (char32_t c = runs[i]; c < end; ++c) visit(c, runs[i + 1]);
    }
}

// A value for every character in two steps: a page of 256 characters, then the character in it. Equal pages are stored once.
template <typename T> class Pages {
  public:
    explicit Pages(const std::vector<T> & values) {
        std::unordered_map<std::u16string, uint16_t> seen;
        for (size_t first = 0; first < values.size(); first += 256) {
            const std::u16string page(values.begin() + first, values.begin() + first + 256);
            const auto [it, is_new] = seen.try_emplace(page, static_cast<uint16_t>(pages_.size() / 256));
            if (is_new) pages_.insert(pages_.end(), values.begin() + first, values.begin() + first + 256);
            page_of_.push_back(it->second);
        }
    }

    T operator[](char32_t c) const { return c > last_character ? T(0) : pages_[page_of_[c >> 8] * 256u + (c & 255)]; }

  private:
    std::vector<uint16_t> page_of_;
    std::vector<T> pages_;
};

std::vector<uint16_t> read_flags() {
    std::vector<uint16_t> flags(last_character + 1);
    for_each_run(property_runs, n_property_runs, [&](char32_t c, uint32_t value) { flags[c] |= static_cast<uint16_t>(value); });
    for_each_run(combining_class_runs, n_combining_class_runs, [&](char32_t c, uint32_t value) { if (value) flags[c] |= NONSTARTER; });
    for (size_t i = 0; i < n_canonical_decompositions; i += 2 + canonical_decompositions[i + 1])
        flags[canonical_decompositions[i]] |= CANONICAL;
    for (size_t i = 0; i < n_compatibility_decompositions; i += 2 + compatibility_decompositions[i + 1])
        flags[compatibility_decompositions[i]] |= COMPATIBILITY;
    return flags;
}

std::vector<uint8_t> read_categories() {
    std::vector<uint8_t> categories(last_character + 1);
    for_each_run(category_runs, n_category_runs, [&](char32_t c, uint32_t value) { categories[c] = static_cast<uint8_t>(value); });
    return categories;
}

// Tables made on first use are never destroyed: while the process exits, an engine may still read them on its thread.
uint16_t flags_of(char32_t c) {
    static const Pages<uint16_t> & flags = *new Pages<uint16_t>(read_flags());
    return flags[c];
}

uint32_t combining_class(char32_t c) {
    if (!(flags_of(c) & NONSTARTER)) return 0;
    size_t low = 0, high = n_combining_class_runs / 2; // the last run that starts at or before c
    while (high - low > 1) {
        const size_t middle = (low + high) / 2;
        (combining_class_runs[middle * 2] <= c ? low : high) = middle;
    }
    return combining_class_runs[low * 2 + 1];
}

// Hangul syllables compose by arithmetic (Unicode standard, 3.12).
constexpr char32_t S_BASE = 0xAC00, L_BASE = 0x1100, V_BASE = 0x1161, T_BASE = 0x11A7;
constexpr uint32_t L_COUNT = 19, V_COUNT = 21, T_COUNT = 28, S_COUNT = L_COUNT * V_COUNT * T_COUNT;

char32_t compose(char32_t first, char32_t second) { // 0 when they stay two
    if (first - L_BASE < L_COUNT && second - V_BASE < V_COUNT)
        return S_BASE + ((first - L_BASE) * V_COUNT + (second - V_BASE)) * T_COUNT;
    if (first - S_BASE < S_COUNT && (first - S_BASE) % T_COUNT == 0 && second > T_BASE && second < T_BASE + T_COUNT)
        return first + (second - T_BASE);
    using Compositions = std::unordered_map<uint64_t, char32_t>;
    static const Compositions & table = *new Compositions([] {
        Compositions pairs;
        for (size_t i = 0; i < n_compositions; i += 3)
            pairs.emplace(uint64_t{compositions[i]} << 32 | compositions[i + 1], compositions[i + 2]);
        return pairs;
    }());
    const auto it = table.find(uint64_t{first} << 32 | second);
    return it == table.end() ? 0 : it->second;
}

// The entry of c in a decomposition table, indexed on first use. c must be in it.
const uint32_t * find_decomposition(char32_t c, bool compatibility) {
    using Index = std::unordered_map<char32_t, const uint32_t *>;
    const auto index = [](const uint32_t * table, size_t n) {
        Index entries;
        for (size_t i = 0; i < n; i += 2 + table[i + 1]) entries.emplace(table[i], table + i + 1);
        return entries;
    };
    static const Index & canonical = *new Index(index(canonical_decompositions, n_canonical_decompositions));
    static const Index & compatible = *new Index(index(compatibility_decompositions, n_compatibility_decompositions));
    return (compatibility ? compatible : canonical).at(c);
}

template <typename F> void decompose(char32_t c, bool compatibility, F && emit) {
    const uint16_t flags = flags_of(c);
    if (c - S_BASE < S_COUNT) {
        const uint32_t s = c - S_BASE;
        emit(L_BASE + s / (V_COUNT * T_COUNT));
        emit(V_BASE + s % (V_COUNT * T_COUNT) / T_COUNT);
        if (s % T_COUNT) emit(T_BASE + s % T_COUNT);
    } else if ((flags & CANONICAL) || (compatibility && (flags & COMPATIBILITY))) {
        const uint32_t * entry = find_decomposition(c, compatibility && (flags & COMPATIBILITY));
        for (uint32_t i = 0; i < entry[0]; ++i) emit(entry[1 + i]);
    } else {
        emit(c);
    }
}

// Takes decomposed characters in order, puts marks into canonical order and, if asked, composes.
class NormalFormWriter {
  public:
    NormalFormWriter(std::string & out, bool composes) : out_(out), composes_(composes) {}

    void push(char32_t c) {
        const uint32_t rank = combining_class(c);
        if (rank != 0) {
            marks_.push_back({rank, c});
            return;
        }
        const bool adjacent = settle_marks();
        if (const char32_t both = adjacent && has_starter_ && composes_ ? compose(starter_, c) : 0) {
            starter_ = both; // Hangul and some Indic vowels: two starters with nothing in between
            return;
        }
        write();
        starter_ = c;
        has_starter_ = true;
    }

    void finish() {
        settle_marks();
        write();
    }

  private:
    struct Mark {
        uint32_t rank;
        char32_t value;
    };

    // Sorts the marks; when composing, folds into the starter each one that no mark of its class or a higher one
    // precedes. True when none is left.
    bool settle_marks() {
        if (marks_.empty()) return true;
        std::stable_sort(marks_.begin(), marks_.end(), [](const Mark & a, const Mark & b) { return a.rank < b.rank; });
        if (!composes_ || !has_starter_) return false;
        size_t kept = 0;
        for (const Mark & mark : marks_) {
            const bool blocked = kept > 0 && marks_[kept - 1].rank >= mark.rank;
            const char32_t both = blocked ? 0 : compose(starter_, mark.value);
            if (both) starter_ = both;
            else marks_[kept++] = mark;
        }
        marks_.resize(kept);
        return kept == 0;
    }

    void write() {
        if (has_starter_) append(out_, starter_);
        for (const Mark & mark : marks_) append(out_, mark.value);
        marks_.clear();
        has_starter_ = false;
    }

    std::string & out_;
    const bool composes_;
    char32_t starter_ = 0;
    bool has_starter_ = false;
    std::vector<Mark> marks_;
};

// Length of a well-formed sequence at `position`, or 0. `malformed` gets the bytes that one U+FFFD stands for.
uint32_t well_formed_length(std::string_view bytes, size_t position, uint32_t & malformed) {
    const auto byte = [&](size_t i) { return position + i < bytes.size() ? static_cast<uint8_t>(bytes[position + i]) : 0; };
    const uint8_t lead = byte(0);
    malformed = 1;
    if (lead < 0x80) return 1;
    const uint32_t length = lead >= 0xC2 && lead < 0xE0 ? 2 : lead >= 0xE0 && lead < 0xF0 ? 3 : lead >= 0xF0 && lead < 0xF5 ? 4 : 0;
    if (length == 0) return 0;
    // The second byte's range shuts out overlong forms, surrogates and what lies above U+10FFFF.
    const uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (byte(1) < low || byte(1) > high) return 0;
    for (uint32_t i = 2; i < length; ++i) {
        malformed = i;
        if ((byte(i) & 0xC0) != 0x80) return 0;
    }
    return length;
}

} // namespace

Character decode(std::string_view utf8, size_t position) {
    const auto * p = reinterpret_cast<const uint8_t *>(utf8.data()) + position;
    const size_t available = utf8.size() - position;
    if (p[0] < 0x80) return {p[0], 1};
    if (p[0] < 0xE0 && available >= 2 && p[0] >= 0xC0) return {(p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu), 2};
    if (p[0] < 0xF0 && available >= 3 && p[0] >= 0xE0) return {(p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu), 3};
    if (available >= 4 && p[0] >= 0xF0)
        return {(p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu), 4};
    return {replacement_character, 1};
}

size_t character_start(std::string_view utf8, size_t position) {
    if (position >= utf8.size()) return utf8.size();
    // Behind more than three continuation bytes no character goes on.
    for (size_t i = 0; i <= 3 && i <= position; ++i) {
        if ((static_cast<uint8_t>(utf8[position - i]) & 0xC0) != 0x80) return position - i;
    }
    return position;
}

size_t previous(std::string_view utf8, size_t position) { return character_start(utf8, position - 1); }

void append(std::string & out, char32_t c) {
    if (c < 0x80) {
        out.push_back(static_cast<char>(c));
    } else if (c < 0x800) {
        const char bytes[] = {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
        out.append(bytes, 2);
    } else if (c < 0x10000) {
        const char bytes[] = {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3F)), static_cast<char>(0x80 | (c & 0x3F))};
        out.append(bytes, 3);
    } else {
        const char bytes[] = {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 0x3F)),
                              static_cast<char>(0x80 | (c >> 6 & 0x3F)), static_cast<char>(0x80 | (c & 0x3F))};
        out.append(bytes, 4);
    }
}

bool is_valid(std::string_view utf8) {
    uint32_t malformed;
    for (size_t i = 0; i < utf8.size();) {
        const uint32_t length = well_formed_length(utf8, i, malformed);
        if (length == 0) return false;
        i += length;
    }
    return true;
}

std::string replace_invalid(std::string_view bytes) {
    std::string out;
    out.reserve(bytes.size());
    for (size_t i = 0; i < bytes.size();) {
        uint32_t malformed;
        if (const uint32_t length = well_formed_length(bytes, i, malformed)) {
            out.append(bytes, i, length);
            i += length;
        } else {
            append(out, replacement_character);
            i += malformed;
        }
    }
    return out;
}

GraphemeBreak grapheme_break(char32_t c) { return static_cast<GraphemeBreak>(flags_of(c) & BREAK_MASK); }
bool is_white_space(char32_t c) { return c < 0x80 ? c == ' ' || (c >= 9 && c <= 13) : (flags_of(c) & WHITE_SPACE) != 0; }
bool is_word(char32_t c) { return flags_of(c) & WORD; }
bool is_punctuation(char32_t c) { return flags_of(c) & PUNCTUATION; }
bool is_other(char32_t c) { return flags_of(c) & OTHER; }
bool is_nonspacing_mark(char32_t c) { return flags_of(c) & NONSPACING_MARK; }
bool is_mark(char32_t c) { return flags_of(c) & MARK; }
bool is_nonstarter(char32_t c) { return flags_of(c) & NONSTARTER; }

bool is_chinese(char32_t c) {
    // Hugging Face's list begins the fifth range at 2B920, not at 2B820 where the block begins.
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
           (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

Category category(char32_t c) {
    static const Pages<uint8_t> & categories = *new Pages<uint8_t>(read_categories());
    return static_cast<Category>(categories[c]);
}

void append_lowercase(std::string & out, char32_t c) {
    if (c < 0x80) {
        out.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
        return;
    }
    if (c == 0x130) { // the one lower case of two characters, without regard to language
        out.append("i\xCC\x87");
        return;
    }
    size_t low = 0, high = n_lowercase_runs / 4;
    while (high - low > 1) {
        const size_t middle = (low + high) / 2;
        (static_cast<char32_t>(lowercase_runs[middle * 4]) <= c ? low : high) = middle;
    }
    const int32_t * run = lowercase_runs + low * 4;
    const int32_t at = static_cast<int32_t>(c);
    append(out, at >= run[0] && at <= run[1] && (at - run[0]) % run[2] == 0 ? c + run[3] : c);
}

std::string normalize(std::string_view utf8, NormalForm form) {
    const bool composes = form == NormalForm::NFC || form == NormalForm::NFKC;
    const bool compatibility = form == NormalForm::NFKC || form == NormalForm::NFKD;
    std::string out;
    out.reserve(utf8.size());
    NormalFormWriter writer(out, composes);
    for (size_t i = 0; i < utf8.size();) {
        const Character c = decode(utf8, i);
        i += c.size;
        decompose(c.value, compatibility, [&](char32_t part) { writer.push(part); });
    }
    writer.finish();
    return out;
}

} // namespace bge::unicode
