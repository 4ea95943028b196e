#include "pattern.h"
#include "../error.h"
#include "unicode.h"

namespace bge {

namespace {

// Where the quantifier of "x+" or "x{n,}" stands, the size of a text without one, or npos for other expressions.
size_t find_quantifier(const std::string & text) {
    const size_t at = text.find_first_of("\\^$.|?*+()[]{}");
    if (at == std::string::npos) return text.size();
    if (at == 0 || unicode::decode(text, 0).size != at) return std::string::npos;
    const std::string tail = text.substr(at);
    const bool counted = tail.size() == 4 && tail[0] == '{' && tail[1] >= '1' && tail[1] <= '9' && tail[2] == ',' && tail[3] == '}';
    return tail == "+" || counted ? at : std::string::npos;
}

} // namespace

bool Pattern::is_known(const std::string & text) { return find_quantifier(text) != std::string::npos; }

Pattern::Pattern(const std::string & kind, const std::string & text) {
    const Error unsupported("TOKENIZER_UNSUPPORTED", "tokenizer.json has the " + shortened(kind) + " pattern \"" + shortened(text) +
                                                         "\"; known are non-empty strings and the regular expressions x+ and x{n,} of one character x");
    if (kind != "string" && kind != "regex") throw unsupported;
    literal_ = text;
    if (kind == "regex") {
        const size_t quantifier = find_quantifier(text);
        if (quantifier == std::string::npos) throw unsupported;
        literal_ = text.substr(0, quantifier);
        if (quantifier < text.size()) min_count_ = text[quantifier] == '{' ? static_cast<size_t>(text[quantifier + 1] - '0') : 1;
    }
    if (literal_.empty()) throw unsupported;
}

Pattern::Match Pattern::find(std::string_view text, size_t from) const {
    while (true) {
        const size_t begin = text.find(literal_, from);
        if (begin == std::string_view::npos) return {begin, begin};
        size_t end = begin + literal_.size();
        if (min_count_ == 0) return {begin, end};
        while (end < text.size() && text.compare(end, literal_.size(), literal_) == 0) end += literal_.size();
        if ((end - begin) / literal_.size() >= min_count_) return {begin, end};
        from = end;
    }
}

} // namespace bge
