// Reading the steps and options of a TokenizerSpec: arguments by position, with errors that name the step.
#pragma once
#include "../error.h"
#include "tokenizer.h"

#include <cstdlib>

namespace bge {

inline Error unsupported_step(const std::string & where, const TokenizerSpec::Step & step) {
    std::string text;
    for (const std::string & part : step) text += (text.empty() ? "" : " ") + part;
    return Error("TOKENIZER_UNSUPPORTED", "tokenizer.json asks for the " + where + " \"" + shortened(text) + "\", which is not implemented; ids would be wrong");
}

inline const std::string & argument(const TokenizerSpec::Step & step, size_t i) {
    if (i >= step.size()) throw Error("MODEL_INVALID", "tokenizer step \"" + (step.empty() ? "" : shortened(step[0])) + "\" lacks argument " + std::to_string(i));
    return step[i];
}

inline bool flag(const TokenizerSpec::Step & step, size_t i) {
    const std::string & text = argument(step, i);
    if (text != "true" && text != "false") throw Error("MODEL_INVALID", "tokenizer step \"" + step[0] + "\" has \"" + shortened(text) + "\" where true or false belongs");
    return text == "true";
}

// A list of steps, each of which doubles the text, would grow it without bound. The most that real tokenizers do is 33
// bytes for the 3 of U+FDFA and 4 for a letter that is a word.
inline void check_growth(const char * what, size_t size, size_t limit) {
    if (size > limit) throw Error("TOKENIZER_UNSUPPORTED", std::string("the ") + what + " of tokenizer.json makes a text longer than " + std::to_string(limit) + " bytes, far more than it has");
}

// The value of an option, or nullptr when the spec does not set it.
inline const std::string * find_option(const TokenizerSpec & spec, const char * name) {
    for (const TokenizerSpec::Step & option : spec.options) {
        if (option.size() == 2 && option[0] == name) return &option[1];
    }
    return nullptr;
}

inline bool flag_option(const TokenizerSpec & spec, const char * name, bool otherwise) {
    const std::string * value = find_option(spec, name);
    return value ? flag({name, *value}, 1) : otherwise;
}

inline std::string text_option(const TokenizerSpec & spec, const char * name, const std::string & otherwise) {
    const std::string * value = find_option(spec, name);
    return value ? *value : otherwise;
}

inline int64_t number_option(const TokenizerSpec & spec, const char * name, int64_t otherwise) {
    const std::string * value = find_option(spec, name);
    if (!value) return otherwise;
    char * end = nullptr;
    const long long number = std::strtoll(value->c_str(), &end, 10);
    if (value->empty() || *end != '\0') throw Error("MODEL_INVALID", std::string("tokenizer option ") + name + " is \"" + shortened(*value) + "\", not a number");
    return number;
}

} // namespace bge
