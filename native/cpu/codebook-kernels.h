// Points of codebooks (IQ1, IQ2, IQ3) to int8 codes, for unpack-kernels.h.
#pragma once

#include "kernels.h"
#include "unroll.h"

namespace cpu::detail {
namespace {

using Eight = uint64_t[unpack_columns]; // values of each column

// What the points of a block stand for: one each of 8 values, or two of 4. `low` are 8 bits of their numbers.
template <LowBit::Kind kind> inline void look_up_points(const uint8_t * low, const uint64_t * points, Eight (&out)[4]) {
    constexpr LowBit l{kind, 0, 0};
    constexpr int    columns = unpack_columns, n_points = l.n_points(), each = n_points / 4;
    const uint8_t *  high    = low + l.n_points() * columns;
    uint16_t         more[2][columns], numbers[n_points][columns];
    for (int i = 0; i < l.n_high(); ++i) {
        for (int c = 0; c < columns; ++c) {
            more[i][c] = uint16_t(high[i * columns + c] << 8);
        }
    }
    if constexpr (l.n_high() > 0) {
        CPU_UNROLL
        for (int i = 0; i < n_points; ++i) {
            constexpr uint16_t mask  = l.n_high() == 2 ? 0x700 : each == 1 ? 0x300 : 0x100;
            const int          shift = l.n_high() == 2 ? i % 2 * 4 : each == 1 ? 2 * i : i;
            for (int c = 0; c < columns; ++c) {
                numbers[i][c] = uint16_t(low[i * columns + c] | (more[l.n_high() == 2 ? i / 2 : 0][c] >> shift & mask));
            }
        }
    }
    const auto point = [&](int i, int c) { return points[l.n_high() > 0 ? numbers[i][c] : low[i * columns + c]]; };
    for (int k = 0; k < 4; ++k) {
        for (int some = 0; some < columns; some += 8) {
            CPU_UNROLL
            for (int c = some; c < some + 8; ++c) {
                out[k][c] = point(k * each, c) | (each == 2 ? point(k * each + each - 1, c) << 32 : 0);
            }
        }
    }
}

// 16 bits of a lane each to as many codes as a column has in a vector, for mul_rounded().
inline UnpackFactors spread_factors(const int32_t * of_columns, int column) {
    const ivec all    = load_any(reinterpret_cast<const uint8_t *>(of_columns + column / 4 * 4));
    const auto spread = [&](uint32_t first, uint32_t second) { return look_up(all, pattern(first, first, second, second)); };
    if (format.group == 4) {
        return {spread(0x01000100, 0x05040504), spread(0x09080908, 0x0d0c0d0c)};
    }
    return column % 4 == 0 ? UnpackFactors{spread(0x01000100, 0x01000100), spread(0x05040504, 0x05040504)}
                           : UnpackFactors{spread(0x09080908, 0x09080908), spread(0x0d0c0d0c, 0x0d0c0d0c)};
}

// A vector of piece t, whose values are there: shifted, times a factor where the halves of a block have their own, and with its signs.
template <int parts, bool shifted, int t>
inline void finish_piece(ivec codes, const uint8_t * shifts, const UnpackFactors & f, const uint8_t * signs, uint8_t * to) {
    if constexpr (shifted) {
        codes = add_bytes(codes, spread_bytes<format.group>(shifts));
    }
    if constexpr (parts == 2) {
        codes = narrow_signed(mul_rounded(widen_low(codes), f.low), mul_rounded(widen_high(codes), f.high));
    }
    if constexpr (!shifted) {
        codes = negate_where<t>(codes, load_any(signs));
    }
    store_int(reinterpret_cast<int32_t *>(to + t * unpack_piece), add_bytes(codes, set_bytes(format.block_offset)));
}

// Vector i of pieces 2 k and 2 k + 1, and of those after.
template <int parts, bool shifted, int k>
inline void finish_pieces(const Eight (&values)[4], const uint8_t (&shifts)[4][unpack_columns], const UnpackFactors (&f)[2][unpack_turns], const uint8_t * signs, int i,
                          uint8_t * to) {
    if constexpr (k < 4) {
        constexpr int   last  = unpack_turns - 1, step = last * unpack_piece / format.group;
        const uint8_t * eight = reinterpret_cast<const uint8_t *>(values[k]), *shift = shifts[k] + i / format.group;
        const bool      whole = format.group == 8;
        const ivec first = load_any(eight + (whole ? i : 2 * i)), second = load_any(eight + (whole ? unpack_piece + i : 2 * i + unpack_vector));
        finish_piece<parts, shifted, 2 * k>(whole ? first : even_lanes(first, second), shift, f[k / 2][0], signs + i, to + i);
        finish_piece<parts, shifted, 2 * k + 1>(whole ? second : odd_lanes(first, second), shift + step, f[k / 2][last], signs + i, to + i);
        finish_pieces<parts, shifted, k + 1>(values, shifts, f, signs, i, to);
    }
}

template <LowBit::Kind kind, int parts> void unpack_codebook(const Unpack & u) {
    constexpr bool   shifted = LowBit{kind, 0, parts}.is_shifted();
    constexpr LowBit layout{kind, shifted ? 0 : 1, parts};
    constexpr float  most = shifted ? 9 : 43; // of codes of two parts
    const uint8_t *  from = u.from;
    uint8_t *        to   = u.to;
    for (int first = 0; first < u.n_blocks; first += 8, from += 2 * unpack_columns) {
        vec of_steps[panel_vectors];
        for (int v = 0; v < panel_vectors; ++v) {
            of_steps[v] = mul(load_halves(from + 8 * layout.block_bytes() * unpack_columns + v * lanes * 2), set(layout.codebook_unit()));
        }
        for (int b = 0; b < 8; ++b, from += layout.block_bytes() * unpack_columns, to += 8 * unpack_piece + 4 * unpack_columns) {
            const uint8_t * numbers = from + layout.bits * unpack_piece, *high = numbers + layout.n_points() * unpack_columns;
            const uint8_t * steps   = high + layout.n_high() * unpack_columns;
            alignas(64) Eight values[4];
            look_up_points<kind>(numbers, u.points, values);

            uint8_t shifts[4][unpack_columns], of_step[unpack_columns];
            if constexpr (shifted) {
                CPU_UNROLL
                for (int k = 0; k < 4; ++k) {
                    const uint8_t * nibbles = kind == LowBit::iq1_s ? high : high + k / 2 * unpack_columns;
                    const int       shift   = kind == LowBit::iq1_s ? 2 : k % 2 * 4 + 2;
                    for (int c = 0; c < unpack_columns; ++c) {
                        shifts[k][c] = uint8_t(1 - (nibbles[c] >> shift & 2));
                    }
                }
            }
            if constexpr (kind == LowBit::iq1_s) {
                for (int c = 0; c < unpack_columns; ++c) {
                    const int last = high[unpack_columns + c];
                    of_step[c]     = uint8_t(high[c] >> 7 | (last >> 2 & 2) | (last >> 5 & 4));
                }
                steps = of_step;
            }

            alignas(64) int32_t factors[2][unpack_columns];
            for (int v = 0; v < panel_vectors; ++v) {
                const ivec both = bytes_to_ints(steps + v * lanes);
                const vec  one  = set(1);
                vec        unit = add(mul(to_float(and_int(both, set_int(15))), set(2)), one);
                if constexpr (parts == 2) {
                    // Nothing is rounded where all products fit 8 bits or both steps are the same.
                    const vec step = unit, other = add(mul(to_float(shift<-4>(both)), set(2)), one), largest = max(step, other), top = mul(largest, set(most));
                    const vec equal = where_less(abs(sub(step, other)), one, largest, mul(top, set(1.0f / 127)));
                    unit            = where_less(top, set(127.5f), one, equal);
                    const vec per_step = div(set(128), unit);
                    store_int(factors[0] + v * lanes, to_int(mul(step, per_step)));
                    store_int(factors[1] + v * lanes, to_int(mul(other, per_step)));
                }
                store(reinterpret_cast<float *>(to + 8 * unpack_piece) + v * lanes, mul(unit, of_steps[v]));
            }
            CPU_UNROLL
            for (int i = 0; i < unpack_piece; i += unpack_vector) {
                UnpackFactors of_parts[2][unpack_turns];
                for (int turn = 0; turn < unpack_turns && parts == 2; ++turn) {
                    for (int part = 0; part < 2; ++part) {
                        of_parts[part][turn] = spread_factors(factors[part], (turn * unpack_piece + i) / format.group);
                    }
                }
                finish_pieces<parts, shifted, 0>(values, shifts, of_parts, from, i, to);
            }
        }
    }
}

} // namespace
} // namespace cpu::detail
