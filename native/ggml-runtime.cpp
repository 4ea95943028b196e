// Opens the prebuilt ggml libraries. Traps this file knows: libggml-base carries no version in its file name, so a
// process that already holds another ggml would silently share it (checked); libggml-base must never be unloaded
// (it installs a terminate handler); on Windows and Linux a library's own folder must be searched for its siblings.
#include "ggml-runtime.h"
#include "error.h"
#include "win32.h"
#include <map>
#include <mutex>
#ifndef _WIN32
#include <dlfcn.h>
#endif

namespace bge {

#ifdef BGE_GGML_LINKED
#define BGE_DEFINE(f) decltype(&::f) f = &::f;
#else
#define BGE_DEFINE(f) decltype(&::f) f = nullptr;
#endif
BGE_GGML_BASE_FUNCTIONS(BGE_DEFINE)
BGE_GGML_REGISTRY_FUNCTIONS(BGE_DEFINE)
#undef BGE_DEFINE

namespace ggml_runtime {
namespace {

// ggml itself is one per process: these outlive every environment.
std::mutex mutex;
bool opened = false;
Opened result;
std::map<std::string, std::vector<std::string>> loaded_modules;

#ifdef _WIN32
using Handle = HMODULE;

Handle load(const std::string & path, std::string & error) {
    DWORD mode;
    SetThreadErrorMode(SEM_FAILCRITICALERRORS, &mode); // no dialog box about a missing DLL
    Handle handle = LoadLibraryExW(widen(path).c_str(), nullptr, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS);
    const DWORD code = GetLastError();
    SetThreadErrorMode(mode, nullptr);
    if (handle) return handle;
    error = error_text(code);
    // The file is there, so it is a DLL beside or below it that is not: nearly always Microsoft's C++ runtime.
    if (code == ERROR_MOD_NOT_FOUND) error += " A DLL that it needs is missing; install the Microsoft Visual C++ 2015-2022 Redistributable";
    return nullptr;
}

void * symbol(Handle handle, const char * name) { return reinterpret_cast<void *>(GetProcAddress(handle, name)); }
void unload(Handle handle) { FreeLibrary(handle); }

#ifndef BGE_GGML_LINKED
std::string file_name(const std::string & path) { return path.substr(path.find_last_of("\\/") + 1); }
Handle already_loaded(const std::string & path) { return GetModuleHandleW(widen(file_name(path)).c_str()); }

std::string origin_of(void * address) {
    HMODULE module;
    wchar_t path[4096];
    const DWORD flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT;
    if (!GetModuleHandleExW(flags, static_cast<const wchar_t *>(address), &module) || !GetModuleFileNameW(module, path, 4096)) return {};
    return narrow(path);
}
#endif
#else
using Handle = void *;

Handle load(const std::string & path, std::string & error) {
    Handle handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        const char * text = dlerror();
        error = text ? text : "unknown error";
    }
    return handle;
}

void * symbol(Handle handle, const char * name) { return dlsym(handle, name); }
void unload(Handle handle) { dlclose(handle); }

#ifndef BGE_GGML_LINKED
// The name other libraries ask for: the bare file name, on macOS behind @rpath.
std::string file_name(const std::string & path) {
    const std::string name = path.substr(path.find_last_of('/') + 1);
#ifdef __APPLE__
    return "@rpath/" + name;
#else
    return name;
#endif
}

Handle already_loaded(const std::string & path) {
    Handle handle = dlopen(file_name(path).c_str(), RTLD_NOW | RTLD_NOLOAD);
    if (handle) dlclose(handle); // drops only the reference taken here
    return handle;
}

std::string origin_of(void * address) {
    Dl_info info;
    return dladdr(address, &info) && info.dli_fname ? info.dli_fname : "";
}
#endif
#endif

#ifndef BGE_GGML_LINKED
template <class F> void bind(Handle handle, const char * name, F & out, std::string & missing) {
    out = reinterpret_cast<F>(symbol(handle, name));
    if (!out) missing += (missing.empty() ? "" : ", ") + std::string(name);
}
#endif

void quiet(ggml_log_level, const char *, void *) {}

} // namespace

bool is_open() {
    std::lock_guard<std::mutex> lock(mutex);
    return opened;
}

Held held(const std::string & base) {
    std::lock_guard<std::mutex> lock(mutex);
    if (opened) return {result.version, result.from, true};
#ifndef BGE_GGML_LINKED
    if (Handle handle = already_loaded(base)) {
        const auto version = reinterpret_cast<const char * (*)()>(symbol(handle, "ggml_version"));
        return {version ? version() : "unknown", version ? origin_of(reinterpret_cast<void *>(version)) : base, false};
    }
#endif
    return {{}, {}, false};
}

Opened open(const Libraries & libraries) {
    std::lock_guard<std::mutex> lock(mutex);
    if (opened) return result;
#ifdef BGE_GGML_LINKED
    if (ggml_version() != libraries.version) {
        throw Error("GGML_VERSION", "This addon was built with ggml " + std::string(ggml_version()) + " compiled in, but this version of the package needs ggml " +
                    libraries.version + ". Run `npx bge-reranker build` again.");
    }
    result = {ggml_version(), ggml_commit(), "(built in)", false};
    ggml_log_set(quiet, nullptr);
#else
    const bool shared = already_loaded(libraries.base) != nullptr;
    std::string error, missing;
    if (!load(libraries.base, error)) {
        throw Error("GGML_NOT_FOUND", "Cannot load " + libraries.base + ": " + error + ". Reinstall the package for this platform.");
    }
    Handle registry = load(libraries.ggml, error);
#ifdef _WIN32
    Handle base = already_loaded(libraries.base);
#else
    // dlsym looks into dependencies: asked through libggml it gives the base that libggml itself is bound to.
    Handle base = registry ? registry : already_loaded(libraries.base);
#endif
    bind(base, "ggml_version", ggml_version, missing);
    const std::string found = ggml_version ? ggml_version() : "unknown";
    const std::string from = ggml_version ? origin_of(reinterpret_cast<void *>(ggml_version)) : std::string();
    if (found != libraries.version) {
        throw Error("GGML_VERSION", "This process already holds ggml " + found + " from " + from + ", but this addon needs ggml " +
                    libraries.version + " (" + libraries.base + "). Two versions cannot share a process: install the node-llama-cpp "
                    "version that carries ggml " + libraries.version + ", or run the reranker in a child process.");
    }
    if (!registry) throw Error("GGML_NOT_FOUND", "Cannot load " + libraries.ggml + ": " + error + ". Reinstall the package for this platform.");
#define BGE_BIND_BASE(f) bind(base, #f, f, missing);
#define BGE_BIND_REGISTRY(f) bind(registry, #f, f, missing);
    BGE_GGML_BASE_FUNCTIONS(BGE_BIND_BASE)
    BGE_GGML_REGISTRY_FUNCTIONS(BGE_BIND_REGISTRY)
#undef BGE_BIND_BASE
#undef BGE_BIND_REGISTRY
    if (!missing.empty()) throw Error("GGML_NOT_FOUND", "Functions missing from " + libraries.ggml + ": " + missing);
    result = {found, ggml_commit(), from, shared};
    if (!shared) ggml_log_set(quiet, nullptr);
#endif
    opened = true;
    return result;
}

Module probe(const std::string & path) {
    Module module;
    module.path = path;
    Handle handle = load(path, module.error);
    if (!handle) return module;
    auto score = reinterpret_cast<int (*)()>(symbol(handle, "ggml_backend_score"));
    if (!symbol(handle, "ggml_backend_init")) module.error = "not a ggml backend module";
    else module.score = score ? score() : 1;
    unload(handle); // load_module() maps the chosen one again
    return module;
}

std::string preload(const std::string & path) {
    std::string error;
    load(path, error);
    return error;
}

std::vector<std::string> load_module(const std::string & path) {
    const Module module = probe(path);
    if (!module.error.empty()) throw Error("DEVICE_NOT_FOUND", "Cannot load " + path + ": " + module.error);
    if (module.score == 0) throw Error("DEVICE_NOT_FOUND", path + " does not support this processor");
    std::lock_guard<std::mutex> lock(mutex);
    auto known = loaded_modules.find(path);
    if (known != loaded_modules.end()) return known->second;
    // What ggml_backend_load does, but for two faults on Windows: it reads the path in the system's code page, and
    // does not search the module's folder for what the module needs.
    std::string error;
    Handle handle = load(path, error); // stays loaded: its devices are registered
    auto init = handle ? reinterpret_cast<ggml_backend_reg_t (*)()>(symbol(handle, "ggml_backend_init")) : nullptr;
    ggml_backend_reg_t reg = init ? init() : nullptr;
    if (!reg) throw Error("DEVICE_NOT_FOUND", path + " does not start" + (error.empty() ? "" : ": " + error));
    ggml_backend_register(reg);
    std::vector<std::string> names;
    for (size_t i = 0; i < ggml_backend_reg_dev_count(reg); i++) names.push_back(ggml_backend_dev_name(ggml_backend_reg_dev_get(reg, i)));
    return loaded_modules[path] = names;
}

} // namespace ggml_runtime
} // namespace bge
