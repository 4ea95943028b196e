// ModelFile: the metadata and tensors of one GGUF file. Files come from strangers: the header is walked and bounded
// here before ggml parses it (ggml asserts on some malformed ones), and every getter names the key it misses.
#pragma once
#include "ggml-runtime.h"
#include "mapped-file.h"
#include <cstdint>
#include <string>
#include <vector>

namespace bge {

class ModelFile {
public:
    explicit ModelFile(const std::string & path); // throws Error MODEL_NOT_FOUND, MODEL_INVALID or IO

    const std::string & path() const { return path_; }
    const MappedFile & file() const { return file_; }
    void require_unchanged() const; // throws Error MODEL_CHANGED
    const gguf_context * gguf() const { return gguf_.get(); }
    std::string architecture() const { return text("general.architecture"); }

    bool has(const std::string & key) const;
    std::string text(const std::string & key) const;
    uint32_t u32(const std::string & key) const; // any integer type that fits
    float f32(const std::string & key) const;
    bool boolean(const std::string & key) const;
    std::string text(const std::string & key, const std::string & fallback) const { return has(key) ? text(key) : fallback; }
    uint32_t u32(const std::string & key, uint32_t fallback) const { return has(key) ? u32(key) : fallback; }
    float f32(const std::string & key, float fallback) const { return has(key) ? f32(key) : fallback; }
    bool boolean(const std::string & key, bool fallback) const { return has(key) ? boolean(key) : fallback; }
    bool is_array(const std::string & key) const;
    std::vector<bool> booleans(const std::string & key) const;
    std::vector<std::string> texts(const std::string & key) const;
    std::vector<float> floats(const std::string & key) const;
    std::vector<int32_t> integers(const std::string & key) const;
    std::string bytes(const std::string & key) const; // an array of u8 or i8

    // Metadata of a tensor (no data behind it), or null.
    const ggml_tensor * find(const std::string & name) const;
    // Where a tensor's bytes lie in the file; checked to be inside it.
    size_t offset_of(const std::string & name) const;
    uint8_t * data_of(const std::string & name) const { return file_.data() + offset_of(name); }

private:
    int64_t require(const std::string & key, gguf_type type, bool array) const;

    std::string path_;
    MappedFile file_;
    ggml_context_ptr tensors_; // declared first: gguf_ points nowhere into it, but both come from one call
    gguf_context_ptr gguf_;
};

} // namespace bge
