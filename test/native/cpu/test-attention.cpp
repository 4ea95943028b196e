// Attention against double precision: head sizes, grouped heads, causal, windows, caps, prefixes, single queries.
#include "check.h"

#include <algorithm>

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
        if (p.causal && (distance < 0 || (p.window > 0 && distance >= p.window))) {
            continue;
        }
        double score = 0;
        for (int d = 0; d < p.head_dim; ++d) {
            score += double(q[d]) * in.k[row(j) * p.k_stride + head_kv * p.head_dim + d];
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

void one_case(Random & random, cpu::ThreadPool & pool, const Case & c, const Sequences & sequences, int n_q_rows, int n_kv_rows) {
    Inputs in;
    in.n_q_rows   = n_q_rows;
    in.q_stride   = size_t(c.n_head) * c.head_dim + 8;
    in.kv_stride  = size_t(c.n_head_kv) * c.head_dim + 3;
    in.out_stride = size_t(c.n_head) * c.head_dim + 1;
    in.q          = random.normals(n_q_rows * in.q_stride);
    in.k          = random.normals(n_kv_rows * in.kv_stride);
    in.v          = random.normals(n_kv_rows * in.kv_stride);

    const cpu::AttentionParams p = params_of(c, in, sequences);
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
                              (c.causal ? ", causal" : "") + (c.soft_cap > 0 ? ", capped" : "");
    CHECK(difference(out, expected) < 4e-6, label + text(": error %g", difference(out, expected)));

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

} // namespace

void attention(cpu::Isa) {
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
                           Case{1, 1, 40, true, 20, 3.0f}, Case{2, 1, 256, true, 17, 50.0f}, Case{2, 2, 72, false, 0, 2.0f}}) {
        one_case(random, pool, c, packed, n, n);
    }

    // Several tiles of keys, several tasks of queries.
    one_case(random, pool, {2, 1, 64, true, 0, 0}, {{0, 600, 0, 0, 0, 600, 0}}, 600, 600);
    one_case(random, pool, {1, 1, 64, true, 100, 0}, {{0, 600, 0, 0, 0, 600, 0}}, 600, 600);
    one_case(random, pool, {1, 1, 64, false, 0, 0}, {{0, 530, 0, 0, 0, 400, 0}}, 400, 530);
    one_case(random, pool, {1, 1, 256, true, 70, 0}, {{0, 150, 0, 0, 0, 150, 0}}, 150, 150);

    // A prefix of 21 rows shared by three sequences; the queries are all own rows, or the last one only.
    const Sequences shared = {{21, 10, 0, 21, 0, 10, 21}, {31, 35, 0, 21, 10, 35, 21}, {66, 5, 0, 21, 45, 1, 25}};
    one_case(random, pool, {2, 1, 64, true, 0, 0}, shared, 46, 71);
    one_case(random, pool, {2, 2, 32, true, 9, 0}, shared, 46, 71);
    one_case(random, pool, {2, 2, 64, false, 0, 0}, {{0, 40, 0, 0, 0, 1, 0}, {40, 9, 0, 0, 1, 1, 0}}, 2, 49);
}

} // namespace test
