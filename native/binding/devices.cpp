// Opening ggml's libraries, and the devices they find.
#include "backend.h"
#include "cpu/cpu.h"
#include "exports.h"
#include "ggml-runtime.h"
#include "values.h"

namespace bge::binding {
namespace {

Napi::Value open(const Napi::CallbackInfo & call) {
    const Napi::Env env = call.Env();
    const auto o = call[0].As<Napi::Object>();
    const auto opened = guarded(env, [&] { return ggml_runtime::open({text(o, "base"), text(o, "ggml"), text(o, "version")}); });
    Napi::Object out = Napi::Object::New(env);
    out["version"] = Napi::String::New(env, opened.version);
    out["commit"] = Napi::String::New(env, opened.commit);
    out["from"] = Napi::String::New(env, opened.from);
    out["shared"] = Napi::Boolean::New(env, opened.shared);
    return out;
}

Napi::Value held(const Napi::CallbackInfo & call) {
    const Napi::Env env = call.Env();
    const auto found = ggml_runtime::held(text(call[0]));
    if (found.version.empty()) return env.Undefined();
    Napi::Object out = Napi::Object::New(env);
    out["version"] = Napi::String::New(env, found.version);
    out["from"] = Napi::String::New(env, found.from);
    out["ours"] = Napi::Boolean::New(env, found.ours);
    return out;
}

Napi::Value preload(const Napi::CallbackInfo & call) {
    return Napi::String::New(call.Env(), ggml_runtime::preload(text(call[0])));
}

Napi::Value probe(const Napi::CallbackInfo & call) {
    const Napi::Env env = call.Env();
    const auto module = ggml_runtime::probe(text(call[0]));
    Napi::Object out = Napi::Object::New(env);
    out["path"] = Napi::String::New(env, module.path);
    out["score"] = Napi::Number::New(env, module.score);
    if (!module.error.empty()) out["error"] = Napi::String::New(env, module.error);
    return out;
}

Napi::Value load_module(const Napi::CallbackInfo & call) {
    return guarded(call.Env(), [&] { return strings_to_js(call.Env(), ggml_runtime::load_module(text(call[0]))); });
}

Napi::Value devices(const Napi::CallbackInfo & call) {
    const Napi::Env env = call.Env();
    const auto found = guarded(env, [] { return list_devices(); });
    Napi::Array out = Napi::Array::New(env);
    for (uint32_t i = 0; i < found.size(); i++) {
        Napi::Object o = Napi::Object::New(env);
        o["name"] = Napi::String::New(env, found[i].name);
        o["description"] = Napi::String::New(env, found[i].description);
        o["kind"] = Napi::String::New(env, found[i].kind);
        o["memoryFreeBytes"] = Napi::Number::New(env, double(found[i].memory_free));
        o["memoryTotalBytes"] = Napi::Number::New(env, double(found[i].memory_total));
        out.Set(i, o);
    }
    return out;
}

Napi::Value cpu_info(const Napi::CallbackInfo & call) {
    const Napi::Env env = call.Env();
    Napi::Object out = Napi::Object::New(env);
    out["isa"] = Napi::String::New(env, guarded(env, [] { return std::string(cpu::isa_name(cpu::isa())); }));
    out["physicalCores"] = Napi::Number::New(env, cpu::physical_cores());
    return out;
}

} // namespace

void export_devices(Napi::Env env, Napi::Object exports) {
#ifdef BGE_GGML_LINKED
    exports["builtin"] = Napi::Boolean::New(env, true);
#else
    exports["builtin"] = Napi::Boolean::New(env, false);
#endif
    add(exports, "open", open);
    add(exports, "held", held);
    add(exports, "preload", preload);
    add(exports, "probe", probe);
    add(exports, "loadModule", load_module);
    add(exports, "devices", devices);
    add(exports, "cpu", cpu_info);
}

} // namespace bge::binding
