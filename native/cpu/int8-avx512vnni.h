// int8 products by vpdpbusd: four exact products of unsigned weights (stored + 128) and signed activations.
#pragma once

#include "kernels.h"
#include "vec-avx512.h"

namespace cpu::detail {
namespace {

#ifdef CPU_FINE_BLOCKS
constexpr int block_size = 32; // inputs that share a scale
#else
constexpr int block_size = 64;
#endif
constexpr int block_rows = 6;
constexpr int row_rows   = 8;
constexpr int row_groups = 1;

constexpr Format format = {float_rows, lanes * panel_vectors, lanes * panel_vectors, /*group*/ 4, block_size, /*x_max*/ 127,
                           block_rows, /*block_offset*/ 128,  row_rows,              /*row_max*/ 127, /*row_offset*/ 128,
#ifdef CPU_FINE_BLOCKS
                           /*scale_bits*/ 23, /*sum_start*/ 0};
#else
                           /*scale_bits*/ 2, /*sum_start*/ 0x4b400000};
#endif

inline ivec dot(ivec sums, ivec w, ivec x) { return _mm512_dpbusd_epi32(sums, w, x); }

// Two products of 16-bit codes to a lane.
inline ivec dot_pairs(ivec sums, ivec w, ivec x) { return _mm512_dpwssd_epi32(sums, w, x); }

} // namespace
} // namespace cpu::detail
