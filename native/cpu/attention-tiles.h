// What the parts of attention share: which keys a query sees, a task's queries and its scratch memory.
#pragma once

#include "attention.h"
#include "sizes.h"

#include <algorithm>

namespace cpu::detail {

// Query rows of one head.
struct Queries {
    const float * rows;
    int           first; // in the sequence
};

inline size_t whole_lines(size_t n_floats) { return aligned(n_floats * sizeof(float)) / sizeof(float); }

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

    // The same without the first n keys of the tile, whole panels of them.
    Scratch after(int n, const AttentionCall & c) const {
        Scratch out = *this;
        out.k += size_t(n) * c.p.head_dim;
        out.v += size_t(n) * c.kernels.format.float_columns;
        out.scores += n;
        return out;
    }
};

// Row in k and v of the key at a position.
inline int key_row(const AttentionSequence & s, int position) {
    return position < s.n_prefix ? s.prefix_begin + position : s.kv_begin + position - s.n_prefix;
}

// Keys [first, end) that the query at a position sees.
struct Visible {
    int first, end;

    Visible(const AttentionParams & p, const AttentionSequence & s, int position) {
        const int reach = p.window > 0 ? p.window - 1 : s.n_prefix + s.n_kv;
        first           = std::max(0, position - reach);
        end             = std::min(s.n_prefix + s.n_kv, position + (p.causal ? 0 : reach) + 1);
    }
};

// The vectors that sums are taken by fit in it, and so do all panels.
constexpr int skipped_keys = 64;

// What each of a block's rows sees of the n keys of a tile: [begins[i], ends[i]) of the `n` keys from `from` on. Those before are
// left out, by steps that keep the order of the sums. n is 0 where nobody sees any.
struct BlockView {
    int begins[16], ends[16]; // a block has at most so many rows
    int from, n;

    BlockView(const AttentionCall & c, const AttentionSequence & s, int position, int n_rows, int first_key, int n_keys) : from(n_keys), n(0) {
        for (int i = 0; i < n_rows; ++i) {
            const Visible seen(c.p, s, position + i);
            begins[i] = std::min(n_keys, std::max(0, seen.first - first_key));
            ends[i]   = std::max(begins[i], std::min(n_keys, seen.end - first_key));
            if (begins[i] < ends[i]) {
                from = std::min(from, begins[i]);
                n    = std::max(n, ends[i]);
            }
        }
        if (n == 0) {
            return;
        }
        from = from / skipped_keys * skipped_keys;
        n -= from;
        for (int i = 0; i < n_rows; ++i) {
            begins[i] = std::max(0, begins[i] - from);
            ends[i]   = std::max(0, ends[i] - from);
        }
    }
};

} // namespace cpu::detail
