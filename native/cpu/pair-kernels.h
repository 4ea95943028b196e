// Products of 16-bit codes, written once on the vector layer and on dot_pairs().
#pragma once

#include "kernels.h"
#include "prefetch.h"
#include "pair-rows.h"
#include "quantize-kernels.h"

namespace cpu::detail {
namespace {

#ifdef CPU_PAIR_ROWS
constexpr int pair_rows = CPU_PAIR_ROWS;
#else
constexpr int pair_rows = 6; // more, and compilers run out of registers
#endif

template <int rows, bool by_row> void pair_tile(const PairTiles & t, int first, int panel) {
    ivec sums[rows][panel_vectors];
    CPU_UNROLL
    for (int r = 0; r < rows; ++r) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            sums[r][v] = set_int(0);
        }
    }
    const int32_t * x     = t.x + first * t.x_row;
    const int32_t * w     = t.w + panel * t.w_panel;
    const size_t    x_row = t.x_row;
    CPU_UNROLL_2
    for (int k = t.n_k; k > 0; --k, ++x, w += panel_columns) {
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
    const size_t  column = size_t(panel) * panel_columns, y_row = t.y_row;
    float *       y = t.y + first * y_row + column;
    const bool    accumulate = t.accumulate;
    const float * finish     = t.finish;
    vec           scale[panel_vectors];
    CPU_UNROLL
    for (int v = 0; v < panel_vectors; ++v) {
        scale[v] = by_row ? set(0) : load(t.column_scale + column + v * lanes);
    }
    CPU_UNROLL
    for (int r = 0; r < rows; ++r, y += y_row) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            vec value = mul(to_float(sums[r][v]), by_row ? set(t.row_scale[first + r]) : scale[v]);
            if (by_row) {
                value = accumulate ? add(load(y + v * lanes), value) : value;
                value = finish != nullptr ? mul(value, set(finish[first + r])) : value;
            }
            store(y + v * lanes, value);
        }
    }
}

template <int n, bool by_row> void pair_rows_of(const PairTiles & t, int first, int n_rows, int panel) {
    if constexpr (n > 0) {
        n_rows >= n ? pair_tile<n, by_row>(t, first, panel) : pair_rows_of<n - 1, by_row>(t, first, n_rows, panel);
    }
}

// A panel stays in the first-level cache while all rows pass.
void pair_tiles(const PairTiles & t) {
    for (int panel = 0; panel < t.n_panels; ++panel) {
        for (int first = 0; first < t.n_rows; first += pair_rows) {
            t.column_scale == nullptr ? pair_rows_of<pair_rows, true>(t, first, t.n_rows - first, panel)
                                      : pair_rows_of<pair_rows, false>(t, first, t.n_rows - first, panel);
        }
    }
}

// Scales of `lanes` rows from `first` on, and what their values are multiplied with.
inline void pair_scales(const PairCodes & c, int first, float * inverses) {
    vec tops[lanes];
    for (int r = 0; r < lanes; ++r) {
        tops[r] = set(0);
        if (first + r < c.n_rows) {
            const float * next = row_of(c, first + r + lanes < c.n_rows ? first + r + lanes : c.n_rows - 1); // far apart, where the chip expects none
            for_values(c, first + r, [&](int i, int, vec x) {
                prefetch(next + i);
                tops[r] = larger(tops[r], abs(x));
            });
        }
    }
    transpose(tops);
    vec top = tops[0];
    for (int i = 1; i < lanes; ++i) {
        top = larger(top, tops[i]);
    }
    const vec scale = where_less(top, set(INFINITY), div(top, set(c.code_max)), set(NAN));
    store_up_to(c.scale + first, scale, c.n_rows - first < lanes ? c.n_rows - first : lanes);
    store(inverses, where_less(set(1e-30f), top, div(set(c.code_max), top), set(0)));
}

void pair_codes_of_rows(const PairCodes & c) {
    float inverses[lanes];
    for (int row = 0; row < c.n_rows; ++row) {
        if (row % lanes == 0) {
            pair_scales(c, row, inverses);
        }
        const vec inverse = set(inverses[row % lanes]);
        auto *    codes   = reinterpret_cast<int16_t *>(c.codes) + size_t(row) * c.n;
        for_values(c, row, [&](int i, int n, vec x) {
            if (n == lanes) {
                return store_shorts(codes + i, mul(x, inverse));
            }
            int16_t rest[lanes];
            store_shorts(rest, mul(x, inverse));
            memcpy(codes + i, rest, size_t(n) * sizeof(int16_t));
        });
    }
}

void pair_codes_of_panels(const PairCodes & c) {
    float inverses[lanes];
    for (int row = 0; row < c.n_rows; row += 2) {
        if (row % lanes == 0) {
            pair_scales(c, row, inverses);
        }
        const vec inverse = set(inverses[row % lanes]), inverse_1 = set(inverses[row % lanes + 1]);
        for_row_pair(c, row, [&](vec low, vec high, int32_t * to) { store_int(to, pair_up(mul(low, inverse), mul(high, inverse_1))); });
    }
}

// `s` by value: its fields could otherwise be what is stored, for all the compiler knows.
inline void pair_softmax_row(PairSoftmax s, int r) {
    float *     scores = s.scores + r * s.stride;
    const int   first = s.first[r], end = s.end[r];
    const float scale = s.soft_cap > 0 ? 1.0f : s.scale[r];

    const float top = first < end ? softmax_top(s.soft_cap, s.scale[r], scores, first, end) * scale : minus_infinity;
    take_top(top, s.max + r, s.rescale + r);

    constexpr float of_e  = 1.44269504f; // its logarithm, to base 2
    const vec       by    = set(scale * of_e), minus_max = set(-s.max[r] * of_e);
    vec             total = set(0), all = set(0), most = set(0);
    for (int j = 0; j < s.n; j += 2 * lanes) { // n is a multiple of 16
        if (j >= first && j + 2 * lanes <= end) {
            const vec_pair weights = exp2_near(fma(load_pair(scores + j), vec_pair(by), vec_pair(minus_max)));
            const vec_pair scaled  = mul(weights, load_pair(s.key_scale + j));
            store_pair(scores + j, scaled);
            total = add(total, add(weights.a, weights.b));
            all   = add(all, add(scaled.a, scaled.b));
            most  = max(most, max(scaled.a, scaled.b));
            continue;
        }
        for (int i = j; i < j + 2 * lanes && i < s.n; i += lanes) {
            vec scaled = set(0);
            if (i < end && i + lanes > first) {
                const vec weights = exp2_near(fma(load(scores + i), by, minus_max));
                scaled            = in_range(first - i, end - i, mul(weights, load(s.key_scale + i)), set(0));
                total             = add(total, in_range(first - i, end - i, weights, set(0)));
                all               = add(all, scaled);
                most              = max(most, scaled);
            }
            store(scores + i, scaled);
        }
    }
    s.sum[r] = s.sum[r] * s.rescale[r] + sum(total);

    const float in_all = sum(all), by_sum = s.code_sum / in_all, by_most = 32767.0f / largest(most);
    const float factor  = in_all > 1e-30f ? (by_sum < by_most ? by_sum : by_most) : 0.0f;
    s.code_scale[r]     = in_all > 1e-30f ? 1.0f / factor : in_all * 0.0f; // NaN stays NaN
    int16_t * codes     = s.codes + r * s.stride;
    for (int j = 0; j < s.n; j += lanes) {
        store_shorts(codes + j, mul(load(scores + j), set(factor)));
    }
}

void pair_softmax(const PairSoftmax & s) {
    for (int r = 0; r < s.n_rows; ++r) {
        pair_softmax_row(s, r);
    }
}

constexpr PairKernels pair_kernels = {/*max_rows*/ 12, pair_tiles, pair_codes_of_rows, pair_codes_of_panels, pair_softmax};

} // namespace
} // namespace cpu::detail
