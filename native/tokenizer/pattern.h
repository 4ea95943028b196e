// Pattern: what tokenizer.json calls {"String": ...} or {"Regex": ...}. Of regular expressions only a literal and a
// repeated character ("x+", "x{2,}") are known, which is all that the models we run use.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace bge {

class Pattern {
  public:
    // kind: "string" or "regex"
    Pattern(const std::string & kind, const std::string & text);

    // Whether `text` is one of the regular expressions known here.
    static bool is_known(const std::string & text);

    struct Match {
        size_t begin, end;
    };
    // The first match at or after `from`; begin is npos when there is none.
    Match find(std::string_view text, size_t from) const;

  private:
    std::string literal_;
    size_t min_count_ = 0; // 0: the literal once, else a run of it at least this long
};

} // namespace bge
