// The tensor types of ggml, and the conversion of rows from one to another.
#pragma once
#include "ggml-runtime.h"
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace bge {

struct TensorType {
    std::string name; // ggml's own, in capitals: F32, Q4_K
    ggml_type type;
    size_t block_size;  // elements in one block
    size_t block_bytes; // bytes the block takes
    bool quantized;
    bool writable; // convert_rows can make it without an importance matrix
};

// Every type that holds weights. Needs ggml_runtime::open() first, as all of this file does.
std::vector<TensorType> tensor_types();

// The type of that name, whatever the case. Throws Error CONVERT_FAILED naming it.
ggml_type tensor_type_named(const std::string & name);
std::string tensor_type_name(ggml_type type);

// Converts whole rows of `columns` elements; `size` bytes of `source` must be a whole number of them. Goes through float32.
// Throws Error CONVERT_FAILED on a size or column count that does not fit the types, a type that cannot be read or made,
// and a value that is not finite and would have to be quantised (some quantisers abort on those).
// `importance`, empty or one a column: by what quantisers weigh errors; those of Q8_0 and the plain types do not heed it.
std::vector<uint8_t> convert_rows(const uint8_t * source, size_t size, ggml_type source_type, ggml_type target_type, size_t columns,
                                  const std::vector<float> & importance = {});

} // namespace bge
