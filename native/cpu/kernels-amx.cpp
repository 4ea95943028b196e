// Kernels for AMX: Intel servers since Sapphire Rapids. amx.cpp makes their table.
#include "amx.h"

#if defined(__x86_64__) || defined(_M_X64)

#if defined(__AMX_INT8__) || defined(CPU_EMULATED)

#include "unroll.h"
#include "vec-avx512.h"
#include "int8-amx.h"
#include "quantize-kernels.h"
#include "no-unpack.h"

namespace cpu::detail {
namespace {
constexpr AmxTiles tiles = {{format, block_tiles, quantize_blocks, unpack_blocks_of_32}, &amx_fine_blocks, row_tiles};
}
const AmxTiles * amx_tiles() { return &tiles; }
} // namespace cpu::detail

#else

namespace cpu::detail {
const AmxTiles * amx_tiles() { return nullptr; }
} // namespace cpu::detail

#endif
#endif
