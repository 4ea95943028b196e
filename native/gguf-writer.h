// Writes the front part of a GGUF file, magic to tensor table, with ggml's own functions; the caller adds the tensors' bytes.
#pragma once
#include "ggml-runtime.h"
#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace bge {

// An array of numbers or bools: its elements as ggml stores them (a bool is one byte), without padding.
struct GgufArray {
    gguf_type type; // neither GGUF_TYPE_STRING nor GGUF_TYPE_ARRAY
    std::vector<uint8_t> bytes;
};

using GgufValue = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, uint64_t, int64_t, float, double, bool,
                               std::string, std::vector<std::string>, GgufArray>;

struct GgufEntry {
    std::string key;
    GgufValue value;
};

struct GgufTensorSpec {
    std::string name;
    ggml_type type;
    std::vector<int64_t> shape; // fastest dimension first, 1 to 4 of them
};

struct GgufLayout {
    size_t alignment;
    size_t data_offset;          // bytes from the start of the file, as all offsets here
    std::vector<size_t> offsets; // of each tensor, in the order given
    std::vector<size_t> sizes;   // bytes of each tensor's data
    size_t file_size;            // of the whole file, padding after the last tensor included
};

// Creates or truncates the file at `path` (UTF-8). Throws Error CONVERT_FAILED on what ggml would abort on or store wrong:
// double names, strings with U+0000, bad shapes; Error IO when the file cannot be written.
GgufLayout write_gguf_header(const std::string & path, const std::vector<GgufEntry> & metadata, const std::vector<GgufTensorSpec> & tensors);

} // namespace bge
