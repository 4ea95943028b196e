// Products of 16-bit codes, written once on the vector layer and on dot_pairs().
#pragma once

#include "kernels.h"
#include "quantize-kernels.h"
#include "row-kernels.h"

namespace cpu::detail {
namespace {

constexpr int pair_rows = float_rows < 6 ? float_rows : 6; // more, and compilers run out of registers

template <int rows> void pair_tile(const PairTiles & t, const int32_t * x, const int32_t * w, const float * row_scale, const float * column_scale, float * y) {
    ivec sums[rows][panel_vectors];
    CPU_UNROLL
    for (int r = 0; r < rows; ++r) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            sums[r][v] = set_int(0);
        }
    }
    const size_t x_row = t.x_row;
    CPU_UNROLL_2
    for (int k = t.n_k; k > 0; --k, ++x, w += panel_vectors * lanes) {
        keep_all(sums);
        ivec weights[panel_vectors];
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            weights[v] = load_bytes(w + v * lanes);
        }
        CPU_UNROLL
        for (int r = 0; r < rows; ++r) {
            const ivec pair = broadcast_group(reinterpret_cast<const int8_t *>(x + r * x_row));
            CPU_UNROLL
            for (int v = 0; v < panel_vectors; ++v) {
                sums[r][v] = dot_pairs(sums[r][v], weights[v], pair);
            }
        }
    }
    CPU_UNROLL
    for (int r = 0; r < rows; ++r) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            float *   to    = y + r * t.y_row + v * lanes;
            const vec value = mul(to_float(sums[r][v]), mul(set(row_scale[r]), load(column_scale + v * lanes)));
            store(to, t.accumulate ? add(load(to), value) : value);
        }
    }
}

template <int n> void pair_rows_of(const PairTiles & t, int first, int n_rows) {
    if constexpr (n > 0) {
        if (n_rows < n) {
            return pair_rows_of<n - 1>(t, first, n_rows);
        }
        for (int p = 0; p < t.n_panels; ++p) {
            const size_t column = size_t(p) * panel_vectors * lanes;
            pair_tile<n>(t, t.x + first * t.x_row, t.w + p * t.w_panel, t.row_scale + first, t.column_scale + column, t.y + first * t.y_row + column);
        }
    }
}

void pair_tiles(const PairTiles & t) {
    for (int first = 0; first < t.n_rows; first += pair_rows) {
        pair_rows_of<pair_rows>(t, first, t.n_rows - first);
    }
}

float pair_rows_codes(const float * x, size_t x_row, int n_rows, int n, float code_max, int16_t * codes) {
    vec tops = set(0);
    for (int r = 0; r < n_rows; ++r) {
        for_vectors(n, [&](int i, int left) { tops = larger(tops, abs(load_up_to(x + r * x_row + i, left))); });
    }
    const float top     = largest_lane(tops);
    const vec   inverse = set(top > 0 ? code_max / top : 0.0f);
    for (int r = 0; r < n_rows; ++r, codes += n) {
        for_vectors(n, [&](int i, int left) {
            const vec value = mul(load_up_to(x + r * x_row + i, left), inverse);
            if (left == lanes) {
                return store_shorts(codes + i, value);
            }
            int16_t rest[lanes];
            store_shorts(rest, value);
            memcpy(codes + i, rest, size_t(left) * sizeof(int16_t));
        });
    }
    return top < INFINITY ? top / code_max : NAN;
}

float pair_weights(const float * x, int n, int16_t * codes) {
    vec total = set(0);
    for (int i = 0; i < n; i += lanes) {
        total = add(total, load(x + i));
    }
    const float all     = sum(total);
    const vec   inverse = set(all > 0 ? 32767.0f / all : 0.0f);
    for (int i = 0; i < n; i += lanes) {
        store_shorts(codes + i, mul(load(x + i), inverse));
    }
    return all / 32767.0f;
}

void pair_columns(const float * from, size_t from_row, int n_rows, int n, int32_t * to, size_t panel, float * scale) {
    constexpr int columns = lanes * panel_vectors;
    for (int first = 0; first < (n + columns - 1) / columns * columns; first += lanes) {
        const int left = n - first;
        auto      row  = [&](int r) {
            const float * p = from + r * from_row + first;
            return left >= lanes ? load(p) : left > 0 ? load_first(p, left) : set(0);
        };
        vec top = set(0);
        for (int r = 0; r < n_rows; ++r) {
            top = larger(top, abs(row(r)));
        }
        store(scale + first, where_less(top, set(INFINITY), div(top, set(32767.0f)), set(NAN)));
        const vec inverse = where_less(set(0), top, div(set(32767.0f), top), set(0));
        int32_t * out     = to + first / columns * panel + first % columns;
        for (int r = 0; r < n_rows; r += 2, out += columns) {
            const vec low = mul(row(r), inverse), high = r + 1 < n_rows ? mul(row(r + 1), inverse) : set(0);
            store_int(out, pair_up(low, high));
        }
    }
}

constexpr PairKernels pair_kernels = {pair_tiles, pair_rows_codes, pair_weights, pair_columns};

} // namespace
} // namespace cpu::detail
