// What the addon exports, a function for each file that adds some.
#pragma once
#include "engine.h"
#include <napi.h>
#include <set>

namespace bge::binding {

// Of one Node environment: the main thread, or a worker.
struct Environment {
    Napi::FunctionReference model_class, tokenizer_class, texts_class;
    std::set<Engine *> engines; // of its open models
};

inline void add(Napi::Object exports, const char * name, Napi::Value (*f)(const Napi::CallbackInfo &)) {
    exports[name] = Napi::Function::New(exports.Env(), f, name);
}

void export_devices(Napi::Env env, Napi::Object exports);
void export_gguf_reader(Napi::Env env, Napi::Object exports);
void export_gguf_writer(Napi::Env env, Napi::Object exports);
void export_tokenizers(Napi::Env env, Napi::Object exports);
void export_texts(Napi::Env env, Napi::Object exports);
void export_models(Napi::Env env, Napi::Object exports);

} // namespace bge::binding
