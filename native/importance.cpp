#include "importance.h"

namespace bge {

void Importance::add(const std::string & weight, const float * x, size_t stride, int64_t n_rows, int64_t n_in) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Entry & entry = entries_[weight];
    entry.squares.resize(size_t(n_in));
    for (int64_t row = 0; row < n_rows; row++) {
        const float * values = x + stride * size_t(row);
        for (int64_t i = 0; i < n_in; i++) entry.squares[size_t(i)] += double(values[i]) * values[i];
    }
    entry.n_rows += n_rows;
}

std::map<std::string, Importance::Entry> Importance::entries() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return entries_;
}

} // namespace bge
