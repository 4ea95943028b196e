// PreTokenizer: splits normalized text into the words that the model encodes one by one.
//
//   whitespace_split | whitespace | bert
//   punctuation BEHAVIOR                      removed, isolated, merged_with_previous, merged_with_next or contiguous
//   split KIND PATTERN BEHAVIOR INVERT        see pattern.h and regex.h
//   byte_level PREFIX REGEX                   true or false each: a blank in front, split as GPT-2 does; then every byte of
//                                             a word becomes a character
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

    // More text may follow the last span. Spans from n_sure on may then be others: the last one may only grow, or, with
    // `regrouped`, all of them may be split in another way.
    size_t n_sure = 0;
    bool regrouped = false;

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
