// attention(): tiles of keys against blocks of queries with a running softmax, so that no n x n matrix exists.
// A tile's K is transposed into panels and both products are the f32 kernel of the linear layers, or that of 16-bit codes.
#include "attention.h"
#include "sizes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace cpu {

using detail::AttentionCall;
using detail::FloatTiles;
using detail::Head;
using detail::Kernels;

namespace {

// Query rows of one task.
constexpr int max_task_rows = 192;

// Floats of a K tile: it and the V tile stay in the second-level cache.
constexpr int tile_floats = 16 * 1024;

struct Task {
    int sequence, first_query, n_queries, head;
};

// Query rows of one head.
struct Queries {
    const float * rows;
    int           first; // in the sequence
};

size_t whole_lines(size_t n_floats) { return aligned(n_floats * sizeof(float)) / sizeof(float); }

// Scratch of one thread.
struct Scratch {
    float * k;      // panels of keys: [tile / columns][head_dim][columns]
    float * v;      // panels of dimensions: [dim / columns][tile][columns]
    float * scores; // [float_rows][tile]
    float * sums;   // [max_queries][dim]
    float * max;    // [max_queries]
    float * total;  // [max_queries]

    static size_t n_floats(const AttentionCall & c) {
        return whole_lines(size_t(c.tile) * c.p.head_dim + size_t(c.tile) * c.dim + size_t(c.kernels.format.float_rows) * c.tile +
                           size_t(c.max_queries) * (c.dim + 2) + 16);
    }

    Scratch(const AttentionCall & c, float * memory) {
        k      = memory;
        v      = k + size_t(c.tile) * c.p.head_dim;
        scores = v + size_t(c.tile) * c.dim;
        sums   = scores + size_t(c.kernels.format.float_rows) * c.tile;
        max    = sums + size_t(c.max_queries) * c.dim;
        total  = max + c.max_queries;
    }
};

// The same for 16-bit codes, pairs of which are an int32: of neighbouring inputs in q and k, of neighbouring keys in v.
struct CodeScratch {
    int32_t * k;        // [tile / columns][head_dim / 2][columns]
    int32_t * k_rows;   // [tile][head_dim / 2], before they are turned over
    int32_t * v;        // [dim / columns][tile / 2][columns]
    int32_t * q;        // [float_rows][head_dim / 2]
    int32_t * weights;  // [float_rows][tile / 2]
    float *   k_scale;  // [tile]
    float *   v_scale;  // [dim]
    float *   q_scale;  // [float_rows], as the next
    float *   weights_scale;

    static size_t n_floats(const AttentionCall & c) {
        const size_t rows = size_t(c.kernels.format.float_rows);
        return whole_lines((size_t(c.tile) * (2 * c.p.head_dim + c.dim) + rows * (c.p.head_dim + c.tile)) / 2 + size_t(c.tile) + c.dim + 2 * rows + 16);
    }

    CodeScratch(const AttentionCall & c, float * memory) {
        const size_t rows = size_t(c.kernels.format.float_rows), half = size_t(c.p.head_dim) / 2;
        k             = reinterpret_cast<int32_t *>(memory);
        v             = k + c.tile * half;
        k_rows        = v + size_t(c.tile) / 2 * c.dim;
        q             = k_rows + c.tile * half;
        weights       = q + rows * half;
        k_scale       = reinterpret_cast<float *>(weights + rows * c.tile / 2);
        v_scale       = k_scale + c.tile;
        q_scale       = v_scale + c.dim;
        weights_scale = q_scale + rows;
    }
};

// Row in k and v of the key at a position.
int key_row(const AttentionSequence & s, int position) {
    return position < s.n_prefix ? s.prefix_begin + position : s.kv_begin + position - s.n_prefix;
}

// Keys [first, end) that the query at a position sees.
struct Visible {
    int first, end;

    Visible(const AttentionParams & p, const AttentionSequence & s, int position) {
        end   = s.n_prefix + s.n_kv;
        first = 0;
        if (p.causal) {
            end = std::min(end, position + 1);
            if (p.window > 0) {
                first = std::max(0, position - p.window + 1);
            }
        }
    }
};

// Calls fn(j, n, row) for runs of keys [j, j + n) of a tile that lie in neighbouring rows: a prefix may end within.
template <typename F> void for_runs(const AttentionSequence & s, int first, int n, const F & fn) {
    const int before = std::max(0, std::min(n, s.n_prefix - first));
    if (before > 0) {
        fn(0, before, size_t(key_row(s, first)));
    }
    if (before < n) {
        fn(before, n - before, size_t(key_row(s, first + before)));
    }
}

// Columns past the last key keep what they held: softmax reads only what a query sees.
void pack_k(const AttentionCall & c, const AttentionSequence & s, const float * k, int first, int n, float * to) {
    const int columns = c.kernels.format.float_columns;
    const int dim     = c.p.head_dim;
    for_runs(s, first, n, [&](int begin, int n_run, size_t row) {
        for (int j = begin; j < begin + n_run;) {
            const int n_keys = std::min(columns - j % columns, begin + n_run - j); // in this panel
            c.kernels.transpose(k + (row + j - begin) * c.p.k_stride, c.p.k_stride, n_keys, dim,
                                to + size_t(j / columns) * dim * columns + j % columns, size_t(columns));
            j += n_keys;
        }
    });
}

void pack_v(const AttentionCall & c, const AttentionSequence & s, const float * v, int first, int n, float * to) {
    const int columns = c.kernels.format.float_columns;
    for_runs(s, first, n, [&](int begin, int n_run, size_t row) {
        c.kernels.to_panels(v + row * c.p.v_stride, c.p.v_stride, n_run, c.p.head_dim, to + size_t(begin) * columns, size_t(c.tile) * columns);
    });
}

// Scores of queries against n keys become weights, in place; row i counts keys [begins[i], ends[i]).
void to_weights(const AttentionCall & c, const Scratch & scratch, int r, int n_rows, int n, const int * begins, const int * ends, float * rescale) {
    detail::Softmax softmax;
    softmax.scores   = scratch.scores;
    softmax.stride   = size_t(c.tile);
    softmax.n_rows   = n_rows;
    softmax.n        = round_up(n, 16);
    softmax.first    = begins;
    softmax.end      = ends;
    softmax.scale    = c.p.scale;
    softmax.soft_cap = c.p.soft_cap;
    softmax.near     = c.codes;
    softmax.max      = scratch.max + r;
    softmax.sum      = scratch.total + r;
    softmax.rescale  = rescale;
    c.kernels.softmax(softmax);
}

// One block of at most float_rows queries, from row `r` of the task, against the packed tile of n keys at `first`.
// The first tile of a task starts the sums.
void attend(const AttentionCall & c, const AttentionSequence & s, const Queries & queries, const Scratch & scratch, int r, int n_rows, int first, int n, bool is_first) {
    const detail::Format & f        = c.kernels.format;
    const int              position = s.q_position + queries.first + r;

    int begins[16], ends[16]; // of what each row sees in this tile; float_rows is at most 12
    int last = 0;
    for (int i = 0; i < n_rows; ++i) {
        const Visible seen(c.p, s, position + i);
        begins[i] = std::min(n, std::max(0, seen.first - first));
        ends[i]   = std::max(begins[i], std::min(n, seen.end - first));
        last      = std::max(last, ends[i]);
    }
    float * sums = scratch.sums + size_t(r) * c.dim;
    if (last == 0) {
        if (is_first) {
            std::fill(sums, sums + size_t(n_rows) * c.dim, 0.0f);
        }
        return;
    }

    FloatTiles qk;
    qk.x          = queries.rows + size_t(r) * c.p.q_stride;
    qk.x_row      = ptrdiff_t(c.p.q_stride);
    qk.x_k        = 1;
    qk.w          = scratch.k;
    qk.w_panel    = size_t(c.p.head_dim) * f.float_columns;
    qk.n_rows     = n_rows;
    qk.n_k        = c.p.head_dim;
    qk.n_panels   = ceil_div(last, f.float_columns);
    qk.accumulate = false;
    qk.y          = scratch.scores;
    qk.y_row      = size_t(c.tile);
    qk.y_panel    = size_t(f.float_columns);
    qk.next       = reinterpret_cast<const uint8_t *>(scratch.v); // which comes next
    qk.next_step  = 0;
    c.kernels.float_tiles(qk);

    float rescale[16];
    to_weights(c, scratch, r, n_rows, last, begins, ends, rescale);

    for (int i = 0; i < n_rows; ++i) {
        if (!is_first && rescale[i] != 1.0f) {
            c.kernels.scale_row(sums + size_t(i) * c.dim, c.dim, rescale[i]);
        }
    }

    FloatTiles pv;
    pv.x          = scratch.scores;
    pv.x_row      = c.tile;
    pv.x_k        = 1;
    pv.w          = scratch.v;
    pv.w_panel    = size_t(c.tile) * f.float_columns;
    pv.n_rows     = n_rows;
    pv.n_k        = last;
    pv.n_panels   = c.dim / f.float_columns;
    pv.accumulate = !is_first;
    pv.y          = sums;
    pv.y_row      = size_t(c.dim);
    pv.y_panel    = size_t(f.float_columns);
    pv.next       = qk.next;
    pv.next_step  = 0;
    c.kernels.float_tiles(pv);
}

// The largest code of a row, so that a sum of n products of codes fits an int32.
float largest_code(int n) { return std::min(32767.0f, std::floor(std::sqrt(2147483520.0f / float(n)))); }

int16_t * shorts(int32_t * pairs) { return reinterpret_cast<int16_t *>(pairs); }

// Keys and values [first, first + n) of a sequence as codes, with scales of this tile: one for the keys, one for each value's column.
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

// As attend(), in codes: every query sees all n keys.
void attend_codes(const AttentionCall & c, const Queries & queries, const Scratch & scratch, const CodeScratch & codes, int r, int n_rows, int n, bool is_first) {
    const detail::Format & f    = c.kernels.format;
    const int              half = c.p.head_dim / 2;
    const float            code_max = largest_code(c.p.head_dim);
    for (int i = 0; i < n_rows; ++i) {
        codes.q_scale[i] = c.kernels.pairs.rows(queries.rows + size_t(r + i) * c.p.q_stride, 0, 1, c.p.head_dim, code_max, shorts(codes.q + i * half));
    }
    detail::PairTiles qk;
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
    detail::PairTiles pv;
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

std::vector<Task> split(const AttentionParams & p, int rows) {
    std::vector<Task> tasks;
    for (int i = 0; i < p.n_sequences; ++i) {
        const int n_q = p.sequences[i].n_q;
        if (n_q <= 0) {
            continue;
        }
        const int n_parts  = ceil_div(n_q, max_task_rows / rows * rows);
        const int per_part = round_up(ceil_div(n_q, n_parts), rows);
        for (int head = 0; head < p.n_head; ++head) {
            for (int first = 0; first < n_q; first += per_part) {
                tasks.push_back({i, first, std::min(per_part, n_q - first), head});
            }
        }
    }
    return tasks;
}

} // namespace

detail::AttentionCall::AttentionCall(const AttentionParams & params, int max_queries)
    : p(params), kernels(active_kernels()), max_queries(max_queries),
      // A multiple of every panel width, and one size for all calls with this head size.
      tile(std::max(64, tile_floats / params.head_dim / 64 * 64)), dim(round_up(params.head_dim, kernels.format.float_columns)),
      // Values of a shared prefix lie elsewhere and would be scaled apart.
      codes(params.codes && kernels.pairs.tiles != nullptr && !params.causal && params.soft_cap == 0 &&
            std::none_of(params.sequences, params.sequences + params.n_sequences, [](const AttentionSequence & s) { return s.n_prefix > 0; })) {}

size_t detail::AttentionCall::scratch_floats() const {
    return Scratch::n_floats(*this) + (codes ? CodeScratch::n_floats(*this) : 0);
}

void detail::attend_head(const AttentionCall & c, const AttentionSequence & s, const Head & head, int first_query, int n_queries, float * memory) {
    const Scratch scratch(c, memory);
    const Queries queries = {head.q + size_t(s.q_begin + first_query) * c.p.q_stride, first_query};
    const int     rows    = c.kernels.format.float_rows;

    std::fill(scratch.max, scratch.max + n_queries, -std::numeric_limits<float>::infinity());
    std::fill(scratch.total, scratch.total + n_queries, 0.0f);

    // Tiles begin at multiples of their size, whichever queries look: a row is summed in the same order in any batch.
    const int first = Visible(c.p, s, s.q_position + first_query).first / c.tile * c.tile;
    const int end   = Visible(c.p, s, s.q_position + first_query + n_queries - 1).end;
    for (int key = first; key < end; key += c.tile) {
        const int n = std::min(c.tile, end - key);
        if (c.codes) {
            const CodeScratch codes(c, memory + Scratch::n_floats(c));
            pack_codes(c, s, head.k, head.v, key, n, codes);
            for (int r = 0; r < n_queries; r += rows) {
                attend_codes(c, queries, scratch, codes, r, std::min(rows, n_queries - r), n, key == first);
            }
            continue;
        }
        pack_k(c, s, head.k, key, n, scratch.k);
        pack_v(c, s, head.v, key, n, scratch.v);
        for (int r = 0; r < n_queries; r += rows) {
            attend(c, s, queries, scratch, r, std::min(rows, n_queries - r), key, n, key == first);
        }
    }
    if (first >= end) { // no key at all
        std::fill(scratch.sums, scratch.sums + size_t(n_queries) * c.dim, 0.0f);
    }

    for (int r = 0; r < n_queries; ++r) {
        const float inverse = scratch.total[r] > 0 ? 1.0f / scratch.total[r] : 0.0f;
        float *     to      = head.out + size_t(s.q_begin + first_query + r) * c.p.out_stride;
        c.kernels.scale_add(inverse, scratch.sums + size_t(r) * c.dim, nullptr, to, c.p.head_dim);
    }
}

void attention(ThreadPool & pool, const AttentionParams & params, const float * q, const float * k, const float * v, float * out,
               Workspace & workspace) {
    const AttentionCall     call(params, max_task_rows);
    const std::vector<Task> tasks    = split(params, call.kernels.format.float_rows);
    const size_t            n_floats = call.scratch_floats();
    auto *                  memory   = static_cast<float *>(workspace.reserve(n_floats * sizeof(float) * pool.n_threads()));

    pool.parallel_for(int(tasks.size()), [&](int i, int thread) {
        const Task & t       = tasks[i];
        const size_t column  = size_t(t.head) * params.head_dim;
        const size_t kv      = size_t(t.head / (params.n_head / params.n_head_kv)) * params.head_dim;
        detail::attend_head(call, params.sequences[t.sequence], {q + column, k + kv, v + kv, out + column}, t.first_query, t.n_queries,
                            memory + n_floats * thread);
    });
}

} // namespace cpu
