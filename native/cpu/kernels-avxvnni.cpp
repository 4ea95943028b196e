// Kernels for AVX2 + AVX-VNNI: Intel since Alder Lake, AMD since Zen 5.
#include "kernels.h"

#if defined(__x86_64__) || defined(_M_X64)

#if defined(__AVXVNNI__) || defined(CPU_EMULATED)

#define CPU_FLOAT_ROWS 6
#include "unroll.h"
#include "vec-avx2.h"
#include "int8-avxvnni.h"
#include "float-kernels.h"
#include "int8-kernels.h"
#include "quantize-kernels.h"
#include "pair-kernels.h"
#include "row-kernels.h"
#include "no-unpack.h"
#include "table.h"

namespace cpu::detail {
namespace {
constexpr Kernels table = make_table(Isa::avx_vnni, pair_kernels, &avx_vnni_fine_blocks);
}
const Kernels * avx_vnni_kernels() { return &table; }
} // namespace cpu::detail

#else

namespace cpu::detail {
const Kernels * avx_vnni_kernels() { return nullptr; }
} // namespace cpu::detail

#endif
#endif
