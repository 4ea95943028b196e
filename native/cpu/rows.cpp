// Norms, rope and other work row by row: groups of rows are shared among the threads.
#include "cpu.h"
#include "kernels.h"
#include "sizes.h"

#include <algorithm>
#include <cmath>

namespace cpu {

using detail::active_kernels;
using detail::Kernels;
using detail::Norm;

namespace {

// A task is about this many values: some ten microseconds.
constexpr int task_values = 32 * 1024;

template <typename F> void for_rows(ThreadPool & pool, int n_rows, int n, const F & fn) {
    const int per_task = std::max(1, task_values / std::max(1, n));
    pool.parallel_for(ceil_div(n_rows, per_task), [&](int task, int) {
        const int end = std::min(n_rows, (task + 1) * per_task);
        for (int row = task * per_task; row < end; ++row) {
            fn(row);
        }
    });
}

void norm(ThreadPool & pool, const NormParams & p, void (*kernel)(const Norm &), const float * x, size_t x_stride, float * y, size_t y_stride) {
    for_rows(pool, p.n_rows, p.n, [&](int row) {
        Norm args;
        args.x        = x + row * x_stride;
        args.add      = p.add != nullptr ? p.add + row * p.add_stride : nullptr;
        args.weight   = p.weight;
        args.bias     = p.bias;
        args.residual = p.residual != nullptr ? p.residual + row * p.residual_stride : nullptr;
        args.y        = y + row * y_stride;
        args.n        = p.n;
        args.eps      = p.eps;
        kernel(args);
    });
}

} // namespace

void layer_norm(ThreadPool & pool, const NormParams & params, const float * x, size_t x_stride, float * y, size_t y_stride) {
    norm(pool, params, active_kernels().layer_norm, x, x_stride, y, y_stride);
}

void rms_norm(ThreadPool & pool, const NormParams & params, const float * x, size_t x_stride, float * y, size_t y_stride) {
    norm(pool, params, active_kernels().rms_norm, x, x_stride, y, y_stride);
}

RopeTable::RopeTable(const RopeFrequencies & frequencies, int head_dim, int n_positions)
    : frequencies(frequencies), head_dim(head_dim), n_positions(n_positions), cos(size_t(n_positions) * (head_dim / 2)), sin(cos.size()) {
    const int half = head_dim / 2;
    for (int i = 0; i < half; ++i) {
        const float frequency = frequencies.scale / std::pow(frequencies.theta, float(2 * i) / float(head_dim));
        for (int p = 0; p < n_positions; ++p) {
            const float angle             = float(p) * frequency;
            cos[size_t(p) * half + i] = std::cos(angle);
            sin[size_t(p) * half + i] = std::sin(angle);
        }
    }
}

void rope(ThreadPool & pool, const RopeTable & table, RopeStyle style, float * x, size_t x_stride, int n_rows, int n_head,
          const int32_t * positions) {
    const Kernels & kernels = active_kernels();
    const auto      kernel  = style == RopeStyle::halves ? kernels.rope_halves : kernels.rope_pairs;
    const int       half    = table.head_dim / 2;
    for_rows(pool, n_rows, n_head * table.head_dim, [&](int row) {
        const size_t at = size_t(positions[row]) * half;
        for (int head = 0; head < n_head; ++head) {
            kernel(x + row * x_stride + size_t(head) * table.head_dim, table.cos.data() + at, table.sin.data() + at, half);
        }
    });
}

void scale_add(ThreadPool & pool, float scale, const float * a, size_t a_stride, const float * b, size_t b_stride, int n_rows, int n,
               float * y, size_t y_stride) {
    const auto kernel = active_kernels().scale_add;
    for_rows(pool, n_rows, n, [&](int row) {
        kernel(scale, a + row * a_stride, b != nullptr ? b + row * b_stride : nullptr, y + row * y_stride, n);
    });
}

void activate(ThreadPool & pool, Activation activation, const float * x, size_t x_stride, int n_rows, int n, float * y, size_t y_stride) {
    const auto kernel = active_kernels().activate;
    for_rows(pool, n_rows, n, [&](int row) { kernel(activation, x + row * x_stride, y + row * y_stride, n); });
}

} // namespace cpu
