// int8 products on AVX-512 without VNNI: as int8-avx2.h, twice as wide.
#pragma once

#include "kernels.h"
#include "vec-avx512.h"

namespace cpu::detail {
namespace {

constexpr int block_size = 32; // inputs that share a scale
constexpr int block_rows = 6;
constexpr int row_rows   = 8;
constexpr int row_groups = 2; // that dot_small() takes

constexpr Format format = {float_rows, lanes * panel_vectors, lanes * panel_vectors, /*group*/ 4, block_size, /*x_max*/ 64,
                           block_rows, /*block_offset*/ 128,  row_rows,              /*row_max*/ 63, /*row_offset*/ 64,
                           /*scale_bits*/ 23, /*sum_start*/ 0,    /*multipliers*/ 2};

inline ivec dot_multiplied(ivec sums, ivec w, ivec x, ivec multipliers) {
    return _mm512_add_epi32(sums, _mm512_madd_epi16(_mm512_maddubs_epi16(w, x), multipliers));
}

inline ivec dot_small(ivec sums, ivec w0, ivec x0, ivec w1, ivec x1) {
    const ivec pairs = _mm512_add_epi16(_mm512_maddubs_epi16(w0, x0), _mm512_maddubs_epi16(w1, x1));
    return _mm512_add_epi32(sums, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

// Two products of 16-bit codes to a lane.
inline ivec dot_pairs(ivec sums, ivec w, ivec x) { return _mm512_add_epi32(sums, _mm512_madd_epi16(w, x)); }

} // namespace
} // namespace cpu::detail
