// What the AMX level does in bf16, which no other has, beside double precision. And the emulated tiles themselves.
#include "../../../native/cpu/half.h"
#include "check.h"

#include <algorithm>
#include <cstring>

#ifdef CPU_EMULATED
#include "emulated/tiles.h"
#endif

namespace test {

namespace {

// Largest error of products beside the same in double, in units of what rounding both factors to bf16 leaves (a standard deviation).
double error_of(const std::vector<float> & y, const std::vector<float> & x, const std::vector<float> & w, int n_rows, int n_out) {
    const int n_in  = int(x.size()) / n_rows;
    double    worst = 0;
    for (int r = 0; r < n_rows; ++r) {
        for (int c = 0; c < n_out; ++c) {
            double sum = 0, squares = 0;
            for (int k = 0; k < n_in; ++k) {
                const double product = double(x[size_t(r) * n_in + k]) * w[size_t(c) * n_in + k];
                sum += product;
                squares += product * product;
            }
            const double error = std::fabs(y[size_t(r) * n_out + c] - sum) / (std::sqrt(squares * 2 / 3) / 512 + 1e-6);
            worst              = error <= worst ? worst : std::isnan(error) ? INFINITY : error;
        }
    }
    return worst;
}

// Codes of rows and panels, and products of both, beside rounding by hand.
void pairs_in_bf16(Random & random, int n_rows, int n_keys, int n) {
    const cpu::detail::Kernels &     kernels = cpu::detail::active_kernels();
    const cpu::detail::PairKernels & pairs   = kernels.pairs;
    const int                        columns = kernels.format.float_columns, n_key_panels = (n_keys + columns - 1) / columns, n_panels = (n + columns - 1) / columns;
    const std::string                label   = text("bf16 pairs %.0f x %.0f x %.0f", n_rows, n_keys, n);
    const auto q = random.normals(size_t(n_rows) * n), k = random.normals(size_t(n_keys) * n), v = random.normals(size_t(n_keys) * n), bias = random.normals(n);

    std::vector<float>   q_scale(n_rows, 7.0f), k_scale(n_keys, 7.0f);
    std::vector<int32_t> q_codes(size_t(n_rows) * n / 2), k_codes(size_t(n_keys) * n / 2);
    cpu::detail::PairCodes c;
    c.x = q.data(), c.x_row = size_t(n), c.x_panel = size_t(columns), c.n_first = n_rows, c.rest = nullptr, c.bias = bias.data(), c.n_rows = n_rows, c.n = n;
    c.code_max = 0, c.codes = q_codes.data(), c.scale = q_scale.data();
    pairs.rows(c);
    c.x = k.data(), c.n_first = n_keys, c.n_rows = n_keys, c.bias = nullptr, c.codes = k_codes.data(), c.scale = k_scale.data();
    pairs.rows(c);
    bool same = true;
    for (int i = 0; i < n_rows * n; ++i) {
        uint16_t code;
        std::memcpy(&code, reinterpret_cast<const char *>(q_codes.data()) + 2 * i, 2);
        same = same && code == float_to_bf16(q[i] + bias[i % n]);
    }
    CHECK(same && q_scale == std::vector<float>(n_rows, 1.0f), label + ": codes of rows");

    // Scores: keys in panels. Columns after the last key may hold anything.
    std::vector<int32_t> panels(size_t(n_key_panels) * n / 2 * columns, -1);
    for (int key = 0; key < n_keys; ++key) {
        for (int i = 0; i < n / 2; ++i) {
            panels[(size_t(key / columns) * n / 2 + i) * columns + key % columns] = k_codes[size_t(key) * n / 2 + i];
        }
    }
    std::vector<float>     y(size_t(n_rows) * n_key_panels * columns, 5.0f), with_bias(q), scores(size_t(n_rows) * n_keys), ones(n_key_panels * columns, 1.0f);
    cpu::detail::PairTiles t;
    t.x = q_codes.data(), t.x_row = size_t(n) / 2, t.w = panels.data(), t.w_panel = size_t(n) / 2 * columns, t.n_rows = n_rows, t.n_k = n / 2, t.n_panels = n_key_panels;
    t.column_scale = ones.data(), t.row_scale = t.finish = nullptr, t.accumulate = false, t.y = y.data(), t.y_row = size_t(n_key_panels) * columns;
    pairs.tiles(t);
    for (int r = 0; r < n_rows; ++r) {
        std::copy_n(&y[r * t.y_row], n_keys, &scores[size_t(r) * n_keys]);
        for (int i = 0; i < n; ++i) {
            with_bias[size_t(r) * n + i] += bias[i];
        }
    }
    CHECK(error_of(scores, with_bias, k, n_rows, n_keys) < 6, label + text(": scores are off by %.2f", error_of(scores, with_bias, k, n_rows, n_keys)));

    // Values: pairs of rows in panels, and weights that all keys have.
    std::vector<int32_t> v_codes(size_t(n_panels) * ((n_keys + 1) / 2) * columns, -1);
    c.x = v.data(), c.codes = v_codes.data(), c.panel = size_t((n_keys + 1) / 2) * columns;
    pairs.panels(c);
    const int            stride = (n_keys + 63) / 64 * 64, first = 0;
    std::vector<float>   logits(size_t(n_rows) * stride), weights(size_t(n_rows) * n_keys), values(size_t(n_keys) * n);
    std::vector<float>   max(n_rows, -INFINITY), sum(n_rows, 0.0f), rescale(n_rows), code_scale(n_rows), scale(n_rows, 1.0f), key_scale(stride, 1.0f), finish(n_rows, 0.5f);
    std::vector<int>     begins(n_rows, first), ends(n_rows, n_keys);
    std::vector<int16_t> codes(size_t(n_rows) * stride, 7);
    for (int r = 0; r < n_rows; ++r) {
        std::copy_n(&scores[size_t(r) * n_keys], n_keys, &logits[size_t(r) * stride]);
    }
    pairs.softmax({logits.data(), size_t(stride), n_rows, (n_keys + 15) / 16 * 16, begins.data(), ends.data(), scale.data(), 0, key_scale.data(), 0, codes.data(),
                   code_scale.data(), max.data(), sum.data(), rescale.data()});
    for (int r = 0; r < n_rows; ++r) {
        const float top   = *std::max_element(&scores[size_t(r) * n_keys], &scores[size_t(r) * n_keys] + n_keys);
        double      total = 0;
        for (int key = 0; key < n_keys; ++key) {
            weights[size_t(r) * n_keys + key] = std::exp(scores[size_t(r) * n_keys + key] - top);
            total += weights[size_t(r) * n_keys + key];
        }
        CHECK(std::fabs(sum[r] - total) < 2e-4 * total && max[r] == top, label + text(": weights add up to %g, not %g", sum[r], total));
    }
    std::vector<float> mixed(size_t(n_rows) * n_panels * columns, 1.0f), out(size_t(n_rows) * n);
    t.x = reinterpret_cast<const int32_t *>(codes.data()), t.x_row = size_t(stride) / 2, t.w = v_codes.data(), t.w_panel = c.panel, t.n_k = (n_keys + 1) / 2;
    t.n_panels = n_panels, t.column_scale = nullptr, t.row_scale = code_scale.data(), t.finish = finish.data(), t.accumulate = true, t.y = mixed.data();
    t.y_row = size_t(n_panels) * columns;
    pairs.tiles(t);
    for (int r = 0; r < n_rows; ++r) {
        for (int i = 0; i < n; ++i) {
            out[size_t(r) * n + i] = mixed[r * t.y_row + i] * 2 - 1; // it was added to ones and halved
        }
    }
    for (int key = 0; key < n_keys; ++key) {
        for (int i = 0; i < n; ++i) {
            values[size_t(i) * n_keys + key] = v[size_t(key) * n + i];
        }
    }
    CHECK(error_of(out, weights, values, n_rows, n) < 7, label + text(": mixed values are off by %.2f", error_of(out, weights, values, n_rows, n)));
}

#ifdef CPU_EMULATED

// Configurations and operations that a chip refuses, and the emulation has to.
void catches_misuse() {
    using namespace emulated;
    uint8_t config[64], memory[1024] = {};
    auto    reset = [&](int tile_bytes) { // tiles 0 to 2 of 4 rows
        std::memset(config, 0, sizeof(config));
        config[0] = 1;
        for (int i = 0; i < 3; ++i) {
            config[16 + 2 * i] = uint8_t(tile_bytes);
            config[48 + i]     = 4;
        }
    };
    auto refused = [&](const char * what, auto && misuse) {
        const int before = n_tile_faults;
        misuse();
        CHECK(n_tile_faults > before, std::string("the emulation lets pass ") + what);
        release_tiles();
    };
    auto configured_with = [&](int at, int value) {
        return [&, at, value] {
            reset(16);
            config[at] = uint8_t(value);
            configure_tiles(config);
        };
    };
    auto filled = [&](int tile_bytes) {
        reset(tile_bytes);
        configure_tiles(config);
        for (int i = 0; i < 3; ++i) {
            load_tile(i, memory, 64);
        }
    };
    tells_tile_faults = false;
    refused("palette 2", configured_with(0, 2));
    refused("reserved bytes", configured_with(9, 1));
    refused("17 rows", configured_with(48, 17));
    refused("65 bytes", configured_with(16, 65));
    refused("a ninth tile", configured_with(56, 4));
    refused("rows without bytes", configured_with(51, 4));
    refused("tiles before their configuration", [&] { load_tile(0, memory, 64); });
    refused("a tile left out of it", [&] { filled(16), zero_tile(3); });
    refused("tiles after their release", [&] { filled(16), release_tiles(), store_tile(0, memory, 64); });
    refused("tiles that nobody filled", [&] { reset(16), configure_tiles(config), multiply_tiles(0, 1, 2); });
    refused("one tile twice", [&] { filled(16), multiply_tiles(0, 1, 1); });
    refused("inputs that do not match", [&] { filled(32), multiply_tiles(0, 1, 2); });
    refused("inputs in bf16 that do not match", [&] { filled(32), multiply_bf16_tiles(0, 1, 2); });
    tells_tile_faults = true;
    n_tile_faults     = 0;

    // And one product by hand: rows of 16 inputs, all r + 1, by weights that are all -3.
    filled(16);
    for (int i = 0; i < 64; ++i) {
        memory[i]       = uint8_t(i / 16 + 1);
        memory[64 + i]  = uint8_t(-3);
        memory[128 + i] = 0;
    }
    zero_tile(0);
    load_tile(1, memory, 16);
    load_tile(2, memory + 64, 16);
    multiply_tiles(0, 1, 2);
    multiply_tiles(0, 1, 2);
    store_tile(0, memory + 128, 16);
    release_tiles();
    int32_t sums[16];
    std::memcpy(sums, memory + 128, sizeof(sums));
    for (int i = 0; i < 16; ++i) {
        CHECK(sums[i] == -2 * 3 * 16 * (i / 4 + 1), text("emulated product %.0f is %.0f", i, sums[i]));
    }
}

#endif

} // namespace

void amx() {
    Random random(5);
    for (int n_rows : {1, 2, 15, 16}) {
        pairs_in_bf16(random, n_rows, 1, 8);
        pairs_in_bf16(random, n_rows, 33, 40);
        pairs_in_bf16(random, n_rows, 64, 64);
        pairs_in_bf16(random, n_rows, 131, 72);
    }
#ifdef CPU_EMULATED
    CHECK(emulated::n_tile_faults == 0, text("%.0f misuses of tiles", emulated::n_tile_faults));
    CHECK(emulated::n_threads_with_tiles == 0, text("%.0f threads keep their tiles", emulated::n_threads_with_tiles));
    catches_misuse();
#endif
}

} // namespace test
