// Attention in bf16 by tdpbf16ps. Rows and panels lie as those of 16-bit codes, whose scales are all 1.
#pragma once

#include "bf16-amx.h"
#include "pair-rows.h"

namespace cpu::detail {
namespace {

// Tiles 0 and 1 are sums of the halves of a panel, 2 rows, 3 and 4 the panel; 5 to 7 again the latter, for the last pairs.
inline void use_pair_tiles(int n_rows, int n_rest) {
    TileConfig config;
    for (int i = 0; i < 3; ++i) {
        config.set(i, n_rows);
    }
    config.set(3, tile_rows);
    config.set(4, tile_rows);
    if (n_rest > 0) {
        config.set(5, n_rows, n_rest * 4);
        config.set(6, n_rest);
        config.set(7, n_rest);
    }
    use_tiles(config);
}

void pair_tiles(const PairTiles & t) {
    const int    n_rest = t.n_k % tile_rows;
    const size_t x_row = t.x_row * 4, y_row = t.y_row * 4;
    use_pair_tiles(t.n_rows, n_rest);
    for (int panel = 0; panel < t.n_panels; ++panel) {
        const int32_t * x = t.x, *w = t.w + panel * t.w_panel;
        float *         y = t.y + panel * panel_columns;
        if (t.accumulate) {
            _tile_loadd(0, y, y_row);
            _tile_loadd(1, y + lanes, y_row);
        } else {
            _tile_zero(0);
            _tile_zero(1);
        }
        for (int k = t.n_k / tile_rows; k > 0; --k, x += tile_rows, w += tile_rows * panel_columns) {
            _tile_loadd(2, x, x_row);
            _tile_loadd(3, w, group_bytes);
            _tile_dpbf16ps(0, 2, 3);
            _tile_loadd(4, w + lanes, group_bytes);
            _tile_dpbf16ps(1, 2, 4);
        }
        if (n_rest > 0) {
            _tile_loadd(5, x, x_row);
            _tile_loadd(6, w, group_bytes);
            _tile_dpbf16ps(0, 5, 6);
            _tile_loadd(7, w + lanes, group_bytes);
            _tile_dpbf16ps(1, 5, 7);
        }
        _tile_stored(0, y, y_row);
        _tile_stored(1, y + lanes, y_row);
    }
    _tile_release();
    for (int r = 0; t.finish != nullptr && r < t.n_rows; ++r) {
        float * y = t.y + r * t.y_row;
        for (int i = 0; i < t.n_panels * panel_columns; i += lanes) {
            store(y + i, mul(load(y + i), set(t.finish[r])));
        }
    }
}

// The halves of `values` in turns.
inline ivec side_by_side(ivec values) {
    alignas(64) constexpr uint16_t places[2 * lanes] = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_permutexvar_epi16(load_bytes(places), values);
}

inline void set_scales(const PairCodes & c) {
    for (int r = 0; r < c.n_rows; ++r) {
        c.scale[r] = 1.0f;
    }
}

void pair_codes_of_rows(const PairCodes & c) {
    set_scales(c);
    for (int row = 0; row < c.n_rows; ++row) {
        auto * to = reinterpret_cast<uint16_t *>(c.codes) + size_t(row) * c.n;
        for_values(c, row, [&](int i, int n, vec x) {
            uint16_t values[2 * lanes];
            store_int(reinterpret_cast<int32_t *>(values), to_bf16(x, x));
            memcpy(to + i, values, n == lanes ? lanes * 2 : size_t(n) * 2);
        });
    }
}

void pair_codes_of_panels(const PairCodes & c) {
    set_scales(c);
    for (int row = 0; row < c.n_rows; row += 2) {
        for_row_pair(c, row, [&](vec low, vec high, int32_t * to) { store_int(to, side_by_side(to_bf16(low, high))); });
    }
}

// `s` by value: its fields could otherwise be what is stored, for all the compiler knows.
inline void pair_softmax_row(PairSoftmax s, int r) {
    float *     scores = s.scores + r * s.stride;
    int16_t *   codes  = s.codes + r * s.stride;
    const int   first = s.first[r], end = s.end[r];
    const float scale = s.soft_cap > 0 ? 1.0f : s.scale[r];

    const float top = first < end ? softmax_top(s.soft_cap, s.scale[r], scores, first, end) * scale : minus_infinity;
    take_top(top, s.max + r, s.rescale + r);

    constexpr float of_e = 1.44269504f; // its logarithm, to base 2
    const vec_pair  by(set(scale * of_e)), minus_max(set(-s.max[r] * of_e));
    vec             total = set(0);
    for (int j = 0; j < s.n; j += 2 * lanes) { // n is a multiple of 16, rows are multiples of 64
        vec_pair weights(set(0));
        if (j < end && j + 2 * lanes > first) {
            weights = exp2_near(fma(load_pair(scores + j), by, minus_max));
            if (j < first || j + 2 * lanes > end) {
                weights.a = in_range(first - j, end - j, weights.a, set(0));
                weights.b = in_range(first - j - lanes, end - j - lanes, weights.b, set(0));
            }
        }
        total = add(total, add(weights.a, weights.b));
        _mm512_storeu_si512(codes + j, to_bf16(weights.a, weights.b));
    }
    s.sum[r]        = s.sum[r] * s.rescale[r] + sum(total);
    s.code_scale[r] = 1.0f;
}

void pair_softmax(const PairSoftmax & s) {
    for (int r = 0; r < s.n_rows; ++r) {
        pair_softmax_row(s, r);
    }
}

constexpr PairKernels pair_kernels = {tile_rows, pair_tiles, pair_codes_of_rows, pair_codes_of_panels, pair_softmax};

} // namespace
} // namespace cpu::detail
