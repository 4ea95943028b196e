// Weights of few bits: random bytes of each type, as a layer and by the plain definition of the type.
#include "../../../native/cpu/codebooks.h"
#include "../../../native/cpu/half.h"
#include "../../../native/cpu/low-bit.h"
#include "../../../native/cpu/packed-weights.h"
#include "check.h"

#include <algorithm>
#include <cstring>

namespace test {

using cpu::SourceType;

namespace {

struct Type {
    SourceType   type;
    const char * name;
    int          block, bytes;     // of the file's blocks
    std::vector<int> scales;       // where a block has its f16 scales
    void (*row)(const void * bytes, float * out, int64_t n); // the definition, value by value
    void (*set_scale)(uint8_t * at, uint16_t half) = [](uint8_t * at, uint16_t half) { std::memcpy(at, &half, sizeof(half)); };
};

float half_at(const uint8_t * p) { return f16_to_float(uint16_t(p[0] | p[1] << 8)); }

template <int bytes, int block, typename F> void each(const void * row, float * out, int64_t n, const F & value) {
    for (int64_t i = 0; i < n; ++i) {
        out[i] = value(static_cast<const uint8_t *>(row) + i / block * bytes, int(i % block));
    }
}

int nibble(const uint8_t * p, int i) { return i < 16 ? p[i] & 15 : p[i - 16] >> 4; }
int fifth(const uint8_t * p, int i) { return (p[i / 8] >> i % 8 & 1) * 16; }

void k_scales(const uint8_t * p, int j, int & scale, int & minimum) {
    scale   = j < 4 ? p[j] & 63 : (p[j + 4] & 15) + (p[j - 4] >> 6) * 16;
    minimum = j < 4 ? p[j + 4] & 63 : (p[j + 4] >> 4) + (p[j] >> 6) * 16;
}

float k_value(const uint8_t * p, int i, int q) {
    int scale, minimum;
    k_scales(p + 4, i / 32, scale, minimum);
    return half_at(p) * float(scale) * float(q) - half_at(p + 2) * float(minimum);
}

int k_nibble(const uint8_t * p, int i) { return p[i / 64 * 32 + i % 32] >> (i % 64 < 32 ? 0 : 4) & 15; }

// Value k of a codebook's point.
template <size_t n> float point(const cpu::detail::codebooks::Codebook<n> & book, int index, int k) { return float(int8_t(book.points[index] >> 8 * k)); }

float sign(int bits, int k) { return bits >> k & 1 ? -1.0f : 1.0f; }
int   even(int seven) { return seven | (__builtin_popcount(unsigned(seven)) & 1) << 7; }
int   u16(const uint8_t * p) { return p[0] | p[1] << 8; }
unsigned u32(const uint8_t * p) { return unsigned(u16(p)) | unsigned(u16(p + 2)) << 16; }

// IQ1_M's scale lies in the upper quarters of four numbers.
float spread_half(const uint8_t * p) { return f16_to_float(uint16_t(p[1] >> 4 | p[3] >> 4 << 4 | p[5] >> 4 << 8 | p[7] >> 4 << 12)); }
void  spread(uint8_t * p, uint16_t half) {
    for (int i = 0; i < 4; ++i) {
        p[2 * i + 1] = uint8_t((p[2 * i + 1] & 15) | (half >> 4 * i & 15) << 4);
    }
}

int q3_scale(const uint8_t * p, int i) { return (p[i % 8] >> (i < 8 ? 0 : 4) & 15) + (p[8 + i % 4] >> i / 4 * 2 & 3) * 16 - 32; }

const std::vector<Type> & types() {
    static const std::vector<Type> all = {
        {SourceType::q4_0, "q4_0", 32, 18, {0}, [](const void * r, float * o, int64_t n) { each<18, 32>(r, o, n, [](const uint8_t * p, int i) { return half_at(p) * float(nibble(p + 2, i) - 8); }); }},
        {SourceType::q4_1, "q4_1", 32, 20, {0, 2}, [](const void * r, float * o, int64_t n) { each<20, 32>(r, o, n, [](const uint8_t * p, int i) { return half_at(p) * float(nibble(p + 4, i)) + half_at(p + 2); }); }},
        {SourceType::q5_0, "q5_0", 32, 22, {0}, [](const void * r, float * o, int64_t n) { each<22, 32>(r, o, n, [](const uint8_t * p, int i) { return half_at(p) * float(nibble(p + 6, i) + fifth(p + 2, i) - 16); }); }},
        {SourceType::q5_1, "q5_1", 32, 24, {0, 2}, [](const void * r, float * o, int64_t n) { each<24, 32>(r, o, n, [](const uint8_t * p, int i) { return half_at(p) * float(nibble(p + 8, i) + fifth(p + 4, i)) + half_at(p + 2); }); }},
        {SourceType::q4_k, "q4_k", 256, 144, {0, 2}, [](const void * r, float * o, int64_t n) { each<144, 256>(r, o, n, [](const uint8_t * p, int i) { return k_value(p, i, k_nibble(p + 16, i)); }); }},
        {SourceType::q5_k, "q5_k", 256, 176, {0, 2}, [](const void * r, float * o, int64_t n) { each<176, 256>(r, o, n, [](const uint8_t * p, int i) { return k_value(p, i, k_nibble(p + 48, i) + (p[16 + i % 32] >> i / 32 & 1) * 16); }); }},
        {SourceType::q6_k, "q6_k", 256, 210, {208}, [](const void * r, float * o, int64_t n) {
             each<210, 256>(r, o, n, [](const uint8_t * p, int i) {
                 const int half = i / 128, k = i % 128;
                 const int low = p[half * 64 + k % 64] >> (k < 64 ? 0 : 4) & 15, high = p[128 + half * 32 + k % 32] >> k / 32 * 2 & 3;
                 return half_at(p + 208) * float(int8_t(p[192 + i / 16])) * float(low + high * 16 - 32);
             });
         }},
        {SourceType::iq4_nl, "iq4_nl", 32, 18, {0}, [](const void * r, float * o, int64_t n) { each<18, 32>(r, o, n, [](const uint8_t * p, int i) { return half_at(p) * float(cpu::detail::iq4_values[nibble(p + 2, i)]); }); }},
        {SourceType::iq4_xs, "iq4_xs", 256, 136, {0}, [](const void * r, float * o, int64_t n) {
             each<136, 256>(r, o, n, [](const uint8_t * p, int i) {
                 const int j = i / 32, scale = (p[4 + j / 2] >> (j % 2 ? 4 : 0) & 15) + ((p[2] | p[3] << 8) >> 2 * j & 3) * 16 - 32;
                 return half_at(p) * float(scale) * float(cpu::detail::iq4_values[nibble(p + 8 + j * 16, i % 32)]);
             });
         }},
        {SourceType::mxfp4, "mxfp4", 32, 17, {0}, [](const void * r, float * o, int64_t n) { each<17, 32>(r, o, n, [](const uint8_t * p, int i) { return std::ldexp(float(cpu::detail::fp4_values[nibble(p + 1, i)]), p[0] - 128); }); },
         [](uint8_t * at, uint16_t half) { *at = half >= 0x7c00 && half < 0x8000 ? 255 : uint8_t(half % 32 + 100); }},
        {SourceType::q2_k, "q2_k", 256, 84, {80, 82}, [](const void * r, float * o, int64_t n) {
             each<84, 256>(r, o, n, [](const uint8_t * p, int i) {
                 const int q = p[16 + i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3;
                 return half_at(p + 80) * float(p[i / 16] & 15) * float(q) - half_at(p + 82) * float(p[i / 16] >> 4);
             });
         }},
        {SourceType::q3_k, "q3_k", 256, 110, {108}, [](const void * r, float * o, int64_t n) {
             each<110, 256>(r, o, n, [](const uint8_t * p, int i) {
                 const int q = (p[32 + i / 128 * 32 + i % 32] >> i % 128 / 32 * 2 & 3) - (p[i % 32] >> i / 32 & 1 ? 0 : 4);
                 return half_at(p + 108) * float(q3_scale(p + 96, i / 16)) * float(q);
             });
         }},
        {SourceType::iq1_s, "iq1_s", 256, 50, {0}, [](const void * r, float * o, int64_t n) {
             each<50, 256>(r, o, n, [](const uint8_t * p, int i) {
                 const int rest = u16(p + 34 + i / 32 * 2), k = i / 8 % 4;
                 const float grid = point(cpu::detail::codebooks::iq1, p[2 + i / 8] + (rest >> 3 * k & 7) * 256, i % 8) / 8;
                 return half_at(p) * float(2 * (rest >> 12 & 7) + 1) * (grid + (rest & 0x8000 ? -0.125f : 0.125f));
             });
         }},
        {SourceType::iq1_m, "iq1_m", 256, 56, {48}, [](const void * r, float * o, int64_t n) {
             each<56, 256>(r, o, n, [](const uint8_t * p, int i) {
                 const int rest = p[32 + i / 16] >> (i / 8 % 2 ? 4 : 0) & 15, scale = u16(p + 48 + i / 64 * 2) >> i / 16 % 4 * 3 & 7;
                 const float grid = point(cpu::detail::codebooks::iq1, p[i / 8] + (rest & 7) * 256, i % 8) / 8;
                 return spread_half(p + 48) * float(2 * scale + 1) * (grid + (rest & 8 ? -0.125f : 0.125f));
             });
         }, spread},
        {SourceType::iq2_xxs, "iq2_xxs", 256, 66, {0}, [](const void * r, float * o, int64_t n) {
             each<66, 256>(r, o, n, [](const uint8_t * p, int i) {
                 const unsigned rest = u32(p + 2 + i / 32 * 8 + 4);
                 const int      k    = i / 8 % 4;
                 return half_at(p) * (0.5f + float(rest >> 28)) * 0.25f * point(cpu::detail::codebooks::iq2_xxs, p[2 + i / 32 * 8 + k], i % 8) * sign(even(int(rest >> 7 * k & 127)), i % 8);
             });
         }},
        {SourceType::iq2_xs, "iq2_xs", 256, 74, {0}, [](const void * r, float * o, int64_t n) {
             each<74, 256>(r, o, n, [](const uint8_t * p, int i) {
                 const int q = u16(p + 2 + i / 8 * 2), scale = p[66 + i / 32] >> (i / 16 % 2 ? 4 : 0) & 15;
                 return half_at(p) * (0.5f + float(scale)) * 0.25f * point(cpu::detail::codebooks::iq2_xs, q & 511, i % 8) * sign(even(q >> 9), i % 8);
             });
         }},
        {SourceType::iq2_s, "iq2_s", 256, 82, {0}, [](const void * r, float * o, int64_t n) {
             each<82, 256>(r, o, n, [](const uint8_t * p, int i) {
                 const int index = p[2 + i / 8] + (p[66 + i / 32] >> i / 8 % 4 * 2 & 3) * 256, scale = p[74 + i / 32] >> (i / 16 % 2 ? 4 : 0) & 15;
                 return half_at(p) * (0.5f + float(scale)) * 0.25f * point(cpu::detail::codebooks::iq2_s, index, i % 8) * sign(p[34 + i / 8], i % 8);
             });
         }},
        {SourceType::iq3_xxs, "iq3_xxs", 256, 98, {0}, [](const void * r, float * o, int64_t n) {
             each<98, 256>(r, o, n, [](const uint8_t * p, int i) {
                 const unsigned rest = u32(p + 66 + i / 32 * 4);
                 return half_at(p) * (0.5f + float(rest >> 28)) * 0.5f * point(cpu::detail::codebooks::iq3_xxs, p[2 + i / 4], i % 4) * sign(even(int(rest >> i / 8 % 4 * 7 & 127)), i % 8);
             });
         }},
        {SourceType::iq3_s, "iq3_s", 256, 110, {0}, [](const void * r, float * o, int64_t n) {
             each<110, 256>(r, o, n, [](const uint8_t * p, int i) {
                 const int index = p[2 + i / 4] + (p[66 + i / 32] >> i / 4 % 8 & 1) * 256, scale = p[106 + i / 64] >> (i / 32 % 2 ? 4 : 0) & 15;
                 return half_at(p) * float(1 + 2 * scale) * point(cpu::detail::codebooks::iq3_s, index, i % 4) * sign(p[74 + i / 8], i % 8);
             });
         }},
        {SourceType::other, "q2_0", 64, 18, {0}, [](const void * r, float * o, int64_t n) { each<18, 64>(r, o, n, [](const uint8_t * p, int i) { return half_at(p) * float((p[2 + i / 4] >> i % 4 * 2 & 3) - 1); }); }},
        {SourceType::other, "q1_0", 128, 18, {0}, [](const void * r, float * o, int64_t n) { each<18, 128>(r, o, n, [](const uint8_t * p, int i) { return half_at(p) * sign(~p[2 + i / 8], i % 8); }); }},
    };
    return all;
}

struct Rows {
    const Type *         type;
    int                  n_rows, n;
    std::vector<uint8_t> bytes;
    std::vector<float>   values;

    cpu::WeightSource source() const { return {bytes.data(), type->type, n_rows, size_t(n / type->block) * type->bytes, type->block, type->row}; }
};

// Any bytes are weights, but for the scales: those are small, some negative, some zero.
Rows make_rows(Random & random, const Type & type, int n_rows, int n) {
    Rows rows{&type, n_rows, n, std::vector<uint8_t>(size_t(n_rows) * n / type.block * type.bytes), std::vector<float>(size_t(n_rows) * n)};
    for (uint8_t & byte : rows.bytes) {
        byte = uint8_t(int(random.normal() * 1000) & 255);
    }
    int count = 0;
    for (size_t at = 0; at < rows.bytes.size(); at += size_t(type.bytes)) {
        for (int scale : type.scales) {
            const float    value = count % 11 == 7 ? 0.0f : (count % 5 == 3 ? -1.0f : 1.0f) * (0.002f + 0.001f * float(count % 7)) * (count % 13 == 5 ? 0.01f : 1.0f);
            type.set_scale(&rows.bytes[at + size_t(scale)], float_to_f16(value));
            ++count;
        }
    }
    for (int r = 0; r < n_rows; ++r) {
        type.row(&rows.bytes[size_t(r) * n / type.block * type.bytes], &rows.values[size_t(r) * n], n);
    }
    return rows;
}

// Six standard deviations of codes rounded by half a step, blocks of 32 each with their scale.
double tolerance(const float * x, const float * w, int n, int x_max) {
    double variance = 0, sum_abs = 0;
    for (int b = 0; b < n; b += 32) {
        double x_top = 0, w_top = 0, x_norm = 0, w_norm = 0;
        for (int k = b; k < b + 32; ++k) {
            x_top = std::max(x_top, std::fabs(double(x[k]))), w_top = std::max(w_top, std::fabs(double(w[k])));
            x_norm += double(x[k]) * x[k], w_norm += double(w[k]) * w[k];
            sum_abs += std::fabs(double(x[k]) * w[k]);
        }
        // An affine block's offset is rounded for all its weights together.
        const double x_step = x_top / x_max, w_step = w_top / 126;
        variance += (x_step * x_step * w_norm + 33 * w_step * w_step * x_norm + 32 * x_step * x_step * w_step * w_step) / 12;
    }
    return 6 * std::sqrt(variance) + 1e-3 * sum_abs / std::sqrt(double(n)) + 1e-6; // scales are f16
}

void layer(Random & random, cpu::ThreadPool & pool, const Type & type, int n_rows, int n, int n_out) {
    const Rows         weights = make_rows(random, type, n_out, n);
    const auto         x       = random.normals(size_t(n_rows) * n), bias = random.normals(size_t(n_out));
    cpu::PackedLinear  linear  = cpu::pack_linear(pool, n, {weights.source()}, bias.data());
    cpu::Workspace     workspace;
    std::vector<float> y(size_t(n_rows) * n_out), alone(y);
    cpu::linear(pool, linear, x.data(), size_t(n), n_rows, y.data(), size_t(n_out), {}, workspace);
    const int x_max = cpu::detail::block_kernels(cpu::detail::active_kernels(), cpu::WeightMode::native).format.x_max;
    double    worst = 0;
    for (int r = 0; r < n_rows; ++r) {
        for (int c = 0; c < n_out; ++c) {
            const float *row = &x[size_t(r) * n], *w = &weights.values[size_t(c) * n];
            double       sum = bias[size_t(c)];
            for (int k = 0; k < n; ++k) {
                sum += double(row[k]) * w[k];
            }
            const double ratio = std::fabs(y[size_t(r) * n_out + c] - sum) / tolerance(row, w, n, x_max);
            worst              = ratio <= worst ? worst : std::isnan(ratio) ? INFINITY : ratio;
        }
        cpu::linear(pool, linear, &x[size_t(r) * n], size_t(n), 1, &alone[size_t(r) * n_out], size_t(n_out), {}, workspace);
    }
    const std::string label = type.name + text(" %.0f x %.0f x %.0f", n_rows, n, n_out);
    CHECK(worst <= 1, label + text(": error is %.2f of what it may be", worst));
    CHECK(alone == y, label + ": a row alone differs from the row in its batch");
    const size_t whole_panels = size_t(n_out + 63) / 64 * 64;
    CHECK(linear.size_bytes() <= 1.15 * double(weights.bytes.size()) / n_out * double(whole_panels) + 64 * 1024, label + text(": %.0f bytes", double(linear.size_bytes())));
}

// How far a code may be from its weight, in units of its scale: where there are two steps or a minimum, it is rounded and so are these;
// others are exact.
double rounding(SourceType type) {
    switch (type) {
        case SourceType::q4_1:
        case SourceType::q5_1:
        case SourceType::q4_k:
        case SourceType::q5_k:
        case SourceType::q6_k:   return 1.02;
        case SourceType::iq2_xs:
        case SourceType::iq2_s:  return 0.68;
        case SourceType::iq1_m:
        case SourceType::q2_k:   return 0.54;
        default:                 return 0;
    }
}

// The codes that a panel is unpacked to, one by one.
void unpacked(Random & random, cpu::ThreadPool & pool, const Type & type) {
    const int                        n = 512, n_out = 41;
    const Rows                       weights = make_rows(random, type, n_out, n);
    const cpu::PackedLinear          linear  = cpu::pack_linear(pool, n, {weights.source()});
    const cpu::detail::PackedWeights & w     = linear.weights();
    if (w.places.empty() || w.places[0].layout.kind == cpu::detail::LowBit::file_rows) {
        return;
    }
    const int              columns = w.columns, group = w.format().group;
    std::vector<uint8_t>   memory(w.int8_panel_bytes() + 64);
    uint8_t *              to = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64);
    double                 worst = 0;
    for (int p = 0; p < w.n_panels; ++p) {
        const auto & place = w.places[size_t(p)];
        w.blocks->unpack({w.panel(p), to, w.n_blocks, place.layout, place.unit, cpu::detail::codebook_of(place.layout)});
        for (int c = 0; c < columns && p * columns + c < n_out; ++c) {
            for (int k = 0; k < n; ++k) {
                const uint8_t * block = to + size_t(k / 32) * 36 * columns;
                float           scale;
                std::memcpy(&scale, block + 32 * columns + c * 4, sizeof(scale));
                const uint8_t byte  = block[(k % 32 / group * columns + c) * group + k % group];
                const int     code  = w.format().block_offset == 0 ? int(int8_t(byte)) : int(byte) - w.format().block_offset;
                const float   value = weights.values[size_t(p * columns + c) * n + k];
                const double  most  = rounding(type.type) * std::fabs(scale) + 6e-4 * std::fabs(value) + 1e-30; // f16
                worst               = std::max(worst, std::fabs(code * double(scale) - value) / most);
            }
        }
    }
    CHECK(worst <= 1, type.name + text(": a weight is %.2f times as far from what it was as it may be", worst));
}

// Query, key and value of several types, panels across their seams included.
void stacked(Random & random, cpu::ThreadPool & pool, const Type & first, const Type & second) {
    const int        n = 256, n_rows = 9;
    const Rows       a = make_rows(random, first, 40, n), b = make_rows(random, first, 24, n), c = make_rows(random, second, 41, n);
    const auto       x = random.normals(size_t(n_rows) * n);
    cpu::Workspace   workspace;
    std::vector<float> y(size_t(n_rows) * 105), apart(y);
    cpu::linear(pool, cpu::pack_linear(pool, n, {a.source(), b.source(), c.source()}), x.data(), size_t(n), n_rows, y.data(), 105, {}, workspace);
    int at = 0;
    for (const Rows * rows : {&a, &b, &c}) {
        cpu::linear(pool, cpu::pack_linear(pool, n, {rows->source()}), x.data(), size_t(n), n_rows, &apart[size_t(at)], 105, {}, workspace);
        at += rows->n_rows;
    }
    double size = 0;
    for (float v : apart) {
        size = std::max(size, std::fabs(double(v)));
    }
    CHECK(difference(y, apart) < 0.02 * size, text("stacked types are %g apart from single ones, of %g: ", difference(y, apart), size) + first.name);
}

void refuses_infinity(Random & random, cpu::ThreadPool & pool, const Type & type) {
    for (int scale : type.scales) {
        Rows           rows = make_rows(random, type, 3, 256);
        const uint16_t bad  = scale % 4 == 0 ? 0x7c00 : 0x7e00;
        type.set_scale(&rows.bytes[size_t(type.bytes) + size_t(scale)], bad);
        if (type.block == 256 && (type.bytes == 144 || type.bytes == 176 || type.bytes == 210)) { // any factor but zero
            std::memset(&rows.bytes[size_t(type.bytes) + size_t(scale == 208 ? 192 : 4)], 0x55, 8);
        }
        bool refused = false;
        try {
            cpu::pack_linear(pool, 256, {rows.source()});
        } catch (const cpu::NotFinite &) {
            refused = true;
        }
        CHECK(refused, std::string(type.name) + text(": a scale at byte %.0f that is not finite is packed", scale));
    }
}

} // namespace

void low_bit(cpu::Isa isa) {
    Random          random(unsigned(isa) + 77);
    cpu::ThreadPool pool(3);
    for (const Type & type : types()) {
        layer(random, pool, type, 1, 256, 5);
        layer(random, pool, type, 13, 512, 70);
        layer(random, pool, type, 41, 768, 129);
        unpacked(random, pool, type);
        refuses_infinity(random, pool, type);
    }
    stacked(random, pool, types()[4], types()[6]);   // Q4_K, Q6_K
    stacked(random, pool, types()[10], types()[11]); // Q2_K, Q3_K
    stacked(random, pool, types()[16], types()[18]); // IQ2_S, IQ3_S
}

} // namespace test
