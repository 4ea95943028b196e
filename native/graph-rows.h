// Rows of F32 tensors, as our kernels take them. For graph*.cpp only.
#pragma once
#include "ggml-runtime.h"

namespace bge {

inline const float * row_data(const ggml_tensor * t) { return static_cast<const float *>(t->data); }
inline size_t row_stride(const ggml_tensor * t) { return t->nb[1] / sizeof(float); } // in floats

} // namespace bge
