// A GGUF file's header as JavaScript values.
#include "exports.h"
#include "gguf-types.h"
#include "model-file.h"
#include "task.h"
#include "tensor-types.h"
#include "values.h"
#include <algorithm>

namespace bge::binding {
namespace {

std::string kv_type_name(gguf_type type) {
    for (const auto & t : kv_types) if (t.type == type) return t.name;
    return "unknown";
}

Napi::Value scalar_to_js(Napi::Env env, const gguf_context * g, int64_t id) {
    switch (gguf_get_kv_type(g, id)) {
        case GGUF_TYPE_UINT8: return Napi::Number::New(env, gguf_get_val_u8(g, id));
        case GGUF_TYPE_INT8: return Napi::Number::New(env, gguf_get_val_i8(g, id));
        case GGUF_TYPE_UINT16: return Napi::Number::New(env, gguf_get_val_u16(g, id));
        case GGUF_TYPE_INT16: return Napi::Number::New(env, gguf_get_val_i16(g, id));
        case GGUF_TYPE_UINT32: return Napi::Number::New(env, gguf_get_val_u32(g, id));
        case GGUF_TYPE_INT32: return Napi::Number::New(env, gguf_get_val_i32(g, id));
        case GGUF_TYPE_UINT64: return Napi::BigInt::New(env, gguf_get_val_u64(g, id));
        case GGUF_TYPE_INT64: return Napi::BigInt::New(env, gguf_get_val_i64(g, id));
        case GGUF_TYPE_FLOAT32: return Napi::Number::New(env, gguf_get_val_f32(g, id));
        case GGUF_TYPE_FLOAT64: return Napi::Number::New(env, gguf_get_val_f64(g, id));
        case GGUF_TYPE_BOOL: return Napi::Boolean::New(env, gguf_get_val_bool(g, id));
        default: return Napi::String::New(env, gguf_get_val_str(g, id));
    }
}

template <class Array> Napi::Value numbers_to_js(Napi::Env env, const void * data, size_t n) {
    Array out = Array::New(env, n);
    if (n) std::memcpy(out.Data(), data, out.ByteLength());
    return out;
}

Napi::Value array_to_js(Napi::Env env, const gguf_context * g, int64_t id) {
    const size_t n = gguf_get_arr_n(g, id);
    const gguf_type type = gguf_get_arr_type(g, id);
    if (type == GGUF_TYPE_STRING) {
        Napi::Array out = Napi::Array::New(env, n);
        for (size_t i = 0; i < n; i++) {
            Napi::HandleScope scope(env); // a vocabulary has 250,000 strings
            out.Set(uint32_t(i), Napi::String::New(env, gguf_get_arr_str(g, id, i)));
        }
        return out;
    }
    const void * data = gguf_get_arr_data(g, id);
    switch (type) {
        case GGUF_TYPE_UINT8: case GGUF_TYPE_BOOL: return numbers_to_js<Napi::Uint8Array>(env, data, n);
        case GGUF_TYPE_INT8: return numbers_to_js<Napi::Int8Array>(env, data, n);
        case GGUF_TYPE_UINT16: return numbers_to_js<Napi::Uint16Array>(env, data, n);
        case GGUF_TYPE_INT16: return numbers_to_js<Napi::Int16Array>(env, data, n);
        case GGUF_TYPE_UINT32: return numbers_to_js<Napi::Uint32Array>(env, data, n);
        case GGUF_TYPE_INT32: return numbers_to_js<Napi::Int32Array>(env, data, n);
        case GGUF_TYPE_UINT64: return numbers_to_js<Napi::BigUint64Array>(env, data, n);
        case GGUF_TYPE_INT64: return numbers_to_js<Napi::BigInt64Array>(env, data, n);
        case GGUF_TYPE_FLOAT32: return numbers_to_js<Napi::Float32Array>(env, data, n);
        default: return numbers_to_js<Napi::Float64Array>(env, data, n);
    }
}

// A long list of texts, of which only those of some tokens are there: to make 250,000 strings takes the JS thread a tenth of a second.
Napi::Array sparse_texts(Napi::Env env, const ModelFile & file, int64_t id) {
    const gguf_context * g = file.gguf();
    const size_t n = gguf_get_arr_n(g, id);
    Napi::Array out = Napi::Array::New(env, n);
    if (std::string(gguf_get_key(g, id)) != "tokenizer.ggml.tokens") return out;
    const auto put = [&](size_t i) { out.Set(uint32_t(i), Napi::String::New(env, gguf_get_arr_str(g, id, i))); };
    const int64_t types = gguf_find_key(g, "tokenizer.ggml.token_type");
    if (types >= 0 && gguf_get_kv_type(g, types) == GGUF_TYPE_ARRAY && gguf_get_arr_type(g, types) == GGUF_TYPE_INT32) {
        const auto * type = static_cast<const int32_t *>(gguf_get_arr_data(g, types));
        for (size_t i = 0; i < std::min(n, gguf_get_arr_n(g, types)); i++) if (type[i] >= 2 && type[i] <= 4) put(i); // unknown, control, user defined
    }
    const uint32_t unknown = file.u32("tokenizer.ggml.unknown_token_id", UINT32_MAX);
    if (unknown < n) put(unknown);
    return out;
}

// `lean`: long lists of texts are sparse.
Napi::Object header_to_js(Napi::Env env, const ModelFile & file, bool lean) {
    constexpr size_t is_long = 1000;
    const gguf_context * g = file.gguf();
    Napi::Object metadata = Napi::Object::New(env);
    for (int64_t i = 0; i < gguf_get_n_kv(g); i++) {
        const bool array = gguf_get_kv_type(g, i) == GGUF_TYPE_ARRAY;
        Napi::Object entry = Napi::Object::New(env);
        entry["type"] = Napi::String::New(env, array ? kv_type_name(gguf_get_arr_type(g, i)) + "[]" : kv_type_name(gguf_get_kv_type(g, i)));
        const bool sparse = lean && array && gguf_get_arr_type(g, i) == GGUF_TYPE_STRING && gguf_get_arr_n(g, i) > is_long;
        entry["value"] = sparse ? sparse_texts(env, file, i) : array ? array_to_js(env, g, i) : scalar_to_js(env, g, i);
        metadata.Set(gguf_get_key(g, i), entry);
    }
    const int64_t n_tensors = gguf_get_n_tensors(g);
    Napi::Array tensors = Napi::Array::New(env, size_t(n_tensors));
    for (int64_t i = 0; i < n_tensors; i++) {
        const char * name = gguf_get_tensor_name(g, i);
        const ggml_tensor * meta = file.find(name);
        Napi::Array shape = Napi::Array::New(env);
        for (int d = 0; d < ggml_n_dims(meta); d++) shape.Set(uint32_t(d), Napi::Number::New(env, double(meta->ne[d])));
        Napi::Object o = Napi::Object::New(env);
        o["name"] = Napi::String::New(env, name);
        o["type"] = Napi::String::New(env, tensor_type_name(meta->type));
        o["shape"] = shape;
        o["offset"] = Napi::Number::New(env, double(file.offset_of(name)));
        o["sizeBytes"] = Napi::Number::New(env, double(ggml_nbytes(meta)));
        tensors.Set(uint32_t(i), o);
    }
    Napi::Object out = Napi::Object::New(env);
    out["version"] = Napi::Number::New(env, gguf_get_version(g));
    out["alignment"] = Napi::Number::New(env, double(gguf_get_alignment(g)));
    out["dataOffset"] = Napi::Number::New(env, double(gguf_get_data_offset(g)));
    out["fileSizeBytes"] = Napi::Number::New(env, double(file.file().size()));
    out["metadata"] = metadata;
    out["tensors"] = tensors;
    return out;
}

Napi::Value read_gguf(const Napi::CallbackInfo & call) {
    return guarded(call.Env(), [&] { return header_to_js(call.Env(), ModelFile(text(call[0])), /*lean*/ false); });
}

Napi::Value read_lean_gguf(const Napi::CallbackInfo & call) {
    return Task<std::shared_ptr<ModelFile>>::run(
        call.Env(), [path = text(call[0])] { return std::make_shared<ModelFile>(path); },
        [](Napi::Env env, std::shared_ptr<ModelFile> && file) -> Napi::Value { return header_to_js(env, *file, /*lean*/ true); });
}

} // namespace

void export_gguf_reader(Napi::Env, Napi::Object exports) {
    add(exports, "readGguf", read_gguf);
    add(exports, "readLeanGguf", read_lean_gguf);
}

} // namespace bge::binding
