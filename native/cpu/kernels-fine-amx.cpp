// The int8 products of kernels-amx.cpp with blocks of 32 inputs.
#include "kernels.h"

#if defined(__x86_64__) || defined(_M_X64)

#if defined(__AMX_INT8__) || defined(CPU_EMULATED)

#define CPU_FINE_BLOCKS
#include "unroll.h"
#include "vec-avx512.h"
#include "int8-amx.h"
#include "quantize-kernels.h"
#include "unpack-kernels.h"

namespace cpu::detail {
const BlockKernels amx_fine_blocks = {format, block_tiles, quantize_blocks, unpack};
} // namespace cpu::detail

#endif
#endif
