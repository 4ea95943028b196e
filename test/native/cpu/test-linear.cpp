// Packed linear layers: each type and mode at odd sizes against double precision, the scalar twin on the very same
// codes, batch invariance bit for bit, strides and epilogues.
#include "../../../native/cpu/half.h"
#include "../../../native/cpu/packed-weights.h"
#include "check.h"

#include <algorithm>
#include <cstring>

namespace test {

namespace {

using cpu::Activation;
using cpu::SourceType;
using cpu::WeightMode;

const char * name_of(SourceType type) {
    switch (type) {
        case SourceType::f32:   return "f32";
        case SourceType::f16:   return "f16";
        case SourceType::bf16:  return "bf16";
        case SourceType::q8_0:  return "q8_0";
        case SourceType::other: return "other";
    }
    return "?";
}

// A weight in a file's form and the values it stands for.
struct Weight {
    SourceType                 type;
    int                        n_out, n_in;
    std::vector<unsigned char> bytes;
    std::vector<float>         values;

    cpu::WeightSource source() const {
        cpu::WeightSource s;
        s.data   = bytes.data();
        s.type   = type;
        s.n_rows = n_out;
        if (type == SourceType::other) {
            s.row_bytes      = size_t(n_in) * 4;
            s.dequantize_row = [](const void * row, float * out, int64_t n) { std::memcpy(out, row, size_t(n) * 4); };
        }
        return s;
    }
};

void append(std::vector<unsigned char> & bytes, const void * data, size_t n) {
    const auto * p = static_cast<const unsigned char *>(data);
    bytes.insert(bytes.end(), p, p + n);
}

// Scales of Q8_0 blocks, in f16: unlike their neighbours', and some negative.
uint16_t q8_0_scale(int row, int k) {
    const int i = row + k / 32;
    return uint16_t((i % 5 == 4 ? 0x9000 : 0x1000) + i % 3 * 0x180 + row % 7);
}
const float largest_q8_0_scale = f16_to_float(0x1000 + 2 * 0x180 + 6);

Weight make_weight(Random & random, SourceType type, int n_out, int n_in) {
    Weight w{type, n_out, n_in, {}, {}};
    for (int row = 0; row < n_out; ++row) {
        for (int k = 0; k < n_in; ++k) {
            const float value = random.normal() * 0.05f;
            switch (type) {
                case SourceType::f32:
                case SourceType::other:
                    append(w.bytes, &value, 4);
                    w.values.push_back(value);
                    break;
                case SourceType::f16: { // any normal number of that size will do
                    const uint16_t bits = uint16_t(0x2800 + (row * 131 + k * 977) % 0x0400) | (value < 0 ? 0x8000 : 0);
                    append(w.bytes, &bits, 2);
                    w.values.push_back(f16_to_float(bits));
                    break;
                }
                case SourceType::bf16: {
                    uint32_t bits;
                    std::memcpy(&bits, &value, 4);
                    const uint16_t half = uint16_t(bits >> 16);
                    append(w.bytes, &half, 2);
                    w.values.push_back(bf16_to_float(half));
                    break;
                }
                case SourceType::q8_0: {
                    if (k % 32 == 0) {
                        const uint16_t scale = q8_0_scale(row, k);
                        append(w.bytes, &scale, 2);
                    }
                    // Extreme codes everywhere, so that a sum that saturates shows.
                    const int8_t code = int8_t(row % 3 == 0 ? (k % 2 ? -127 : 127) : row % 3 == 1 ? (k % 32 == 5 ? -128 : 127) : int(value * 800) % 128);
                    append(w.bytes, &code, 1);
                    w.values.push_back(f16_to_float(q8_0_scale(row, k)) * code);
                    break;
                }
            }
        }
    }
    return w;
}

std::string name_of(WeightMode mode) { return mode == WeightMode::native ? "blocks" : mode == WeightMode::fast ? "fast blocks" : "rows"; }

double activated(Activation activation, double x) {
    switch (activation) {
        case Activation::none:      return x;
        case Activation::gelu_near:
        case Activation::gelu_erf:  return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
        case Activation::gelu_tanh: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
        case Activation::silu:      return x / (1 + std::exp(-x));
        case Activation::tanh:      return std::tanh(x);
        case Activation::relu:      return std::max(x, 0.0);
    }
    return x;
}

double product(const float * w, const float * x, int n) {
    double sum = 0;
    for (int k = 0; k < n; ++k) {
        sum += double(w[k]) * x[k];
    }
    return sum;
}

// How far a product may be off: rounding of f32 sums, or half a step of each code.
double tolerance(const Weight & w, WeightMode mode, const float * x, const float * weights) {
    const cpu::detail::Format & f = cpu::detail::block_kernels(cpu::detail::active_kernels(), mode).format;
    double                      sum_abs = 0, x_norm = 0, w_norm = 0, x_max = 0, w_max = 0;
    for (int k = 0; k < w.n_in; ++k) {
        sum_abs += std::fabs(double(weights[k]) * x[k]);
        x_norm += double(x[k]) * x[k];
        w_norm += double(weights[k]) * weights[k];
        x_max = std::max(x_max, std::fabs(double(x[k])));
        w_max = std::max(w_max, std::fabs(double(weights[k])));
    }
    const bool is_float = mode != WeightMode::row_int8 && w.type != SourceType::q8_0 && w.type != SourceType::other;
    if (is_float) {
        return 2e-6 * sum_abs + 1e-7;
    }
    if (f.value_bytes == 2 && mode != WeightMode::row_int8) { // each factor rounded to 8 bits of mantissa, beside weights that became codes
        double products = 0;
        for (int k = 0; k < w.n_in; ++k) {
            products += std::pow(double(weights[k]) * x[k], 2);
        }
        const double w_step = w.type != SourceType::q8_0 ? w_max / 127 : 0;
        return 6 * std::sqrt(products * 2 / 3 / (256 * 256) + w_step * w_step * x_norm / 12) + 2e-6 * sum_abs + 1e-6;
    }
    // Errors of the codes are uniform and independent: six standard deviations.
    const int    x_codes = f.multipliers > 0 && mode != WeightMode::row_int8 ? cpu::detail::multiplied_max : f.x_max;
    const double x_step = x_max / x_codes, w_step = w.type != SourceType::q8_0 || mode == WeightMode::row_int8 ? w_max / std::min(127, f.row_max) : f.block > 32 ? largest_q8_0_scale : 0;
    const double deviation = std::sqrt(x_step * x_step * w_norm + w_step * w_step * x_norm + x_step * x_step * w_step * w_step * w.n_in) / std::sqrt(12.0);
    return 6 * deviation + 2e-6 * sum_abs + 1e-6;
}

void one_case(Random & random, cpu::ThreadPool & pool, SourceType type, WeightMode mode, int n_rows, int n_in, int n_out) {
    const Weight w        = make_weight(random, type, n_out, n_in);
    const auto   bias     = random.normals(n_out);
    const size_t x_stride = size_t(n_in) + 3, y_stride = size_t(n_out) + 5;
    const auto   x        = random.normals(n_rows * x_stride);

    cpu::PackedLinear  linear = cpu::pack_linear(pool, n_in, {w.source()}, bias.data(), mode);
    cpu::Workspace     workspace;
    std::vector<float> y(n_rows * y_stride, 777.0f);
    cpu::linear(pool, linear, x.data(), x_stride, n_rows, y.data(), y_stride, {}, workspace);

    double worst = 0;
    bool   gaps  = true;
    for (int r = 0; r < n_rows; ++r) {
        for (int c = 0; c < n_out; ++c) {
            const float * weights  = &w.values[size_t(c) * n_in];
            const double  expected = product(weights, &x[r * x_stride], n_in) + bias[c];
            const double  ratio    = std::fabs(y[r * y_stride + c] - expected) / tolerance(w, mode, &x[r * x_stride], weights);
            worst                  = ratio <= worst ? worst : std::isnan(ratio) ? INFINITY : ratio;
        }
        for (size_t c = n_out; c < y_stride; ++c) {
            gaps = gaps && y[r * y_stride + c] == 777.0f;
        }
    }
    const std::string label = std::string(name_of(type)) + std::string(" ") + name_of(mode) +
                              text(" %.0f x %.0f x %.0f", n_rows, n_in, n_out);
    CHECK(worst <= 1, label + text(": error is %.2f of what it may be", worst));
    CHECK(gaps, label + ": wrote between the rows");

    // Row by row, and with one thread: the same bits.
    cpu::ThreadPool    alone(1);
    std::vector<float> single(y.size(), 777.0f);
    for (int r = 0; r < n_rows; ++r) {
        cpu::linear(alone, linear, &x[r * x_stride], x_stride, 1, &single[r * y_stride], y_stride, {}, workspace);
    }
    CHECK(single == y, label + ": a row alone differs from the row in its batch");
}

// Codes and multipliers as large as they may be together.
void extreme_pairs(const cpu::detail::Format & f, std::vector<int8_t> & codes) {
    const int8_t pairs[][2] = {{64, 64}, {-64, -64}, {127, 1}, {-1, -127}, {127, -127}};
    for (size_t at = 0; at < codes.size(); at += size_t(x_bytes(f))) {
        for (int k = 0; k < f.block; k += 2) {
            std::memcpy(&codes[at + size_t(k)], pairs[(at + size_t(k) / 2 * 7) % 5], 2);
        }
        for (int i = 0; i < 2 * f.multipliers; ++i) {
            const uint16_t multiplier = uint16_t(i == 3 ? 1 : cpu::detail::multiplier_max);
            std::memcpy(&codes[at + size_t(f.block + 2 * i)], &multiplier, sizeof(multiplier));
        }
    }
}

// Kernel against scalar kernel, on the same format and the same codes.
void twin(Random & random, WeightMode mode, int n_rows, int n_in) {
    const cpu::detail::Kernels & fast   = cpu::detail::active_kernels();
    const cpu::detail::Kernels & scalar = cpu::detail::kernels(cpu::Isa::scalar);
    const bool                   per_row = mode == WeightMode::row_int8;
    const auto &                 blocks = cpu::detail::block_kernels(fast, mode);
    const cpu::detail::Format &  f      = per_row ? fast.format : blocks.format;
    const int                    rows   = per_row ? f.row_rows : f.block_rows;
    const int                    n_blocks = (n_in + f.block - 1) / f.block, n_used = (n_rows + rows - 1) / rows;
    const size_t                 row_codes = size_t(n_blocks) * f.block, n_scales = per_row ? 1 : n_blocks;
    const size_t                 row_bytes = size_t(n_blocks) * (per_row ? f.block : x_bytes(f));

    auto x = random.normals(size_t(n_rows) * n_in);
    std::vector<int8_t>  codes[2];
    std::vector<float>   scales[2];
    std::vector<int32_t> sums[2];
    for (int i = 0; i < 2; ++i) {
        codes[i].assign(n_used * rows * row_bytes, 0);
        scales[i].assign(n_used * rows * n_scales, 0);
        sums[i].assign(n_used * rows * n_scales, 0);
        cpu::detail::Quantize q;
        q.format = &f, q.x = x.data(), q.x_stride = size_t(n_in), q.n_rows = n_rows, q.n = n_in;
        q.rows = rows, q.offset = per_row ? f.row_offset : f.block_offset;
        q.codes = codes[i].data(), q.scale = scales[i].data(), q.sum = sums[i].data();
        q.block_codes = rows * row_bytes, q.block_scales = rows * n_scales;
        per_row ? (i == 0 ? fast : scalar).quantize_rows(q) : (i == 0 ? blocks : scalar.blocks).quantize(q);
    }
    const std::string label = name_of(mode) + text(" %.0f x %.0f", n_rows, n_in);
    CHECK(codes[0] == codes[1] && sums[0] == sums[1], "quantised " + label + ": codes differ from the scalar twin's");
    CHECK(difference(scales[0], scales[1]) == 0, "quantised " + label + ": scales differ from the scalar twin's");

    // Weights at both ends of their range, activations too: the sum that would saturate first.
    const int    w_max   = per_row ? f.row_max : 127;
    const int    offset  = per_row ? f.row_offset : f.block_offset;
    const size_t n_bytes = per_row ? row_codes * f.int8_columns + f.int8_columns * 4 : size_t(n_blocks) * f.int8_columns * (f.block + 4);
    std::vector<unsigned char> memory(n_bytes + 64);
    unsigned char *            panel = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
    const size_t               part  = per_row ? row_codes * f.int8_columns : size_t(f.block) * f.int8_columns;
    for (size_t at = 0; at < n_bytes;) {
        for (size_t i = 0; i < part; ++i) {
            const int code = i % 3 == 0 ? w_max : i % 5 == 0 ? -w_max : int(random.normal() * 40) % (w_max + 1);
            panel[at++]    = static_cast<unsigned char>(code + offset);
        }
        for (int c = 0; c < f.int8_columns; ++c, at += 4) {
            const float scale = float(64 + c) / 8192; // f16, as in files
            std::memcpy(panel + at, &scale, 4);
        }
    }
    if (!per_row && f.value_bytes == 2) {
        // Numbers, which have no range to reach the ends of.
    } else if (per_row || f.multipliers == 0) {
        for (size_t i = 0; i < codes[0].size(); i += 2) {
            codes[0][i] = int8_t(i % 4 ? f.x_max : -f.x_max);
        }
    } else {
        extreme_pairs(f, codes[0]);
    }
    std::vector<float>     y[2];
    cpu::detail::Int8Tiles t;
    t.format = &f, t.x = codes[0].data(), t.x_scale = scales[0].data(), t.x_sum = sums[0].data(), t.w = panel, t.n_rows = n_rows, t.n_blocks = n_blocks;
    double size = 1;
    for (int i = 0; i < 2; ++i) {
        y[i].assign(size_t(n_rows) * f.int8_columns, 0);
        t.y = y[i].data();
        per_row ? (i == 0 ? fast : scalar).row_tiles(t) : (i == 0 ? blocks : scalar.blocks).tiles(t);
        for (float v : y[i]) {
            size = std::max(size, std::fabs(double(v)));
        }
    }
    CHECK(difference(y[0], y[1]) <= 1e-6 * size, "tiles of " + label + text(": %g apart from the scalar twin", difference(y[0], y[1])));
}

// Products of weights that stand as they are in the file: how far off they are beside ggml's, whose activations have blocks of 32
// and 8 bits.
void accuracy(Random & random, cpu::ThreadPool & pool, float outlier) {
    const int    n_in = 256, n_out = 64, n_rows = 40;
    const Weight w = make_weight(random, SourceType::q8_0, n_out, n_in);
    auto         x = random.normals(size_t(n_rows) * n_in);
    for (size_t i = 5; i < x.size(); i += 40) {
        x[i] *= outlier;
    }
    const cpu::PackedLinear linear = cpu::pack_linear(pool, n_in, {w.source()});
    cpu::Workspace          workspace;
    std::vector<float>      y(size_t(n_rows) * n_out);
    cpu::linear(pool, linear, x.data(), n_in, n_rows, y.data(), n_out, {}, workspace);

    double ours = 0, usual = 0;
    for (int r = 0; r < n_rows; ++r) {
        const float *      row = &x[size_t(r) * n_in];
        std::vector<float> rounded(row, row + n_in);
        for (int first = 0; first < n_in; first += 32) {
            float largest = 0;
            for (int k = first; k < first + 32; ++k) {
                largest = std::max(largest, std::fabs(row[k]));
            }
            for (int k = first; k < first + 32; ++k) {
                rounded[k] = std::nearbyint(row[k] * (127 / largest)) * (largest / 127);
            }
        }
        for (int c = 0; c < n_out; ++c) {
            const float * weights = &w.values[size_t(c) * n_in];
            const double  exact   = product(weights, row, n_in);
            ours += std::pow(y[size_t(r) * n_out + c] - exact, 2);
            usual += std::pow(product(weights, rounded.data(), n_in) - exact, 2);
        }
    }
    CHECK(std::sqrt(ours / usual) < 1.03, text("Q8_0 products have %.3f of the usual error, outliers %.0f", std::sqrt(ours / usual), outlier));
}

void epilogues(Random & random, cpu::ThreadPool & pool) {
    const int  n_rows = 7, n_in = 50, n_out = 37;
    const auto w = make_weight(random, SourceType::f32, n_out, n_in), up = make_weight(random, SourceType::f32, n_out, n_in);
    auto       x = random.normals(n_rows * n_in), residual = random.normals(n_rows * n_out);
    for (float & v : x) {
        v *= 10; // so that activations see their tails
    }
    cpu::Workspace    workspace;
    cpu::PackedLinear linear = cpu::pack_linear(pool, n_in, {w.source()});
    cpu::PackedLinear gated  = cpu::pack_linear_gated(pool, n_in, w.source(), up.source());
    CHECK(gated.n_out() == n_out && gated.is_gated(), "shape of a gated layer");
    for (Activation activation : {Activation::none, Activation::gelu_erf, Activation::gelu_tanh, Activation::silu, Activation::tanh, Activation::relu}) {
        cpu::Epilogue e;
        e.activation      = activation;
        e.scale           = 0.25f;
        e.residual        = residual.data();
        e.residual_stride = n_out;
        std::vector<float> y(n_rows * n_out), g(y.size()), plain(y), expected_y(y), expected_g(y);
        cpu::linear(pool, linear, x.data(), n_in, n_rows, y.data(), n_out, e, workspace);
        cpu::linear_gated(pool, gated, x.data(), n_in, n_rows, g.data(), n_out, activation, workspace);
        for (int i = 0; i < n_rows * n_out; ++i) {
            const double p    = product(&w.values[size_t(i % n_out) * n_in], &x[size_t(i / n_out) * n_in], n_in);
            const double q    = product(&up.values[size_t(i % n_out) * n_in], &x[size_t(i / n_out) * n_in], n_in);
            expected_y[i]     = float(residual[i] + 0.25 * activated(activation, p));
            expected_g[i]     = float(activated(activation, p) * q);
        }
        CHECK(difference(y, expected_y) < 4e-6, text("epilogue %.0f: error %g", int(activation), difference(y, expected_y)));
        CHECK(difference(g, expected_g) < 6e-5, text("gated %.0f: error %g", int(activation), difference(g, expected_g)));

        std::vector<float> in_place = residual; // y may be the residual
        e.residual                  = in_place.data();
        cpu::linear(pool, linear, x.data(), n_in, n_rows, in_place.data(), n_out, e, workspace);
        CHECK(in_place == y, "residual in place");
    }
}

void stacked(Random & random, cpu::ThreadPool & pool) {
    const int n_in = 64, n_rows = 5;
    for (SourceType type : {SourceType::f32, SourceType::bf16, SourceType::q8_0}) {
        const Weight parts[] = {make_weight(random, type, 20, n_in), make_weight(random, type, 3, n_in), make_weight(random, type, 41, n_in)};
        cpu::PackedLinear all = cpu::pack_linear(pool, n_in, {parts[0].source(), parts[1].source(), parts[2].source()});
        const auto        x   = random.normals(n_rows * n_in);
        cpu::Workspace     workspace;
        std::vector<float> y(n_rows * 64), apart(y);
        cpu::linear(pool, all, x.data(), n_in, n_rows, y.data(), 64, {}, workspace);
        int at = 0;
        for (const Weight & part : parts) {
            cpu::PackedLinear one = cpu::pack_linear(pool, n_in, {part.source()});
            cpu::linear(pool, one, x.data(), n_in, n_rows, &apart[at], 64, {}, workspace);
            at += part.n_out;
        }
        CHECK(y == apart, std::string("stacked sources differ from single ones: ") + name_of(type));
    }
}

// Rows that int8 codes cannot hold: NaN and infinities must not come out as numbers.
void out_of_reach(Random & random, cpu::ThreadPool & pool, WeightMode mode) {
    const int          n_in = 96, n_out = 40;
    Weight             w = make_weight(random, SourceType::other, n_out, n_in);
    std::vector<float> zeros(n_in, 0.0f);
    std::memcpy(w.bytes.data() + size_t(3) * n_in * 4, zeros.data(), size_t(n_in) * 4); // an output without weights
    const cpu::PackedLinear linear  = cpu::pack_linear(pool, n_in, {w.source()}, nullptr, mode);
    const float             cases[] = {NAN, INFINITY, 0.0f, 1e-30f, 1e30f};
    std::vector<float>      x, y(5 * n_out);
    for (float value : cases) {
        x.insert(x.end(), n_in, value);
    }
    cpu::Workspace workspace;
    cpu::linear(pool, linear, x.data(), n_in, 5, y.data(), n_out, {}, workspace);
    const std::string label = name_of(mode);
    for (int k = 0; k < n_in; ++k) { // a single one, wherever it is
        auto one = random.normals(n_in);
        one[k]   = k % 2 ? NAN : INFINITY;
        std::vector<float> of_one(n_out);
        cpu::linear(pool, linear, one.data(), n_in, 1, of_one.data(), n_out, {}, workspace);
        CHECK(std::none_of(of_one.begin(), of_one.end(), [](float v) { return std::isfinite(v); }), label + text(": input %.0f is not finite, the result is", k));
    }
    for (int c = 0; c < n_out; ++c) {
        CHECK(!std::isfinite(y[c]) && !std::isfinite(y[n_out + c]), label + ": a row that is not finite gives a number");
        CHECK(y[2 * n_out + c] == 0 && std::fabs(y[3 * n_out + c]) < 1e-25f, label + ": a row of nothing gives something");
        CHECK(!std::isfinite(y[4 * n_out + c]) || std::fabs(y[4 * n_out + c]) > 1e20f || c == 3, label + ": a row of huge values gives a small one");
    }
    const float bad = NAN;
    std::memcpy(w.bytes.data() + 400, &bad, 4);
    bool refused = false;
    try {
        cpu::pack_linear(pool, n_in, {w.source()}, nullptr, mode);
    } catch (const cpu::NotFinite &) {
        refused = true;
    }
    CHECK(refused, label + ": packed NaN");
}

// Both layers at once: the same bits as one after the other.
void joined(Random & random, cpu::ThreadPool & pool, WeightMode mode, bool gated, int n_rows, int n_in, int n_hidden, int n_out) {
    const Weight gate = make_weight(random, SourceType::other, n_hidden, n_in), up = make_weight(random, SourceType::other, n_hidden, n_in);
    const Weight down = make_weight(random, SourceType::other, n_out, n_hidden);
    const auto   bias = random.normals(n_hidden), x = random.normals(size_t(n_rows) * n_in), residual = random.normals(size_t(n_rows) * n_out);

    const cpu::PackedLinear first = gated ? cpu::pack_linear_gated(pool, n_in, gate.source(), up.source(), mode) : cpu::pack_linear(pool, n_in, {up.source()}, bias.data(), mode);
    const cpu::PackedLinear last  = cpu::pack_linear(pool, n_hidden, {down.source()}, nullptr, mode);
    const std::string label = std::string(gated ? "gated " : "") + (name_of(mode)) +
                              text(" %.0f x %.0f x %.0f x %.0f", n_rows, n_in, n_hidden, n_out);
    CHECK(cpu::joins_feed_forward(first, last, n_rows, pool.n_threads()), label + ": not joined");
    CHECK(!cpu::joins_feed_forward(last, first, n_rows, pool.n_threads()), label + ": joined, though the second does not take what the first gives");

    const Activation activation = gated ? Activation::silu : Activation::gelu_erf;
    cpu::Epilogue    e, of_first;
    e.residual          = residual.data();
    e.residual_stride   = size_t(n_out);
    e.scale             = 0.5f;
    of_first.activation = activation;
    cpu::Workspace     workspace;
    std::vector<float> hidden(size_t(n_rows) * n_hidden), apart(size_t(n_rows) * n_out), at_once(apart);
    if (gated) {
        cpu::linear_gated(pool, first, x.data(), n_in, n_rows, hidden.data(), n_hidden, activation, workspace);
    } else {
        cpu::linear(pool, first, x.data(), n_in, n_rows, hidden.data(), n_hidden, of_first, workspace);
    }
    cpu::linear(pool, last, hidden.data(), n_hidden, n_rows, apart.data(), n_out, e, workspace);
    cpu::feed_forward(pool, first, last, x.data(), n_in, n_rows, at_once.data(), n_out, activation, e, workspace);
    CHECK(apart == at_once, label + text(": joined layers differ by %g", difference(apart, at_once)));
}

} // namespace

void linear(cpu::Isa) {
    Random          random(1);
    cpu::ThreadPool pool(3);
    for (SourceType type : {SourceType::f32, SourceType::f16, SourceType::bf16, SourceType::q8_0, SourceType::other}) {
        for (WeightMode mode : {WeightMode::native, WeightMode::fast, WeightMode::row_int8}) {
            one_case(random, pool, type, mode, 1, 32, 1);
            one_case(random, pool, type, mode, 5, 96, 33);
            one_case(random, pool, type, mode, 13, 64, 64);
            one_case(random, pool, type, mode, 29, 320, 129);
            one_case(random, pool, type, mode, 210, 544, 70);
            if (type != SourceType::q8_0) { // whose rows are multiples of 32
                one_case(random, pool, type, mode, 3, 1, 2);
                one_case(random, pool, type, mode, 7, 33, 17);
                one_case(random, pool, type, mode, 12, 71, 40);
            }
        }
    }
    for (WeightMode mode : {WeightMode::native, WeightMode::fast, WeightMode::row_int8}) {
        for (int n_rows : {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 16, 17, 25, 32, 33, 49}) {
            twin(random, mode, n_rows, 32);
            twin(random, mode, n_rows, 77);
            twin(random, mode, n_rows, 256);
        }
    }
    for (float outlier : {1.0f, 8.0f, 100.0f}) {
        accuracy(random, pool, outlier);
    }
    epilogues(random, pool);
    stacked(random, pool);
    for (WeightMode mode : {WeightMode::native, WeightMode::fast, WeightMode::row_int8}) {
        out_of_reach(random, pool, mode);
        for (bool gated : {false, true}) {
            joined(random, pool, mode, gated, 145, 96, 160, 70);
            joined(random, pool, mode, gated, 331, 71, 205, 33);
        }
    }
    for (WeightMode mode : {WeightMode::native, WeightMode::fast, WeightMode::row_int8}) {
        joined(random, pool, mode, false, 17, 33, 75, 100); // few rows: the threads share columns
        joined(random, pool, mode, true, 17, 33, 75, 100);
    }
}

} // namespace test
