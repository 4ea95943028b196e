// Panels of 4 to 6 bits to int8 codes, the same on every level.
#pragma once

#include "kernels.h"
#include "unroll.h"

namespace cpu::detail {
namespace {

constexpr int unpack_columns = lanes * panel_vectors;
constexpr int unpack_vector  = sizeof(ivec);
constexpr int unpack_piece   = unpack_columns * 4;                           // an eighth of a block
constexpr int unpack_turns   = unpack_columns * format.group / unpack_piece; // pieces after which the columns come round again

// Codes of symmetric blocks in one part are as many a step as fit, 2^(8 - bits) - 1: their factors are all the same, see codes_of().
constexpr bool is_whole(int kind, int parts) { return kind == LowBit::symmetric && parts == 1; }

constexpr bool is_looked_up(int kind, int bits, int parts) {
    return kind == LowBit::iq4_table || kind == LowBit::fp4_table || (is_whole(kind, parts) && bits == 4);
}

inline ivec set_bytes(int x) { return set_int(int32_t((x & 255) * 0x01010101u)); }

inline ivec values_of(int kind) {
    uint8_t values[16];
    for (int i = 0; i < 16; ++i) {
        const int value = kind == LowBit::iq4_table ? iq4_values[i] : kind == LowBit::fp4_table ? fp4_values[i] : (i - 8) * 15;
        values[i]       = static_cast<uint8_t>(value + format.block_offset);
    }
    return repeat_table(values);
}

// A vector of piece t, from `low` and `high` on.
template <int bits, int t> inline ivec bits_of(const uint8_t * low, const uint8_t * high) {
    ivec q = and_int(shift<(t < 4 ? 0 : -4)>(load_any(low + t % 4 * unpack_piece)), set_bytes(15));
    if constexpr (bits == 5) {
        q = or_int(q, and_int(shift<4 - t>(load_any(high)), set_bytes(16)));
    } else if constexpr (bits == 6) {
        q = or_int(q, and_int(shift<4 - t / 2 * 2>(load_any(high + t % 2 * unpack_piece)), set_bytes(48)));
    }
    return q;
}

// In 16 bits for each code: mul_rounded(q << 8, factor) is (q * factor) >> bits to the nearest; for symmetric kinds, where q counts
// from the middle, >> (bits - 1).
struct UnpackFactors {
    ivec low, high;
};

template <int kind, int bits> inline UnpackFactors factors(const uint8_t * p) {
    const ivec of_codes = spread_bytes<format.group>(p), low = widen_low(of_codes), high = widen_high(of_codes);
    if (kind == LowBit::symmetric) {
        return {shift_signed<bits>(low), shift_signed<bits>(high)};
    }
    return {shift<-bits - 1>(low), shift<-bits - 1>(high)};
}

template <int kind, int bits> inline ivec multiplied(ivec q, const UnpackFactors & f) {
    if (kind == LowBit::symmetric) {
        q = add_bytes(q, set_bytes(-(1 << (bits - 1))));
    }
    const ivec low = mul_rounded(widen_low(q), f.low), high = mul_rounded(widen_high(q), f.high);
    return kind == LowBit::symmetric ? narrow_signed(low, high) : narrow_unsigned(low, high);
}

// What a vector needs beside its bits, in all pieces the same.
template <int parts> struct UnpackColumns {
    UnpackFactors factors[parts][unpack_turns];
    ivec          offset[unpack_turns];
    ivec          values;
};

// Piece t and those after.
template <int kind, int bits, int parts, int t>
inline void unpack_pieces(const uint8_t * low, const uint8_t * high, const UnpackColumns<parts> & c, uint8_t * to) {
    if constexpr (t < 8) {
        const ivec    q    = bits_of<bits, t>(low, high);
        constexpr int turn = t % unpack_turns;
        ivec          codes;
        if constexpr (is_looked_up(kind, bits, parts)) {
            codes = look_up(c.values, q);
        } else if constexpr (is_whole(kind, parts)) { // q times 2^n - 1
            codes = add_bytes(sub_bytes(shift<8 - bits>(q), q), c.offset[turn]);
        } else {
            codes = add_bytes(multiplied<kind, bits>(q, c.factors[t < 4 ? 0 : parts - 1][turn]), c.offset[turn]);
        }
        store_int(reinterpret_cast<int32_t *>(to + t * unpack_piece), codes);
        unpack_pieces<kind, bits, parts, t + 1>(low, high, c, to);
    }
}

template <int kind, int bits, int parts> void unpack_blocks(const Unpack & u) {
    constexpr bool looked_up = is_looked_up(kind, bits, parts), whole = is_whole(kind, parts);
    constexpr int  n_factors = LowBit{LowBit::Kind(kind), bits, parts}.n_factors();
    constexpr int  middle    = whole ? (1 << (bits - 1)) * ((1 << (8 - bits)) - 1) : 0; // what `whole` codes are above zero by then

    const uint8_t *      from = u.from;
    uint8_t *            to   = u.to;
    UnpackColumns<parts> c;
    c.values = values_of(kind);
    for (int b = 0; b < u.n_blocks; ++b) {
        const uint8_t *low = from, *high = from + 4 * unpack_piece, *of_columns = from + bits * unpack_piece;
        CPU_UNROLL
        for (int i = 0; i < unpack_piece; i += unpack_vector) {
            CPU_UNROLL
            for (int turn = 0; turn < unpack_turns; ++turn) {
                const uint8_t * p = of_columns + (turn * unpack_piece + i) / format.group;
                c.offset[turn]    = set_bytes(format.block_offset - middle);
                if (kind == LowBit::affine) {
                    c.offset[turn] = add_bytes(c.offset[turn], spread_bytes<format.group>(p + parts * unpack_columns));
                }
                if constexpr (!looked_up && !whole) {
                    for (int part = 0; part < parts; ++part) {
                        c.factors[part][turn] = factors<kind, bits>(p + part * unpack_columns);
                    }
                }
            }
            unpack_pieces<kind, bits, parts, 0>(low + i, high + i, c, to + i);
        }
        from = of_columns + n_factors * unpack_columns;
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

// A layout whose fields are known when this is compiled.
template <LowBit::Kind of_kind, int n_bits, int n_parts> struct LayoutOf {
    static constexpr LowBit::Kind kind  = of_kind;
    static constexpr int          bits  = n_bits, parts = n_parts;
    static constexpr LowBit       value = {of_kind, n_bits, n_parts};
};

// Calls fn(LayoutOf) for a panel of 4 to 6 bits.
template <typename F> inline void with_layout(LowBit l, const F & fn) {
    switch (l.kind) {
        case LowBit::iq4_table: return fn(LayoutOf<LowBit::iq4_table, 4, 1>());
        case LowBit::fp4_table: return fn(LayoutOf<LowBit::fp4_table, 4, 1>());
        case LowBit::affine:    return l.bits == 4 ? fn(LayoutOf<LowBit::affine, 4, 1>()) : fn(LayoutOf<LowBit::affine, 5, 1>());
        case LowBit::symmetric:
            return l.bits == 4   ? fn(LayoutOf<LowBit::symmetric, 4, 1>())
                   : l.bits == 5 ? fn(LayoutOf<LowBit::symmetric, 5, 1>())
                                 : fn(LayoutOf<LowBit::symmetric, 6, 2>());
        case LowBit::none:
        case LowBit::file_rows: return;
    }
}

void unpack(const Unpack & u) {
    with_layout(u.layout, [&](auto of) { unpack_blocks<decltype(of)::kind, decltype(of)::bits, decltype(of)::parts>(u); });
}

constexpr auto unpack_blocks_of_32 = unpack;

} // namespace
} // namespace cpu::detail
