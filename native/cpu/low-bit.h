// Weights of 4 to 6 bits, as the model file's types have them and as panels keep them. unpack-kernels.h turns a panel into int8
// codes, the same that int8_block panels hold, when its products are due.
#pragma once

#include "cpu.h"
#include "kernels.h"

namespace cpu::detail {

// How the weights of a source come about; kind `none` for types that do not stay as they are.
LowBit low_bit_of(const WeightSource & source);

// Codes of n values that share a scale, in [-code_max, code_max]. Returns the scale, which is NaN when a value is not finite.
float to_codes(const float * x, int n, int code_max, int8_t * codes);

// 32 weights of a row: step * (q - half of the range) for symmetric kinds, where each part has its step; step[0] * q + minimum
// for affine ones; step[0] times the value of q for tables.
struct LowBitBlock {
    uint8_t q[32];
    float   step[2];
    float   minimum;
};

// Block `i` of a row as it lies in the file. Source of the layouts: ggml-common.h and ggml-quants.c.
void read_block(SourceType type, const unsigned char * row, int i, LowBitBlock & block);

// What a panel keeps of a block beside its bits: code = (q * factor + offset) >> shift, in units of `scale`.
struct LowBitCodes {
    uint8_t factor[2]; // signed for symmetric kinds
    int8_t  offset;
    float   scale; // NaN when the block is not finite
};

LowBitCodes codes_of(LowBit layout, const LowBitBlock & block);

} // namespace cpu::detail
