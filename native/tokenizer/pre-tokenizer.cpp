#include "pre-tokenizer.h"
#include "byte-characters.h"
#include "pattern.h"
#include "regex.h"
#include "step.h"
#include "unicode.h"

#include <algorithm>
#include <utility>

namespace bge {

namespace {

constexpr size_t max_growth = 8;
// tokenizers pre_tokenizers/byte_level.rs
constexpr const char * gpt2_pattern = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

enum class Behavior { Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous };

Behavior read_behavior(const TokenizerSpec::Step & step, size_t i) {
    const std::string & name = argument(step, i);
    if (name == "removed") return Behavior::Removed;
    if (name == "isolated") return Behavior::Isolated;
    if (name == "merged_with_previous") return Behavior::MergedWithPrevious;
    if (name == "merged_with_next") return Behavior::MergedWithNext;
    if (name == "contiguous") return Behavior::Contiguous;
    throw unsupported_step("pre-tokenizer", step);
}

// A stretch of a word: a match of the delimiter, or what lies between two.
struct Part {
    Words::Span span;
    bool is_match;
};

// Puts the parts of one word together as Hugging Face's SplitDelimiterBehavior says (tokenizer/normalizer.rs).
void join_parts(const std::vector<Part> & parts, Behavior behavior, std::vector<Words::Span> & out) {
    const size_t first = out.size();
    switch (behavior) {
        case Behavior::Removed:
            for (const Part & part : parts) {
                if (!part.is_match) out.push_back(part.span);
            }
            break;
        case Behavior::Isolated:
            for (const Part & part : parts) out.push_back(part.span);
            break;
        case Behavior::Contiguous:
            for (size_t i = 0; i < parts.size(); ++i) {
                if (i > 0 && parts[i].is_match == parts[i - 1].is_match) out.back().end = parts[i].span.end;
                else out.push_back(parts[i].span);
            }
            break;
        case Behavior::MergedWithPrevious: // of several matches in a row only the first
            for (size_t i = 0; i < parts.size(); ++i) {
                const bool merges = parts[i].is_match && out.size() > first && !parts[i - 1].is_match;
                if (merges) out.back().end = parts[i].span.end;
                else out.push_back(parts[i].span);
            }
            break;
        case Behavior::MergedWithNext: // of several matches in a row only the last
            for (size_t i = 0; i < parts.size(); ++i) {
                const bool merges = i > 0 && parts[i - 1].is_match && !parts[i].is_match;
                if (merges) out.back().end = parts[i].span.end;
                else out.push_back(parts[i].span);
            }
            break;
    }
}

// Of a text that may go on, all words are sure but the last, which may grow; `n_before` come from words that were sure.
void tell_sure(Words & words, size_t n_before) { words.n_sure = words.regrouped ? n_before : std::max<size_t>(words.spans.size(), 1) - 1; }

// Splits every word into parts by `find_parts(word, base, parts)`, joins them, and drops empty words.
template <typename F> Words split_words(Words words, Behavior behavior, F && find_parts) {
    std::vector<Words::Span> spans;
    std::vector<Part> parts;
    size_t n_before = 0;
    for (size_t i = 0; i < words.spans.size(); ++i) {
        const size_t first = spans.size();
        parts.clear();
        find_parts(words[i], words.spans[i].begin, parts);
        join_parts(parts, behavior, spans);
        const auto is_empty = [](const Words::Span & span) { return span.begin == span.end; };
        spans.erase(std::remove_if(spans.begin() + static_cast<std::ptrdiff_t>(first), spans.end(), is_empty), spans.end());
        if (i < words.n_sure) n_before = spans.size();
    }
    words.at_start = words.at_start && !spans.empty() && spans[0].begin == 0;
    words.spans = std::move(spans);
    tell_sure(words, n_before);
    return words;
}

// One part per character that `is_delimiter`, one per stretch between.
template <typename F> Words split_characters(Words words, Behavior behavior, F && is_delimiter) {
    return split_words(std::move(words), behavior, [&](std::string_view word, size_t base, std::vector<Part> & parts) {
        size_t begin = 0;
        for (size_t i = 0; i < word.size();) {
            const unicode::Character c = unicode::decode(word, i);
            if (is_delimiter(c.value)) {
                if (begin < i) parts.push_back({{base + begin, base + i}, false});
                if (behavior != Behavior::Removed) parts.push_back({{base + i, base + i + c.size}, true});
                begin = i + c.size;
            }
            i += c.size;
        }
        if (begin < word.size()) parts.push_back({{base + begin, base + word.size()}, false});
    });
}

Words split_pattern(Words words, const Pattern & pattern, Behavior behavior, bool invert) {
    return split_words(std::move(words), behavior, [&](std::string_view word, size_t base, std::vector<Part> & parts) {
        size_t done = 0;
        while (done < word.size()) {
            const Pattern::Match match = pattern.find(word, done);
            if (match.begin == std::string_view::npos) break;
            if (done < match.begin) parts.push_back({{base + done, base + match.begin}, invert});
            parts.push_back({{base + match.begin, base + match.end}, !invert});
            done = match.end;
        }
        if (done < word.size()) parts.push_back({{base + done, base + word.size()}, invert});
    });
}

Words split_regex(Words words, const Regex & regex, Behavior behavior, bool invert) {
    const bool regrouped = std::exchange(words.regrouped, true);
    const size_t last = words.n_sure;
    size_t n_words = 0, n_sure_parts = 0;
    words = split_words(std::move(words), behavior, [&](std::string_view word, size_t base, std::vector<Part> & parts) {
        Regex::Matcher matcher(regex, word);
        bool is_sure = true;
        size_t done = 0; // up to here all is in parts
        for (size_t begin = 0; begin < word.size();) {
            const size_t end = matcher.match(begin);
            is_sure = is_sure && !matcher.saw_end();
            if (end == Regex::npos) {
                begin += unicode::decode(word, begin).size;
                continue;
            }
            if (done < begin) parts.push_back({{base + done, base + begin}, invert});
            parts.push_back({{base + begin, base + end}, !invert});
            begin = done = end;
            if (is_sure && n_words == last) n_sure_parts = parts.size();
        }
        if (done < word.size()) parts.push_back({{base + done, base + word.size()}, invert});
        n_words++;
    });
    if (!regrouped && behavior == Behavior::Isolated) words.n_sure += n_sure_parts;
    return words;
}

// Text made anew word by word: `write(out, word)`.
template <typename F> Words rewrite(Words words, F && write) {
    std::string text;
    text.reserve(words.text.size() + words.text.size() / 2);
    std::vector<Words::Span> spans;
    for (size_t i = 0; i < words.spans.size(); ++i) {
        const size_t begin = text.size();
        write(text, words[i]);
        spans.push_back({begin, text.size()});
    }
    words.text = std::move(text);
    words.spans = std::move(spans);
    return words;
}

Words with_blank_in_front(Words words) {
    return rewrite(std::move(words), [](std::string & out, std::string_view word) {
        if (word[0] != ' ') out.push_back(' ');
        out.append(word);
    });
}

// \w+|[^\w\s]+ : runs of one kind, white space gone.
Words split_whitespace(Words words) {
    enum Kind { SPACE, WORD, OTHER };
    const auto kind_of = [](char32_t c) { return unicode::is_word(c) ? WORD : unicode::is_white_space(c) ? SPACE : OTHER; };
    return split_words(std::move(words), Behavior::Removed, [&](std::string_view word, size_t base, std::vector<Part> & parts) {
        for (size_t i = 0; i < word.size();) {
            const size_t begin = i;
            const Kind kind = kind_of(unicode::decode(word, i).value);
            while (i < word.size()) {
                const unicode::Character c = unicode::decode(word, i);
                if (kind_of(c.value) != kind) break;
                i += c.size;
            }
            parts.push_back({{base + begin, base + i}, kind == SPACE});
        }
    });
}

enum class Scheme { Always, First, Never };

// Blanks become the replacement, which also goes before each word that does not begin with it; words then end before it.
Words split_metaspace(Words words, const std::string & replacement, Scheme scheme, bool splits) {
    Words out;
    out.at_start = words.at_start;
    out.regrouped = words.regrouped;
    size_t n_before = 0;
    out.text.reserve(words.text.size() + words.text.size() / 2);
    for (size_t i = 0; i < words.spans.size(); ++i) {
        const std::string_view word = words[i];
        const size_t begin = out.text.size();
        const bool begins_with_it = word[0] == ' ' || word.compare(0, replacement.size(), replacement) == 0;
        const bool wants_it = scheme == Scheme::Always || (scheme == Scheme::First && i == 0 && words.at_start);
        if (wants_it && !begins_with_it) out.text += replacement;
        for (size_t k = 0; k < word.size();) {
            const size_t blank = std::min(word.find(' ', k), word.size());
            out.text.append(word, k, blank - k);
            if (blank < word.size()) out.text += replacement;
            k = blank + 1;
        }
        size_t last = begin;
        for (size_t at = begin; splits && (at = out.text.find(replacement, at)) != std::string::npos; at += replacement.size()) {
            if (at > last) out.spans.push_back({last, at});
            last = at;
        }
        out.spans.push_back({last, out.text.size()});
        if (i < words.n_sure) n_before = out.spans.size();
    }
    tell_sure(out, n_before);
    return out;
}

} // namespace

PreTokenizer::PreTokenizer(const std::vector<TokenizerSpec::Step> & steps, bool start_is_known) {
    for (const TokenizerSpec::Step & step : steps) {
        const std::string & name = argument(step, 0);
        if (name == "whitespace_split") {
            steps_.push_back([](Words words) { return split_characters(std::move(words), Behavior::Removed, unicode::is_white_space); });
        } else if (name == "whitespace") {
            steps_.push_back(split_whitespace);
        } else if (name == "bert") {
            steps_.push_back([](Words words) {
                words = split_characters(std::move(words), Behavior::Removed, unicode::is_white_space);
                return split_characters(std::move(words), Behavior::Isolated, unicode::is_punctuation);
            });
        } else if (name == "punctuation") {
            steps_.push_back([behavior = read_behavior(step, 1)](Words words) { return split_characters(std::move(words), behavior, unicode::is_punctuation); });
        } else if (name == "split" && argument(step, 1) == "regex" && !Pattern::is_known(argument(step, 2))) {
            steps_.push_back([regex = Regex(argument(step, 2)), behavior = read_behavior(step, 3), invert = flag(step, 4)](Words words) {
                return split_regex(std::move(words), regex, behavior, invert);
            });
        } else if (name == "split") {
            steps_.push_back([pattern = Pattern(argument(step, 1), argument(step, 2)), behavior = read_behavior(step, 3), invert = flag(step, 4)](Words words) {
                return split_pattern(std::move(words), pattern, behavior, invert);
            });
        } else if (name == "metaspace") {
            const std::string & replacement = argument(step, 1);
            const std::string & scheme = argument(step, 2);
            // What "first" means depends on where each character came from, which a normalizer that removes text blurs.
            const bool known = scheme == "always" || scheme == "never" || (scheme == "first" && start_is_known);
            if (!known || replacement.empty() || unicode::decode(replacement, 0).size != replacement.size()) throw unsupported_step("pre-tokenizer", step);
            steps_.push_back([replacement, splits = flag(step, 3), scheme = scheme == "always" ? Scheme::Always : scheme == "first" ? Scheme::First : Scheme::Never](
                                 Words words) { return split_metaspace(std::move(words), replacement, scheme, splits); });
        } else if (name == "byte_level") {
            if (flag(step, 1)) steps_.push_back(with_blank_in_front);
            if (flag(step, 2)) {
                steps_.push_back([regex = Regex(gpt2_pattern)](Words words) { return split_regex(std::move(words), regex, Behavior::Isolated, false); });
            }
            steps_.push_back([](Words words) {
                return rewrite(std::move(words), [](std::string & out, std::string_view word) { append_byte_characters(out, word); });
            });
        } else {
            throw unsupported_step("pre-tokenizer", step);
        }
    }
}

Words PreTokenizer::split(std::string text, bool at_start) const {
    Words words;
    words.text = std::move(text);
    words.at_start = at_start;
    if (!words.text.empty()) words.spans.push_back({0, words.text.size()});
    const size_t limit = max_growth * (words.text.size() + 1);
    for (const auto & step : steps_) {
        words = step(std::move(words));
        check_growth("pre-tokenizer", words.text.size(), limit);
    }
    return words;
}

} // namespace bge
