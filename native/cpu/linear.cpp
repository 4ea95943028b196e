// linear() and linear_gated(): quantise or interleave the activations, then share row chunks x panels among the threads.
#include "packed-weights.h"

#include <algorithm>

namespace cpu {

using detail::block_size;
using detail::FloatTiles;
using detail::Int8Tiles;
using detail::Kernels;
using detail::PackedWeights;
using detail::PanelType;
using detail::Quantize;
using detail::Store;

namespace {

// A slice of inputs whose f32 panel (16 or 32 columns) stays in the first-level cache.
constexpr int k_slice = 256;

// Rows in flight. The first bounds what a chunk takes of the second-level cache, the second the workspace.
constexpr int    max_chunk_rows  = 192;
constexpr size_t chunk_bytes     = 256 * 1024;
constexpr size_t pass_bytes      = 4 * 1024 * 1024;
constexpr int    min_task_panels = 4;

int round_up(int n, int step) { return (n + step - 1) / step * step; }
int ceil_div(int n, int d) { return (n + d - 1) / d; }

size_t aligned(size_t n_bytes) { return (n_bytes + 63) / 64 * 64; }

// One call, as the tasks see it.
struct Call {
    const PackedWeights & w;
    const Kernels &       kernels;
    const float *         x;
    size_t                x_stride;
    int                   n_rows;
    float *               y;
    size_t                y_stride;
    Epilogue              epilogue;
};

// How the work is cut: tasks of chunk_rows x task_panels.
struct Split {
    int chunk_rows, n_chunks, task_panels, n_column_tasks;

    Split(const Call & call, int n_rows, int rows_of_block, size_t bytes_per_row, int n_threads) {
        const int fitting = std::max(1, int(chunk_bytes / bytes_per_row));
        const int wanted  = std::min({n_rows, fitting, max_chunk_rows});
        n_chunks          = ceil_div(n_rows, wanted);
        chunk_rows        = round_up(ceil_div(n_rows, n_chunks), rows_of_block);
        n_chunks          = ceil_div(n_rows, chunk_rows);

        // Enough tasks that the last ones even out, none so small that claiming it shows.
        const int n_column_wanted = ceil_div(n_threads * (n_threads > 1 ? 6 : 1), n_chunks);
        task_panels               = std::max(min_task_panels, ceil_div(call.w.n_panels, n_column_wanted));
        n_column_tasks            = ceil_div(call.w.n_panels, task_panels);
    }

    int n_tasks() const { return n_chunks * n_column_tasks; }
};

void store_panel(const Call & call, int first_row, int n_rows, int panel, const float * sums) {
    const PackedWeights & w       = call.w;
    const int             columns = w.columns_out();
    const int             column  = panel * columns;
    const Epilogue &      e       = call.epilogue;

    Store s;
    s.sums            = sums;
    s.n_rows          = n_rows;
    s.columns         = w.columns;
    s.n_valid         = std::min(columns, w.n_out - column);
    s.bias            = w.bias.empty() ? nullptr : w.bias.data() + column;
    s.activation      = e.activation;
    s.gated           = w.gated;
    s.scale           = e.scale;
    s.residual        = e.residual != nullptr ? e.residual + size_t(first_row) * e.residual_stride + column : nullptr;
    s.residual_stride = e.residual_stride;
    s.y               = call.y + size_t(first_row) * call.y_stride + column;
    s.y_stride        = call.y_stride;
    call.kernels.store(s);
}

// --- int8 ------------------------------------------------------------------------------------------

// Quantised rows of one pass, in blocks of `rows`.
struct QuantizedRows {
    int       rows;
    size_t    code_bytes, n_scales; // of one block
    int8_t *  codes;
    float *   scales;
    int32_t * sums;
};

void quantize_block(const Call & call, const QuantizedRows & q, int first_row, int n_rows, int block) {
    const detail::Format & f        = call.kernels.format;
    const bool             per_row  = call.w.type == PanelType::int8_row;
    const int              in_block = std::min(q.rows, n_rows - block * q.rows);
    for (int r = 0; r < in_block; ++r) {
        Quantize args;
        args.format = &f;
        args.x      = call.x + size_t(first_row + block * q.rows + r) * call.x_stride;
        args.n      = call.w.n_in;
        args.rows   = q.rows;
        args.offset = per_row ? f.row_offset : f.block_offset;
        args.codes  = q.codes + block * q.code_bytes + r * f.group;
        args.scale  = q.scales + block * q.n_scales + r;
        args.sum    = q.sums + block * q.n_scales + r;
        per_row ? call.kernels.quantize_row(args) : call.kernels.quantize_blocks(args);
    }
}

void int8_task(const Call & call, const QuantizedRows & q, const Split & split, int first_row, int n_rows, int task, float * sums) {
    const int    chunk   = task / split.n_column_tasks;
    const int    begin   = chunk * split.chunk_rows;
    const int    n       = std::min(split.chunk_rows, n_rows - begin);
    const int    panel_0 = task % split.n_column_tasks * split.task_panels;
    const int    panel_1 = std::min(panel_0 + split.task_panels, call.w.n_panels);
    const size_t block   = size_t(begin / q.rows);

    Int8Tiles args;
    args.format   = &call.kernels.format;
    args.x        = q.codes + block * q.code_bytes;
    args.x_scale  = q.scales + block * q.n_scales;
    args.x_sum    = q.sums + block * q.n_scales;
    args.n_rows   = n;
    args.n_blocks = call.w.n_blocks;
    args.y        = sums;
    for (int panel = panel_0; panel < panel_1; ++panel) {
        args.w = call.w.panel(panel);
        call.w.type == PanelType::int8_row ? call.kernels.row_tiles(args) : call.kernels.block_tiles(args);
        store_panel(call, first_row + begin, n, panel, sums);
    }
}

void run_int8(ThreadPool & pool, const Call & call, Workspace & workspace) {
    const detail::Format & f       = call.kernels.format;
    const bool             per_row = call.w.type == PanelType::int8_row;
    const size_t           row_in  = size_t(call.w.n_blocks) * block_size;

    QuantizedRows q;
    q.rows       = per_row ? f.row_rows : f.block_rows;
    q.code_bytes = row_in * q.rows;
    q.n_scales   = size_t(per_row ? 1 : call.w.n_blocks) * q.rows;

    const int pass_rows = std::min(round_up(call.n_rows, q.rows), std::max(q.rows, int(pass_bytes / row_in) / q.rows * q.rows));
    const int n_blocks  = pass_rows / q.rows;
    const size_t codes  = aligned(n_blocks * q.code_bytes);
    const size_t scales = aligned(n_blocks * q.n_scales * 4);
    const size_t sums   = aligned(size_t(round_up(max_chunk_rows, q.rows)) * call.w.columns * sizeof(float));

    auto * memory = static_cast<unsigned char *>(workspace.reserve(codes + 2 * scales + sums * pool.n_threads()));
    q.codes       = reinterpret_cast<int8_t *>(memory);
    q.scales      = reinterpret_cast<float *>(memory + codes);
    q.sums        = reinterpret_cast<int32_t *>(memory + codes + scales);

    for (int first = 0; first < call.n_rows; first += pass_rows) {
        const int n = std::min(pass_rows, call.n_rows - first);

        // A block of rows is little work: several make a task.
        const int n_used    = ceil_div(n, q.rows);
        const int per_task  = std::max(1, int(32 * 1024 / q.code_bytes));
        pool.parallel_for(ceil_div(n_used, per_task), [&](int task, int) {
            for (int b = task * per_task; b < std::min(n_used, (task + 1) * per_task); ++b) {
                quantize_block(call, q, first, n, b);
            }
        });

        const Split split(call, n, q.rows, row_in, pool.n_threads());
        pool.parallel_for(split.n_tasks(), [&](int task, int thread) {
            auto * own = reinterpret_cast<float *>(memory + codes + 2 * scales + sums * thread);
            int8_task(call, q, split, first, n, task, own);
        });
    }
}

// --- Floats ----------------------------------------------------------------------------------------

// Where a block of rows lies within slice k of the interleaved activations: the blocks of a slice are neighbours,
// which spreads them over all sets of the cache.
size_t interleaved_at(int k, int n_k, int first_row, int padded_rows) { return size_t(k) * padded_rows + size_t(first_row) * n_k; }

// Interleaves a block of rows, slice by slice: [n_k][rows]. Missing rows are left as they are, no tile reads them.
void interleave(const Call & call, int rows, int first_row, int n_rows, int block, float * to) {
    const int     in_block = std::min(rows, n_rows - block * rows);
    const float * x        = call.x + size_t(first_row + block * rows) * call.x_stride;
    for (int k = 0; k < call.w.n_in; k += k_slice) {
        const int n_k = std::min(k_slice, call.w.n_in - k);
        call.kernels.transpose(x + k, call.x_stride, in_block, n_k, to + interleaved_at(k, n_k, block * rows, round_up(n_rows, rows)), size_t(rows));
    }
}

// f32 inputs [first_k, first_k + n_k) of a panel: in place, or widened into `scratch`.
const float * float_slice(const Call & call, int panel, int first_k, int n_k, float * scratch) {
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
void float_task(const Call & call, const float * x, const Split & split, int first_row, int n_rows, int task, float * sums, float * scratch) {
    const int    rows    = call.kernels.format.float_rows;
    const int    chunk   = task / split.n_column_tasks;
    const int    begin   = chunk * split.chunk_rows;
    const int    n       = std::min(split.chunk_rows, n_rows - begin);
    const int    panel_0 = task % split.n_column_tasks * split.task_panels;
    const int    panel_1 = std::min(panel_0 + split.task_panels, call.w.n_panels);
    const size_t of_panel = size_t(split.chunk_rows) * call.w.columns;

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
            for (int r = 0; r < n; r += rows) {
                args.x      = x + interleaved_at(k, args.n_k, begin + r, round_up(n_rows, rows));
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

void run_float(ThreadPool & pool, const Call & call, Workspace & workspace) {
    const int    rows      = call.kernels.format.float_rows;
    const size_t row_bytes = size_t(call.w.n_in) * sizeof(float);
    const int    pass_rows = std::min(round_up(call.n_rows, rows), std::max(rows, int(pass_bytes / row_bytes) / rows * rows));

    Split split(call, std::min(pass_rows, call.n_rows), rows, k_slice * sizeof(float), pool.n_threads());
    split.task_panels    = std::min(split.task_panels, 2 * min_task_panels); // their sums must stay in the cache
    split.n_column_tasks = ceil_div(call.w.n_panels, split.task_panels);

    const size_t packed  = aligned(size_t(pass_rows) * row_bytes);
    const size_t sums    = aligned(size_t(split.chunk_rows) * split.task_panels * call.w.columns * sizeof(float));
    const size_t scratch = aligned(size_t(k_slice) * call.w.columns * sizeof(float));
    auto *       memory  = static_cast<unsigned char *>(workspace.reserve(packed + (sums + scratch) * pool.n_threads()));
    auto *       x       = reinterpret_cast<float *>(memory);

    for (int first = 0; first < call.n_rows; first += pass_rows) {
        const int n = std::min(pass_rows, call.n_rows - first);
        split.n_chunks = ceil_div(n, split.chunk_rows);
        pool.parallel_for(ceil_div(n, rows), [&](int block, int) {
            interleave(call, rows, first, n, block, x);
        });
        pool.parallel_for(split.n_tasks(), [&](int task, int thread) {
            unsigned char * own = memory + packed + (sums + scratch) * thread;
            float_task(call, x, split, first, n, task, reinterpret_cast<float *>(own), reinterpret_cast<float *>(own + sums));
        });
    }
}

void run(ThreadPool & pool, const Call & call, Workspace & workspace) {
    if (call.n_rows <= 0) {
        return;
    }
    const bool is_int8 = call.w.type == PanelType::int8_block || call.w.type == PanelType::int8_row;
    is_int8 ? run_int8(pool, call, workspace) : run_float(pool, call, workspace);
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
