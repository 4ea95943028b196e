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
static HANDLE open_file(const std::string & path, DWORD access) {
    const DWORD share = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    return CreateFileW(widen(path).c_str(), access, share, nullptr, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, nullptr);
}

template <class Identity> static bool identify_file(HANDLE file, Identity & out) {
    BY_HANDLE_FILE_INFORMATION info;
    if (!GetFileInformationByHandle(file, &info)) return false;
    const auto whole = [](DWORD high, DWORD low) { return uint64_t(high) << 32 | low; };
    out.device = info.dwVolumeSerialNumber;
    out.file = whole(info.nFileIndexHigh, info.nFileIndexLow);
    out.size = whole(info.nFileSizeHigh, info.nFileSizeLow);
    out.modified = int64_t(whole(info.ftLastWriteTime.dwHighDateTime, info.ftLastWriteTime.dwLowDateTime));
    return true;
}

bool MappedFile::identify(Identity & out) const { return identify_file(handle_, out); }

bool MappedFile::identify(const std::string & path, Identity & out) {
    HANDLE file = open_file(path, FILE_READ_ATTRIBUTES);
    if (file == INVALID_HANDLE_VALUE) return false;
    const bool found = identify_file(file, out);
    CloseHandle(file);
    return found;
}

MappedFile::MappedFile(const std::string & path) : path_(path) {
    HANDLE file = open_file(path, GENERIC_READ);
    if (file == INVALID_HANDLE_VALUE) throw Error("MODEL_NOT_FOUND", "Cannot open " + path + ": " + error_text(GetLastError()));
    handle_ = file;
    if (GetFileType(file) != FILE_TYPE_DISK || !identify(identity_) || identity_.size == 0) {
        CloseHandle(file);
        throw Error("MODEL_INVALID", path + " is not a file with content");
    }
    HANDLE mapping = CreateFileMappingW(file, nullptr, PAGE_WRITECOPY, 0, 0, nullptr);
    if (mapping) data_ = static_cast<uint8_t *>(MapViewOfFile(mapping, FILE_MAP_COPY, 0, 0, 0));
    const DWORD code = GetLastError();
    if (mapping) CloseHandle(mapping); // the view keeps it open
    if (!data_) {
        CloseHandle(file);
        throw Error("IO", "Cannot map " + path + " into memory: " + error_text(code));
    }
    size_ = static_cast<size_t>(identity_.size);
}

MappedFile::~MappedFile() {
    UnmapViewOfFile(data_);
    CloseHandle(handle_);
}

void MappedFile::drop(size_t offset, size_t n_bytes) const {
    if (n_bytes) VirtualUnlock(data_ + offset, n_bytes); // takes unlocked pages out of the working set
}
#else
template <class Identity> static void to_identity(const struct stat & info, Identity & out) {
#ifdef __APPLE__
    const timespec & modified = info.st_mtimespec;
#else
    const timespec & modified = info.st_mtim;
#endif
    out.device = uint64_t(info.st_dev);
    out.file = uint64_t(info.st_ino);
    out.size = uint64_t(info.st_size);
    out.modified = int64_t(modified.tv_sec) * 1000000000 + modified.tv_nsec;
}

bool MappedFile::identify(Identity & out) const {
    struct stat info;
    if (fstat(handle_, &info) != 0) return false;
    to_identity(info, out);
    return true;
}

bool MappedFile::identify(const std::string & path, Identity & out) {
    struct stat info;
    if (stat(path.c_str(), &info) != 0) return false;
    to_identity(info, out);
    return true;
}

MappedFile::MappedFile(const std::string & path) : path_(path) {
    // O_NONBLOCK: to open a FIFO would wait for its other end.
    handle_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (handle_ < 0) throw Error("MODEL_NOT_FOUND", "Cannot open " + path + ": " + std::strerror(errno));
    struct stat info;
    if (fstat(handle_, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size == 0) {
        close(handle_);
        throw Error("MODEL_INVALID", path + " is not a file with content");
    }
    to_identity(info, identity_);
    size_ = static_cast<size_t>(info.st_size);
    void * mapped = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE, handle_, 0);
    const int error = errno;
    if (mapped == MAP_FAILED) {
        close(handle_);
        throw Error("IO", "Cannot map " + path + " into memory: " + std::strerror(error));
    }
    data_ = static_cast<uint8_t *>(mapped);
}

MappedFile::~MappedFile() {
    munmap(data_, size_);
    close(handle_);
}

void MappedFile::drop(size_t offset, size_t n_bytes) const {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t begin = (offset + page - 1) / page * page;
    const size_t end = (offset + n_bytes) / page * page;
    if (end > begin) madvise(data_ + begin, end - begin, MADV_DONTNEED);
}
#endif

std::string MappedFile::change() const {
    Identity now;
    if (!identify(now)) return "cannot be looked at any more";
    if (now.size < identity_.size) return "was cut short";
    if (now.size != identity_.size || now.modified != identity_.modified) return "was overwritten";
    if (identify(path_, now) && !now.same_file(identity_)) return "was replaced by another";
    return {};
}

} // namespace bge
