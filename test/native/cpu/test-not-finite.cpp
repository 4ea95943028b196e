// NaN and infinities go through every kernel: what overflows must end in a score that is not a number, never in a plausible one.
#include "check.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace test {

namespace {

constexpr float nan      = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

bool all_finite(const float * x, size_t n) {
    return std::all_of(x, x + n, [](float value) { return std::isfinite(value); });
}

void activations(cpu::ThreadPool & pool) {
    using cpu::Activation;
    for (Activation activation : {Activation::none, Activation::gelu_erf, Activation::gelu_near, Activation::gelu_tanh, Activation::silu, Activation::tanh, Activation::relu}) {
        for (int at : {0, 15, 16, 33, 36}) { // in whole vectors and in what is left
            std::vector<float> x(37, 0.5f), y(37);
            x[at] = nan;
            cpu::activate(pool, activation, x.data(), 37, 1, 37, y.data(), 37);
            CHECK(std::isnan(y[at]), text("activation %.0f loses NaN at %.0f", int(activation), at));
            x[at] = infinity;
            cpu::activate(pool, activation, x.data(), 37, 1, 37, y.data(), 37);
            CHECK(!std::isfinite(y[at]), text("activation %.0f of infinity at %.0f", int(activation), at));
        }
    }
    std::vector<float> x(37, -infinity), y(37);
    cpu::activate(pool, Activation::tanh, x.data(), 37, 1, 37, y.data(), 37);
    CHECK(std::none_of(y.begin(), y.end(), [](float value) { return std::isfinite(value); }), "tanh of minus infinity");
}

void norms(Random & random, cpu::ThreadPool & pool) {
    for (float bad : {nan, infinity, -infinity}) {
        for (auto norm : {cpu::layer_norm, cpu::rms_norm}) {
            const int       n = 100;
            const auto      weight = random.normals(n);
            auto            x      = random.normals(n);
            cpu::NormParams p;
            p.n_rows = 1;
            p.n      = n;
            p.eps    = 1e-5f;
            p.weight = weight.data();
            x[37]    = bad;
            norm(pool, p, x.data(), n, x.data(), n);
            CHECK(!all_finite(x.data(), n), text("norm of %g", bad));
        }
    }
}

void linears(Random & random, cpu::ThreadPool & pool) {
    const int                  n_in = 192, n_out = 40, n_rows = 5;
    const auto                 weights = random.normals(size_t(n_in) * n_out);
    std::vector<uint16_t>      halves(weights.size());
    std::vector<unsigned char> q8_0(size_t(n_out) * n_in / 32 * 34, 3); // scale 0x0303
    std::transform(weights.begin(), weights.end(), halves.begin(), [](float w) { // to bf16
        uint32_t bits;
        std::memcpy(&bits, &w, sizeof(bits));
        return uint16_t(bits >> 16);
    });
    struct Case {
        const char *      name;
        cpu::WeightSource source;
        cpu::WeightMode   mode;
    };
    const auto source = [&](const void * data, cpu::SourceType type) {
        cpu::WeightSource s;
        s.data   = data;
        s.type   = type;
        s.n_rows = n_out;
        return s;
    };
    const Case cases[] = {
        {"f32", source(weights.data(), cpu::SourceType::f32), cpu::WeightMode::native},
        {"bf16", source(halves.data(), cpu::SourceType::bf16), cpu::WeightMode::native},
        {"q8_0", source(q8_0.data(), cpu::SourceType::q8_0), cpu::WeightMode::native},
        {"row_int8", source(weights.data(), cpu::SourceType::f32), cpu::WeightMode::row_int8},
    };
    cpu::Workspace workspace;
    for (const Case & c : cases) {
        const cpu::PackedLinear w = cpu::pack_linear(pool, n_in, {c.source}, nullptr, c.mode);
        for (float bad : {nan, infinity, -infinity, 3e38f}) {
            auto x              = random.normals(size_t(n_in) * n_rows);
            x[2 * n_in + 77]    = bad;
            x[2 * n_in + 78]    = bad;
            std::vector<float> y(size_t(n_out) * n_rows);
            cpu::linear(pool, w, x.data(), n_in, n_rows, y.data(), n_out, {}, workspace);
            const bool overflows = !std::isfinite(bad);
            CHECK(!overflows || !all_finite(&y[2 * n_out], n_out), std::string(c.name) + text(": linear of %g", bad));
            CHECK(all_finite(y.data(), 2 * n_out) && all_finite(&y[3 * n_out], 2 * n_out), std::string(c.name) + text(": %g in another row", bad));
        }
    }
}

void refused_weights(Random & random, cpu::ThreadPool & pool) {
    const int n_in = 64, n_out = 20;
    const auto refused = [&](const void * data, cpu::SourceType type, cpu::WeightMode mode) {
        cpu::WeightSource source;
        source.data   = data;
        source.type   = type;
        source.n_rows = n_out;
        try {
            cpu::pack_linear(pool, n_in, {source}, nullptr, mode);
        } catch (const cpu::NotFinite &) {
            return true;
        }
        return false;
    };
    for (float bad : {nan, infinity, -infinity}) {
        auto weights = random.normals(size_t(n_in) * n_out);
        weights[777] = bad;
        CHECK(refused(weights.data(), cpu::SourceType::f32, cpu::WeightMode::native), text("f32 weights with %g", bad));
        CHECK(refused(weights.data(), cpu::SourceType::f32, cpu::WeightMode::row_int8), text("f32 weights with %g by rows", bad));
    }
    for (uint16_t bad : {0x7c00, 0xfc00, 0x7e00}) {
        std::vector<uint16_t> weights(size_t(n_in) * n_out, 0x3c00);
        weights[777] = bad;
        CHECK(refused(weights.data(), cpu::SourceType::f16, cpu::WeightMode::native), text("f16 weights with %.0f", bad));
    }
    for (uint16_t bad : {0x7f80, 0xff80, 0x7fc0}) {
        std::vector<uint16_t> weights(size_t(n_in) * n_out, 0x3f80);
        weights[777] = bad;
        CHECK(refused(weights.data(), cpu::SourceType::bf16, cpu::WeightMode::native), text("bf16 weights with %.0f", bad));
    }
}

struct AttentionCase {
    bool  causal, codes;
    float soft_cap;
};

void attention_of(Random & random, cpu::ThreadPool & pool, const AttentionCase & c) {
    const int              n = 90, n_head = 2, head_dim = 32, width = n_head * head_dim;
    cpu::AttentionSequence s;
    s.n_kv = s.n_q = n;
    cpu::AttentionParams p;
    p.n_head = p.n_head_kv = n_head;
    p.head_dim             = head_dim;
    p.scale                = 0.2f;
    p.causal               = c.causal;
    p.codes                = c.codes;
    p.soft_cap             = c.soft_cap;
    p.q_stride = p.k_stride = p.v_stride = p.out_stride = size_t(width);
    p.sequences                                         = &s;
    p.n_sequences                                       = 1;
    cpu::Workspace workspace;
    const char *   names[] = {"q", "k", "v"};
    for (float bad : {nan, infinity}) {
        for (int which = 0; which < 3; ++which) {
            std::vector<float> in[3] = {random.normals(size_t(n) * width), random.normals(size_t(n) * width), random.normals(size_t(n) * width)};
            in[which][size_t(40) * width + 5] = bad; // row 40, head 0
            std::vector<float> out(size_t(n) * width);
            cpu::attention(pool, p, in[0].data(), in[1].data(), in[2].data(), out.data(), workspace);
            const std::string label = std::string("attention") + (c.causal ? ", causal" : "") + (c.codes ? ", codes" : "") +
                                      (c.soft_cap > 0 ? ", capped" : "") + ": " + names[which] + text(" with %g", bad);
            const auto head_0 = [&](int row) { return all_finite(&out[size_t(row) * width], head_dim); };
            if (which == 1 && std::isinf(bad)) {
                continue; // a score of minus infinity weighs nothing
            }
            CHECK(!head_0(40), label + " is lost in its own row");
            if (which != 0) {
                CHECK(!head_0(89) && !head_0(41), label + " is lost in a later row");
                CHECK(c.causal || !head_0(0), label + " is lost in row 0");
            }
            CHECK(which != 0 || head_0(39), label + " reaches another row"); // nothing times a value is NaN too
            CHECK(all_finite(&out[size_t(40) * width + head_dim], head_dim), label + " reaches another head");
        }
    }
}

} // namespace

void not_finite(cpu::Isa) {
    Random          random(11);
    cpu::ThreadPool pool(2);
    activations(pool);
    norms(random, pool);
    linears(random, pool);
    refused_weights(random, pool);
    for (const AttentionCase & c : {AttentionCase{false, false, 0}, {true, false, 0}, {false, false, 30}, {true, false, 30}, {false, true, 0}, {true, true, 0}, {true, true, 30}}) {
        attention_of(random, pool, c);
    }
}

} // namespace test
