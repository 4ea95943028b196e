// The part of a tile's scores that comes from how far query and key stand apart.
#pragma once

#include "attention.h"

namespace cpu::detail {

// Of one task's queries and one tile of keys. Products are taken only with the rows that distances between them name.
class RelativeScores {
public:
    static size_t n_floats(const AttentionCall & c); // of scratch memory

    RelativeScores(const AttentionCall & c, const AttentionSequence & s, const Head & head, int first_position, int n_queries, int first_key, int n_keys, float * memory);

    // Adds to the scores of queries q, the first at `position`, against keys [from, from + n) of the tile.
    void add(const AttentionCall & c, const float * q, int n_rows, int position, int from, int n, float * scores) const;

private:
    void pack(const AttentionCall & c, const float * rows, size_t stride, float * to) const;
    int  row_of(const AttentionCall & c, int distance) const { return c.p.relative->row[distance + c.p.relative->max_distance]; }

    int     first_key_, first_row_, n_rows_, width_; // width: rows rounded up to whole panels
    float * k_panels_; // [width / columns][head_dim][columns]
    float * q_panels_;
    float * of_keys_;    // [tile][width]: key · q_row
    float * of_queries_; // [float_rows][width]: query · k_row
};

} // namespace cpu::detail
