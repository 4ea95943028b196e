// Weights of a panel to pairs of inputs in bf16, as tiles take them: from int8 codes, or straight from fewer bits (low-bit.h),
// which then round once only. Neither scales nor codes are NaN or infinite here.
#pragma once

#include "bf16-format-amx.h"
#include "unpack-kernels.h"

namespace cpu::detail {
namespace {

constexpr int n_groups = block_size / 4; // of inputs, whose bytes fill a lane

// What a number is when its byte stands in the middle of the mantissa: times a scale of f16 that is exact, so that the base can be
// taken off in the same step.
template <int at> constexpr float base_of = at == 1 ? 32768.0f : 128.0f;

// base_of<at> + byte i of each lane, which at 2 must be below 128.
template <int i, int at> inline vec number_of_byte(ivec bytes) {
    const ivec base = set_int(at == 1 ? 0x47000000 : 0x43000000);
    if (i == at) {
        return as_float(_mm512_ternarylogic_epi32(bytes, set_int(0xff << 8 * at), base, 0xea)); // (a & b) | c
    }
    const ivec from = _mm512_set4_epi32((12 + i) << 8 * at, (8 + i) << 8 * at, (4 + i) << 8 * at, i << 8 * at);
    return as_float(_mm512_mask_shuffle_epi8(base, at == 1 ? 0x2222222222222222 : 0x4444444444444444, bytes, from));
}

// Both to the nearest bf16, side by side.
inline ivec bf16_pair(vec low, vec high) {
    const ivec half = set_int(0x8000), upper_to_lower = _mm512_set4_epi32(0x0f0e0f0e, 0x0b0a0b0a, 0x07060706, 0x03020302);
    return _mm512_mask_shuffle_epi8(add_int(as_int(high), half), 0x3333333333333333, add_int(as_int(low), half), upper_to_lower);
}

// byte * scale + offset, of 4 inputs of as many columns as a vector has lanes. `offset` is less the base.
template <int at> inline void widen_group(ivec bytes, vec scale, vec offset, int32_t * to) {
    store_int(to, bf16_pair(fma(number_of_byte<0, at>(bytes), scale, offset), fma(number_of_byte<1, at>(bytes), scale, offset)));
    store_int(to + panel_columns, bf16_pair(fma(number_of_byte<2, at>(bytes), scale, offset), fma(number_of_byte<3, at>(bytes), scale, offset)));
}

// Each writes block b of a panel to [block_size / 2, panel_columns] pairs.

struct WidenCodes {
    static size_t bytes(int n_blocks) { return size_t(panel_columns) * (block_size + 4) * size_t(n_blocks); }

    void operator()(const uint8_t * w, int b, int32_t * to) const {
        w += bytes(b);
        const float * w_scale = reinterpret_cast<const float *>(w + panel_columns * block_size);
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            const vec scale = load(w_scale + v * lanes), offset = mul(scale, set(-base_of<1> - format.block_offset));
            CPU_UNROLL
            for (int g = 0; g < n_groups; ++g) {
                widen_group<1>(load_bytes(w + g * group_bytes + v * lanes * 4), scale, offset, to + 2 * g * panel_columns + v * lanes);
            }
        }
    }
};

// value = (q * factor / 2^bits + offset) * scale for affine kinds, (q - half) * factor / half * scale for symmetric ones; for those of
// super-blocks see LowBitBlock.
template <typename Layout> struct WidenLowBit {
    static constexpr auto kind        = Layout::kind;
    static constexpr bool is_table    = Layout::value.is_table();
    static constexpr int  bits        = Layout::bits, parts = Layout::parts, n_factors = Layout::value.n_factors();
    static constexpr int  half        = 1 << (bits - 1);

    static size_t bytes(int n_blocks) { return panel_columns * Layout::value.column_bytes(n_blocks); }

    float unit;
    ivec  values = values_of(kind); // of a table, plus the offset of codes

    explicit WidenLowBit(float unit) : unit(unit) {}

    void operator()(const uint8_t * w, int b, int32_t * to) const {
        constexpr int  block_bytes = panel_columns * Layout::value.block_bytes();
        const int      of_super    = Layout::value.is_super() ? b % 8 : 0;
        const uint8_t *super       = w + bytes(b - of_super), *low = super + of_super * block_bytes;
        const uint8_t *high = low + Layout::value.low_bits() * group_bytes, *factor = low + bits * group_bytes;
        const uint8_t *halves = Layout::value.is_super() ? super + 8 * block_bytes : factor + n_factors * panel_columns;
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            const vec unit_scale = mul(load_halves(halves + v * lanes * 2), set(unit));
            vec       scale[parts], offset[parts];
            CPU_UNROLL
            for (int part = 0; part < parts; ++part) {
                const uint8_t * f = factor + part * panel_columns + v * lanes;
                if (is_table) {
                    scale[part]  = unit_scale;
                    offset[part] = mul(unit_scale, set(-base_of<1> - format.block_offset));
                } else if (kind == LowBit::q2_k) {
                    const ivec both = bytes_to_ints(f);
                    scale[part]     = mul(to_float(and_int(both, set_int(15))), unit_scale);
                    offset[part]    = fnma(to_float(shift<-4>(both)), load_halves(halves + (panel_columns + v * lanes) * 2), mul(scale[part], set(-base_of<2>)));
                } else if (kind == LowBit::q3_k) {
                    scale[part]  = mul(to_float(signed_bytes(f)), unit_scale);
                    offset[part] = mul(scale[part], set(-base_of<2> - half));
                } else if (kind == LowBit::affine) {
                    scale[part]  = mul(mul(to_float(bytes_to_ints(f)), unit_scale), set(0.5f / half));
                    offset[part] = fma(scale[part], set(-base_of<2>), mul(to_float(signed_bytes(factor + parts * panel_columns + v * lanes)), unit_scale));
                } else {
                    scale[part]  = mul(mul(to_float(signed_bytes(f)), unit_scale), set(1.0f / half));
                    offset[part] = mul(scale[part], set(-base_of<2> - half));
                }
            }
            groups<0>(low + v * lanes * 4, high + v * lanes * 4, scale, offset, to + v * lanes);
        }
    }

private:
    static ivec signed_bytes(const uint8_t * p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))); }

    // Group g and those after.
    template <int g> void groups(const uint8_t * low, const uint8_t * high, const vec * scale, const vec * offset, int32_t * to) const {
        if constexpr (g < n_groups) {
            const ivec    q    = bits_of<bits, g>(low, high);
            constexpr int part = g < 4 ? 0 : parts - 1;
            if constexpr (is_table) {
                widen_group<1>(look_up(values, q), scale[part], offset[part], to);
            } else {
                widen_group<2>(q, scale[part], offset[part], to);
            }
            groups<g + 1>(low, high, scale, offset, to + 2 * panel_columns);
        }
    }
};

} // namespace
} // namespace cpu::detail
