// The int8 products of kernels-avxvnni.cpp with blocks of 32 inputs and exact scales.
#include "kernels.h"

#if defined(__x86_64__) || defined(_M_X64)

#if defined(__AVXVNNI__) || defined(CPU_EMULATED)

#define CPU_FINE_BLOCKS
#define CPU_FLOAT_ROWS 6
#include "unroll.h"
#include "vec-avx2.h"
#include "int8-avxvnni.h"
#include "int8-kernels.h"
#include "quantize-kernels.h"
#include "unpack-kernels.h"

namespace cpu::detail {
const BlockKernels avx_vnni_fine_blocks = {format, block_tiles, quantize_blocks, unpack};
} // namespace cpu::detail

#endif
#endif
