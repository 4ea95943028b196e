#include "graph.h"
#include "graph-rows.h"
#include <algorithm>
#include <exception>

namespace bge {

GraphBuilder::GraphBuilder(Backend & backend, size_t max_nodes, bool flash_attention)
    : backend_(backend), flash_attention_(flash_attention),
      ctx_(ggml_init({max_nodes * 2 * ggml_tensor_overhead() + ggml_graph_overhead_custom(max_nodes, false), nullptr, /*no_alloc*/ true})),
      graph_(ggml_new_graph_custom(ctx_.get(), max_nodes, false)) {}

ggml_tensor * GraphBuilder::input(std::vector<int32_t> values) {
    ggml_tensor * t = ggml_new_tensor_1d(ctx(), GGML_TYPE_I32, int64_t(values.size()));
    ggml_set_input(t);
    i32_inputs_.emplace_back(t, std::move(values));
    return t;
}

ggml_tensor * GraphBuilder::input(std::vector<float> values, int64_t ne0, int64_t ne1) {
    ggml_tensor * t = ggml_new_tensor_2d(ctx(), GGML_TYPE_F32, ne0, ne1);
    ggml_set_input(t);
    f32_inputs_.emplace_back(t, std::move(values));
    return t;
}

void GraphBuilder::set_inputs() const {
    // An input that no node reads has no memory.
    for (const auto & [t, values] : i32_inputs_) if (t->buffer) ggml_backend_tensor_set(t, values.data(), 0, ggml_nbytes(t));
    for (const auto & [t, values] : f32_inputs_) if (t->buffer) ggml_backend_tensor_set(t, values.data(), 0, ggml_nbytes(t));
}

void GraphBuilder::output(ggml_tensor * x) {
    ggml_set_output(x);
    ggml_build_forward_expand(graph_, x);
}

void GraphBuilder::rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
}

ggml_tensor * GraphBuilder::custom(int64_t ne0, int64_t ne1, std::vector<ggml_tensor *> args, std::function<void(ggml_tensor *)> run) {
    custom_ops_.push_back(std::make_unique<CustomOp>(CustomOp{this, std::move(run)}));
    const auto call = [](ggml_tensor * dst, int ith, int, void * userdata) {
        auto * op = static_cast<CustomOp *>(userdata);
        if (ith != 0 || op->builder->failure_) return;
        try {
            op->run(dst);
        } catch (...) { // must not cross ggml's C frames
            op->builder->failure_ = std::current_exception();
        }
    };
    return ggml_custom_4d(ctx(), GGML_TYPE_F32, ne0, ne1, 1, 1, args.data(), int(args.size()), call, 1, custom_ops_.back().get());
}

ggml_tensor * GraphBuilder::look_up(ggml_tensor * table, const std::vector<int32_t> & ids) {
    if (backend_.is_cpu() || !ggml_backend_buffer_is_host(table->buffer)) return ggml_get_rows(ctx(), table, input(ids));
    // A table of a type that the device does not look up stays on the host, and its rows are an input.
    const int64_t n = table->ne[0];
    const auto to_float = ggml_get_type_traits(table->type)->to_float;
    std::vector<float> rows(size_t(n) * ids.size());
    for (size_t i = 0; i < ids.size(); i++) {
        const char * row = static_cast<const char *>(table->data) + table->nb[1] * ids[i];
        if (table->type == GGML_TYPE_F32) std::copy_n(reinterpret_cast<const float *>(row), n, &rows[size_t(n) * i]);
        else to_float(row, &rows[size_t(n) * i], n);
    }
    return input(std::move(rows), n, int64_t(ids.size()));
}

// Sums in F32: CUDA would otherwise add up F16 products in F16.
ggml_tensor * GraphBuilder::mul_mat(ggml_tensor * w, ggml_tensor * x) {
    ggml_tensor * y = ggml_mul_mat(ctx(), w, x);
    ggml_mul_mat_set_prec(y, GGML_PREC_F32);
    return y;
}

// The first or last row of each scored sequence.
static std::vector<int32_t> picked_rows(const Rows & rows, Pick pick) {
    std::vector<int32_t> out;
    for (int32_t i = rows.n_prefixes; i < int32_t(rows.spans.size()); i++) {
        out.push_back(rows.spans[i].begin + (pick == Pick::last ? rows.spans[i].n - 1 : 0));
    }
    return out;
}

std::vector<int32_t> positions(const Rows & rows, Pick pick) {
    const std::vector<int32_t> all = rows.positions();
    if (pick == Pick::all) return all;
    std::vector<int32_t> out = picked_rows(rows, pick);
    for (int32_t & row : out) row = all[row];
    return out;
}

ggml_tensor * GraphBuilder::select(ggml_tensor * x, const Rows & rows, Pick pick) {
    if (pick == Pick::all) return x;
    const std::vector<int32_t> picked = picked_rows(rows, pick);
    if (kernels()) {
        // x may be a view with wide rows, which ggml_get_rows reads as well; a plain copy spares the input.
        const int64_t n = x->ne[0], n_rows = int64_t(picked.size());
        return custom(n, n_rows, {x}, [picked](ggml_tensor * dst) {
            const ggml_tensor * x = dst->src[0];
            for (size_t i = 0; i < picked.size(); i++) {
                std::copy_n(row_data(x) + row_stride(x) * picked[i], dst->ne[0], static_cast<float *>(dst->data) + dst->ne[0] * i);
            }
        });
    }
    return ggml_get_rows(ctx(), x, input(picked));
}

ggml_tensor * GraphBuilder::activate(ggml_tensor * x, cpu::Activation activation) {
    if (activation == cpu::Activation::none) return x;
    if (kernels()) {
        return custom(x->ne[0], x->ne[1], {x}, [this, activation](ggml_tensor * dst) {
            const ggml_tensor * x = dst->src[0];
            cpu::activate(kernels()->pool, activation, row_data(x), row_stride(x), int(x->ne[1]), int(x->ne[0]), static_cast<float *>(dst->data), row_stride(dst));
        });
    }
    switch (activation) {
        case cpu::Activation::gelu_near:
        case cpu::Activation::gelu_erf: return ggml_gelu_erf(ctx(), x);
        case cpu::Activation::silu: return ggml_silu(ctx(), x);
        case cpu::Activation::tanh: return ggml_add(ctx(), ggml_tanh(ctx(), x), ggml_scale(ctx(), x, 0.0f)); // NaN for what is infinite, as in ours
        case cpu::Activation::relu: return ggml_relu(ctx(), x);
        case cpu::Activation::gelu_tanh: {
            // ggml_gelu looks its value up in a table of halves on the CPU; composed of ops it stays in F32.
            ggml_tensor * cubic = ggml_mul(ctx(), ggml_sqr(ctx(), x), x);
            ggml_tensor * inner = ggml_scale(ctx(), ggml_add(ctx(), x, ggml_scale(ctx(), cubic, 0.044715f)), 0.7978845608028654f);
            ggml_tensor * half = ggml_scale(ctx(), x, 0.5f);
            return ggml_add(ctx(), half, ggml_mul(ctx(), half, ggml_tanh(ctx(), inner)));
        }
        case cpu::Activation::none: break;
    }
    return x;
}

static cpu::Epilogue make_epilogue(cpu::Activation activation, float scale, const ggml_tensor * residual) {
    cpu::Epilogue epilogue;
    epilogue.activation = activation;
    epilogue.scale = scale;
    if (residual) {
        epilogue.residual = row_data(residual);
        epilogue.residual_stride = row_stride(residual);
    }
    return epilogue;
}

ggml_tensor * GraphBuilder::linear(const Linear & w, ggml_tensor * x, const LinearOptions & options) {
    if (w.packed) {
        std::vector<ggml_tensor *> args = {x};
        if (options.residual) args.push_back(options.residual);
        return custom(w.n_out, x->ne[1], args, [this, &w, activation = options.activation, scale = options.scale](ggml_tensor * dst) {
            const ggml_tensor * x = dst->src[0];
            const cpu::Epilogue epilogue = make_epilogue(activation, scale, dst->src[1]);
            cpu::linear(kernels()->pool, w.packed, row_data(x), row_stride(x), int(x->ne[1]), static_cast<float *>(dst->data), row_stride(dst), epilogue, kernels()->workspace);
        });
    }
    ggml_tensor * y = linear_parts(w, x)[0];
    y = activate(y, options.activation);
    if (options.scale != 1.0f) y = ggml_scale(ctx(), y, options.scale);
    return options.residual ? ggml_add(ctx(), options.residual, y) : y;
}

std::vector<ggml_tensor *> GraphBuilder::linear_parts(const Linear & w, ggml_tensor * x) {
    std::vector<ggml_tensor *> out;
    if (w.packed) {
        ggml_tensor * all = linear(w, x);
        int64_t column = 0;
        for (const Linear::Part & part : w.parts) {
            out.push_back(ggml_view_2d(ctx(), all, part.n_out, all->ne[1], all->nb[1], column * sizeof(float)));
            column += part.n_out;
        }
        return out;
    }
    for (const Linear::Part & part : w.parts) {
        if (backend_.importance()) watch(part.weight, x);
        ggml_tensor * y = mul_mat(part.weight, x);
        out.push_back(part.bias ? ggml_add(ctx(), y, part.bias) : y);
    }
    return out;
}

void GraphBuilder::watch(const ggml_tensor * w, ggml_tensor * x) {
    const std::string name = w->view_src ? w->view_src->name : w->name;
    ggml_tensor * watcher = custom(1, 1, {x}, [this, name](ggml_tensor * dst) {
        const ggml_tensor * x = dst->src[0];
        backend_.importance()->add(name, row_data(x), row_stride(x), x->ne[1], x->ne[0]);
        *static_cast<float *>(dst->data) = 0.0f;
    });
    ggml_build_forward_expand(graph_, watcher); // nothing else asks for it
}

ggml_tensor * GraphBuilder::gated(const GatedLinear & w, ggml_tensor * x, cpu::Activation activation) {
    if (w.packed) {
        return custom(w.gate.n_out, x->ne[1], {x}, [this, &w, activation](ggml_tensor * dst) {
            const ggml_tensor * x = dst->src[0];
            cpu::linear_gated(kernels()->pool, w.packed, row_data(x), row_stride(x), int(x->ne[1]), static_cast<float *>(dst->data), row_stride(dst), activation, kernels()->workspace);
        });
    }
    return ggml_mul(ctx(), activate(linear(w.gate, x), activation), linear(w.up, x));
}

// null where the two layers have to be computed one after the other
ggml_tensor * GraphBuilder::joined_feed_forward(const cpu::PackedLinear & up, const Linear & down, ggml_tensor * x, cpu::Activation activation, const LinearOptions & options) {
    if (!up || !down.packed || !cpu::joins_feed_forward(up, down.packed, int(x->ne[1]), kernels()->pool.n_threads())) return nullptr;
    std::vector<ggml_tensor *> args = {x};
    if (options.residual) args.push_back(options.residual);
    return custom(down.n_out, x->ne[1], args, [this, &up, &down, activation, options](ggml_tensor * dst) {
        const ggml_tensor * x = dst->src[0];
        const cpu::Epilogue epilogue = make_epilogue(options.activation, options.scale, dst->src[1]);
        cpu::feed_forward(kernels()->pool, up, down.packed, row_data(x), row_stride(x), int(x->ne[1]), static_cast<float *>(dst->data), row_stride(dst), activation, epilogue,
                          kernels()->workspace);
    });
}

ggml_tensor * GraphBuilder::feed_forward(const Linear & up, const Linear & down, ggml_tensor * x, cpu::Activation activation, const LinearOptions & options) {
    if (ggml_tensor * y = joined_feed_forward(up.packed, down, x, activation, options)) return y;
    return linear(down, linear(up, x, {activation, nullptr, 1.0f}), options);
}

ggml_tensor * GraphBuilder::feed_forward(const GatedLinear & up, const Linear & down, ggml_tensor * x, cpu::Activation activation, const LinearOptions & options) {
    if (ggml_tensor * y = joined_feed_forward(up.packed, down, x, activation, options)) return y;
    return linear(down, gated(up, x, activation), options);
}

static cpu::PostNormLayer::Norm norm_of(const Norm & norm) { return {row_data(norm.weight), norm.bias ? row_data(norm.bias) : nullptr, norm.eps}; }

ggml_tensor * GraphBuilder::post_norm(const PostNormLayer & l, ggml_tensor * mixed, ggml_tensor * x) {
    if (l.attn_output.packed && l.ffn_up.packed && l.ffn_down.packed) {
        const cpu::PostNormLayer layer{&l.attn_output.packed, &l.ffn_up.packed, &l.ffn_down.packed, norm_of(l.attn_norm), norm_of(l.ffn_norm), l.activation};
        if (cpu::joins_post_norm(layer, int(x->ne[1]), kernels()->pool.n_threads())) {
            return custom(x->ne[0], x->ne[1], {mixed, x}, [this, layer](ggml_tensor * dst) {
                const ggml_tensor *mixed = dst->src[0], *x = dst->src[1];
                cpu::post_norm(kernels()->pool, layer, row_data(mixed), row_stride(mixed), row_data(x), row_stride(x), int(dst->ne[1]), static_cast<float *>(dst->data),
                               row_stride(dst), kernels()->workspace);
            });
        }
    }
    ggml_tensor * h = layer_norm(l.attn_norm, linear(l.attn_output, mixed, {cpu::Activation::none, x, 1.0f}));
    return layer_norm(l.ffn_norm, feed_forward(l.ffn_up, l.ffn_down, h, l.activation, {cpu::Activation::none, h, 1.0f}));
}

static cpu::NormParams norm_params(const Norm & norm, const ggml_tensor * dst) {
    const ggml_tensor * residual = dst->src[1];
    cpu::NormParams params;
    params.n_rows = int(dst->ne[1]);
    params.n = int(dst->ne[0]);
    params.eps = norm.eps;
    params.weight = row_data(norm.weight);
    params.bias = norm.bias ? row_data(norm.bias) : nullptr;
    params.residual = residual ? row_data(residual) : nullptr;
    params.residual_stride = residual ? row_stride(residual) : 0;
    return params;
}

ggml_tensor * GraphBuilder::layer_norm(const Norm & norm, ggml_tensor * x) {
    if (kernels()) {
        return custom(x->ne[0], x->ne[1], {x}, [this, &norm](ggml_tensor * dst) {
            cpu::layer_norm(kernels()->pool, norm_params(norm, dst), row_data(dst->src[0]), row_stride(dst->src[0]), static_cast<float *>(dst->data), row_stride(dst));
        });
    }
    ggml_tensor * y = ggml_mul(ctx(), ggml_norm(ctx(), x, norm.eps), norm.weight);
    return norm.bias ? ggml_add(ctx(), y, norm.bias) : y;
}

ggml_tensor * GraphBuilder::rms_norm(const Norm & norm, ggml_tensor * x, ggml_tensor * residual) {
    if (kernels()) {
        std::vector<ggml_tensor *> args = {x};
        if (residual) args.push_back(residual);
        return custom(x->ne[0], x->ne[1], args, [this, &norm](ggml_tensor * dst) {
            cpu::rms_norm(kernels()->pool, norm_params(norm, dst), row_data(dst->src[0]), row_stride(dst->src[0]), static_cast<float *>(dst->data), row_stride(dst));
        });
    }
    ggml_tensor * y = ggml_mul(ctx(), ggml_rms_norm(ctx(), x, norm.eps), norm.weight);
    return residual ? ggml_add(ctx(), residual, y) : y;
}

ggml_tensor * GraphBuilder::head_norm(const Norm & norm, ggml_tensor * x, int n_head) {
    const int64_t head_dim = x->ne[0] / n_head;
    if (kernels()) {
        return custom(x->ne[0], x->ne[1], {x}, [this, &norm, n_head, head_dim](ggml_tensor * dst) {
            const ggml_tensor * x = dst->src[0];
            float * y = static_cast<float *>(dst->data);
            for (int64_t i = 0; i < dst->ne[1]; i++) std::copy_n(row_data(x) + row_stride(x) * i, dst->ne[0], y + row_stride(dst) * i);
            cpu::NormParams params;
            params.n_rows = int(dst->ne[1]) * n_head;
            params.n = int(head_dim);
            params.eps = norm.eps;
            params.weight = row_data(norm.weight);
            cpu::rms_norm(kernels()->pool, params, y, size_t(head_dim), y, size_t(head_dim));
        });
    }
    ggml_tensor * heads = ggml_view_3d(ctx(), x, head_dim, n_head, x->ne[1], head_dim * sizeof(float), x->nb[1], 0);
    ggml_tensor * y = ggml_mul(ctx(), ggml_rms_norm(ctx(), heads, norm.eps), norm.weight);
    return ggml_reshape_2d(ctx(), y, x->ne[0], x->ne[1]);
}

ggml_tensor * GraphBuilder::rope(ggml_tensor * x, const std::vector<int32_t> & positions, int n_head, int head_dim, const cpu::RopeFrequencies & frequencies,
                                  cpu::RopeStyle style) {
    if (kernels()) {
        const auto table = rope_table(frequencies, head_dim, 1 + *std::max_element(positions.begin(), positions.end()));
        return custom(x->ne[0], x->ne[1], {x}, [this, positions, n_head, table, style](ggml_tensor * dst) {
            const ggml_tensor * x = dst->src[0];
            float * y = static_cast<float *>(dst->data);
            for (int64_t i = 0; i < dst->ne[1]; i++) std::copy_n(row_data(x) + row_stride(x) * i, dst->ne[0], y + row_stride(dst) * i);
            cpu::rope(kernels()->pool, *table, style, y, row_stride(dst), int(dst->ne[1]), n_head, positions.data());
        });
    }
    const int mode = style == cpu::RopeStyle::halves ? GGML_ROPE_TYPE_NEOX : 0;
    ggml_tensor * heads = ggml_view_3d(ctx(), x, head_dim, n_head, x->ne[1], head_dim * sizeof(float), x->nb[1], 0);
    ggml_tensor * y = ggml_rope_ext(ctx(), heads, input(positions), nullptr, head_dim, mode, 0, frequencies.theta, frequencies.scale, 0.0f, 1.0f, 0.0f, 0.0f);
    return ggml_reshape_2d(ctx(), y, x->ne[0], x->ne[1]);
}

std::shared_ptr<const cpu::RopeTable> GraphBuilder::rope_table(const cpu::RopeFrequencies & frequencies, int head_dim, int n_positions) {
    for (const auto & table : rope_tables_) {
        if (table->frequencies == frequencies && table->head_dim == head_dim && table->n_positions >= n_positions) return table;
    }
    rope_tables_.push_back(std::make_shared<cpu::RopeTable>(frequencies, head_dim, n_positions));
    return rope_tables_.back();
}

ggml_tensor * GraphBuilder::mean(ggml_tensor * x, const Rows & rows) {
    std::vector<Groups::Group> groups;
    for (size_t i = size_t(rows.n_prefixes); i < rows.spans.size(); i++) groups.push_back({rows.spans[i].begin, rows.spans[i].n});
    return means(x, groups);
}

ggml_tensor * GraphBuilder::merge_documents(ggml_tensor * x, Rows & rows, int32_t ratio) {
    Groups grouped = group_documents(rows, ratio);
    if (grouped.rows.n_rows == rows.n_rows) return x;
    rows = std::move(grouped.rows);
    return means(x, grouped.groups);
}

// Means of consecutive rows, one a group. As in the reference, each row is scaled before it is added.
ggml_tensor * GraphBuilder::means(ggml_tensor * x, const std::vector<Groups::Group> & groups) {
    if (kernels()) {
        return custom(x->ne[0], int64_t(groups.size()), {x}, [this, groups](ggml_tensor * dst) {
            const ggml_tensor * x = dst->src[0];
            const int n = int(dst->ne[0]);
            kernels()->pool.parallel_for(int(groups.size()), [&](int i, int) {
                float * y = static_cast<float *>(dst->data) + row_stride(dst) * i;
                const float * from = row_data(x) + row_stride(x) * groups[i].begin;
                const float share = 1.0f / float(groups[i].n);
                for (int j = 0; j < n; j++) y[j] = from[j] * share;
                for (int r = 1; r < groups[i].n; r++) {
                    from += row_stride(x);
                    for (int j = 0; j < n; j++) y[j] += from[j] * share;
                }
            });
        });
    }
    // The groups of more than one row side by side, padded with their first row at weight 0; then one mean a group.
    // No matrix product: some devices would round its factors to fewer bits.
    int32_t size = 0;
    for (const auto & group : groups) size = std::max(size, group.n);
    std::vector<int32_t> members, result;
    std::vector<float> shares;
    int32_t n_means = 0;
    for (const auto & group : groups) {
        result.push_back(group.n == 1 ? group.begin : int32_t(x->ne[1]) + n_means);
        if (group.n == 1) continue;
        n_means++;
        for (int32_t i = 0; i < size; i++) {
            members.push_back(group.begin + (i < group.n ? i : 0));
            shares.push_back(i < group.n ? 1.0f / float(group.n) : 0.0f);
        }
    }
    ggml_tensor * scaled = ggml_mul(ctx(), ggml_get_rows(ctx(), x, input(members)), input(shares, 1, int64_t(shares.size())));
    scaled = ggml_reshape_3d(ctx(), scaled, x->ne[0], size, n_means);
    ggml_tensor * sums = ggml_sum_rows(ctx(), ggml_cont(ctx(), ggml_permute(ctx(), scaled, 1, 0, 2, 3))); // [1, n, n_means]
    ggml_tensor * all = ggml_concat(ctx(), x, ggml_reshape_2d(ctx(), sums, x->ne[0], n_means), 1);
    return ggml_get_rows(ctx(), all, input(result));
}

// Joins [n, n_i] tensors along their rows, pairwise so that each row is copied log2(parts) times at most.
ggml_tensor * GraphBuilder::concat_rows(std::vector<ggml_tensor *> parts) {
    while (parts.size() > 1) {
        std::vector<ggml_tensor *> joined;
        for (size_t i = 0; i + 1 < parts.size(); i += 2) joined.push_back(ggml_concat(ctx(), parts[i], parts[i + 1], 1));
        if (parts.size() % 2) joined.push_back(parts.back());
        parts = std::move(joined);
    }
    return parts[0];
}

} // namespace bge
