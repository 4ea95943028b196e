// Panels of 4 to 6 bits to int8 codes. Plain loops of constant length over bytes, which compilers turn into vectors.
#pragma once

#include "kernels.h"

namespace cpu::detail {
namespace {

constexpr int unpack_columns = lanes * panel_vectors;
constexpr int unpack_run     = unpack_columns * format.group; // bytes after which the columns come round again
constexpr int unpack_piece   = unpack_columns * 4;            // an eighth of a block

constexpr bool is_table(int kind) { return kind == LowBit::iq4_table || kind == LowBit::fp4_table; }

// A column's value for each of its neighbouring inputs, four of which make 64 bits.
inline void spread(const uint16_t * from, uint16_t * to) {
    for (int c = 0; c < unpack_columns; ++c) {
        uint64_t four = from[c];
        four |= four << 16;
        four |= four << 32;
        for (int i = 0; i < format.group; i += 4) {
            memcpy(to + c * format.group + i, &four, sizeof(four));
        }
    }
}

// Factor and addend of a part: code = (q * factor + addend) >> shift.
template <int kind, int bits> inline void factors(const uint8_t * factor, const uint8_t * offset, uint16_t * of_run, uint16_t * addend_of_run) {
    uint16_t f[unpack_columns], addend[unpack_columns];
    for (int c = 0; c < unpack_columns; ++c) {
        if (kind == LowBit::symmetric) {
            const int signed_factor = static_cast<int8_t>(factor[c]);
            f[c]      = uint16_t(signed_factor);
            addend[c] = uint16_t((1 << (bits - 2)) - signed_factor * (1 << (bits - 1)));
        } else {
            f[c]      = factor[c];
            addend[c] = uint16_t((1 << (bits - 1)) + static_cast<int8_t>(offset[c]) * (1 << bits));
        }
    }
    spread(f, of_run);
    spread(addend, addend_of_run);
}

template <int bits, int t> inline uint8_t code_at(const uint8_t * low, const uint8_t * high, int i) {
    uint8_t q = uint8_t(low[t % 4 * unpack_piece + i] >> (t < 4 ? 0 : 4) & 15);
    if (bits == 5) {
        q = uint8_t(q | (high[i] >> t & 1) << 4);
    }
    if (bits == 6) {
        q = uint8_t(q | (high[t % 2 * unpack_piece + i] >> t / 2 * 2 & 3) << 4);
    }
    return q;
}

template <int kind, int bits, int t> inline void unpack_piece_of(const uint8_t * low, const uint8_t * high, const uint16_t * factor, const uint16_t * addend, uint8_t * to) {
    constexpr int shift = kind == LowBit::symmetric ? bits - 1 : bits, at = t * unpack_piece % unpack_run;
    for (int i = 0; i < unpack_piece; ++i) {
        const uint8_t q = code_at<bits, t>(low, high, i);
        if (is_table(kind)) {
            to[t * unpack_piece + i] = q;
        } else {
            const int16_t sum        = static_cast<int16_t>(uint16_t(q * factor[at + i] + addend[at + i]));
            to[t * unpack_piece + i] = static_cast<uint8_t>((sum >> shift) + format.block_offset);
        }
    }
}

template <int kind, int bits, int parts> void unpack_blocks(const Unpack & u) {
    constexpr int extra = is_table(kind) ? 0 : parts + (kind == LowBit::affine ? 1 : 0);
    const uint8_t * from = u.from;
    uint8_t *       to   = u.to;
    uint16_t        factor[parts * unpack_run], addend[parts * unpack_run];
    uint8_t         values[16];
    for (int i = 0; i < 16; ++i) {
        values[i] = static_cast<uint8_t>((kind == LowBit::fp4_table ? fp4_values : iq4_values)[i] + format.block_offset);
    }
    for (int b = 0; b < u.n_blocks; ++b) {
        const uint8_t * low = from, *high = from + 4 * unpack_piece, *of_parts = from + bits * unpack_piece;
        for (int part = 0; part < parts && !is_table(kind); ++part) {
            factors<kind, bits>(of_parts + part * unpack_columns, of_parts + parts * unpack_columns, factor + part * unpack_run, addend + part * unpack_run);
        }
        const uint16_t *second = factor + (parts - 1) * unpack_run, *second_addend = addend + (parts - 1) * unpack_run;
        unpack_piece_of<kind, bits, 0>(low, high, factor, addend, to);
        unpack_piece_of<kind, bits, 1>(low, high, factor, addend, to);
        unpack_piece_of<kind, bits, 2>(low, high, factor, addend, to);
        unpack_piece_of<kind, bits, 3>(low, high, factor, addend, to);
        unpack_piece_of<kind, bits, 4>(low, high, second, second_addend, to);
        unpack_piece_of<kind, bits, 5>(low, high, second, second_addend, to);
        unpack_piece_of<kind, bits, 6>(low, high, second, second_addend, to);
        unpack_piece_of<kind, bits, 7>(low, high, second, second_addend, to);
        if (is_table(kind)) {
            look_up(values, to, 8 * unpack_piece);
        }
        from = of_parts + extra * unpack_columns;
        to += 8 * unpack_piece;
        for (int v = 0; v < panel_vectors; ++v) {
            uint16_t halves[lanes];
            memcpy(halves, from + v * lanes * 2, sizeof(halves));
            store(reinterpret_cast<float *>(to) + v * lanes, mul(widen_f16(halves), set(u.unit)));
        }
        from += 2 * unpack_columns;
        to += 4 * unpack_columns;
    }
}

void unpack(const Unpack & u) {
    switch (u.layout.kind) {
        case LowBit::iq4_table: return unpack_blocks<LowBit::iq4_table, 4, 1>(u);
        case LowBit::fp4_table: return unpack_blocks<LowBit::fp4_table, 4, 1>(u);
        case LowBit::affine:    return u.layout.bits == 4 ? unpack_blocks<LowBit::affine, 4, 1>(u) : unpack_blocks<LowBit::affine, 5, 1>(u);
        case LowBit::symmetric:
            return u.layout.bits == 4   ? unpack_blocks<LowBit::symmetric, 4, 1>(u)
                   : u.layout.bits == 5 ? unpack_blocks<LowBit::symmetric, 5, 1>(u)
                                        : unpack_blocks<LowBit::symmetric, 6, 2>(u);
        case LowBit::none:
        case LowBit::file_rows: return;
    }
}

constexpr auto unpack_blocks_of_32 = unpack;

} // namespace
} // namespace cpu::detail
