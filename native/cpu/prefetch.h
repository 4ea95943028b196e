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

// Memory to ask for meanwhile: some bytes of it for each block of inputs.
struct Next {
    const uint8_t * p;
    size_t          step;

    void ask() {
        prefetch(p, step);
        p += step;
    }
};

// Share `share` of n_shares of the n_bytes at p, for n_blocks.
inline Next next_of(const uint8_t * p, size_t n_bytes, int n_blocks, int share, int n_shares) {
    const size_t of_share = n_bytes / size_t(n_shares);
    return {p + of_share * size_t(share), of_share / size_t(n_blocks)};
}

} // namespace
} // namespace cpu::detail
