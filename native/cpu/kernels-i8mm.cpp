// Kernels for ARM with int8 matrix instructions: since Cortex-A510, Apple M2, Graviton3.
#include "kernels.h"

#if defined(__aarch64__) || defined(_M_ARM64)

#ifdef __ARM_FEATURE_MATMUL_INT8

#define CPU_FLOAT_ROWS 6
#include "unroll.h"
#include "vec-neon.h"
#include "int8-i8mm.h"
#include "float-kernels.h"
#include "quantize-kernels.h"
#include "row-kernels.h"
#include "no-unpack.h"
#include "table.h"

namespace cpu::detail {
namespace {
constexpr Kernels table = make_table(Isa::i8mm, {}, &i8mm_fine_blocks);
}
const Kernels * i8mm_kernels() { return &table; }
} // namespace cpu::detail

#else

namespace cpu::detail {
const Kernels * i8mm_kernels() { return nullptr; }
} // namespace cpu::detail

#endif
#endif
