// The enums that the API and the kernels share. Kernel files include no more of the API than this, see kernels.h.
#pragma once

namespace cpu {

// `plain` means that these kernels are off and the caller stays on stock ggml. `scalar` is the readable twin that
// every other level is tested against.
enum class Isa { plain, scalar, avx2, avx_vnni, avx512, avx512_vnni, amx, neon, dotprod, i8mm };

// gelu_erf is the exact one; gelu_near is within 5e-5 of it, and what linear() takes in its place beside int8 weights.
enum class Activation { none, gelu_erf, gelu_near, gelu_tanh, silu, tanh, relu };

} // namespace cpu
