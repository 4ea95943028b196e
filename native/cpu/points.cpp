// Types whose values are points of a codebook. Source of the layouts: ggml-common.h and ggml-quants.c.
#include "codebooks.h"
#include "low-bit.h"

#include <cstring>

namespace cpu::detail {

namespace {

uint32_t u16_at(const unsigned char * p) { return uint32_t(p[0] | p[1] << 8); }
uint32_t u32_at(const unsigned char * p) { return u16_at(p) | u16_at(p + 2) << 16; }

// Signs of 32 values, a byte for 8.
void set_signs(const unsigned char * signs, LowBitBlock & out) {
    for (int i = 0; i < 32; ++i) {
        out.q[i] = signs[i / 8] >> i % 8 & 1;
    }
}

// Seven signs of each 8 values, in the lower bits: the last makes their number even.
void set_even_signs(const uint32_t (&sevens)[4], LowBitBlock & out) {
    unsigned char signs[4];
    for (int i = 0; i < 4; ++i) {
        signs[i] = static_cast<unsigned char>(codebooks::even_signs(sevens[i] & 127));
    }
    set_signs(signs, out);
}

} // namespace

void read_points(SourceType type, const unsigned char * p, int j, LowBitBlock & out) {
    uint8_t * to = out.factor;
    std::memcpy(&out.scale[0], p, sizeof(out.scale[0]));
    switch (type) {
        case SourceType::iq1_s: {
            const uint32_t rest = u16_at(p + 34 + j * 2), shift = rest >> 15, step = rest >> 12 & 7;
            std::memcpy(to, p + 2 + j * 4, 4);
            to[4] = uint8_t((rest & 7) | shift << 3 | (rest >> 3 & 7) << 4 | (step & 1) << 7);
            to[5] = uint8_t((rest >> 6 & 7) | (step >> 1 & 1) << 3 | (rest >> 9 & 7) << 4 | step >> 2 << 7);
            return;
        }
        case SourceType::iq1_m: { // a quarter of the scale lies above each four of the steps
            const unsigned char * steps = p + 48;
            std::memcpy(to, p + j * 4, 4);
            std::memcpy(to + 4, p + 32 + j * 2, 2);
            const uint32_t packed = u16_at(steps + j / 2 * 2) >> j % 2 * 6;
            to[6]                 = uint8_t((packed & 7) | (packed >> 3 & 7) << 4);
            out.scale[0]          = 0;
            for (int i = 0; i < 4; ++i) {
                out.scale[0] = uint16_t(out.scale[0] | (u16_at(steps + i * 2) >> 12) << 4 * i);
            }
            return;
        }
        case SourceType::iq2_xxs: {
            const uint32_t rest = u32_at(p + 2 + j * 8 + 4);
            std::memcpy(to, p + 2 + j * 8, 4);
            to[4] = uint8_t((rest >> 28) * 17);
            return set_even_signs({rest, rest >> 7, rest >> 14, rest >> 21}, out);
        }
        case SourceType::iq2_xs: {
            uint32_t index[4];
            to[4] = 0;
            for (int k = 0; k < 4; ++k) {
                index[k] = u16_at(p + 2 + j * 8 + k * 2);
                to[k]    = uint8_t(index[k]);
                to[4]    = uint8_t(to[4] | (index[k] >> 8 & 1) << 2 * k);
            }
            to[5] = p[66 + j];
            return set_even_signs({index[0] >> 9, index[1] >> 9, index[2] >> 9, index[3] >> 9}, out);
        }
        case SourceType::iq2_s: {
            std::memcpy(to, p + 2 + j * 4, 4);
            to[4] = p[66 + j];
            to[5] = p[74 + j];
            return set_signs(p + 34 + j * 4, out);
        }
        case SourceType::iq3_xxs: {
            const uint32_t rest = u32_at(p + 66 + j * 4);
            std::memcpy(to, p + 2 + j * 8, 8);
            to[8] = uint8_t((rest >> 28) * 17);
            return set_even_signs({rest, rest >> 7, rest >> 14, rest >> 21}, out);
        }
        default: { // iq3_s
            std::memcpy(to, p + 2 + j * 8, 8);
            to[8] = p[66 + j];
            to[9] = uint8_t((p[106 + j / 2] >> j % 2 * 4 & 15) * 17);
            return set_signs(p + 74 + j * 4, out);
        }
    }
}

const uint64_t * codebook_of(LowBit layout) {
    switch (layout.kind) {
        case LowBit::iq1_s:
        case LowBit::iq1_m:   return codebooks::iq1.points;
        case LowBit::iq2_xxs: return codebooks::iq2_xxs.points;
        case LowBit::iq2_xs:  return codebooks::iq2_xs.points;
        case LowBit::iq2_s:   return codebooks::iq2_s.points;
        case LowBit::iq3_xxs: return codebooks::iq3_xxs.points;
        case LowBit::iq3_s:   return codebooks::iq3_s.points;
        default:              return nullptr;
    }
}

} // namespace cpu::detail
