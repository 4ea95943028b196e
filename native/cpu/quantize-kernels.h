// The quantisation of activations, written once on the vector layer.
#pragma once

#include "kernels.h"

namespace cpu::detail {
namespace {

constexpr int vectors_of_block = block_size / lanes;

// 32 values at `first`; what lies past the end of the row is zero.
void load_block(const Quantize & q, int first, vec * x) {
    for (int i = 0; i < vectors_of_block; ++i) {
        const int at   = first + i * lanes;
        const int left = q.n - at;
        x[i]           = left >= lanes ? load(q.x + at) : left > 0 ? load_first(q.x + at, left) : set(0);
    }
}

float block_largest(const vec * x) {
    vec m = abs(x[0]);
    for (int i = 1; i < vectors_of_block; ++i) {
        m = max(m, abs(x[i]));
    }
    return largest(m);
}

// Places 32 codes at input `first` of the row. Returns their sum.
int32_t place_block(const Quantize & q, int first, const vec * x, float inverse) {
    constexpr int group = format.group;
    int8_t        codes[block_size];
    const int32_t total = to_codes(x, inverse, codes);
    int8_t *      to    = q.codes + size_t(first) * q.rows;
    for (int g = 0; g < block_size / group; ++g, to += q.rows * group) {
        memcpy(to, codes + g * group, group);
    }
    return total;
}

float inverse_scale(float largest) { return largest > 0 ? float(format.x_max) / largest : 0.0f; }

void quantize_blocks(const Quantize & q) {
    for (int first = 0, b = 0; first < q.n; first += block_size, ++b) {
        vec x[vectors_of_block];
        load_block(q, first, x);
        const float m             = block_largest(x);
        q.scale[b * q.rows]       = m / float(format.x_max);
        q.sum[b * q.rows]         = -q.offset * place_block(q, first, x, inverse_scale(m));
    }
}

void quantize_row(const Quantize & q) {
    vec   x[vectors_of_block];
    float m = 0;
    for (int first = 0; first < q.n; first += block_size) {
        load_block(q, first, x);
        const float of_block = block_largest(x);
        m                    = of_block > m ? of_block : m;
    }
    int32_t total = 0;
    for (int first = 0; first < q.n; first += block_size) {
        load_block(q, first, x);
        total += place_block(q, first, x, inverse_scale(m));
    }
    *q.scale = m / float(format.x_max);
    *q.sum   = -q.offset * total;
}

} // namespace
} // namespace cpu::detail
