// The int8 products of kernels-avx512vnni.cpp with blocks of 32 inputs and exact scales.
#include "kernels.h"

#if defined(__x86_64__) || defined(_M_X64)

#if defined(__AVX512VNNI__) || defined(CPU_EMULATED)

#define CPU_FINE_BLOCKS
#define CPU_FLOAT_ROWS 12
#include "unroll.h"
#include "vec-avx512.h"
#include "int8-avx512vnni.h"
#include "int8-kernels.h"
#include "quantize-kernels.h"
#include "unpack-kernels.h"

namespace cpu::detail {
const BlockKernels avx512_vnni_fine_blocks = {format, block_tiles, quantize_blocks, unpack};
} // namespace cpu::detail

#endif
#endif
