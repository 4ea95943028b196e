// Names of the value types of GGUF metadata, as TypeScript writes them.
#pragma once
#include "ggml-runtime.h"

namespace bge::binding {

struct KvType { gguf_type type; const char * name; };
inline const KvType kv_types[] = {
    {GGUF_TYPE_UINT8, "u8"}, {GGUF_TYPE_INT8, "i8"}, {GGUF_TYPE_UINT16, "u16"}, {GGUF_TYPE_INT16, "i16"},
    {GGUF_TYPE_UINT32, "u32"}, {GGUF_TYPE_INT32, "i32"}, {GGUF_TYPE_UINT64, "u64"}, {GGUF_TYPE_INT64, "i64"},
    {GGUF_TYPE_FLOAT32, "f32"}, {GGUF_TYPE_FLOAT64, "f64"}, {GGUF_TYPE_BOOL, "bool"}, {GGUF_TYPE_STRING, "string"},
};

} // namespace bge::binding
