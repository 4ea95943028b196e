// The scalar twin of every kernel: plain loops, compiled for any chip. What a vector kernel does, reads here.
#include "cpu.h"
#include "half.h"
#include "kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace cpu::detail {

namespace {

void float_tiles(const FloatTiles & t) {
    constexpr int columns = 8;
    for (int p = 0; p < t.n_panels; ++p) {
        const float * w = t.w + p * t.w_panel;
        for (int r = 0; r < t.n_rows; ++r) {
            float * y = t.y + r * t.y_row + p * t.y_panel;
            for (int c = 0; c < columns; ++c) {
                float sum = t.accumulate ? y[c] : 0.0f;
                for (int k = 0; k < t.n_k; ++k) {
                    sum += t.x[r * t.x_row + k * t.x_k] * w[size_t(k) * columns + c];
                }
                y[c] = sum;
            }
        }
    }
}

void transpose(const float * from, size_t from_row, int n_rows, int n_columns, float * to, size_t to_row) {
    for (int r = 0; r < n_rows; ++r) {
        for (int c = 0; c < n_columns; ++c) {
            to[c * to_row + r] = from[r * from_row + c];
        }
    }
}

void to_panels(const float * from, size_t from_row, int n_rows, int n, float * to, size_t panel) {
    constexpr int columns = 8;
    for (int r = 0; r < n_rows; ++r) {
        for (int i = 0; i < (n + columns - 1) / columns * columns; ++i) {
            to[i / columns * panel + r * columns + i % columns] = i < n ? from[r * from_row + i] : 0.0f;
        }
    }
}

void widen_f16(const uint16_t * from, float * to, size_t n) { std::transform(from, from + n, to, f16_to_float); }
void widen_bf16(const uint16_t * from, float * to, size_t n) { std::transform(from, from + n, to, bf16_to_float); }

// Sum of products of codes, for inputs [first, first + n) of one row and one column. An int32 holds more than 60000 of them.
int32_t dot(const Int8Tiles & t, const uint8_t * w, int rows, const int8_t * x, int column, int n, bool is_signed) {
    const int group = t.format->group, of_x = x_group(*t.format);
    int32_t   sum   = 0;
    for (int k = 0; k < n; ++k) {
        const uint8_t code   = w[(size_t(k / group) * t.format->int8_columns + column) * group + k % group];
        const int     weight = is_signed ? int(int8_t(code)) : int(code);
        sum += weight * x[size_t(k / of_x) * rows * of_x + k % of_x];
    }
    return sum;
}

// The multiplier of input k of a block: see quantize-multiplied.h.
int multiplier_at(const Format & f, const int8_t * codes, int k) {
    uint16_t halves[2];
    std::memcpy(halves, codes + f.block + k * f.multipliers / f.block * 4, sizeof(halves));
    return halves[k % 4 / 2];
}

// The same for a block with multipliers, whose codes lie together.
int32_t multiplied_dot(const Int8Tiles & t, const uint8_t * w, const int8_t * codes, int column) {
    const Format & f   = *t.format;
    int32_t        sum = 0;
    for (int k = 0; k < f.block; ++k) { // the sum with the offset may wrap, and then that without it does so back
        const int product = int(w[(size_t(k / f.group) * f.int8_columns + column) * f.group + k % f.group]) * codes[k];
        sum               = int32_t(uint32_t(sum) + uint32_t(product * multiplier_at(f, codes, k)));
    }
    return sum;
}

// To the nearest bf16, ties away from zero.
float rounded_weight(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof(bits));
    return bf16_to_float(uint16_t((bits + 0x8000) >> 16));
}

// Sums in bf16: see bf16-amx.h, whose order of the sums is another.
void bf16_tiles(const Int8Tiles & t) {
    const Format & f = *t.format;
    for (int r = 0; r < t.n_rows; ++r) {
        for (int c = 0; c < f.int8_columns; ++c) {
            const uint8_t * w   = t.w;
            double          sum = 0;
            for (int b = 0; b < t.n_blocks; ++b, w += size_t(f.block + 4) * f.int8_columns) {
                const int8_t * x = t.x + ((size_t(r / f.block_rows) * t.n_blocks + b) * f.block_rows + r % f.block_rows) * x_bytes(f);
                float          scale;
                std::memcpy(&scale, w + size_t(f.block) * f.int8_columns + size_t(c) * 4, sizeof(scale));
                for (int k = 0; k < f.block; ++k) {
                    uint16_t half;
                    std::memcpy(&half, x + 2 * k, sizeof(half));
                    const int code = int(w[(size_t(k / f.group) * f.int8_columns + c) * f.group + k % f.group]) - f.block_offset;
                    sum += double(bf16_to_float(half)) * rounded_weight(float(code) * scale);
                }
            }
            t.y[size_t(r) * f.int8_columns + c] = float(sum);
        }
    }
}

void block_tiles(const Int8Tiles & t) {
    if (t.format->value_bytes == 2) {
        return bf16_tiles(t);
    }
    const Format & f       = *t.format;
    const int      rows    = f.block_rows;
    const int      columns = f.int8_columns;
    const int      block   = f.block;
    for (int r = 0; r < t.n_rows; ++r) {
        const size_t   block_of_rows = size_t(r / rows);
        const int8_t * x             = t.x + block_of_rows * t.n_blocks * x_bytes(f) * rows + r % rows * (x_group(f) + 4 * f.multipliers);
        for (int c = 0; c < columns; ++c) {
            const uint8_t * w   = t.w;
            float           sum = 0;
            for (int b = 0; b < t.n_blocks; ++b, w += size_t(block + 4) * columns) {
                const size_t   at    = (block_of_rows * t.n_blocks + b) * rows + r % rows;
                const int8_t * codes = x + size_t(b) * x_bytes(f) * rows;
                const int32_t  s     = f.multipliers > 0 ? int32_t(uint32_t(t.x_sum[at]) + uint32_t(multiplied_dot(t, w, codes, c)))
                                                         : t.x_sum[at] - f.sum_start + dot(t, w, rows, codes, c, block, f.block_offset == 0);
                float         scale;
                std::memcpy(&scale, w + size_t(block) * columns + size_t(c) * 4, sizeof(scale));
                sum += float(s) * (scale * t.x_scale[at]);
            }
            t.y[size_t(r) * columns + c] = sum;
        }
    }
}

void row_tiles(const Int8Tiles & t) {
    const Format & f       = *t.format;
    const int      rows    = f.row_rows;
    const int      columns = f.int8_columns;
    const int      n       = t.n_blocks * f.block;
    for (int r = 0; r < t.n_rows; ++r) {
        const size_t   block_of_rows = size_t(r / rows);
        const size_t   at            = block_of_rows * rows + r % rows;
        const int8_t * x             = t.x + block_of_rows * n * rows + r % rows * x_group(f);
        for (int c = 0; c < columns; ++c) {
            float scale;
            std::memcpy(&scale, t.w + size_t(n) * columns + size_t(c) * 4, sizeof(scale));
            const int32_t s              = t.x_sum[at] + dot(t, t.w, rows, x, c, n, f.row_offset == 0);
            t.y[size_t(r) * columns + c] = float(s) * (scale * t.x_scale[at]);
        }
    }
}

// Quantises values [first, first + n) of a row with one scale; values past the row's end are zeros.
void quantize(const Quantize & q, int row, int first, int n, size_t scale_at, bool by_block) {
    const float * x       = q.x + row * q.x_stride;
    const int     own     = std::max(0, std::min(n, q.n - first));
    float         largest = 0;
    for (int i = 0; i < own; ++i) {
        const float size = std::fabs(x[first + i]);
        largest          = size > largest || std::isnan(size) ? size : largest;
    }
    float scale   = largest / float(q.format->x_max);
    float inverse = largest > 0 ? float(q.format->x_max) / largest : 0.0f;
    if (by_block && q.format->scale_bits < 23) {
        const uint32_t below = (1u << (23 - q.format->scale_bits)) - 1;
        uint32_t       bits;
        std::memcpy(&bits, &scale, sizeof(bits));
        bits = (bits + below) & ~below;
        std::memcpy(&scale, &bits, sizeof(bits));
        const bool within = largest > 1 / reach && largest < reach;
        scale             = within ? scale : 1.0f;
        inverse           = within ? 1.0f / scale : 0.0f;
    }
    int32_t total = 0;
    for (int i = 0; i < n; ++i) {
        const int code  = i < own ? int(std::lrint(x[first + i] * inverse)) : 0;
        const int k     = first + i;
        const int group = x_group(*q.format);
        q.codes[row / q.rows * q.block_codes + (size_t(k / group) * q.rows + row % q.rows) * group + k % group] = int8_t(code);
        total += code;
    }
    const size_t at = row / q.rows * q.block_scales + scale_at * q.rows + row % q.rows;
    q.scale[at]     = scale;
    q.sum[at]       = (by_block ? q.format->sum_start : 0) - q.offset * total;
}

float round_to_even(float x) { return std::nearbyint(x); }

// A block as quantize-multiplied.h makes it.
void quantize_multiplied(const Quantize & q, int row, int block) {
    const Format & f = *q.format;
    std::vector<float> x(size_t(f.block), 0.0f);
    std::copy_n(q.x + row * q.x_stride + block * f.block, std::min(f.block, q.n - block * f.block), x.begin());

    const int n_parts = 2 * f.multipliers;
    auto part_of = [&](int k) { return k * f.multipliers / f.block * 2 + k % 4 / 2; };
    std::vector<float> tops(size_t(n_parts), 0.0f);
    float              top = 0;
    for (int k = 0; k < f.block; ++k) {
        float & own = tops[size_t(part_of(k))];
        for (float size : {std::fabs(x[k]), std::fabs(x[k] + x[k ^ 1])}) {
            own = size > own || std::isnan(size) ? size : own;
        }
        top = own > top || std::isnan(own) ? own : top;
    }
    const float scale = top / float(multiplied_max * multiplier_max), shares = float(multiplier_max) / top;
    int8_t *    to    = q.codes + row / q.rows * q.block_codes + (size_t(block) * q.rows + row % q.rows) * x_bytes(f);
    uint32_t    total = 0;
    std::vector<float>    inverses(tops.size());
    std::vector<uint16_t> multipliers(tops.size());
    for (int p = 0; p < n_parts; ++p) {
        const float wanted = round_to_even(tops[p] * shares + 0.5f), within = wanted < multiplier_max ? wanted : multiplier_max;
        multipliers[p]     = uint16_t(std::max(within, 1.0f));
        inverses[p]        = top > 0 ? 1.0f / (scale * float(multipliers[p])) : 0.0f;
    }
    for (int k = 0; k < f.block; ++k) {
        to[k] = int8_t(std::lrint(x[k] * inverses[part_of(k)]));
        total += uint32_t(to[k] * multipliers[part_of(k)]);
    }
    std::memcpy(to + f.block, multipliers.data(), multipliers.size() * sizeof(multipliers[0]));
    const size_t at = row / q.rows * q.block_scales + size_t(block) * q.rows + row % q.rows;
    q.scale[at]     = scale;
    q.sum[at]       = int32_t(0u - uint32_t(q.offset) * total);
}

void round_to_bf16(const Quantize & q) {
    for (int row = 0; row < q.n_rows; ++row) {
        for (int i = 0; i < (q.n + q.format->block - 1) / q.format->block * q.format->block; ++i) {
            const uint16_t half = float_to_bf16(i < q.n ? q.x[row * q.x_stride + i] : 0.0f);
            const int      b = i / q.format->block, k = i % q.format->block;
            std::memcpy(q.codes + row / q.rows * q.block_codes + (size_t(b) * q.rows + row % q.rows) * x_bytes(*q.format) + 2 * k, &half, sizeof(half));
        }
    }
}

void quantize_blocks(const Quantize & q) {
    if (q.format->value_bytes == 2) {
        return round_to_bf16(q);
    }
    const int block = q.format->block;
    for (int row = 0; row < q.n_rows; ++row) {
        for (int first = 0; first < q.n; first += block) {
            q.format->multipliers > 0 ? quantize_multiplied(q, row, first / block) : quantize(q, row, first, block, size_t(first / block), true);
        }
    }
}

void quantize_rows(const Quantize & q) {
    const int block = q.format->block;
    for (int row = 0; row < q.n_rows; ++row) {
        quantize(q, row, 0, (q.n + block - 1) / block * block, 0, false);
    }
}

// NaN for what is infinite, as in math-kernels.h.
float tanh(float x) { return std::tanh(x) + 0.0f * x; }

float activated(Activation activation, float x) {
    switch (activation) {
        case Activation::none:      return x;
        case Activation::gelu_near:
        case Activation::gelu_erf:  return 0.5f * x * (1.0f + std::erf(x * 0.70710678f));
        case Activation::gelu_tanh: return 0.5f * x * (1.0f + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
        case Activation::silu:      return x / (1.0f + std::exp(-x));
        case Activation::tanh:      return tanh(x);
        case Activation::relu:      return std::max(x, 0.0f);
    }
    return x;
}

void store(const Store & s) {
    const int half = s.columns / 2;
    for (int r = 0; r < s.n_rows; ++r) {
        const float * sums = s.sums + size_t(r) * s.columns;
        for (int c = 0; c < s.n_valid; ++c) {
            float value = activated(s.activation, sums[c] + (s.bias != nullptr ? s.bias[c] : 0.0f));
            if (s.gated) {
                value *= sums[half + c];
            }
            value *= s.scale;
            if (s.residual != nullptr) {
                value += s.residual[r * s.residual_stride + c];
            }
            s.y[r * s.y_stride + c] = value;
        }
    }
}

void softmax(const Softmax & s) {
    for (int r = 0; r < s.n_rows; ++r) {
        float * scores = s.scores + r * s.stride;
        float   max    = s.max[r];
        for (int j = s.first[r]; j < s.end[r]; ++j) {
            scores[j] *= s.scale;
            if (s.soft_cap > 0) {
                scores[j] = s.soft_cap * tanh(scores[j] / s.soft_cap);
            }
            max = std::max(max, scores[j]);
        }
        s.rescale[r] = s.max[r] == max ? 1.0f : std::exp(s.max[r] - max);
        float sum    = s.sum[r] * s.rescale[r];
        for (int j = 0; j < s.n; ++j) {
            scores[j] = j >= s.first[r] && j < s.end[r] ? std::exp(scores[j] - max) : 0.0f;
            sum += scores[j];
        }
        s.max[r] = max;
        s.sum[r] = sum;
    }
}

void scale_row(float * x, int n, float scale) {
    for (int i = 0; i < n; ++i) {
        x[i] *= scale;
    }
}

float summed(const Norm & a, int i) { return a.x[i] + (a.add != nullptr ? a.add[i] : 0.0f); }

void normed(const Norm & a, float mean, float inverse) {
    for (int i = 0; i < a.n; ++i) {
        float value = (summed(a, i) - mean) * inverse * a.weight[i];
        value += a.bias != nullptr ? a.bias[i] : 0.0f;
        a.y[i] = value + (a.residual != nullptr ? a.residual[i] : 0.0f);
    }
}

void layer_norm(const Norm & a) {
    double sum = 0, squares = 0;
    for (int i = 0; i < a.n; ++i) {
        sum += summed(a, i);
    }
    const double mean = sum / a.n;
    for (int i = 0; i < a.n; ++i) {
        squares += (summed(a, i) - mean) * (summed(a, i) - mean);
    }
    normed(a, float(mean), float(1.0 / std::sqrt(squares / a.n + a.eps)));
}

void rms_norm(const Norm & a) {
    double squares = 0;
    for (int i = 0; i < a.n; ++i) {
        squares += double(summed(a, i)) * summed(a, i);
    }
    normed(a, 0.0f, float(1.0 / std::sqrt(squares / a.n + a.eps)));
}

void turn(float & a, float & b, float cos, float sin) {
    const float turned = a * cos - b * sin;
    b                  = b * cos + a * sin;
    a                  = turned;
}

void rope_halves(float * x, const float * cos, const float * sin, int half) {
    for (int i = 0; i < half; ++i) {
        turn(x[i], x[i + half], cos[i], sin[i]);
    }
}

void rope_pairs(float * x, const float * cos, const float * sin, int half) {
    for (int i = 0; i < half; ++i) {
        turn(x[2 * i], x[2 * i + 1], cos[i], sin[i]);
    }
}

void scale_add(float scale, const float * a, const float * b, float * y, int n) {
    for (int i = 0; i < n; ++i) {
        y[i] = scale * a[i] + (b != nullptr ? b[i] : 0.0f);
    }
}

void activate(Activation activation, const float * x, float * y, int n) {
    std::transform(x, x + n, y, [&](float value) { return activated(activation, value); });
}

void pair_tiles(const PairTiles & t) {
    constexpr int columns = 8;
    for (int r = 0; r < t.n_rows; ++r) {
        for (int c = 0; c < t.n_panels * columns; ++c) {
            const int32_t * w   = t.w + c / columns * t.w_panel + c % columns;
            int32_t         sum = 0;
            for (int k = 0; k < t.n_k; ++k) {
                int16_t a[2], b[2];
                std::memcpy(a, t.x + r * t.x_row + k, sizeof(a));
                std::memcpy(b, w + size_t(k) * columns, sizeof(b));
                sum += int32_t(a[0]) * b[0] + int32_t(a[1]) * b[1];
            }
            float & y = t.y[r * t.y_row + c];
            if (t.column_scale != nullptr) {
                y = float(sum) * t.column_scale[c];
                continue;
            }
            y = (float(sum) * t.row_scale[r] + (t.accumulate ? y : 0.0f)) * (t.finish != nullptr ? t.finish[r] : 1.0f);
        }
    }
}

// NaN where one of the two is.
float larger(float a, float b) { return a > b || std::isnan(a) ? a : b; }

int16_t pair_code(float x) { return std::isfinite(x) ? int16_t(std::lrint(x)) : int16_t(0); }

float pair_value(const PairCodes & c, int row, int i) {
    const float * x = row < c.n_first ? c.x + row * c.x_row : c.rest + (row - c.n_first) * c.x_row;
    return x[i / 8 * c.x_panel + i % 8] + (c.bias != nullptr ? c.bias[i] : 0.0f);
}

// Sets a row's scale and returns what its values are multiplied with.
float pair_scale(const PairCodes & c, int row) {
    float top = 0;
    for (int i = 0; i < c.n; ++i) {
        top = larger(top, std::fabs(pair_value(c, row, i)));
    }
    c.scale[row] = std::isfinite(top) ? top / c.code_max : std::numeric_limits<float>::quiet_NaN();
    return top > 1e-30f ? c.code_max / top : 0.0f;
}

void pair_rows(const PairCodes & c) {
    auto * codes = reinterpret_cast<int16_t *>(c.codes);
    for (int row = 0; row < c.n_rows; ++row) {
        const float inverse = pair_scale(c, row);
        for (int i = 0; i < c.n; ++i) {
            codes[size_t(row) * c.n + i] = pair_code(pair_value(c, row, i) * inverse);
        }
    }
}

void pair_panels(const PairCodes & c) {
    constexpr int columns = 8;
    for (int row = 0; row < c.n_rows; row += 2) {
        const float inverse[2] = {pair_scale(c, row), row + 1 < c.n_rows ? pair_scale(c, row + 1) : 0.0f};
        for (int i = 0; i < (c.n + columns - 1) / columns * columns; ++i) {
            int16_t pair[2] = {0, 0};
            for (int j = 0; j < 2 && i < c.n && row + j < c.n_rows; ++j) {
                pair[j] = pair_code(pair_value(c, row + j, i) * inverse[j]);
            }
            std::memcpy(c.codes + i / columns * c.panel + row / 2 * columns + i % columns, pair, sizeof(pair));
        }
    }
}

void pair_softmax(const PairSoftmax & s) {
    for (int r = 0; r < s.n_rows; ++r) {
        float * scores = s.scores + r * s.stride;
        softmax({scores, s.stride, 1, s.n, s.first + r, s.end + r, s.scale[r], s.soft_cap, s.max + r, s.sum + r, s.rescale + r});
        float all = 0, most = 0;
        for (int j = s.first[r]; j < s.end[r]; ++j) {
            scores[j] *= s.key_scale[j];
            all += scores[j];
            most = std::max(most, scores[j]);
        }
        const float factor = all > 1e-30f ? std::min(s.code_sum / all, 32767.0f / most) : 0.0f;
        s.code_scale[r]    = all > 1e-30f ? 1.0f / factor : all * 0.0f;
        for (int j = 0; j < s.n; ++j) {
            s.codes[r * s.stride + j] = pair_code(scores[j] * factor);
        }
    }
}

constexpr PairKernels pair_kernels = {/*max_rows*/ 12, pair_tiles, pair_rows, pair_panels, pair_softmax};

constexpr Format format = {/*float_rows*/ 4, /*float_columns*/ 8, /*int8_columns*/ 8, /*group*/ 4, /*block*/ 32, /*x_max*/ 127,
                           /*block_rows*/ 4, /*block_offset*/ 0,  /*row_rows*/ 4,     /*row_max*/ 127, /*row_offset*/ 0};

// Value e of a block of n, whose first bits begin at p: see RowPacker.
int bits_at(const uint8_t * p, int n, LowBit l, int e) {
    const int n_low = l.low_bits(), n_high = l.bits - n_low, n_bytes = n / 8 * n_low, n_more = n / 8 * n_high;
    const int low = p[e % n_bytes] >> e / n_bytes * n_low & ((1 << n_low) - 1);
    return n_high == 0 ? low : low | (p[n_bytes + e % n_more] >> e / n_more * n_high & ((1 << n_high) - 1)) << n_low;
}

float half_at(const uint8_t * p) {
    uint16_t half;
    std::memcpy(&half, p, sizeof(half));
    return f16_to_float(half);
}

// A column of a block as codes.
struct ColumnCodes {
    int   codes[32];
    float scale;
};

constexpr int unpacked_columns = format.int8_columns, unpacked_values = unpacked_columns * 32;

// Where value k of column c lies in a block.
constexpr int place_of(int c, int k) { return (k / format.group * unpacked_columns + c) * format.group + k % format.group; }

// Q2_K as codes of one scale: (q * step + start) >> 7.
ColumnCodes q2_k_codes(const Unpack & u, const uint8_t * block, const uint8_t * scales, int c) {
    const uint8_t * factors = block + unpacked_values / 8 * u.layout.bits + c;
    float           step_of[2], minimum[2], top = 1e-30f;
    for (int part = 0; part < 2; ++part) {
        const int factor = factors[part * unpacked_columns];
        step_of[part]    = half_at(scales + c * 2) * float(factor & 15);
        minimum[part]    = half_at(scales + (unpacked_columns + c) * 2) * float(factor >> 4);
        top              = std::max({top, std::fabs(minimum[part]), std::fabs(step_of[part] * 3 - minimum[part])});
    }
    const float per_unit = 127.0f * 128.0f / top;
    ColumnCodes out;
    out.scale = top * (1.0f / 127.0f);
    for (int k = 0; k < 32; ++k) {
        const int step = int(std::nearbyint(step_of[k / 16] * per_unit)), start = int(std::nearbyint(64 - minimum[k / 16] * per_unit));
        out.codes[k]   = (bits_at(block, unpacked_values, u.layout, place_of(c, k)) * step + start) >> 7;
    }
    return out;
}

// Points: see codebook-kernels.h.
ColumnCodes point_codes(const Unpack & u, const uint8_t * block, const uint8_t * scales, int c) {
    const LowBit    l       = u.layout;
    const bool      shifted = l.is_shifted();
    const uint8_t * numbers = block + unpacked_values / 8 * l.bits + c, *high = numbers + l.n_points() * unpacked_columns;
    const uint8_t * step    = high + l.n_high() * unpacked_columns;
    const int       steps   = l.kind == LowBit::iq1_s ? high[0] >> 7 | (high[unpacked_columns] >> 2 & 2) | (high[unpacked_columns] >> 5 & 4) : step[0];
    const float     first = float(2 * (steps & 15) + 1), other = l.parts == 2 ? float(2 * (steps >> 4) + 1) : first;
    const float     largest = std::max(first, other), top = largest * (shifted ? 9 : 43);
    const float     unit    = l.parts == 2 && top < 127.5f ? 1 : first == other ? first : top * (1.0f / 127);
    ColumnCodes     out;
    out.scale = unit * (half_at(scales + c * 2) * l.codebook_unit());
    for (int k = 0; k < 32; ++k) {
        const int q      = k / l.point_values(), nibble = shifted ? high[q / 2 * unpacked_columns] >> q % 2 * 4 : 0;
        const int more   = shifted ? nibble & 7 : l.n_high() == 0 ? 0 : l.n_points() == 8 ? high[0] >> q & 1 : high[0] >> 2 * q & 3;
        const int value  = int8_t(u.points[numbers[q * unpacked_columns] | more << 8] >> k % l.point_values() * 8);
        const int down   = l.kind == LowBit::iq1_s ? high[0] >> 3 & 1 : nibble >> 3 & 1;
        const int factor = l.parts == 1 ? 128 : int(std::nearbyint((k < 16 ? first : other) * (128 / unit)));
        const int code   = ((value + (shifted ? 1 - 2 * down : 0)) * factor + 64) >> 7;
        out.codes[k]     = l.bits == 1 && bits_at(block, unpacked_values, l, place_of(c, k)) != 0 ? -code : code;
    }
    return out;
}

ColumnCodes bit_codes(const Unpack & u, const uint8_t * block, const uint8_t * scales, int c) {
    const LowBit    l       = u.layout;
    const uint8_t * factors = block + unpacked_values / 8 * l.bits + c;
    const int       half    = 1 << (l.bits - 1);
    ColumnCodes     out;
    out.scale = half_at(scales + c * 2) * u.unit;
    for (int k = 0; k < 32; ++k) {
        const int     q      = bits_at(block, unpacked_values, l, place_of(c, k));
        const uint8_t factor = l.is_table() ? uint8_t(0) : factors[(l.parts == 2 ? k / 16 : 0) * unpacked_columns];
        out.codes[k] = l.kind == LowBit::iq4_table   ? iq4_values[q]
                       : l.kind == LowBit::fp4_table ? fp4_values[q]
                       : l.kind == LowBit::q3_k      ? (q - half) * int8_t(factor)
                       : l.kind == LowBit::symmetric ? ((q - half) * int8_t(factor) + half / 2) >> (l.bits - 1)
                                                     : ((q * factor + half) >> l.bits) + int8_t(factors[l.parts * unpacked_columns]);
    }
    return out;
}

void unpack_blocks_of_32(const Unpack & u) {
    const LowBit    l        = u.layout;
    const auto      codes_of = l.is_codebook() ? point_codes : l.kind == LowBit::q2_k ? q2_k_codes : bit_codes;
    const uint8_t * from     = u.from;
    uint8_t *       to       = u.to;
    for (int b = 0; b < u.n_blocks; ++b, to += unpacked_values + 4 * unpacked_columns) {
        const uint8_t * end    = from + l.block_bytes() * unpacked_columns;
        const uint8_t * scales = l.is_super() ? from + (8 - b % 8) * l.block_bytes() * unpacked_columns : end - 2 * unpacked_columns;
        for (int c = 0; c < unpacked_columns; ++c) {
            const ColumnCodes column = codes_of(u, from, scales, c);
            std::memcpy(to + unpacked_values + c * 4, &column.scale, sizeof(column.scale));
            for (int k = 0; k < 32; ++k) {
                to[place_of(c, k)] = uint8_t(column.codes[k] + format.block_offset);
            }
        }
        from = end + (b % 8 == 7 ? 2 * l.n_super_scales() * unpacked_columns : 0);
    }
}

} // namespace
} // namespace cpu::detail

#include "table.h"

namespace cpu::detail {
namespace {
constexpr Kernels table = make_table(Isa::scalar, pair_kernels);
}
const Kernels * scalar_kernels() { return &table; }
} // namespace cpu::detail
