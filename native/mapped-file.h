// MappedFile: a file read through memory mapping, so that weights cost memory only where they are touched.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace bge {

class MappedFile {
public:
    explicit MappedFile(const std::string & path); // UTF-8; throws Error MODEL_NOT_FOUND or IO
    ~MappedFile();
    MappedFile(const MappedFile &) = delete;
    MappedFile & operator=(const MappedFile &) = delete;

    uint8_t * data() const { return data_; } // private, copy-on-write pages: the file itself never changes
    size_t size() const { return size_; }
    // Gives the pages that lie wholly inside back to the system; touching them again reads the file anew.
    void drop(size_t offset, size_t n_bytes) const;

private:
    uint8_t * data_ = nullptr;
    size_t size_ = 0;
};

} // namespace bge
