// Panels of 1 to 6 bits to int8 codes, the same on every level.
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

inline vec load_halves(const uint8_t * p) {
    uint16_t halves[lanes];
    memcpy(halves, p, sizeof(halves));
    return widen_f16(halves);
}

// Repeats 4 bytes of each 16.
inline ivec pattern(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
    const uint32_t all[4] = {a, b, c, d};
    uint8_t        bytes[16];
    memcpy(bytes, all, sizeof(bytes));
    return repeat_table(bytes);
}

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
    constexpr int n_low = bits < 4 ? 2 : 4;
    ivec q = and_int(shift<-(t / n_low * n_low)>(load_any(low + t % n_low * unpack_piece)), set_bytes((1 << n_low) - 1));
    if constexpr (bits - n_low == 1) {
        q = or_int(q, and_int(shift<n_low - t>(load_any(high)), set_bytes(1 << n_low)));
    } else if constexpr (bits - n_low == 2) {
        q = or_int(q, and_int(shift<n_low - t / 2 * 2>(load_any(high + t % 2 * unpack_piece)), set_bytes(3 << n_low)));
    }
    return q;
}

constexpr bool counts_from_middle(int kind) { return kind == LowBit::symmetric || kind == LowBit::q3_k; }

// In 16 bits for each code: mul_rounded(q << 8, factor) is (q * factor) >> bits to the nearest; for symmetric kinds, where q counts
// from the middle, >> (bits - 1); for q3_k, whose products fit, all of it.
struct UnpackFactors {
    ivec low, high;
};

template <int kind, int bits> inline UnpackFactors factors(const uint8_t * p) {
    const ivec of_codes = spread_bytes<format.group>(p), low = widen_low(of_codes), high = widen_high(of_codes);
    if (counts_from_middle(kind)) {
        constexpr int n = kind == LowBit::q3_k ? 1 : bits;
        return {shift_signed<n>(low), shift_signed<n>(high)};
    }
    return {shift<-bits - 1>(low), shift<-bits - 1>(high)};
}

template <int kind, int bits> inline ivec multiplied(ivec q, const UnpackFactors & f) {
    if (counts_from_middle(kind)) {
        q = add_bytes(q, set_bytes(-(1 << (bits - 1))));
    }
    const ivec low = mul_rounded(widen_low(q), f.low), high = mul_rounded(widen_high(q), f.high);
    return counts_from_middle(kind) ? narrow_signed(low, high) : narrow_unsigned(low, high);
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

// Codes of a block to `to`: `low`, bits above them, factors.
template <int kind, int bits, int parts> inline void unpack_block(const uint8_t * from, const ivec & values, uint8_t * to) {
    constexpr bool looked_up = is_looked_up(kind, bits, parts), whole = is_whole(kind, parts);
    constexpr int  middle    = whole ? (1 << (bits - 1)) * ((1 << (8 - bits)) - 1) : 0; // what `whole` codes are above zero by then

    const uint8_t *      high = from + LowBit{LowBit::Kind(kind), bits, parts}.low_bits() * unpack_piece, *of_columns = from + bits * unpack_piece;
    UnpackColumns<parts> c;
    c.values = values;
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
        unpack_pieces<kind, bits, parts, 0>(from + i, high + i, c, to + i);
    }
}

template <int kind, int bits, int parts> void unpack_blocks(const Unpack & u) {
    constexpr LowBit layout{LowBit::Kind(kind), bits, parts};
    const ivec       values = values_of(kind);
    const uint8_t *  from   = u.from;
    uint8_t *        to     = u.to;
    for (int b = 0; b < u.n_blocks; ++b, from += layout.block_bytes() * unpack_columns) {
        unpack_block<kind, bits, parts>(from, values, to);
        to += 8 * unpack_piece;
        const uint8_t * halves = from + (layout.block_bytes() - 2) * unpack_columns;
        for (int v = 0; v < panel_vectors; ++v) {
            store(reinterpret_cast<float *>(to) + v * lanes, mul(load_halves(halves + v * lanes * 2), set(u.unit)));
        }
        to += 4 * unpack_columns;
    }
}

// Products of q3_k fit int8, and so the super-block's scale is that of all its blocks.
void unpack_q3_k(const Unpack & u) {
    constexpr LowBit layout{LowBit::q3_k, 3, 2};
    const uint8_t *  from = u.from;
    uint8_t *        to   = u.to;
    for (int first = 0; first < u.n_blocks; first += 8, from += layout.super_bytes() * unpack_columns) {
        vec scales[panel_vectors];
        for (int v = 0; v < panel_vectors; ++v) {
            scales[v] = load_halves(from + 8 * layout.block_bytes() * unpack_columns + v * lanes * 2);
        }
        for (int b = 0; b < 8; ++b) {
            unpack_block<layout.kind, 3, 2>(from + b * layout.block_bytes() * unpack_columns, set_int(0), to);
            to += 8 * unpack_piece;
            for (int v = 0; v < panel_vectors; ++v) {
                store(reinterpret_cast<float *>(to) + v * lanes, scales[v]);
            }
            to += 4 * unpack_columns;
        }
    }
}

// What the four codes of q2_k stand for in each column: (q * step + start) >> 7, in the bytes of its lane.
inline ivec q2_k_codes(ivec step, ivec start) {
    const ivec twice = pattern(0x01000100, 0x05040504, 0x09080908, 0x0d0c0d0c), above = pattern(0x01008080, 0x05048080, 0x09088080, 0x0d0c8080);
    const ivec steps = look_up(step, twice);
    const ivec low   = add_shorts(look_up(start, twice), look_up(step, above)), high = add_shorts(low, add_shorts(steps, steps));
    const ivec codes = narrow_signed(shift_signed<7>(low), shift_signed<7>(high)); // 0 and 1 of four columns, then 2 and 3
    return add_bytes(look_up(codes, pattern(0x09080100, 0x0b0a0302, 0x0d0c0504, 0x0f0e0706)), set_bytes(format.block_offset));
}

// Piece t and those after, of a vector whose codes are in `tables` of both halves, in each 16 bytes from `columns` on.
template <int t> inline void unpack_q2_k_pieces(const uint8_t * low, const ivec (&tables)[2][unpack_turns], const ivec (&columns)[unpack_turns], uint8_t * to) {
    if constexpr (t < 8) {
        constexpr int turn = t % unpack_turns;
        store_int(reinterpret_cast<int32_t *>(to + t * unpack_piece), look_up(tables[t / 4][turn], or_int(bits_of<2, t>(low, nullptr), columns[turn])));
        unpack_q2_k_pieces<t + 1>(low, tables, columns, to);
    }
}

void unpack_q2_k(const Unpack & u) {
    constexpr LowBit layout{LowBit::q2_k, 2, 2};
    const uint8_t *  from = u.from;
    uint8_t *        to   = u.to;
    for (int first = 0; first < u.n_blocks; first += 8) {
        const uint8_t * halves = from + 8 * layout.block_bytes() * unpack_columns;
        vec             of_steps[panel_vectors], of_minima[panel_vectors];
        for (int v = 0; v < panel_vectors; ++v) {
            of_steps[v]  = load_halves(halves + v * lanes * 2);
            of_minima[v] = load_halves(halves + (unpack_columns + v * lanes) * 2);
        }
        for (int b = 0; b < 8; ++b, from += layout.block_bytes() * unpack_columns, to += 8 * unpack_piece + 4 * unpack_columns) {
            alignas(64) int32_t tables[2][unpack_columns];
            for (int v = 0; v < panel_vectors; ++v) {
                vec step[2], minimum[2], top = set(1e-30f); // not nothing, which it is divided by
                CPU_UNROLL
                for (int part = 0; part < 2; ++part) {
                    const ivec factor = bytes_to_ints(from + (8 + part) * unpack_columns + v * lanes);
                    step[part]        = mul(of_steps[v], to_float(and_int(factor, set_int(15))));
                    minimum[part]     = mul(of_minima[v], to_float(shift<-4>(factor)));
                    top               = max(top, max(abs(minimum[part]), abs(sub(mul(step[part], set(3)), minimum[part]))));
                }
                const vec per_unit = div(set(127.0f * 128.0f), top);
                store(reinterpret_cast<float *>(to + 8 * unpack_piece) + v * lanes, mul(top, set(1.0f / 127.0f)));
                CPU_UNROLL
                for (int part = 0; part < 2; ++part) {
                    const ivec start = to_int(fnma(minimum[part], per_unit, set(64)));
                    store_int(tables[part] + v * lanes, q2_k_codes(to_int(mul(step[part], per_unit)), start));
                }
            }
            CPU_UNROLL
            for (int i = 0; i < unpack_piece; i += unpack_vector) {
                ivec of_parts[2][unpack_turns], columns[unpack_turns];
                CPU_UNROLL
                for (int turn = 0; turn < unpack_turns; ++turn) {
                    const int column = (turn * unpack_piece + i) / format.group;
                    CPU_UNROLL
                    for (int part = 0; part < 2; ++part) {
                        of_parts[part][turn] = load_any(reinterpret_cast<const uint8_t *>(tables[part] + column / 4 * 4));
                    }
                    columns[turn] = format.group == 4     ? pattern(0, 0x04040404, 0x08080808, 0x0c0c0c0c)
                                    : column % 4 == 0 ? pattern(0, 0, 0x04040404, 0x04040404)
                                                      : pattern(0x08080808, 0x08080808, 0x0c0c0c0c, 0x0c0c0c0c);
                }
                unpack_q2_k_pieces<0>(from + i, of_parts, columns, to + i);
            }
        }
        from += 2 * layout.n_super_scales() * unpack_columns;
    }
}

} // namespace
} // namespace cpu::detail

#include "codebook-kernels.h"

namespace cpu::detail {
namespace {

// A layout whose fields are known when this is compiled.
template <LowBit::Kind of_kind, int n_bits, int n_parts> struct LayoutOf {
    static constexpr LowBit::Kind kind  = of_kind;
    static constexpr int          bits  = n_bits, parts = n_parts;
    static constexpr LowBit       value = {of_kind, n_bits, n_parts};
};

// Calls fn(LayoutOf) for a panel of 1 to 6 bits.
template <typename F> inline void with_layout(LowBit l, const F & fn) {
    switch (l.kind) {
        case LowBit::iq4_table: return fn(LayoutOf<LowBit::iq4_table, 4, 1>());
        case LowBit::fp4_table: return fn(LayoutOf<LowBit::fp4_table, 4, 1>());
        case LowBit::q2_k:      return fn(LayoutOf<LowBit::q2_k, 2, 2>());
        case LowBit::q3_k:      return fn(LayoutOf<LowBit::q3_k, 3, 2>());
        case LowBit::iq1_s:     return fn(LayoutOf<LowBit::iq1_s, 0, 1>());
        case LowBit::iq1_m:     return fn(LayoutOf<LowBit::iq1_m, 0, 2>());
        case LowBit::iq2_xxs:   return fn(LayoutOf<LowBit::iq2_xxs, 1, 1>());
        case LowBit::iq2_xs:    return fn(LayoutOf<LowBit::iq2_xs, 1, 2>());
        case LowBit::iq2_s:     return fn(LayoutOf<LowBit::iq2_s, 1, 2>());
        case LowBit::iq3_xxs:   return fn(LayoutOf<LowBit::iq3_xxs, 1, 1>());
        case LowBit::iq3_s:     return fn(LayoutOf<LowBit::iq3_s, 1, 1>());
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
    with_layout(u.layout, [&](auto of) {
        using Layout = decltype(of);
        if constexpr (Layout::kind == LowBit::q2_k) {
            unpack_q2_k(u);
        } else if constexpr (Layout::kind == LowBit::q3_k) {
            unpack_q3_k(u);
        } else if constexpr (Layout::value.is_codebook()) {
            unpack_codebook<Layout::kind, Layout::parts>(u);
        } else {
            unpack_blocks<Layout::kind, Layout::bits, Layout::parts>(u);
        }
    });
}

constexpr auto unpack_blocks_of_32 = unpack;

} // namespace
} // namespace cpu::detail
