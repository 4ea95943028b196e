// Regex: the regular expressions that byte-level BPE splits a text by, matched as Oniguruma does: alternatives in order,
// greedy repeats, backtracking.
//
// Known: characters, \r \n \t and escaped punctuation; classes [..] and [^..] with ranges; \s \S \p{L} \P{N} ... by general
// category; | (?:..) (?i:..); (?!x) (?=x) of one character; ? * + {n} {n,} {n,m} on one character, ? on a group; ?+ *+ ++.
#pragma once
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bge {

class Regex {
  public:
    // Throws Error TOKENIZER_UNSUPPORTED for what is not known and for patterns that match nothing at all.
    explicit Regex(const std::string & pattern);

    static constexpr size_t npos = std::string_view::npos;

    // Looks for matches in one text. Work is bounded: a pattern that backtracks over and over ends in TOKENIZER_UNSUPPORTED.
    class Matcher {
      public:
        Matcher(const Regex & regex, std::string_view text);
        // End of the match that begins at `begin`, or npos.
        size_t match(size_t begin);
        // Whether the last match looked at the end of the text: with more text behind it, it might be another one.
        bool saw_end() const { return saw_end_; }

      private:
        struct Choice { // where to go on when the way taken fails
            size_t instruction;
            size_t place;
            size_t lowest; // a repeat gives back characters down to here
        };
        void work(size_t steps);

        const Regex & regex_;
        std::string_view text_;
        std::vector<Choice> choices_;
        size_t steps_left_;
        bool saw_end_ = false;
    };

  private:
    struct CharacterSet {
        std::bitset<128> ascii;
        uint32_t categories = 0; // a bit for each unicode::Category
        bool white_space = false, not_white_space = false, negated = false;
        std::vector<std::pair<char32_t, char32_t>> ranges; // first, last

        bool contains(char32_t c) const { return c < 128 ? ascii[c] : looks_up(c) != negated; }
        bool looks_up(char32_t c) const;
        void finish(); // fills `ascii`
    };
    struct Instruction {
        enum Kind { Repeat, Split, Jump, Look, Match } kind;
        size_t set = 0;            // Repeat, Look
        size_t least = 1, most = 1; // Repeat
        bool possessive = false;   // Repeat
        bool negative = false;     // Look
        size_t target = 0;         // Split: the second way; Jump
    };
    class Compiler;

    std::vector<CharacterSet> sets_;
    std::vector<Instruction> program_;
};

} // namespace bge
