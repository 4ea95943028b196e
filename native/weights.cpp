#include "weights.h"
#include "error.h"
#include <cstring>

namespace bge {

static ggml_context_ptr make_context(size_t n_tensors) {
    return ggml_context_ptr(ggml_init({n_tensors * ggml_tensor_overhead(), nullptr, /*no_alloc*/ true}));
}

static std::string shape_text(const int64_t * ne, int n) {
    std::string out = "[";
    for (int i = 0; i < n; i++) out += (i ? ", " : "") + std::to_string(ne[i]);
    return out + "]";
}

Weights::Weights(std::shared_ptr<ModelFile> file, Backend & backend, cpu::WeightMode mode, const std::atomic<bool> & stop)
    : file_(std::move(file)), backend_(backend), mode_(mode), stop_(stop),
      mapped_ctx_(make_context(gguf_get_n_tensors(file_->gguf()) + 1)), device_ctx_(make_context(gguf_get_n_tensors(file_->gguf()) + 1)) {}

const ggml_tensor * Weights::require(const std::string & name, const std::vector<int64_t> & shape) const {
    const ggml_tensor * meta = file_->find(name);
    if (!meta) throw Error("MODEL_INVALID", file_->path() + " lacks the tensor " + name);
    for (size_t i = 0; i < GGML_MAX_DIMS; i++) {
        if (meta->ne[i] != (i < shape.size() ? shape[i] : 1)) {
            throw Error("MODEL_INVALID", file_->path() + ": tensor " + name + " should be " + shape_text(shape.data(), int(shape.size())) + ", found " +
                        shape_text(meta->ne, GGML_MAX_DIMS));
        }
    }
    return meta;
}

// ggml aborts on tables of types that hold no weights, such as I32 and Q8_K.
void Weights::require_readable(const ggml_tensor * meta) const {
    if (meta->type == GGML_TYPE_F32 || ggml_get_type_traits(meta->type)->to_float) return;
    throw Error("MODEL_UNSUPPORTED", file_->path() + ": tensor " + meta->name + " has type " + ggml_type_name(meta->type) + ", which cannot be read");
}

ggml_tensor * Weights::place(const ggml_tensor * meta, bool on_host) {
    require_readable(meta);
    ggml_tensor * out = ggml_new_tensor((on_host ? mapped_ctx_ : device_ctx_).get(), meta->type, GGML_MAX_DIMS, meta->ne);
    ggml_set_name(out, meta->name);
    pending_.push_back({out, meta->name, on_host});
    size_bytes_ += ggml_nbytes(out);
    return out;
}

ggml_tensor * Weights::tensor(const std::string & name, const std::vector<int64_t> & shape) {
    const ggml_tensor * meta = require(name, shape);
    if (shape.size() == 1 && meta->type != GGML_TYPE_F32) {
        throw Error("MODEL_INVALID", file_->path() + ": tensor " + name + " should be F32, found " + ggml_type_name(meta->type));
    }
    return place(meta, backend_.is_cpu());
}

ggml_tensor * Weights::table(const std::string & name, const std::vector<int64_t> & shape) {
    const ggml_tensor * meta = require(name, shape);
    require_readable(meta); // ggml aborts on other types
    const ggml_context_ptr scratch = make_context(3);
    ggml_tensor * entries = ggml_new_tensor(scratch.get(), meta->type, GGML_MAX_DIMS, meta->ne);
    const ggml_tensor * look_up = ggml_get_rows(scratch.get(), entries, ggml_new_tensor_1d(scratch.get(), GGML_TYPE_I32, 1));
    return place(meta, backend_.is_cpu() || !backend_.supports(look_up));
}

ggml_tensor * Weights::optional(const std::string & name, const std::vector<int64_t> & shape) {
    return file_->find(name) ? tensor(name, shape) : nullptr;
}

std::vector<float> Weights::read_f32(const std::string & name, int64_t n) const {
    if (require(name, {n})->type != GGML_TYPE_F32) throw Error("MODEL_INVALID", file_->path() + ": tensor " + name + " should be F32");
    const float * data = reinterpret_cast<const float *>(file_->data_of(name));
    return {data, data + n};
}

std::vector<float> Weights::rows(const std::string & name, int64_t n, int64_t first, int64_t n_rows) {
    const ggml_tensor * meta = file_->find(name);
    if (!meta || meta->ne[1] < first + n_rows) throw Error("MODEL_INVALID", file_->path() + " lacks rows of the tensor " + name);
    require(name, {n, meta->ne[1]});
    require_readable(meta);
    const auto * traits = ggml_get_type_traits(meta->type);
    std::vector<float> out(size_t(n * n_rows));
    const size_t row_bytes = ggml_row_size(meta->type, n);
    for (int64_t i = 0; i < n_rows; i++) {
        const uint8_t * row = file_->data_of(name) + row_bytes * size_t(first + i);
        if (meta->type == GGML_TYPE_F32) std::memcpy(&out[size_t(n * i)], row, row_bytes);
        else traits->to_float(row, &out[size_t(n * i)], n);
    }
    size_bytes_ += out.size() * sizeof(float);
    return out;
}

cpu::WeightSource Weights::source(const std::string & name) const {
    const ggml_tensor * meta = file_->find(name);
    cpu::WeightSource out;
    out.data = file_->data_of(name);
    out.n_rows = int(meta->ne[1]);
    out.row_bytes = ggml_row_size(meta->type, meta->ne[0]);
    switch (meta->type) {
        case GGML_TYPE_F32: out.type = cpu::SourceType::f32; break;
        case GGML_TYPE_F16: out.type = cpu::SourceType::f16; break;
        case GGML_TYPE_BF16: out.type = cpu::SourceType::bf16; break;
        case GGML_TYPE_Q8_0: out.type = cpu::SourceType::q8_0; break;
        default:
            out.type = cpu::SourceType::other;
            require_readable(meta);
            out.dequantize_row = ggml_get_type_traits(meta->type)->to_float;
    }
    return out;
}

void Weights::throw_if_stopped() const {
    if (stop_) throw Error("CLOSED", "The model was closed while its weights were read");
}

void Weights::drop(const std::string & name) const { file_->file().drop(file_->offset_of(name), ggml_nbytes(file_->find(name))); }

Linear Weights::linear(const std::string & name, int64_t n_in, int64_t n_out, bool bias) {
    return linear(std::vector<std::string>{name}, n_in, {n_out}, bias);
}

template <typename Pack> cpu::PackedLinear Weights::packed(const std::vector<std::string> & names, const Pack & pack) {
    try {
        return pack();
    } catch (const cpu::NotFinite &) {
        std::string list;
        for (const std::string & name : names) list += (list.empty() ? "" : ", ") + name + ".weight";
        throw Error("MODEL_INVALID", file_->path() + ": weights that are NaN or infinite in " + list + "; convert or download the model again");
    }
}

Linear Weights::linear(const std::vector<std::string> & names, int64_t n_in, const std::vector<int64_t> & n_out, bool bias) {
    throw_if_stopped();
    Linear out;
    out.n_in = n_in;
    std::vector<cpu::WeightSource> sources;
    std::vector<float> biases;
    for (size_t i = 0; i < names.size(); i++) {
        Linear::Part part;
        part.n_out = n_out[i];
        out.n_out += part.n_out;
        if (backend_.kernels()) {
            require(names[i] + ".weight", {n_in, part.n_out});
            sources.push_back(source(names[i] + ".weight"));
            if (bias) for (float b : read_f32(names[i] + ".bias", part.n_out)) biases.push_back(b);
        } else {
            part.weight = tensor(names[i] + ".weight", {n_in, part.n_out});
            is_f32_ = is_f32_ && part.weight->type == GGML_TYPE_F32;
            if (bias) part.bias = tensor(names[i] + ".bias", {part.n_out});
        }
        out.parts.push_back(part);
    }
    if (backend_.kernels()) {
        out.packed = packed(names, [&] { return cpu::pack_linear(backend_.kernels()->pool, int(n_in), sources, bias ? biases.data() : nullptr, mode_); });
        size_bytes_ += out.packed.size_bytes();
        for (const auto & name : names) drop(name + ".weight");
    }
    return out;
}

GatedLinear Weights::gated(const std::string & gate, const std::string & up, int64_t n_in, int64_t n_out) {
    throw_if_stopped();
    GatedLinear out;
    if (!backend_.kernels()) {
        out.gate = linear(gate, n_in, n_out, false);
        out.up = linear(up, n_in, n_out, false);
        return out;
    }
    require(gate + ".weight", {n_in, n_out});
    require(up + ".weight", {n_in, n_out});
    out.gate.n_in = out.up.n_in = n_in;
    out.gate.n_out = out.up.n_out = n_out;
    out.packed = packed({gate, up}, [&] { return cpu::pack_linear_gated(backend_.kernels()->pool, int(n_in), source(gate + ".weight"), source(up + ".weight"), mode_); });
    size_bytes_ += out.packed.size_bytes();
    drop(gate + ".weight");
    drop(up + ".weight");
    return out;
}

Norm Weights::norm(const std::string & name, int64_t n, float eps, bool bias) {
    return {tensor(name + ".weight", {n}), bias ? tensor(name + ".bias", {n}) : nullptr, eps};
}

void Weights::finish() {
    mapped_ = backend_.wrap_host(file_->file().data(), file_->file().size());
    if (ggml_get_first_tensor(device_ctx_.get())) {
        device_.reset(ggml_backend_alloc_ctx_tensors_from_buft(device_ctx_.get(), backend_.buffer_type()));
        if (!device_) throw Error("OUT_OF_MEMORY", "The weights do not fit the memory of " + backend_.info().name);
        ggml_backend_buffer_set_usage(device_.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    }
    for (const Pending & p : pending_) {
        throw_if_stopped();
        if (p.on_host) ggml_backend_tensor_alloc(mapped_.get(), p.tensor, file_->data_of(p.name));
        else {
            ggml_backend_tensor_set(p.tensor, file_->data_of(p.name), 0, ggml_nbytes(p.tensor));
            drop(p.name);
        }
    }
    pending_.clear();
}

} // namespace bge
