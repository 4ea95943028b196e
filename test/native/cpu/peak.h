// What one thread's arithmetic units reach on registers alone: the yardstick of cpu-bench.
#pragma once

#include "../../../native/cpu/types.h"

namespace cpu::bench {

// Two operations a multiply-add. int8 counts the instructions that the level's own kernels use: without VNNI
// multiply pairs, widen, add. 0 where this file knows no chain for the level.
struct Peak {
    double float_gops = 0, int8_gops = 0;
};

Peak measure_peak(Isa isa);

// One per instruction set, in peak-*.cpp: runs n rounds of a chain of independent operations and returns how many
// multiply-adds a round has.
struct Chains {
    double (*run_float)(long n);
    double (*run_int8)(long n);
};

Chains avx2_chains();
Chains avx_vnni_chains();
Chains avx512_chains();
Chains avx512_vnni_chains();
Chains amx_chains();

} // namespace cpu::bench
