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

// To the nearest, ties to even; subnormal numbers become 0, as in the chips that multiply bf16.
inline uint16_t float_to_bf16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    const uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) {
        return uint16_t(bits >> 16 | 0x40);
    }
    return magnitude < 0x00800000 ? uint16_t(bits >> 16 & 0x8000) : uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

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

// Rounded to the nearest, ties to even; too large becomes infinity.
inline uint16_t float_to_f16(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    const uint16_t sign      = uint16_t(bits >> 16 & 0x8000);
    const uint32_t magnitude = bits & 0x7fffffff;
    if (magnitude >= 0x7f800000) {
        return uint16_t(sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00));
    }
    if (magnitude < 0x38800000) { // subnormal: adding 0.5 leaves steps of 2^-24 in the low bits
        const float shifted = float_from_bits(magnitude) + 0.5f;
        uint32_t    of_shifted;
        memcpy(&of_shifted, &shifted, sizeof(of_shifted));
        return uint16_t(sign | (of_shifted - 0x3f000000));
    }
    const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return rounded >= 0x47800000 ? uint16_t(sign | 0x7c00) : uint16_t(sign | (rounded - 0x38000000) >> 13);
}

} // namespace
