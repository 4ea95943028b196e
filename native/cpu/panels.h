// The steps that calls of packed layers are made of: rows to codes, the sums of a panel, and their store.
#pragma once

#include "packed-weights.h"
#include "sizes.h"

namespace cpu::detail {

// One call, as the tasks see it.
struct LayerCall {
    const PackedWeights & w;
    const Kernels &       kernels;
    const float *         x;
    size_t                x_stride;
    int                   n_rows;
    float *               y;
    size_t                y_stride;
    Epilogue              epilogue;
};

// Bounds what the codes of all rows take of a workspace.
constexpr size_t pass_bytes = 4 * 1024 * 1024;

// Rows as codes, in blocks of `rows`, for the layer that reads them.
struct QuantizedRows {
    int       rows, offset, of_block; // bytes of a row's block
    size_t    code_bytes, n_scales; // of a block of rows
    int8_t *  codes  = nullptr;
    float *   scales = nullptr;
    int32_t * sums   = nullptr;

    explicit QuantizedRows(const PackedWeights & w) {
        const Format & f       = w.format();
        const bool     per_row = w.type == PanelType::int8_row;
        rows       = per_row ? f.row_rows : f.block_rows;
        offset     = per_row ? f.row_offset : f.block_offset;
        of_block   = per_row ? f.block : x_bytes(f);
        code_bytes = size_t(w.n_blocks) * of_block * rows;
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
void quantize(const PackedWeights & w, const QuantizedRows & q, const float * x, size_t x_stride, int n_rows, int n, int first_row, int first_input);

// sums [n_rows, columns] of one panel. first_row begins a block of rows. `unpacked` has unpacked_bytes().
void int8_panel(const PackedWeights & w, const QuantizedRows & q, int first_row, int n_rows, int panel, float * sums, unsigned char * unpacked = nullptr);

// Memory for a panel of fewer bits as int8 codes.
inline size_t unpacked_bytes(const PackedWeights & w) { return w.unpacks ? aligned(w.int8_panel_bytes()) : 0; }

// Finished sums of a panel to y, which is the place of its first output of the first row; else to their place in call.y.
void store_panel(const LayerCall & call, int first_row, int n_rows, int panel, const float * sums, float * y, size_t y_stride);
void store_panel(const LayerCall & call, int first_row, int n_rows, int panel, const float * sums);

} // namespace cpu::detail
