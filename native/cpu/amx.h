// What the AMX level has beside the table of AVX-512-VNNI: products of int8 codes in tiles.
#pragma once

#include "kernels.h"

namespace cpu::detail {

struct AmxTiles {
    Format format; // with a scale per row
    void (*row_tiles)(const Int8Tiles &);
    const BlockKernels * blocks;
    const PairKernels *  pairs;
};

extern const BlockKernels amx_blocks;
extern const PairKernels  amx_pairs;

// Null where the compiler does not know AMX; the caller has checked that the chip does.
const AmxTiles * amx_tiles();

// Asks the system to let this process use tiles. Linux then saves 8 KiB more with each signal of a thread that does.
bool amx_permitted();

} // namespace cpu::detail
