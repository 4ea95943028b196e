// Norms, rope and sums at odd sizes against double precision.
#include "check.h"

namespace test {

namespace {

void norms(Random & random, cpu::ThreadPool & pool, int n) {
    const int    n_rows = 5;
    const size_t stride = size_t(n) + 2;
    const auto   x = random.normals(n_rows * stride), other = random.normals(n_rows * stride), residual = random.normals(n_rows * stride);
    const auto   weight = random.normals(n), bias = random.normals(n);

    for (int variant = 0; variant < 4; ++variant) {
        const bool      is_layer = variant < 2, full = variant % 2 == 1;
        cpu::NormParams p;
        p.n_rows = n_rows;
        p.n      = n;
        p.eps    = 1e-5f;
        p.weight = weight.data();
        if (full) {
            p.bias     = is_layer ? bias.data() : nullptr;
            p.add      = other.data();
            p.residual = residual.data();
            p.add_stride = p.residual_stride = stride;
        }
        std::vector<float> y(x), expected(x);
        (is_layer ? cpu::layer_norm : cpu::rms_norm)(pool, p, y.data(), stride, y.data(), stride); // in place
        for (int r = 0; r < n_rows; ++r) {
            auto   at   = [&](int i) { return double(x[r * stride + i]) + (full ? double(other[r * stride + i]) : 0); };
            double mean = 0, squares = 0;
            for (int i = 0; i < n && is_layer; ++i) {
                mean += at(i) / n;
            }
            for (int i = 0; i < n; ++i) {
                squares += (at(i) - mean) * (at(i) - mean) / n;
            }
            for (int i = 0; i < n; ++i) {
                double value = (at(i) - mean) / std::sqrt(squares + 1e-5) * weight[i];
                value += full && is_layer ? bias[i] : 0;
                expected[r * stride + i] = float(value + (full ? residual[r * stride + i] : 0));
            }
        }
        CHECK(difference(y, expected) < 4e-6, text("norm %.0f of %.0f: error %g", variant, n, difference(y, expected)));
    }
}

void ropes(Random & random, cpu::ThreadPool & pool, int head_dim) {
    const cpu::RopeTable table(10000.0f, head_dim, 50);
    const int            n_rows = 4, n_head = 3;
    const size_t         stride      = size_t(n_head) * head_dim + 1;
    const int32_t        positions[] = {0, 7, 49, 13};
    const auto           x           = random.normals(n_rows * stride);
    for (cpu::RopeStyle style : {cpu::RopeStyle::halves, cpu::RopeStyle::pairs}) {
        std::vector<float> y(x), expected(x);
        cpu::rope(pool, table, style, y.data(), stride, n_rows, n_head, positions);
        for (int r = 0; r < n_rows; ++r) {
            for (int h = 0; h < n_head; ++h) {
                for (int i = 0; i < head_dim / 2; ++i) {
                    const size_t head  = r * stride + size_t(h) * head_dim;
                    const size_t a     = head + (style == cpu::RopeStyle::halves ? i : 2 * i);
                    const size_t b     = style == cpu::RopeStyle::halves ? a + head_dim / 2 : a + 1;
                    const float  angle = float(positions[r]) * float(std::pow(10000.0, -2.0 * i / head_dim));
                    expected[a]        = float(x[a] * std::cos(double(angle)) - x[b] * std::sin(double(angle)));
                    expected[b]        = float(x[b] * std::cos(double(angle)) + x[a] * std::sin(double(angle)));
                }
            }
        }
        CHECK(difference(y, expected) < 2e-5, text("rope %.0f of %.0f: error %g", int(style), head_dim, difference(y, expected)));
    }
}

void activations(cpu::ThreadPool & pool) {
    std::vector<float> x;
    for (int i = -2000; i <= 2000; ++i) {
        x.push_back(float(i) * 0.01f);
    }
    const int n = int(x.size());
    auto      error = [&](cpu::Activation activation, auto exact) {
        std::vector<float> y(n), expected(n);
        cpu::activate(pool, activation, x.data(), n, 1, n, y.data(), n);
        for (int i = 0; i < n; ++i) {
            expected[i] = float(exact(double(x[i])));
        }
        double worst = 0; // relative above 1
        for (int i = 0; i < n; ++i) {
            worst = std::max(worst, std::fabs(double(y[i]) - expected[i]) / std::max(1.0, std::fabs(double(expected[i]))));
        }
        return worst;
    };
    using cpu::Activation;
    CHECK(error(Activation::gelu_erf, [](double v) { return 0.5 * v * std::erfc(-v / std::sqrt(2.0)); }) < 4e-7, "gelu_erf");
    CHECK(error(Activation::gelu_near, [](double v) { return 0.5 * v * std::erfc(-v / std::sqrt(2.0)); }) < 5e-5, "gelu_near");
    CHECK(error(Activation::gelu_tanh, [](double v) { return 0.5 * v * (1 + std::tanh(0.79788456080286535588 * (v + 0.044715 * v * v * v))); }) < 4e-7, "gelu_tanh");
    CHECK(error(Activation::silu, [](double v) { return v / (1 + std::exp(-v)); }) < 4e-7, "silu");
    CHECK(error(Activation::tanh, [](double v) { return std::tanh(v); }) < 2e-7, "tanh");
    CHECK(error(Activation::relu, [](double v) { return v > 0 ? v : 0; }) == 0, "relu");
}

void sums(Random & random, cpu::ThreadPool & pool, int n) {
    const auto         a = random.normals(3 * n), b = random.normals(3 * n);
    std::vector<float> y(3 * n), expected(3 * n);
    cpu::scale_add(pool, 0.5f, a.data(), n, b.data(), n, 3, n, y.data(), n);
    for (int i = 0; i < 3 * n; ++i) {
        expected[i] = float(0.5 * a[i] + b[i]);
    }
    CHECK(difference(y, expected) < 1e-6, text("scale_add of %.0f", n));
    cpu::scale_add(pool, 3.0f, a.data(), n, nullptr, 0, 3, n, y.data(), n);
    for (int i = 0; i < 3 * n; ++i) {
        expected[i] = 3.0f * a[i];
    }
    CHECK(y == expected, text("scaling of %.0f", n));
}

} // namespace

void rows(cpu::Isa) {
    Random          random(3);
    cpu::ThreadPool pool(2);
    for (int n : {1, 3, 8, 15, 31, 64, 100, 1024, 2304}) {
        norms(random, pool, n);
        sums(random, pool, n);
    }
    for (int head_dim : {2, 6, 8, 24, 64, 128, 256}) {
        ropes(random, pool, head_dim);
    }
    activations(pool);
}

} // namespace test
