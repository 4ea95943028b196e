#include "relative.h"
#include "attention-tiles.h"

#include <algorithm>

namespace cpu::detail {

namespace {

// y [n_rows, width] = x times panels.
void multiply(const AttentionCall & c, const float * x, size_t stride, int n_rows, const float * panels, int width, float * y) {
    const Format & f = c.kernels.format;
    for (int r = 0; r < n_rows; r += f.float_rows) {
        FloatTiles t;
        t.x          = x + size_t(r) * stride;
        t.x_row      = ptrdiff_t(stride);
        t.x_k        = 1;
        t.w          = panels;
        t.w_panel    = size_t(c.p.head_dim) * f.float_columns;
        t.n_rows     = std::min(f.float_rows, n_rows - r);
        t.n_k        = c.p.head_dim;
        t.n_panels   = width / f.float_columns;
        t.accumulate = false;
        t.y          = y + size_t(r) * width;
        t.y_row      = size_t(width);
        t.y_panel    = size_t(f.float_columns);
        t.next       = reinterpret_cast<const uint8_t *>(panels);
        t.next_step  = 0;
        c.kernels.float_tiles(t);
    }
}

// All rows, in whole panels.
int max_width(const AttentionCall & c) {
    const RelativePositions & r = *c.p.relative;
    return round_up(r.row[2 * r.max_distance] - r.row[0] + 1, c.kernels.format.float_columns);
}

} // namespace

size_t RelativeScores::n_floats(const AttentionCall & c) {
    const size_t width = size_t(max_width(c));
    return 2 * whole_lines(width * c.p.head_dim) + whole_lines(width * c.tile) + whole_lines(width * c.kernels.format.float_rows);
}

RelativeScores::RelativeScores(const AttentionCall & c, const AttentionSequence & s, const Head & head, int first_position, int n_queries, int first_key, int n_keys,
                               float * memory)
    : first_key_(first_key) {
    first_row_ = row_of(c, first_position - (first_key + n_keys - 1));
    n_rows_    = row_of(c, first_position + n_queries - 1 - first_key) - first_row_ + 1;
    width_     = round_up(n_rows_, c.kernels.format.float_columns);

    const size_t max = size_t(max_width(c));
    k_panels_        = memory;
    q_panels_        = k_panels_ + whole_lines(max * c.p.head_dim);
    of_keys_         = q_panels_ + whole_lines(max * c.p.head_dim);
    of_queries_      = of_keys_ + whole_lines(max * c.tile);
    pack(c, c.p.relative->k + head.column, c.p.relative->k_stride, k_panels_);
    pack(c, c.p.relative->q + head.column, c.p.relative->q_stride, q_panels_);
    multiply(c, head.k + size_t(s.kv_begin + first_key) * c.p.k_stride, c.p.k_stride, n_keys, q_panels_, width_, of_keys_);
}

void RelativeScores::pack(const AttentionCall & c, const float * rows, size_t stride, float * to) const {
    const int columns = c.kernels.format.float_columns;
    for (int i = 0; i < n_rows_; i += columns) {
        c.kernels.transpose(rows + size_t(first_row_ + i) * stride, stride, std::min(columns, n_rows_ - i), c.p.head_dim, to + size_t(i) * c.p.head_dim, size_t(columns));
    }
}

void RelativeScores::add(const AttentionCall & c, const float * q, int n_rows, int position, int from, int n, float * scores) const {
    multiply(c, q, c.p.q_stride, n_rows, k_panels_, width_, of_queries_);
    const int32_t * row = c.p.relative->row + c.p.relative->max_distance;
    for (int i = 0; i < n_rows; ++i) {
        const float *   of_query = of_queries_ + size_t(i) * width_;
        const float *   of_key   = of_keys_ + size_t(from) * width_;
        const int32_t * of       = row + position + i - first_key_ - from;
        float *         to       = scores + size_t(i) * c.tile;
        for (int j = 0; j < n; ++j, of_key += width_) {
            const int32_t at = of[-j] - first_row_;
            to[j] += of_query[at] + of_key[at];
        }
    }
}

} // namespace cpu::detail
