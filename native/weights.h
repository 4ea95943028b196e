// Weights: the tensors of one loaded model, and the layers made of them. An architecture asks for what it needs while
// it is built; shapes are checked here, so that no graph can be built on a wrong one, and values to be finite. On the CPU,
// linear layers are packed for our kernels at once and their pages of the file given back; all else stays in the mapped file.
#pragma once
#include "backend.h"
#include "finite-check.h"
#include "model-file.h"
#include <atomic>
#include <memory>
#include <string>
#include <vector>

namespace bge {

// y = x Wᵀ + b, for one weight or several that read the same x (q, k and v).
struct Linear {
    struct Part {
        ggml_tensor * weight = nullptr; // [n_in, n_out]
        ggml_tensor * bias = nullptr;   // [n_out] or null
        int64_t n_out = 0;
    };
    int64_t n_in = 0, n_out = 0; // n_out over all parts
    std::vector<Part> parts;
    cpu::PackedLinear packed; // instead of the parts' tensors, on our CPU kernels
};

// act(x Wgateᵀ) * (x Wupᵀ)
struct GatedLinear {
    Linear gate, up;
    cpu::PackedLinear packed;
};

struct Norm {
    ggml_tensor * weight = nullptr; // F32 [n]
    ggml_tensor * bias = nullptr;   // F32 [n] or null
    float eps = 0;
};

enum class FirstHalf { gate, up };

class Weights {
public:
    // Once `stop` is true, the next layer asked for throws Error CLOSED.
    // `finite` may know of checks that an earlier one made.
    Weights(std::shared_ptr<ModelFile> file, Backend & backend, cpu::WeightMode mode, FiniteCheck & finite, const std::atomic<bool> & stop);

    const ModelFile & file() const { return *file_; }
    // Layers from 1 to this one are loaded; 0 = all. Set by the engine before the architecture reads anything.
    int max_layer = 0;

    ggml_tensor * tensor(const std::string & name, const std::vector<int64_t> & shape);
    // A table that GraphBuilder::look_up() reads. It stays in the mapped file where the device cannot look it up.
    ggml_tensor * table(const std::string & name, const std::vector<int64_t> & shape);
    ggml_tensor * optional(const std::string & name, const std::vector<int64_t> & shape); // null when the file has none
    // Weights `<name>.weight` [n_in, n_out] and, with `bias`, `<name>.bias` [n_out].
    Linear linear(const std::string & name, int64_t n_in, int64_t n_out, bool bias);
    Linear linear(const std::vector<std::string> & names, int64_t n_in, const std::vector<int64_t> & n_out, bool bias);
    // The parts are rows of one tensor, one after the other: q, k and v as `attn_qkv`.
    Linear linear_of_rows(const std::string & name, int64_t n_in, const std::vector<int64_t> & n_out, bool bias);
    GatedLinear gated(const std::string & gate, const std::string & up, int64_t n_in, int64_t n_out);
    // Gate and up are the halves of one tensor.
    GatedLinear gated_of_rows(const std::string & name, int64_t n_in, int64_t n_out, FirstHalf first, bool bias);
    Norm norm(const std::string & name, int64_t n, float eps, bool bias);
    bool has_bias(const std::string & name) const { return file_->find(name + ".bias") != nullptr; } // for layers that may go without

    // Rows of a [n, n_rows] table as F32, whatever its type: for a head that is one row of it.
    std::vector<float> rows(const std::string & name, int64_t n, int64_t first, int64_t n_rows);

    // Allocates and fills what was asked for. Call once, after the architecture is built.
    void finish();
    size_t size_bytes() const { return size_bytes_; }
    // Whether all linear layers are F32, so that their users expect F32 of attention too.
    bool is_f32() const { return is_f32_; }

private:
    struct Pending { ggml_tensor * tensor; std::string name; bool on_host; };
    // Rows [first, first + n) of the n_all rows of a tensor.
    struct Slice { std::string name; int64_t first, n, n_all; };

    Linear linear(const std::vector<Slice> & slices, int64_t n_in, bool bias);
    GatedLinear gated(const Slice & gate, const Slice & up, int64_t n_in, bool bias);
    ggml_tensor * place(const ggml_tensor * meta, bool on_host);
    ggml_tensor * rows_of(ggml_tensor * whole, int64_t first, int64_t n); // fewer than all: of a [n_in, n_rows] weight, or values of a bias
    const ggml_tensor * require(const std::string & name, const std::vector<int64_t> & shape) const;
    void require_readable(const ggml_tensor * meta) const;
    std::vector<float> read_f32(const std::string & name, int64_t first, int64_t n, int64_t n_all) const;
    cpu::WeightSource source(const Slice & slice, int64_t n_in) const;
    template <typename Pack> cpu::PackedLinear packed(const std::vector<std::string> & names, const Pack & pack);
    void drop(const std::string & name) const;
    void copy_small();
    void throw_if_stopped() const;

    std::shared_ptr<ModelFile> file_;
    Backend & backend_;
    cpu::WeightMode mode_;
    FiniteCheck & finite_;
    const std::atomic<bool> & stop_;
    cpu::Pages small_;
    ggml_backend_buffer_ptr mapped_, small_buffer_, device_;
    ggml_context_ptr mapped_ctx_, device_ctx_; // views of the buffers above
    std::vector<Pending> pending_;
    std::vector<ggml_tensor *> views_; // of the tensors above
    size_t size_bytes_ = 0;
    bool is_f32_ = true;
};

} // namespace bge
