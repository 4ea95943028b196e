// Joined layers give the bits of the single ones: self-attention, and what follows it in a post-norm layer.
#include "check.h"

#include <cstring>

namespace test {

namespace {

using cpu::WeightMode;

// `low`: Q4_0, where n_in is a multiple of its blocks.
cpu::PackedLinear random_layer(Random & random, cpu::ThreadPool & pool, WeightMode mode, int n_in, int n_out, bool low = false) {
    std::vector<float> values = random.normals(size_t(n_in) * n_out);
    for (float & v : values) {
        v *= 0.05f;
    }
    std::vector<unsigned char> blocks(values.size() / 32 * 18);
    for (size_t i = 0; i < blocks.size(); ++i) {
        blocks[i] = i % 18 < 2 ? static_cast<unsigned char>(i % 18 == 0 ? 0x00 : 0x20) : static_cast<unsigned char>(values[i] * 2000);
    }
    cpu::WeightSource source;
    source.data           = low ? static_cast<const void *>(blocks.data()) : values.data();
    source.type           = low ? cpu::SourceType::q4_0 : cpu::SourceType::other;
    source.n_rows         = n_out;
    source.row_bytes      = low ? size_t(n_in) / 32 * 18 : size_t(n_in) * 4;
    source.dequantize_row = [](const void * row, float * out, int64_t n) { std::memcpy(out, row, size_t(n) * 4); };
    const auto bias       = random.normals(n_out);
    return cpu::pack_linear(pool, n_in, {source}, bias.data(), mode);
}

std::vector<cpu::AttentionSequence> sequences_of(const std::vector<int> & lengths) {
    std::vector<cpu::AttentionSequence> out;
    int                                 row = 0;
    for (int n : lengths) {
        cpu::AttentionSequence s;
        s.kv_begin = s.q_begin = row;
        s.n_kv = s.n_q = n;
        out.push_back(s);
        row += n;
    }
    return out;
}

void self_attention(Random & random, cpu::ThreadPool & pool, WeightMode mode, int n_in, int n_head, int head_dim, const std::vector<int> & lengths, bool low = false) {
    const auto sequences = sequences_of(lengths);
    const int  n_rows    = sequences.back().kv_begin + sequences.back().n_kv, n = n_head * head_dim;
    const auto qkv       = random_layer(random, pool, mode, n_in, 3 * n, low);
    const auto x         = random.normals(size_t(n_rows) * (n_in + 3));

    cpu::AttentionParams p;
    p.n_head = p.n_head_kv = n_head;
    p.head_dim             = head_dim;
    p.scale                = 1.0f / std::sqrt(float(head_dim));
    p.codes                = true;
    p.out_stride           = size_t(n) + 5;
    p.q_stride = p.k_stride = p.v_stride = size_t(3 * n);
    p.sequences            = sequences.data();
    p.n_sequences          = int(sequences.size());

    cpu::Workspace     workspace;
    std::vector<float> parts(size_t(n_rows) * 3 * n), apart(n_rows * p.out_stride, 777.0f), at_once(apart);
    cpu::linear(pool, qkv, x.data(), n_in + 3, n_rows, parts.data(), 3 * n, {}, workspace);
    cpu::attention(pool, p, parts.data(), parts.data() + n, parts.data() + 2 * n, apart.data(), workspace);

    const std::string label = text("self-attention, %.0f heads of %.0f, %.0f rows", n_head, head_dim, n_rows) + text(" on %.0f threads", pool.n_threads());
    CHECK(cpu::joins_self_attention(qkv, p), label + ": not joined");
    p.q_stride = p.k_stride = p.v_stride = 0; // not looked at
    cpu::self_attention(pool, qkv, p, x.data(), n_in + 3, at_once.data(), workspace);
    CHECK(apart == at_once, label + text(": joined layers differ by %g", difference(apart, at_once)));
}

// What cannot be joined is told.
void not_joined(Random & random, cpu::ThreadPool & pool) {
    const auto qkv = random_layer(random, pool, WeightMode::native, 64, 3 * 256);
    cpu::AttentionParams p;
    p.n_head = p.n_head_kv = 4;
    p.head_dim             = 64;
    auto joins = [&](const std::vector<cpu::AttentionSequence> & sequences) {
        p.sequences   = sequences.data();
        p.n_sequences = int(sequences.size());
        return cpu::joins_self_attention(qkv, p);
    };
    const auto two = sequences_of({20, 30});
    CHECK(joins(two), "two sequences are not joined");
    CHECK(!joins(sequences_of({20, 3000})), "joined, for a sequence too long");
    auto changed        = two;
    changed[1].n_prefix = 10;
    CHECK(!joins(changed), "joined, with a prefix");
    changed        = two;
    changed[1].n_q = 1;
    CHECK(!joins(changed), "joined, for some of the queries");
    p.n_head_kv = 2;
    CHECK(!joins(two), "joined, with grouped heads");
}

void post_norm(Random & random, cpu::ThreadPool & pool, WeightMode mode, int n_rows, int n_in, int n, int n_hidden, bool low = false) {
    const auto out = random_layer(random, pool, mode, n_in, n, low), up = random_layer(random, pool, mode, n, n_hidden, low),
               down = random_layer(random, pool, mode, n_hidden, n, low);
    const auto weight = random.normals(n), bias = random.normals(n), mixed = random.normals(size_t(n_rows) * (n_in + 1)), x = random.normals(size_t(n_rows) * (n + 2));

    const cpu::PostNormLayer layer = {&out, &up, &down, {weight.data(), bias.data(), 1e-5f}, {bias.data(), nullptr, 1e-3f}, cpu::Activation::gelu_erf};
    cpu::Workspace           workspace;
    const size_t             stride = size_t(n) + 3;
    std::vector<float>       states(n_rows * stride, 777.0f), apart(states), at_once(states);

    cpu::Epilogue of_out;
    of_out.residual        = x.data();
    of_out.residual_stride = size_t(n) + 2;
    cpu::linear(pool, out, mixed.data(), n_in + 1, n_rows, states.data(), stride, of_out, workspace);
    cpu::NormParams norm;
    norm.n_rows = n_rows;
    norm.n      = n;
    norm.eps    = layer.attn_norm.eps;
    norm.weight = layer.attn_norm.weight;
    norm.bias   = layer.attn_norm.bias;
    cpu::layer_norm(pool, norm, states.data(), stride, states.data(), stride);
    cpu::Epilogue of_down;
    of_down.residual        = states.data();
    of_down.residual_stride = stride;
    cpu::Epilogue of_up;
    of_up.activation = layer.activation;
    std::vector<float> hidden(size_t(n_rows) * n_hidden), feed_forward(apart);
    cpu::linear(pool, up, states.data(), stride, n_rows, hidden.data(), n_hidden, of_up, workspace);
    cpu::linear(pool, down, hidden.data(), n_hidden, n_rows, apart.data(), stride, of_down, workspace);
    cpu::feed_forward(pool, up, down, states.data(), stride, n_rows, feed_forward.data(), stride, layer.activation, of_down, workspace);
    const std::string label = text("post-norm layer %.0f x %.0f x %.0f x %.0f", n_rows, n_in, n, n_hidden) + text(" on %.0f threads", pool.n_threads());
    CHECK(cpu::joins_feed_forward(up, down, n_rows, pool.n_threads()), label + ": feed-forward block not joined");
    CHECK(apart == feed_forward, label + text(": feed-forward block differs by %g", difference(apart, feed_forward)));
    norm.eps    = layer.ffn_norm.eps;
    norm.weight = layer.ffn_norm.weight;
    norm.bias   = layer.ffn_norm.bias;
    cpu::layer_norm(pool, norm, apart.data(), stride, apart.data(), stride);

    CHECK(cpu::joins_post_norm(layer, n_rows, pool.n_threads()), label + ": not joined");
    CHECK(!cpu::joins_post_norm(layer, 1 << 20, 1 << 20), label + ": joined, for rows that are too many at once");
    cpu::post_norm(pool, layer, mixed.data(), n_in + 1, x.data(), n + 2, n_rows, at_once.data(), stride, workspace);
    CHECK(apart == at_once, label + text(": joined layers differ by %g", difference(apart, at_once)));
}

} // namespace

void joined(cpu::Isa isa) {
    Random random(unsigned(isa) + 31);
    for (int n_threads : {3, 1, 6}) { // rows are shared, or columns; heads are, or their columns
        cpu::ThreadPool pool(n_threads);
        for (WeightMode mode : {WeightMode::native, WeightMode::fast, WeightMode::row_int8}) {
            self_attention(random, pool, mode, 96, 6, 32, {1, 7, 40, 100, 3, 95, 1, 2});
            self_attention(random, pool, mode, 71, 8, 64, {300, 13, 200});
            self_attention(random, pool, mode, 64, 2, 64, {40, 700, 33});
            self_attention(random, pool, mode, 64, 2, 32, {1});
            post_norm(random, pool, mode, 145, 64, 96, 160);
            post_norm(random, pool, mode, 331, 71, 100, 205);
            post_norm(random, pool, mode, 1, 33, 47, 75);
        }
        self_attention(random, pool, WeightMode::native, 96, 6, 32, {1, 7, 40, 100, 3, 95, 1, 2}, /*low*/ true);
        self_attention(random, pool, WeightMode::native, 64, 8, 64, {300, 13, 200}, /*low*/ true);
        post_norm(random, pool, WeightMode::native, 37, 64, 96, 160, /*low*/ true);
        post_norm(random, pool, WeightMode::native, 331, 64, 96, 192, /*low*/ true);
        not_joined(random, pool);
    }
}

} // namespace test
