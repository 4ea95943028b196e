// int8 products of signed codes on any 64-bit ARM. Two products of codes up to 127 fit in 16 bits, so pairs are added
// there before they widen.
#pragma once

#include "kernels.h"
#include "vec-neon.h"

namespace cpu::detail {
namespace {

constexpr int block_size = 32; // inputs that share a scale
constexpr int block_rows = 3;
constexpr int row_rows   = 4;
constexpr int row_groups = 1;

constexpr Format format = {float_rows, lanes * panel_vectors, lanes * panel_vectors, /*group*/ 4, block_size, /*x_max*/ 127,
                           block_rows, /*block_offset*/ 0,    row_rows,              /*row_max*/ 127, /*row_offset*/ 0};

inline ivec dot(ivec sums, ivec w, ivec x) {
    const int8x16_t a = vreinterpretq_s8_s32(w), b = vreinterpretq_s8_s32(x);
    return vpadalq_s16(sums, vpaddq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)), vmull_high_s8(a, b)));
}


} // namespace
} // namespace cpu::detail
