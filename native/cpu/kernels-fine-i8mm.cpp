// The int8 products of kernels-i8mm.cpp with blocks of 32 inputs and exact scales.
#include "kernels.h"

#if defined(__aarch64__) || defined(_M_ARM64)

#ifdef __ARM_FEATURE_MATMUL_INT8

#define CPU_FINE_BLOCKS
#define CPU_FLOAT_ROWS 6
#include "unroll.h"
#include "vec-neon.h"
#include "int8-i8mm.h"
#include "quantize-kernels.h"
#include "unpack-kernels.h"

namespace cpu::detail {
const BlockKernels i8mm_fine_blocks = {format, block_tiles, quantize_blocks, unpack};
} // namespace cpu::detail

#endif
#endif
