#include "regex.h"
#include "../error.h"
#include "unicode.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace bge {

namespace {

constexpr size_t max_pattern_size = 4096; // bytes; the longest real one has 400
constexpr size_t max_repeat = 1000;
constexpr size_t max_depth = 16;
// Real patterns take up to a dozen steps a character; these stop one that would take days.
constexpr size_t steps_per_byte = 256, steps_at_least = 1 << 16;

constexpr std::array<const char *, 30> category_names = {"Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps",
                                                         "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co"};
constexpr uint32_t all_categories = (uint32_t{1} << category_names.size()) - 1;

// Bits of a category ("Lu") or of a group of them ("L"); 0 for other names.
uint32_t find_categories(std::string_view name) {
    uint32_t bits = 0;
    if (name.empty() || name.size() > 2) return bits;
    for (size_t i = 0; i < category_names.size(); ++i) {
        if (std::string_view(category_names[i]).substr(0, name.size()) == name) bits |= uint32_t{1} << i;
    }
    return bits;
}

} // namespace

bool Regex::CharacterSet::looks_up(char32_t c) const {
    if (categories != 0 && categories >> static_cast<int>(unicode::category(c)) & 1) return true;
    if ((white_space || not_white_space) && (unicode::is_white_space(c) ? white_space : not_white_space)) return true;
    return std::any_of(ranges.begin(), ranges.end(), [&](const auto & range) { return c >= range.first && c <= range.second; });
}

void Regex::CharacterSet::finish() {
    for (char32_t c = 0; c < 128; ++c) ascii[c] = looks_up(c) != negated;
}

class Regex::Compiler {
  public:
    Compiler(Regex & regex, const std::string & pattern) : regex_(regex), pattern_(pattern) {}

    void compile() {
        if (pattern_.size() > max_pattern_size) throw unsupported("which is too long");
        const size_t least = alternatives(false, 0);
        if (at_ < pattern_.size()) throw unsupported("with a ) too many");
        if (least == 0) throw unsupported("which matches the empty text");
        emit({Instruction::Match});
    }

  private:
    Error unsupported(const std::string & why) const {
        return Error("TOKENIZER_UNSUPPORTED", "tokenizer.json has the regular expression \"" + shortened(pattern_) + "\", " + why + ": not implemented; ids would be wrong");
    }

    bool next_is(char c) const { return at_ < pattern_.size() && pattern_[at_] == c; }
    bool take(std::string_view text) {
        if (pattern_.compare(at_, text.size(), text) != 0) return false;
        at_ += text.size();
        return true;
    }
    size_t emit(const Instruction & instruction) {
        regex_.program_.push_back(instruction);
        return regex_.program_.size() - 1;
    }
    size_t here() const { return regex_.program_.size(); }

    // a|b|c up to the end or a ). Gives the least number of characters that a match has, looks ahead counting none.
    size_t alternatives(bool ignore_case, size_t depth) {
        if (depth > max_depth) throw unsupported("with groups nested too deep");
        std::vector<size_t> jumps;
        size_t least = SIZE_MAX;
        while (true) {
            const size_t split = emit({Instruction::Split});
            least = std::min(least, sequence(ignore_case, depth));
            if (!next_is('|')) {
                regex_.program_[split] = {Instruction::Jump}; // the last alternative: nothing to come back to
                regex_.program_[split].target = split + 1;
                break;
            }
            ++at_;
            jumps.push_back(emit({Instruction::Jump}));
            regex_.program_[split].target = here();
        }
        for (const size_t jump : jumps) regex_.program_[jump].target = here();
        return least;
    }

    size_t sequence(bool ignore_case, size_t depth) {
        size_t least = 0;
        char before = 0; // the letter before, where case is ignored
        while (at_ < pattern_.size() && pattern_[at_] != '|' && pattern_[at_] != ')') {
            const char letter = ignore_case && std::isalpha(static_cast<uint8_t>(pattern_[at_])) ? static_cast<char>(std::tolower(pattern_[at_])) : '\0';
            check_folding(before, letter);
            before = letter;
            if (next_is('(')) least += group(ignore_case, depth);
            else least += repeated(ignore_case);
        }
        return least;
    }

    // Ligatures and the like are one character that equals two letters.
    void check_folding(char before, char letter) const {
        for (const std::string_view pair : {"ss", "st", "ff", "fi", "fl"}) {
            if (before == pair[0] && letter == pair[1]) throw unsupported("which ignores case where one character can stand for two");
        }
    }

    size_t group(bool ignore_case, size_t depth) {
        const bool negative = pattern_.compare(at_, 3, "(?!") == 0;
        if (negative || pattern_.compare(at_, 3, "(?=") == 0) {
            at_ += 3;
            Instruction look{Instruction::Look};
            look.set = one_character(ignore_case);
            look.negative = negative;
            if (!take(")")) throw unsupported("which looks ahead further than one character");
            emit(look);
            return 0;
        }
        if (take("(?i:")) ignore_case = true;
        else if (take("(?:") || (pattern_.compare(at_, 2, "(?") != 0 && take("("))) {}
        else throw unsupported("with a group of a kind");
        const size_t split = emit({Instruction::Split});
        const size_t least = alternatives(ignore_case, depth + 1);
        if (!take(")")) throw unsupported("with a ) too few");
        if (next_is('*') || next_is('+') || next_is('{')) throw unsupported("which repeats a group");
        if (take("?")) {
            if (next_is('?') || next_is('+')) throw unsupported("with a repeat of a kind");
            regex_.program_[split].target = here();
            return 0;
        }
        regex_.program_[split] = {Instruction::Jump};
        regex_.program_[split].target = split + 1;
        return least;
    }

    size_t repeated(bool ignore_case) {
        Instruction repeat{Instruction::Repeat};
        repeat.set = one_character(ignore_case);
        bool quantified = true, braces = false;
        if (take("?")) repeat.least = 0, repeat.most = 1;
        else if (take("*")) repeat.least = 0, repeat.most = SIZE_MAX;
        else if (take("+")) repeat.least = 1, repeat.most = SIZE_MAX;
        else if (next_is('{')) quantified = braces = bounds(repeat);
        else quantified = false;
        if (quantified && next_is('?')) throw unsupported("with a repeat that takes as little as it can");
        // Behind braces a + repeats the repeat, which Oniguruma does not take for possessive.
        if (quantified && next_is('+')) {
            if (braces) throw unsupported("with a repeat of a repeat");
            ++at_;
            repeat.possessive = true;
        }
        if (quantified && (next_is('*') || next_is('+') || next_is('{'))) throw unsupported("with a repeat of a repeat");
        emit(repeat);
        return repeat.least;
    }

    bool bounds(Instruction & repeat) {
        const size_t open = at_++;
        const auto number = [&](size_t & out) {
            const size_t first = at_;
            for (out = 0; at_ < pattern_.size() && pattern_[at_] >= '0' && pattern_[at_] <= '9' && out <= max_repeat; ++at_) out = out * 10 + size_t(pattern_[at_] - '0');
            return at_ > first && out <= max_repeat;
        };
        bool legal = number(repeat.least);
        repeat.most = repeat.least;
        if (legal && take(",")) {
            if (next_is('}')) repeat.most = SIZE_MAX;
            else legal = number(repeat.most);
        }
        if (!legal || !take("}") || repeat.most < repeat.least || repeat.most == 0) {
            at_ = open;
            throw unsupported("with braces that are no plain count");
        }
        return true;
    }

    // A character, an escape, . excepted, or a class. Gives its set.
    size_t one_character(bool ignore_case) {
        CharacterSet set;
        if (at_ >= pattern_.size()) throw unsupported("which ends too early");
        const char c = pattern_[at_];
        if (c == '[') {
            ++at_;
            set.negated = take("^");
            bool is_first = true;
            while (is_first || !next_is(']')) {
                if (at_ >= pattern_.size() || next_is('[') || (is_first && next_is(']')) || pattern_.compare(at_, 2, "&&") == 0) throw unsupported("with a class of a kind");
                is_first = false;
                member(set, ignore_case);
            }
            ++at_;
        } else if (std::string_view(".^$*+?{}()|").find(c) != std::string_view::npos) {
            throw unsupported(std::string("with a ") + c + " where a character belongs");
        } else if (c == '\\') {
            escape(set, ignore_case);
        } else {
            add(set, literal(), ignore_case);
        }
        set.finish();
        regex_.sets_.push_back(std::move(set));
        return regex_.sets_.size() - 1;
    }

    void member(CharacterSet & set, bool ignore_case) {
        if (next_is('\\')) {
            escape(set, ignore_case);
            if (next_is('-') && pattern_.compare(at_, 2, "-]") != 0) throw unsupported("with a class of a kind");
            return;
        }
        const char32_t first = literal();
        if (!next_is('-') || pattern_.compare(at_, 2, "-]") == 0) {
            add(set, first, ignore_case);
            return;
        }
        ++at_;
        if (at_ >= pattern_.size() || next_is('[') || next_is('\\')) throw unsupported("with a class of a kind");
        const char32_t last = literal();
        if (last < first || ignore_case) throw unsupported("with a class of a kind");
        set.ranges.emplace_back(first, last);
    }

    char32_t literal() {
        const unicode::Character c = unicode::decode(pattern_, at_);
        at_ += c.size;
        return c.value;
    }

    void escape(CharacterSet & set, bool ignore_case) {
        if (++at_ >= pattern_.size()) throw unsupported("which ends too early");
        const char c = pattern_[at_++];
        if (c == 'r') set.ranges.emplace_back('\r', '\r');
        else if (c == 'n') set.ranges.emplace_back('\n', '\n');
        else if (c == 't') set.ranges.emplace_back('\t', '\t');
        else if (c == 's') set.white_space = true;
        else if (c == 'S') set.not_white_space = true;
        else if (c == 'p' || c == 'P') {
            const size_t close = pattern_.find('}', at_);
            const uint32_t found = next_is('{') && close != std::string::npos ? find_categories(std::string_view(pattern_).substr(at_ + 1, close - at_ - 1)) : 0;
            if (found == 0 || ignore_case) throw unsupported("with a property of characters");
            set.categories |= c == 'p' ? found : all_categories & ~found;
            at_ = close + 1;
        } else if (static_cast<uint8_t>(c) < 0x80 && std::ispunct(static_cast<uint8_t>(c))) {
            add(set, static_cast<char32_t>(c), ignore_case);
        } else {
            throw unsupported(std::string("with \\") + c);
        }
    }

    void add(CharacterSet & set, char32_t c, bool ignore_case) {
        set.ranges.emplace_back(c, c);
        if (!ignore_case) return;
        if (c >= 0x80) throw unsupported("which ignores the case of letters beyond ASCII");
        if (!std::isalpha(static_cast<int>(c))) return;
        set.ranges.emplace_back(c ^ 0x20, c ^ 0x20);
        if ((c | 0x20) == 's') set.ranges.emplace_back(0x17F, 0x17F); // long s
        if ((c | 0x20) == 'k') set.ranges.emplace_back(0x212A, 0x212A); // the sign for kelvin
    }

    Regex & regex_;
    const std::string & pattern_;
    size_t at_ = 0;
};

Regex::Regex(const std::string & pattern) { Compiler(*this, pattern).compile(); }

Regex::Matcher::Matcher(const Regex & regex, std::string_view text) : regex_(regex), text_(text), steps_left_(text.size() * steps_per_byte + steps_at_least) {}

void Regex::Matcher::work(size_t steps) {
    if (steps > steps_left_) throw Error("TOKENIZER_UNSUPPORTED", "the regular expression of tokenizer.json takes too long on this text");
    steps_left_ -= steps;
}

size_t Regex::Matcher::match(size_t begin) {
    saw_end_ = false;
    choices_.clear();
    size_t place = begin, at = 0;
    const auto contains = [&](const CharacterSet & set, size_t where, size_t & size) {
        const uint8_t byte = static_cast<uint8_t>(text_[where]);
        if (byte < 0x80) return size = 1, static_cast<bool>(set.ascii[byte]);
        const unicode::Character c = unicode::decode(text_, where);
        return size = c.size, set.contains(c.value);
    };
    while (true) {
        const Instruction & instruction = regex_.program_[at];
        bool fails = false;
        size_t n_steps = 1, size = 0;
        switch (instruction.kind) {
            case Instruction::Match: return place;
            case Instruction::Jump: at = instruction.target; break;
            case Instruction::Split:
                choices_.push_back({instruction.target, place, place});
                ++at;
                break;
            case Instruction::Look: {
                const bool at_end = place >= text_.size();
                saw_end_ = saw_end_ || at_end;
                fails = (!at_end && contains(regex_.sets_[instruction.set], place, size)) == instruction.negative;
                ++at;
                break;
            }
            case Instruction::Repeat: {
                const CharacterSet & set = regex_.sets_[instruction.set];
                size_t n = 0, lowest = place;
                for (; n < instruction.most; ++n) {
                    if (place >= text_.size()) {
                        saw_end_ = true;
                        break;
                    }
                    if (!contains(set, place, size)) break;
                    place += size;
                    if (n < instruction.least) lowest = place;
                }
                n_steps += n;
                fails = n < instruction.least;
                ++at;
                if (!fails && !instruction.possessive && place > lowest) choices_.push_back({at, place, lowest});
                break;
            }
        }
        if (fails) {
            if (choices_.empty()) return work(n_steps), npos;
            Choice & choice = choices_.back();
            at = choice.instruction;
            if (choice.place > choice.lowest) { // a repeat gives back one more character
                choice.place = unicode::previous(text_, choice.place);
                place = choice.place;
                if (choice.place == choice.lowest) choices_.pop_back();
            } else {
                place = choice.place;
                choices_.pop_back();
            }
        }
        work(n_steps);
    }
}

} // namespace bge
