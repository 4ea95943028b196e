// The quantisation of activations, written once on the vector layer.
#pragma once

#include "kernels.h"

namespace cpu::detail {
namespace {

constexpr int vectors_of_block = block_size / lanes;

inline int n_blocks_of(const Quantize & q) { return (q.n + block_size - 1) / block_size; }

// A block of values at `first` of a row; what lies past its end is zero.
inline void load_block(const Quantize & q, const float * row, int first, vec * x) {
    for (int i = 0; i < vectors_of_block; ++i) {
        const int at   = first + i * lanes;
        const int left = q.n - at;
        x[i]           = left >= lanes ? load(row + at) : left > 0 ? load_first(row + at, left) : set(0);
    }
}

// The larger of two values that are not negative. As integers: NaN is then the largest of all and is not lost.
inline vec larger(vec a, vec b) { return as_float(max_int(as_int(a), as_int(b))); }

inline vec block_largest(const vec * x) {
    vec m = abs(x[0]);
    for (int i = 1; i < vectors_of_block; ++i) {
        m = larger(m, abs(x[i]));
    }
    return m;
}

inline float largest_lane(vec v) {
    int32_t bits[lanes], top = 0;
    memcpy(bits, &v, sizeof(bits));
    for (int32_t b : bits) {
        top = b > top ? b : top;
    }
    float value;
    memcpy(&value, &top, sizeof(value));
    return value;
}

// Scales of blocks whose largest values are `top`, and what the values are multiplied with. Where scales keep few bits they
// are rounded up. Then they are added to exponents too, so that what is out of reach counts as nothing.
constexpr bool few_bits = format.scale_bits < 23;

struct Scales {
    vec scale, inverse;
};

inline vec inverse_scale(vec largest) { return where_less(set(0), largest, div(set(float(format.x_max)), largest), set(0)); }

inline Scales scales_of(vec top) {
    const vec scale = div(top, set(float(format.x_max)));
    if (!few_bits) {
        return {scale, inverse_scale(top)};
    }
    constexpr int32_t below   = (1 << (23 - format.scale_bits)) - 1;
    const vec         rounded = as_float(and_int(add_int(as_int(scale), set_int(below)), set_int(~below)));
    auto              within  = [&](vec yes, vec no) { return where_less(set(1.0f / reach), top, where_less(top, set(reach), yes, no), no); };
    return {within(rounded, set(1.0f)), within(div(set(1.0f), rounded), set(0))};
}

// start - offset * total. What is not finite gives any code, and then this wraps; the scale tells.
inline int32_t less_offset(int32_t start, int offset, uint32_t total) { return int32_t(uint32_t(start) - uint32_t(offset) * total); }

// What sums start from: NaN for a block with NaN, infinities or values out of reach, whose scale does not tell.
inline int32_t first_sum(const Quantize & q, int32_t total, float top) {
    return few_bits && !(top < reach) ? 0x7fc00000 : less_offset(format.sum_start, q.offset, uint32_t(total));
}

// Codes of a block of values, to_codes() makes 32 at a time. Returns what adds up to their sum.
inline ivec block_codes(const vec * x, float inverse, int8_t * codes) {
    ivec sums = to_codes(x, inverse, codes);
    for (int i = 32; i < block_size; i += 32) {
        sums = add_int(sums, to_codes(x + i / lanes, inverse, codes + i));
    }
    return sums;
}

// The same to their place in a block of `rows` rows.
inline ivec place_block(const vec * x, float inverse, int8_t * to, int rows) {
    constexpr int group = x_group(format);
    if constexpr (group == block_size) {
        return block_codes(x, inverse, to);
    }
    int8_t     codes[block_size];
    const ivec sums = block_codes(x, inverse, codes);
    for (int g = 0; g < block_size / group; ++g) {
        memcpy(to + size_t(g) * rows * group, codes + g * group, group);
    }
    return sums;
}

// The sum of the lanes of each of `lanes` vectors, in their order.
inline ivec sums_of(vec * sums) {
    transpose(sums);
    ivec total = as_int(sums[0]);
    for (int i = 1; i < lanes; ++i) {
        total = add_int(total, as_int(sums[i]));
    }
    return total;
}

// A block of a row, and where its codes and its scale go.
struct Place {
    const float * x; // the row
    int           first;
    int8_t *      codes;
    size_t        scale;
};

// The blocks of all rows in turn.
struct Places {
    const Quantize & q;
    const int        n_blocks = n_blocks_of(q);
    int              row = 0, block = 0;
    Place            next = {q.x, 0, q.codes, 0};

    explicit Places(const Quantize & quantize) : q(quantize) {}

    bool any() const { return row < q.n_rows; }

    Place take() {
        const Place place = next;
        next.first += block_size;
        next.codes += size_t(x_bytes(format)) * q.rows;
        next.scale += size_t(q.rows);
        if (++block == n_blocks) { // on to the next row
            block = 0;
            ++row;
            const size_t at = size_t(row / q.rows), in_block = size_t(row % q.rows);
            next = {q.x + row * q.x_stride, 0, q.codes + at * q.block_codes + in_block * (x_group(format) + 4 * format.multipliers), at * q.block_scales + in_block};
        }
        return place;
    }
};

// `lanes` blocks at a time, whichever rows they belong to: then scales and sums are vectors too.
void quantize_blocks(const Quantize & q) {
    const int rows = q.rows;
    Places    all(q);
    while (all.any()) {
        Place places[lanes];
        vec   x[vectors_of_block], largest[lanes];
        int   n = 0;
        for (; n < lanes && all.any(); ++n) {
            places[n] = all.take();
            load_block(q, places[n].x, places[n].first, x);
            largest[n] = block_largest(x);
        }
        for (int i = n; i < lanes; ++i) {
            largest[i] = set(0);
        }
        transpose(largest);
        vec top = largest[0];
        for (int i = 1; i < lanes; ++i) {
            top = larger(top, largest[i]);
        }
        const Scales of_top = scales_of(top);
        float        scales[lanes], inverses[lanes], tops[lanes];
        int32_t      totals[lanes];
        store(scales, of_top.scale);
        store(inverses, of_top.inverse);
        store(tops, top);

        vec sums[lanes];
        for (int i = 0; i < lanes; ++i) {
            sums[i] = set(0);
            if (i < n) {
                load_block(q, places[i].x, places[i].first, x);
                sums[i] = as_float(place_block(x, inverses[i], places[i].codes, rows));
            }
        }
        const ivec total = sums_of(sums);
        memcpy(totals, &total, sizeof(totals));
        for (int i = 0; i < n; ++i) {
            q.scale[places[i].scale] = scales[i];
            q.sum[places[i].scale]   = first_sum(q, totals[i], tops[i]);
        }
    }
}

void quantize_rows(const Quantize & q) {
    const int n_blocks = n_blocks_of(q);
    for (int row = 0; row < q.n_rows; ++row) {
        const float * from  = q.x + row * q.x_stride;
        const size_t  at    = size_t(row / q.rows);
        int8_t *      codes = q.codes + at * q.block_codes + row % q.rows * x_group(format);

        vec x[vectors_of_block], tops = set(0);
        for (int b = 0; b < n_blocks; ++b) {
            load_block(q, from, b * block_size, x);
            tops = larger(tops, block_largest(x));
        }
        const float top     = largest_lane(tops);
        const float inverse = top > 0 ? float(format.x_max) / top : 0.0f;

        ivec sums = set_int(0);
        for (int b = 0; b < n_blocks; ++b, codes += block_size * q.rows) {
            load_block(q, from, b * block_size, x);
            sums = add_int(sums, place_block(x, inverse, codes, q.rows));
        }
        uint32_t lanes_of[lanes], total = 0;
        memcpy(lanes_of, &sums, sizeof(lanes_of));
        for (uint32_t s : lanes_of) {
            total += s;
        }
        q.scale[at * q.block_scales + row % q.rows] = top / float(format.x_max);
        q.sum[at * q.block_scales + row % q.rows]   = less_offset(0, q.offset, total);
    }
}

} // namespace
} // namespace cpu::detail
