// For levels whose own blocks have more inputs than those of the file's types: their fine blocks unpack.
#pragma once

#include "kernels.h"

namespace cpu::detail {
namespace {
constexpr void (*unpack_blocks_of_32)(const Unpack &) = nullptr;
}
} // namespace cpu::detail
