// How the work of a packed layer is cut into tasks: chunks of rows x panels.
#pragma once

#include "panels.h"

#include <algorithm>

namespace cpu::detail {

// Rows in flight: they bound what a chunk takes of the second-level cache, and how often weights are read.
constexpr int    min_chunk_rows  = 128;
constexpr size_t chunk_bytes     = 256 * 1024;
constexpr int    min_task_panels = 4;

// Panels that are unpacked are so once a chunk, which pays for more rows.
constexpr int    max_unpacked_chunk_rows = 384;
constexpr size_t unpacked_chunk_bytes    = 512 * 1024;

// Multiplies of the smallest task: some microseconds, beside which claiming it does not show.
constexpr int64_t task_multiplies = 1 << 20;

inline int largest_chunk(const PackedWeights & w) { return w.unpacks ? max_unpacked_chunk_rows : 2 * w.format().resident_rows; }

struct Split {
    int n_rows, n_panels, chunk_rows, n_chunks, task_panels, n_column_tasks;

    Split(const PackedWeights & w, int n_rows, int rows_of_block, size_t bytes_per_row, int n_threads) : n_rows(n_rows), n_panels(w.n_panels) {
        const size_t of_chunk = w.unpacks ? unpacked_chunk_bytes : chunk_bytes;
        const int    fitting  = std::max(min_chunk_rows, int(of_chunk / bytes_per_row)) * w.format().resident_rows / usual_resident_rows;
        const int    wanted   = std::min({n_rows, fitting, largest_chunk(w)});
        n_chunks              = ceil_div(n_rows, wanted);
        chunk_rows            = round_up(ceil_div(n_rows, n_chunks), rows_of_block);
        n_chunks              = ceil_div(n_rows, chunk_rows);

        // Enough tasks that the last ones even out.
        const int n_column_wanted = ceil_div(n_threads * (n_threads > 1 ? 6 : 1), n_chunks);
        set_task_panels(std::max(min_task_panels, ceil_div(n_panels, n_column_wanted)));
    }

    void set_task_panels(int n) {
        task_panels    = n;
        n_column_tasks = ceil_div(n_panels, n);
    }

    int n_tasks() const { return n_chunks * n_column_tasks; }

    struct Task {
        int first_row, n_rows, panel, end_panel;
    };

    Task task(int i) const {
        const int row = i / n_column_tasks * chunk_rows, panel = i % n_column_tasks * task_panels;
        return {row, std::min(chunk_rows, n_rows - row), panel, std::min(panel + task_panels, n_panels)};
    }
};

// Of rows in int8, as small as tasks may be where threads share them. `unit` panels stay together.
inline Split int8_split(const PackedWeights & w, int n_rows, int n_threads, int unit = 1) {
    const size_t row_bytes = size_t(w.n_blocks) * w.block();
    Split        split(w, n_rows, QuantizedRows(w).rows, row_bytes, n_threads);
    int          panels = split.task_panels;
    if (n_threads > 1) {
        panels = std::min(panels, int(task_multiplies / (int64_t(split.chunk_rows) * int64_t(row_bytes) * w.columns)) + 1);
    }
    split.set_task_panels(round_up(panels, unit));
    return split;
}

} // namespace cpu::detail
