// Kernels for ARM with the dot product instructions: since Cortex-A75, Apple A12, Graviton2.
#include "kernels.h"

#if defined(__aarch64__) || defined(_M_ARM64)

#ifdef __ARM_FEATURE_DOTPROD

#define CPU_FLOAT_ROWS 6
#include "unroll.h"
#include "vec-neon.h"
#include "int8-dotprod.h"
#include "float-kernels.h"
#include "int8-kernels.h"
#include "quantize-kernels.h"
#include "row-kernels.h"
#include "no-unpack.h"
#include "table.h"

namespace cpu::detail {
namespace {
constexpr Kernels table = make_table(Isa::dotprod, {}, &dotprod_fine_blocks);
}
const Kernels * dotprod_kernels() { return &table; }
} // namespace cpu::detail

#else

namespace cpu::detail {
const Kernels * dotprod_kernels() { return nullptr; }
} // namespace cpu::detail

#endif
#endif
