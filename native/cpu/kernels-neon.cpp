// Kernels for any 64-bit ARM.
#include "kernels.h"

#if defined(__aarch64__) || defined(_M_ARM64)

#define CPU_FLOAT_ROWS 6
#include "unroll.h"
#include "vec-neon.h"
#include "int8-neon.h"
#include "float-kernels.h"
#include "int8-kernels.h"
#include "quantize-kernels.h"
#include "row-kernels.h"
#include "unpack-kernels.h"
#include "table.h"

namespace cpu::detail {
namespace {
constexpr Kernels table = make_table(Isa::neon);
}
const Kernels * neon_kernels() { return &table; }
} // namespace cpu::detail

#endif
