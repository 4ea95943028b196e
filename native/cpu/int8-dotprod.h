// int8 products by sdot: four signed products into each int32.
#pragma once

#include "kernels.h"
#include "vec-neon.h"

namespace cpu::detail {
namespace {

#ifdef CPU_FINE_BLOCKS
constexpr int block_size = 32; // inputs that share a scale
#else
constexpr int block_size = 64;
#endif
constexpr int block_rows = 3;
constexpr int row_rows   = 4;
constexpr int row_groups = 1;

constexpr Format format = {float_rows, lanes * panel_vectors, lanes * panel_vectors, /*group*/ 4, block_size, /*x_max*/ 127,
                           block_rows, /*block_offset*/ 0,    row_rows,              /*row_max*/ 127, /*row_offset*/ 0};

inline ivec dot(ivec sums, ivec w, ivec x) { return vdotq_s32(sums, vreinterpretq_s8_s32(w), vreinterpretq_s8_s32(x)); }

} // namespace
} // namespace cpu::detail
