// Weights of 1 to 6 bits, as the model file's types have them and as panels keep them. unpack-kernels.h turns a panel into int8
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
// for affine ones; step[0] times the value of q for tables. Blocks of a super-block have integers instead: scale[0] * (factor & 15) * q -
// scale[1] * (factor >> 4) for q2_k, scale[0] * factor * (q - 4) for q3_k, whose factors are signed. Those with codebooks have q = 1 where
// a value is negative, and as factors: 8 bits of the number of each point, then what more bits there are, and 4 bits of each part's step,
// which counts odd numbers. Values of iq1 are an eighth above their point, or below it: the fourth bit of each four that follow the
// numbers says so. iq1_s has one for all of a block, and its step in the other three.
struct LowBitBlock {
    static constexpr int max_factors = 10;

    uint8_t  q[32];
    float    step[2];
    float    minimum;
    uint8_t  factor[max_factors];
    uint16_t scale[2]; // f16
};

// Block `i` of a row as it lies in the file. Source of the layouts: ggml-common.h and ggml-quants.c.
void read_block(SourceType type, const unsigned char * row, int i, LowBitBlock & block);

// Block j of the super-block at p, of a type with a codebook; and the codebook, or null.
void             read_points(SourceType type, const unsigned char * p, int j, LowBitBlock & out);
const uint64_t * codebook_of(LowBit layout);

// What a panel keeps of a block beside its bits: code = (q * factor + offset) >> shift, in units of `scale`.
struct LowBitCodes {
    uint8_t factor[2]; // signed for symmetric kinds
    int8_t  offset;
    float   scale; // NaN when the block is not finite
};

LowBitCodes codes_of(LowBit layout, const LowBitBlock & block);

} // namespace cpu::detail
