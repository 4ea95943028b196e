// The vector layer on 64-bit ARM. See vec-avx2.h for what the names mean.
#pragma once

#include <arm_neon.h>
#include <stdint.h>
#include <string.h>

namespace cpu::detail {
namespace { // one copy per file, see kernels.h

using vec  = float32x4_t;
using ivec = int32x4_t;

constexpr int lanes         = 4;
constexpr int panel_vectors = 4;
constexpr int float_rows    = 6;

inline vec load(const float * p) { return vld1q_f32(p); }
inline void store(float * p, vec v) { vst1q_f32(p, v); }
inline vec set(float x) { return vdupq_n_f32(x); }
inline vec add(vec a, vec b) { return vaddq_f32(a, b); }
inline vec sub(vec a, vec b) { return vsubq_f32(a, b); }
inline vec mul(vec a, vec b) { return vmulq_f32(a, b); }
inline vec div(vec a, vec b) { return vdivq_f32(a, b); }
inline vec max(vec a, vec b) { return vmaxq_f32(a, b); }
inline vec min(vec a, vec b) { return vminq_f32(a, b); }
inline vec fma(vec a, vec b, vec c) { return vfmaq_f32(c, a, b); }
inline vec fnma(vec a, vec b, vec c) { return vfmsq_f32(c, a, b); }
inline vec abs(vec a) { return vabsq_f32(a); }
inline vec round(vec a) { return vrndnq_f32(a); }
inline vec sign_of(vec magnitude, vec a) { return vbslq_f32(vdupq_n_u32(0x80000000u), a, magnitude); }
inline vec where_less(vec a, vec b, vec yes, vec no) { return vbslq_f32(vcltq_f32(a, b), yes, no); }

inline vec power_of_two(vec n) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127)), 23)); }

// v times 2^n, for normal numbers.
inline vec times_power_of_two(vec v, vec n) {
    return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(v), vshlq_n_s32(vcvtnq_s32_f32(n), 23)));
}

inline float sum(vec v) { return vaddvq_f32(v); }
inline float largest(vec v) { return vmaxvq_f32(v); }

inline vec in_range(int first, int end, vec inside, vec outside) {
    const int32_t    numbers[] = {0, 1, 2, 3};
    const int32x4_t  i         = vld1q_s32(numbers);
    const uint32x4_t mask      = vandq_u32(vcgeq_s32(i, vdupq_n_s32(first)), vcltq_s32(i, vdupq_n_s32(end)));
    return vbslq_f32(mask, inside, outside);
}

inline vec load_first(const float * p, int n) {
    float v[lanes] = {0, 0, 0, 0};
    for (int i = 0; i < n && i < lanes; ++i) {
        v[i] = p[i];
    }
    return load(v);
}

inline void store_first(float * p, vec v, int n) {
    if (n & 2) {
        vst1_f32(p, vget_low_f32(v));
        p += 2;
        v = vextq_f32(v, v, 2);
    }
    if (n & 1) {
        vst1q_lane_f32(p, v, 0);
    }
}

inline vec widen_f16(const uint16_t * p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
inline vec widen_bf16(const uint16_t * p) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16)); }

inline vec swap_pairs(vec v) { return vrev64q_f32(v); }
inline vec spread_low(vec v) { return vzip1q_f32(v, v); }
inline vec alternate_signs(vec v) {
    return vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(v), vreinterpretq_u32_u64(vdupq_n_u64(0x80000000u))));
}

inline void transpose(vec * rows) {
    const float32x4x2_t a = vtrnq_f32(rows[0], rows[1]), b = vtrnq_f32(rows[2], rows[3]);
    rows[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
    rows[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
    rows[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
    rows[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}

// --- int8 ------------------------------------------------------------------------------------------

inline ivec load_bytes(const void * p) { return vreinterpretq_s32_s8(vld1q_s8(static_cast<const int8_t *>(p))); }
inline ivec set_int(int32_t x) { return vdupq_n_s32(x); }
inline vec  to_float(ivec v) { return vcvtq_f32_s32(v); }
inline ivec to_int(vec v) { return vcvtnq_s32_f32(v); }

inline ivec broadcast_group(const int8_t * p) {
    int32_t bits;
    memcpy(&bits, p, sizeof(bits));
    return vdupq_n_s32(bits);
}

inline void keep(ivec & v) {
#ifdef __GNUC__
    __asm__("" : "+w"(v));
#else
    (void) v;
#endif
}

inline ivec add_int(ivec a, ivec b) { return vaddq_s32(a, b); }
inline ivec max_int(ivec a, ivec b) { return vmaxq_s32(a, b); }
inline ivec and_int(ivec a, ivec b) { return vandq_s32(a, b); }
inline vec  as_float(ivec v) { return vreinterpretq_f32_s32(v); }
inline ivec as_int(vec v) { return vreinterpretq_s32_f32(v); }

inline ivec to_codes(const vec * x, float inverse, int8_t * codes) {
    int32x4_t sums = vdupq_n_s32(0);
    for (int i = 0; i < 8; i += 4) {
        int32x4_t c[4];
        for (int j = 0; j < 4; ++j) {
            c[j] = vcvtnq_s32_f32(vmulq_n_f32(x[i + j], inverse));
            sums = vaddq_s32(sums, c[j]);
        }
        const int16x8_t low = vcombine_s16(vmovn_s32(c[0]), vmovn_s32(c[1])), high = vcombine_s16(vmovn_s32(c[2]), vmovn_s32(c[3]));
        vst1q_s8(codes + 4 * i, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
    }
    return sums;
}

// --- Bytes to codes, for unpack-kernels.h ----------------------------------------------------------

inline uint8x16_t as_bytes(ivec v) { return vreinterpretq_u8_s32(v); }
inline int16x8_t  as_shorts(ivec v) { return vreinterpretq_s16_s32(v); }
inline ivec       of_bytes(uint8x16_t v) { return vreinterpretq_s32_u8(v); }
inline ivec       of_shorts(int16x8_t v) { return vreinterpretq_s32_s16(v); }

inline ivec load_any(const uint8_t * p) { return of_bytes(vld1q_u8(p)); }
inline void store_int(int32_t * p, ivec v) { vst1q_s32(p, v); }
inline ivec or_int(ivec a, ivec b) { return vorrq_s32(a, b); }
inline ivec add_bytes(ivec a, ivec b) { return of_bytes(vaddq_u8(as_bytes(a), as_bytes(b))); }
inline ivec sub_bytes(ivec a, ivec b) { return of_bytes(vsubq_u8(as_bytes(a), as_bytes(b))); }
inline ivec even_lanes(ivec a, ivec b) { return vuzp1q_s32(a, b); }
inline ivec odd_lanes(ivec a, ivec b) { return vuzp2q_s32(a, b); }

template <int t> inline ivec negate_where(ivec bytes, ivec bits) {
    const int8x16_t  all  = vreinterpretq_s8_s32(bytes);
    const uint8x16_t mask = vtstq_u8(as_bytes(bits), vdupq_n_u8(1 << t));
    return vreinterpretq_s32_s8(vbslq_s8(mask, vnegq_s8(all), all));
}
inline ivec add_shorts(ivec a, ivec b) { return of_shorts(vaddq_s16(as_shorts(a), as_shorts(b))); }

inline ivec bytes_to_ints(const uint8_t * p) {
    uint32_t four;
    memcpy(&four, p, sizeof(four));
    return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four))))));
}

inline ivec repeat_table(const uint8_t * table) { return load_any(table); }
inline ivec look_up(ivec table, ivec bytes) { return of_bytes(vqtbl1q_u8(as_bytes(table), as_bytes(bytes))); }

template <int group> inline ivec spread_bytes(const uint8_t * p) {
    static_assert(group == 4 || group == 8);
    if (group == 8) {
        return of_bytes(vcombine_u8(vdup_n_u8(p[0]), vdup_n_u8(p[1])));
    }
    uint32_t four;
    memcpy(&four, p, sizeof(four));
    const uint8x16_t all = vreinterpretq_u8_u32(vdupq_n_u32(four)), twice = vzip1q_u8(all, all);
    return of_bytes(vzip1q_u8(twice, twice));
}

inline ivec widen_low(ivec bytes) { return of_bytes(vzip1q_u8(vdupq_n_u8(0), as_bytes(bytes))); }
inline ivec widen_high(ivec bytes) { return of_bytes(vzip2q_u8(vdupq_n_u8(0), as_bytes(bytes))); }

inline ivec narrow_signed(ivec low, ivec high) { return of_bytes(vuzp1q_u8(as_bytes(low), as_bytes(high))); }
inline ivec narrow_unsigned(ivec low, ivec high) { return narrow_signed(low, high); }

template <int n> inline ivec shift(ivec v) { return of_shorts(vreinterpretq_s16_u16(vshlq_u16(vreinterpretq_u16_s32(v), vdupq_n_s16(n)))); }
template <int n> inline ivec shift_signed(ivec v) { return of_shorts(vshrq_n_s16(as_shorts(v), n)); }
inline ivec mul_rounded(ivec a, ivec b) { return of_shorts(vqrdmulhq_s16(as_shorts(a), as_shorts(b))); }

} // namespace
} // namespace cpu::detail
