// Weights are read from afar once a call. The loops before ask for them little by little: more at once than the chip can wait
// for, and the asking itself would wait.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace cpu::detail {
namespace { // one copy per file, see kernels.h

inline void prefetch(const void * p) {
#if defined(__GNUC__)
    __builtin_prefetch(p, /*write*/ 0, /*to the second-level cache*/ 2);
#else
    (void) p;
#endif
}

inline void prefetch(const uint8_t * p, size_t n_bytes) {
    for (const uint8_t * end = p + n_bytes; p < end; p += 64) {
        prefetch(p);
    }
}

} // namespace
} // namespace cpu::detail
