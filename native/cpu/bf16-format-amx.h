// How the products in bf16 want activations and panels.
#pragma once

#include "tiles-amx.h"

namespace cpu::detail {
namespace {

constexpr int block_size = tile_bytes / 2;

constexpr Format format = {float_rows, panel_columns, panel_columns, /*group*/ 4, block_size, /*x_max*/ 127,
                           2 * tile_rows, /*block_offset*/ 128, tile_rows, /*row_max*/ 127, /*row_offset*/ 0,
                           /*scale_bits*/ 23, /*sum_start*/ 0, /*multipliers*/ 0, /*value_bytes*/ 2, /*resident_rows*/ 160};

} // namespace
} // namespace cpu::detail
