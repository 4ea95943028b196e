// The quantisation of activations for chips whose 8-bit products meet in 16 bits, two and two: see int8-avx2.h.
//
// Codes of neighbours may add up to 128 of one sign. So it is not the largest value that decides how fine the codes are, but the
// largest sum of two neighbours, which is some 1.3 times as large. In return eight inputs have a step of their own: a whole
// number of the block's smallest, which the sums of pairs are multiplied with before they meet the rest. Of a group of four inputs the lower half of a
// multiplier word is for the first two and the upper half for the others, and each word is for half of the block.
#pragma once

#include "quantize-kernels.h"

namespace cpu::detail {
namespace {

constexpr int vectors_of_half = vectors_of_block / 2;

// The largest value or sum of neighbours, in each place of 128 bits for the pairs there.
inline vec largest_of_pairs(const vec * x) {
    vec top = set(0);
    for (int i = 0; i < vectors_of_half; ++i) {
        top = larger(top, larger(abs(x[i]), abs(add(x[i], swap_pairs(x[i])))));
    }
    return largest_of_fours(larger(top, swap_pairs(top)));
}

// Writes codes and multipliers, and the scale. The lanes of what it returns add up to the sum of codes times multipliers.
inline ivec multiplied_block(const vec * x, int8_t * codes, float * scale_of_block) {
    const vec tops  = join_halves(largest_of_pairs(x), largest_of_pairs(x + vectors_of_half));
    const vec most  = largest_of_fours(tops);
    const vec top   = larger(most, swap_twos(most));
    const vec scale = div(top, set(float(multiplied_max * multiplier_max)));

    // Rounded up, so that no code is too large; NaN becomes any number, and the scale tells.
    const vec share      = mul(tops, div(set(float(multiplier_max)), top));
    const vec multiplier = max(min(round(add(share, set(0.5f))), set(float(multiplier_max))), set(1.0f));
    const vec inverse    = where_less(set(0), top, div(set(1.0f), mul(scale, multiplier)), set(0));

    ivec rounded[vectors_of_block], sums = set_int(0);
    for (int i = 0; i < vectors_of_block; ++i) {
        const bool is_low = i < vectors_of_half;
        rounded[i]        = to_int(mul(x[i], is_low ? lowest_four(inverse) : highest_four(inverse)));
        sums              = dot_pairs(sums, rounded[i], to_int(is_low ? lowest_four(multiplier) : highest_four(multiplier)));
    }
    store_codes(codes, rounded);

    int32_t    words[lanes];
    const ivec both = pair_up(multiplier, swap_twos(multiplier));
    memcpy(words, &both, sizeof(words));
    memcpy(codes + block_size, words, sizeof(words[0]));
    memcpy(codes + block_size + 4, words + lanes / 2, sizeof(words[0]));
    float scales[lanes];
    store(scales, scale);
    *scale_of_block = scales[0];
    return sums;
}

void quantize_multiplied(const Quantize & q) {
    static_assert(format.multipliers == 2 && format.scale_bits == 23, "a word for each half of a block");
    Places all(q);
    while (all.any()) {
        Place places[lanes];
        vec   sums[lanes];
        for (int i = 0; i < lanes; ++i) {
            sums[i] = set(0);
        }
        int n = 0;
        for (; n < lanes && all.any(); ++n) {
            places[n] = all.take();
            vec x[vectors_of_block];
            load_block(q, places[n].x, places[n].first, x);
            sums[n] = as_float(multiplied_block(x, places[n].codes, &q.scale[places[n].scale]));
        }
        int32_t    totals[lanes];
        const ivec total = sums_of(sums);
        memcpy(totals, &total, sizeof(totals));
        for (int i = 0; i < n; ++i) {
            q.sum[places[i].scale] = less_offset(0, q.offset, uint32_t(totals[i]));
        }
    }
}

} // namespace
} // namespace cpu::detail
