// The int8 products of kernels-dotprod.cpp with blocks of 32 inputs and exact scales.
#include "kernels.h"

#if defined(__aarch64__) || defined(_M_ARM64)

#ifdef __ARM_FEATURE_DOTPROD

#define CPU_FINE_BLOCKS
#define CPU_FLOAT_ROWS 6
#include "unroll.h"
#include "vec-neon.h"
#include "int8-dotprod.h"
#include "int8-kernels.h"
#include "quantize-kernels.h"
#include "unpack-kernels.h"

namespace cpu::detail {
const BlockKernels dotprod_fine_blocks = {format, block_tiles, quantize_blocks, unpack};
} // namespace cpu::detail

#endif
#endif
