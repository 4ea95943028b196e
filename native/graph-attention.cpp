// GraphBuilder's attention: our kernel on the CPU; elsewhere a sequence at a time in ggml ops, fused where the device can.
#include "graph.h"
#include "graph-rows.h"
#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace bge {

// Lists each sequence's keys and the query rows that attend to them.
static std::vector<cpu::AttentionSequence> attention_sequences(const Rows & rows, Pick pick) {
    std::vector<cpu::AttentionSequence> out;
    const std::vector<int32_t> key_begins = rows.key_begins();
    for (int32_t i = pick == Pick::all ? 0 : rows.n_prefixes; i < int32_t(rows.spans.size()); i++) {
        const Span & span = rows.spans[i];
        cpu::AttentionSequence s;
        s.kv_begin = key_begins[size_t(i)];
        s.n_kv = span.n;
        s.prefix_begin = rows.prefix_begin(i, key_begins);
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

ggml_tensor * GraphBuilder::with_kept_rows(ggml_tensor * x, const Rows & rows, int32_t layer, KeyRows::Kind kind) {
    const auto is_idle = [](const auto & keys) { return keys->n_kept == 0 && !keys->computed; };
    if (std::all_of(rows.prefix_keys.begin(), rows.prefix_keys.end(), is_idle)) return x;
    const std::vector<Span> prefixes(rows.spans.begin(), rows.spans.begin() + rows.n_prefixes);
    return custom(x->ne[0], x->ne[1] + rows.n_kept(), {x}, [this, prefixes, keys = rows.prefix_keys, layer, kind](ggml_tensor * dst) {
        const ggml_tensor * x = dst->src[0];
        const int64_t n = dst->ne[0];
        float * to = static_cast<float *>(dst->data);
        const auto append = [&](const float * from, size_t stride, int64_t n_rows) {
            for (int64_t i = 0; i < n_rows; i++, to += row_stride(dst)) std::copy_n(from + stride * size_t(i), n, to);
        };
        int64_t next = 0; // row of x
        for (size_t i = 0; i < prefixes.size(); i++) {
            for (const PrefixKeys::Part & part : keys[i]->kept) append(part.rows->data(layer, kind), size_t(n), part.n);
            const float * own = to;
            append(row_data(x) + row_stride(x) * next, row_stride(x), prefixes[i].n);
            next += prefixes[i].n;
            if (const auto & computed = keys[i]->computed) {
                std::copy_n(own, size_t(n) * size_t(computed->n_rows()), computed->data(layer - keys[i]->first_layer, kind));
            }
        }
        constexpr int64_t n_rows_of_task = 64;
        const int64_t n_left = x->ne[1] - next;
        kernels()->pool.parallel_for(int((n_left + n_rows_of_task - 1) / n_rows_of_task), [&](int task, int) {
            const int64_t first = task * n_rows_of_task, end = std::min(n_left, first + n_rows_of_task);
            for (int64_t i = first; i < end; i++) std::copy_n(row_data(x) + row_stride(x) * (next + i), n, to + row_stride(dst) * i);
        });
    });
}

ggml_tensor * GraphBuilder::self_attention(const AttentionShape & shape, const Linear & qkv, ggml_tensor * x, const Rows & rows) {
    const std::vector<cpu::AttentionSequence> sequences = attention_sequences(rows, Pick::all);
    if (qkv.packed && cpu::joins_self_attention(qkv.packed, attention_params(shape, sequences))) {
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

ggml_tensor * GraphBuilder::attention(const AttentionShape & shape, ggml_tensor * q, ggml_tensor * k, ggml_tensor * v, const Rows & rows, Pick pick,
                                      const RelativePositions * relative) {
    const std::vector<cpu::AttentionSequence> sequences = attention_sequences(rows, pick);
    if (kernels()) {
        std::vector<ggml_tensor *> args = {q, k, v};
        if (relative) args.insert(args.end(), {relative->q, relative->k});
        const auto row = relative ? relative->distances->row : nullptr;
        const int32_t max_distance = relative ? relative->distances->max_distance : 0;
        return custom(q->ne[0], q->ne[1], args, [this, shape, sequences, row, max_distance](ggml_tensor * dst) {
            const ggml_tensor *q = dst->src[0], *k = dst->src[1], *v = dst->src[2];
            cpu::AttentionParams params = attention_params(shape, sequences);
            params.q_stride = row_stride(q);
            params.k_stride = row_stride(k);
            params.v_stride = row_stride(v);
            params.out_stride = row_stride(dst);
            cpu::RelativePositions positions;
            if (row) {
                const ggml_tensor *of_q = dst->src[3], *of_k = dst->src[4];
                positions = {row_data(of_q), row_data(of_k), row_stride(of_q), row_stride(of_k), row->data(), max_distance};
                params.relative = &positions;
            }
            cpu::attention(kernels()->pool, params, row_data(q), row_data(k), row_data(v), static_cast<float *>(dst->data), kernels()->workspace);
        });
    }
    std::vector<ggml_tensor *> parts;
    for (const auto & s : sequences) parts.push_back(attend(shape, q, k, v, s, relative));
    return concat_rows(std::move(parts));
}

// The products of the whole table with queries and keys; then, for each pair of tokens, the two that its distance names, with
// the heads side by side so that one look-up serves them all. scores [n_kv, n_q, n_head], queries [d, n_q, n_head], keys [d, n_kv, n_head].
ggml_tensor * GraphBuilder::add_relative(ggml_tensor * scores, const AttentionShape & shape, ggml_tensor * queries, ggml_tensor * keys,
                                         const RelativePositions & relative) {
    ggml_context * c = ctx();
    const Distances & distances = *relative.distances;
    const int64_t n_kv = scores->ne[0], n_q = scores->ne[1], n_rows = distances.n_rows;
    auto [found, is_new] = distances.picks.try_emplace({n_q, n_kv});
    if (is_new) {
        std::vector<int32_t> of_queries(size_t(n_q) * n_kv), of_keys(of_queries.size());
        for (int64_t i = 0; i < n_q; i++) {
            for (int64_t j = 0; j < n_kv; j++) {
                const int64_t row = (*distances.row)[size_t(i - j + distances.max_distance)];
                of_queries[size_t(i * n_kv + j)] = int32_t(i * n_rows + row);
                of_keys[size_t(i * n_kv + j)] = int32_t(j * n_rows + row);
            }
        }
        found->second = {input(std::move(of_queries)), input(std::move(of_keys))};
    }
    const auto picked = [&](ggml_tensor * table, ggml_tensor * x, ggml_tensor * ids) {
        ggml_tensor * rows = ggml_view_3d(c, table, shape.head_dim, n_rows, shape.n_head, table->nb[1], shape.head_dim * sizeof(float), 0);
        ggml_tensor * products = ggml_cont(c, ggml_permute(c, mul_mat(ggml_cont(c, rows), x), 1, 2, 0, 3)); // [n_head, n_rows, n]
        products = ggml_reshape_2d(c, products, shape.n_head, n_rows * x->ne[1]);
        ggml_tensor * out = ggml_reshape_3d(c, ggml_get_rows(c, products, ids), shape.n_head, n_kv, n_q);
        return ggml_cont(c, ggml_permute(c, out, 2, 0, 1, 3)); // [n_kv, n_q, n_head]
    };
    scores = ggml_add(c, scores, picked(relative.k, queries, found->second.of_queries));
    return ggml_add(c, scores, picked(relative.q, keys, found->second.of_keys));
}

GraphBuilder::Mask & GraphBuilder::mask(const AttentionShape & shape, const cpu::AttentionSequence & s) {
    const int64_t n_kv = s.n_prefix + s.n_kv, window = shape.window < n_kv ? shape.window : 0; // a wider one hides nothing
    const std::array<int64_t, 5> key = {s.n_q, n_kv, s.q_position, shape.causal, window};
    auto [found, is_new] = masks_.try_emplace(key, Mask{nullptr, nullptr});
    if (!is_new || (!shape.causal && window == 0)) return found->second;
    std::vector<float> values(size_t(n_kv) * s.n_q);
    for (int64_t i = 0; i < s.n_q; i++) {
        for (int64_t j = 0; j < n_kv; j++) {
            const int64_t distance = s.q_position + i - j;
            const bool visible = (distance >= 0 || !shape.causal) && (window == 0 || std::abs(distance) < window);
            values[i * n_kv + j] = visible ? 0.0f : -INFINITY;
        }
    }
    found->second.full = input(std::move(values), n_kv, s.n_q);
    return found->second;
}

// One sequence's attention in ggml ops -> [n_head * head_dim, n_q].
ggml_tensor * GraphBuilder::attend(const AttentionShape & shape, ggml_tensor * q, ggml_tensor * k, ggml_tensor * v, const cpu::AttentionSequence & s,
                                   const RelativePositions * relative) {
    ggml_context * c = ctx();
    const int64_t d = shape.head_dim, n_kv = s.n_prefix + s.n_kv;
    const auto rows_of = [&](ggml_tensor * t, int64_t n_head, int64_t begin, int64_t n) { // [d, n_head, n]
        return ggml_view_3d(c, t, d, n_head, n, d * sizeof(float), t->nb[1], begin * t->nb[1]);
    };
    const auto keys_of = [&](ggml_tensor * t) {
        ggml_tensor * own = rows_of(t, shape.n_head_kv, s.kv_begin, s.n_kv);
        return s.n_prefix ? ggml_concat(c, rows_of(t, shape.n_head_kv, s.prefix_begin, s.n_prefix), own, 2) : own;
    };
    Mask & mask = this->mask(shape, s);
    ggml_tensor * queries = ggml_permute(c, rows_of(q, shape.n_head, s.q_begin, s.n_q), 0, 2, 1, 3); // [d, n_q, n_head]
    if (flash_attention_ && !relative) {
        const auto heads_first = [&](ggml_tensor * t) { return ggml_permute(c, keys_of(t), 0, 2, 1, 3); }; // [d, n_kv, n_head_kv]
        if (mask.full && !mask.half) mask.half = ggml_cast(c, mask.full, GGML_TYPE_F16);
        ggml_tensor * out = ggml_flash_attn_ext(c, queries, heads_first(k), heads_first(v), mask.half, shape.scale, 0.0f, shape.soft_cap);
        ggml_flash_attn_ext_set_prec(out, GGML_PREC_F32);
        if (backend_.supports(out)) return ggml_reshape_2d(c, out, d * shape.n_head, s.n_q); // from [d, n_head, n_q]
    }
    ggml_tensor * keys = ggml_cont(c, ggml_permute(c, keys_of(k), 0, 2, 1, 3));                           // [d, n_kv, n_head_kv]
    ggml_tensor * values = ggml_cont(c, ggml_permute(c, keys_of(v), 1, 2, 0, 3));                         // [n_kv, d, n_head_kv]
    queries = ggml_cont(c, queries);
    ggml_tensor * scores = mul_mat(keys, queries);                                                        // [n_kv, n_q, n_head]
    if (relative) scores = add_relative(scores, shape, queries, keys, *relative);
    float scale = shape.scale;
    if (shape.soft_cap > 0) {
        scores = ggml_scale(c, ggml_tanh(c, ggml_scale(c, scores, scale / shape.soft_cap)), shape.soft_cap);
        scale = 1.0f;
    }
    ggml_tensor * weights = ggml_soft_max_ext(c, scores, mask.full, scale, 0.0f);
    ggml_tensor * out = mul_mat(values, weights); // [d, n_q, n_head]
    return ggml_cont_2d(c, ggml_permute(c, out, 0, 2, 1, 3), d * shape.n_head, s.n_q);
}

} // namespace bge
