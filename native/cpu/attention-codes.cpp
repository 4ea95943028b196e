// attention() in 16-bit codes, beside int8 weights: q, k, v and the softmax, with one scale a row or column of a tile.
#include "attention-tiles.h"

#include <algorithm>
#include <cmath>

namespace cpu::detail {

// The largest code of a row, so that a sum of n products of codes fits an int32.
static float largest_code(int n) { return std::min(32767.0f, std::floor(std::sqrt(2147483520.0f / float(n)))); }

static int16_t * shorts(int32_t * pairs) { return reinterpret_cast<int16_t *>(pairs); }

void pack_codes(const AttentionCall & c, const AttentionSequence & s, const float * k, const float * v, int first, int n, const CodeScratch & scratch) {
    const int    columns = c.kernels.format.float_columns;
    const int    half    = c.p.head_dim / 2;
    const size_t row     = size_t(key_row(s, first));
    const float  scale   = c.kernels.pairs.rows(k + row * c.p.k_stride, c.p.k_stride, n, c.p.head_dim, largest_code(c.p.head_dim), shorts(scratch.k_rows));
    std::fill(scratch.k_scale, scratch.k_scale + n, scale);
    for (int begin = 0; begin < n; begin += columns) {
        c.kernels.transpose(reinterpret_cast<const float *>(scratch.k_rows + size_t(begin) * half), size_t(half), std::min(columns, n - begin), half,
                            reinterpret_cast<float *>(scratch.k + size_t(begin) * half), size_t(columns));
    }
    c.kernels.pairs.columns(v + row * c.p.v_stride, c.p.v_stride, n, c.p.head_dim, scratch.v, size_t(c.tile) / 2 * columns,
                            scratch.v_scale);
}

void attend_codes(const AttentionCall & c, const Queries & queries, const Scratch & scratch, const CodeScratch & codes, int r, int n_rows, int n, bool is_first) {
    const Format & f    = c.kernels.format;
    const int              half = c.p.head_dim / 2;
    const float            code_max = largest_code(c.p.head_dim);
    for (int i = 0; i < n_rows; ++i) {
        codes.q_scale[i] = c.kernels.pairs.rows(queries.rows + size_t(r + i) * c.p.q_stride, 0, 1, c.p.head_dim, code_max, shorts(codes.q + i * half));
    }
    PairTiles qk;
    qk.x            = codes.q;
    qk.x_row        = size_t(half);
    qk.row_scale    = codes.q_scale;
    qk.w            = codes.k;
    qk.w_panel      = size_t(half) * f.float_columns;
    qk.column_scale = codes.k_scale;
    qk.n_rows       = n_rows;
    qk.n_k          = half;
    qk.n_panels     = ceil_div(n, f.float_columns);
    qk.accumulate   = false;
    qk.y            = scratch.scores;
    qk.y_row        = size_t(c.tile);
    c.kernels.pairs.tiles(qk);

    const int begins[16] = {};
    int       ends[16];
    float     rescale[16];
    std::fill(ends, ends + 16, n);
    to_weights(c, scratch, r, n_rows, n, begins, ends, rescale);

    float * sums = scratch.sums + size_t(r) * c.dim;
    for (int i = 0; i < n_rows; ++i) {
        codes.weights_scale[i] = c.kernels.pairs.weights(scratch.scores + size_t(i) * c.tile, round_up(n, 16), shorts(codes.weights + size_t(i) * c.tile / 2));
        if (!is_first && rescale[i] != 1.0f) {
            c.kernels.scale_row(sums + size_t(i) * c.dim, c.dim, rescale[i]);
        }
    }
    PairTiles pv;
    pv.x            = codes.weights;
    pv.x_row        = size_t(c.tile) / 2;
    pv.row_scale    = codes.weights_scale;
    pv.w            = codes.v;
    pv.w_panel      = size_t(c.tile) / 2 * f.float_columns;
    pv.column_scale = codes.v_scale;
    pv.n_rows       = n_rows;
    pv.n_k          = ceil_div(n, 2);
    pv.n_panels     = c.dim / f.float_columns;
    pv.accumulate   = !is_first;
    pv.y            = sums;
    pv.y_row        = size_t(c.dim);
    c.kernels.pairs.tiles(pv);
}

} // namespace cpu::detail
