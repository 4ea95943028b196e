#include "file-rows.h"
#include "codebooks.h"
#include "half.h"
#include "low-bit.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

namespace cpu::detail {

namespace {

constexpr int block = 32; // values that share a scale

float f16_at(const uint8_t * p) {
    uint16_t bits;
    std::memcpy(&bits, p, sizeof(bits));
    return f16_to_float(bits);
}

int nearest(float x) { return int(x + (x < 0 ? -0.5f : 0.5f)); } // lrint is a call

uint32_t u16_at(const uint8_t * p) { return uint32_t(p[0] | p[1] << 8); }
uint32_t u32_at(const uint8_t * p) { return u16_at(p) | u16_at(p + 2) << 16; }

// --- Blocks of two halves --------------------------------------------------------------------------

// 16 values become (value * factor + addend) >> shift, whose sum fits 16 bits. By way of an array of its own: compilers make vectors
// of a loop whose bytes are surely none of those it reads.
template <int shift, typename Value> void scale_half(Value value, int factor, int addend, int8_t * codes) {
    const auto f = int16_t(factor), a = int16_t(addend);
    int8_t     own[16];
    for (int i = 0; i < 16; ++i) {
        const auto sum = int16_t(uint16_t(value(i) * f + a));
        own[i]         = int8_t(sum >> shift);
    }
    std::memcpy(codes, own, sizeof(own));
}

// Values that count `steps` of their half in `unit`s, as codes of one scale, which it returns. They reach +-most.
// Where the products fit 8 bits nothing is rounded.
template <typename Value> float join_halves(Value value, int most, const int (&steps)[2], float unit, int8_t * codes) {
    const int  top    = most * std::max(std::abs(steps[0]), std::abs(steps[1]));
    const auto second = [value](int i) { return value(16 + i); };
    if (top <= 127) {
        scale_half<0>(value, steps[0], 0, codes);
        scale_half<0>(second, steps[1], 0, codes + 16);
        return unit;
    }
    const float per_step = 127.0f * 256.0f / float(top);
    scale_half<8>(value, nearest(float(steps[0]) * per_step), 128, codes);
    scale_half<8>(second, nearest(float(steps[1]) * per_step), 128, codes + 16);
    return unit * (float(top) / 127.0f);
}

// --- Types, by their super-blocks of 256. Source of the layouts: ggml-common.h and ggml-quants.c. ---

// Block j of 32, whose shifts compilers should know.
struct Q2K {
    template <int j> static float block(const uint8_t * p, int8_t * codes) {
        const float d = f16_at(p + 80), of_minimum = f16_at(p + 82);
        float       step[2], minimum[2], top = 0;
        for (int half = 0; half < 2; ++half) {
            const int packed = p[j * 2 + half];
            step[half]       = d * float(packed & 15);
            minimum[half]    = -of_minimum * float(packed >> 4);
            top              = std::max({top, std::fabs(minimum[half]), std::fabs(minimum[half] + 3 * step[half])});
        }
        const float sum = step[0] + step[1] + minimum[0] + minimum[1];
        if (!(top > 0) || !std::isfinite(sum)) {
            std::fill(codes, codes + 32, int8_t(0));
            return std::isfinite(sum) ? 0.0f : sum;
        }
        const float per_unit = 127.0f * 128.0f / top; // codes in 128ths
        for (int half = 0; half < 2; ++half) {
            const uint8_t * bits  = p + 16 + j / 4 * 32 + half * 16;
            const auto      value = [bits](int i) { return bits[i] >> j % 4 * 2 & 3; };
            scale_half<7>(value, nearest(step[half] * per_unit), nearest(minimum[half] * per_unit) + 64, codes + half * 16);
        }
        return top / 127.0f;
    }
};

struct Q3K {
    template <int j> static float block(const uint8_t * p, int8_t * codes) {
        const uint8_t *high = p, *low = p + 32 + j / 4 * 32, *scales = p + 96;
        int            steps[2];
        for (int half = 0; half < 2; ++half) {
            const int k = j * 2 + half;
            steps[half] = ((scales[k % 8] >> k / 8 * 4 & 15) | (scales[8 + k % 4] >> k / 4 * 2 & 3) << 4) - 32;
        }
        const auto value = [high, low](int i) { return (low[i] >> j % 4 * 2 & 3) + (high[i] >> j & 1) * 4 - 4; };
        return join_halves(value, 4, steps, f16_at(p + 108), codes);
    }
};

// Eight magnitudes and the bits that say which are negative. No magnitude is zero, so no carry leaves its byte.
void store_signed(uint64_t magnitudes, uint32_t negative, int8_t * codes) {
    const uint64_t mask = codebooks::signs.masks[negative], ones = 0x0101010101010101;
    const uint64_t out  = (magnitudes ^ mask) + (mask & ones);
    std::memcpy(codes, &out, sizeof(out));
}

// Codes of two scales.
float join_codes(int8_t * codes, int most, const int (&steps)[2], float unit) {
    return steps[0] == steps[1] ? unit * float(steps[0]) : join_halves([codes](int i) { return codes[i]; }, most, steps, unit, codes);
}

constexpr int most_of_iq2 = 43;

float iq2_xxs_block(const uint8_t * p, int j, int8_t * codes) {
    const uint8_t * index = p + 2 + j * 8;
    const uint32_t  rest  = u32_at(index + 4);
    for (int k = 0; k < 4; ++k) {
        store_signed(codebooks::iq2_xxs.points[index[k]], codebooks::even_signs(rest >> 7 * k & 127), codes + k * 8);
    }
    return f16_at(p) * float(2 * (rest >> 28) + 1) * 0.125f;
}

float join_iq2(const uint8_t * p, int scales, int8_t * codes) {
    const int steps[2] = {2 * (scales & 15) + 1, 2 * (scales >> 4) + 1};
    return join_codes(codes, most_of_iq2, steps, f16_at(p) * 0.125f);
}

float iq2_xs_block(const uint8_t * p, int j, int8_t * codes) {
    for (int k = 0; k < 4; ++k) {
        const uint32_t index = u16_at(p + 2 + j * 8 + k * 2);
        store_signed(codebooks::iq2_xs.points[index & 511], codebooks::even_signs(index >> 9), codes + k * 8);
    }
    return join_iq2(p, p[66 + j], codes);
}

float iq2_s_block(const uint8_t * p, int j, int8_t * codes) {
    const uint8_t *index = p + 2 + j * 4, *signs = index + 32;
    for (int k = 0; k < 4; ++k) {
        store_signed(codebooks::iq2_s.points[index[k] | (p[66 + j] >> 2 * k & 3) << 8], signs[k], codes + k * 8);
    }
    return join_iq2(p, p[74 + j], codes);
}

float iq3_xxs_block(const uint8_t * p, int j, int8_t * codes) {
    const uint8_t * index = p + 2 + j * 8;
    const uint32_t  rest  = u32_at(p + 66 + j * 4);
    for (int k = 0; k < 4; ++k) {
        const uint64_t magnitudes = codebooks::iq3_xxs.points[index[2 * k]] | codebooks::iq3_xxs.points[index[2 * k + 1]] << 32;
        store_signed(magnitudes, codebooks::even_signs(rest >> 7 * k & 127), codes + k * 8);
    }
    return f16_at(p) * float(2 * (rest >> 28) + 1) * 0.25f;
}

float iq3_s_block(const uint8_t * p, int j, int8_t * codes) {
    const uint8_t *index = p + 2 + j * 8, *signs = p + 74 + j * 4;
    const int      ninth = p[66 + j];
    for (int k = 0; k < 4; ++k) {
        const uint64_t first  = codebooks::iq3_s.points[index[2 * k] | (ninth >> 2 * k & 1) << 8];
        const uint64_t second = codebooks::iq3_s.points[index[2 * k + 1] | (ninth >> (2 * k + 1) & 1) << 8];
        store_signed(first | second << 32, signs[k], codes + k * 8);
    }
    return f16_at(p) * float(2 * (p[106 + j / 2] >> j % 2 * 4 & 15) + 1);
}

// Eight values in eighths, and one eighth up or down: bytes are added without a carry between them.
void store_shifted(uint64_t eighths, bool down, int8_t * codes) {
    const uint64_t ones = 0x0101010101010101, top = 0x8080808080808080, delta = down ? ~uint64_t(0) : ones;
    const uint64_t out = ((eighths & ~top) + (delta & ~top)) ^ ((eighths ^ delta) & top);
    std::memcpy(codes, &out, sizeof(out));
}

constexpr int most_of_iq1 = 9;

float iq1_s_block(const uint8_t * p, int j, int8_t * codes) {
    const uint8_t * index = p + 2 + j * 4;
    const uint32_t  rest  = u16_at(p + 34 + j * 2);
    for (int k = 0; k < 4; ++k) {
        store_shifted(codebooks::iq1.points[index[k] | (rest >> 3 * k & 7) << 8], rest >> 15 != 0, codes + k * 8);
    }
    return f16_at(p) * float(2 * (rest >> 12 & 7) + 1) * 0.125f;
}

float iq1_m_block(const uint8_t * p, int j, int8_t * codes) {
    const uint8_t *scales = p + 48, *index = p + j * 4;
    for (int k = 0; k < 4; ++k) {
        const uint32_t rest = p[32 + j * 2 + k / 2] >> k % 2 * 4 & 15;
        store_shifted(codebooks::iq1.points[index[k] | (rest & 7) << 8], (rest & 8) != 0, codes + k * 8);
    }
    uint32_t d = 0; // a quarter in each of the scales' four
    for (int i = 0; i < 4; ++i) {
        d |= (u16_at(scales + i * 2) >> 12) << 4 * i;
    }
    const uint32_t packed   = u16_at(scales + j / 2 * 2) >> j % 2 * 6;
    const int      steps[2] = {int(2 * (packed & 7) + 1), int(2 * (packed >> 3 & 7) + 1)};
    return join_codes(codes, most_of_iq1, steps, f16_to_float(uint16_t(d)) * 0.125f);
}

template <float (*decode)(const uint8_t *, int, int8_t *)> void each_block(const uint8_t * bytes, int8_t * codes, float * scales) {
    for (int j = 0; j < max_unit / block; ++j) {
        scales[j] = decode(bytes, j, codes + j * block);
    }
}

template <typename Type, size_t... j> void each_block(const uint8_t * bytes, int8_t * codes, float * scales, std::index_sequence<j...>) {
    ((scales[j] = Type::template block<int(j)>(bytes, codes + j * block)), ...);
}

template <typename Type> void each_block(const uint8_t * bytes, int8_t * codes, float * scales) {
    each_block<Type>(bytes, codes, scales, std::make_index_sequence<max_unit / block>());
}

// A column's codes into a block of a panel, `group` neighbours at a time.
template <int group> void place_codes(const int8_t * codes, uint64_t flip, uint8_t * to, size_t run) {
    for (int k = 0; k < block; k += 8) {
        uint64_t eight;
        std::memcpy(&eight, codes + k, sizeof(eight));
        eight ^= flip;
        if (group == 8) {
            std::memcpy(to, &eight, 8);
        } else {
            const uint32_t first = uint32_t(eight), second = uint32_t(eight >> 32);
            std::memcpy(to, &first, 4);
            std::memcpy(to + run, &second, 4);
        }
        to += run * (8 / group);
    }
}

void place(const Format & f, int columns, const int8_t * codes, float scale, uint8_t * to, int column) {
    const size_t   run  = size_t(columns) * f.group;
    const uint64_t flip = f.block_offset == 0 ? 0 : 0x8080808080808080; // to add 128
    f.group == 8 ? place_codes<8>(codes, flip, to + size_t(column) * 8, run) : place_codes<4>(codes, flip, to + size_t(column) * 4, run);
    std::memcpy(to + size_t(block) * columns + size_t(column) * 4, &scale, sizeof(scale));
}

} // namespace

void decode_file_values(const FileRows & rows, const uint8_t * bytes, int n, int8_t * codes, float * scales) {
    switch (rows.type) {
        case SourceType::q2_k:    return each_block<Q2K>(bytes, codes, scales);
        case SourceType::q3_k:    return each_block<Q3K>(bytes, codes, scales);
        case SourceType::iq1_s:   return each_block<iq1_s_block>(bytes, codes, scales);
        case SourceType::iq1_m:   return each_block<iq1_m_block>(bytes, codes, scales);
        case SourceType::iq2_xxs: return each_block<iq2_xxs_block>(bytes, codes, scales);
        case SourceType::iq2_xs:  return each_block<iq2_xs_block>(bytes, codes, scales);
        case SourceType::iq2_s:   return each_block<iq2_s_block>(bytes, codes, scales);
        case SourceType::iq3_xxs: return each_block<iq3_xxs_block>(bytes, codes, scales);
        case SourceType::iq3_s:   return each_block<iq3_s_block>(bytes, codes, scales);
        default:                  break;
    }
    float values[max_unit];
    rows.dequantize_row(bytes, values, n);
    for (int i = 0; i < n; i += block) {
        scales[i / block] = to_codes(values + i, block, 127, codes + i);
    }
}

FilePanel::FilePanel(const PackedWeights & w, int panel) : unit(block) {
    std::fill(rows, rows + max_columns, nullptr);
    const int begin = panel * w.columns_out(), end = begin + w.columns_out();
    int       first = 0, half = 0;
    for (const FileRows & of_source : w.file_rows) {
        const int from = std::max(begin, first), to = std::min(end, first + of_source.n_rows);
        for (int i = from; i < to; ++i) {
            rows[i - begin + half] = &of_source;
        }
        if (from < to) {
            unit = std::max(unit, of_source.block);
        }
        first = w.gated ? 0 : first + of_source.n_rows;
        half += w.gated ? w.columns_out() : 0;
    }
    for (int c = 0; c < w.columns; ++c) {
        bytes[c] = rows[c] == nullptr ? 0 : rows[c]->row_bytes / size_t(w.n_in / unit);
        unit_bytes += bytes[c];
    }
}

bool FilePanel::pack(const PackedWeights & w, const uint8_t * row, uint8_t * panel, int column) const {
    for (int c = 0; c < column; ++c) {
        panel += bytes[c];
    }
    bool finite = true;
    for (int first = 0; first < w.n_in; first += unit, row += bytes[column], panel += unit_bytes) {
        int8_t codes[max_unit];
        float  scales[max_unit / block];
        decode_file_values(*rows[column], row, unit, codes, scales);
        finite = finite && std::all_of(scales, scales + unit / block, [](float s) { return std::isfinite(s); });
        std::memcpy(panel, row, bytes[column]);
    }
    return finite;
}

void unpack_file_panel(const PackedWeights & w, int panel, uint8_t * to) {
    const FilePanel p(w, panel);
    const uint8_t * from        = w.panel(panel);
    const size_t    block_bytes = size_t(block + 4) * w.columns;
    int8_t          codes[max_unit] = {};
    float           scales[max_unit / block];
    for (int first = 0; first < w.n_in; first += p.unit, to += size_t(p.unit / block) * block_bytes) {
        for (int c = 0; c < w.columns; ++c) {
            if (p.rows[c] == nullptr) {
                std::fill(scales, scales + p.unit / block, 0.0f); // whatever the codes
            } else {
                decode_file_values(*p.rows[c], from, p.unit, codes, scales);
            }
            from += p.bytes[c];
            for (int b = 0; b < p.unit / block; ++b) {
                place(w.format(), w.columns, codes + b * block, scales[b], to + size_t(b) * block_bytes, c);
            }
        }
    }
}

} // namespace cpu::detail
