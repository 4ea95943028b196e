// linear(), linear_gated() and feed_forward(): quantise or interleave the activations, then share row chunks x panels among
// the threads.
#include "packed-weights.h"

#include <algorithm>

namespace cpu {

using detail::FloatTiles;
using detail::Kernels;
using detail::PackedWeights;
using detail::PanelType;
using detail::Store;

namespace {

// A slice of inputs whose f32 panel (16 or 32 columns) stays in the first-level cache.
constexpr int k_slice = 256;

// Rows in flight. The first two bound what a chunk takes of the second-level cache, and how often weights are read; the last
// bounds the workspace.
constexpr int    min_chunk_rows  = 128;
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
        const int fitting = std::max(min_chunk_rows, int(chunk_bytes / bytes_per_row));
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

// Finished sums of a panel to y, which is the place of its first output of the first row.
void store_panel(const Call & call, int first_row, int n_rows, int panel, const float * sums, float * y, size_t y_stride) {
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
    s.activation      = w.is_int8() && e.activation == Activation::gelu_erf ? Activation::gelu_near : e.activation;
    s.gated           = w.gated;
    s.scale           = e.scale;
    s.residual        = e.residual != nullptr ? e.residual + size_t(first_row) * e.residual_stride + column : nullptr;
    s.residual_stride = e.residual_stride;
    s.y               = y;
    s.y_stride        = y_stride;
    call.kernels.store(s);
}

void store_panel(const Call & call, int first_row, int n_rows, int panel, const float * sums) {
    store_panel(call, first_row, n_rows, panel, sums, call.y + size_t(first_row) * call.y_stride + size_t(panel) * call.w.columns_out(), call.y_stride);
}

// --- int8 ------------------------------------------------------------------------------------------

// Rows as codes, in blocks of `rows`, for the layer that reads them.
struct QuantizedRows {
    int       rows, offset;
    size_t    code_bytes, n_scales; // of a block of rows
    int8_t *  codes  = nullptr;
    float *   scales = nullptr;
    int32_t * sums   = nullptr;

    explicit QuantizedRows(const PackedWeights & w) {
        const detail::Format & f       = w.kernels->format;
        const bool             per_row = w.type == PanelType::int8_row;
        rows       = per_row ? f.row_rows : f.block_rows;
        offset     = per_row ? f.row_offset : f.block_offset;
        code_bytes = size_t(w.n_blocks) * w.block() * rows;
        n_scales   = size_t(per_row ? 1 : w.n_blocks) * rows;
    }

    size_t size_bytes(int n_rows) const {
        const size_t n = size_t(ceil_div(n_rows, rows));
        return aligned(n * code_bytes) + 2 * aligned(n * n_scales * 4);
    }

    // Takes size_bytes(n_rows) of memory.
    void place(unsigned char * memory, int n_rows) {
        const size_t n = size_t(ceil_div(n_rows, rows));
        codes          = reinterpret_cast<int8_t *>(memory);
        scales         = reinterpret_cast<float *>(memory + aligned(n * code_bytes));
        sums           = reinterpret_cast<int32_t *>(memory + aligned(n * code_bytes) + aligned(n * n_scales * 4));
    }
};

// Quantises x [n_rows, n], which are inputs from `first_input` on of the rows from `first_row` on. Both begin a block.
void quantize(const PackedWeights & w, const QuantizedRows & q, const float * x, size_t x_stride, int n_rows, int n, int first_row, int first_input) {
    const bool   per_row = w.type == PanelType::int8_row;
    const size_t block   = size_t(first_row / q.rows);
    const size_t scale   = block * q.n_scales + (per_row ? 0 : size_t(first_input / w.block()) * q.rows);

    detail::Quantize args;
    args.format       = &w.kernels->format;
    args.x            = x;
    args.x_stride     = x_stride;
    args.n_rows       = n_rows;
    args.n            = n;
    args.rows         = q.rows;
    args.offset       = q.offset;
    args.codes        = q.codes + block * q.code_bytes + size_t(first_input) * q.rows;
    args.scale        = q.scales + scale;
    args.sum          = q.sums + scale;
    args.block_codes  = q.code_bytes;
    args.block_scales = q.n_scales;
    per_row ? w.kernels->quantize_rows(args) : w.kernels->quantize_blocks(args);
}

// sums [n_rows, columns] of one panel. first_row begins a block of rows.
void int8_panel(const PackedWeights & w, const QuantizedRows & q, int first_row, int n_rows, int panel, float * sums) {
    const size_t block = size_t(first_row / q.rows);

    detail::Int8Tiles args;
    args.format   = &w.kernels->format;
    args.x        = q.codes + block * q.code_bytes;
    args.x_scale  = q.scales + block * q.n_scales;
    args.x_sum    = q.sums + block * q.n_scales;
    args.w        = w.panel(panel);
    args.n_rows   = n_rows;
    args.n_blocks = w.n_blocks;
    args.y        = sums;
    w.type == PanelType::int8_row ? w.kernels->row_tiles(args) : w.kernels->block_tiles(args);
}

void run_int8(ThreadPool & pool, const Call & call, Workspace & workspace) {
    const PackedWeights & w      = call.w;
    const size_t          row_in = size_t(w.n_blocks) * w.block();

    QuantizedRows q(w);
    const int     pass_rows = std::min(round_up(call.n_rows, q.rows), std::max(q.rows, int(pass_bytes / row_in) / q.rows * q.rows));
    const size_t  quantized = q.size_bytes(pass_rows);
    const size_t  sums      = aligned(size_t(round_up(max_chunk_rows, q.rows)) * w.columns * sizeof(float));
    auto *        memory    = static_cast<unsigned char *>(workspace.reserve(quantized + sums * pool.n_threads()));
    q.place(memory, pass_rows);

    for (int first = 0; first < call.n_rows; first += pass_rows) {
        const int n = std::min(pass_rows, call.n_rows - first);

        // A block of rows is little work: several make a task.
        const int task_rows = std::max(1, int(32 * 1024 / q.code_bytes)) * q.rows;
        pool.parallel_for(ceil_div(n, task_rows), [&](int task, int) {
            const int row = task * task_rows;
            quantize(w, q, call.x + size_t(first + row) * call.x_stride, call.x_stride, std::min(task_rows, n - row), w.n_in, row, 0);
        });

        const Split split(call, n, q.rows, row_in, pool.n_threads());
        pool.parallel_for(split.n_tasks(), [&](int task, int thread) {
            auto *    own     = reinterpret_cast<float *>(memory + quantized + sums * thread);
            const int begin   = task / split.n_column_tasks * split.chunk_rows;
            const int n_rows  = std::min(split.chunk_rows, n - begin);
            const int panel_0 = task % split.n_column_tasks * split.task_panels;
            const int panel_1 = std::min(panel_0 + split.task_panels, w.n_panels);
            for (int panel = panel_0; panel < panel_1; ++panel) {
                int8_panel(w, q, begin, n_rows, panel, own);
                store_panel(call, first + begin, n_rows, panel, own);
            }
        });
    }
}

// --- A feed-forward block --------------------------------------------------------------------------

// Rows of one task: what lies between the two layers has to stay in the second-level cache. Fewer rows would read the
// weights too often.
constexpr size_t hidden_bytes    = 320 * 1024;
constexpr int    min_hidden_rows = 48, max_hidden_rows = 96;
constexpr size_t max_hidden_weights = 16 * 1024 * 1024; // they are read once a task: from the last-level cache, it is hoped

// With a scale per row the codes are made last, and the floats they are made of wait as well.
int hidden_rows(const PackedWeights & down) {
    const size_t row_bytes = size_t(down.n_blocks) * down.block() * (down.type == PanelType::int8_row ? 2 : 1);
    return std::min(max_hidden_rows, int(hidden_bytes / row_bytes));
}

// Scratch of one thread.
struct FeedForwardScratch {
    QuantizedRows x, hidden;
    float *       sums;   // of one panel
    float *       floats; // [rows, block] activations on their way to codes, or all of them with a scale per row
    size_t        floats_stride, size_bytes;

    FeedForwardScratch(const PackedWeights & up, const PackedWeights & down, int n_rows) : x(up), hidden(down) {
        floats_stride = down.type == PanelType::int8_row ? size_t(down.n_blocks) * down.block() + 16 : size_t(down.block());
        size_bytes    = x.size_bytes(n_rows) + hidden.size_bytes(n_rows) + sums_bytes(up, n_rows) + aligned(n_rows * floats_stride * sizeof(float));
    }

    static size_t sums_bytes(const PackedWeights & up, int n_rows) { return aligned(size_t(round_up(n_rows, 16)) * up.columns * sizeof(float)); }

    void place(const PackedWeights & up, unsigned char * memory, int n_rows) {
        x.place(memory, n_rows);
        memory += x.size_bytes(n_rows);
        hidden.place(memory, n_rows);
        memory += hidden.size_bytes(n_rows);
        sums   = reinterpret_cast<float *>(memory);
        floats = reinterpret_cast<float *>(memory + sums_bytes(up, n_rows));
    }
};

// Rows [first, first + n) of x through both layers.
void feed_forward_task(const Call & up, const Call & down, const FeedForwardScratch & s, int first, int n) {
    const bool per_row   = down.w.type == PanelType::int8_row;
    const int  n_in      = up.w.n_in;
    const int  n_hidden  = up.w.n_out;
    const int  of_panel  = up.w.columns_out();
    const int  at_a_time = per_row ? round_up(n_hidden, of_panel) : down.w.block();

    quantize(up.w, s.x, up.x + size_t(first) * up.x_stride, up.x_stride, n, n_in, 0, 0);
    for (int begin = 0; begin < n_hidden; begin += at_a_time) {
        const int end = std::min(n_hidden, begin + at_a_time);
        for (int panel = begin / of_panel; panel * of_panel < end; ++panel) {
            int8_panel(up.w, s.x, 0, n, panel, s.sums);
            store_panel(up, 0, n, panel, s.sums, s.floats + panel * of_panel - begin, s.floats_stride);
        }
        quantize(down.w, s.hidden, s.floats, s.floats_stride, n, end - begin, 0, begin);
    }
    for (int panel = 0; panel < down.w.n_panels; ++panel) {
        int8_panel(down.w, s.hidden, 0, n, panel, s.sums);
        store_panel(down, first, n, panel, s.sums);
    }
}

void run_feed_forward(ThreadPool & pool, const Call & up, const Call & down, Workspace & workspace) {
    const int rows_of_block = std::max(QuantizedRows(up.w).rows, QuantizedRows(down.w).rows);
    // As many tasks for each thread.
    const int n_wanted   = round_up(ceil_div(up.n_rows, hidden_rows(down.w)), pool.n_threads());
    const int task_rows  = round_up(ceil_div(up.n_rows, n_wanted), rows_of_block);
    const FeedForwardScratch scratch(up.w, down.w, task_rows);
    auto * memory = static_cast<unsigned char *>(workspace.reserve(scratch.size_bytes * pool.n_threads()));
    pool.parallel_for(ceil_div(up.n_rows, task_rows), [&](int task, int thread) {
        FeedForwardScratch own = scratch;
        own.place(up.w, memory + scratch.size_bytes * thread, task_rows);
        feed_forward_task(up, down, own, task * task_rows, std::min(task_rows, up.n_rows - task * task_rows));
    });
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

bool joins_feed_forward(const PackedLinear & up, const PackedLinear & down, int n_rows, int n_threads) {
    const PackedWeights & u = up.weights();
    const PackedWeights & d = down.weights();
    return d.is_int8() && u.type == d.type && u.kernels == d.kernels && u.n_out == d.n_in && hidden_rows(d) >= min_hidden_rows &&
           u.panels.size() + d.panels.size() <= max_hidden_weights && n_rows >= n_threads * min_hidden_rows;
}

void feed_forward(ThreadPool & pool, const PackedLinear & up, const PackedLinear & down, const float * x, size_t x_stride, int n_rows, float * y,
                  size_t y_stride, Activation activation, const Epilogue & epilogue, Workspace & workspace) {
    const PackedWeights & u = up.weights();
    const PackedWeights & d = down.weights();
    Epilogue              of_up;
    of_up.activation = activation;
    run_feed_forward(pool, {u, *u.kernels, x, x_stride, n_rows, nullptr, 0, of_up}, {d, *d.kernels, nullptr, 0, n_rows, y, y_stride, epilogue}, workspace);
}

} // namespace cpu
