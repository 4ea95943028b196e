// Refuses weights that are NaN or infinite: one in a bias, a norm or a table would give every document the same score.
#pragma once
#include "cpu/cpu.h"
#include "error.h"
#include "model-file.h"
#include <atomic>
#include <string>
#include <unordered_set>

namespace bge {

// Of one model file, whose weights may be read again and again. Layers that our kernels pack are checked there instead.
class FiniteCheck {
public:
    FiniteCheck(const ModelFile & file, cpu::ThreadPool & pool) : file_(file), pool_(pool) {}

    // Throws Error MODEL_INVALID, naming the tensor. Its pages of the file are given back. Once `stop` is true, it returns at once.
    void require(const std::string & tensor, const std::atomic<bool> & stop);

private:
    const ModelFile & file_;
    cpu::ThreadPool & pool_;
    std::unordered_set<std::string> known_;
};

Error not_finite(const ModelFile & file, const std::string & tensors);

} // namespace bge
