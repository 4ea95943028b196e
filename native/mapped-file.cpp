#include "mapped-file.h"
#include "error.h"
#include "win32.h"
#include <cerrno>
#include <cstring>
#ifndef _WIN32
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace bge {

#ifdef _WIN32
MappedFile::MappedFile(const std::string & path) {
    const DWORD share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    HANDLE file = CreateFileW(widen(path).c_str(), GENERIC_READ, share, nullptr, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
    if (file == INVALID_HANDLE_VALUE) throw Error("MODEL_NOT_FOUND", "Cannot open " + path + ": " + error_text(GetLastError()));
    LARGE_INTEGER size{};
    if (GetFileType(file) != FILE_TYPE_DISK || !GetFileSizeEx(file, &size) || size.QuadPart == 0) {
        CloseHandle(file);
        throw Error("MODEL_INVALID", path + " is not a file with content");
    }
    HANDLE mapping = CreateFileMappingW(file, nullptr, PAGE_WRITECOPY, 0, 0, nullptr);
    if (mapping) data_ = static_cast<uint8_t *>(MapViewOfFile(mapping, FILE_MAP_COPY, 0, 0, 0));
    const DWORD code = GetLastError();
    if (mapping) CloseHandle(mapping); // the view keeps both open
    CloseHandle(file);
    if (!data_) throw Error("IO", "Cannot map " + path + " into memory: " + error_text(code));
    size_ = static_cast<size_t>(size.QuadPart);
}

MappedFile::~MappedFile() {
    if (data_) UnmapViewOfFile(data_);
}

void MappedFile::drop(size_t offset, size_t n_bytes) const {
    if (n_bytes) VirtualUnlock(data_ + offset, n_bytes); // takes unlocked pages out of the working set
}
#else
MappedFile::MappedFile(const std::string & path) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) throw Error("MODEL_NOT_FOUND", "Cannot open " + path + ": " + std::strerror(errno));
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size == 0) {
        close(fd);
        throw Error("MODEL_INVALID", path + " is not a file with content");
    }
    size_ = static_cast<size_t>(info.st_size);
    void * mapped = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    const int error = errno;
    close(fd);
    if (mapped == MAP_FAILED) throw Error("IO", "Cannot map " + path + " into memory: " + std::strerror(error));
    data_ = static_cast<uint8_t *>(mapped);
}

MappedFile::~MappedFile() {
    if (data_) munmap(data_, size_);
}

void MappedFile::drop(size_t offset, size_t n_bytes) const {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t begin = (offset + page - 1) / page * page;
    const size_t end = (offset + n_bytes) / page * page;
    if (end > begin) madvise(data_ + begin, end - begin, MADV_DONTNEED);
}
#endif

} // namespace bge
