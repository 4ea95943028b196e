// Kernels for AMX: Intel servers since Sapphire Rapids. amx.cpp makes their table.
#include "amx.h"

#if defined(__x86_64__) || defined(_M_X64)

#if defined(__AMX_INT8__) || defined(CPU_EMULATED)

#include "unroll.h"
#include "int8-amx.h"

namespace cpu::detail {
namespace {
constexpr AmxTiles tiles = {format, row_tiles, &amx_blocks, &amx_pairs};
}
const AmxTiles * amx_tiles() { return &tiles; }
} // namespace cpu::detail

#else

namespace cpu::detail {
const AmxTiles * amx_tiles() { return nullptr; }
} // namespace cpu::detail

#endif
#endif
