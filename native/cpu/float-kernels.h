// The f32 product, written once on the vector layer. It serves linear layers and both products of attention.
#pragma once

#include "kernels.h"
#include "prefetch.h"

namespace cpu::detail {
namespace {

// Rows x one panel: the sums stay in registers over all of k.
template <int rows> void float_tile(const FloatTiles & t, const float * w, float * y) {
    vec sums[rows][panel_vectors];
    CPU_UNROLL
    for (int r = 0; r < rows; ++r) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            sums[r][v] = t.accumulate ? load(y + r * t.y_row + v * lanes) : set(0);
        }
    }

    const float *   x     = t.x;
    const ptrdiff_t x_row = t.x_row, x_k = t.x_k;
    const uint8_t * next      = t.next;
    const size_t    next_step = t.next_step;
    for (int k = t.n_k; k > 0; --k, x += x_k, w += panel_vectors * lanes, next += next_step) {
        prefetch(next);
        vec weights[panel_vectors];
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            weights[v] = load(w + v * lanes);
        }
        CPU_UNROLL
        for (int r = 0; r < rows; ++r) {
            const vec value = set(x[r * x_row]);
            CPU_UNROLL
            for (int v = 0; v < panel_vectors; ++v) {
                sums[r][v] = fma(value, weights[v], sums[r][v]);
            }
        }
    }

    CPU_UNROLL
    for (int r = 0; r < rows; ++r) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            store(y + r * t.y_row + v * lanes, sums[r][v]);
        }
    }
}

template <int rows> void float_panels(const FloatTiles & t) {
    for (int p = 0; p < t.n_panels; ++p) {
        float_tile<rows>(t, t.w + p * t.w_panel, t.y + p * t.y_panel);
    }
}

// At most float_rows rows.
void float_tiles(const FloatTiles & t) {
    switch (t.n_rows) {
        case 1: return float_panels<1>(t);
        case 2: return float_panels<2>(t);
        case 3: return float_panels<3>(t);
        case 4: return float_panels<4>(t);
        case 5: return float_panels<5>(t);
        case 6: return float_panels<6>(t);
#if CPU_FLOAT_ROWS > 6
        case 7: return float_panels<7>(t);
        case 8: return float_panels<8>(t);
        case 9: return float_panels<9>(t);
        case 10: return float_panels<10>(t);
        case 11: return float_panels<11>(t);
        case 12: return float_panels<12>(t);
#endif
    }
}

void widen_f16(const uint16_t * from, float * to, size_t n) { // n is a multiple of a panel's width
    for (size_t i = 0; i < n; i += lanes) {
        store(to + i, widen_f16(from + i));
    }
}

void widen_bf16(const uint16_t * from, float * to, size_t n) {
    for (size_t i = 0; i < n; i += lanes) {
        store(to + i, widen_bf16(from + i));
    }
}

void to_panels(const float * from, size_t from_row, int n_rows, int n, float * to, size_t panel) {
    constexpr int columns = lanes * panel_vectors;
    for (int r = 0; r < n_rows; ++r, from += from_row, to += columns) {
        float * out = to;
        for (int first = 0; first < n; first += columns, out += panel) {
            for (int v = 0; v < panel_vectors; ++v) {
                const int i = first + v * lanes;
                store(out + v * lanes, i + lanes <= n ? load(from + i) : i < n ? load_first(from + i, n - i) : set(0));
            }
        }
    }
}

// to [n_columns, to_row] = from [n_rows, from_row] turned over; n_rows at most to_row.
void transpose(const float * from, size_t from_row, int n_rows, int n_columns, float * to, size_t to_row) {
    for (int r = 0; r < n_rows; r += lanes) {
        const int n_r = n_rows - r < lanes ? n_rows - r : lanes;
        for (int c = 0; c < n_columns; c += lanes) {
            const int n_c = n_columns - c < lanes ? n_columns - c : lanes;
            vec       rows[lanes];
            for (int i = 0; i < lanes; ++i) {
                const float * p = from + (r + i) * from_row + c;
                rows[i]         = i >= n_r ? set(0) : n_c == lanes ? load(p) : load_first(p, n_c);
            }
            transpose(rows);
            float * out = to + c * to_row + r;
            for (int i = 0; i < n_c; ++i, out += to_row) {
                n_r == lanes ? store(out, rows[i]) : store_first(out, rows[i], n_r);
            }
        }
    }
}

} // namespace
} // namespace cpu::detail
