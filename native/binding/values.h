// Reading and making JavaScript values, and errors with a code. On the JS thread only.
#pragma once
#include "error.h"
#include <cstring>
#include <napi.h>
#include <new>
#include <string>
#include <vector>

namespace bge::binding {

Napi::Error to_js(Napi::Env env, const char * code, const std::string & message);

// Runs `f`, turning what it throws into a JavaScript exception with a code.
template <class F> auto guarded(Napi::Env env, F && f) -> decltype(f()) {
    try {
        return f();
    } catch (const Error & e) {
        throw to_js(env, e.code, e.what());
    } catch (const Napi::Error &) {
        throw;
    } catch (const std::bad_alloc &) {
        throw to_js(env, "OUT_OF_MEMORY", "Out of memory");
    } catch (const std::exception & e) {
        throw to_js(env, "COMPUTE_FAILED", e.what());
    }
}

std::string text(const Napi::Value & value);
std::string text(const Napi::Object & object, const char * key);
std::vector<std::string> texts(const Napi::Value & value);
int32_t integer(const Napi::Object & object, const char * key);
std::vector<int32_t> integers(const Napi::Value & value); // from an array of numbers or an Int32Array; none from undefined
std::vector<float> floats(const Napi::Value & value);           // from an array of numbers
bool boolean(const Napi::Object & object, const char * key);

template <class Array, class T> Array typed_array(Napi::Env env, const std::vector<T> & values) {
    Array out = Array::New(env, values.size());
    if (!values.empty()) std::memcpy(out.Data(), values.data(), values.size() * sizeof(T));
    return out;
}

Napi::Int32Array ids_to_js(Napi::Env env, const std::vector<int32_t> & ids);
Napi::Array strings_to_js(Napi::Env env, const std::vector<std::string> & values);

} // namespace bge::binding
