#include "grapheme.h"
#include "unicode.h"

namespace bge::unicode {

namespace {

using GB = GraphemeBreak;

bool is_control(GB b) { return b == GB::CR || b == GB::LF || b == GB::Control; }

bool is_hangul_join(GB before, GB after) {
    switch (before) {
        case GB::L: return after == GB::L || after == GB::V || after == GB::LV || after == GB::LVT;
        case GB::LV:
        case GB::V: return after == GB::V || after == GB::T;
        case GB::LVT:
        case GB::T: return after == GB::T;
        default: return false;
    }
}

} // namespace

// The rules GB3 to GB13 of Unicode annex 29. GB9c (Indic conjuncts) is left out: it only joins clusters of nine bytes
// and more, and those the one caller, the precompiled charsmap, takes apart into characters anyway.
size_t next_grapheme(std::string_view utf8, size_t position) {
    Character c = decode(utf8, position);
    GB before = grapheme_break(c.value);
    size_t end = position + c.size;
    size_t n_regional = before == GB::RegionalIndicator ? 1 : 0;
    bool after_pictograph = before == GB::Pictographic; // Pictographic Extend*
    bool pictograph_joiner = false;                     // Pictographic Extend* ZWJ
    while (end < utf8.size()) {
        c = decode(utf8, end);
        const GB after = grapheme_break(c.value);
        bool join;
        if (before == GB::CR && after == GB::LF) join = true;
        else if (is_control(before) || is_control(after)) join = false;
        else if (is_hangul_join(before, after)) join = true;
        else if (after == GB::Extend || after == GB::ZWJ || after == GB::SpacingMark || before == GB::Prepend) join = true;
        else if (pictograph_joiner && after == GB::Pictographic) join = true;
        else join = before == GB::RegionalIndicator && after == GB::RegionalIndicator && n_regional % 2 == 1;
        if (!join) break;

        pictograph_joiner = after_pictograph && after == GB::ZWJ;
        after_pictograph = after == GB::Pictographic || (after_pictograph && after == GB::Extend);
        if (after == GB::RegionalIndicator) ++n_regional;
        before = after;
        end += c.size;
    }
    return end;
}

bool is_sure_boundary(char32_t before, char32_t after) {
    const GB b = grapheme_break(before);
    const GB a = grapheme_break(after);
    if (a == GB::Extend || a == GB::ZWJ || a == GB::SpacingMark || a == GB::LF || is_nonstarter(after)) return false;
    if (b == GB::Prepend || b == GB::ZWJ || is_hangul_join(b, a)) return false;
    return !(b == GB::RegionalIndicator && a == GB::RegionalIndicator);
}

} // namespace bge::unicode
