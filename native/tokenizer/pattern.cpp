#include "pattern.h"
#include "../error.h"
#include "unicode.h"

namespace bge {

Pattern::Pattern(const std::string & kind, const std::string & text) {
    const Error unsupported("TOKENIZER_UNSUPPORTED", "tokenizer.json has the " + shortened(kind) + " pattern \"" + shortened(text) +
                                                         "\"; known are non-empty strings and the regular expressions x+ and x{n,} of one character x");
    if (kind != "string" && kind != "regex") throw unsupported;
    literal_ = text;
    if (kind == "regex") {
        const std::string special = "\\^$.|?*+()[]{}";
        const size_t quantifier = text.find_first_of(special);
        if (quantifier != std::string::npos) {
            if (quantifier == 0 || unicode::decode(text, 0).size != quantifier) throw unsupported;
            const std::string tail = text.substr(quantifier);
            const bool counted = tail.size() == 4 && tail[0] == '{' && tail[1] >= '1' && tail[1] <= '9' && tail[2] == ',' && tail[3] == '}';
            if (tail != "+" && !counted) throw unsupported;
            literal_ = text.substr(0, quantifier);
            min_count_ = counted ? static_cast<size_t>(tail[1] - '0') : 1;
        }
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
