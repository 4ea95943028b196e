// Our CPU kernels: packed linear layers, attention, norms and rope, chosen for the chip at run time.
// Plain C++17: no ggml, no N-API. Matrices are row-major f32; a stride is the distance of two rows, in floats.
#pragma once

#include "pages.h"
#include "types.h"

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <type_traits>
#include <vector>

namespace cpu {

// --- Instruction set -------------------------------------------------------------------------------

// The best level this chip and this build have, or the one that the environment variable BGE_CPU_ISA names
// (plain|scalar|avx2|avx-vnni|avx512|avx512-vnni|amx|neon|dotprod|i8mm). Found once, at the first call.
// Throws std::invalid_argument, naming the choices, when the variable asks for something unknown or unsupported.
Isa isa();

bool         isa_supported(Isa isa); // of amx: asks the system to permit it
const char * isa_name(Isa isa);

// --- Threads ---------------------------------------------------------------------------------------

// Threads to use by default: physical cores, within the process's affinity and the CPU quota of its control groups.
// On macOS the performance cores.
int physical_cores();

// A non-owning reference to a callable `void(int task, int thread)`; lives as long as the call it is passed to.
class TaskRef {
public:
    template <typename F, typename = std::enable_if_t<!std::is_same_v<std::decay_t<F>, TaskRef>>>
    TaskRef(const F & f)
        : object_(&f), call_([](const void * object, int task, int thread) { (*static_cast<const F *>(object))(task, thread); }) {}
    void operator()(int task, int thread) const { call_(object_, task, thread); }

private:
    const void * object_;
    void (*call_)(const void *, int, int);
};

// Tasks 0 to n_tasks of a job, which may run in any order and at the same time.
struct Step {
    int     n_tasks;
    TaskRef fn;
};

// Workers that sleep between jobs. A job is claimed task by task, so a thread the system takes away delays
// nobody but its own task, and several pools can share busy cores.
class ThreadPool {
public:
    explicit ThreadPool(int n_threads); // counts the calling thread; values below 1 are 1. Throws std::system_error
    ~ThreadPool();
    ThreadPool(const ThreadPool &) = delete;
    ThreadPool & operator=(const ThreadPool &) = delete;

    int n_threads() const { return int(workers_.size()) + 1; }

    // Calls fn(task, thread) once for every task in [0, n_tasks), in any order; returns when all are done.
    // `thread` is in [0, n_threads) and no two running tasks share one: use it to pick scratch memory.
    // The caller works too, as thread 0. From inside a task, or with one thread, it is a plain loop. fn must not throw.
    // Calls from several threads take turns. Neighbouring tasks mostly run on one thread, in order.
    void parallel_for(int n_tasks, TaskRef fn) { parallel_steps({{n_tasks, fn}}); }

    // The same for several steps, one after the other: no task of a step begins before all of the one before are done. The
    // workers stay in between, so that this costs less than calls of parallel_for(). At most max_steps.
    static constexpr int max_steps = 8;
    void parallel_steps(std::initializer_list<Step> steps) { parallel_steps(steps.begin(), int(steps.size())); }
    void parallel_steps(const Step * steps, int n_steps);

    // While `stop` is true, tasks that have not begun are left out: whoever set it has no use for the result.
    void set_stop(const std::atomic<bool> * stop) { stop_tasks_ = stop; }

private:
    struct Progress;
    struct Job;

    // Threads that looked in vain for a while, and sleep until someone has changed what they wait for.
    struct Sleepers {
        std::mutex              mutex;
        std::condition_variable changed;
        std::atomic<int>        n{0};

        template <typename Condition> void wait_until(const Condition & condition); // looks for a while first
        void wake(int n_wanted);
    };

    void work(int thread);
    void join();
    bool is_stopped() const;

    const std::atomic<bool> * stop_tasks_ = nullptr;

    std::vector<std::thread>    workers_;
    std::unique_ptr<Progress[]> progress_; // of each step
    std::mutex                  turn_;     // one job at a time
    std::atomic<Job *>          job_{nullptr};
    std::atomic<uint32_t>       generation_{0}; // counts jobs, so that a worker knows whether there was one since
    std::atomic<int>            n_working_{0};  // workers that may look at the job
    std::atomic<bool>           stop_{false};
    Sleepers                    idle_, waiting_; // for a job; for others within a job
};

// Scratch memory of linear() and attention(): grows to what the largest call needs, then is reused.
// One per thread that makes calls.
class Workspace {
public:
    void * reserve(size_t n_bytes); // at least n_bytes, aligned to 64; what was there before is lost
    size_t size_bytes() const { return pages_.size(); }

private:
    Pages pages_;
};

// --- Linear layers ---------------------------------------------------------------------------------

// Types by ggml's names. `other` is any that dequantize_row reads.
enum class SourceType {
    f32, f16, bf16, q8_0,
    q4_0, q4_1, q5_0, q5_1, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, mxfp4, q2_k, q3_k,
    iq1_s, iq1_m, iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s, // panels of 1 to 6 bits: low-bit.h
    other                                                 // panels of the file's bytes: file-rows.h
};

// A row-major weight as it lies in the model file. Each row is read once, in order, while packing.
struct WeightSource {
    const void * data      = nullptr;
    SourceType   type      = SourceType::f32;
    int          n_rows    = 0;
    size_t       row_bytes = 0; // distance of two rows; needed for types after q8_0, 0 otherwise means they lie without gaps
    int          block     = 0; // values of a block of the type; rows of `other` without it are widened to int8 blocks at once

    // For types after q8_0: turns one row into floats. ggml's `to_float` of a tensor type fits.
    void (*dequantize_row)(const void * row, float * out, int64_t n) = nullptr;
};

// native: F32 stays f32, F16 and BF16 stay 16 bits with f32 sums. Q8_0 stays int8 with a scale per 32 weights. Types of fewer bits
//         keep them, and take at most 1.12 times what they do in the file; they become int8 with such scales when a panel is
//         multiplied. Activations of int8 weights get 8 bits and a scale per 32 too; on x86 without VNNI there are scales per 8,
//         and codes of neighbours share a range (quantize-multiplied.h).
// fast:   the same where the chip gains nothing by it. With VNNI or ARM's dot product 64 inputs share a scale: of two blocks of
//         Q8_0 the larger scale counts and the other's codes are rounded. With VNNI, not in AMX tiles, scales of activations are
//         rounded up to the next 1, 1.25, 1.5 or 1.75 times a power of two. About twice the error (docs/benchmarks.md).
// row_int8: int8 with one scale per weight row and one per activation row, from any source. Faster, coarser:
//         8 bits each, or 7 on chips without VNNI.
enum class WeightMode { native, fast, row_int8 };

namespace detail {
struct PackedWeights;
}

// The weights of one linear layer, repacked for the chip. Immutable; may be used by many threads at once.
class PackedLinear {
public:
    PackedLinear();
    ~PackedLinear();
    PackedLinear(PackedLinear &&) noexcept;
    PackedLinear & operator=(PackedLinear &&) noexcept;

    int    n_in() const;
    int    n_out() const;      // rows of all sources; for a gated layer, of one of its two halves
    bool   is_gated() const;
    bool   is_int8() const;
    size_t size_bytes() const; // memory held
    explicit operator bool() const { return weights_ != nullptr; }

    const detail::PackedWeights & weights() const { return *weights_; }

private:
    friend PackedLinear pack_linear(ThreadPool &, int, const std::vector<WeightSource> &, const float *, WeightMode);
    friend PackedLinear pack_linear_gated(ThreadPool &, int, const WeightSource &, const WeightSource &, WeightMode);
    std::unique_ptr<detail::PackedWeights> weights_;
};

// Weights that are NaN or infinite would make any input the same.
struct NotFinite : std::runtime_error {
    NotFinite() : std::runtime_error("Weights that are NaN or infinite") {}
};

// Packs [n_out, n_in] weights; several sources are stacked along n_out, so that q, k and v become one layer.
// Sources of different types meet as int8 blocks when all are quantised, else as f32. `bias` has n_out values, is copied, may be null.
// Throws NotFinite where a weight is not.
PackedLinear pack_linear(ThreadPool & pool, int n_in, const std::vector<WeightSource> & sources, const float * bias = nullptr,
                         WeightMode mode = WeightMode::native);

// Packs the gate and up projections of a gated feed-forward layer together, for linear_gated().
PackedLinear pack_linear_gated(ThreadPool & pool, int n_in, const WeightSource & gate, const WeightSource & up,
                               WeightMode mode = WeightMode::native);

// What happens to x Wᵀ + b before it is stored: y = residual + scale * activation(x Wᵀ + b).
struct Epilogue {
    Activation    activation      = Activation::none;
    float         scale           = 1.0f;
    const float * residual        = nullptr; // [n_rows, n_out]; may be y itself
    size_t        residual_stride = 0;
};

// y [n_rows, n_out] from x [n_rows, n_in]. y must not overlap x. A row's result is the same, bit for bit,
// whatever other rows are in the call and however many threads there are.
void linear(ThreadPool & pool, const PackedLinear & w, const float * x, size_t x_stride, int n_rows, float * y, size_t y_stride,
            const Epilogue & epilogue, Workspace & workspace);

// y = activation(x Wgateᵀ) * (x Wupᵀ), for weights from pack_linear_gated().
void linear_gated(ThreadPool & pool, const PackedLinear & w, const float * x, size_t x_stride, int n_rows, float * y, size_t y_stride,
                  Activation activation, Workspace & workspace);

// Both layers of a feed-forward block at once, as linear() or linear_gated() and then linear() would compute them, bit for
// bit. Threads share the rows, so that what lies between the layers never leaves the cache, or with few rows each layer's columns.
// Only where joins_feed_forward() says so: int8 weights, and codes between the layers that are not too many at once.
bool joins_feed_forward(const PackedLinear & up, const PackedLinear & down, int n_rows, int n_threads);
void feed_forward(ThreadPool & pool, const PackedLinear & up, const PackedLinear & down, const float * x, size_t x_stride, int n_rows, float * y,
                  size_t y_stride, Activation activation, const Epilogue & epilogue, Workspace & workspace);

// --- Attention -------------------------------------------------------------------------------------

// One sequence of a packed batch. Its keys are n_prefix rows shared with others and then its own n_kv rows;
// the position of a key is its place in that list. Query rows are listed apart, so that a last layer may ask for one row only.
struct AttentionSequence {
    int kv_begin     = 0; // first own row in k and v
    int n_kv         = 0;
    int prefix_begin = 0; // first row of the shared prefix in k and v
    int n_prefix     = 0;
    int q_begin      = 0; // first row in q and out
    int n_q          = 0;
    int q_position   = 0; // position of the first query row among the keys; looked at only when causal or in a window
};

// Scores that depend on how far two tokens stand apart, as DeBERTa has them: q_i · k_row + k_j · q_row is added to q_i · k_j,
// with the row that belongs to the distance i - j. Heads lie in the rows as they do in q and k.
struct RelativePositions {
    const float *   q = nullptr, * k = nullptr; // [n_rows, n_head * head_dim]
    size_t          q_stride = 0, k_stride = 0;
    const int32_t * row = nullptr; // of each distance from -max_distance to max_distance; does not fall
    int             max_distance = 0;
};

struct AttentionParams {
    int   n_head    = 0;
    int   n_head_kv = 0; // query head j reads key head j / (n_head / n_head_kv)
    int   head_dim  = 0; // the heads of a row lie side by side
    float scale     = 1.0f;
    bool  causal    = false;
    int   window    = 0;    // key j is visible to query i iff |i - j| < window, and not after it where causal; 0 = no limit
    float soft_cap  = 0.0f; // score becomes cap * tanh(score / cap); 0 = off

    // Beside int8 weights: q, k, v and the softmax as 16-bit codes, with relative errors of about 2e-4, where the chip is faster
    // at those. Ignored with `relative`, and where heads are no multiple of 8.
    bool codes = false;

    const RelativePositions * relative = nullptr; // not with prefixes; as many key as query heads

    size_t q_stride = 0, k_stride = 0, v_stride = 0, out_stride = 0;

    const AttentionSequence * sequences   = nullptr;
    int                       n_sequences = 0;
};

// out = softmax(mask(scale q kᵀ)) v for every sequence and head, in f32 unless `codes` says otherwise. out must not overlap q, k or v.
// A query row that sees no key gives zeros. Results do not depend on the other sequences.
void attention(ThreadPool & pool, const AttentionParams & params, const float * q, const float * k, const float * v, float * out,
               Workspace & workspace);

// attention() among the rows of each sequence, of the q, k and v that `qkv` gives for x: as linear() and then attention()
// would compute it, bit for bit. Only where joins_self_attention() says so: int8 weights of as many query as key heads, no
// prefixes, sequences that follow one another and fit the cache. Strides of q, k and v are not looked at.
bool joins_self_attention(const PackedLinear & qkv, const AttentionParams & params);
void self_attention(ThreadPool & pool, const PackedLinear & qkv, const AttentionParams & params, const float * x, size_t x_stride, float * out,
                    Workspace & workspace);

// What follows attention in a layer of BERT: y = norm(h + down(act(up h))) with h = norm(x + out mixed), layer norms both.
struct PostNormLayer {
    struct Norm {
        const float * weight;
        const float * bias; // or null
        float         eps;
    };
    const PackedLinear * attn_output;
    const PackedLinear * ffn_up;
    const PackedLinear * ffn_down;
    Norm                 attn_norm, ffn_norm;
    Activation           activation;
};

// As linear(), layer_norm(), feed_forward() and layer_norm() would compute it, bit for bit. Only where joins_post_norm() says so.
bool joins_post_norm(const PostNormLayer & layer, int n_rows, int n_threads);
void post_norm(ThreadPool & pool, const PostNormLayer & layer, const float * mixed, size_t mixed_stride, const float * x, size_t x_stride, int n_rows, float * y,
               size_t y_stride, Workspace & workspace);

// --- Norms, rope and small things ------------------------------------------------------------------

// Rows of n values. The sum x + add is normed when `add` is given; `residual`, when given, is added to the result.
// y may be x, add or residual.
struct NormParams {
    int           n_rows          = 0;
    int           n               = 0;
    float         eps             = 0.0f;
    const float * weight          = nullptr; // [n]
    const float * bias            = nullptr; // [n] or null; layer_norm only
    const float * add             = nullptr;
    size_t        add_stride      = 0;
    const float * residual        = nullptr;
    size_t        residual_stride = 0;
};

void layer_norm(ThreadPool & pool, const NormParams & params, const float * x, size_t x_stride, float * y, size_t y_stride);
void rms_norm(ThreadPool & pool, const NormParams & params, const float * x, size_t x_stride, float * y, size_t y_stride);

struct RopeFrequencies {
    float theta;
    float scale; // of every frequency: 1 / factor where positions are interpolated

    RopeFrequencies(float theta = 10000.0f, float scale = 1.0f) : theta(theta), scale(scale) {}
    bool operator==(const RopeFrequencies & o) const { return theta == o.theta && scale == o.scale; }
};

// Cosines and sines as the reference computes them: f_i = scale * theta^(-2i/n), angle = position * f_i, all in f32.
struct RopeTable {
    RopeTable(const RopeFrequencies & frequencies, int head_dim, int n_positions);

    RopeFrequencies    frequencies;
    int                head_dim;
    int                n_positions;
    std::vector<float> cos, sin; // [n_positions, head_dim / 2]
};

enum class RopeStyle { halves, pairs }; // turns (x_i, x_{i + n/2}), as NeoX does, or (x_2i, x_2i+1)

// Turns n_head heads of every row in place. positions[row] must be below table.n_positions.
void rope(ThreadPool & pool, const RopeTable & table, RopeStyle style, float * x, size_t x_stride, int n_rows, int n_head,
          const int32_t * positions);

// y = scale * a + b, row by row; b may be null. y may be a or b.
void scale_add(ThreadPool & pool, float scale, const float * a, size_t a_stride, const float * b, size_t b_stride, int n_rows, int n,
               float * y, size_t y_stride);

// y = activation(x), row by row. y may be x.
void activate(ThreadPool & pool, Activation activation, const float * x, size_t x_stride, int n_rows, int n, float * y, size_t y_stride);

} // namespace cpu
