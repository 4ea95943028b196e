// Conversion of weight rows through float32, with ggml's own decoders and quantisers.
#include "tensor-types.h"
#include "error.h"
#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstring>

namespace bge {

// What ggml_quantize_chunk makes; it aborts on the others, the activation types Q8_1 and Q8_K among them.
static const ggml_type WEIGHT_TYPES[] = {
    GGML_TYPE_F32,    GGML_TYPE_F16,     GGML_TYPE_BF16,    GGML_TYPE_Q8_0, GGML_TYPE_Q5_1,   GGML_TYPE_Q5_0,    GGML_TYPE_Q4_1,
    GGML_TYPE_Q4_0,   GGML_TYPE_Q6_K,    GGML_TYPE_Q5_K,    GGML_TYPE_Q4_K, GGML_TYPE_Q3_K,   GGML_TYPE_Q2_K,    GGML_TYPE_IQ4_NL,
    GGML_TYPE_IQ4_XS, GGML_TYPE_IQ3_S,   GGML_TYPE_IQ3_XXS, GGML_TYPE_IQ2_S, GGML_TYPE_IQ2_XS, GGML_TYPE_IQ2_XXS, GGML_TYPE_IQ1_M,
    GGML_TYPE_IQ1_S,  GGML_TYPE_MXFP4,   GGML_TYPE_NVFP4,   GGML_TYPE_TQ2_0, GGML_TYPE_TQ1_0, GGML_TYPE_Q2_0,    GGML_TYPE_Q1_0,
};

// Rows decoded at a time, so that a call needs little beyond its input and output.
static const size_t CHUNK_ELEMENTS = size_t(1) << 20;

std::string tensor_type_name(ggml_type type) {
    std::string name = ggml_type_name(type);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return char(std::toupper(c)); });
    return name;
}

std::vector<TensorType> tensor_types() {
    std::vector<TensorType> types;
    for (ggml_type type : WEIGHT_TYPES) {
        types.push_back({ tensor_type_name(type), type, size_t(ggml_blck_size(type)), ggml_type_size(type), ggml_is_quantized(type),
                          !ggml_quantize_requires_imatrix(type) });
    }
    return types;
}

ggml_type tensor_type_named(const std::string & name) {
    std::string wanted = name;
    std::transform(wanted.begin(), wanted.end(), wanted.begin(), [](unsigned char c) { return char(std::toupper(c)); });
    for (const TensorType & type : tensor_types()) {
        if (type.name == wanted) return type.type;
    }
    throw Error("CONVERT_FAILED", "`" + name + "` is no tensor type; see `tensorTypes()` for the list");
}

static void to_float(const uint8_t * source, ggml_type type, float * target, size_t n) {
    if (type == GGML_TYPE_F32) {
        std::memcpy(target, source, n * sizeof(float));
        return;
    }
    ggml_get_type_traits(type)->to_float(source, target, int64_t(n));
}

static void require_finite(const float * values, size_t n, ggml_type type) {
    for (size_t i = 0; i < n; i++) {
        if (!std::isfinite(values[i])) {
            throw Error("CONVERT_FAILED", "a weight is not a finite number and cannot be stored as " + tensor_type_name(type));
        }
    }
}

// Larger numbers round to infinity.
static void require_f16(const float * values, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!(std::fabs(values[i]) < 65520.0f)) {
            throw Error("CONVERT_FAILED", "a weight is too large for F16 or not a number; BF16 and F32 have the range");
        }
    }
}

static void from_float(const float * source, ggml_type type, uint8_t * target, size_t n_rows, size_t columns, const float * importance) {
    const size_t n = n_rows * columns;
    switch (type) {
        case GGML_TYPE_F32: std::memcpy(target, source, n * sizeof(float)); return;
        case GGML_TYPE_F16:
            require_f16(source, n);
            ggml_fp32_to_fp16_row(source, reinterpret_cast<ggml_fp16_t *>(target), int64_t(n));
            return;
        case GGML_TYPE_BF16: ggml_fp32_to_bf16_row(source, reinterpret_cast<ggml_bf16_t *>(target), int64_t(n)); return;
        default: break;
    }
    require_finite(source, n, type);
    ggml_quantize_chunk(type, source, target, 0, int64_t(n_rows), int64_t(columns), importance);
}

std::vector<uint8_t> convert_rows(const uint8_t * source, size_t size, ggml_type source_type, ggml_type target_type, size_t columns,
                                  const std::vector<float> & importance) {
    const auto types = tensor_types();
    const auto known = [&](ggml_type type) {
        return std::find_if(types.begin(), types.end(), [&](const TensorType & t) { return t.type == type; });
    };
    const auto from = known(source_type);
    const auto to = known(target_type);
    if (from == types.end() || (source_type != GGML_TYPE_F32 && !ggml_get_type_traits(source_type)->to_float)) {
        throw Error("CONVERT_FAILED", "tensor type " + std::to_string(int(source_type)) + " cannot be read back as numbers");
    }
    if (to == types.end() || (!to->writable && importance.empty())) {
        throw Error("CONVERT_FAILED", "tensor type " + std::to_string(int(target_type)) + " cannot be made without an importance matrix");
    }
    if (columns == 0 || columns % from->block_size != 0 || columns % to->block_size != 0) {
        throw Error("CONVERT_FAILED", "rows of " + std::to_string(columns) + " elements do not divide into blocks of " + from->name + " and " +
                                          to->name + " (" + std::to_string(from->block_size) + " and " + std::to_string(to->block_size) + ")");
    }
    if (!importance.empty() && importance.size() != columns) {
        throw Error("CONVERT_FAILED", "an importance matrix for " + std::to_string(importance.size()) + " inputs does not belong to rows of " + std::to_string(columns));
    }
    for (float weight : importance) {
        if (!(weight >= 0.0f) || !std::isfinite(weight)) throw Error("CONVERT_FAILED", "an importance is negative or not a finite number");
    }
    const size_t source_row = columns / from->block_size * from->block_bytes;
    const size_t target_row = columns / to->block_size * to->block_bytes;
    if (size % source_row != 0) {
        throw Error("CONVERT_FAILED", std::to_string(size) + " bytes are no whole number of rows of " + std::to_string(source_row));
    }
    const size_t n_rows = size / source_row;
    if (source_type == target_type) return std::vector<uint8_t>(source, source + size);

    std::vector<uint8_t> target(n_rows * target_row);
    const size_t chunk = std::max<size_t>(1, CHUNK_ELEMENTS / columns);
    std::vector<float> values(std::min(chunk, n_rows) * columns);
    for (size_t row = 0; row < n_rows; row += chunk) {
        const size_t n = std::min(chunk, n_rows - row);
        to_float(source + row * source_row, source_type, values.data(), n * columns);
        from_float(values.data(), target_type, target.data() + row * target_row, n, columns, importance.empty() ? nullptr : importance.data());
    }
    return target;
}

} // namespace bge
