// Importance of the inputs of weight matrices: the mean of their squares over the rows that went in, by which quantising weighs errors.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace bge {

class Importance {
public:
    struct Entry {
        std::vector<double> squares; // sums, one an input
        int64_t n_rows = 0;
    };

    void add(const std::string & weight, const float * x, size_t stride, int64_t n_rows, int64_t n_in);
    std::map<std::string, Entry> entries() const; // by the weight's name; from any thread

private:
    mutable std::mutex mutex_;
    std::map<std::string, Entry> entries_;
};

} // namespace bge
