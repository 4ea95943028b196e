// MappedFile: a file read through memory mapping, so that weights cost memory only where they are touched.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace bge {

class MappedFile {
public:
    explicit MappedFile(const std::string & path); // UTF-8; regular files only; throws Error MODEL_NOT_FOUND, MODEL_INVALID or IO
    ~MappedFile();
    MappedFile(const MappedFile &) = delete;
    MappedFile & operator=(const MappedFile &) = delete;

    // Private, copy-on-write pages: we never change the file. Others may, and what they write shows here; pages beyond a new end
    // stop the process when they are touched.
    uint8_t * data() const { return data_; }
    size_t size() const { return size_; }
    // What others have done to the file since, such as "was overwritten"; empty when it is the same. A file that was only deleted is.
    std::string change() const;
    // Gives the pages that lie wholly inside back to the system; touching them again reads the file anew.
    void drop(size_t offset, size_t n_bytes) const;

private:
    // Which file it is and in which state.
    struct Identity {
        uint64_t device = 0, file = 0, size = 0;
        int64_t modified = 0; // in units of the system

        bool same_file(const Identity & o) const { return device == o.device && file == o.file; }
    };
    static bool identify(const std::string & path, Identity & out); // false: it is not there

    std::string path_;
    Identity identity_;
    uint8_t * data_ = nullptr;
    size_t size_ = 0;
#ifdef _WIN32
    void * handle_ = nullptr;
#else
    int handle_ = -1;
#endif
    bool identify(Identity & out) const; // of the open file, wherever it stands now
};

} // namespace bge
