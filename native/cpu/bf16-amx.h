// int8 weights with a scale per block by tdpbf16ps: 16 rows x 32 inputs by 32 inputs x 16 columns, added to 16 x 16 sums in f32.
//
// Sums of int8 products would have to leave the tiles for every block to be scaled, by way of memory, which takes longer than the
// products. In bf16 the scale is part of the weight: a panel is widened, slice by slice, for all rows of the call. Activations are
// bf16 too. Both are rounded to 8 bits of mantissa, each value by itself, which is finer than 8 bits below the largest of 32.
#pragma once

#include "widen-amx.h"

namespace cpu::detail {
namespace {

constexpr int wide_block   = panel_columns * block_size / 2; // pairs of bf16
constexpr int slice_blocks = 8;                              // whose pairs stay in the first-level cache

// --- Products --------------------------------------------------------------------------------------

// A block of rows by the weights of a slice.
template <bool both> inline void block_tile(const int8_t * x, const int32_t * w, int n_blocks, bool accumulate, float * y, Next next) {
    accumulate ? load_sums<both>(y) : zero_sums<both>();
    for (int b = 0; b < n_blocks; ++b, x += format.block_rows * tile_bytes, w += wide_block) {
        next.ask();
        _tile_loadd(6, w, group_bytes);
        _tile_loadd(4, x, tile_bytes);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, w + lanes, group_bytes);
        _tile_dpbf16ps(1, 4, 7);
        if (both) {
            _tile_loadd(5, x + tile_rows * tile_bytes, tile_bytes);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    store_sums<both>(y);
}

// `widen` makes pairs of a block of the panel.
template <typename Widen> void products(const Int8Tiles & t, const Widen & widen) {
    constexpr int rows     = format.block_rows;
    const int     n_shares = (t.n_rows + rows - 1) / rows;
    // The next slice's or, where that is not at hand, the next panel's.
    const size_t    of_block = t.next != nullptr ? t.next_bytes / size_t(t.n_blocks) : Widen::bytes(slice_blocks) / slice_blocks;
    const uint8_t * later    = t.next != nullptr ? t.next : t.w + Widen::bytes(slice_blocks);
    alignas(64) int32_t wide[slice_blocks * wide_block];
    for (int first = 0, configured = 0; first < t.n_blocks; first += slice_blocks) {
        const int n = t.n_blocks - first < slice_blocks ? t.n_blocks - first : slice_blocks;
        for (int b = 0; b < n; ++b) {
            widen(t.w, first + b, wide + b * wide_block);
        }
        for (int i = 0; i < n_shares; ++i) {
            const int n_rows = t.n_rows - i * rows < rows ? t.n_rows - i * rows : rows;
            if (n_rows != configured) {
                use_product_tiles(n_rows);
                configured = n_rows;
            }
            const int8_t * x    = t.x + (size_t(i) * t.n_blocks + first) * rows * tile_bytes;
            float *        y    = t.y + size_t(i) * rows * panel_columns;
            const Next     next = next_of(later + of_block * size_t(first), of_block * size_t(n), n, i, n_shares);
            n_rows > tile_rows ? block_tile<true>(x, wide, n, first > 0, y, next) : block_tile<false>(x, wide, n, first > 0, y, next);
        }
    }
    _tile_release();
}

void block_tiles(const Int8Tiles & t) {
    if (t.layout.kind == LowBit::none) {
        return products(t, WidenCodes());
    }
    with_layout(t.layout, [&](auto of) {
        if constexpr (!decltype(of)::value.is_codebook()) { // which are int8 codes by now
            products(t, WidenLowBit<decltype(of)>(t.unit));
        }
    });
}

// --- Activations -----------------------------------------------------------------------------------

// All of `low`, then all of `high`.
inline ivec to_bf16(vec low, vec high) {
    const auto values = _mm512_cvtne2ps_pbh(high, low);
    ivec       bits;
    memcpy(&bits, &values, sizeof(bits));
    return bits;
}

// Rows [n_rows, n] to blocks of 32: [n_blocks][32][32].
void round_blocks(const Quantize & q) {
    for (int row = 0; row < q.n_rows; ++row) {
        const float * x  = q.x + row * q.x_stride;
        int8_t *      to = q.codes + size_t(row / format.block_rows) * q.block_codes + row % format.block_rows * tile_bytes;
        int           i  = 0;
        for (; i + block_size <= q.n; i += block_size, to += format.block_rows * tile_bytes) {
            store_int(reinterpret_cast<int32_t *>(to), to_bf16(load(x + i), load(x + i + lanes)));
        }
        if (i < q.n) {
            store_int(reinterpret_cast<int32_t *>(to), to_bf16(load_first(x + i, q.n - i), load_first(x + i + lanes, q.n - i - lanes)));
        }
    }
}

} // namespace
} // namespace cpu::detail
