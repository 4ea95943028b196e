#include "model-file.h"
#include "error.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <unordered_set>

namespace bge {
namespace {

// Limits on what a header may declare. The largest known vocabularies have 256k entries, models a few thousand tensors.
constexpr uint64_t max_kv = 4096;
constexpr uint64_t max_tensors = 65536;
constexpr uint64_t max_array = 4u << 20;
constexpr uint64_t max_key_bytes = 65535;
constexpr uint64_t min_alignment = 8; // the format's; numbers are read where they lie

// Walks a GGUF header without trusting it, so that ggml only ever parses one that is well formed.
class HeaderCheck {
public:
    HeaderCheck(const MappedFile & file, const std::string & path) : data_(file.data()), size_(file.size()), path_(path) {}

    void run() {
        if (size_ < 24 || std::memcmp(data_, "GGUF", 4) != 0) fail("it does not begin with GGUF");
        at_ = 4;
        const uint32_t version = number<uint32_t>("version");
        if (version != 2 && version != 3) fail("GGUF version " + std::to_string(version) + " is not 2 or 3");
        const uint64_t n_tensors = number<uint64_t>("tensor count");
        const uint64_t n_kv = number<uint64_t>("metadata count");
        if (n_tensors > max_tensors) fail("it declares " + std::to_string(n_tensors) + " tensors");
        if (n_kv > max_kv) fail("it declares " + std::to_string(n_kv) + " metadata keys");
        for (uint64_t i = 0; i < n_kv; i++) check_pair();
        for (uint64_t i = 0; i < n_tensors; i++) check_tensor();
        const uint64_t data = aligned(at_);
        uint64_t expected = 0;
        for (const auto & tensor : tensors_) {
            if (tensor.offset != expected) fail("tensor " + tensor.name + " begins at " + std::to_string(tensor.offset) + " of the data, where " + std::to_string(expected) + " would follow the one before");
            expected = aligned(tensor.offset + tensor.n_bytes);
            if (tensor.offset > size_ || data > size_ - tensor.offset || tensor.n_bytes > size_ - data - tensor.offset) {
                fail("tensor " + tensor.name + " reaches beyond the end of the file; it is cut short or damaged, download or convert it again");
            }
        }
    }

private:
    struct Tensor { std::string name; uint64_t offset, n_bytes; };

    uint64_t aligned(uint64_t offset) const { return (offset + alignment_ - 1) / alignment_ * alignment_; }

    [[noreturn]] void fail(const std::string & why) const { throw Error("MODEL_INVALID", path_ + " is not a usable GGUF file: " + why); }

    const uint8_t * take(uint64_t n, const std::string & field) {
        if (n > size_ - at_) fail("the header ends inside " + field + "; it is cut short or damaged, download or convert it again");
        const uint8_t * p = data_ + at_;
        at_ += n;
        return p;
    }

    template <class T> T number(const std::string & field) {
        T value;
        std::memcpy(&value, take(sizeof(T), field), sizeof(T));
        return value;
    }

    std::string string(const std::string & field, uint64_t limit) {
        const uint64_t n = number<uint64_t>(field);
        if (n > limit) fail(field + " is " + std::to_string(n) + " bytes long");
        return std::string(reinterpret_cast<const char *>(take(n, field)), n);
    }

    static uint64_t size_of(uint32_t type) { // 0 = not a fixed-size type
        switch (type) {
            case GGUF_TYPE_UINT8: case GGUF_TYPE_INT8: case GGUF_TYPE_BOOL: return 1;
            case GGUF_TYPE_UINT16: case GGUF_TYPE_INT16: return 2;
            case GGUF_TYPE_UINT32: case GGUF_TYPE_INT32: case GGUF_TYPE_FLOAT32: return 4;
            case GGUF_TYPE_UINT64: case GGUF_TYPE_INT64: case GGUF_TYPE_FLOAT64: return 8;
            default: return 0;
        }
    }

    void check_pair() {
        const std::string name = string("a metadata key", max_key_bytes);
        const std::string key = "metadata key " + shortened(name);
        if (name.empty()) fail("a metadata key is empty");
        if (!keys_.insert(name).second) fail(key + " appears twice");
        uint32_t type = number<uint32_t>(key);
        const bool array = type == GGUF_TYPE_ARRAY;
        uint64_t n = 1;
        if (array) {
            type = number<uint32_t>(key);
            n = number<uint64_t>(key);
            if (n > max_array) fail(key + " declares " + std::to_string(n) + " elements");
        }
        if (type == GGUF_TYPE_STRING) {
            for (uint64_t i = 0; i < n; i++) string(key, size_);
        } else if (uint64_t bytes = size_of(type)) {
            const uint8_t * value = take(bytes * n, key);
            if (name == "general.alignment") set_alignment(value, array, type);
        } else {
            fail(key + " has unknown type " + std::to_string(type));
        }
    }

    void set_alignment(const uint8_t * value, bool array, uint32_t type) {
        if (array || type != GGUF_TYPE_UINT32) fail("metadata key general.alignment is not a u32");
        uint32_t alignment;
        std::memcpy(&alignment, value, sizeof(alignment));
        if (alignment < min_alignment || alignment > 65536 || (alignment & (alignment - 1))) fail("general.alignment is not a power of two from 8 to 65536");
        alignment_ = alignment;
    }

    void check_tensor() {
        Tensor tensor;
        tensor.name = string("a tensor name", GGML_MAX_NAME - 1);
        if (tensor.name.empty() || !names_.insert(tensor.name).second) fail("tensor name '" + tensor.name + "' is empty or appears twice");
        const uint32_t n_dims = number<uint32_t>(tensor.name);
        if (n_dims < 1 || n_dims > GGML_MAX_DIMS) fail("tensor " + tensor.name + " has " + std::to_string(n_dims) + " dimensions");
        uint64_t n_elements = 1, row = 0;
        for (uint32_t i = 0; i < n_dims; i++) {
            const uint64_t n = number<uint64_t>(tensor.name);
            if (n < 1 || n > (uint64_t(1) << 40) / n_elements) fail("tensor " + tensor.name + " has dimension " + std::to_string(n));
            if (i == 0) row = n;
            n_elements *= n;
        }
        const uint32_t type = number<uint32_t>(tensor.name);
        const int64_t block = type < GGML_TYPE_COUNT ? ggml_blck_size(ggml_type(type)) : 0;
        if (block < 1 || ggml_type_size(ggml_type(type)) == 0) fail("tensor " + tensor.name + " has unknown type " + std::to_string(type));
        if (row % block != 0) fail("tensor " + tensor.name + ": rows of " + std::to_string(row) + " do not divide into blocks of " + std::to_string(block));
        tensor.offset = number<uint64_t>(tensor.name);
        tensor.n_bytes = n_elements / block * ggml_type_size(ggml_type(type));
        tensors_.push_back(tensor);
    }

    const uint8_t * data_;
    uint64_t size_, at_ = 0, alignment_ = GGUF_DEFAULT_ALIGNMENT;
    const std::string & path_;
    std::unordered_set<std::string> keys_, names_;
    std::vector<Tensor> tensors_;
};

} // namespace

ModelFile::ModelFile(const std::string & path) : path_(path), file_(path) {
    HeaderCheck(file_, path_).run();
    ggml_context * tensors = nullptr;
    gguf_.reset(gguf_init_from_file(path.c_str(), {/*no_alloc*/ true, &tensors}));
    tensors_.reset(tensors);
    require_unchanged(); // ggml has opened it anew
    if (!gguf_ || !tensors_) throw Error("MODEL_INVALID", path_ + " is not a GGUF file that ggml can read; download or convert it again");
}

void ModelFile::require_unchanged() const {
    const std::string change = file_.change();
    if (!change.empty()) throw Error("MODEL_CHANGED", path_ + " " + change + " since it was loaded, so what it holds now would score otherwise; dispose of the reranker and load it again");
}

bool ModelFile::has(const std::string & key) const { return gguf_find_key(gguf_.get(), key.c_str()) >= 0; }

int64_t ModelFile::require(const std::string & key, gguf_type type, bool array) const {
    const int64_t id = gguf_find_key(gguf_.get(), key.c_str());
    if (id < 0) throw Error("MODEL_INVALID", path_ + " lacks the metadata key " + key);
    const gguf_type outer = gguf_get_kv_type(gguf_.get(), id);
    const gguf_type found = outer == GGUF_TYPE_ARRAY ? gguf_get_arr_type(gguf_.get(), id) : outer;
    if ((outer == GGUF_TYPE_ARRAY) != array || found != type) {
        throw Error("MODEL_INVALID", path_ + ": metadata key " + key + " should be " + (array ? "an array of " : "of type ") + gguf_type_name(type) +
                    ", found " + gguf_type_name(found));
    }
    return id;
}

std::string ModelFile::text(const std::string & key) const { return gguf_get_val_str(gguf_.get(), require(key, GGUF_TYPE_STRING, false)); }
bool ModelFile::boolean(const std::string & key) const { return gguf_get_val_bool(gguf_.get(), require(key, GGUF_TYPE_BOOL, false)); }

float ModelFile::f32(const std::string & key) const {
    const float value = gguf_get_val_f32(gguf_.get(), require(key, GGUF_TYPE_FLOAT32, false));
    if (!std::isfinite(value)) throw Error("MODEL_INVALID", path_ + ": metadata key " + key + " is not a finite number");
    return value;
}

uint32_t ModelFile::u32(const std::string & key) const {
    const int64_t id = gguf_find_key(gguf_.get(), key.c_str());
    int64_t value = -1;
    if (id >= 0) {
        switch (gguf_get_kv_type(gguf_.get(), id)) {
            case GGUF_TYPE_UINT8: value = gguf_get_val_u8(gguf_.get(), id); break;
            case GGUF_TYPE_UINT16: value = gguf_get_val_u16(gguf_.get(), id); break;
            case GGUF_TYPE_INT32: value = gguf_get_val_i32(gguf_.get(), id); break;
            case GGUF_TYPE_UINT64: value = int64_t(gguf_get_val_u64(gguf_.get(), id)); break;
            default: return gguf_get_val_u32(gguf_.get(), require(key, GGUF_TYPE_UINT32, false));
        }
        if (value < 0 || value > std::numeric_limits<uint32_t>::max()) throw Error("MODEL_INVALID", path_ + ": metadata key " + key + " is out of range");
        return uint32_t(value);
    }
    return gguf_get_val_u32(gguf_.get(), require(key, GGUF_TYPE_UINT32, false));
}

bool ModelFile::is_array(const std::string & key) const {
    const int64_t id = gguf_find_key(gguf_.get(), key.c_str());
    return id >= 0 && gguf_get_kv_type(gguf_.get(), id) == GGUF_TYPE_ARRAY;
}

std::vector<bool> ModelFile::booleans(const std::string & key) const {
    const int64_t id = require(key, GGUF_TYPE_BOOL, true);
    const int8_t * data = static_cast<const int8_t *>(gguf_get_arr_data(gguf_.get(), id));
    return std::vector<bool>(data, data + gguf_get_arr_n(gguf_.get(), id)); // braces would make a list of two pointers
}

std::vector<std::string> ModelFile::texts(const std::string & key) const {
    const int64_t id = require(key, GGUF_TYPE_STRING, true);
    std::vector<std::string> out(gguf_get_arr_n(gguf_.get(), id));
    for (size_t i = 0; i < out.size(); i++) out[i] = gguf_get_arr_str(gguf_.get(), id, i);
    return out;
}

std::vector<float> ModelFile::floats(const std::string & key) const {
    const int64_t id = require(key, GGUF_TYPE_FLOAT32, true);
    const float * data = static_cast<const float *>(gguf_get_arr_data(gguf_.get(), id));
    const size_t n = gguf_get_arr_n(gguf_.get(), id);
    if (!std::all_of(data, data + n, [](float x) { return std::isfinite(x); })) throw Error("MODEL_INVALID", path_ + ": metadata key " + key + " has values that are not finite numbers");
    return {data, data + n};
}

std::vector<int32_t> ModelFile::integers(const std::string & key) const {
    const int64_t found = gguf_find_key(gguf_.get(), key.c_str());
    const bool is_u32 = found >= 0 && gguf_get_kv_type(gguf_.get(), found) == GGUF_TYPE_ARRAY && gguf_get_arr_type(gguf_.get(), found) == GGUF_TYPE_UINT32;
    const int64_t id = require(key, is_u32 ? GGUF_TYPE_UINT32 : GGUF_TYPE_INT32, true);
    const int32_t * data = static_cast<const int32_t *>(gguf_get_arr_data(gguf_.get(), id));
    return {data, data + gguf_get_arr_n(gguf_.get(), id)};
}

std::string ModelFile::bytes(const std::string & key) const {
    const int64_t found = gguf_find_key(gguf_.get(), key.c_str());
    const bool is_i8 = found >= 0 && gguf_get_kv_type(gguf_.get(), found) == GGUF_TYPE_ARRAY && gguf_get_arr_type(gguf_.get(), found) == GGUF_TYPE_INT8;
    const int64_t id = require(key, is_i8 ? GGUF_TYPE_INT8 : GGUF_TYPE_UINT8, true);
    const char * data = static_cast<const char *>(gguf_get_arr_data(gguf_.get(), id));
    return {data, data + gguf_get_arr_n(gguf_.get(), id)};
}

const ggml_tensor * ModelFile::find(const std::string & name) const { return ggml_get_tensor(tensors_.get(), name.c_str()); }

size_t ModelFile::offset_of(const std::string & name) const {
    const int64_t id = gguf_find_tensor(gguf_.get(), name.c_str());
    if (id < 0) throw Error("MODEL_INVALID", path_ + " lacks the tensor " + name);
    return gguf_get_data_offset(gguf_.get()) + gguf_get_tensor_offset(gguf_.get(), id);
}

} // namespace bge
