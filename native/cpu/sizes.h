// Arithmetic of sizes.
#pragma once

#include <cstddef>

namespace cpu {

constexpr int    round_up(int n, int step) { return (n + step - 1) / step * step; }
constexpr int    ceil_div(int n, int d) { return (n + d - 1) / d; }
constexpr size_t aligned(size_t n_bytes) { return (n_bytes + 63) / 64 * 64; }

} // namespace cpu
