// The GGUF header by ggml's gguf functions. They assert on bad input, so all of it is checked first.
#include "gguf-writer.h"
#include "error.h"
#include <set>

namespace bge {

static Error refused(const std::string & what) { return Error("CONVERT_FAILED", "cannot write the GGUF header: " + what); }

// ggml takes C strings, which end at the first U+0000.
static const char * c_string(const std::string & text, const std::string & key) {
    if (text.find('\0') != std::string::npos) throw refused("`" + key + "` contains U+0000");
    return text.c_str();
}

static size_t element_bytes(gguf_type type) {
    switch (type) {
        case GGUF_TYPE_UINT8:
        case GGUF_TYPE_INT8:
        case GGUF_TYPE_BOOL: return 1;
        case GGUF_TYPE_UINT16:
        case GGUF_TYPE_INT16: return 2;
        case GGUF_TYPE_UINT32:
        case GGUF_TYPE_INT32:
        case GGUF_TYPE_FLOAT32: return 4;
        case GGUF_TYPE_UINT64:
        case GGUF_TYPE_INT64:
        case GGUF_TYPE_FLOAT64: return 8;
        default: return 0;
    }
}

// One overload per alternative of GgufValue.
struct SetValue {
    gguf_context * gguf;
    const std::string & key;

    void operator()(uint8_t value) const { gguf_set_val_u8(gguf, key.c_str(), value); }
    void operator()(int8_t value) const { gguf_set_val_i8(gguf, key.c_str(), value); }
    void operator()(uint16_t value) const { gguf_set_val_u16(gguf, key.c_str(), value); }
    void operator()(int16_t value) const { gguf_set_val_i16(gguf, key.c_str(), value); }
    void operator()(uint32_t value) const { gguf_set_val_u32(gguf, key.c_str(), value); }
    void operator()(int32_t value) const { gguf_set_val_i32(gguf, key.c_str(), value); }
    void operator()(uint64_t value) const { gguf_set_val_u64(gguf, key.c_str(), value); }
    void operator()(int64_t value) const { gguf_set_val_i64(gguf, key.c_str(), value); }
    void operator()(float value) const { gguf_set_val_f32(gguf, key.c_str(), value); }
    void operator()(double value) const { gguf_set_val_f64(gguf, key.c_str(), value); }
    void operator()(bool value) const { gguf_set_val_bool(gguf, key.c_str(), value); }
    void operator()(const std::string & value) const { gguf_set_val_str(gguf, key.c_str(), c_string(value, key)); }

    void operator()(const std::vector<std::string> & values) const {
        std::vector<const char *> texts;
        texts.reserve(values.size());
        for (const std::string & value : values) texts.push_back(c_string(value, key));
        gguf_set_arr_str(gguf, key.c_str(), texts.data(), texts.size());
    }

    void operator()(const GgufArray & array) const {
        const size_t bytes = element_bytes(array.type);
        if (bytes == 0 || array.bytes.size() % bytes != 0) throw refused("`" + key + "` is no array of whole elements");
        gguf_set_arr_data(gguf, key.c_str(), array.type, array.bytes.data(), array.bytes.size() / bytes);
    }
};

static void check_key(const GgufEntry & entry, std::set<std::string> & seen) {
    if (entry.key.empty() || entry.key.find('\0') != std::string::npos) throw refused("a metadata key is empty or contains U+0000");
    if (!seen.insert(entry.key).second) throw refused("metadata key `" + entry.key + "` comes twice");
    if (entry.key != "general.alignment") return;
    const uint32_t * alignment = std::get_if<uint32_t>(&entry.value);
    if (!alignment || *alignment < 8 || *alignment > 65536 || (*alignment & (*alignment - 1)) != 0) {
        throw refused("`general.alignment` must be a u32 power of two from 8 to 65536");
    }
}

static void check_tensor(const GgufTensorSpec & tensor, std::set<std::string> & seen) {
    if (tensor.name.empty() || tensor.name.size() >= GGML_MAX_NAME || tensor.name.find('\0') != std::string::npos) {
        throw refused("tensor name `" + tensor.name + "` is empty, longer than " + std::to_string(GGML_MAX_NAME - 1) + " bytes or contains U+0000");
    }
    if (!seen.insert(tensor.name).second) throw refused("tensor `" + tensor.name + "` comes twice");
    const int64_t block = tensor.type >= 0 && tensor.type < GGML_TYPE_COUNT ? ggml_blck_size(tensor.type) : 0;
    if (block <= 0) throw refused("tensor `" + tensor.name + "` has a type that ggml does not know");
    if (tensor.shape.empty() || tensor.shape.size() > GGML_MAX_DIMS) throw refused("tensor `" + tensor.name + "` has no 1 to 4 dimensions");
    // 2^48 elements of the widest type still count in 63 bits.
    int64_t elements = 1;
    for (int64_t n : tensor.shape) {
        if (n <= 0 || n > (int64_t(1) << 48) / elements) throw refused("tensor `" + tensor.name + "` has an impossible shape");
        elements *= n;
    }
    if (tensor.shape[0] % block != 0) {
        throw refused("rows of tensor `" + tensor.name + "` do not divide into blocks of " + std::to_string(block));
    }
}

GgufLayout write_gguf_header(const std::string & path, const std::vector<GgufEntry> & metadata, const std::vector<GgufTensorSpec> & tensors) {
    std::set<std::string> keys, names;
    for (const GgufEntry & entry : metadata) check_key(entry, keys);
    for (const GgufTensorSpec & tensor : tensors) check_tensor(tensor, names);

    gguf_context_ptr gguf(gguf_init_empty());
    for (const GgufEntry & entry : metadata) std::visit(SetValue{ gguf.get(), entry.key }, entry.value);

    ggml_context_ptr context(ggml_init({ (tensors.size() + 1) * ggml_tensor_overhead(), nullptr, /*no_alloc =*/true }));
    if (!gguf || !context) throw Error("OUT_OF_MEMORY", "no memory for the GGUF header");
    GgufLayout layout{};
    for (const GgufTensorSpec & spec : tensors) {
        ggml_tensor * tensor = ggml_new_tensor(context.get(), spec.type, int(spec.shape.size()), spec.shape.data());
        ggml_set_name(tensor, spec.name.c_str());
        gguf_add_tensor(gguf.get(), tensor);
        layout.sizes.push_back(ggml_nbytes(tensor));
    }
    if (!gguf_write_to_file(gguf.get(), path.c_str(), /*only_meta =*/true)) {
        throw Error("IO", "cannot write `" + path + "`; check the folder, its permissions and the free space");
    }

    layout.alignment   = gguf_get_alignment(gguf.get());
    layout.data_offset = gguf_get_meta_size(gguf.get());
    layout.file_size   = layout.data_offset;
    for (size_t i = 0; i < tensors.size(); i++) {
        layout.offsets.push_back(layout.data_offset + gguf_get_tensor_offset(gguf.get(), int64_t(i)));
        const size_t padded = (layout.sizes[i] + layout.alignment - 1) / layout.alignment * layout.alignment;
        layout.file_size    = layout.offsets[i] + padded;
    }
    return layout;
}

} // namespace bge
