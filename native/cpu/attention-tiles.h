// What the two paths of attention share: a task's queries, its scratch memory, and the softmax of a tile.
#pragma once

#include "attention.h"
#include "sizes.h"

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

// Scores of queries against n keys become weights, in place; row i counts keys [begins[i], ends[i]).
void to_weights(const AttentionCall & c, const Scratch & scratch, int r, int n_rows, int n, const int * begins, const int * ends, float * rescale);

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

// Keys and values [first, first + n) of a sequence as codes, with scales of this tile: one for the keys, one for each value's column.
void pack_codes(const AttentionCall & c, const AttentionSequence & s, const float * k, const float * v, int first, int n, const CodeScratch & scratch);

// One block of at most float_rows queries, from row `r` of the task, against the packed tile: every query sees all n keys.
void attend_codes(const AttentionCall & c, const Queries & queries, const Scratch & scratch, const CodeScratch & codes, int r, int n_rows, int n, bool is_first);

} // namespace cpu::detail
