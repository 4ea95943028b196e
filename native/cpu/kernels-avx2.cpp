// Kernels for AVX2 + FMA + F16C: Intel since Haswell, AMD since Zen.
#include "kernels.h"

#if defined(__x86_64__) || defined(_M_X64)

#ifdef __AVX2__

#define CPU_FLOAT_ROWS 6
#define CPU_PAIR_ROWS 4 // one register more than a tile of 6 would leave goes into products
#include "unroll.h"
#include "vec-avx2.h"
#include "int8-avx2.h"
#include "float-kernels.h"
#include "int8-kernels.h"
#include "quantize-multiplied.h"
#include "pair-kernels.h"
#include "row-kernels.h"
#include "unpack-kernels.h"
#include "table.h"

namespace cpu::detail {
namespace {
constexpr Kernels table = make_table(Isa::avx2, pair_kernels, nullptr, quantize_multiplied);
}
const Kernels * avx2_kernels() { return &table; }
} // namespace cpu::detail

#else

namespace cpu::detail {
const Kernels * avx2_kernels() { return nullptr; }
} // namespace cpu::detail

#endif
#endif
