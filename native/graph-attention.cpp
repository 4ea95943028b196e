// GraphBuilder's attention: our kernel on the CPU; elsewhere a sequence at a time in ggml ops, fused where the device can.
#include "graph.h"
#include "graph-rows.h"
#include <cmath>

namespace bge {

// Lists each sequence's keys and the query rows that attend to them.
static std::vector<cpu::AttentionSequence> attention_sequences(const Rows & rows, Pick pick) {
    std::vector<cpu::AttentionSequence> out;
    for (int32_t i = pick == Pick::all ? 0 : rows.n_prefixes; i < int32_t(rows.spans.size()); i++) {
        const Span & span = rows.spans[i];
        cpu::AttentionSequence s;
        s.kv_begin = span.begin;
        s.n_kv = span.n;
        s.prefix_begin = span.prefix_begin;
        s.n_prefix = span.n_prefix;
        s.q_begin = pick == Pick::all ? span.begin : i - rows.n_prefixes;
        s.n_q = pick == Pick::all ? span.n : 1;
        s.q_position = span.n_prefix + (pick == Pick::last ? span.n - 1 : 0);
        out.push_back(s);
    }
    return out;
}

static cpu::AttentionParams attention_params(const AttentionShape & shape, const std::vector<cpu::AttentionSequence> & sequences) {
    cpu::AttentionParams params;
    params.n_head = shape.n_head;
    params.n_head_kv = shape.n_head_kv;
    params.head_dim = shape.head_dim;
    params.scale = shape.scale;
    params.causal = shape.causal;
    params.window = shape.window;
    params.soft_cap = shape.soft_cap;
    params.codes = shape.codes;
    params.sequences = sequences.data();
    params.n_sequences = int(sequences.size());
    return params;
}

ggml_tensor * GraphBuilder::self_attention(const AttentionShape & shape, const Linear & qkv, ggml_tensor * x, const Rows & rows) {
    const std::vector<cpu::AttentionSequence> sequences = attention_sequences(rows, Pick::all);
    if (qkv.packed && cpu::joins_self_attention(qkv.packed, attention_params(shape, sequences), kernels()->pool.n_threads())) {
        return custom(int64_t(shape.n_head) * shape.head_dim, x->ne[1], {x}, [this, &qkv, shape, sequences](ggml_tensor * dst) {
            const ggml_tensor * x = dst->src[0];
            cpu::AttentionParams params = attention_params(shape, sequences);
            params.out_stride = row_stride(dst);
            cpu::self_attention(kernels()->pool, qkv.packed, params, row_data(x), row_stride(x), static_cast<float *>(dst->data), kernels()->workspace);
        });
    }
    const std::vector<ggml_tensor *> parts = linear_parts(qkv, x);
    return attention(shape, parts[0], parts[1], parts[2], rows, Pick::all);
}

ggml_tensor * GraphBuilder::attention(const AttentionShape & shape, ggml_tensor * q, ggml_tensor * k, ggml_tensor * v, const Rows & rows, Pick pick) {
    const std::vector<cpu::AttentionSequence> sequences = attention_sequences(rows, pick);
    if (kernels()) {
        return custom(q->ne[0], q->ne[1], {q, k, v}, [this, shape, sequences](ggml_tensor * dst) {
            const ggml_tensor *q = dst->src[0], *k = dst->src[1], *v = dst->src[2];
            cpu::AttentionParams params = attention_params(shape, sequences);
            params.q_stride = row_stride(q);
            params.k_stride = row_stride(k);
            params.v_stride = row_stride(v);
            params.out_stride = row_stride(dst);
            cpu::attention(kernels()->pool, params, row_data(q), row_data(k), row_data(v), static_cast<float *>(dst->data), kernels()->workspace);
        });
    }
    std::vector<ggml_tensor *> parts;
    for (const auto & s : sequences) parts.push_back(attend(shape, q, k, v, s));
    return concat_rows(std::move(parts));
}
// One sequence's attention in ggml ops -> [n_head * head_dim, n_q].
ggml_tensor * GraphBuilder::attend(const AttentionShape & shape, ggml_tensor * q, ggml_tensor * k, ggml_tensor * v, const cpu::AttentionSequence & s) {
    ggml_context * c = ctx();
    const int64_t d = shape.head_dim, n_kv = s.n_prefix + s.n_kv;
    const auto rows_of = [&](ggml_tensor * t, int64_t n_head, int64_t begin, int64_t n) { // [d, n_head, n]
        return ggml_view_3d(c, t, d, n_head, n, d * sizeof(float), t->nb[1], begin * t->nb[1]);
    };
    const auto keys_of = [&](ggml_tensor * t) {
        ggml_tensor * own = rows_of(t, shape.n_head_kv, s.kv_begin, s.n_kv);
        return s.n_prefix ? ggml_concat(c, rows_of(t, shape.n_head_kv, s.prefix_begin, s.n_prefix), own, 2) : own;
    };
    ggml_tensor * mask = nullptr;
    if (shape.causal) {
        std::vector<float> values_of_mask(size_t(n_kv) * s.n_q);
        for (int64_t i = 0; i < s.n_q; i++) {
            for (int64_t j = 0; j < n_kv; j++) {
                const int64_t distance = s.q_position + i - j;
                const bool visible = distance >= 0 && (shape.window == 0 || distance < shape.window);
                values_of_mask[i * n_kv + j] = visible ? 0.0f : -INFINITY;
            }
        }
        mask = input(std::move(values_of_mask), n_kv, s.n_q);
    }
    ggml_tensor * queries = ggml_permute(c, rows_of(q, shape.n_head, s.q_begin, s.n_q), 0, 2, 1, 3); // [d, n_q, n_head]
    if (flash_attention_) {
        const auto heads_first = [&](ggml_tensor * t) { return ggml_permute(c, keys_of(t), 0, 2, 1, 3); }; // [d, n_kv, n_head_kv]
        ggml_tensor * half_mask = mask ? ggml_cast(c, mask, GGML_TYPE_F16) : nullptr;
        ggml_tensor * out = ggml_flash_attn_ext(c, queries, heads_first(k), heads_first(v), half_mask, shape.scale, 0.0f, shape.soft_cap);
        ggml_flash_attn_ext_set_prec(out, GGML_PREC_F32);
        if (backend_.supports(out)) return ggml_reshape_2d(c, out, d * shape.n_head, s.n_q); // from [d, n_head, n_q]
    }
    ggml_tensor * keys = ggml_cont(c, ggml_permute(c, keys_of(k), 0, 2, 1, 3));                           // [d, n_kv, n_head_kv]
    ggml_tensor * values = ggml_cont(c, ggml_permute(c, keys_of(v), 1, 2, 0, 3));                         // [n_kv, d, n_head_kv]
    ggml_tensor * scores = mul_mat(keys, ggml_cont(c, queries));                                          // [n_kv, n_q, n_head]
    float scale = shape.scale;
    if (shape.soft_cap > 0) {
        scores = ggml_scale(c, ggml_tanh(c, ggml_scale(c, scores, scale / shape.soft_cap)), shape.soft_cap);
        scale = 1.0f;
    }
    ggml_tensor * weights = ggml_soft_max_ext(c, scores, mask, scale, 0.0f);
    ggml_tensor * out = mul_mat(values, weights); // [d, n_q, n_head]
    return ggml_cont_2d(c, ggml_permute(c, out, 0, 2, 1, 3), d * shape.n_head, s.n_q);
}

} // namespace bge
