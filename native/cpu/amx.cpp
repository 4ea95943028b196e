#include "amx.h"

#if defined(__x86_64__) || defined(_M_X64)

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace cpu::detail {

static Kernels with_tiles(Kernels table, const AmxTiles & tiles) {
    table.isa       = Isa::amx;
    table.format    = tiles.format;
    table.blocks    = *tiles.blocks;
    table.fine      = nullptr;
    table.row_tiles = tiles.row_tiles;
    table.pairs     = *tiles.pairs;
    return table;
}

// Compiled without the flags of any level: this runs before anyone has looked at the chip.
const Kernels * amx_kernels() {
    if (avx512_vnni_kernels() == nullptr || amx_tiles() == nullptr) {
        return nullptr;
    }
    static const Kernels table = with_tiles(*avx512_vnni_kernels(), *amx_tiles());
    return &table;
}

bool amx_permitted() {
#if defined(__linux__)
    // Source: Documentation/arch/x86/xstate.rst. Fails where a thread's stack for signals is too small for the tiles.
    constexpr long request = 0x1023 /* ARCH_REQ_XCOMP_PERM */, tile_data = 18 /* XFEATURE_XTILEDATA */;
    return syscall(SYS_arch_prctl, request, tile_data) == 0;
#elif defined(_WIN32)
    return true; // XGETBV says all
#else
    return false;
#endif
}

} // namespace cpu::detail

#endif
