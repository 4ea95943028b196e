// Asks for loops of constant length to be unrolled, so that small arrays of vectors become registers.
#pragma once

#if defined(__clang__)
#define CPU_UNROLL   _Pragma("clang loop unroll(full)")
#define CPU_UNROLL_2 _Pragma("clang loop unroll_count(2)")
#elif defined(__GNUC__)
#define CPU_UNROLL   _Pragma("GCC unroll 16")
#define CPU_UNROLL_2 _Pragma("GCC unroll 2")
#else
#define CPU_UNROLL
#define CPU_UNROLL_2
#endif
