// The int8 products, written once on the vector layer and on dot().
#pragma once

#include "kernels.h"

namespace cpu::detail {
namespace {

template <int rows> inline void keep_all(ivec (&sums)[rows][panel_vectors]) {
    CPU_UNROLL
    for (int r = 0; r < rows; ++r) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            keep(sums[r][v]);
        }
    }
}

// Scale per 32 inputs: a block is summed in int32, scaled and added to the f32 sums.
template <int rows> void block_tile(const Int8Tiles & t, const int8_t * x, const float * x_scale, const int32_t * x_sum, float * y) {
    constexpr int n_groups    = block_size / 4;
    constexpr int group_bytes = lanes * 4;

    vec total[rows][panel_vectors];
    CPU_UNROLL
    for (int r = 0; r < rows; ++r) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            total[r][v] = set(0);
        }
    }

    const uint8_t * w = t.w;
    for (int b = 0; b < t.n_blocks; ++b, x_scale += block_rows, x_sum += block_rows) {
        ivec sums[rows][panel_vectors];
        CPU_UNROLL
        for (int r = 0; r < rows; ++r) {
            CPU_UNROLL
            for (int v = 0; v < panel_vectors; ++v) {
                sums[r][v] = set_int(x_sum[r]);
            }
        }
        CPU_UNROLL
        for (int g = 0; g < n_groups; ++g, x += block_rows * 4, w += panel_vectors * group_bytes) {
            keep_all(sums);
            ivec weights[panel_vectors];
            CPU_UNROLL
            for (int v = 0; v < panel_vectors; ++v) {
                weights[v] = load_bytes(w + v * group_bytes);
            }
            CPU_UNROLL
            for (int r = 0; r < rows; ++r) {
                const ivec codes = broadcast_group(x + r * 4);
                CPU_UNROLL
                for (int v = 0; v < panel_vectors; ++v) {
                    sums[r][v] = dot(sums[r][v], weights[v], codes);
                }
            }
        }
        const float * w_scale = reinterpret_cast<const float *>(w);
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            const vec of_weights = load(w_scale + v * lanes);
            CPU_UNROLL
            for (int r = 0; r < rows; ++r) {
                total[r][v] = fma(to_float(sums[r][v]), mul(of_weights, set(x_scale[r])), total[r][v]);
            }
        }
        w += panel_vectors * lanes * sizeof(float);
    }

    CPU_UNROLL
    for (int r = 0; r < rows; ++r) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            store(y + (r * panel_vectors + v) * lanes, total[r][v]);
        }
    }
}

// One scale per row: sums stay in int32 to the end.
template <int rows> void row_tile(const Int8Tiles & t, const int8_t * x, const float * x_scale, const int32_t * x_sum, float * y) {
    constexpr int group_bytes = lanes * 4;
    const int     n_groups    = t.n_blocks * block_size / 4;

    ivec sums[rows][panel_vectors];
    CPU_UNROLL
    for (int r = 0; r < rows; ++r) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            sums[r][v] = set_int(x_sum[r]);
        }
    }
    const uint8_t * w = t.w;
    CPU_UNROLL_2
    for (int g = 0; g < n_groups; g += row_groups, x += row_groups * row_rows * 4, w += row_groups * panel_vectors * group_bytes) {
        keep_all(sums);
        ivec weights[row_groups][panel_vectors];
        CPU_UNROLL
        for (int i = 0; i < row_groups; ++i) {
            CPU_UNROLL
            for (int v = 0; v < panel_vectors; ++v) {
                weights[i][v] = load_bytes(w + (i * panel_vectors + v) * group_bytes);
            }
        }
        CPU_UNROLL
        for (int r = 0; r < rows; ++r) {
            const ivec codes = broadcast_group(x + r * 4);
            if constexpr (row_groups == 2) {
                const ivec codes_1 = broadcast_group(x + (row_rows + r) * 4);
                CPU_UNROLL
                for (int v = 0; v < panel_vectors; ++v) {
                    sums[r][v] = dot_small(sums[r][v], weights[0][v], codes, weights[1][v], codes_1);
                }
            } else {
                CPU_UNROLL
                for (int v = 0; v < panel_vectors; ++v) {
                    sums[r][v] = dot(sums[r][v], weights[0][v], codes);
                }
            }
        }
    }

    const float * w_scale = reinterpret_cast<const float *>(w);
    CPU_UNROLL
    for (int r = 0; r < rows; ++r) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            store(y + (r * panel_vectors + v) * lanes, mul(to_float(sums[r][v]), mul(load(w_scale + v * lanes), set(x_scale[r]))));
        }
    }
}

template <int rows> void block_tile_at(const Int8Tiles & t, int block) {
    const size_t scales = size_t(block) * t.n_blocks * block_rows;
    block_tile<rows>(t, t.x + scales * block_size, t.x_scale + scales, t.x_sum + scales, t.y + size_t(block) * block_rows * panel_vectors * lanes);
}

template <int rows> void row_tile_at(const Int8Tiles & t, int block) {
    const size_t first = size_t(block) * row_rows;
    row_tile<rows>(t, t.x + first * t.n_blocks * block_size, t.x_scale + first, t.x_sum + first, t.y + first * panel_vectors * lanes);
}

// Whole blocks of rows, then what is left over; each of the latter counts has a kernel of its own.
template <int n> void last_block_rows(const Int8Tiles & t, int n_left, int block) {
    if constexpr (n > 0) {
        n_left == n ? block_tile_at<n>(t, block) : last_block_rows<n - 1>(t, n_left, block);
    }
}

template <int n> void last_row_rows(const Int8Tiles & t, int n_left, int block) {
    if constexpr (n > 0) {
        n_left == n ? row_tile_at<n>(t, block) : last_row_rows<n - 1>(t, n_left, block);
    }
}

void block_tiles(const Int8Tiles & t) {
    const int n_full = t.n_rows / block_rows;
    for (int i = 0; i < n_full; ++i) {
        block_tile_at<block_rows>(t, i);
    }
    last_block_rows<block_rows - 1>(t, t.n_rows % block_rows, n_full);
}

void row_tiles(const Int8Tiles & t) {
    const int n_full = t.n_rows / row_rows;
    for (int i = 0; i < n_full; ++i) {
        row_tile_at<row_rows>(t, i);
    }
    last_row_rows<row_rows - 1>(t, t.n_rows % row_rows, n_full);
}

} // namespace
} // namespace cpu::detail
