// The vector layer on AVX-512 (F, BW, DQ, VL). See vec-avx2.h for what the names mean.
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized" // GCC 12 warns of its own _mm512_undefined_ps()
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

namespace cpu::detail {
namespace { // one copy per file, see kernels.h

using vec  = __m512;
using ivec = __m512i;

constexpr int lanes         = 16;
constexpr int panel_vectors = 2;
constexpr int float_rows    = 12;

inline vec load(const float * p) { return _mm512_loadu_ps(p); }
inline void store(float * p, vec v) { _mm512_storeu_ps(p, v); }
inline vec set(float x) { return _mm512_set1_ps(x); }
inline vec add(vec a, vec b) { return _mm512_add_ps(a, b); }
inline vec sub(vec a, vec b) { return _mm512_sub_ps(a, b); }
inline vec mul(vec a, vec b) { return _mm512_mul_ps(a, b); }
inline vec div(vec a, vec b) { return _mm512_div_ps(a, b); }
inline vec max(vec a, vec b) { return _mm512_max_ps(a, b); }
inline vec min(vec a, vec b) { return _mm512_min_ps(a, b); }
inline vec fma(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }
inline vec fnma(vec a, vec b, vec c) { return _mm512_fnmadd_ps(a, b, c); }
inline vec abs(vec a) { return _mm512_andnot_ps(set(-0.0f), a); }
inline vec round(vec a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline vec sign_of(vec magnitude, vec a) { return _mm512_or_ps(magnitude, _mm512_and_ps(set(-0.0f), a)); }
inline vec where_less(vec a, vec b, vec yes, vec no) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes); }

inline vec power_of_two(vec n) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23));
}

// v times 2^n, for normal numbers.
inline vec times_power_of_two(vec v, vec n) {
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(v), _mm512_slli_epi32(_mm512_cvtps_epi32(n), 23)));
}

inline __m256 upper_half(vec v) { return _mm512_extractf32x8_ps(v, 1); }

inline float sum(vec v) {
    const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(v), upper_half(v));
    __m128       s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    s              = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

inline float largest(vec v) {
    const __m256 h = _mm256_max_ps(_mm512_castps512_ps256(v), upper_half(v));
    __m128       s = _mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    s              = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}

// A bit for each lane below n; none for n <= 0, all for n >= 16.
inline __mmask16 below(int n) { return n <= 0 ? __mmask16(0) : n >= lanes ? __mmask16(0xffff) : __mmask16((1u << n) - 1); }

inline vec in_range(int first, int end, vec inside, vec outside) {
    return _mm512_mask_blend_ps(__mmask16(below(end) & ~below(first)), outside, inside);
}

inline vec load_first(const float * p, int n) { return _mm512_maskz_loadu_ps(below(n), p); }
inline void store_first(float * p, vec v, int n) { _mm512_mask_storeu_ps(p, below(n), v); }

inline vec widen_f16(const uint16_t * p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p))); }
inline vec widen_bf16(const uint16_t * p) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

inline vec swap_pairs(vec v) { return _mm512_permute_ps(v, 0xb1); }
inline vec spread_low(vec v) { return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), v); }
inline vec alternate_signs(vec v) { return _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(v), _mm512_set1_epi64(0x80000000))); }

// Turns rows[0..15] into columns: pairs, fours, then 128-bit parts.
inline void transpose(vec * rows) {
    vec a[16], b[16];
    for (int i = 0; i < 16; i += 2) {
        a[i]     = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        a[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        b[i]     = _mm512_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm512_shuffle_ps(a[i], a[i + 2], 0xee);
        b[i + 2] = _mm512_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm512_shuffle_ps(a[i + 1], a[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) { // b[4 j + i] holds columns i, i + 4, i + 8, i + 12 of rows 4 j .. 4 j + 3
        const vec low_0  = _mm512_shuffle_f32x4(b[i], b[i + 4], 0x88);
        const vec high_0 = _mm512_shuffle_f32x4(b[i], b[i + 4], 0xdd);
        const vec low_1  = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0x88);
        const vec high_1 = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0xdd);
        rows[i]          = _mm512_shuffle_f32x4(low_0, low_1, 0x88);
        rows[i + 4]      = _mm512_shuffle_f32x4(high_0, high_1, 0x88);
        rows[i + 8]      = _mm512_shuffle_f32x4(low_0, low_1, 0xdd);
        rows[i + 12]     = _mm512_shuffle_f32x4(high_0, high_1, 0xdd);
    }
}

// --- int8 ------------------------------------------------------------------------------------------

inline ivec load_bytes(const void * p) { return _mm512_load_si512(p); }
inline ivec set_int(int32_t x) { return _mm512_set1_epi32(x); }
inline vec  to_float(ivec v) { return _mm512_cvtepi32_ps(v); }

inline ivec broadcast_group(const int8_t * p) {
    int32_t bits;
    memcpy(&bits, p, sizeof(bits));
    return _mm512_set1_epi32(bits);
}

inline void keep(ivec & v) {
#if defined(__GNUC__) && !defined(CPU_EMULATED)
    __asm__("" : "+v"(v));
#else
    (void) v;
#endif
}

inline ivec add_int(ivec a, ivec b) { return _mm512_add_epi32(a, b); }
inline ivec max_int(ivec a, ivec b) { return _mm512_max_epi32(a, b); }
inline ivec and_int(ivec a, ivec b) { return _mm512_and_si512(a, b); }
inline vec  as_float(ivec v) { return _mm512_castsi512_ps(v); }
inline ivec as_int(vec v) { return _mm512_castps_si512(v); }

inline void store_int(int32_t * p, ivec v) { _mm512_storeu_si512(p, v); }
inline void store_shorts(int16_t * p, vec v) { _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(v))); }

inline ivec pair_up(vec low, vec high) {
    return _mm512_or_si512(_mm512_and_si512(_mm512_cvtps_epi32(low), _mm512_set1_epi32(0xffff)), _mm512_slli_epi32(_mm512_cvtps_epi32(high), 16));
}

inline ivec to_int(vec v) { return _mm512_cvtps_epi32(v); }

inline void store_codes(int8_t * codes, const ivec * v) {
    _mm_storeu_si128(reinterpret_cast<__m128i *>(codes), _mm512_cvtepi32_epi8(v[0]));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(codes + 16), _mm512_cvtepi32_epi8(v[1]));
}

inline ivec to_codes(const vec * x, float inverse, int8_t * codes) {
    const vec  scale = set(inverse);
    const ivec v[2]  = {to_int(mul(x[0], scale)), to_int(mul(x[1], scale))};
    store_codes(codes, v);
    return add_int(v[0], v[1]);
}

inline vec swap_twos(vec v) { return _mm512_permute_ps(v, 0x4e); }
inline vec first_of_four(vec v) { return _mm512_permute_ps(v, 0); }

inline vec largest_of_fours(vec v) {
    const vec of_two = as_float(max_int(as_int(v), as_int(_mm512_shuffle_f32x4(v, v, 0x4e))));
    return as_float(max_int(as_int(of_two), as_int(_mm512_shuffle_f32x4(of_two, of_two, 0xb1))));
}

inline vec join_halves(vec low, vec high) { return _mm512_mask_blend_ps(0xff00, low, high); }
inline vec lowest_four(vec v) { return _mm512_shuffle_f32x4(v, v, 0x00); }
inline vec highest_four(vec v) { return _mm512_shuffle_f32x4(v, v, 0xff); }

// --- Bytes to codes, for unpack-kernels.h ----------------------------------------------------------

inline ivec load_any(const uint8_t * p) { return _mm512_loadu_si512(p); }
inline ivec or_int(ivec a, ivec b) { return _mm512_or_si512(a, b); }
inline ivec add_bytes(ivec a, ivec b) { return _mm512_add_epi8(a, b); }
inline ivec sub_bytes(ivec a, ivec b) { return _mm512_sub_epi8(a, b); }
inline ivec even_lanes(ivec a, ivec b) {
    return _mm512_permutex2var_epi32(a, _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), b);
}
inline ivec odd_lanes(ivec a, ivec b) {
    return _mm512_permutex2var_epi32(a, _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), b);
}

template <int t> inline ivec negate_where(ivec bytes, ivec bits) {
    return _mm512_mask_sub_epi8(bytes, _mm512_test_epi8_mask(bits, set_int(int32_t((1u << t) * 0x01010101u))), set_int(0), bytes);
}
inline ivec add_shorts(ivec a, ivec b) { return _mm512_add_epi16(a, b); }
inline ivec bytes_to_ints(const uint8_t * p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))); }

inline ivec repeat_table(const uint8_t * table) { return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i *>(table))); }
inline ivec look_up(ivec table, ivec bytes) { return _mm512_shuffle_epi8(table, bytes); }

template <int group> inline ivec spread_bytes(const uint8_t * p) {
    static_assert(group == 4);
    const __m512i from = _mm512_setr_epi32(0, 0x01010101, 0x02020202, 0x03030303, 0x04040404, 0x05050505, 0x06060606, 0x07070707, 0x08080808,
                                           0x09090909, 0x0a0a0a0a, 0x0b0b0b0b, 0x0c0c0c0c, 0x0d0d0d0d, 0x0e0e0e0e, 0x0f0f0f0f);
    return _mm512_shuffle_epi8(repeat_table(p), from);
}

inline ivec widen_low(ivec bytes) { return _mm512_unpacklo_epi8(set_int(0), bytes); }
inline ivec widen_high(ivec bytes) { return _mm512_unpackhi_epi8(set_int(0), bytes); }

inline ivec narrow_signed(ivec low, ivec high) { return _mm512_packs_epi16(low, high); }
inline ivec narrow_unsigned(ivec low, ivec high) { return _mm512_packus_epi16(low, high); }

template <int n> inline ivec shift(ivec v) {
    if constexpr (n < 0) {
        return _mm512_srli_epi16(v, -n);
    } else {
        return n == 0 ? v : _mm512_slli_epi16(v, n);
    }
}
template <int n> inline ivec shift_signed(ivec v) { return _mm512_srai_epi16(v, n); }
inline ivec mul_rounded(ivec a, ivec b) { return _mm512_mulhrs_epi16(a, b); }

} // namespace
} // namespace cpu::detail
