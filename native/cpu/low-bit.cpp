#include "low-bit.h"
#include "half.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace cpu::detail {

namespace {

float f16_at(const unsigned char * p) {
    uint16_t bits;
    std::memcpy(&bits, p, sizeof(bits));
    return f16_to_float(bits);
}

// 32 codes in 16 bytes: the low halves come first.
void read_nibbles(const unsigned char * from, uint8_t * q) {
    for (int i = 0; i < 16; ++i) {
        q[i]      = from[i] & 15;
        q[i + 16] = from[i] >> 4;
    }
}

// A fifth bit each, in 32 bits.
void add_fifth_bits(const unsigned char * bits, uint8_t * q) {
    for (int i = 0; i < 32; ++i) {
        q[i] = uint8_t(q[i] | (bits[i / 8] >> i % 8 & 1) << 4);
    }
}

// The blocks of Q4_K and Q5_K: 8 scales and 8 minima of 6 bits in 12 bytes.
void k_scale(const unsigned char * packed, int j, int & scale, int & minimum) {
    if (j < 4) {
        scale   = packed[j] & 63;
        minimum = packed[j + 4] & 63;
    } else {
        scale   = (packed[j + 4] & 15) | packed[j - 4] >> 6 << 4;
        minimum = packed[j + 4] >> 4 | packed[j] >> 6 << 4;
    }
}

// Block j of the 8 of a super-block of Q4_K or Q5_K, which begins with its scale, that of the minima and their factors.
void read_k_block(const unsigned char * p, int j, const unsigned char * fifth_bits, const unsigned char * nibbles, LowBitBlock & out) {
    int scale, minimum;
    k_scale(p + 4, j, scale, minimum);
    out.step[0] = f16_at(p) * float(scale);
    out.minimum = -f16_at(p + 2) * float(minimum);
    nibbles += j / 2 * 32;
    for (int i = 0; i < 32; ++i) {
        const int high = fifth_bits != nullptr ? fifth_bits[i] >> j & 1 : 0;
        out.q[i]       = uint8_t((nibbles[i] >> j % 2 * 4 & 15) | high << 4);
    }
}

// Block j of the 8 of a super-block: 128 bytes of low bits, 64 of high ones, 16 scales, and theirs.
void read_q6_k(const unsigned char * p, int j, LowBitBlock & out) {
    const unsigned char * low = p + j / 4 * 64 + j % 2 * 32, * high = p + 128 + j / 4 * 32;
    const float           d   = f16_at(p + 208);
    for (int i = 0; i < 32; ++i) {
        out.q[i] = uint8_t((low[i] >> j % 4 / 2 * 4 & 15) | (high[i] >> j % 4 * 2 & 3) << 4);
    }
    for (int part = 0; part < 2; ++part) {
        out.step[part] = d * float(static_cast<int8_t>(p[192 + j * 2 + part]));
    }
}

void read_iq4_xs(const unsigned char * p, int j, LowBitBlock & out) {
    uint16_t high;
    std::memcpy(&high, p + 2, sizeof(high));
    const int scale = (p[4 + j / 2] >> j % 2 * 4 & 15) | (high >> j * 2 & 3) << 4;
    out.step[0]     = f16_at(p) * float(scale - 32);
    read_nibbles(p + 8 + j * 16, out.q);
}

} // namespace

LowBit low_bit_of(SourceType type) {
    switch (type) {
        case SourceType::q4_0:   return {LowBit::symmetric, 4, 1};
        case SourceType::q5_0:   return {LowBit::symmetric, 5, 1};
        case SourceType::q6_k:   return {LowBit::symmetric, 6, 2};
        case SourceType::q4_1:
        case SourceType::q4_k:   return {LowBit::affine, 4, 1};
        case SourceType::q5_1:
        case SourceType::q5_k:   return {LowBit::affine, 5, 1};
        case SourceType::iq4_nl:
        case SourceType::iq4_xs: return {LowBit::table, 4, 1};
        default:                 return {LowBit::none, 0, 0};
    }
}

static void read_as_stored(SourceType type, const unsigned char * row, int i, LowBitBlock & out) {
    const int             j = i % 8; // of a super-block
    const unsigned char * p = row;
    switch (type) {
        case SourceType::q4_0:
        case SourceType::iq4_nl:
            p += size_t(i) * 18;
            out.step[0] = f16_at(p);
            return read_nibbles(p + 2, out.q);
        case SourceType::q4_1:
            p += size_t(i) * 20;
            out.step[0] = f16_at(p), out.minimum = f16_at(p + 2);
            return read_nibbles(p + 4, out.q);
        case SourceType::q5_0:
            p += size_t(i) * 22;
            out.step[0] = f16_at(p);
            read_nibbles(p + 6, out.q);
            return add_fifth_bits(p + 2, out.q);
        case SourceType::q5_1:
            p += size_t(i) * 24;
            out.step[0] = f16_at(p), out.minimum = f16_at(p + 2);
            read_nibbles(p + 8, out.q);
            return add_fifth_bits(p + 4, out.q);
        case SourceType::q4_k:
            p += size_t(i / 8) * 144;
            return read_k_block(p, j, nullptr, p + 16, out);
        case SourceType::q5_k:
            p += size_t(i / 8) * 176;
            return read_k_block(p, j, p + 16, p + 48, out);
        case SourceType::q6_k: return read_q6_k(p + size_t(i / 8) * 210, j, out);
        case SourceType::iq4_xs: return read_iq4_xs(p + size_t(i / 8) * 136, j, out);
        default: return;
    }
}

void read_block(SourceType type, const unsigned char * row, int i, LowBitBlock & out) {
    out.step[1] = out.minimum = 0;
    read_as_stored(type, row, i, out);
    const LowBit layout = low_bit_of(type);
    if (layout.kind == LowBit::affine && out.step[0] < 0) { // counted from the other end, steps are positive
        const int most = (1 << layout.bits) - 1;
        out.minimum += out.step[0] * float(most);
        out.step[0] = -out.step[0];
        for (uint8_t & q : out.q) {
            q = uint8_t(most - q);
        }
    }
}

LowBitCodes codes_of(LowBit layout, const LowBitBlock & block) {
    LowBitCodes out  = {{0, 0}, 0, 0};
    const int   bits = layout.bits, half = 1 << (bits - 1), most = (1 << bits) - 1;
    if (layout.kind == LowBit::table) {
        out.scale = block.step[0];
    } else if (layout.kind == LowBit::symmetric && layout.parts == 1) {
        const int per_step = 127 / half; // codes, exactly
        out.factor[0]      = uint8_t(per_step << (bits - 1));
        out.scale          = block.step[0] / float(per_step);
    } else if (layout.kind == LowBit::symmetric) {
        const float largest = std::max(std::fabs(block.step[0]), std::fabs(block.step[1]));
        for (int part = 0; part < 2 && largest > 0; ++part) {
            out.factor[part] = uint8_t(int8_t(std::lrint(127 * block.step[part] / largest)));
        }
        out.scale = largest * float(half) / 127;
    } else {
        const float top = std::max(std::fabs(block.minimum), std::fabs(block.minimum + block.step[0] * float(most)));
        if (!std::isfinite(top)) {
            out.scale = top;
            return out;
        }
        // As many codes a step as the range allows, less one for rounding; where there are many a whole number, which rounds nothing.
        const float per_step = top > 0 ? 126 * block.step[0] / top : 0;
        int         factor   = std::min(255, int(per_step * float(1 << bits)));
        factor               = factor >= 3 << bits ? factor >> bits << bits : factor;
        out.factor[0]        = uint8_t(factor);
        out.scale            = factor > 0 ? block.step[0] * float(1 << bits) / float(factor) : top / 126;
        out.offset           = out.scale > 0 ? int8_t(std::lrint(block.minimum / out.scale)) : int8_t(0);
    }
    return out;
}

} // namespace cpu::detail
