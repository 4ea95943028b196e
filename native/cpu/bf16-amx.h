// int8 weights with a scale per block by tdpbf16ps: 16 rows x 32 inputs by 32 inputs x 16 columns, added to 16 x 16 sums in f32.
//
// Sums of int8 products would have to leave the tiles for every block to be scaled, by way of memory, which takes longer than the
// products. In bf16 the scale is part of the weight: a panel is widened, slice by slice, for all rows of the call. Activations are
// bf16 too. Both are rounded to 8 bits of mantissa, each value by itself, which is finer than 8 bits below the largest of 32.
#pragma once

#include "tiles-amx.h"

namespace cpu::detail {
namespace {

constexpr int block_size = tile_bytes / 2;

constexpr Format format = {float_rows, panel_columns, panel_columns, /*group*/ 4, block_size, /*x_max*/ 127,
                           2 * tile_rows, /*block_offset*/ 128, tile_rows, /*row_max*/ 127, /*row_offset*/ 0,
                           /*scale_bits*/ 23, /*sum_start*/ 0, /*multipliers*/ 0, /*value_bytes*/ 2, /*resident_rows*/ 160};

constexpr int block_bytes  = panel_columns * (block_size + 4); // of a panel: codes and scales
constexpr int wide_block   = panel_columns * block_size / 2;   // pairs of bf16
constexpr int slice_blocks = 8;                                // whose pairs stay in the first-level cache

// --- Weights ---------------------------------------------------------------------------------------

// 2^15 + byte i of each lane. Bytes in the middle of the mantissa: times a scale of f16 it is exact, so that 2^15 can go in the same
// step.
template <int i> inline vec number_of_byte(ivec bytes) {
    const ivec none = set_int(0x47000000);
    if (i == 1) {
        return as_float(_mm512_ternarylogic_epi32(bytes, set_int(0xff00), none, 0xea)); // (a & b) | c
    }
    const __m512i from = _mm512_set4_epi32((12 + i) << 8, (8 + i) << 8, (4 + i) << 8, i << 8);
    return as_float(_mm512_mask_shuffle_epi8(none, 0x2222222222222222, bytes, from));
}

// Both to the nearest bf16, side by side. Neither is NaN or infinite.
inline ivec bf16_pair(vec low, vec high) {
    const ivec half = set_int(0x8000);
    const __m512i upper_to_lower = _mm512_set4_epi32(0x0f0e0f0e, 0x0b0a0b0a, 0x07060706, 0x03020302);
    return _mm512_mask_shuffle_epi8(add_int(as_int(high), half), 0x3333333333333333, add_int(as_int(low), half), upper_to_lower);
}

// A block of a panel to pairs of inputs [block_size / 2, panel_columns].
inline void widen_block(const uint8_t * w, int32_t * to) {
    const float * w_scale = reinterpret_cast<const float *>(w + panel_columns * block_size);
    CPU_UNROLL
    for (int v = 0; v < panel_vectors; ++v) {
        const vec scale = load(w_scale + v * lanes), less = mul(scale, set(-32768.0f - format.block_offset));
        CPU_UNROLL
        for (int g = 0; g < block_size / 4; ++g) {
            const ivec bytes = load_bytes(w + g * group_bytes + v * lanes * 4);
            int32_t *  pairs = to + 2 * g * panel_columns + v * lanes;
            store_int(pairs, bf16_pair(fma(number_of_byte<0>(bytes), scale, less), fma(number_of_byte<1>(bytes), scale, less)));
            store_int(pairs + panel_columns, bf16_pair(fma(number_of_byte<2>(bytes), scale, less), fma(number_of_byte<3>(bytes), scale, less)));
        }
    }
}

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

void block_tiles(const Int8Tiles & t) {
    constexpr int rows     = format.block_rows;
    const int     n_shares = (t.n_rows + rows - 1) / rows;
    alignas(64) int32_t wide[slice_blocks * wide_block];
    for (int first = 0, configured = 0; first < t.n_blocks; first += slice_blocks) {
        const int       n = t.n_blocks - first < slice_blocks ? t.n_blocks - first : slice_blocks;
        const uint8_t * w = t.w + size_t(first) * block_bytes;
        for (int b = 0; b < n; ++b) {
            widen_block(w + size_t(b) * block_bytes, wide + b * wide_block);
        }
        for (int i = 0; i < n_shares; ++i) {
            const int n_rows = t.n_rows - i * rows < rows ? t.n_rows - i * rows : rows;
            if (n_rows != configured) {
                use_product_tiles(n_rows);
                configured = n_rows;
            }
            const int8_t * x    = t.x + (size_t(i) * t.n_blocks + first) * rows * tile_bytes;
            float *        y    = t.y + size_t(i) * rows * panel_columns;
            const Next     next = next_of(w, size_t(n) * block_bytes, n, i, n_shares);
            n_rows > tile_rows ? block_tile<true>(x, wide, n, first > 0, y, next) : block_tile<false>(x, wide, n, first > 0, y, next);
        }
    }
    _tile_release();
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
