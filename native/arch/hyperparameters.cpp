#include "hyperparameters.h"

namespace bge {

Error invalid(const ModelFile & file, const std::string & what) { return Error("MODEL_INVALID", file.path() + ": " + what); }

int32_t read_count(const ModelFile & file, const std::string & key, int64_t limit) {
    const uint32_t value = file.u32(key);
    if (value < 1 || value > limit) throw invalid(file, key + " should be from 1 to " + std::to_string(limit) + ", found " + std::to_string(value));
    return int32_t(value);
}

float read_positive(const ModelFile & file, const std::string & key) {
    const float value = file.f32(key);
    if (value <= 0) throw invalid(file, key + " should be a number above 0, found " + std::to_string(value));
    return value;
}

int32_t read_rows(const ModelFile & file, const std::string & tensor) {
    const ggml_tensor * table = file.find(tensor);
    if (!table || table->ne[1] > INT32_MAX) throw invalid(file, "lacks the tensor " + tensor + ", or it has too many rows");
    return int32_t(table->ne[1]);
}

int32_t read_width(const ModelFile & file, const std::string & tensor) {
    const ggml_tensor * table = file.find(tensor);
    if (!table || table->ne[0] > max_width) throw invalid(file, "lacks the tensor " + tensor + ", or it is too wide");
    return int32_t(table->ne[0]);
}

cpu::Activation read_activation(const ModelFile & file, const std::string & key, const std::string & fallback) {
    const std::string name = file.text(key, fallback);
    if (name == "gelu_erf") return cpu::Activation::gelu_erf;
    if (name == "gelu_tanh") return cpu::Activation::gelu_tanh;
    if (name == "silu") return cpu::Activation::silu;
    if (name == "relu") return cpu::Activation::relu;
    if (name == "tanh") return cpu::Activation::tanh;
    throw Error("MODEL_UNSUPPORTED", file.path() + ": unknown " + key + " " + shortened(name));
}

} // namespace bge
