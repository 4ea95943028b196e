// attention() in 16-bit codes, beside int8 weights: q, k and v with one scale a row, weights with one for a query and a tile.
#include "attention-codes.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace cpu::detail {

namespace {

// A sum of products of codes has to fit an int32. Those of values are kept small, so that those of weights need not be.
constexpr float value_code_max = 4095.0f, weight_code_sum = 520000.0f;

float score_code_max(int n) { return std::min(32767.0f, std::floor(std::sqrt(2147483520.0f / float(n)))); }

// What the panels of n keys hold: whole tiles where these do not fit one.
int padded_keys(const AttentionCall & c, int n) { return n > c.tile ? round_up(n, c.tile) : round_up(n, 32); }

// Rows `first` and after of `from`.
PairCodes after(PairCodes from, int first) {
    const int n = std::min(first, from.n_first);
    from.x += size_t(n) * from.x_row;
    from.rest += from.rest != nullptr ? size_t(first - n) * from.x_row : 0;
    from.n_first -= n;
    from.n_rows -= first;
    return from;
}

// n_rows rows of a matrix, the first n_first at `x` and the others at `rest`.
PairCodes rows_at(const AttentionCall & c, const float * x, size_t stride, int n_first, const float * rest, int n_rows) {
    PairCodes from;
    from.x       = x;
    from.x_row   = stride;
    from.x_panel = size_t(c.kernels.format.float_columns);
    from.n_first = n_first;
    from.rest    = rest;
    from.bias    = nullptr;
    from.n_rows  = n_rows;
    return from;
}

// Keys [first, first + n) of a sequence: those of its prefix and then its own.
PairCodes keys_at(const AttentionCall & c, const AttentionSequence & s, const float * x, size_t stride, int first, int n) {
    const int n_first = std::min(n, std::max(0, s.n_prefix - first));
    const int own     = std::max(0, first - s.n_prefix);
    return rows_at(c, n_first > 0 ? x + size_t(s.prefix_begin + first) * stride : x, stride, n_first, x + size_t(s.kv_begin + own) * stride, n);
}

// One block of queries, from row r of the task, against keys [first_key, first_key + n), whose codes begin at row k_row. With `out` these
// are all keys there are, and the result goes there.
void attend(const AttentionCall & c, const AttentionSequence & s, const AttentionCodes & codes, const CodeScratch & scratch, int first_query, int r, int n_rows,
            int first_key, int n, int k_row, bool is_first, float * out) {
    const int       half = c.p.head_dim / 2, columns = c.kernels.format.float_columns;
    const BlockView seen(c, s, s.q_position + first_query + r, n_rows, first_key, n);
    float *         sums = out != nullptr ? out : scratch.sums + size_t(r) * c.dim;
    const size_t    sums_row = out != nullptr ? c.p.out_stride : size_t(c.dim);
    if (seen.n == 0) {
        for (int i = 0; is_first && i < n_rows; ++i) {
            std::fill_n(sums + i * sums_row, c.dim, 0.0f);
        }
        return;
    }
    const int from = k_row + seen.from;

    PairTiles qk;
    qk.x            = codes.q + size_t(r) * half;
    qk.x_row        = size_t(half);
    qk.w            = codes.k + size_t(from) * half;
    qk.w_panel      = size_t(half) * columns;
    qk.n_rows       = n_rows;
    qk.n_k          = half;
    qk.n_panels     = ceil_div(seen.n, columns);
    qk.column_scale = codes.k_scale + from;
    qk.row_scale = qk.finish = nullptr;
    qk.accumulate            = false;
    qk.y                     = scratch.scores;
    qk.y_row                 = size_t(c.tile);
    c.kernels.pairs.tiles(qk);

    float scale[16], code_scale[16], rescale[16], finish[16];
    for (int i = 0; i < n_rows; ++i) {
        scale[i] = codes.q_scale[r + i] * c.p.scale;
    }
    PairSoftmax softmax;
    softmax.scores     = scratch.scores;
    softmax.stride     = size_t(c.tile);
    softmax.n_rows     = n_rows;
    softmax.n          = round_up(seen.n, 16);
    softmax.first      = seen.begins;
    softmax.end        = seen.ends;
    softmax.scale      = scale;
    softmax.soft_cap   = c.p.soft_cap;
    softmax.key_scale  = codes.v_scale + from;
    softmax.code_sum   = weight_code_sum;
    softmax.codes      = reinterpret_cast<int16_t *>(scratch.weights);
    softmax.code_scale = code_scale;
    softmax.max        = scratch.max + r;
    softmax.sum        = scratch.total + r;
    softmax.rescale    = rescale;
    c.kernels.pairs.softmax(softmax);

    for (int i = 0; i < n_rows; ++i) {
        const float total = scratch.total[r + i];
        finish[i]         = total == 0 ? 0.0f : 1.0f / total;
        if (!is_first && rescale[i] != 1.0f) {
            c.kernels.scale_row(sums + i * sums_row, c.dim, rescale[i]);
        }
    }
    PairTiles pv;
    pv.x            = scratch.weights;
    pv.x_row        = size_t(c.tile) / 2;
    pv.w            = codes.v + size_t(k_row) / c.tile * codes.v_pairs * c.dim + size_t(seen.from / 2) * columns;
    pv.w_panel      = size_t(codes.v_pairs) * columns;
    pv.n_rows       = n_rows;
    pv.n_k          = ceil_div(seen.n, 2);
    pv.n_panels     = c.dim / columns;
    pv.column_scale = nullptr;
    pv.row_scale    = code_scale;
    pv.finish       = out != nullptr ? finish : nullptr;
    pv.accumulate   = !is_first;
    pv.y            = sums;
    pv.y_row        = sums_row;
    c.kernels.pairs.tiles(pv);
}

// Queries [first_query, first_query + n_queries), block by block, against the tiles of keys that they see. add_keys(first, n) returns the row
// where these are among the codes. Those of the queries are there from row 0 on.
template <typename AddKeys>
void attend_blocks(const AttentionCall & c, const AttentionSequence & s, const AttentionCodes & codes, int first_query, int n_queries, float * out, float * memory,
                   const AddKeys & add_keys) {
    const CodeScratch scratch(c, memory);
    std::fill(scratch.max, scratch.max + n_queries, -std::numeric_limits<float>::infinity());
    std::fill(scratch.total, scratch.total + n_queries, 0.0f);

    const int  first     = Visible(c.p, s, s.q_position + first_query).first / c.tile * c.tile;
    const int  end       = Visible(c.p, s, s.q_position + first_query + n_queries - 1).end;
    const bool is_direct = end - first <= c.tile && first < end && c.dim == c.p.head_dim;
    for (int key = first; key < end; key += c.tile) {
        const int n = std::min(c.tile, end - key), k_row = add_keys(key, n);
        for (int r = 0; r < n_queries; r += c.rows) {
            const int n_rows = std::min(c.rows, n_queries - r);
            attend(c, s, codes, scratch, first_query, r, n_rows, key, n, k_row, key == first,
                   is_direct ? out + size_t(r) * c.p.out_stride : nullptr);
        }
    }
    for (int r = 0; r < n_queries && !is_direct; ++r) {
        const float inverse = scratch.total[r] == 0 ? 0.0f : 1.0f / scratch.total[r];
        float *     to      = out + size_t(r) * c.p.out_stride;
        first < end ? c.kernels.scale_add(inverse, scratch.sums + size_t(r) * c.dim, nullptr, to, c.p.head_dim) : void(std::fill_n(to, c.p.head_dim, 0.0f));
    }
}

} // namespace

size_t AttentionCodes::n_floats(const AttentionCall & c, int n_queries, int n_keys) {
    const size_t queries = size_t(round_up(n_queries, 32)), keys = size_t(padded_keys(c, n_keys)), half = size_t(c.p.head_dim) / 2;
    return whole_lines(queries * (half + 1) + keys * (half + size_t(c.dim) / 2 + 2) + size_t(c.kernels.format.float_columns) * half);
}

AttentionCodes::AttentionCodes(const AttentionCall & c, int n_queries, int n_keys, float * memory) {
    const size_t queries = size_t(round_up(n_queries, 32)), keys = size_t(padded_keys(c, n_keys)), half = size_t(c.p.head_dim) / 2;
    q       = reinterpret_cast<int32_t *>(memory);
    k       = q + queries * half;
    v       = k + keys * half;
    rows    = v + keys / 2 * c.dim;
    q_scale = reinterpret_cast<float *>(rows + c.kernels.format.float_columns * half);
    k_scale = q_scale + queries;
    v_scale = k_scale + keys;
    v_pairs = std::min(int(keys), c.tile) / 2;
}

void AttentionCodes::add_q(const AttentionCall & c, PairCodes from, int first) const {
    from.n        = c.p.head_dim;
    from.code_max = score_code_max(c.p.head_dim);
    from.codes    = q + size_t(first) * (c.p.head_dim / 2);
    from.scale    = q_scale + first;
    c.kernels.pairs.rows(from);
}

void AttentionCodes::add_k(const AttentionCall & c, const PairCodes & from, int first) const {
    const int columns = c.kernels.format.float_columns, half = c.p.head_dim / 2;
    for (int begin = 0; begin < from.n_rows; begin += columns) {
        PairCodes part = after(from, begin);
        part.n         = c.p.head_dim;
        part.n_rows    = std::min(columns, part.n_rows);
        part.code_max  = score_code_max(c.p.head_dim);
        part.codes     = rows;
        part.scale     = k_scale + first + begin;
        c.kernels.pairs.rows(part);
        c.kernels.transpose(reinterpret_cast<const float *>(rows), size_t(half), part.n_rows, half, reinterpret_cast<float *>(k + size_t(first + begin) * half), size_t(columns));
    }
}

void AttentionCodes::add_v(const AttentionCall & c, const PairCodes & from, int first) const {
    const int columns = c.kernels.format.float_columns;
    for (int begin = 0; begin < from.n_rows;) { // tile by tile
        const int row = first + begin;
        PairCodes part = after(from, begin);
        part.n         = c.p.head_dim;
        part.n_rows    = std::min(part.n_rows, c.tile - row % c.tile);
        part.code_max  = value_code_max;
        part.codes     = v + size_t(row / c.tile) * v_pairs * c.dim + size_t(row % c.tile / 2) * columns;
        part.panel     = size_t(v_pairs) * columns;
        part.scale     = v_scale + row;
        c.kernels.pairs.panels(part);
        begin += part.n_rows;
    }
}

void attend_head_in_codes(const AttentionCall & c, const AttentionSequence & s, const Head & head, int first_query, int n_queries, float * memory) {
    const AttentionCodes codes(c, c.max_queries, c.tile, memory + CodeScratch::n_floats(c));
    const size_t         row = size_t(s.q_begin + first_query);
    codes.add_q(c, rows_at(c, head.q + row * c.p.q_stride, c.p.q_stride, n_queries, nullptr, n_queries), 0);
    attend_blocks(c, s, codes, first_query, n_queries, head.out + row * c.p.out_stride, memory, [&](int key, int n) {
        codes.add_k(c, keys_at(c, s, head.k, c.p.k_stride, key, n), 0);
        codes.add_v(c, keys_at(c, s, head.v, c.p.v_stride, key, n), 0);
        return 0;
    });
}

void attend_rows_in_codes(const AttentionCall & c, const AttentionSequence & s, const AttentionCodes & codes, float * out, float * memory) {
    attend_blocks(c, s, codes, 0, s.n_q, out, memory, [](int key, int) { return key; });
}

} // namespace cpu::detail
