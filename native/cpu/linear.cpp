// linear() and linear_gated(): quantise or interleave the activations, then share row chunks x panels among the threads.
#include "split.h"

namespace cpu {

using detail::FloatTiles;
using detail::LayerCall;
using detail::PackedWeights;
using detail::PanelType;
using detail::pass_bytes;
using detail::QuantizedRows;
using detail::Split;
using detail::unpacked_bytes;

namespace {

// A slice of inputs whose f32 panel (16 or 32 columns) stays in the first-level cache.
constexpr int k_slice = 192;

// --- int8 ------------------------------------------------------------------------------------------

void run_int8(ThreadPool & pool, const LayerCall & call, Workspace & workspace) {
    const PackedWeights & w      = call.w;
    const size_t          row_in = size_t(w.n_blocks) * w.block();

    QuantizedRows q(w);
    const int     pass_rows = std::min(round_up(call.n_rows, q.rows), std::max(q.rows, int(pass_bytes / row_in) / q.rows * q.rows));
    const size_t  quantized = q.size_bytes(pass_rows);
    const size_t  sums      = aligned(size_t(round_up(detail::largest_chunk(w), q.rows)) * w.columns * sizeof(float));
    auto *        memory    = static_cast<unsigned char *>(workspace.reserve(quantized + (sums + unpacked_bytes(w)) * pool.n_threads()));
    q.place(memory, pass_rows);

    for (int first = 0; first < call.n_rows; first += pass_rows) {
        const int n = std::min(pass_rows, call.n_rows - first);

        // A block of rows is little work: several make a task.
        const int  task_rows = std::max(1, int(32 * 1024 / q.code_bytes)) * q.rows;
        const auto to_codes  = [&](int task, int) {
            const int row = task * task_rows;
            quantize(w, q, call.x + size_t(first + row) * call.x_stride, call.x_stride, std::min(task_rows, n - row), w.n_in, row, 0);
        };

        const Split split    = detail::int8_split(w, n, pool.n_threads());
        const auto  products = [&](int i, int thread) {
            auto *            of_thread = memory + quantized + (sums + unpacked_bytes(w)) * thread;
            auto *            own       = reinterpret_cast<float *>(of_thread);
            const Split::Task task      = split.task(i);
            for (int panel = task.panel; panel < task.end_panel; ++panel) {
                int8_panel(w, q, task.first_row, task.n_rows, panel, own, of_thread + sums);
                store_panel(call, first + task.first_row, task.n_rows, panel, own);
            }
        };
        pool.parallel_steps({{ceil_div(n, task_rows), to_codes}, {split.n_tasks(), products}});
    }
}

// --- Floats ----------------------------------------------------------------------------------------

// Where a block of rows lies within slice k of the interleaved activations: the blocks of a slice are neighbours,
// which spreads them over all sets of the cache.
size_t interleaved_at(int k, int n_k, int first_row, int padded_rows) { return size_t(k) * padded_rows + size_t(first_row) * n_k; }

// Interleaves a block of rows, slice by slice: [n_k][rows]. Missing rows are left as they are, no tile reads them.
void interleave(const LayerCall & call, int rows, int first_row, int n_rows, int block, float * to) {
    const int     in_block = std::min(rows, n_rows - block * rows);
    const float * x        = call.x + size_t(first_row + block * rows) * call.x_stride;
    for (int k = 0; k < call.w.n_in; k += k_slice) {
        const int n_k = std::min(k_slice, call.w.n_in - k);
        call.kernels.transpose(x + k, call.x_stride, in_block, n_k, to + interleaved_at(k, n_k, block * rows, round_up(n_rows, rows)), size_t(rows));
    }
}

// f32 inputs [first_k, first_k + n_k) of a panel: in place, or widened into `scratch`.
const float * float_slice(const LayerCall & call, int panel, int first_k, int n_k, float * scratch) {
    const unsigned char * p  = call.w.panel(panel);
    const size_t          at = size_t(first_k) * call.w.columns;
    const size_t          n  = size_t(n_k) * call.w.columns;
    if (call.w.type == PanelType::f32) {
        return reinterpret_cast<const float *>(p) + at;
    }
    const uint16_t * halves = reinterpret_cast<const uint16_t *>(p) + at;
    call.w.type == PanelType::f16 ? call.kernels.widen_f16(halves, scratch, n) : call.kernels.widen_bf16(halves, scratch, n);
    return scratch;
}

// Slices of inputs are the outer loop, so that a slice of the chunk's rows serves all panels from the cache.
void float_task(const LayerCall & call, const float * x, const Split & split, int first_row, int task, float * sums, float * scratch) {
    const int    rows     = call.kernels.format.float_rows;
    const size_t of_panel = size_t(split.chunk_rows) * call.w.columns;
    const auto [begin, n, panel_0, panel_1] = split.task(task);

    FloatTiles args;
    args.x_row    = 1;
    args.x_k      = rows;
    args.w_panel  = 0;
    args.n_panels = 1;
    args.y_row    = size_t(call.w.columns);
    args.y_panel  = 0;
    for (int k = 0; k < call.w.n_in; k += k_slice) {
        args.n_k        = std::min(k_slice, call.w.n_in - k);
        args.accumulate = k > 0;
        for (int panel = panel_0; panel < panel_1; ++panel) {
            args.w = float_slice(call, panel, k, args.n_k, scratch);
            // Meanwhile, the same inputs of the next panel as they lie in memory.
            const size_t of_input = call.w.panel_bytes / call.w.n_in, of_block = of_input * args.n_k / ceil_div(n, rows);
            args.next             = call.w.panel(panel + 1) + of_input * k;
            args.next_step        = ceil_div(int(of_block), args.n_k);
            for (int r = 0; r < n; r += rows, args.next += of_block) {
                args.x      = x + interleaved_at(k, args.n_k, begin + r, round_up(split.n_rows, rows));
                args.n_rows = std::min(rows, n - r);
                args.y      = sums + (panel - panel_0) * of_panel + size_t(r) * call.w.columns;
                call.kernels.float_tiles(args);
            }
        }
    }
    for (int panel = panel_0; panel < panel_1; ++panel) {
        store_panel(call, first_row + begin, n, panel, sums + (panel - panel_0) * of_panel);
    }
}

void run_float(ThreadPool & pool, const LayerCall & call, Workspace & workspace) {
    const int    rows      = call.kernels.format.float_rows;
    const size_t row_bytes = size_t(call.w.n_in) * sizeof(float);
    const int    pass_rows = std::min(round_up(call.n_rows, rows), std::max(rows, int(pass_bytes / row_bytes) / rows * rows));

    Split split(call.w, std::min(pass_rows, call.n_rows), rows, k_slice * sizeof(float), pool.n_threads());
    split.set_task_panels(std::min(split.task_panels, 2 * detail::min_task_panels)); // their sums must stay in the cache

    const size_t packed  = aligned(size_t(pass_rows) * row_bytes);
    const size_t sums    = aligned(size_t(split.chunk_rows) * split.task_panels * call.w.columns * sizeof(float));
    const size_t scratch = aligned(size_t(k_slice) * call.w.columns * sizeof(float));
    auto *       memory  = static_cast<unsigned char *>(workspace.reserve(packed + (sums + scratch) * pool.n_threads()));
    auto *       x       = reinterpret_cast<float *>(memory);

    for (int first = 0; first < call.n_rows; first += pass_rows) {
        const int n = std::min(pass_rows, call.n_rows - first);
        split.n_rows   = n;
        split.n_chunks = ceil_div(n, split.chunk_rows);
        const auto to_blocks = [&](int block, int) { interleave(call, rows, first, n, block, x); };
        const auto products  = [&](int task, int thread) {
            unsigned char * own = memory + packed + (sums + scratch) * thread;
            float_task(call, x, split, first, task, reinterpret_cast<float *>(own), reinterpret_cast<float *>(own + sums));
        };
        pool.parallel_steps({{ceil_div(n, rows), to_blocks}, {split.n_tasks(), products}});
    }
}

void run(ThreadPool & pool, const LayerCall & call, Workspace & workspace) {
    if (call.n_rows <= 0) {
        return;
    }
    call.w.is_int8() ? run_int8(pool, call, workspace) : run_float(pool, call, workspace);
}

} // namespace

void linear(ThreadPool & pool, const PackedLinear & w, const float * x, size_t x_stride, int n_rows, float * y, size_t y_stride,
            const Epilogue & epilogue, Workspace & workspace) {
    const PackedWeights & weights = w.weights();
    run(pool, {weights, *weights.kernels, x, x_stride, n_rows, y, y_stride, epilogue}, workspace);
}

void linear_gated(ThreadPool & pool, const PackedLinear & w, const float * x, size_t x_stride, int n_rows, float * y, size_t y_stride,
                  Activation activation, Workspace & workspace) {
    const PackedWeights & weights = w.weights();
    Epilogue              epilogue;
    epilogue.activation = activation;
    run(pool, {weights, *weights.kernels, x, x_stride, n_rows, y, y_stride, epilogue}, workspace);
}

} // namespace cpu
