// Attention against double precision: head sizes, grouped heads, causal, windows, caps, prefixes, single queries.
#include "check.h"

#include <algorithm>
#include <cstring>

namespace test {

namespace {

struct Case {
    int   n_head, n_head_kv, head_dim;
    bool  causal;
    int   window;
    float soft_cap;
};

using Sequences = std::vector<cpu::AttentionSequence>;

struct Inputs {
    std::vector<float> q, k, v;
    size_t             q_stride, kv_stride, out_stride;
    int                n_q_rows;
};

cpu::AttentionParams params_of(const Case & c, const Inputs & in, const Sequences & sequences) {
    cpu::AttentionParams p;
    p.n_head      = c.n_head;
    p.n_head_kv   = c.n_head_kv;
    p.head_dim    = c.head_dim;
    p.scale       = 1.0f / std::sqrt(float(c.head_dim));
    p.causal      = c.causal;
    p.window      = c.window;
    p.soft_cap    = c.soft_cap;
    p.q_stride    = in.q_stride;
    p.k_stride    = in.kv_stride;
    p.v_stride    = in.kv_stride;
    p.out_stride  = in.out_stride;
    p.sequences   = sequences.data();
    p.n_sequences = int(sequences.size());
    return p;
}

void expected_row(const cpu::AttentionParams & p, const Inputs & in, const cpu::AttentionSequence & s, int query, int head, float * out) {
    const int           head_kv = head / (p.n_head / p.n_head_kv);
    const float *       q       = &in.q[(s.q_begin + query) * p.q_stride + head * p.head_dim];
    const int           n       = s.n_prefix + s.n_kv;
    std::vector<double> scores(n, -INFINITY);
    auto row = [&](int j) { return size_t(j < s.n_prefix ? s.prefix_begin + j : s.kv_begin + j - s.n_prefix); };
    double top = -INFINITY, total = 0;
    for (int j = 0; j < n; ++j) {
        const int distance = s.q_position + query - j;
        if ((p.causal && distance < 0) || (p.window > 0 && std::abs(distance) >= p.window)) {
            continue;
        }
        double score = 0;
        for (int d = 0; d < p.head_dim; ++d) {
            score += double(q[d]) * in.k[row(j) * p.k_stride + head_kv * p.head_dim + d];
        }
        if (p.relative != nullptr) {
            const cpu::RelativePositions & r  = *p.relative;
            const size_t                   at = size_t(r.row[distance + r.max_distance]);
            for (int d = 0; d < p.head_dim; ++d) {
                score += double(q[d]) * r.k[at * r.k_stride + head * p.head_dim + d];
                score += double(in.k[row(j) * p.k_stride + head * p.head_dim + d]) * r.q[at * r.q_stride + head * p.head_dim + d];
            }
        }
        score *= p.scale;
        scores[j] = p.soft_cap > 0 ? p.soft_cap * std::tanh(score / p.soft_cap) : score;
        top       = std::max(top, scores[j]);
    }
    for (double & score : scores) {
        score = top == -INFINITY ? 0 : std::exp(score - top);
        total += score;
    }
    for (int d = 0; d < p.head_dim; ++d) {
        double sum = 0;
        for (int j = 0; j < n; ++j) {
            sum += scores[j] * in.v[row(j) * p.v_stride + head_kv * p.head_dim + d];
        }
        out[d] = float(total > 0 ? sum / total : 0);
    }
}

// Tables of relative positions: one row for each distance up to `near`, one for every three from there on.
struct Relative {
    std::vector<int32_t>   row;
    std::vector<float>     q, k;
    cpu::RelativePositions positions;

    Relative(Random & random, int max_distance, int near, size_t width) {
        auto bucket = [&](int size) { return size <= near ? size : near + (size - near + 2) / 3; };
        for (int d = -max_distance; d <= max_distance; ++d) {
            row.push_back((d < 0 ? -bucket(-d) : bucket(d)) + bucket(max_distance));
        }
        q         = random.normals((row.back() + 1) * (width + 5));
        k         = random.normals((row.back() + 1) * (width + 2));
        positions = {q.data(), k.data(), width + 5, width + 2, row.data(), max_distance};
    }
};

void one_case(Random & random, cpu::ThreadPool & pool, const Case & c, const Sequences & sequences, int n_q_rows, int n_kv_rows, bool codes = false,
              const cpu::RelativePositions * relative = nullptr) {
    Inputs in;
    in.n_q_rows   = n_q_rows;
    in.q_stride   = size_t(c.n_head) * c.head_dim + 8;
    in.kv_stride  = size_t(c.n_head_kv) * c.head_dim + 3;
    in.out_stride = size_t(c.n_head) * c.head_dim + 1;
    in.q          = random.normals(n_q_rows * in.q_stride);
    in.k          = random.normals(n_kv_rows * in.kv_stride);
    in.v          = random.normals(n_kv_rows * in.kv_stride);

    cpu::AttentionParams p = params_of(c, in, sequences);
    p.codes                = codes;
    p.relative             = relative;
    cpu::Workspace             workspace;
    std::vector<float>         out(n_q_rows * in.out_stride, 777.0f), expected(out);
    cpu::attention(pool, p, in.q.data(), in.k.data(), in.v.data(), out.data(), workspace);
    for (const cpu::AttentionSequence & s : sequences) {
        for (int i = 0; i < s.n_q; ++i) {
            for (int head = 0; head < c.n_head; ++head) {
                expected_row(p, in, s, i, head, &expected[(s.q_begin + i) * in.out_stride + head * c.head_dim]);
            }
        }
    }
    const std::string label = text("attention, %.0f heads (%.0f) of %.0f, window %.0f", c.n_head, c.n_head_kv, c.head_dim, c.window) +
                              (c.causal ? ", causal" : "") + (c.soft_cap > 0 ? ", capped" : "") + (codes ? ", codes" : "") +
                              (relative != nullptr ? ", relative" : "");
    const double within = !codes ? 4e-6 : cpu::detail::active_kernels().isa == cpu::Isa::amx ? 3e-2 : 2e-3; // bf16
    CHECK(difference(out, expected) < within, label + text(": error %g", difference(out, expected)));

    // Every sequence alone and every query alone: the same bits.
    std::vector<float> alone(out.size(), 777.0f);
    for (const cpu::AttentionSequence & s : sequences) {
        for (int i = 0; i < s.n_q; ++i) {
            cpu::AttentionSequence one = s;
            one.q_begin                = s.q_begin + i;
            one.n_q                    = 1;
            one.q_position             = s.q_position + i;
            cpu::AttentionParams single = p;
            single.sequences            = &one;
            single.n_sequences          = 1;
            cpu::attention(pool, single, in.q.data(), in.k.data(), in.v.data(), alone.data(), workspace);
        }
    }
    CHECK(alone == out, label + ": a query alone differs from the query in its batch");
}

// Codes of rows, which lie as rows or in panels of their own, and of panels.
void pair_codes_twin(Random & random, int n_rows, int n) {
    const cpu::detail::Kernels &     fast = cpu::detail::active_kernels();
    const cpu::detail::PairKernels & a = fast.pairs, & b = cpu::detail::kernels(cpu::Isa::scalar).pairs;
    const int                        columns = fast.format.float_columns, narrow = cpu::detail::kernels(cpu::Isa::scalar).format.float_columns;
    const std::string                label = text("codes of %.0f rows of %.0f", n_rows, n);
    const auto                       x = random.normals(size_t(n_rows) * n), rest = random.normals(size_t(n_rows) * n), bias = random.normals(n);
    std::vector<float>               scale(n_rows), expected_scale(n_rows);
    std::vector<int32_t>             codes(size_t(n_rows) * n / 2, 7), expected(codes);

    cpu::detail::PairCodes c;
    c.x = x.data(), c.x_row = size_t(n), c.x_panel = size_t(columns), c.n_first = n_rows / 3, c.rest = rest.data(), c.bias = bias.data();
    c.n_rows = n_rows, c.n = n, c.code_max = 5000, c.codes = codes.data(), c.scale = scale.data();
    cpu::detail::PairCodes d = c;
    d.x_panel = size_t(narrow), d.codes = expected.data(), d.scale = expected_scale.data();
    a.rows(c);
    b.rows(d);
    CHECK(codes == expected && scale == expected_scale, label);

    // The same values from panels; there they are read in whole vectors.
    const int          n_panels = (n + columns - 1) / columns;
    std::vector<float> panels(size_t(n_panels) * n_rows * columns);
    for (int r = 0; r < n_rows; ++r) {
        for (int i = 0; i < n; ++i) {
            panels[(size_t(i / columns) * n_rows + r) * columns + i % columns] = r < c.n_first ? x[size_t(r) * n + i] : rest[size_t(r - c.n_first) * n + i];
        }
    }
    std::fill(codes.begin(), codes.end(), 7);
    c.x = panels.data(), c.x_row = size_t(columns), c.x_panel = size_t(n_rows) * columns, c.n_first = n_rows, c.rest = nullptr;
    a.rows(c);
    CHECK(codes == expected && scale == expected_scale, label + " from panels");

    const int            n_pairs = (n_rows + 1) / 2, wide = n_panels * columns, expected_wide = (n + narrow - 1) / narrow * narrow;
    std::vector<int32_t> to(size_t(wide) * n_pairs, 7), expected_to(size_t(expected_wide) * n_pairs, 7);
    c.codes = to.data(), c.panel = size_t(n_pairs) * columns;
    d.codes = expected_to.data(), d.panel = size_t(n_pairs) * narrow;
    a.panels(c);
    b.panels(d);
    bool same = scale == expected_scale;
    for (int i = 0; i < wide; ++i) {
        for (int p = 0; p < n_pairs; ++p) {
            const int32_t value = i < expected_wide ? expected_to[(size_t(i / narrow) * n_pairs + p) * narrow + i % narrow] : 0;
            same = same && to[(size_t(i / columns) * n_pairs + p) * columns + i % columns] == value;
        }
    }
    CHECK(same, label + " in panels");
}

// Weights of rows that see keys [first, end) of n.
void pair_softmax_twin(Random & random, int n, int first, int end, float soft_cap) {
    const cpu::detail::PairKernels & a = cpu::detail::active_kernels().pairs, & b = cpu::detail::kernels(cpu::Isa::scalar).pairs;
    const std::string    label = text("weights of %.0f keys, %.0f to %.0f, cap %.0f", n, first, end, soft_cap);
    auto                 scores = random.normals(n), expected_scores = scores;
    auto                 key_scale = random.normals(n);
    std::vector<int16_t> codes(n, 7), expected(n, 7);
    float                scale = 2.5f, code_scale = 0, max = 0.5f, sum = 3, rescale = 0, expected_code_scale = 0, expected_max = max, expected_sum = sum, expected_rescale = 0;
    for (float & s : key_scale) {
        s = std::fabs(s) + 0.01f;
    }
    a.softmax({scores.data(), size_t(n), 1, n, &first, &end, &scale, soft_cap, key_scale.data(), 50000, codes.data(), &code_scale, &max, &sum, &rescale});
    b.softmax({expected_scores.data(), size_t(n), 1, n, &first, &end, &scale, soft_cap, key_scale.data(), 50000, expected.data(), &expected_code_scale, &expected_max,
               &expected_sum, &expected_rescale});
    const auto near  = [](float x, float y) { return std::fabs(x - y) <= 2e-4f * std::fabs(y); };
    bool       same  = near(code_scale, expected_code_scale) && near(max, expected_max) && near(sum, expected_sum) && near(rescale, expected_rescale);
    long       total = 0;
    for (int i = 0; i < n; ++i) {
        same = same && std::fabs(codes[i] * code_scale - expected[i] * expected_code_scale) <= 3e-4f * std::fabs(expected[i] * expected_code_scale) + code_scale;
        same = same && codes[i] >= 0 && ((i >= first && i < end) || codes[i] == 0);
        total += codes[i];
    }
    CHECK(same && total <= 50000 + n / 2 + 1, label);
}

// Products of codes against the scalar ones.
void pair_twin(Random & random, int n_rows, int n_pairs) {
    const cpu::detail::Kernels &     fast = cpu::detail::active_kernels();
    const cpu::detail::PairKernels & a = fast.pairs, & b = cpu::detail::kernels(cpu::Isa::scalar).pairs;
    const std::string                label = text("pairs %.0f x %.0f", n_rows, n_pairs);
    const int                        n     = 2 * n_pairs;

    // Extreme codes whose sums just fit.
    const int columns = fast.format.float_columns;
    const int top     = int(std::sqrt(2147483520.0 / n));
    auto      extreme = [&](size_t i) { return int16_t(i % 3 == 0 ? -top : i % 7 == 0 ? int(random.normal() * 100) : top); };
    std::vector<int16_t> rows(size_t(n_rows) * n), panels(size_t(2) * columns * n + 64);
    for (size_t i = 0; i < rows.size(); ++i) {
        rows[i] = extreme(i);
    }
    int16_t * panel = panels.data();
    while (reinterpret_cast<uintptr_t>(panel) % 64 != 0) {
        ++panel;
    }
    const auto row_scale = random.normals(n_rows), finish = random.normals(n_rows), column_scale = random.normals(2 * columns);
    for (size_t i = 0; i < size_t(2) * columns * n; ++i) {
        panel[i] = extreme(i + 1);
    }
    // The twins know their own panel's width only, so that the scalar one runs on panels cut to its own.
    const int            narrow = cpu::detail::kernels(cpu::Isa::scalar).format.float_columns;
    std::vector<int32_t> cut(size_t(2) * columns * n_pairs);
    cpu::detail::PairTiles t;
    t.w = reinterpret_cast<const int32_t *>(panel);
    for (int c = 0; c < 2 * columns; ++c) {
        for (int k = 0; k < n_pairs; ++k) {
            std::memcpy(&cut[(size_t(c / narrow) * n_pairs + k) * narrow + c % narrow], t.w + size_t(c / columns) * n_pairs * columns + size_t(k) * columns + c % columns, 4);
        }
    }
    for (int kind = 0; kind < 3; ++kind) { // scales of columns; of rows; of rows, added and finished
        auto y = random.normals(size_t(n_rows) * 2 * columns), y_expected = y;
        t.x = reinterpret_cast<const int32_t *>(rows.data()), t.x_row = size_t(n_pairs), t.n_rows = n_rows, t.n_k = n_pairs, t.y_row = size_t(2) * columns;
        t.column_scale = kind == 0 ? column_scale.data() : nullptr, t.row_scale = row_scale.data(), t.finish = kind == 2 ? finish.data() : nullptr;
        t.accumulate = kind == 2;
        t.w = reinterpret_cast<const int32_t *>(panel), t.w_panel = size_t(n_pairs) * columns, t.n_panels = 2, t.y = y.data();
        a.tiles(t);
        t.w = cut.data(), t.w_panel = size_t(n_pairs) * narrow, t.n_panels = 2 * columns / narrow, t.y = y_expected.data();
        b.tiles(t);
        double size = 1;
        for (float v : y_expected) {
            size = std::max(size, std::fabs(double(v)));
        }
        CHECK(difference(y, y_expected) <= 1e-6 * size, label + text(": %g apart from the scalar twin", difference(y, y_expected)));
    }
}

} // namespace

void attention(cpu::Isa isa) {
    Random          random(2);
    cpu::ThreadPool pool(3);

    // Lengths around the sizes of blocks and panels, packed one after the other.
    Sequences packed;
    int       n = 0;
    for (int length : {1, 7, 16, 33, 64, 70}) {
        packed.push_back({n, length, 0, 0, n, length, 0});
        n += length;
    }
    for (const Case & c : {Case{2, 2, 64, false, 0, 0}, Case{4, 2, 32, true, 0, 0}, Case{3, 1, 8, true, 5, 0}, Case{2, 1, 128, false, 0, 0},
                           Case{1, 1, 40, true, 20, 3.0f}, Case{2, 1, 256, true, 17, 50.0f}, Case{2, 2, 72, false, 0, 2.0f},
                           Case{3, 3, 26, false, 0, 0}, Case{2, 2, 11, false, 0, 0}, Case{4, 2, 15, true, 0, 0}, Case{1, 1, 1, false, 0, 0},
                           Case{2, 2, 64, false, 9, 0}, Case{2, 2, 14, false, 7, 0}, Case{1, 1, 64, false, 1, 0}}) {
        one_case(random, pool, c, packed, n, n);
    }
    one_case(random, pool, {2, 2, 26, false, 0, 0}, packed, n, n, true); // too odd for codes
    for (int head_dim : {64, 12, 15}) {
        const Relative relative(random, 69, 11, size_t(3) * head_dim);
        one_case(random, pool, {3, 3, head_dim, false, 0, 0}, packed, n, n, false, &relative.positions);
    }

    if (cpu::detail::active_kernels().pairs.tiles != nullptr && isa != cpu::Isa::amx) { // whose codes are bf16: see test-amx.cpp
        for (int n_rows : {1, 2, 3, 5, 6, 11, 12, 13}) {
            pair_twin(random, n_rows, 4);
            pair_twin(random, n_rows, 33);
        }
        for (int n_rows : {1, 2, 7, 8, 17, 32}) {
            for (int n : {8, 40, 64, 72}) {
                pair_codes_twin(random, n_rows, n);
            }
        }
        for (float soft_cap : {0.0f, 4.0f}) {
            pair_softmax_twin(random, 16, 0, 16, soft_cap);
            pair_softmax_twin(random, 112, 0, 99, soft_cap);
            pair_softmax_twin(random, 112, 37, 112, soft_cap);
            pair_softmax_twin(random, 80, 33, 34, soft_cap);
            pair_softmax_twin(random, 80, 17, 17, soft_cap);
        }
    }
    for (const Case & c : {Case{2, 2, 64, false, 0, 0}, Case{2, 1, 128, false, 0, 0}, Case{3, 3, 8, false, 0, 0}, Case{2, 1, 256, false, 0, 0}, Case{1, 1, 40, false, 0, 0},
                           Case{4, 2, 32, true, 0, 0}, Case{3, 1, 8, true, 5, 0}, Case{1, 1, 40, true, 20, 3.0f}, Case{2, 1, 256, true, 17, 50.0f},
                           Case{2, 2, 72, false, 0, 2.0f}, Case{2, 2, 64, false, 9, 0}, Case{1, 1, 64, false, 1, 0}}) {
        one_case(random, pool, c, packed, n, n, true);
    }
    one_case(random, pool, {1, 1, 64, false, 0, 0}, {{0, 530, 0, 0, 0, 400, 0}}, 400, 530, true);
    one_case(random, pool, {2, 1, 64, true, 0, 0}, {{0, 600, 0, 0, 0, 600, 0}}, 600, 600, true);
    one_case(random, pool, {2, 1, 128, true, 150, 0}, {{0, 600, 0, 0, 0, 600, 0}}, 600, 600, true);
    one_case(random, pool, {1, 1, 64, false, 65, 0}, {{0, 700, 0, 0, 0, 700, 0}}, 700, 700, true);

    // Several tiles of keys, several tasks of queries.
    one_case(random, pool, {2, 1, 64, true, 0, 0}, {{0, 600, 0, 0, 0, 600, 0}}, 600, 600);
    one_case(random, pool, {1, 1, 64, true, 100, 0}, {{0, 600, 0, 0, 0, 600, 0}}, 600, 600);
    one_case(random, pool, {1, 1, 64, false, 0, 0}, {{0, 530, 0, 0, 0, 400, 0}}, 400, 530);
    one_case(random, pool, {2, 1, 64, false, 65, 0}, {{0, 700, 0, 0, 0, 700, 0}}, 700, 700);
    one_case(random, pool, {1, 1, 48, false, 300, 0}, {{0, 700, 0, 0, 0, 700, 0}}, 700, 700);
    {
        const Relative relative(random, 599, 128, 64);
        one_case(random, pool, {1, 1, 64, false, 0, 0}, {{0, 600, 0, 0, 0, 600, 0}}, 600, 600, false, &relative.positions);
    }
    one_case(random, pool, {1, 1, 256, true, 70, 0}, {{0, 150, 0, 0, 0, 150, 0}}, 150, 150);

    // A prefix of 21 rows shared by three sequences; the queries are all own rows, or the last one only.
    const Sequences shared = {{21, 10, 0, 21, 0, 10, 21}, {31, 35, 0, 21, 10, 35, 21}, {66, 5, 0, 21, 45, 1, 25}};
    for (bool codes : {false, true}) {
        one_case(random, pool, {2, 1, 64, true, 0, 0}, shared, 46, 71, codes);
        one_case(random, pool, {2, 2, 32, true, 9, 0}, shared, 46, 71, codes);
        one_case(random, pool, {2, 2, 64, false, 0, 0}, {{0, 40, 0, 0, 0, 1, 0}, {40, 9, 0, 0, 1, 1, 0}}, 2, 49, codes);
    }
}

} // namespace test
