// Chains for AMX: six independent sums in tiles, in bf16, as which int8 weights with a scale per block are multiplied (a scale per row
// reaches twice as much). Floats are those of AVX-512.
#include "peak.h"

#if defined(__x86_64__)

namespace cpu::bench {

static double run_int8(long n) {
    alignas(64) unsigned char config[64] = {1}; // eight tiles of 16 rows of 64 bytes
    for (int i = 0; i < 8; ++i) {
        config[16 + 2 * i] = 64;
        config[48 + i]     = 16;
    }
#define STEP(i) "tdpbf16ps %%tmm7, %%tmm6, %%tmm" #i "\n"
    __asm__ volatile("ldtilecfg %1\n1:\n" STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) "dec %0\njnz 1b\ntilerelease\n" : "+r"(n) : "m"(config));
#undef STEP
    return 6 * 16 * 16 * 32;
}

Chains amx_chains() { return {avx512_vnni_chains().run_float, run_int8}; }

} // namespace cpu::bench

#endif
