#include "values.h"

namespace bge::binding {

Napi::Error to_js(Napi::Env env, const char * code, const std::string & message) {
    Napi::Error error = Napi::Error::New(env, message);
    error.Set("code", Napi::String::New(env, code));
    return error;
}

std::string text(const Napi::Value & value) { return value.As<Napi::String>().Utf8Value(); }
std::string text(const Napi::Object & object, const char * key) { return text(object.Get(key)); }
int32_t integer(const Napi::Object & object, const char * key) { return object.Get(key).ToNumber().Int32Value(); }
bool boolean(const Napi::Object & object, const char * key) { return object.Get(key).ToBoolean(); }

std::vector<int32_t> integers(const Napi::Value & value) {
    if (value.IsUndefined() || value.IsNull()) return {};
    if (value.IsTypedArray()) {
        const auto array = value.As<Napi::Int32Array>();
        return {array.Data(), array.Data() + array.ElementLength()};
    }
    const auto array = value.As<Napi::Array>();
    std::vector<int32_t> out(array.Length());
    for (uint32_t i = 0; i < array.Length(); i++) out[i] = array.Get(i).ToNumber().Int32Value();
    return out;
}

std::vector<float> floats(const Napi::Value & value) {
    const auto array = value.As<Napi::Array>();
    std::vector<float> out(array.Length());
    for (uint32_t i = 0; i < array.Length(); i++) out[i] = array.Get(i).ToNumber().FloatValue();
    return out;
}

std::vector<std::string> texts(const Napi::Value & value) {
    const auto array = value.As<Napi::Array>();
    std::vector<std::string> out(array.Length());
    for (uint32_t i = 0; i < array.Length(); i++) out[i] = text(array.Get(i));
    return out;
}

Napi::Int32Array ids_to_js(Napi::Env env, const std::vector<int32_t> & ids) { return typed_array<Napi::Int32Array>(env, ids); }

Napi::Array strings_to_js(Napi::Env env, const std::vector<std::string> & values) {
    Napi::Array out = Napi::Array::New(env, values.size());
    for (uint32_t i = 0; i < values.size(); i++) out.Set(i, Napi::String::New(env, values[i]));
    return out;
}

} // namespace bge::binding
