#include "finite-check.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace bge {

// Bytes looked at before their pages are given back, and those of one task.
static constexpr size_t slice_bytes = size_t(32) << 20, task_bytes = size_t(1) << 20;

// Whether no number has all bits of its exponent set. Without a branch, so that it runs at the memory's speed.
template <class T> static bool no_full_exponent(const uint8_t * data, size_t n_bytes, T exponent) {
    T found = 0;
    for (size_t i = 0; i + sizeof(T) <= n_bytes; i += sizeof(T)) {
        T bits;
        std::memcpy(&bits, data + i, sizeof(T));
        found |= T((bits & exponent) == exponent);
    }
    return found == 0;
}

static bool q8_0_finite(const uint8_t * data, size_t n_bytes) {
    const size_t block = ggml_type_size(GGML_TYPE_Q8_0);
    bool finite = true;
    for (size_t i = 0; i < n_bytes; i += block) finite &= no_full_exponent<uint16_t>(data + i, 2, 0x7c00); // the scale
    return finite;
}

static bool rows_finite(ggml_type type, const uint8_t * data, size_t n_rows, int64_t n) {
    const size_t n_bytes = ggml_row_size(type, n);
    switch (type) {
        case GGML_TYPE_F32: return no_full_exponent<uint32_t>(data, n_rows * n_bytes, 0x7f800000);
        case GGML_TYPE_F16: return no_full_exponent<uint16_t>(data, n_rows * n_bytes, 0x7c00);
        case GGML_TYPE_BF16: return no_full_exponent<uint16_t>(data, n_rows * n_bytes, 0x7f80);
        case GGML_TYPE_Q8_0: return q8_0_finite(data, n_rows * n_bytes);
        default: break;
    }
    std::vector<float> row(static_cast<size_t>(n));
    for (size_t i = 0; i < n_rows; i++) {
        ggml_get_type_traits(type)->to_float(data + i * n_bytes, row.data(), n);
        if (!std::all_of(row.begin(), row.end(), [](float x) { return std::isfinite(x); })) return false;
    }
    return true;
}

Error not_finite(const ModelFile & file, const std::string & tensors) {
    return Error("MODEL_INVALID", file.path() + ": weights that are NaN or infinite in " + tensors + "; convert or download the model again");
}

void FiniteCheck::require(const std::string & tensor, const std::atomic<bool> & stop) {
    const ggml_tensor * meta = file_.find(tensor);
    if (!meta || known_.count(tensor)) return;
    if (meta->type != GGML_TYPE_F32 && !ggml_get_type_traits(meta->type)->to_float) return; // refused elsewhere
    const size_t n_bytes = ggml_row_size(meta->type, meta->ne[0]), n_rows = ggml_nbytes(meta) / n_bytes;
    const size_t of_slice = std::max<size_t>(1, slice_bytes / n_bytes), of_task = std::max<size_t>(1, task_bytes / n_bytes);
    const uint8_t * data = file_.data_of(tensor);
    for (size_t first = 0; first < n_rows && !stop; first += of_slice) {
        const size_t n = std::min(of_slice, n_rows - first);
        std::atomic<bool> finite{true};
        pool_.parallel_for(int((n + of_task - 1) / of_task), [&](int task, int) {
            const size_t begin = size_t(task) * of_task;
            if (!rows_finite(meta->type, data + (first + begin) * n_bytes, std::min(of_task, n - begin), meta->ne[0])) finite = false;
        });
        if (!finite) throw not_finite(file_, tensor);
        file_.file().drop(file_.offset_of(tensor) + first * n_bytes, n * n_bytes);
    }
    if (!stop) known_.insert(tensor);
}

} // namespace bge
