// int8 products with a scale per row by tdpbssd: 16 rows x 64 inputs by 64 inputs x 16 columns into 16 x 16 sums. Activations and
// weights lie in memory as the tiles want them.
#pragma once

#include "tiles-amx.h"

namespace cpu::detail {
namespace {

constexpr int block_size = tile_bytes;

constexpr Format format = {float_rows, panel_columns, panel_columns, /*group*/ 4, block_size, /*x_max*/ 127,
                           tile_rows,  /*block_offset*/ 0, tile_rows, /*row_max*/ 127, /*row_offset*/ 0};

template <bool both> inline void row_tile(const Int8Tiles & t, int first_row, int n_rows, Next next) {
    const int8_t *  x       = t.x + size_t(first_row) * t.n_blocks * block_size;
    const int8_t *  x_below = x + size_t(tile_rows) * t.n_blocks * block_size;
    const uint8_t * w       = t.w;
    float *         y       = t.y + size_t(first_row) * panel_columns;
    zero_sums<both>();
    for (int b = 0; b < t.n_blocks; ++b, x += tile_rows * block_size, x_below += tile_rows * block_size, w += block_size / 4 * group_bytes) {
        next.ask();
        _tile_loadd(6, w, group_bytes);
        _tile_loadd(4, x, block_size);
        _tile_dpbssd(0, 4, 6);
        _tile_loadd(7, w + lanes * 4, group_bytes);
        _tile_dpbssd(1, 4, 7);
        if (both) {
            _tile_loadd(5, x_below, block_size);
            _tile_dpbssd(2, 5, 6);
            _tile_dpbssd(3, 5, 7);
        }
    }
    store_sums<both>(y); // as int32, for a moment
    const float * w_scale = reinterpret_cast<const float *>(w);
    for (int r = 0; r < n_rows; ++r, y += panel_columns) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            store(y + v * lanes, mul(to_float(as_int(load(y + v * lanes))), mul(load(w_scale + v * lanes), set(t.x_scale[first_row + r]))));
        }
    }
}

void row_tiles(const Int8Tiles & t) {
    const int    at_a_time = 2 * tile_rows, n_shares = (t.n_rows + at_a_time - 1) / at_a_time;
    const size_t n_bytes = size_t(panel_columns) * (size_t(t.n_blocks) * block_size + 4);
    for (int i = 0, configured = 0; i < n_shares; ++i) {
        const int n_rows = t.n_rows - i * at_a_time < at_a_time ? t.n_rows - i * at_a_time : at_a_time;
        if (n_rows != configured) {
            use_product_tiles(n_rows);
            configured = n_rows;
        }
        const Next next = next_of(t.w + n_bytes, n_bytes, t.n_blocks, i, n_shares);
        n_rows > tile_rows ? row_tile<true>(t, i * at_a_time, n_rows, next) : row_tile<false>(t, i * at_a_time, n_rows, next);
    }
    _tile_release();
}

} // namespace
} // namespace cpu::detail
