#include "low-bit.h"
#include "half.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

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

// 32 codes of n_low bits, and some from other bytes above them; eight at once.
void take_bits(const unsigned char * low, int low_shift, int n_low, const unsigned char * high, int high_shift, uint8_t high_mask, uint8_t * q) {
    const uint64_t low_mask = (1u << n_low) - 1;
    constexpr uint64_t each = 0x0101010101010101;
    for (int i = 0; i < 32; i += 8) {
        uint64_t l, h = 0;
        std::memcpy(&l, low + i, sizeof(l));
        if (high != nullptr) {
            std::memcpy(&h, high + i, sizeof(h));
        }
        l = (l >> low_shift & each * low_mask) | (h >> high_shift & each * high_mask) << n_low;
        std::memcpy(q + i, &l, sizeof(l));
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
    take_bits(nibbles + j / 2 * 32, j % 2 * 4, 4, fifth_bits, j, 1, out.q);
}

// Block j of the 8 of a super-block: 128 bytes of low bits, 64 of high ones, 16 scales, and theirs.
void read_q6_k(const unsigned char * p, int j, LowBitBlock & out) {
    const unsigned char * low = p + j / 4 * 64 + j % 2 * 32, * high = p + 128 + j / 4 * 32;
    const float           d   = f16_at(p + 208);
    take_bits(low, j % 4 / 2 * 4, 4, high, j % 4 * 2, 3, out.q);
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

void read_q2_k(const unsigned char * p, int j, LowBitBlock & out) {
    take_bits(p + 16 + j / 4 * 32, j % 4 * 2, 2, nullptr, 0, 0, out.q);
    std::memcpy(out.factor, p + j * 2, 2);
    std::memcpy(out.scale, p + 80, sizeof(out.scale));
}

// Steps are -32 to 31. With the other sign the largest product is -128, and all are int8.
void read_q3_k(const unsigned char * p, int j, LowBitBlock & out) {
    const unsigned char * steps = p + 96;
    take_bits(p + 32 + j / 4 * 32, j % 4 * 2, 2, p, j, 1, out.q);
    for (int part = 0; part < 2; ++part) {
        const int k      = j * 2 + part;
        out.factor[part] = uint8_t(32 - ((steps[k % 8] >> k / 8 * 4 & 15) | (steps[8 + k % 4] >> k / 4 * 2 & 3) << 4));
    }
    std::memcpy(out.scale, p + 108, sizeof(out.scale[0]));
    out.scale[0] ^= 0x8000;
}

} // namespace

// How a type lies in the file, by blocks of `values` in `bytes`.
struct Stored {
    LowBit layout;
    int    values, bytes;
};

static Stored stored(SourceType type) {
    switch (type) {
        case SourceType::q4_0:    return {{LowBit::symmetric, 4, 1}, 32, 18};
        case SourceType::q4_1:    return {{LowBit::affine, 4, 1}, 32, 20};
        case SourceType::q5_0:    return {{LowBit::symmetric, 5, 1}, 32, 22};
        case SourceType::q5_1:    return {{LowBit::affine, 5, 1}, 32, 24};
        case SourceType::q4_k:    return {{LowBit::affine, 4, 1}, 256, 144};
        case SourceType::q5_k:    return {{LowBit::affine, 5, 1}, 256, 176};
        case SourceType::q6_k:    return {{LowBit::symmetric, 6, 2}, 256, 210};
        case SourceType::iq4_nl:  return {{LowBit::iq4_table, 4, 1}, 32, 18};
        case SourceType::iq4_xs:  return {{LowBit::iq4_table, 4, 1}, 256, 136};
        case SourceType::mxfp4:   return {{LowBit::fp4_table, 4, 1}, 32, 17};
        case SourceType::q2_k:    return {{LowBit::q2_k, 2, 2}, 256, 84};
        case SourceType::q3_k:    return {{LowBit::q3_k, 3, 2}, 256, 110};
        case SourceType::iq1_s:   return {{LowBit::iq1_s, 0, 1}, 256, 50};
        case SourceType::iq1_m:   return {{LowBit::iq1_m, 0, 2}, 256, 56};
        case SourceType::iq2_xxs: return {{LowBit::iq2_xxs, 1, 1}, 256, 66};
        case SourceType::iq2_xs:  return {{LowBit::iq2_xs, 1, 2}, 256, 74};
        case SourceType::iq2_s:   return {{LowBit::iq2_s, 1, 2}, 256, 82};
        case SourceType::iq3_xxs: return {{LowBit::iq3_xxs, 1, 1}, 256, 98};
        case SourceType::iq3_s:   return {{LowBit::iq3_s, 1, 1}, 256, 110};
        default:                  return {{LowBit::none, 0, 0}, 32, 0};
    }
}

LowBit low_bit_of(const WeightSource & source) {
    return source.type == SourceType::other && source.block > 0 ? LowBit{LowBit::file_rows, 0, 0} : stored(source.type).layout;
}

static int nearest(float x) { return int(x + (x < 0 ? -0.5f : 0.5f)); } // lrint is a call

float to_codes(const float * x, int n, int code_max, int8_t * codes) {
    float largest = 0;
    for (int i = 0; i < n; ++i) {
        if (!std::isfinite(x[i])) {
            std::fill(codes, codes + n, int8_t(0));
            return std::numeric_limits<float>::quiet_NaN();
        }
        largest = std::max(largest, std::fabs(x[i]));
    }
    const float inverse = largest > 0 ? float(code_max) / largest : 0;
    for (int i = 0; i < n; ++i) {
        codes[i] = int8_t(nearest(x[i] * inverse));
    }
    return largest / float(code_max);
}

// Block j of those of 32 that begin at p.
static void read_as_stored(SourceType type, const unsigned char * p, int j, LowBitBlock & out) {
    switch (type) {
        case SourceType::q4_0:
        case SourceType::iq4_nl:
            out.step[0] = f16_at(p);
            return read_nibbles(p + 2, out.q);
        case SourceType::q4_1:
            out.step[0] = f16_at(p), out.minimum = f16_at(p + 2);
            return read_nibbles(p + 4, out.q);
        case SourceType::q5_0:
            out.step[0] = f16_at(p);
            read_nibbles(p + 6, out.q);
            return add_fifth_bits(p + 2, out.q);
        case SourceType::q5_1:
            out.step[0] = f16_at(p), out.minimum = f16_at(p + 2);
            read_nibbles(p + 8, out.q);
            return add_fifth_bits(p + 4, out.q);
        case SourceType::mxfp4: // half the power of two, since the values are twice what they stand for
            out.step[0] = std::ldexp(1.0f, int(p[0]) - 128);
            return read_nibbles(p + 1, out.q);
        case SourceType::q4_k:   return read_k_block(p, j, nullptr, p + 16, out);
        case SourceType::q5_k:   return read_k_block(p, j, p + 16, p + 48, out);
        case SourceType::q6_k:   return read_q6_k(p, j, out);
        case SourceType::iq4_xs: return read_iq4_xs(p, j, out);
        case SourceType::q2_k:   return read_q2_k(p, j, out);
        case SourceType::q3_k:   return read_q3_k(p, j, out);
        default:                 return read_points(type, p, j, out);
    }
}

void read_block(SourceType type, const unsigned char * row, int i, LowBitBlock & out) {
    out.step[1] = out.minimum = 0;
    const Stored of_type = stored(type);
    const int    n       = of_type.values / 32;
    read_as_stored(type, row + size_t(i / n) * size_t(of_type.bytes), i % n, out);
    const LowBit layout = of_type.layout;
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
    if (layout.is_table()) {
        const float largest = block.step[0] * (layout.kind == LowBit::fp4_table ? 12.0f : 127.0f);
        out.scale           = std::isfinite(largest) ? block.step[0] : largest;
    } else if (layout.kind == LowBit::symmetric && layout.parts == 1) {
        const int per_step = 127 / half; // codes, exactly
        out.factor[0]      = uint8_t(per_step << (bits - 1));
        out.scale          = block.step[0] / float(per_step);
    } else if (layout.kind == LowBit::symmetric) {
        const float largest = std::max(std::fabs(block.step[0]), std::fabs(block.step[1]));
        for (int part = 0; part < 2 && largest > 0; ++part) {
            out.factor[part] = uint8_t(int8_t(nearest(127 * block.step[part] / largest)));
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
        out.offset           = out.scale > 0 ? int8_t(nearest(block.minimum / out.scale)) : int8_t(0);
    }
    return out;
}

} // namespace cpu::detail
