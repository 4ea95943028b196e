// The int8 products and the quantisation of activations, written once on the vector layer and on dot().
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
    for (int g = 0; g < n_groups; g += 2, x += 2 * row_rows * 4, w += 2 * panel_vectors * group_bytes) {
        keep_all(sums);
        ivec weights[2][panel_vectors];
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            weights[0][v] = load_bytes(w + v * group_bytes);
            weights[1][v] = load_bytes(w + (panel_vectors + v) * group_bytes);
        }
        CPU_UNROLL
        for (int r = 0; r < rows; ++r) {
            const ivec codes_0 = broadcast_group(x + r * 4);
            const ivec codes_1 = broadcast_group(x + (row_rows + r) * 4);
            CPU_UNROLL
            for (int v = 0; v < panel_vectors; ++v) {
                sums[r][v] = dot_small(sums[r][v], weights[0][v], codes_0, weights[1][v], codes_1);
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

// --- Quantisation ----------------------------------------------------------------------------------

constexpr int vectors_of_block = block_size / lanes;

// 32 values at `first`; what lies past the end of the row is zero.
void load_block(const Quantize & q, int first, vec * x) {
    for (int i = 0; i < vectors_of_block; ++i) {
        const int at   = first + i * lanes;
        const int left = q.n - at;
        x[i]           = left >= lanes ? load(q.x + at) : left > 0 ? load_first(q.x + at, left) : set(0);
    }
}

float block_largest(const vec * x) {
    vec m = abs(x[0]);
    for (int i = 1; i < vectors_of_block; ++i) {
        m = max(m, abs(x[i]));
    }
    return largest(m);
}

// Places 32 codes at input `first` of the row. Returns their sum.
int32_t place_block(const Quantize & q, int first, const vec * x, float inverse) {
    constexpr int group = format.group;
    int8_t        codes[block_size];
    const int32_t total = to_codes(x, inverse, codes);
    int8_t *      to    = q.codes + size_t(first) * q.rows;
    for (int g = 0; g < block_size / group; ++g, to += q.rows * group) {
        memcpy(to, codes + g * group, group);
    }
    return total;
}

float inverse_scale(float largest) { return largest > 0 ? float(format.x_max) / largest : 0.0f; }

void quantize_blocks(const Quantize & q) {
    for (int first = 0, b = 0; first < q.n; first += block_size, ++b) {
        vec x[vectors_of_block];
        load_block(q, first, x);
        const float m             = block_largest(x);
        q.scale[b * q.rows]       = m / float(format.x_max);
        q.sum[b * q.rows]         = -q.offset * place_block(q, first, x, inverse_scale(m));
    }
}

void quantize_row(const Quantize & q) {
    vec   x[vectors_of_block];
    float m = 0;
    for (int first = 0; first < q.n; first += block_size) {
        load_block(q, first, x);
        const float of_block = block_largest(x);
        m                    = of_block > m ? of_block : m;
    }
    int32_t total = 0;
    for (int first = 0; first < q.n; first += block_size) {
        load_block(q, first, x);
        total += place_block(q, first, x, inverse_scale(m));
    }
    *q.scale = m / float(format.x_max);
    *q.sum   = -q.offset * total;
}

} // namespace
} // namespace cpu::detail
