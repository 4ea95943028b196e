// Scratch of attention in 16-bit codes.
#pragma once

#include "attention-tiles.h"

namespace cpu::detail {

struct CodeScratch {
    float *   scores;  // [rows][tile]
    int32_t * weights; // [rows][tile / 2]
    float *   sums;    // [max_queries][dim]
    float *   max;     // [max_queries]
    float *   total;   // [max_queries]

    static size_t n_floats(const AttentionCall & c) { return whole_lines(size_t(c.rows) * c.tile / 2 * 3 + size_t(c.max_queries) * (c.dim + 2)); }

    CodeScratch(const AttentionCall & c, float * memory) {
        scores  = memory;
        weights = reinterpret_cast<int32_t *>(scores + size_t(c.rows) * c.tile);
        sums    = reinterpret_cast<float *>(weights + size_t(c.rows) * c.tile / 2);
        max     = sums + size_t(c.max_queries) * c.dim;
        total   = max + c.max_queries;
    }
};

} // namespace cpu::detail
