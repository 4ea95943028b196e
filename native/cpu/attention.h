// Attention of one head of one sequence, for attention() and for what joins it with the layer before.
#pragma once

#include "cpu.h"
#include "kernels.h"

namespace cpu::detail {

// A call as its tasks see it. `p` has to live as long.
struct AttentionCall {
    const AttentionParams & p;
    const Kernels &         kernels;
    int                     max_queries; // of a task; they share the packing of K and V
    int                     tile;        // keys
    int                     dim;         // head_dim, padded to whole panels
    bool                    codes;

    AttentionCall(const AttentionParams & params, int max_queries);

    size_t scratch_floats() const; // of one thread, a multiple of 16
};

// Where a head begins in row 0.
struct Head {
    const float * q;
    const float * k;
    const float * v;
    float *       out;
    int           column; // in a row of relative positions
};

void attend_head(const AttentionCall & call, const AttentionSequence & sequence, const Head & head, int first_query, int n_queries, float * scratch);

} // namespace cpu::detail
