// attention(): tiles of keys against blocks of queries with a running softmax, so that no n x n matrix exists.
// A tile's K is transposed into panels and both products are the f32 kernel of the linear layers, or that of 16-bit codes.
#include "attention-tiles.h"
#include "relative.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

namespace cpu {

using detail::AttentionCall;
using detail::CodeScratch;
using detail::FloatTiles;
using detail::Head;
using detail::Queries;
using detail::RelativeScores;
using detail::Scratch;
using detail::key_row;
using detail::to_weights;

namespace {

// Query rows of one task.
constexpr int max_task_rows = 192;

// Floats of a K tile: it and the V tile stay in the second-level cache.
constexpr int tile_floats = 16 * 1024;

// The vectors that sums are taken by fit in it, and so do all panels.
constexpr int skipped_keys = 64;

struct Task {
    int sequence, first_query, n_queries, head;
};

// Keys [first, end) that the query at a position sees.
struct Visible {
    int first, end;

    Visible(const AttentionParams & p, const AttentionSequence & s, int position) {
        const int reach = p.window > 0 ? p.window - 1 : s.n_prefix + s.n_kv;
        first           = std::max(0, position - reach);
        end             = std::min(s.n_prefix + s.n_kv, position + (p.causal ? 0 : reach) + 1);
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

// One block of at most float_rows queries, from row `r` of the task, against the packed tile of n keys at `first`.
// The first tile of a task starts the sums.
void attend(const AttentionCall & c, const AttentionSequence & s, const Queries & queries, const Scratch & tile, const RelativeScores * relative, int r, int n_rows, int first,
            int n, bool is_first) {
    const detail::Format & f        = c.kernels.format;
    const int              position = s.q_position + queries.first + r;

    int begins[16], ends[16]; // of what each row sees in this tile; float_rows is at most 12
    int from = n, last = 0;
    for (int i = 0; i < n_rows; ++i) {
        const Visible seen(c.p, s, position + i);
        begins[i] = std::min(n, std::max(0, seen.first - first));
        ends[i]   = std::max(begins[i], std::min(n, seen.end - first));
        if (begins[i] < ends[i]) {
            from = std::min(from, begins[i]);
            last = std::max(last, ends[i]);
        }
    }
    float * sums = tile.sums + size_t(r) * c.dim;
    if (last == 0) {
        if (is_first) {
            std::fill(sums, sums + size_t(n_rows) * c.dim, 0.0f);
        }
        return;
    }

    // Keys before the first one that counts are left out, by steps that keep the order of the sums.
    from                  = from / skipped_keys * skipped_keys;
    const Scratch scratch = tile.after(from, c);
    last -= from;
    for (int i = 0; i < n_rows; ++i) {
        begins[i] = std::max(0, begins[i] - from);
        ends[i]   = std::max(0, ends[i] - from);
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
    if (relative != nullptr) {
        relative->add(c, qk.x, n_rows, position, from, last, scratch.scores);
    }

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
      codes(params.codes && kernels.pairs.tiles != nullptr && !params.causal && params.window == 0 && params.soft_cap == 0 && params.relative == nullptr &&
            params.head_dim % 8 == 0 &&
            std::none_of(params.sequences, params.sequences + params.n_sequences, [](const AttentionSequence & s) { return s.n_prefix > 0; })) {}

void detail::to_weights(const AttentionCall & c, const Scratch & scratch, int r, int n_rows, int n, const int * begins, const int * ends, float * rescale) {
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

size_t detail::AttentionCall::scratch_floats() const {
    return Scratch::n_floats(*this) + (codes ? CodeScratch::n_floats(*this) : 0) + (p.relative != nullptr ? RelativeScores::n_floats(*this) : 0);
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
    const AttentionCall     call(params, max_task_rows);
    const std::vector<Task> tasks    = split(params, call.kernels.format.float_rows);
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
