#include "normalizer.h"
#include "charsmap.h"
#include "pattern.h"
#include "step.h"
#include "unicode.h"

#include <algorithm>

namespace bge {

namespace {

constexpr size_t max_growth = 64;

bool is_ascii(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

// Text made by passing every character on to `write(out, character, its bytes)`.
template <typename F> std::string map_characters(std::string_view text, F && write) {
    std::string out;
    out.reserve(text.size());
    for (size_t i = 0; i < text.size();) {
        const unicode::Character c = unicode::decode(text, i);
        write(out, c.value, text.substr(i, c.size));
        i += c.size;
    }
    return out;
}

std::string lowercase(std::string_view text) {
    return map_characters(text, [](std::string & out, char32_t c, std::string_view) { unicode::append_lowercase(out, c); });
}

std::string strip(std::string_view text, bool left, bool right) {
    size_t begin = 0, end = text.size();
    while (left && begin < end) {
        const unicode::Character c = unicode::decode(text, begin);
        if (!unicode::is_white_space(c.value)) break;
        begin += c.size;
    }
    while (right && end > begin) {
        const size_t last = unicode::previous(text, end);
        if (!unicode::is_white_space(unicode::decode(text, last).value)) break;
        end = last;
    }
    return std::string(text.substr(begin, end - begin));
}

std::string replace(std::string_view text, const Pattern & pattern, const std::string & content, size_t limit) {
    std::string out;
    out.reserve(text.size());
    size_t done = 0;
    while (done < text.size()) {
        const Pattern::Match match = pattern.find(text, done);
        if (match.begin == std::string_view::npos) break;
        out.append(text, done, match.begin - done);
        out.append(content);
        check_growth("normalizer", out.size(), limit);
        done = match.end;
    }
    return out.append(text, done, std::string_view::npos);
}

// Drops what BERT calls control characters and U+FFFD, and turns white space into blanks.
std::string clean(std::string_view text) {
    return map_characters(text, [](std::string & out, char32_t c, std::string_view bytes) {
        const bool is_blank = c == '\t' || c == '\n' || c == '\r';
        if (!is_blank && (c == 0 || c == unicode::replacement_character || unicode::is_other(c))) return;
        if (is_blank || unicode::is_white_space(c)) out.push_back(' ');
        else out.append(bytes);
    });
}

std::string isolate_chinese(std::string_view text) {
    return map_characters(text, [](std::string & out, char32_t c, std::string_view bytes) {
        if (unicode::is_chinese(c)) out.append(" ").append(bytes).append(" ");
        else out.append(bytes);
    });
}

std::string without_nonspacing_marks(std::string_view text) {
    return map_characters(text, [](std::string & out, char32_t c, std::string_view bytes) {
        if (!unicode::is_nonspacing_mark(c)) out.append(bytes);
    });
}

std::string without_marks(std::string_view text) {
    return map_characters(text, [](std::string & out, char32_t c, std::string_view bytes) {
        if (!unicode::is_mark(c)) out.append(bytes);
    });
}

std::string normalize_bert(std::string text, bool clean_text, bool chinese, bool accents, bool lower) {
    if (clean_text) text = clean(text);
    if (!is_ascii(text)) { // neither concerns ASCII
        if (chinese) text = isolate_chinese(text);
        if (accents) text = without_nonspacing_marks(unicode::normalize(text, unicode::NormalForm::NFD));
    }
    return lower ? lowercase(text) : text;
}

} // namespace

Normalizer::Normalizer(const std::vector<TokenizerSpec::Step> & steps, const std::string & charsmap) {
    using unicode::NormalForm;
    const auto add_form = [&](NormalForm form) {
        steps_.push_back([form](std::string text, size_t) { return is_ascii(text) ? text : unicode::normalize(text, form); });
    };
    for (const TokenizerSpec::Step & step : steps) {
        const std::string & name = argument(step, 0);
        if (name == "nfc") add_form(NormalForm::NFC);
        else if (name == "nfd") add_form(NormalForm::NFD);
        else if (name == "nfkc") add_form(NormalForm::NFKC);
        else if (name == "nfkd") add_form(NormalForm::NFKD);
        else if (name == "lowercase") steps_.push_back([](std::string text, size_t) { return lowercase(text); });
        else if (name == "strip_accents") steps_.push_back([](std::string text, size_t) { return without_marks(text); });
        else if (name == "strip") steps_.push_back([left = flag(step, 1), right = flag(step, 2)](std::string text, size_t) { return strip(text, left, right); });
        else if (name == "prepend") steps_.push_back([prefix = argument(step, 1)](std::string text, size_t) { return text.empty() ? text : prefix + text; });
        else if (name == "replace") {
            unsettled_size_ += argument(step, 2).size();
            steps_.push_back([pattern = Pattern(argument(step, 1), argument(step, 2)), content = argument(step, 3)](std::string text, size_t limit) {
                return replace(text, pattern, content, limit);
            });
        } else if (name == "precompiled") {
            if (charsmap.empty()) throw Error("MODEL_INVALID", "tokenizer.ggml.precompiled_charsmap is missing, but tokenizer.json uses it; convert the model again");
            steps_.push_back([map = Charsmap(charsmap)](std::string text, size_t limit) { return map.normalize(text, limit); });
        } else if (name == "bert") {
            steps_.push_back([clean_text = flag(step, 1), chinese = flag(step, 2), accents = flag(step, 3), lower = flag(step, 4)](std::string text, size_t) {
                return normalize_bert(std::move(text), clean_text, chinese, accents, lower);
            });
        } else {
            throw unsupported_step("normalizer", step);
        }
        if (name == "strip_accents" || name == "strip" || name == "precompiled" || name == "bert") may_remove_start_ = true;
        if (name == "replace" && argument(step, 3).empty()) may_remove_start_ = true;
    }
}

std::string Normalizer::normalize(std::string_view utf8) const {
    const size_t limit = max_growth * (utf8.size() + 1);
    std::string text(utf8);
    for (const auto & step : steps_) {
        text = step(std::move(text), limit);
        check_growth("normalizer", text.size(), limit);
    }
    return text;
}

} // namespace bge
