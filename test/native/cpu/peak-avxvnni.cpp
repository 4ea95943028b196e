// Chains for AVX-VNNI: 12 independent sums, written in assembly so that no compiler shortens them.
#include "peak.h"

#if defined(__x86_64__)

namespace cpu::bench {

#define EACH(step) step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7) step(8) step(9) step(10) step(11)
#define SUMS "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm13", "xmm15"

static double run_float(long n) {
#define STEP(i) "vfmadd231ps %%ymm15, %%ymm15, %%ymm" #i "\n"
    __asm__ volatile("vzeroall\n1:\n" EACH(STEP) "dec %0\njnz 1b\nvzeroupper\n" : "+r"(n) : : SUMS);
#undef STEP
    return 12 * 8;
}

static double run_int8(long n) {
#define STEP(i) "%{vex%} vpdpbusd %%ymm15, %%ymm15, %%ymm" #i "\n"
    __asm__ volatile("vzeroall\n1:\n" EACH(STEP) "dec %0\njnz 1b\nvzeroupper\n" : "+r"(n) : : SUMS);
#undef STEP
    return 12 * 32;
}

Chains avx_vnni_chains() { return {run_float, run_int8}; }

} // namespace cpu::bench

#endif
