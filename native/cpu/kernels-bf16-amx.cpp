// Products in bf16 for kernels-amx.cpp: with a scale per block of weights, and attention.
#include "amx.h"

#if defined(__x86_64__) || defined(_M_X64)

#if defined(__AMX_INT8__) || defined(CPU_EMULATED)

#include "unroll.h"
#include "bf16-amx.h"
#include "pair-amx.h"

namespace cpu::detail {
const BlockKernels amx_blocks = {format, block_tiles, round_blocks, unpack, /*reads_low_bits*/ true};
const PairKernels  amx_pairs  = pair_kernels;
} // namespace cpu::detail

#endif
#endif
