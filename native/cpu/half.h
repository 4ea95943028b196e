// 16-bit floats to f32, bit by bit. For packing and for the scalar kernels; the vector kernels have instructions.
#pragma once

#include <stdint.h>
#include <string.h>

namespace { // every including file gets its own copy: some are compiled with flags that others must not run

inline float float_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

inline float bf16_to_float(uint16_t half) { return float_from_bits(uint32_t(half) << 16); }

inline float f16_to_float(uint16_t half) {
    const uint32_t sign     = uint32_t(half & 0x8000) << 16;
    const uint32_t exponent = half >> 10 & 0x1f;
    const uint32_t fraction = half & 0x3ff;
    if (exponent == 0) { // zero and subnormals count in steps of 2^-24
        const float magnitude = float(fraction) * 5.9604644775390625e-8f;
        return sign != 0 ? -magnitude : magnitude;
    }
    if (exponent == 0x1f) {
        return float_from_bits(sign | 0x7f800000 | fraction << 13);
    }
    return float_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

} // namespace
