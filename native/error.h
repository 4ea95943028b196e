// Error: what native code throws. The code is stable and reaches JavaScript as RerankerError.code.
#pragma once
#include <stdexcept>
#include <string>

namespace bge {

struct Error : std::runtime_error {
    Error(const char * code, const std::string & message) : std::runtime_error(message), code(code) {}
    const char * code; // one of src/errors.ts, such as "MODEL_INVALID"
};

// A text from a file as a message shows it: strangers write long ones.
inline std::string shortened(const std::string & text) { return text.size() <= 80 ? text : text.substr(0, 77) + "..."; }

} // namespace bge
