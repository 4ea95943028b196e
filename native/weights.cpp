#include "weights.h"
#include "error.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

namespace bge {

static ggml_context_ptr make_context(size_t n_tensors) {
    return ggml_context_ptr(ggml_init({n_tensors * ggml_tensor_overhead(), nullptr, /*no_alloc*/ true}));
}

// A tensor and the parts of it: q, k and v.
constexpr size_t max_views = 1 + 3;

static std::string shape_text(const int64_t * ne, int n) {
    std::string out = "[";
    for (int i = 0; i < n; i++) out += (i ? ", " : "") + std::to_string(ne[i]);
    return out + "]";
}

Weights::Weights(std::shared_ptr<ModelFile> file, Backend & backend, cpu::WeightMode mode, FiniteCheck & finite, const std::atomic<bool> & stop)
    : file_(std::move(file)), backend_(backend), mode_(mode), finite_(finite), stop_(stop),
      mapped_ctx_(make_context(max_views * gguf_get_n_tensors(file_->gguf()) + 1)), device_ctx_(make_context(max_views * gguf_get_n_tensors(file_->gguf()) + 1)) {}

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
    throw_if_stopped();
    finite_.require(meta->name, stop_);
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

std::vector<float> Weights::read_f32(const std::string & name, int64_t first, int64_t n, int64_t n_all) const {
    if (require(name, {n_all})->type != GGML_TYPE_F32) throw Error("MODEL_INVALID", file_->path() + ": tensor " + name + " should be F32");
    finite_.require(name, stop_);
    const float * data = reinterpret_cast<const float *>(file_->data_of(name)) + first;
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
    if (!std::all_of(out.begin(), out.end(), [](float x) { return std::isfinite(x); })) throw not_finite(*file_, name);
    size_bytes_ += out.size() * sizeof(float);
    return out;
}

cpu::WeightSource Weights::source(const Slice & slice, int64_t n_in) const {
    const std::string name = slice.name + ".weight";
    const ggml_tensor * meta = require(name, {n_in, slice.n_all});
    cpu::WeightSource out;
    out.row_bytes = ggml_row_size(meta->type, n_in);
    out.data = file_->data_of(name) + out.row_bytes * size_t(slice.first);
    out.n_rows = int(slice.n);
    out.block = int(ggml_blck_size(meta->type));
    switch (meta->type) {
        case GGML_TYPE_F32: out.type = cpu::SourceType::f32; break;
        case GGML_TYPE_F16: out.type = cpu::SourceType::f16; break;
        case GGML_TYPE_BF16: out.type = cpu::SourceType::bf16; break;
        case GGML_TYPE_Q8_0: out.type = cpu::SourceType::q8_0; break;
        case GGML_TYPE_Q4_0: out.type = cpu::SourceType::q4_0; break;
        case GGML_TYPE_Q4_1: out.type = cpu::SourceType::q4_1; break;
        case GGML_TYPE_Q5_0: out.type = cpu::SourceType::q5_0; break;
        case GGML_TYPE_Q5_1: out.type = cpu::SourceType::q5_1; break;
        case GGML_TYPE_Q4_K: out.type = cpu::SourceType::q4_k; break;
        case GGML_TYPE_Q5_K: out.type = cpu::SourceType::q5_k; break;
        case GGML_TYPE_Q6_K: out.type = cpu::SourceType::q6_k; break;
        case GGML_TYPE_IQ4_NL: out.type = cpu::SourceType::iq4_nl; break;
        case GGML_TYPE_IQ4_XS: out.type = cpu::SourceType::iq4_xs; break;
        case GGML_TYPE_MXFP4: out.type = cpu::SourceType::mxfp4; break;
        case GGML_TYPE_Q2_K: out.type = cpu::SourceType::q2_k; break;
        case GGML_TYPE_Q3_K: out.type = cpu::SourceType::q3_k; break;
        case GGML_TYPE_IQ1_S: out.type = cpu::SourceType::iq1_s; break;
        case GGML_TYPE_IQ1_M: out.type = cpu::SourceType::iq1_m; break;
        case GGML_TYPE_IQ2_XXS: out.type = cpu::SourceType::iq2_xxs; break;
        case GGML_TYPE_IQ2_XS: out.type = cpu::SourceType::iq2_xs; break;
        case GGML_TYPE_IQ2_S: out.type = cpu::SourceType::iq2_s; break;
        case GGML_TYPE_IQ3_XXS: out.type = cpu::SourceType::iq3_xxs; break;
        case GGML_TYPE_IQ3_S: out.type = cpu::SourceType::iq3_s; break;
        default: out.type = cpu::SourceType::other;
    }
    if (out.type > cpu::SourceType::q8_0) {
        require_readable(meta);
        out.dequantize_row = ggml_get_type_traits(meta->type)->to_float;
    }
    return out;
}

void Weights::throw_if_stopped() const {
    if (stop_) throw Error("CLOSED", "The model was closed while its weights were read");
}

void Weights::drop(const std::string & name) const { file_->file().drop(file_->offset_of(name), ggml_nbytes(file_->find(name))); }

ggml_tensor * Weights::rows_of(ggml_tensor * whole, int64_t first, int64_t n) {
    const bool is_matrix = whole->ne[1] > 1;
    ggml_context * ctx = (backend_.is_cpu() ? mapped_ctx_ : device_ctx_).get();
    ggml_tensor * out = is_matrix ? ggml_view_2d(ctx, whole, whole->ne[0], n, whole->nb[1], size_t(first) * whole->nb[1])
                                  : ggml_view_1d(ctx, whole, n, size_t(first) * whole->nb[0]);
    views_.push_back(out);
    return out;
}

Linear Weights::linear(const std::string & name, int64_t n_in, int64_t n_out, bool bias) {
    return linear(std::vector<Slice>{{name, 0, n_out, n_out}}, n_in, bias);
}

Linear Weights::linear(const std::vector<std::string> & names, int64_t n_in, const std::vector<int64_t> & n_out, bool bias) {
    std::vector<Slice> slices;
    for (size_t i = 0; i < names.size(); i++) slices.push_back({names[i], 0, n_out[i], n_out[i]});
    return linear(slices, n_in, bias);
}

Linear Weights::linear_of_rows(const std::string & name, int64_t n_in, const std::vector<int64_t> & n_out, bool bias) {
    const int64_t n_all = std::accumulate(n_out.begin(), n_out.end(), int64_t(0));
    std::vector<Slice> slices;
    int64_t first = 0;
    for (int64_t n : n_out) {
        slices.push_back({name, first, n, n_all});
        first += n;
    }
    return linear(slices, n_in, bias);
}

template <typename Pack> cpu::PackedLinear Weights::packed(const std::vector<std::string> & names, const Pack & pack) {
    try {
        return pack();
    } catch (const cpu::NotFinite &) {
        std::string list;
        for (const std::string & name : names) list += (list.empty() ? "" : ", ") + name + ".weight";
        throw not_finite(*file_, list);
    }
}

Linear Weights::linear(const std::vector<Slice> & slices, int64_t n_in, bool bias) {
    throw_if_stopped();
    Linear out;
    out.n_in = n_in;
    std::vector<cpu::WeightSource> sources;
    std::vector<float> biases;
    std::vector<std::string> names;
    Linear::Part whole; // of the slice before
    for (const Slice & slice : slices) {
        Linear::Part part;
        part.n_out = slice.n;
        out.n_out += slice.n;
        const bool next_rows = !names.empty() && names.back() == slice.name;
        if (!next_rows) names.push_back(slice.name);
        if (backend_.kernels()) {
            sources.push_back(source(slice, n_in));
            if (bias) for (float b : read_f32(slice.name + ".bias", slice.first, slice.n, slice.n_all)) biases.push_back(b);
        } else {
            if (!next_rows) {
                whole.weight = tensor(slice.name + ".weight", {n_in, slice.n_all});
                whole.bias = bias ? tensor(slice.name + ".bias", {slice.n_all}) : nullptr;
                is_f32_ = is_f32_ && whole.weight->type == GGML_TYPE_F32;
            }
            const bool all = slice.n == slice.n_all;
            part.weight = all ? whole.weight : rows_of(whole.weight, slice.first, slice.n);
            if (bias) part.bias = all ? whole.bias : rows_of(whole.bias, slice.first, slice.n);
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
    return gated({gate, 0, n_out, n_out}, {up, 0, n_out, n_out}, n_in, /*bias*/ false);
}

GatedLinear Weights::gated_of_rows(const std::string & name, int64_t n_in, int64_t n_out, FirstHalf first, bool bias) {
    const Slice a = {name, 0, n_out, 2 * n_out}, b = {name, n_out, n_out, 2 * n_out};
    return first == FirstHalf::gate ? gated(a, b, n_in, bias) : gated(b, a, n_in, bias);
}

GatedLinear Weights::gated(const Slice & gate, const Slice & up, int64_t n_in, bool bias) {
    throw_if_stopped();
    GatedLinear out;
    if (!backend_.kernels() || bias) { // our gated kernel has no biases, and neither has any published model
        out.gate = linear(std::vector<Slice>{gate}, n_in, bias);
        out.up = linear(std::vector<Slice>{up}, n_in, bias);
        return out;
    }
    out.gate.n_in = out.up.n_in = n_in;
    out.gate.n_out = out.up.n_out = gate.n;
    out.packed = packed({gate.name, up.name}, [&] { return cpu::pack_linear_gated(backend_.kernels()->pool, int(n_in), source(gate, n_in), source(up, n_in), mode_); });
    size_bytes_ += out.packed.size_bytes();
    drop(gate.name + ".weight");
    drop(up.name + ".weight");
    return out;
}

Norm Weights::norm(const std::string & name, int64_t n, float eps, bool bias) {
    return {tensor(name + ".weight", {n}), bias ? tensor(name + ".bias", {n}) : nullptr, eps};
}

// Norms, biases and other small tensors on the host are copied. So nothing but the tables' rows is read from the mapped file after
// loading: where others cut it short, the system would stop the process at the first touch.
void Weights::copy_small() {
    constexpr size_t small = 64 * 1024, alignment = 64;
    const auto is_small = [&](const Pending & p) { return p.on_host && ggml_nbytes(p.tensor) <= small; };
    const auto size_of = [&](const Pending & p) { return (ggml_nbytes(p.tensor) + alignment - 1) / alignment * alignment; };
    size_t total = 0;
    for (const Pending & p : pending_) if (is_small(p)) total += size_of(p);
    if (total == 0) return;
    small_ = cpu::Pages(total);
    small_buffer_ = backend_.wrap_host(small_.data(), total);
    size_t at = 0;
    for (const Pending & p : pending_) {
        if (!is_small(p)) continue;
        std::memcpy(small_.data() + at, file_->data_of(p.name), ggml_nbytes(p.tensor));
        ggml_backend_tensor_alloc(small_buffer_.get(), p.tensor, small_.data() + at);
        at += size_of(p);
    }
}

void Weights::finish() {
    copy_small();
    mapped_ = backend_.wrap_host(file_->file().data(), file_->file().size());
    if (ggml_get_first_tensor(device_ctx_.get())) {
        device_.reset(ggml_backend_alloc_ctx_tensors_from_buft(device_ctx_.get(), backend_.buffer_type()));
        if (!device_) throw Error("OUT_OF_MEMORY", "The weights do not fit the memory of " + backend_.info().name);
        ggml_backend_buffer_set_usage(device_.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    }
    for (const Pending & p : pending_) {
        throw_if_stopped();
        if (p.on_host) {
            const bool copied = p.tensor->buffer != nullptr;
            if (!copied) ggml_backend_tensor_alloc(mapped_.get(), p.tensor, file_->data_of(p.name));
        } else {
            ggml_backend_tensor_set(p.tensor, file_->data_of(p.name), 0, ggml_nbytes(p.tensor));
            drop(p.name);
        }
    }
    pending_.clear();
    for (ggml_tensor * view : views_) if (!view->buffer) ggml_backend_view_init(view);
    views_.clear();
}

} // namespace bge
