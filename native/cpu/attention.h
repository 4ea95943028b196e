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
    bool                    codes;
    int                     rows; // queries of a block
    int                     tile; // keys
    int                     dim;  // head_dim, padded to whole panels

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

// Queries, keys and values of neighbouring rows in 16-bit codes, pairs of which are an int32: of neighbouring inputs in queries and
// keys, of neighbouring rows in values. A row has one scale in each, so that what a query sees of a key depends on no other.
struct AttentionCodes {
    int32_t * q; // [queries][head_dim / 2]
    int32_t * k; // [keys / columns][head_dim / 2][columns]
    int32_t * v; // tiles of [dim / columns][v_pairs][columns]
    float *   q_scale, * k_scale, * v_scale; // [queries], [keys], [keys]
    int32_t * rows; // scratch for a panel of keys
    int       v_pairs;

    static size_t n_floats(const AttentionCall & call, int n_queries, int n_keys); // of memory, a multiple of 16

    AttentionCodes(const AttentionCall & call, int n_queries, int n_keys, float * memory);

    // Rows [first, first + from.n_rows), of which `from` says where they lie and what their bias is. first is a multiple of 32.
    void add_q(const AttentionCall & call, PairCodes from, int first) const;
    void add_k(const AttentionCall & call, const PairCodes & from, int first) const;
    void add_v(const AttentionCall & call, const PairCodes & from, int first) const;
};

// attend_head() from codes, and among all rows of a sequence whose codes are there.
void attend_head_in_codes(const AttentionCall & call, const AttentionSequence & sequence, const Head & head, int first_query, int n_queries, float * scratch);
void attend_rows_in_codes(const AttentionCall & call, const AttentionSequence & sequence, const AttentionCodes & codes, float * out, float * scratch);

} // namespace cpu::detail
