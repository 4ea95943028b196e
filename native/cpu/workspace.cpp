// Workspace: one buffer that only grows. Pages are aligned for every vector.
#include "cpu.h"

namespace cpu {

void * Workspace::reserve(size_t n_bytes) {
    if (n_bytes > pages_.size()) {
        pages_ = Pages(); // before the new one, so that both never exist at once
        pages_ = Pages(n_bytes);
    }
    return pages_.data();
}

} // namespace cpu
