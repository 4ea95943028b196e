// int8 products by smmla, which multiplies 2 rows x 8 inputs by 8 inputs x 2 columns into a 2 x 2 square of int32.
#pragma once

#include "kernels.h"
#include "vec-neon.h"

namespace cpu::detail {
namespace {

#ifdef CPU_FINE_BLOCKS
constexpr int block_size = 32; // inputs that share a scale
#else
constexpr int block_size = 64;
#endif
constexpr int block_rows = 4;
constexpr int row_rows   = 4;

constexpr Format format = {float_rows, lanes * panel_vectors, lanes * panel_vectors, /*group*/ 8, block_size, /*x_max*/ 127,
                           block_rows, /*block_offset*/ 0,    row_rows,              /*row_max*/ 127, /*row_offset*/ 0};

constexpr int columns       = lanes * panel_vectors;
constexpr int half_squares  = 4; // the block kernel takes half a panel at a time, or its two sets of sums would not fit
constexpr int panel_squares = 8;

inline int8x16_t load_rows(const void * p) { return vld1q_s8(static_cast<const int8_t *>(p)); }

// Scales of two rows, or of two columns, where a square has them.
inline vec scales_of_rows(const float * p) { return vcombine_f32(vdup_n_f32(p[0]), vdup_n_f32(p[1])); }
inline vec scales_of_columns(const float * p) { return vcombine_f32(vld1_f32(p), vld1_f32(p)); }

inline void store_square(float * y, vec square, bool both_rows) {
    vst1_f32(y, vget_low_f32(square));
    if (both_rows) {
        vst1_f32(y + columns, vget_high_f32(square));
    }
}

// `pairs` pairs of rows, of which n_rows rows are stored, by half a panel at `column`.
template <int pairs> void block_tile(const Int8Tiles & t, int first_row, int n_rows, int column) {
    const size_t    scales  = size_t(first_row) * t.n_blocks;
    const int8_t *  x       = t.x + scales * block_size;
    const float *   x_scale = t.x_scale + scales;
    const uint8_t * w       = t.w;

    vec total[pairs][half_squares];
    CPU_UNROLL
    for (int r = 0; r < pairs; ++r) {
        CPU_UNROLL
        for (int c = 0; c < half_squares; ++c) {
            total[r][c] = set(0);
        }
    }
    for (int b = 0; b < t.n_blocks; ++b, x_scale += block_rows) {
        ivec sums[pairs][half_squares];
        CPU_UNROLL
        for (int r = 0; r < pairs; ++r) {
            CPU_UNROLL
            for (int c = 0; c < half_squares; ++c) {
                sums[r][c] = set_int(0);
            }
        }
        for (int g = 0; g < block_size / 8; ++g, x += block_rows * 8, w += columns * 8) {
            CPU_UNROLL
            for (int c = 0; c < half_squares; ++c) {
                const int8x16_t weights = load_rows(w + (column + 2 * c) * 8);
                CPU_UNROLL
                for (int r = 0; r < pairs; ++r) {
                    sums[r][c] = vmmlaq_s32(sums[r][c], load_rows(x + r * 16), weights);
                }
            }
        }
        const float * w_scale = reinterpret_cast<const float *>(w) + column;
        CPU_UNROLL
        for (int c = 0; c < half_squares; ++c) {
            const vec of_weights = scales_of_columns(w_scale + 2 * c);
            CPU_UNROLL
            for (int r = 0; r < pairs; ++r) {
                total[r][c] = fma(to_float(sums[r][c]), mul(of_weights, scales_of_rows(x_scale + 2 * r)), total[r][c]);
            }
        }
        w += columns * sizeof(float);
    }
    float * y = t.y + size_t(first_row) * columns + column;
    CPU_UNROLL
    for (int r = 0; r < pairs; ++r) {
        CPU_UNROLL
        for (int c = 0; c < half_squares; ++c) {
            store_square(y + 2 * r * columns + 2 * c, total[r][c], 2 * r + 1 < n_rows);
        }
    }
}

template <int pairs> void row_tile(const Int8Tiles & t, int first_row, int n_rows) {
    const int8_t *  x = t.x + size_t(first_row) * t.n_blocks * block_size;
    const uint8_t * w = t.w;

    ivec sums[pairs][panel_squares];
    CPU_UNROLL
    for (int r = 0; r < pairs; ++r) {
        CPU_UNROLL
        for (int c = 0; c < panel_squares; ++c) {
            sums[r][c] = set_int(0);
        }
    }
    for (int g = 0; g < t.n_blocks * block_size / 8; ++g, x += row_rows * 8, w += columns * 8) {
        CPU_UNROLL
        for (int c = 0; c < panel_squares; ++c) {
            const int8x16_t weights = load_rows(w + 2 * c * 8);
            CPU_UNROLL
            for (int r = 0; r < pairs; ++r) {
                sums[r][c] = vmmlaq_s32(sums[r][c], load_rows(x + r * 16), weights);
            }
        }
    }
    const float * w_scale = reinterpret_cast<const float *>(w);
    float *       y       = t.y + size_t(first_row) * columns;
    CPU_UNROLL
    for (int r = 0; r < pairs; ++r) {
        CPU_UNROLL
        for (int c = 0; c < panel_squares; ++c) {
            const vec scale = mul(scales_of_columns(w_scale + 2 * c), scales_of_rows(t.x_scale + first_row + 2 * r));
            store_square(y + 2 * r * columns + 2 * c, mul(to_float(sums[r][c]), scale), 2 * r + 1 < n_rows);
        }
    }
}

void block_tiles(const Int8Tiles & t) {
    for (int first = 0; first < t.n_rows; first += block_rows) {
        const int n = t.n_rows - first < block_rows ? t.n_rows - first : block_rows;
        for (int column = 0; column < columns; column += 2 * half_squares) {
            n > 2 ? block_tile<2>(t, first, n, column) : block_tile<1>(t, first, n, column);
        }
    }
}

void row_tiles(const Int8Tiles & t) {
    for (int first = 0; first < t.n_rows; first += row_rows) {
        const int n = t.n_rows - first < row_rows ? t.n_rows - first : row_rows;
        n > 2 ? row_tile<2>(t, first, n) : row_tile<1>(t, first, n);
    }
}

} // namespace
} // namespace cpu::detail
