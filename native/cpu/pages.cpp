#include "pages.h"

#include <new>
#include <utility>

#ifdef _WIN32
#include "windows-api.h"
#else
#include <sys/mman.h>
#endif
#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace cpu {

Pages::Pages(size_t n_bytes) : size_(n_bytes) {
    if (n_bytes == 0) {
        return;
    }
#ifdef _WIN32
    void * memory = VirtualAlloc(nullptr, n_bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
#else
    void * memory = mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        throw std::bad_alloc();
    }
#endif
    data_ = static_cast<unsigned char *>(memory);
}

Pages::~Pages() {
    if (data_ == nullptr) {
        return;
    }
#ifdef _WIN32
    VirtualFree(data_, 0, MEM_RELEASE);
#else
    munmap(data_, size_);
#endif
}

Pages::Pages(Pages && other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Pages & Pages::operator=(Pages && other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

void trim_heap() {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

} // namespace cpu
