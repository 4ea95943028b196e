// Error: what native code throws. The code is stable and reaches JavaScript as RerankerError.code.
#pragma once
#include <stdexcept>
#include <string>

namespace bge {

struct Error : std::runtime_error {
    Error(const char * code, const std::string & message) : std::runtime_error(message), code(code) {}
    const char * code; // one of src/errors.ts, such as "MODEL_INVALID"
};

} // namespace bge
