// Kernels for AVX-512 without VNNI: Intel Skylake-X.
#include "kernels.h"

#if defined(__x86_64__) || defined(_M_X64)

#if defined(__AVX512BW__) || defined(CPU_EMULATED)

#define CPU_FLOAT_ROWS 12
#include "unroll.h"
#include "vec-avx512.h"
#include "int8-avx512.h"
#include "float-kernels.h"
#include "int8-kernels.h"
#include "quantize-multiplied.h"
#include "pair-kernels.h"
#include "row-kernels.h"
#include "unpack-kernels.h"
#include "table.h"

namespace cpu::detail {
namespace {
constexpr Kernels table = make_table(Isa::avx512, pair_kernels, nullptr, quantize_multiplied);
}
const Kernels * avx512_kernels() { return &table; }
} // namespace cpu::detail

#else

namespace cpu::detail {
const Kernels * avx512_kernels() { return nullptr; }
} // namespace cpu::detail

#endif
#endif
