// Workspace: one aligned buffer that only grows.
#include "cpu.h"

namespace cpu {

constexpr size_t alignment = 64; // a cache line, and the widest vector

void * Workspace::reserve(size_t n_bytes) {
    if (n_bytes > size_) {
        memory_.reset(); // before the new one, so that both never exist at once
        memory_.reset(new unsigned char[n_bytes + alignment]);
        size_ = n_bytes;
    }
    const auto address = reinterpret_cast<uintptr_t>(memory_.get());
    return reinterpret_cast<void *>((address + alignment - 1) / alignment * alignment);
}

} // namespace cpu
