// PreTokenizer: splits normalized text into the words that the model encodes one by one.
//
//   whitespace_split | whitespace | bert
//   punctuation BEHAVIOR                      removed, isolated, merged_with_previous, merged_with_next or contiguous
//   split KIND PATTERN BEHAVIOR INVERT        see pattern.h
//   metaspace REPLACEMENT SCHEME SPLIT        scheme: always, first or never
#pragma once
#include "tokenizer.h"

#include <functional>

namespace bge {

// Words are stretches of one text, in order and without gaps that matter.
struct Words {
    struct Span {
        size_t begin, end;
    };
    std::string text;
    std::vector<Span> spans;
    bool at_start = false; // the first span begins where the user's text begins

    std::string_view operator[](size_t i) const { return std::string_view(text).substr(spans[i].begin, spans[i].end - spans[i].begin); }
};

class PreTokenizer {
  public:
    PreTokenizer(const std::vector<TokenizerSpec::Step> & steps, bool start_is_known);

    // `at_start`: the text is the beginning of what the user gave, not what follows an added token.
    Words split(std::string text, bool at_start) const;

  private:
    std::vector<std::function<Words(Words)>> steps_;
};

} // namespace bge
