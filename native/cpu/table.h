// The table of a file that has included the vector layer and all kernels.
#pragma once

#include "kernels.h"

namespace cpu::detail {
namespace {

constexpr Kernels make_table(Isa isa, PairKernels pairs = {}, const BlockKernels * fine = nullptr, void (*quantize)(const Quantize &) = quantize_blocks) {
    const BlockKernels blocks = {format, block_tiles, quantize, unpack_blocks_of_32};
    return {isa,           format,       float_tiles, transpose, to_panels, widen_f16,  widen_bf16, blocks,    fine, row_tiles,
            quantize_rows, store,        softmax,     scale_row, layer_norm, rms_norm,  rope_halves, rope_pairs, scale_add, activate,
            pairs};
}

} // namespace
} // namespace cpu::detail
