// Writing GGUF files: a header from JavaScript values, and tensor rows from one type to another.
#include "exports.h"
#include "gguf-types.h"
#include "gguf-writer.h"
#include "task.h"
#include "tensor-types.h"
#include "values.h"

namespace bge::binding {
namespace {

ggml_type tensor_type(const Napi::Value & value) { return tensor_type_named(text(value)); }

template <class T> GgufArray number_array(gguf_type type, const Napi::Array & array, T (*read)(const Napi::Value &)) {
    GgufArray out{type, std::vector<uint8_t>(array.Length() * sizeof(T))};
    for (uint32_t i = 0; i < array.Length(); i++) {
        const T value = read(array.Get(i));
        std::memcpy(out.bytes.data() + i * sizeof(T), &value, sizeof(T));
    }
    return out;
}

template <class T> T read_number(const Napi::Value & v) { return static_cast<T>(v.ToNumber().DoubleValue()); }
template <> uint64_t read_number(const Napi::Value & v) {
    bool lossless;
    return v.IsBigInt() ? v.As<Napi::BigInt>().Uint64Value(&lossless) : uint64_t(v.ToNumber().DoubleValue());
}
template <> int64_t read_number(const Napi::Value & v) {
    bool lossless;
    return v.IsBigInt() ? v.As<Napi::BigInt>().Int64Value(&lossless) : v.ToNumber().Int64Value();
}
template <> bool read_number(const Napi::Value & v) { return v.ToBoolean(); }

// A typed array of the right element size is taken as it is; anything else is read as an array of values.
template <class T> GgufValue array_from_js(gguf_type type, const Napi::Value & value) {
    if (value.IsTypedArray() && value.As<Napi::TypedArray>().ElementSize() == sizeof(T)) {
        const auto array = value.As<Napi::TypedArray>();
        const auto * data = static_cast<const uint8_t *>(array.ArrayBuffer().Data()) + array.ByteOffset();
        return GgufArray{type, {data, data + array.ByteLength()}};
    }
    if (!value.IsArray()) throw Napi::TypeError::New(value.Env(), "Expected an array of numbers, or a typed array of their size");
    return number_array<T>(type, value.As<Napi::Array>(), read_number<T>);
}

template <class T> GgufValue value_from_js(gguf_type type, bool array, const Napi::Value & value) {
    return array ? array_from_js<T>(type, value) : GgufValue(read_number<T>(value));
}

GgufEntry entry_from_js(const Napi::Array & entry) {
    const std::string key = text(entry.Get(0u));
    std::string name = text(entry.Get(1u));
    const Napi::Value value = entry.Get(2u);
    const bool array = name.size() > 2 && name.substr(name.size() - 2) == "[]";
    if (array) name.resize(name.size() - 2);
    for (const auto & t : kv_types) {
        if (name != t.name) continue;
        switch (t.type) {
            case GGUF_TYPE_UINT8: return {key, value_from_js<uint8_t>(t.type, array, value)};
            case GGUF_TYPE_INT8: return {key, value_from_js<int8_t>(t.type, array, value)};
            case GGUF_TYPE_UINT16: return {key, value_from_js<uint16_t>(t.type, array, value)};
            case GGUF_TYPE_INT16: return {key, value_from_js<int16_t>(t.type, array, value)};
            case GGUF_TYPE_UINT32: return {key, value_from_js<uint32_t>(t.type, array, value)};
            case GGUF_TYPE_INT32: return {key, value_from_js<int32_t>(t.type, array, value)};
            case GGUF_TYPE_UINT64: return {key, value_from_js<uint64_t>(t.type, array, value)};
            case GGUF_TYPE_INT64: return {key, value_from_js<int64_t>(t.type, array, value)};
            case GGUF_TYPE_FLOAT32: return {key, value_from_js<float>(t.type, array, value)};
            case GGUF_TYPE_FLOAT64: return {key, value_from_js<double>(t.type, array, value)};
            case GGUF_TYPE_BOOL: return {key, value_from_js<bool>(t.type, array, value)};
            default: return {key, array ? GgufValue(texts(value)) : GgufValue(text(value))};
        }
    }
    throw Napi::TypeError::New(value.Env(), "Unknown GGUF type " + name + " of key " + key);
}

Napi::Value write_header(const Napi::CallbackInfo & call) {
    const Napi::Env env = call.Env();
    const std::string path = text(call[0]);
    const auto entries = call[1].As<Napi::Array>();
    std::vector<GgufEntry> metadata;
    for (uint32_t i = 0; i < entries.Length(); i++) metadata.push_back(entry_from_js(entries.Get(i).As<Napi::Array>()));
    const auto list = call[2].As<Napi::Array>();
    std::vector<GgufTensorSpec> tensors;
    return guarded(env, [&]() -> Napi::Value {
        for (uint32_t i = 0; i < list.Length(); i++) {
            const auto o = list.Get(i).As<Napi::Object>();
            GgufTensorSpec spec{text(o, "name"), tensor_type(o.Get("type")), {}};
            const auto shape = o.Get("shape").As<Napi::Array>();
            for (uint32_t d = 0; d < shape.Length(); d++) spec.shape.push_back(shape.Get(d).ToNumber().Int64Value());
            tensors.push_back(spec);
        }
        const GgufLayout layout = write_gguf_header(path, metadata, tensors);
        Napi::Array placed = Napi::Array::New(env, tensors.size());
        for (uint32_t i = 0; i < tensors.size(); i++) {
            Napi::Object o = Napi::Object::New(env);
            const auto given = list.Get(i).As<Napi::Object>();
            o["name"] = given.Get("name");
            o["type"] = given.Get("type");
            o["shape"] = given.Get("shape");
            o["offset"] = Napi::Number::New(env, double(layout.offsets[i]));
            o["sizeBytes"] = Napi::Number::New(env, double(layout.sizes[i]));
            placed.Set(i, o);
        }
        Napi::Object out = Napi::Object::New(env);
        out["version"] = Napi::Number::New(env, 3);
        out["alignment"] = Napi::Number::New(env, double(layout.alignment));
        out["dataOffset"] = Napi::Number::New(env, double(layout.data_offset));
        out["fileSizeBytes"] = Napi::Number::New(env, double(layout.file_size));
        out["metadata"] = Napi::Object::New(env);
        out["tensors"] = placed;
        return out;
    });
}

Napi::Value types(const Napi::CallbackInfo & call) {
    const Napi::Env env = call.Env();
    const auto list = tensor_types();
    Napi::Array out = Napi::Array::New(env, list.size());
    for (uint32_t i = 0; i < list.size(); i++) {
        Napi::Object o = Napi::Object::New(env);
        o["name"] = Napi::String::New(env, list[i].name);
        o["blockSize"] = Napi::Number::New(env, double(list[i].block_size));
        o["blockBytes"] = Napi::Number::New(env, double(list[i].block_bytes));
        o["quantized"] = Napi::Boolean::New(env, list[i].quantized);
        o["writable"] = Napi::Boolean::New(env, list[i].writable);
        out.Set(i, o);
    }
    return out;
}

Napi::Value convert_rows_async(const Napi::CallbackInfo & call) {
    const Napi::Env env = call.Env();
    const auto source = call[0].As<Napi::Uint8Array>();
    const uint8_t * data = source.Data();
    const size_t size = source.ByteLength();
    return guarded(env, [&] {
        const ggml_type from = tensor_type(call[1]), to = tensor_type(call[2]);
        const size_t columns = size_t(call[3].ToNumber().Int64Value());
        std::vector<float> importance;
        if (call[4].IsTypedArray()) {
            const auto array = call[4].As<Napi::Float32Array>();
            importance.assign(array.Data(), array.Data() + array.ElementLength());
        }
        // The caller's bytes are read in place; the reference keeps them alive.
        auto keep_alive = std::make_shared<Napi::ObjectReference>(Napi::Persistent(source.As<Napi::Object>()));
        return Task<std::vector<uint8_t>>::run(
            env, [=] { return convert_rows(data, size, from, to, columns, importance); },
            [keep_alive](Napi::Env env, std::vector<uint8_t> && bytes) -> Napi::Value {
                keep_alive->Reset();
                return typed_array<Napi::Uint8Array>(env, bytes);
            });
    });
}

} // namespace

void export_gguf_writer(Napi::Env, Napi::Object exports) {
    add(exports, "tensorTypes", types);
    add(exports, "writeGgufHeader", write_header);
    add(exports, "convertRows", convert_rows_async);
}

} // namespace bge::binding
