// The int8 products, written once on the vector layer and on dot().
#pragma once

#include "kernels.h"
#include "prefetch.h"

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

constexpr int panel_columns = panel_vectors * lanes;

// The sums of one block of inputs, on top of x_sum.
template <int rows> inline void block_sums(ivec (&sums)[rows][panel_vectors], const int8_t * x, const int32_t * x_sum, const uint8_t * w) {
    CPU_UNROLL
    for (int r = 0; r < rows; ++r) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            sums[r][v] = set_int(x_sum[r]);
        }
    }
    ivec multipliers[rows]; // with some levels: in turn for as many groups each
    CPU_UNROLL
    for (int g = 0; g < block_size / 4; ++g, x += 4, w += panel_columns * 4) {
        if constexpr (format.multipliers > 0) {
            constexpr int each = block_size / 4 / format.multipliers;
            if (g % each == 0) {
                CPU_UNROLL
                for (int r = 0; r < rows; ++r) {
                    multipliers[r] = broadcast_group(x + r * x_bytes(format) + block_size + (g / each - g) * 4);
                    keep(multipliers[r]);
                }
            }
        }
        keep_all(sums);
        ivec weights[panel_vectors];
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            weights[v] = load_bytes(w + v * lanes * 4);
        }
        CPU_UNROLL
        for (int r = 0; r < rows; ++r) {
            const ivec codes = broadcast_group(x + r * x_bytes(format));
            CPU_UNROLL
            for (int v = 0; v < panel_vectors; ++v) {
                if constexpr (format.multipliers > 0) {
                    sums[r][v] = dot_multiplied(sums[r][v], weights[v], codes, multipliers[r]);
                } else {
                    sums[r][v] = dot(sums[r][v], weights[v], codes);
                }
            }
        }
    }
}

// A scale per block: it is summed in int32, scaled and added to the f32 sums.
//
// The product of both scales would cost much beside the multiplies of chips with VNNI. There the scales of
// activations keep few bits of their mantissa: the weights' scales are multiplied with each of the values that these can have
// once for many rows (`table`), and the power of two is added to their exponent. And a sum that starts at the bits of
// 1.5 * 2^23 is a float when it is done, less that number.
constexpr bool  has_table    = format.scale_bits < 23;
constexpr bool  is_sliced    = format.block_offset == 128; // with VNNI, which waits for the second-level cache
constexpr int   n_mantissas  = has_table ? 1 << format.scale_bits : 1;
constexpr int   slice_blocks = 384 / block_size; // whose weights and table stay in the first-level cache
constexpr float sum_zero     = 12582912.0f;

using ScaleTable = float[slice_blocks][n_mantissas][panel_columns];

template <int rows>
void block_tile(const Int8Tiles & t, const ScaleTable * table, bool accumulate, Next next, const int8_t * x, const float * x_scale, const int32_t * x_sum, float * y) {
    vec total[rows][panel_vectors];
    CPU_UNROLL
    for (int r = 0; r < rows; ++r) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            total[r][v] = accumulate ? load(y + r * panel_columns + v * lanes) : set(0);
        }
    }

    const uint8_t * w = t.w;
    for (int b = 0; b < t.n_blocks; ++b, x += block_rows * x_bytes(format), x_scale += block_rows, x_sum += block_rows, w += panel_columns * (block_size + 4)) {
        next.ask();
        ivec sums[rows][panel_vectors];
        block_sums<rows>(sums, x, x_sum, w);
        if constexpr (has_table) {
            CPU_UNROLL
            for (int r = 0; r < rows; ++r) {
                uint32_t bits;
                memcpy(&bits, x_scale + r, sizeof(bits));
                const float * of_weights = (*table)[b][bits >> (23 - format.scale_bits) & (n_mantissas - 1)];
                CPU_UNROLL
                for (int v = 0; v < panel_vectors; ++v) {
                    const vec scale = as_float(add_int(load_bytes(of_weights + v * lanes), set_int(int32_t(bits))));
                    total[r][v]     = fma(sub(as_float(sums[r][v]), set(sum_zero)), scale, total[r][v]);
                }
            }
        } else {
            const float * w_scale = reinterpret_cast<const float *>(w + panel_columns * block_size);
            CPU_UNROLL
            for (int v = 0; v < panel_vectors; ++v) {
                const vec of_weights = load(w_scale + v * lanes);
                CPU_UNROLL
                for (int r = 0; r < rows; ++r) {
                    total[r][v] = fma(to_float(sums[r][v]), mul(of_weights, set(x_scale[r])), total[r][v]);
                }
            }
        }
    }

    CPU_UNROLL
    for (int r = 0; r < rows; ++r) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            store(y + r * panel_columns + v * lanes, total[r][v]);
        }
    }
}

// Such that the bits of an activation's scale, added to an entry's, give those of the product.
inline void fill_table(const uint8_t * w, int n_blocks, ScaleTable & table) {
    for (int b = 0; b < n_blocks; ++b, w += panel_columns * (block_size + 4)) {
        for (int i = 0; i < n_mantissas; ++i) {
            const ivec less = set_int(-(127 * n_mantissas + i) * (1 << (23 - format.scale_bits)));
            for (int v = 0; v < panel_vectors; ++v) {
                const vec of_weights = load(reinterpret_cast<const float *>(w + panel_columns * block_size) + v * lanes);
                store(table[b][i] + v * lanes, as_float(add_int(as_int(mul(of_weights, set(1.0f + float(i) / n_mantissas))), less)));
            }
        }
    }
}

// One scale per row: sums stay in int32 to the end.
template <int rows> void row_tile(const Int8Tiles & t, Next next, const int8_t * x, const float * x_scale, const int32_t * x_sum, float * y) {
    ivec sums[rows][panel_vectors];
    CPU_UNROLL
    for (int r = 0; r < rows; ++r) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            sums[r][v] = set_int(x_sum[r]);
        }
    }
    constexpr int group_bytes = panel_columns * 4;
    const uint8_t * w = t.w;
    for (int b = 0; b < t.n_blocks; ++b, x += row_rows * block_size, w += block_size / 4 * group_bytes) {
        next.ask();
        CPU_UNROLL
        for (int g = 0; g < block_size / 4; g += row_groups) {
            keep_all(sums);
            ivec weights[row_groups][panel_vectors];
            CPU_UNROLL
            for (int i = 0; i < row_groups; ++i) {
                CPU_UNROLL
                for (int v = 0; v < panel_vectors; ++v) {
                    weights[i][v] = load_bytes(w + (g + i) * group_bytes + v * lanes * 4);
                }
            }
            CPU_UNROLL
            for (int r = 0; r < rows; ++r) {
                const ivec codes = broadcast_group(x + r * block_size + g * 4);
                if constexpr (row_groups == 2) {
                    const ivec codes_1 = broadcast_group(x + r * block_size + g * 4 + 4);
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

template <int rows> void block_tile_at(const Int8Tiles & t, const ScaleTable * table, int first_block, int n_blocks, Next next, int block) {
    const size_t scales = (size_t(block) * n_blocks + first_block) * block_rows; // of all the row's n_blocks
    block_tile<rows>(t, table, first_block > 0, next, t.x + scales * x_bytes(format), t.x_scale + scales, t.x_sum + scales,
                     t.y + size_t(block) * block_rows * panel_columns);
}

template <int rows> void row_tile_at(const Int8Tiles & t, Next next, int block) {
    const size_t first = size_t(block) * row_rows;
    row_tile<rows>(t, next, t.x + first * t.n_blocks * block_size, t.x_scale + first, t.x_sum + first, t.y + first * panel_columns);
}

// Whole blocks of rows, then what is left over; each of the latter counts has a kernel of its own.
template <int n> void last_block_rows(const Int8Tiles & t, const ScaleTable * table, int first_block, int n_blocks, Next next, int n_left, int block) {
    if constexpr (n > 0) {
        n_left == n ? block_tile_at<n>(t, table, first_block, n_blocks, next, block)
                    : last_block_rows<n - 1>(t, table, first_block, n_blocks, next, n_left, block);
    }
}

template <int n> void last_row_rows(const Int8Tiles & t, Next next, int n_left, int block) {
    if constexpr (n > 0) {
        n_left == n ? row_tile_at<n>(t, next, block) : last_row_rows<n - 1>(t, next, n_left, block);
    }
}

// Share `share` of n_shares of t.next, or of the n_bytes that follow the weights.
inline Next next_of(const Int8Tiles & t, size_t n_bytes, int share, int n_shares) {
    return t.next != nullptr ? next_of(t.next, t.next_bytes, t.n_blocks, share, n_shares) : next_of(t.w + n_bytes, n_bytes, t.n_blocks, share, n_shares);
}

void block_tiles(const Int8Tiles & t) {
    const int n_full = t.n_rows / block_rows, n_left = t.n_rows % block_rows, n_shares = n_full + (n_left > 0);
    const int step   = is_sliced ? slice_blocks : t.n_blocks;
    alignas(64) ScaleTable table;
    for (int first = 0; first < t.n_blocks; first += step) {
        Int8Tiles slice = t;
        slice.w         = t.w + size_t(first) * panel_columns * (block_size + 4);
        slice.n_blocks  = t.n_blocks - first < step ? t.n_blocks - first : step;
        if (t.next != nullptr) {
            const size_t of_block = t.next_bytes / size_t(t.n_blocks);
            slice.next            = t.next + of_block * size_t(first);
            slice.next_bytes      = of_block * size_t(slice.n_blocks);
        }
        if (has_table) {
            fill_table(slice.w, slice.n_blocks, table);
        }
        const size_t n_bytes = size_t(slice.n_blocks) * panel_columns * (block_size + 4);
        for (int i = 0; i < n_full; ++i) {
            block_tile_at<block_rows>(slice, &table, first, t.n_blocks, next_of(slice, n_bytes, i, n_shares), i);
        }
        last_block_rows<block_rows - 1>(slice, &table, first, t.n_blocks, next_of(slice, n_bytes, n_full, n_shares), n_left, n_full);
    }
}

void row_tiles(const Int8Tiles & t) {
    const int    n_full = t.n_rows / row_rows, n_left = t.n_rows % row_rows, n_shares = n_full + (n_left > 0);
    const size_t n_bytes = size_t(panel_columns) * (size_t(t.n_blocks) * block_size + 4);
    for (int i = 0; i < n_full; ++i) {
        row_tile_at<row_rows>(t, next_of(t, n_bytes, i, n_shares), i);
    }
    last_row_rows<row_rows - 1>(t, next_of(t, n_bytes, n_full, n_shares), n_left, n_full);
}

} // namespace
} // namespace cpu::detail
