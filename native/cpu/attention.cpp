// attention(): tiles of keys against blocks of queries with a running softmax, so that no n x n matrix exists.
// A tile's K is transposed into panels and both products are the f32 kernel of the linear layers, or that of 16-bit codes.
#include "attention-codes.h"
#include "attention-tiles.h"
#include "relative.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

namespace cpu {

using detail::AttentionCall;
using detail::AttentionCodes;
using detail::BlockView;
using detail::FloatTiles;
using detail::Head;
using detail::Queries;
using detail::RelativeScores;
using detail::Scratch;
using detail::key_row;
using detail::Visible;

namespace {

// Query rows of one task, and of one in codes with heads so small that they fit the second-level cache.
constexpr int max_task_rows = 192, max_code_task_rows = 384, max_code_task_values = 48 * 1024;

// Floats of a K tile: it and the V tile stay in the second-level cache.
constexpr int tile_floats = 16 * 1024;

// The same of codes. A block's scores should not take all of the first-level cache.
constexpr int code_tile_values = 32 * 1024, max_code_tile = 512;

struct Task {
    int sequence, first_query, n_queries, head;
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

// One block of at most float_rows queries, from row `r` of the task, against the packed tile of n keys at `first`.
// The first tile of a task starts the sums.
void attend(const AttentionCall & c, const AttentionSequence & s, const Queries & queries, const Scratch & tile, const RelativeScores * relative, int r, int n_rows, int first,
            int n, bool is_first) {
    const detail::Format & f        = c.kernels.format;
    const int              position = s.q_position + queries.first + r;

    const BlockView seen(c, s, position, n_rows, first, n);
    float *         sums = tile.sums + size_t(r) * c.dim;
    if (seen.n == 0) {
        if (is_first) {
            std::fill(sums, sums + size_t(n_rows) * c.dim, 0.0f);
        }
        return;
    }
    const Scratch scratch = tile.after(seen.from, c);

    FloatTiles qk;
    qk.x          = queries.rows + size_t(r) * c.p.q_stride;
    qk.x_row      = ptrdiff_t(c.p.q_stride);
    qk.x_k        = 1;
    qk.w          = scratch.k;
    qk.w_panel    = size_t(c.p.head_dim) * f.float_columns;
    qk.n_rows     = n_rows;
    qk.n_k        = c.p.head_dim;
    qk.n_panels   = ceil_div(seen.n, f.float_columns);
    qk.accumulate = false;
    qk.y          = scratch.scores;
    qk.y_row      = size_t(c.tile);
    qk.y_panel    = size_t(f.float_columns);
    qk.next       = reinterpret_cast<const uint8_t *>(scratch.v); // which comes next
    qk.next_step  = 0;
    c.kernels.float_tiles(qk);
    if (relative != nullptr) {
        relative->add(c, qk.x, n_rows, position, seen.from, seen.n, scratch.scores);
    }

    float rescale[16];
    detail::Softmax softmax;
    softmax.scores   = scratch.scores;
    softmax.stride   = size_t(c.tile);
    softmax.n_rows   = n_rows;
    softmax.n        = round_up(seen.n, 16);
    softmax.first    = seen.begins;
    softmax.end      = seen.ends;
    softmax.scale    = c.p.scale;
    softmax.soft_cap = c.p.soft_cap;
    softmax.max      = scratch.max + r;
    softmax.sum      = scratch.total + r;
    softmax.rescale  = rescale;
    c.kernels.softmax(softmax);

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
    pv.n_k        = seen.n;
    pv.n_panels   = c.dim / f.float_columns;
    pv.accumulate = !is_first;
    pv.y          = sums;
    pv.y_row      = size_t(c.dim);
    pv.y_panel    = size_t(f.float_columns);
    pv.next       = qk.next;
    pv.next_step  = 0;
    c.kernels.float_tiles(pv);
}

int task_rows(const AttentionParams & p) { return p.codes ? std::max(max_task_rows, std::min(max_code_task_rows, max_code_task_values / p.head_dim)) : max_task_rows; }

std::vector<Task> split(const AttentionParams & p, int max_rows, int rows) {
    std::vector<Task> tasks;
    for (int i = 0; i < p.n_sequences; ++i) {
        const int n_q = p.sequences[i].n_q;
        if (n_q <= 0) {
            continue;
        }
        const int n_parts  = ceil_div(n_q, max_rows / rows * rows);
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
      codes(params.codes && kernels.pairs.tiles != nullptr && params.relative == nullptr && params.head_dim % 8 == 0),
      rows(codes ? kernels.pairs.max_rows : kernels.format.float_rows),
      // A multiple of every panel width, and one size for all calls with this head size.
      tile(std::max(64, (codes ? std::min(code_tile_values / params.head_dim, max_code_tile) : tile_floats / params.head_dim) / 64 * 64)),
      dim(round_up(params.head_dim, kernels.format.float_columns)) {}

size_t detail::AttentionCall::scratch_floats() const {
    return codes ? CodeScratch::n_floats(*this) + AttentionCodes::n_floats(*this, max_queries, tile)
                 : Scratch::n_floats(*this) + (p.relative != nullptr ? RelativeScores::n_floats(*this) : 0);
}

void detail::attend_head(const AttentionCall & c, const AttentionSequence & s, const Head & head, int first_query, int n_queries, float * memory) {
    if (c.codes) {
        return attend_head_in_codes(c, s, head, first_query, n_queries, memory);
    }
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
        pack_k(c, s, head.k, key, n, scratch.k);
        pack_v(c, s, head.v, key, n, scratch.v);
        std::optional<RelativeScores> relative;
        if (c.p.relative != nullptr) {
            relative.emplace(c, s, head, s.q_position + first_query, n_queries, key, n, memory + Scratch::n_floats(c));
        }
        for (int r = 0; r < n_queries; r += rows) {
            attend(c, s, queries, scratch, relative ? &*relative : nullptr, r, std::min(rows, n_queries - r), key, n, key == first);
        }
    }
    if (first >= end) { // no key at all
        std::fill(scratch.sums, scratch.sums + size_t(n_queries) * c.dim, 0.0f);
    }

    for (int r = 0; r < n_queries; ++r) {
        const float inverse = scratch.total[r] == 0 ? 0.0f : 1.0f / scratch.total[r];
        float *     to      = head.out + size_t(s.q_begin + first_query + r) * c.p.out_stride;
        c.kernels.scale_add(inverse, scratch.sums + size_t(r) * c.dim, nullptr, to, c.p.head_dim);
    }
}

void attention(ThreadPool & pool, const AttentionParams & params, const float * q, const float * k, const float * v, float * out,
               Workspace & workspace) {
    const AttentionCall     call(params, task_rows(params));
    const std::vector<Task> tasks    = split(params, call.max_queries, call.rows);
    const size_t            n_floats = call.scratch_floats();
    auto *                  memory   = static_cast<float *>(workspace.reserve(n_floats * sizeof(float) * pool.n_threads()));

    pool.parallel_for(int(tasks.size()), [&](int i, int thread) {
        const Task & t       = tasks[i];
        const size_t column  = size_t(t.head) * params.head_dim;
        const size_t kv      = size_t(t.head / (params.n_head / params.n_head_kv)) * params.head_dim;
        detail::attend_head(call, params.sequences[t.sequence], {q + column, k + kv, v + kv, out + column, int(column)}, t.first_query, t.n_queries,
                            memory + n_floats * thread);
    });
}

} // namespace cpu
