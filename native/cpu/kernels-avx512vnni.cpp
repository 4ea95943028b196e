// Not written yet: this level counts as unsupported.
#include "kernels.h"

#if defined(__x86_64__) || defined(_M_X64)
namespace cpu::detail {
const Kernels * avx512_vnni_kernels() { return nullptr; }
} // namespace cpu::detail
#endif
