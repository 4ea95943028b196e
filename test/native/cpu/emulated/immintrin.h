// Stands in for the compiler's header when kernels are built to be tested on a chip that lacks their instructions:
// the AVX-512, VNNI, AVX-VNNI and AMX intrinsics that we use, as plain loops. The build defines CPU_EMULATED and puts this
// folder first in the include path. 128 and 256 bit intrinsics are the real ones.
#pragma once

#include_next <immintrin.h>

#include "tiles.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

namespace emulated_types { // apart from the functions, so that argument lookup does not find those

struct Floats {
    float v[16];
};
struct Ints {
    int32_t v[16];
};
struct Bytes16 {
    int8_t v[16];
};

} // namespace emulated_types

namespace emulated {
namespace {

using emulated_types::Floats;
using emulated_types::Ints;

template <typename To, typename From> To bits_of(const From & from) {
    static_assert(sizeof(To) == sizeof(From), "a cast keeps the size");
    To to;
    memcpy(&to, &from, sizeof(to));
    return to;
}

template <typename F> Floats floats(const F & fn) {
    Floats r;
    for (int i = 0; i < 16; ++i) {
        r.v[i] = fn(i);
    }
    return r;
}

template <typename F> Ints ints(const F & fn) {
    Ints r;
    for (int i = 0; i < 16; ++i) {
        r.v[i] = fn(i);
    }
    return r;
}

inline Floats load(const void * p) { return bits_of<Floats>(*static_cast<const char(*)[64]>(p)); }
inline void   store(float * p, const Floats & a) { memcpy(p, a.v, sizeof(a.v)); }
inline Floats set(float x) { return floats([&](int) { return x; }); }
inline Floats add(const Floats & a, const Floats & b) { return floats([&](int i) { return a.v[i] + b.v[i]; }); }
inline Floats sub(const Floats & a, const Floats & b) { return floats([&](int i) { return a.v[i] - b.v[i]; }); }
inline Floats mul(const Floats & a, const Floats & b) { return floats([&](int i) { return a.v[i] * b.v[i]; }); }
inline Floats div(const Floats & a, const Floats & b) { return floats([&](int i) { return a.v[i] / b.v[i]; }); }
inline Floats max(const Floats & a, const Floats & b) { return floats([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
inline Floats min(const Floats & a, const Floats & b) { return floats([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; }); }
inline Floats fma(const Floats & a, const Floats & b, const Floats & c) { return floats([&](int i) { return fmaf(a.v[i], b.v[i], c.v[i]); }); }
inline Floats fnma(const Floats & a, const Floats & b, const Floats & c) { return floats([&](int i) { return fmaf(-a.v[i], b.v[i], c.v[i]); }); }
inline Floats roundscale(const Floats & a, int) { return floats([&](int i) { return nearbyintf(a.v[i]); }); }

template <typename F> Floats bitwise(const Floats & a, const Floats & b, const F & fn) {
    const Ints x = bits_of<Ints>(a), y = bits_of<Ints>(b);
    return bits_of<Floats>(ints([&](int i) { return fn(x.v[i], y.v[i]); }));
}
inline Floats and_(const Floats & a, const Floats & b) { return bitwise(a, b, [](int x, int y) { return x & y; }); }
inline Floats andnot(const Floats & a, const Floats & b) { return bitwise(a, b, [](int x, int y) { return ~x & y; }); }
inline Floats or_(const Floats & a, const Floats & b) { return bitwise(a, b, [](int x, int y) { return x | y; }); }

inline __mmask16 less(const Floats & a, const Floats & b, int) {
    unsigned mask = 0;
    for (int i = 0; i < 16; ++i) {
        mask |= unsigned(a.v[i] < b.v[i]) << i;
    }
    return __mmask16(mask);
}
inline Floats blend(__mmask16 m, const Floats & no, const Floats & yes) { return floats([&](int i) { return m >> i & 1 ? yes.v[i] : no.v[i]; }); }
inline Floats load_masked(__mmask16 m, const float * p) { return floats([&](int i) { return m >> i & 1 ? p[i] : 0.0f; }); }
inline void   store_masked(float * p, __mmask16 m, const Floats & a) {
    for (int i = 0; i < 16; ++i) {
        if (m >> i & 1) {
            p[i] = a.v[i];
        }
    }
}

// Within each 128-bit part.
inline Floats unpack_low(const Floats & a, const Floats & b) { return floats([&](int i) { return (i % 2 ? b : a).v[i / 4 * 4 + i % 4 / 2]; }); }
inline Floats unpack_high(const Floats & a, const Floats & b) { return floats([&](int i) { return (i % 2 ? b : a).v[i / 4 * 4 + 2 + i % 4 / 2]; }); }
inline Floats shuffle(const Floats & a, const Floats & b, int s) {
    return floats([&](int i) { return (i % 4 < 2 ? a : b).v[i / 4 * 4 + (s >> i % 4 * 2 & 3)]; });
}
inline Floats permute(const Floats & a, int s) { return shuffle(a, a, s); }
// Of whole 128-bit parts.
inline Floats shuffle_parts(const Floats & a, const Floats & b, int s) {
    return floats([&](int i) { return (i < 8 ? a : b).v[(s >> i / 4 * 2 & 3) * 4 + i % 4]; });
}
inline Floats permute_across(const Ints & index, const Floats & a) { return floats([&](int i) { return a.v[index.v[i] & 15]; }); }

inline __m256 low(const Floats & a) { return _mm256_loadu_ps(a.v); }
inline __m256 part(const Floats & a, int i) { return _mm256_loadu_ps(a.v + 8 * i); }
inline __m256i low(const Ints & a) { return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(a.v)); }
inline __m256i part(const Ints & a, int i) { return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(a.v + 8 * i)); }

inline Ints   set_int(int x) { return ints([&](int) { return x; }); }
inline Ints   set_int64(long long x) { return ints([&](int i) { return int32_t(i % 2 ? x >> 32 : x); }); }
inline Ints   add_int(const Ints & a, const Ints & b) { return ints([&](int i) { return int32_t(uint32_t(a.v[i]) + uint32_t(b.v[i])); }); }
inline Ints   xor_int(const Ints & a, const Ints & b) { return ints([&](int i) { return a.v[i] ^ b.v[i]; }); }
inline Ints   and_int(const Ints & a, const Ints & b) { return ints([&](int i) { return a.v[i] & b.v[i]; }); }
inline Ints   max_int(const Ints & a, const Ints & b) { return ints([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; }); }
inline Ints   or_int(const Ints & a, const Ints & b) { return ints([&](int i) { return a.v[i] | b.v[i]; }); }
inline void   store_ints(void * p, const Ints & a) { memcpy(p, a.v, sizeof(a.v)); }
inline Ints   shift_left(const Ints & a, int n) { return ints([&](int i) { return int32_t(uint32_t(a.v[i]) << n); }); }
inline Ints   shift_right(const Ints & a, int n) { return ints([&](int i) { return int32_t(uint32_t(a.v[i]) >> n); }); }
inline Ints   widen_i8(__m128i a) { return ints([&](int i) { return int32_t(bits_of<emulated_types::Bytes16>(a).v[i]); }); }
inline Ints   widen_u8(__m128i a) { return ints([&](int i) { return int32_t(uint8_t(bits_of<emulated_types::Bytes16>(a).v[i])); }); }
inline Ints   to_int(const Floats & a) { return ints([&](int i) { return _mm_cvtss_si32(_mm_set_ss(a.v[i])); }); }
inline Floats to_float(const Ints & a) { return floats([&](int i) { return float(a.v[i]); }); }
inline Ints   truth_table(const Ints & a, const Ints & b, const Ints & c, int table) {
    return ints([&](int i) {
        uint32_t all = 0;
        for (int bit = 0; bit < 32; ++bit) {
            const int row = (a.v[i] >> bit & 1) << 2 | (b.v[i] >> bit & 1) << 1 | (c.v[i] >> bit & 1);
            all |= uint32_t(table >> row & 1) << bit;
        }
        return int32_t(all);
    });
}
inline Ints set_four(int d, int c, int b, int a) {
    const int of[4] = {a, b, c, d};
    return ints([&](int i) { return of[i % 4]; });
}
inline Ints permute_shorts(const Ints & index, const Ints & a) {
    uint16_t from[32], at[32], to[32];
    memcpy(from, a.v, sizeof(from));
    memcpy(at, index.v, sizeof(at));
    for (int i = 0; i < 32; ++i) {
        to[i] = from[at[i] & 31];
    }
    return bits_of<Ints>(to);
}
// To the nearest, ties to even; numbers below the normal ones count as 0.
inline uint16_t to_bf16(float x) {
    const uint32_t bits = bits_of<uint32_t>(x);
    if (x != x) {
        return uint16_t(bits >> 16 | 0x40);
    }
    return (bits & 0x7f800000) == 0 ? uint16_t(bits >> 16 & 0x8000) : uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
inline Ints to_bf16(const Floats & high, const Floats & low) {
    uint16_t to[32];
    for (int i = 0; i < 16; ++i) {
        to[i]      = to_bf16(low.v[i]);
        to[16 + i] = to_bf16(high.v[i]);
    }
    return bits_of<Ints>(to);
}
inline Ints   load_int(const void * p) { return bits_of<Ints>(load(p)); }

inline Floats widen_f16(__m256i h) {
    Floats r;
    _mm256_storeu_ps(r.v, _mm256_cvtph_ps(_mm256_castsi256_si128(h)));
    _mm256_storeu_ps(r.v + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1)));
    return r;
}
inline Ints widen_u16(__m256i h) {
    uint16_t v[16];
    _mm256_storeu_si256(reinterpret_cast<__m256i *>(v), h);
    return ints([&](int i) { return int32_t(v[i]); });
}
inline __m128i to_bytes(const Ints & a) {
    int8_t v[16];
    for (int i = 0; i < 16; ++i) {
        v[i] = int8_t(a.v[i]);
    }
    return _mm_loadu_si128(reinterpret_cast<const __m128i *>(v));
}

inline __m256i to_shorts(const Ints & a) {
    int16_t v[16];
    for (int i = 0; i < 16; ++i) {
        v[i] = int16_t(a.v[i]);
    }
    return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(v));
}

struct Bytes {
    int8_t v[64];
};
struct Shorts {
    int16_t v[32];
};

inline Ints repeat_part(__m128i a) {
    int32_t v[4];
    memcpy(v, &a, sizeof(v));
    return ints([&](int i) { return v[i % 4]; });
}
inline Ints shuffle_bytes(const Ints & a, const Ints & index) { // within each 128-bit part
    const Bytes from = bits_of<Bytes>(a), at = bits_of<Bytes>(index);
    Bytes       r;
    for (int i = 0; i < 64; ++i) {
        r.v[i] = at.v[i] < 0 ? int8_t(0) : from.v[i / 16 * 16 + (at.v[i] & 15)];
    }
    return bits_of<Ints>(r);
}
inline Ints choose_bytes(const Ints & others, __mmask64 mask, const Ints & chosen) {
    Bytes       r   = bits_of<Bytes>(others);
    const Bytes all = bits_of<Bytes>(chosen);
    for (int i = 0; i < 64; ++i) {
        r.v[i] = mask >> i & 1 ? all.v[i] : r.v[i];
    }
    return bits_of<Ints>(r);
}
inline Ints shuffle_some_bytes(const Ints & others, __mmask64 mask, const Ints & a, const Ints & index) { return choose_bytes(others, mask, shuffle_bytes(a, index)); }

template <typename F> Ints each_byte(const Ints & a, const Ints & b, const F & fn) {
    Bytes x = bits_of<Bytes>(a), y = bits_of<Bytes>(b);
    for (int i = 0; i < 64; ++i) {
        x.v[i] = int8_t(fn(x.v[i], y.v[i]));
    }
    return bits_of<Ints>(x);
}
template <typename F> Ints each_short(const Ints & a, const F & fn) {
    Shorts x = bits_of<Shorts>(a);
    for (int i = 0; i < 32; ++i) {
        x.v[i] = int16_t(fn(x.v[i], i));
    }
    return bits_of<Ints>(x);
}
inline Ints add_bytes(const Ints & a, const Ints & b) { return each_byte(a, b, [](int x, int y) { return x + y; }); }
inline Ints sub_bytes(const Ints & a, const Ints & b) { return each_byte(a, b, [](int x, int y) { return x - y; }); }
inline __mmask64 test_bytes(const Ints & a, const Ints & b) {
    const Bytes both = bits_of<Bytes>(and_int(a, b));
    __mmask64   mask = 0;
    for (int i = 0; i < 64; ++i) {
        mask |= __mmask64(both.v[i] != 0) << i;
    }
    return mask;
}
inline Ints sub_some_bytes(const Ints & others, __mmask64 mask, const Ints & a, const Ints & b) { return choose_bytes(others, mask, sub_bytes(a, b)); }
inline Ints permute_two(const Ints & a, const Ints & index, const Ints & b) {
    return ints([&](int i) { return (index.v[i] & 16 ? b : a).v[index.v[i] & 15]; });
}
inline Ints shorts_left(const Ints & a, int n) { return each_short(a, [&](int x, int) { return uint16_t(x) << n; }); }
inline Ints shorts_right(const Ints & a, int n) { return each_short(a, [&](int x, int) { return uint16_t(x) >> n; }); }
inline Ints signed_right(const Ints & a, int n) { return each_short(a, [&](int x, int) { return x >> n; }); }
inline Ints multiply_rounded(const Ints & a, const Ints & b) {
    const Shorts y = bits_of<Shorts>(b);
    return each_short(a, [&](int x, int i) { return (x * y.v[i] + 0x4000) >> 15; });
}
// Within each 128-bit part: bytes of a and b in turn, from the lower half or the upper; all shorts of a, then of b.
template <int half> Ints unpack_bytes(const Ints & a, const Ints & b) {
    const Bytes x = bits_of<Bytes>(a), y = bits_of<Bytes>(b);
    Bytes       r;
    for (int i = 0; i < 64; ++i) {
        r.v[i] = (i % 2 ? y : x).v[i / 16 * 16 + half * 8 + i % 16 / 2];
    }
    return bits_of<Ints>(r);
}
template <int least, int most> Ints pack_shorts(const Ints & a, const Ints & b) {
    const Shorts x = bits_of<Shorts>(a), y = bits_of<Shorts>(b);
    Bytes        r;
    for (int i = 0; i < 64; ++i) {
        const int value = (i % 16 < 8 ? x : y).v[i / 16 * 8 + i % 8];
        r.v[i]          = int8_t(value < least ? least : value > most ? most : value);
    }
    return bits_of<Ints>(r);
}

inline int16_t saturated(int x) { return int16_t(x > 32767 ? 32767 : x < -32768 ? -32768 : x); }

inline Ints multiply_bytes(const Ints & a, const Ints & b) { // unsigned a, signed b, saturating pairs
    const Bytes x = bits_of<Bytes>(a), y = bits_of<Bytes>(b);
    Shorts      r;
    for (int i = 0; i < 32; ++i) {
        r.v[i] = saturated(uint8_t(x.v[2 * i]) * y.v[2 * i] + uint8_t(x.v[2 * i + 1]) * y.v[2 * i + 1]);
    }
    return bits_of<Ints>(r);
}
inline Ints multiply_shorts(const Ints & a, const Ints & b) {
    const Shorts x = bits_of<Shorts>(a), y = bits_of<Shorts>(b);
    return ints([&](int i) { return x.v[2 * i] * y.v[2 * i] + x.v[2 * i + 1] * y.v[2 * i + 1]; });
}
inline Ints add_shorts(const Ints & a, const Ints & b) {
    Shorts x = bits_of<Shorts>(a), y = bits_of<Shorts>(b);
    for (int i = 0; i < 32; ++i) {
        x.v[i] = int16_t(uint16_t(x.v[i]) + uint16_t(y.v[i]));
    }
    return bits_of<Ints>(x);
}
inline Ints set_short(short x) { return set_int(int32_t(uint32_t(uint16_t(x)) * 0x10001u)); }

inline int32_t dot4(int32_t sum, const uint8_t * a, const int8_t * b) { return sum + a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]; }
inline Ints    dot(const Ints & sum, const Ints & a, const Ints & b) {
    const Bytes x = bits_of<Bytes>(a), y = bits_of<Bytes>(b);
    return ints([&](int i) { return dot4(sum.v[i], reinterpret_cast<const uint8_t *>(x.v) + 4 * i, y.v + 4 * i); });
}
inline __m256i dot_256(__m256i sum, __m256i a, __m256i b) {
    int32_t s[8];
    uint8_t x[32];
    int8_t  y[32];
    memcpy(s, &sum, 32);
    memcpy(x, &a, 32);
    memcpy(y, &b, 32);
    for (int i = 0; i < 8; ++i) {
        s[i] = dot4(s[i], x + 4 * i, y + 4 * i);
    }
    return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(s));
}

inline Ints    dot_shorts(const Ints & sum, const Ints & a, const Ints & b) { return add_int(sum, multiply_shorts(a, b)); }
inline __m256i dot_shorts_256(__m256i sum, __m256i a, __m256i b) { return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)); }

} // namespace
} // namespace emulated

#define __m512  emulated::Floats
#define __m512i emulated::Ints

#define _mm512_loadu_ps         emulated::load
#define _mm512_storeu_ps        emulated::store
#define _mm512_set1_ps          emulated::set
#define _mm512_add_ps           emulated::add
#define _mm512_sub_ps           emulated::sub
#define _mm512_mul_ps           emulated::mul
#define _mm512_div_ps           emulated::div
#define _mm512_max_ps           emulated::max
#define _mm512_min_ps           emulated::min
#define _mm512_fmadd_ps         emulated::fma
#define _mm512_fnmadd_ps        emulated::fnma
#define _mm512_and_ps           emulated::and_
#define _mm512_andnot_ps        emulated::andnot
#define _mm512_or_ps            emulated::or_
#undef _mm512_roundscale_ps
#define _mm512_roundscale_ps    emulated::roundscale
#undef _mm512_cmp_ps_mask
#define _mm512_cmp_ps_mask      emulated::less // the only comparison we use
#define _mm512_mask_blend_ps    emulated::blend
#define _mm512_maskz_loadu_ps   emulated::load_masked
#define _mm512_mask_storeu_ps   emulated::store_masked
#define _mm512_unpacklo_ps      emulated::unpack_low
#define _mm512_unpackhi_ps      emulated::unpack_high
#undef _mm512_shuffle_ps
#define _mm512_shuffle_ps       emulated::shuffle
#undef _mm512_permute_ps
#define _mm512_permute_ps       emulated::permute
#undef _mm512_shuffle_f32x4
#define _mm512_shuffle_f32x4    emulated::shuffle_parts
#define _mm512_permutexvar_ps   emulated::permute_across
#define _mm512_castps512_ps256  emulated::low
#define _mm512_castsi512_si256  emulated::low
#undef _mm512_extractf32x8_ps
#define _mm512_extractf32x8_ps  emulated::part
#undef _mm512_extracti64x4_epi64
#define _mm512_extracti64x4_epi64 emulated::part
#define _mm512_castsi512_ps     emulated::bits_of<emulated::Floats>
#define _mm512_castps_si512     emulated::bits_of<emulated::Ints>
#define _mm512_set1_epi32       emulated::set_int
#define _mm512_set1_epi64       emulated::set_int64
#define _mm512_set1_epi16       emulated::set_short
#undef _mm512_setr_epi32
#define _mm512_setr_epi32(...)  (emulated::Ints{{__VA_ARGS__}})
#define _mm512_add_epi32        emulated::add_int
#define _mm512_add_epi16        emulated::add_shorts
#define _mm512_add_epi8         emulated::add_bytes
#define _mm512_sub_epi8         emulated::sub_bytes
#define _mm512_test_epi8_mask   emulated::test_bytes
#define _mm512_mask_sub_epi8    emulated::sub_some_bytes
#define _mm512_permutex2var_epi32 emulated::permute_two
#undef _mm512_slli_epi16
#define _mm512_slli_epi16       emulated::shorts_left
#undef _mm512_srli_epi16
#define _mm512_srli_epi16       emulated::shorts_right
#undef _mm512_srai_epi16
#define _mm512_srai_epi16       emulated::signed_right
#define _mm512_mulhrs_epi16     emulated::multiply_rounded
#define _mm512_unpacklo_epi8    emulated::unpack_bytes<0>
#define _mm512_unpackhi_epi8    emulated::unpack_bytes<1>
#define _mm512_packs_epi16      (emulated::pack_shorts<-128, 127>)
#define _mm512_packus_epi16     (emulated::pack_shorts<0, 255>)
#define _mm512_xor_si512        emulated::xor_int
#define _mm512_and_si512        emulated::and_int
#define _mm512_max_epi32        emulated::max_int
#define _mm512_or_si512         emulated::or_int
#define _mm512_storeu_si512     emulated::store_ints
#define _mm512_cvtepi32_epi16   emulated::to_shorts
#define _mm512_dpwssd_epi32     emulated::dot_shorts
#undef _mm256_dpwssd_avx_epi32
#define _mm256_dpwssd_avx_epi32 emulated::dot_shorts_256
#undef _mm512_slli_epi32
#define _mm512_slli_epi32       emulated::shift_left
#undef _mm512_srli_epi32
#define _mm512_srli_epi32       emulated::shift_right
#define _mm512_cvtepi8_epi32    emulated::widen_i8
#define _mm512_cvtepu8_epi32    emulated::widen_u8
#define _mm512_cvtps_epi32      emulated::to_int
#define _mm512_cvtepi32_ps      emulated::to_float
#define _mm512_load_si512       emulated::load_int
#define _mm512_loadu_si512      emulated::load_int
#define _mm512_broadcast_i32x4  emulated::repeat_part
#define _mm512_shuffle_epi8     emulated::shuffle_bytes
#define _mm512_mask_shuffle_epi8 emulated::shuffle_some_bytes
#undef _mm512_ternarylogic_epi32
#define _mm512_ternarylogic_epi32 emulated::truth_table
#define _mm512_set4_epi32       emulated::set_four
#define _mm512_permutexvar_epi16 emulated::permute_shorts
#define _mm512_cvtne2ps_pbh     emulated::to_bf16
#define _mm512_cvtph_ps         emulated::widen_f16
#define _mm512_cvtepu16_epi32   emulated::widen_u16
#define _mm512_cvtepi32_epi8    emulated::to_bytes
#define _mm512_maddubs_epi16    emulated::multiply_bytes
#define _mm512_madd_epi16       emulated::multiply_shorts
#define _mm512_dpbusd_epi32     emulated::dot
#undef _mm256_dpbusd_avx_epi32
#define _mm256_dpbusd_avx_epi32 emulated::dot_256

#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbssd
#undef _tile_dpbf16ps
#define _tile_loadconfig        emulated::configure_tiles
#define _tile_release           emulated::release_tiles
#define _tile_loadd             emulated::load_tile
#define _tile_stored            emulated::store_tile
#define _tile_zero              emulated::zero_tile
#define _tile_dpbssd            emulated::multiply_tiles
#define _tile_dpbf16ps          emulated::multiply_bf16_tiles
