// The vector layer on AVX2 + FMA: what the kernels in *-kernels.h are written in. Every vec-*.h offers the same names.
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

namespace cpu::detail {
namespace { // one copy per file, see kernels.h

using vec  = __m256;  // floats
using ivec = __m256i; // int32s, or the bytes behind them

constexpr int lanes         = 8;
constexpr int panel_vectors = 2;
constexpr int float_rows    = 6;

inline vec load(const float * p) { return _mm256_loadu_ps(p); }
inline void store(float * p, vec v) { _mm256_storeu_ps(p, v); }
inline vec set(float x) { return _mm256_set1_ps(x); }
inline vec add(vec a, vec b) { return _mm256_add_ps(a, b); }
inline vec sub(vec a, vec b) { return _mm256_sub_ps(a, b); }
inline vec mul(vec a, vec b) { return _mm256_mul_ps(a, b); }
inline vec div(vec a, vec b) { return _mm256_div_ps(a, b); }
inline vec max(vec a, vec b) { return _mm256_max_ps(a, b); }
inline vec min(vec a, vec b) { return _mm256_min_ps(a, b); }
inline vec fma(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }   // a * b + c
inline vec fnma(vec a, vec b, vec c) { return _mm256_fnmadd_ps(a, b, c); } // c - a * b
inline vec abs(vec a) { return _mm256_andnot_ps(set(-0.0f), a); }
inline vec round(vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline vec sign_of(vec magnitude, vec a) { return _mm256_or_ps(magnitude, _mm256_and_ps(set(-0.0f), a)); }
inline vec where_less(vec a, vec b, vec yes, vec no) { return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ)); }

// 2^n for whole n in [-126, 127].
inline vec power_of_two(vec n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}

// v times 2^n, for normal numbers.
inline vec times_power_of_two(vec v, vec n) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v), _mm256_slli_epi32(_mm256_cvtps_epi32(n), 23)));
}

inline float sum(vec v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s        = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

inline float largest(vec v) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s        = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}

inline __m256i indices() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }

// `inside` in the lanes [first, end), `outside` elsewhere.
inline vec in_range(int first, int end, vec inside, vec outside) {
    const __m256i i    = indices();
    const __m256i mask = _mm256_and_si256(_mm256_cmpgt_epi32(i, _mm256_set1_epi32(first - 1)), _mm256_cmpgt_epi32(_mm256_set1_epi32(end), i));
    return _mm256_blendv_ps(outside, inside, _mm256_castsi256_ps(mask));
}

// The first n < 8 lanes; the rest is read as zero.
inline vec load_first(const float * p, int n) { return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32(n), indices())); }

// Masked stores are slow on AMD, so this one goes by halves.
inline void store_first(float * p, vec v, int n) {
    __m128 part = _mm256_castps256_ps128(v);
    if (n & 4) {
        _mm_storeu_ps(p, part);
        p += 4;
        part = _mm256_extractf128_ps(v, 1);
    }
    if (n & 2) {
        _mm_storel_pi(reinterpret_cast<__m64 *>(p), part);
        p += 2;
        part = _mm_movehl_ps(part, part);
    }
    if (n & 1) {
        _mm_store_ss(p, part);
    }
}

inline vec widen_f16(const uint16_t * p) { return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p))); }
inline vec widen_bf16(const uint16_t * p) {
    const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(p)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

// Swaps (x0, x1) for (x1, x0) in every pair, and the lane signs of a turn: -, +, -, + ...
inline vec swap_pairs(vec v) { return _mm256_permute_ps(v, 0xb1); }
inline vec spread_low(vec v) { return _mm256_permutevar8x32_ps(v, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3)); }
inline vec alternate_signs(vec v) { return _mm256_xor_ps(v, _mm256_setr_ps(-0.0f, 0, -0.0f, 0, -0.0f, 0, -0.0f, 0)); }

// Turns rows[0..7] into columns.
inline void transpose(vec * rows) {
    vec a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i]     = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
        a[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        b[i]     = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
        b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
        rows[i]     = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
        rows[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
}

// --- int8 ------------------------------------------------------------------------------------------

inline ivec load_bytes(const void * p) { return _mm256_load_si256(static_cast<const __m256i *>(p)); }
inline ivec set_int(int32_t x) { return _mm256_set1_epi32(x); }
inline vec  to_float(ivec v) { return _mm256_cvtepi32_ps(v); }

inline ivec broadcast_group(const int8_t * p) {
    int32_t bits;
    memcpy(&bits, p, sizeof(bits));
    return _mm256_set1_epi32(bits);
}

// Keeps a value in its register: GCC otherwise spills sums of an unrolled loop.
inline void keep(ivec & v) {
#if defined(__GNUC__) && !defined(CPU_EMULATED)
    __asm__("" : "+x"(v));
#else
    (void) v;
#endif
}

inline ivec add_int(ivec a, ivec b) { return _mm256_add_epi32(a, b); }
inline ivec max_int(ivec a, ivec b) { return _mm256_max_epi32(a, b); }
inline ivec and_int(ivec a, ivec b) { return _mm256_and_si256(a, b); }
inline vec  as_float(ivec v) { return _mm256_castsi256_ps(v); }
inline ivec as_int(vec v) { return _mm256_castps_si256(v); }

inline void store_int(int32_t * p, ivec v) { _mm256_storeu_si256(reinterpret_cast<__m256i *>(p), v); }

// Rounds to 16 bits.
inline void store_shorts(int16_t * p, vec v) {
    const __m256i wide = _mm256_cvtps_epi32(v);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(p), _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1)));
}

// Rounds to the lower and the upper 16 bits of each lane.
inline ivec pair_up(vec low, vec high) {
    return _mm256_or_si256(_mm256_and_si256(_mm256_cvtps_epi32(low), _mm256_set1_epi32(0xffff)), _mm256_slli_epi32(_mm256_cvtps_epi32(high), 16));
}

inline ivec to_int(vec v) { return _mm256_cvtps_epi32(v); }

// 32 ints to bytes.
inline void store_codes(int8_t * codes, const ivec * v) {
    // The packs work in 128-bit halves and leave the bytes in the order of 32-bit groups 0 2 4 6, 1 3 5 7.
    const __m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(v[0], v[1]), _mm256_packs_epi32(v[2], v[3]));
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(codes), _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
}

// Rounds 32 floats times `inverse` to bytes. The lanes of what it returns add up to the sum of the codes.
inline ivec to_codes(const vec * x, float inverse, int8_t * codes) {
    const vec  scale = set(inverse);
    const ivec v[4]  = {to_int(mul(x[0], scale)), to_int(mul(x[1], scale)), to_int(mul(x[2], scale)), to_int(mul(x[3], scale))};
    store_codes(codes, v);
    return add_int(add_int(v[0], v[1]), add_int(v[2], v[3]));
}

// Within 128 bits: the other two lanes; the first lane everywhere.
inline vec swap_twos(vec v) { return _mm256_permute_ps(v, 0x4e); }
inline vec first_of_four(vec v) { return _mm256_permute_ps(v, 0); }

// The largest of the lanes in the same place of each 128 bits, as integers, in all of these.
inline vec largest_of_fours(vec v) { return as_float(max_int(as_int(v), as_int(_mm256_permute2f128_ps(v, v, 1)))); }

// The lower half of one and the upper half of the other; the lower or upper 128 bits everywhere.
inline vec join_halves(vec low, vec high) { return _mm256_blend_ps(low, high, 0xf0); }
inline vec lowest_four(vec v) { return _mm256_permute2f128_ps(v, v, 0x00); }
inline vec highest_four(vec v) { return _mm256_permute2f128_ps(v, v, 0x11); }

// --- Bytes to codes, for unpack-kernels.h ----------------------------------------------------------

inline ivec load_any(const uint8_t * p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)); } // however aligned
inline ivec or_int(ivec a, ivec b) { return _mm256_or_si256(a, b); }
inline ivec add_bytes(ivec a, ivec b) { return _mm256_add_epi8(a, b); }
inline ivec sub_bytes(ivec a, ivec b) { return _mm256_sub_epi8(a, b); }

// The even or odd 32-bit lanes of both, in order.
inline ivec even_lanes(ivec a, ivec b) {
    const __m256 both = _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88);
    return _mm256_permute4x64_epi64(_mm256_castps_si256(both), 0xd8);
}
inline ivec odd_lanes(ivec a, ivec b) {
    const __m256 both = _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0xdd);
    return _mm256_permute4x64_epi64(_mm256_castps_si256(both), 0xd8);
}

// -byte where bit t of `bits` is set.
template <int t> inline ivec negate_where(ivec bytes, ivec bits) {
    return _mm256_sign_epi8(bytes, _mm256_or_si256(_mm256_slli_epi16(bits, 7 - t), _mm256_set1_epi8(1)));
}

inline ivec add_shorts(ivec a, ivec b) { return _mm256_add_epi16(a, b); }

// As many bytes as a vector has lanes, none negative.
inline ivec bytes_to_ints(const uint8_t * p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i *>(p))); }

// Each 16 bytes: table[byte], for bytes below 16; 0 for 128. The same table for all by repeat_table().
inline ivec repeat_table(const uint8_t * table) { return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i *>(table))); }
inline ivec look_up(ivec table, ivec bytes) { return _mm256_shuffle_epi8(table, bytes); }

// As many bytes as a vector holds groups, each `group` times.
template <int group> inline ivec spread_bytes(const uint8_t * p) {
    static_assert(group == 4);
    int64_t all;
    memcpy(&all, p, sizeof(all));
    const __m256i from = _mm256_setr_epi32(0, 0x01010101, 0x02020202, 0x03030303, 0x04040404, 0x05050505, 0x06060606, 0x07070707);
    return _mm256_shuffle_epi8(_mm256_set1_epi64x(all), from);
}

// The lower or upper 8 bytes of each 128 bits, as the upper halves of 16 bits.
inline ivec widen_low(ivec bytes) { return _mm256_unpacklo_epi8(_mm256_setzero_si256(), bytes); }
inline ivec widen_high(ivec bytes) { return _mm256_unpackhi_epi8(_mm256_setzero_si256(), bytes); }

// 16 bits each back to bytes, which they must fit.
inline ivec narrow_signed(ivec low, ivec high) { return _mm256_packs_epi16(low, high); }
inline ivec narrow_unsigned(ivec low, ivec high) { return _mm256_packus_epi16(low, high); }

// Of 16 bits: n to the left, or -n to the right; n to the right, with the sign; (a * b + 2^14) >> 15.
template <int n> inline ivec shift(ivec v) {
    if constexpr (n < 0) {
        return _mm256_srli_epi16(v, -n);
    } else {
        return n == 0 ? v : _mm256_slli_epi16(v, n);
    }
}
template <int n> inline ivec shift_signed(ivec v) { return _mm256_srai_epi16(v, n); }
inline ivec mul_rounded(ivec a, ivec b) { return _mm256_mulhrs_epi16(a, b); }

} // namespace
} // namespace cpu::detail
