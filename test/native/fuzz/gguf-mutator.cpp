// A libFuzzer mutator that knows GGUF: it changes one part of a file and writes the rest as it was, so that an input gets
// past the header. Every fourth change is libFuzzer's own, of bytes that need not make sense.
#include "ggml/ggml.h"
#include "ggml/gguf.h"
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

extern "C" size_t LLVMFuzzerMutate(uint8_t * data, size_t size, size_t max_size);

namespace {

struct Pair {
    std::string key;
    uint32_t type = 0;
    bool is_array = false;
    std::vector<std::string> strings; // of type string
    std::string bytes;                // of the others
};

struct Tensor {
    std::string name;
    std::vector<uint64_t> shape;
    uint32_t type = 0;
    std::string data; // up to the next tensor's
};

struct File {
    std::vector<Pair> pairs;
    std::vector<Tensor> tensors;
};

constexpr size_t alignment = 32;

size_t size_of(uint32_t type) {
    constexpr uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < sizeof(sizes) ? sizes[type] : 0;
}

// Reads what the mutator itself or the converter wrote; anything else is for libFuzzer's own mutations.
class Reader {
public:
    Reader(const uint8_t * data, size_t size) : data_(data), size_(size) {}

    bool read(File & file) {
        if (size_ < 24 || std::memcmp(data_, "GGUF", 4) != 0) return false;
        at_ = 8;
        const uint64_t n_tensors = number<uint64_t>(), n_pairs = number<uint64_t>();
        if (n_tensors > 1000 || n_pairs > 1000) return false;
        for (uint64_t i = 0; i < n_pairs && ok_; i++) file.pairs.push_back(pair());
        std::vector<uint64_t> offsets;
        for (uint64_t i = 0; i < n_tensors && ok_; i++) {
            Tensor tensor;
            tensor.name = string();
            const uint32_t n = number<uint32_t>();
            for (uint32_t k = 0; k < n && k < 8; k++) tensor.shape.push_back(number<uint64_t>());
            tensor.type = number<uint32_t>();
            offsets.push_back(number<uint64_t>());
            file.tensors.push_back(tensor);
        }
        const size_t begin = (at_ + alignment - 1) / alignment * alignment;
        for (size_t i = 0; i < offsets.size() && ok_; i++) {
            const size_t available = size_ > begin ? size_ - begin : 0;
            const size_t end = std::min<uint64_t>(available, i + 1 < offsets.size() ? offsets[i + 1] : available);
            if (offsets[i] < end) file.tensors[i].data.assign(reinterpret_cast<const char *>(data_) + begin + offsets[i], end - offsets[i]);
        }
        return ok_;
    }

private:
    std::string take(uint64_t n) {
        ok_ = ok_ && n <= size_ - at_;
        if (!ok_) return std::string();
        at_ += n;
        return std::string(reinterpret_cast<const char *>(data_) + at_ - n, n);
    }
    template <class T> T number() {
        T value{};
        const std::string bytes = take(sizeof(T));
        if (ok_) std::memcpy(&value, bytes.data(), sizeof(T));
        return value;
    }
    std::string string() { return take(number<uint64_t>()); }

    Pair pair() {
        Pair out;
        out.key = string();
        out.type = number<uint32_t>();
        out.is_array = out.type == GGUF_TYPE_ARRAY;
        if (out.is_array) out.type = number<uint32_t>();
        const uint64_t n = out.is_array ? number<uint64_t>() : 1;
        ok_ = ok_ && n <= size_;
        if (out.type != GGUF_TYPE_STRING) out.bytes = take(ok_ ? n * size_of(out.type) : 0);
        else for (uint64_t i = 0; i < n && ok_; i++) out.strings.push_back(string());
        return out;
    }

    const uint8_t * data_;
    size_t size_, at_ = 0;
    bool ok_ = true;
};

class Mutator {
public:
    Mutator(File & file, unsigned seed) : file_(file), random_(seed) {}

    void mutate() {
        const size_t kind = below(10);
        if (kind < 6 && !file_.pairs.empty()) mutate(file_.pairs[below(file_.pairs.size())]);
        else if (kind < 8 && !file_.tensors.empty()) mutate(file_.tensors[below(file_.tensors.size())]);
        else if (below(2)) rearrange(file_.pairs);
        else rearrange(file_.tensors);
    }

    // Offsets follow from the sizes, except now and then; so do sizes from the shapes.
    std::string write() {
        out_ = std::string("GGUF\x03\0\0\0", 8);
        number<uint64_t>(maybe_wrong(file_.tensors.size()));
        number<uint64_t>(maybe_wrong(file_.pairs.size()));
        for (const Pair & pair : file_.pairs) write(pair);
        uint64_t offset = 0;
        for (const Tensor & tensor : file_.tensors) {
            string(tensor.name);
            number<uint32_t>(uint32_t(tensor.shape.size()));
            for (const uint64_t n : tensor.shape) number<uint64_t>(n);
            number<uint32_t>(tensor.type);
            number<uint64_t>(maybe_wrong(offset));
            offset += (tensor.data.size() + alignment - 1) / alignment * alignment;
        }
        for (const Tensor & tensor : file_.tensors) {
            out_.resize((out_.size() + alignment - 1) / alignment * alignment);
            out_ += tensor.data;
        }
        return out_;
    }

private:
    size_t below(size_t n) { return n == 0 ? 0 : random_() % n; }

    uint64_t interesting() {
        constexpr uint64_t values[] = {0, 1, 2, 3, 7, 8, 16, 31, 32, 64, 255, 256, 1024, 1025, 65535, 65536, 1 << 20, 1u << 24, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1ull << 32, 1ull << 40, INT64_MAX, UINT64_MAX};
        return values[below(sizeof(values) / sizeof(values[0]))];
    }
    uint64_t maybe_wrong(uint64_t value) { return below(200) ? value : below(2) ? value + 1 : interesting(); }

    std::string changed(std::string text) {
        const size_t size = text.size();
        text.resize(size + 16 + size / 2);
        text.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t *>(&text[0]), size, text.size()));
        return text;
    }

    template <class T> void rearrange(std::vector<T> & items) {
        if (items.empty()) return;
        const size_t i = below(items.size());
        switch (below(3)) {
            case 0: items.erase(items.begin() + std::ptrdiff_t(i)); break;
            case 1: items.push_back(T(items[i])); break;
            default: std::swap(items[i], items[below(items.size())]);
        }
    }

    void mutate(Pair & pair) {
        switch (below(8)) {
            case 0: pair.key = below(3) ? file_.pairs[below(file_.pairs.size())].key : changed(pair.key); return;
            case 1:
                pair.type = uint32_t(below(14));
                pair.is_array = below(2);
                return;
            default: break;
        }
        if (!pair.strings.empty() && pair.type == GGUF_TYPE_STRING) {
            std::string & one = pair.strings[below(pair.strings.size())];
            const size_t kind = pair.is_array ? below(5) : 4;
            if (kind == 0) rearrange(pair.strings);
            else if (kind == 1) one = pair.strings[below(pair.strings.size())]; // tokens and steps that stand there twice
            else if (kind == 2) one += pair.strings[below(pair.strings.size())];
            else if (kind == 3) mutate_part(one);
            else one = changed(one);
        } else if (below(2) && pair.bytes.size() >= size_of(pair.type)) {
            const size_t width = size_of(pair.type);
            const uint64_t value = interesting();
            if (width > 0) std::memcpy(&pair.bytes[below(pair.bytes.size() / width) * width], &value, width);
        } else {
            pair.bytes = changed(pair.bytes);
        }
    }

    // A step of fuzz.tokenizer: one of its parts for one of another.
    void mutate_part(std::string & step) {
        const size_t at = step.find_last_of('\x1F');
        if (at != std::string::npos) step = step.substr(0, at + 1) + changed(step.substr(at + 1));
    }

    void mutate(Tensor & tensor) {
        switch (below(6)) {
            case 0: tensor.name = below(3) ? file_.tensors[below(file_.tensors.size())].name : changed(tensor.name); break;
            case 1: tensor.type = uint32_t(below(44)); break;
            case 2: tensor.data = changed(tensor.data); break;
            case 3: tensor.data.resize(below(tensor.data.size() * 2 + 1)); break;
            case 4: tensor.shape.push_back(1 + below(3)); break;
            default:
                if (!tensor.shape.empty()) tensor.shape[below(tensor.shape.size())] = below(3) ? 1 + below(64) : interesting();
        }
    }

    template <class T> void number(T value) { out_.append(reinterpret_cast<const char *>(&value), sizeof(T)); }
    void string(const std::string & text) {
        number<uint64_t>(maybe_wrong(text.size()));
        out_ += text;
    }
    void write(const Pair & pair) {
        string(pair.key);
        if (pair.is_array) number<uint32_t>(GGUF_TYPE_ARRAY);
        number<uint32_t>(pair.type);
        const bool is_text = pair.type == GGUF_TYPE_STRING;
        if (pair.is_array) number<uint64_t>(maybe_wrong(is_text ? pair.strings.size() : pair.bytes.size() / std::max<size_t>(1, size_of(pair.type))));
        if (is_text) for (const std::string & text : pair.strings) string(text);
        else out_ += pair.bytes;
    }

    File & file_;
    std::minstd_rand random_;
    std::string out_;
};

} // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t * data, size_t size, size_t max_size, unsigned seed) {
    File file;
    if (seed % 4 == 0 || !Reader(data, size).read(file)) return LLVMFuzzerMutate(data, size, max_size);
    Mutator mutator(file, seed);
    for (unsigned i = 0; i <= seed % 3; i++) mutator.mutate();
    const std::string out = mutator.write();
    if (out.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
    std::memcpy(data, out.data(), out.size());
    return out.size();
}
