// Pages: large memory straight from the system, zeroed and aligned to a page. Not from malloc: freed pages go back to
// the system at once, whatever the C library keeps, and an embedder's malloc may refuse what is large (Electron's ends
// at 2 GB).
#pragma once

#include <cstddef>

namespace cpu {

class Pages {
public:
    Pages() = default;
    explicit Pages(size_t n_bytes); // throws std::bad_alloc; 0 bytes take none
    ~Pages();
    Pages(Pages && other) noexcept;
    Pages & operator=(Pages && other) noexcept;

    unsigned char * data() const { return data_; }
    size_t          size() const { return size_; }

private:
    unsigned char * data_ = nullptr;
    size_t          size_ = 0;
};

// Has the C library give free heap memory back to the system, where it can be asked to.
void trim_heap();

} // namespace cpu
