// int8 products without VNNI. vpmaddubsw adds two products in 16 bits and saturates: weights are full 8 bits, stored + 128,
// and codes of activations such that those of two neighbours add up to +-128 at most, 255 * 128 = 32640. The multiplier of
// vpmaddwd, which would be 1 only to add pairs, is the scale of eight inputs within their block: see quantize-multiplied.h.
// With a scale per row codes of activations reach +-64 and weights +-63, stored + 64: then four products fit, 4 * 127 * 64 = 32512,
// and two vpmaddubsw share one vpmaddwd. Multiplies are what this chip runs out of.
#pragma once

#include "kernels.h"
#include "vec-avx2.h"

namespace cpu::detail {
namespace {

constexpr int block_size = 32; // inputs that share a scale
constexpr int block_rows = 3; // sums of 3 rows x 2 vectors in int32 and in f32 fill the 16 registers
constexpr int row_rows   = 4;
constexpr int row_groups = 2; // that dot_small() takes

constexpr Format format = {float_rows, lanes * panel_vectors, lanes * panel_vectors, /*group*/ 4, block_size, /*x_max*/ 64,
                           block_rows, /*block_offset*/ 128,  row_rows,              /*row_max*/ 63, /*row_offset*/ 64,
                           /*scale_bits*/ 23, /*sum_start*/ 0,    /*multipliers*/ 2};

inline ivec dot_multiplied(ivec sums, ivec w, ivec x, ivec multipliers) {
    return _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(w, x), multipliers));
}

// Two groups at once, for codes of the row mode only.
inline ivec dot_small(ivec sums, ivec w0, ivec x0, ivec w1, ivec x1) {
    const ivec pairs = _mm256_add_epi16(_mm256_maddubs_epi16(w0, x0), _mm256_maddubs_epi16(w1, x1));
    return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// Two products of 16-bit codes to a lane.
inline ivec dot_pairs(ivec sums, ivec w, ivec x) { return _mm256_add_epi32(sums, _mm256_madd_epi16(w, x)); }

} // namespace
} // namespace cpu::detail
