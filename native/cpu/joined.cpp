// Layers joined: what lies between them never leaves the second-level cache. With few rows or heads see by-columns.h.
#include "attention.h"
#include "by-columns.h"

#include <algorithm>

namespace cpu {

using detail::LayerCall;
using detail::PackedWeights;
using detail::PanelType;
using detail::pass_bytes;
using detail::QuantizedRows;
using detail::unpacked_bytes;
using detail::usual_resident_rows;

namespace {

// --- A feed-forward block --------------------------------------------------------------------------

// Rows of one task: what lies between the two layers has to stay in the second-level cache. Fewer rows would read the
// weights too often. Figures for the usual number of resident rows.
constexpr size_t hidden_bytes    = 320 * 1024;
constexpr int    min_hidden_rows = 48;
constexpr size_t max_hidden_weights = 16 * 1024 * 1024; // they are read once a task: from the last-level cache, it is hoped

// With a scale per row the codes are made last, and the floats they are made of wait as well.
int hidden_rows(const PackedWeights & down) {
    const size_t row_bytes = size_t(down.n_blocks) * down.block() * (down.type == PanelType::int8_row ? 2 : 1);
    return std::min(usual_resident_rows, int(hidden_bytes / row_bytes)) * down.format().resident_rows / usual_resident_rows;
}

// Sums of one panel: whole tiles of rows.
size_t sums_bytes(const PackedWeights & w, int n_rows) { return aligned(size_t(round_up(n_rows, 16)) * w.columns * sizeof(float)); }

// Scratch of one thread.
struct FeedForwardScratch {
    QuantizedRows   x, hidden;
    float *         sums;     // of one panel
    float *         floats;   // [rows, block] activations on their way to codes, or all of them with a scale per row
    unsigned char * unpacked; // a panel
    size_t          floats_stride, size_bytes;

    // `others_unpacked`: bytes of a panel of another layer.
    FeedForwardScratch(const PackedWeights & up, const PackedWeights & down, int n_rows, size_t others_unpacked = 0) : x(up), hidden(down) {
        floats_stride = down.type == PanelType::int8_row ? size_t(down.n_blocks) * down.block() + 16 : size_t(down.block());
        size_bytes    = x.size_bytes(n_rows) + hidden.size_bytes(n_rows) + sums_bytes(up, n_rows) + floats_bytes(n_rows) +
                     std::max({unpacked_bytes(up), unpacked_bytes(down), others_unpacked});
    }

    size_t floats_bytes(int n_rows) const { return aligned(n_rows * floats_stride * sizeof(float)); }

    void place(const PackedWeights & up, unsigned char * memory, int n_rows) {
        x.place(memory, n_rows);
        memory += x.size_bytes(n_rows);
        hidden.place(memory, n_rows);
        memory += hidden.size_bytes(n_rows);
        sums     = reinterpret_cast<float *>(memory);
        floats   = reinterpret_cast<float *>(memory + sums_bytes(up, n_rows));
        unpacked = memory + sums_bytes(up, n_rows) + floats_bytes(n_rows);
    }
};

// The n rows whose codes are s.x through both layers, to rows [first, first + n) of y.
void feed_forward_task(const LayerCall & up, const LayerCall & down, const FeedForwardScratch & s, int first, int n) {
    const bool per_row   = down.w.type == PanelType::int8_row;
    const int  n_hidden  = up.w.n_out;
    const int  of_panel  = up.w.columns_out();
    const int  at_a_time = per_row ? round_up(n_hidden, of_panel) : down.w.block();

    for (int begin = 0; begin < n_hidden; begin += at_a_time) {
        const int end = std::min(n_hidden, begin + at_a_time);
        for (int panel = begin / of_panel; panel * of_panel < end; ++panel) {
            int8_panel(up.w, s.x, 0, n, panel, s.sums, s.unpacked);
            store_panel(up, 0, n, panel, s.sums, s.floats + panel * of_panel - begin, s.floats_stride);
        }
        quantize(down.w, s.hidden, s.floats, s.floats_stride, n, end - begin, 0, begin);
    }
    for (int panel = 0; panel < down.w.n_panels; ++panel) {
        int8_panel(down.w, s.hidden, 0, n, panel, s.sums, s.unpacked);
        store_panel(down, first, n, panel, s.sums);
    }
}

// Whether there are enough rows to share them among the threads, and weights that may be read by each.
bool shares_rows(const PackedWeights & up, const PackedWeights & down, int n_rows, int n_threads) {
    return down.is_int8() && !up.unpacks_slowly && !down.unpacks_slowly && up.type == down.type && up.blocks == down.blocks && up.n_out == down.n_in &&
           hidden_rows(down) >= min_hidden_rows && up.panels.size() + down.panels.size() <= max_hidden_weights && n_rows >= n_threads * min_hidden_rows;
}

// Rows of one task of n_rows: as many tasks for each thread.
int feed_forward_rows(const PackedWeights & up, const PackedWeights & down, int n_rows, int n_threads) {
    const int rows_of_block = std::max(QuantizedRows(up).rows, QuantizedRows(down).rows);
    const int n_wanted      = round_up(ceil_div(n_rows, hidden_rows(down)), n_threads);
    return round_up(ceil_div(n_rows, n_wanted), rows_of_block);
}

// --- The rows of a post-norm layer after attention -------------------------------------------------

struct PostNormScratch {
    QuantizedRows      mixed;
    FeedForwardScratch feed_forward;
    float *            states = nullptr; // [rows, n] between attention and the feed-forward block
    size_t             size_bytes;

    PostNormScratch(const PackedWeights & out, const PackedWeights & up, const PackedWeights & down, int n_rows)
        : mixed(out), feed_forward(up, down, n_rows, unpacked_bytes(out)) {
        size_bytes = mixed.size_bytes(n_rows) + states_bytes(out, n_rows) + feed_forward.size_bytes;
    }

    static size_t states_bytes(const PackedWeights & out, int n_rows) { return aligned(size_t(n_rows) * out.n_out * sizeof(float)); }

    void place(const PackedWeights & out, const PackedWeights & up, unsigned char * memory, int n_rows) {
        mixed.place(memory, n_rows);
        memory += mixed.size_bytes(n_rows);
        states = reinterpret_cast<float *>(memory);
        feed_forward.place(up, memory + states_bytes(out, n_rows), n_rows);
    }
};

// n rows at x, mixed and y. x and y are touched row by row, never a panel's columns of many rows: these are too far apart for
// the first-level cache, and what comes from further away would come without the chip's prefetching.
void post_norm_task(const PostNormLayer & layer, const PostNormScratch & s, const float * mixed, size_t mixed_stride, const float * x, size_t x_stride, int n,
                    float * y, size_t y_stride) {
    const PackedWeights & out   = layer.attn_output->weights();
    const PackedWeights & up    = layer.ffn_up->weights();
    const PackedWeights & down  = layer.ffn_down->weights();
    const size_t          width = size_t(out.n_out);

    const LayerCall to_states = {out, *out.kernels, nullptr, 0, n, s.states, width, {}};
    quantize(out, s.mixed, mixed, mixed_stride, n, out.n_in, 0, 0);
    for (int panel = 0; panel < out.n_panels; ++panel) {
        int8_panel(out, s.mixed, 0, n, panel, s.feed_forward.sums, s.feed_forward.unpacked);
        store_panel(to_states, 0, n, panel, s.feed_forward.sums);
    }
    const QuantizedRows & codes = s.feed_forward.x;
    for (int first = 0; first < n; first += codes.rows) {
        const int n_block = std::min(codes.rows, n - first);
        float *   states  = s.states + first * width;
        for (int i = 0; i < n_block; ++i) {
            out.kernels->layer_norm({states + i * width, x + (first + i) * x_stride, layer.attn_norm.weight, layer.attn_norm.bias, nullptr, states + i * width,
                                     out.n_out, layer.attn_norm.eps});
        }
        quantize(up, codes, states, width, n_block, up.n_in, first, 0);
    }

    const LayerCall to_hidden = {up, *up.kernels, nullptr, 0, n, nullptr, 0, {layer.activation}};
    const LayerCall to_sums   = {down, *down.kernels, nullptr, 0, n, s.states, width, {Activation::none, 1.0f, s.states, width}};
    feed_forward_task(to_hidden, to_sums, s.feed_forward, 0, n);
    for (int row = 0; row < n; ++row) {
        out.kernels->layer_norm({s.states + row * width, nullptr, layer.ffn_norm.weight, layer.ffn_norm.bias, nullptr, y + row * y_stride, out.n_out,
                                 layer.ffn_norm.eps});
    }
}

// --- Self-attention --------------------------------------------------------------------------------

// Sequences of one task are neighbours with about so many rows: fewer would leave tiles of the product empty, and more than these
// at a time would not leave the second-level cache to the weights.
constexpr int min_group_rows    = 96;
constexpr int max_group_rows    = 192; // of several sequences
constexpr int max_sequence_rows = 1024; // whose q, k and v of a head are not too much for the second-level cache
constexpr int min_head_tasks    = 4;    // a thread: with fewer the last ones do not even out

struct Group {
    int first_sequence, n_sequences;
    int first_row, n_rows;
    int first_code; // row among the codes, where each group begins a block
};

std::vector<Group> groups_of(const AttentionParams & p, int rows_of_block) {
    std::vector<Group> groups;
    int                first_code = 0;
    for (int i = 0; i < p.n_sequences; ++i) {
        const AttentionSequence & s = p.sequences[i];
        if (groups.empty() || groups.back().n_rows >= min_group_rows || groups.back().n_rows + s.n_kv > max_group_rows) {
            first_code += groups.empty() ? 0 : round_up(groups.back().n_rows, rows_of_block);
            groups.push_back({i, 0, s.kv_begin, 0, first_code});
        }
        groups.back().n_sequences++;
        groups.back().n_rows += s.n_kv;
    }
    return groups;
}

// The sequences' rows counted from the first of their group.
std::vector<AttentionSequence> within_groups(const AttentionParams & p, const std::vector<Group> & groups) {
    std::vector<AttentionSequence> sequences(p.sequences, p.sequences + p.n_sequences);
    for (const Group & g : groups) {
        for (int i = g.first_sequence; i < g.first_sequence + g.n_sequences; ++i) {
            sequences[i].kv_begin -= g.first_row;
            sequences[i].q_begin -= g.first_row;
        }
    }
    return sequences;
}

// What the task of a head of a group of sequences sees.
struct HeadTask {
    const PackedWeights &         w; // of q, k and v
    const QuantizedRows &         codes;
    const detail::AttentionCall & call;
    const Group &                 group;
    const AttentionSequence *     sequences; // within the group
    int                           head, n_head;
    float *                       out; // of the group's first row and this head
    unsigned char *               unpacked;

    int panel(int part) const { return (part * n_head + head) * call.p.head_dim / w.columns; } // the first of q, k or v

    // Calls fn(sequence, memory), where each sequence's codes begin.
    template <typename F> void for_sequences(float * memory, const F & fn) const {
        for (int i = 0; i < group.n_sequences; ++i) {
            const AttentionSequence & s = sequences[group.first_sequence + i];
            fn(s, memory);
            memory += detail::AttentionCodes::n_floats(call, s.n_kv, s.n_kv);
        }
    }
};

// Sums become 16-bit codes right where they were added up. `sums` are panels of at most max_group_rows rows.
void attend_in_codes(const HeadTask & t, float * sums, float * codes, float * scratch) {
    const size_t of_panel = sums_bytes(t.w, max_group_rows) / sizeof(float);
    const int    columns = t.w.columns, n_panels = t.call.p.head_dim / columns;
    for (int first = 0; first < t.group.n_rows; first += max_group_rows) {
        const int n = std::min(max_group_rows, t.group.n_rows - first);
        for (int part = 0; part < 3; ++part) {
            for (int i = 0; i < n_panels; ++i) {
                int8_panel(t.w, t.codes, t.group.first_code + first, n, t.panel(part) + i, sums + i * of_panel, t.unpacked);
            }
            t.for_sequences(codes, [&](const AttentionSequence & s, float * memory) {
                const int begin = std::max(first, s.kv_begin), end = std::min(first + n, s.kv_begin + s.n_kv);
                if (begin >= end) {
                    return;
                }
                detail::PairCodes from;
                from.x       = sums + size_t(begin - first) * columns;
                from.x_row   = size_t(columns);
                from.x_panel = of_panel;
                from.n_first = from.n_rows = end - begin;
                from.rest    = nullptr;
                from.bias    = t.w.bias.empty() ? nullptr : t.w.bias.data() + t.panel(part) * columns;
                const detail::AttentionCodes to(t.call, s.n_kv, s.n_kv, memory);
                const int                    at = begin - s.kv_begin;
                part == 0 ? to.add_q(t.call, from, at) : part == 1 ? to.add_k(t.call, from, at) : to.add_v(t.call, from, at);
            });
        }
    }
    t.for_sequences(codes, [&](const AttentionSequence & s, float * memory) {
        attend_rows_in_codes(t.call, s, detail::AttentionCodes(t.call, s.n_kv, s.n_kv, memory), t.out + size_t(s.q_begin) * t.call.p.out_stride, scratch);
    });
}

// q, k and v side by side in `rows`.
void attend_in_floats(const HeadTask & t, float * rows, float * sums, float * scratch) {
    const int       head_dim = t.call.p.head_dim, columns = t.w.columns, n_rows = t.group.n_rows;
    const LayerCall to_rows = {t.w, *t.w.kernels, nullptr, 0, n_rows, nullptr, 0, {}};
    for (int column = 0; column < 3 * head_dim; column += columns) {
        const int panel = t.panel(column / head_dim) + column % head_dim / columns;
        int8_panel(t.w, t.codes, t.group.first_code, n_rows, panel, sums, t.unpacked);
        store_panel(to_rows, 0, n_rows, panel, sums, rows + column, size_t(3 * head_dim));
    }
    for (int i = t.group.first_sequence; i < t.group.first_sequence + t.group.n_sequences; ++i) {
        detail::attend_head(t.call, t.sequences[i], {rows, rows + head_dim, rows + 2 * head_dim, t.out, 0}, 0, t.sequences[i].n_q, scratch);
    }
}

} // namespace

bool joins_feed_forward(const PackedLinear & up, const PackedLinear & down, int n_rows, int n_threads) {
    return shares_rows(up.weights(), down.weights(), n_rows, n_threads) || detail::fits_by_columns(up.weights(), down.weights(), n_rows);
}

void feed_forward(ThreadPool & pool, const PackedLinear & up, const PackedLinear & down, const float * x, size_t x_stride, int n_rows, float * y,
                  size_t y_stride, Activation activation, const Epilogue & epilogue, Workspace & workspace) {
    const PackedWeights & u = up.weights();
    const PackedWeights & d = down.weights();
    Epilogue              of_up;
    of_up.activation = activation;
    const LayerCall to_hidden = {u, *u.kernels, x, x_stride, n_rows, nullptr, 0, of_up};
    const LayerCall to_y      = {d, *d.kernels, nullptr, 0, n_rows, y, y_stride, epilogue};
    if (!shares_rows(u, d, n_rows, pool.n_threads())) {
        detail::feed_forward_by_columns(pool, to_hidden, to_y, workspace);
        return;
    }

    const int                task_rows = feed_forward_rows(u, d, n_rows, pool.n_threads());
    const FeedForwardScratch scratch(u, d, task_rows);
    auto *                   memory = static_cast<unsigned char *>(workspace.reserve(scratch.size_bytes * pool.n_threads()));
    pool.parallel_for(ceil_div(n_rows, task_rows), [&](int task, int thread) {
        FeedForwardScratch own = scratch;
        own.place(u, memory + scratch.size_bytes * thread, task_rows);
        const int first = task * task_rows, n = std::min(task_rows, n_rows - first);
        quantize(u, own.x, x + size_t(first) * x_stride, x_stride, n, u.n_in, 0, 0);
        feed_forward_task(to_hidden, to_y, own, first, n);
    });
}

bool joins_post_norm(const PostNormLayer & layer, int n_rows, int n_threads) {
    const PackedWeights & out  = layer.attn_output->weights();
    const PackedWeights & up   = layer.ffn_up->weights();
    const PackedWeights & down = layer.ffn_down->weights();
    return out.type == up.type && out.blocks == up.blocks &&
           ((!out.unpacks_slowly && shares_rows(up, down, n_rows, n_threads)) || detail::fits_by_columns(up, down, n_rows));
}

void post_norm(ThreadPool & pool, const PostNormLayer & layer, const float * mixed, size_t mixed_stride, const float * x, size_t x_stride, int n_rows, float * y,
               size_t y_stride, Workspace & workspace) {
    const PackedWeights & out  = layer.attn_output->weights();
    const PackedWeights & up   = layer.ffn_up->weights();
    const PackedWeights & down = layer.ffn_down->weights();
    if (out.unpacks_slowly || !shares_rows(up, down, n_rows, pool.n_threads())) {
        detail::post_norm_by_columns(pool, layer, mixed, mixed_stride, x, x_stride, n_rows, y, y_stride, workspace);
        return;
    }

    const int             task_rows = feed_forward_rows(up, down, n_rows, pool.n_threads());
    const PostNormScratch scratch(out, up, down, task_rows);
    auto *                memory = static_cast<unsigned char *>(workspace.reserve(scratch.size_bytes * pool.n_threads()));
    pool.parallel_for(ceil_div(n_rows, task_rows), [&](int task, int thread) {
        PostNormScratch own = scratch;
        own.place(out, up, memory + scratch.size_bytes * thread, task_rows);
        const size_t first = size_t(task) * task_rows;
        post_norm_task(layer, own, mixed + first * mixed_stride, mixed_stride, x + first * x_stride, x_stride, std::min(task_rows, n_rows - int(first)),
                       y + first * y_stride, y_stride);
    });
}

bool joins_self_attention(const PackedLinear & qkv, const AttentionParams & p) {
    const PackedWeights & w       = qkv.weights();
    const int             columns = w.columns_out();
    int                   n_rows  = 0;
    for (int i = 0; i < p.n_sequences; ++i) {
        const AttentionSequence & s = p.sequences[i];
        if (s.n_prefix > 0 || s.kv_begin != n_rows || s.q_begin != n_rows || s.n_q != s.n_kv || s.n_kv > max_sequence_rows) {
            return false;
        }
        n_rows += s.n_kv;
    }
    return w.is_int8() && p.relative == nullptr && p.n_head == p.n_head_kv && w.n_out == 3 * p.n_head * p.head_dim && p.head_dim % columns == 0 &&
           size_t(n_rows) * w.n_blocks * w.block() <= pass_bytes;
}

void self_attention(ThreadPool & pool, const PackedLinear & qkv, const AttentionParams & params, const float * x, size_t x_stride, float * out,
                    Workspace & workspace) {
    const PackedWeights &    w       = qkv.weights();
    const int                columns = w.columns_out();
    const int                width   = 3 * params.head_dim;
    QuantizedRows            codes(w);
    const std::vector<Group> groups = groups_of(params, codes.rows);
    if (groups.empty()) {
        return;
    }
    if (w.unpacks_slowly || int(groups.size()) * params.n_head < min_head_tasks * pool.n_threads()) {
        detail::self_attention_by_columns(pool, w, params, x, x_stride, out, workspace);
        return;
    }
    const int n_codes  = groups.back().first_code + groups.back().n_rows;
    int       max_rows = 0;
    for (const Group & g : groups) {
        max_rows = std::max(max_rows, g.n_rows);
    }

    // A head by itself.
    const std::vector<AttentionSequence> sequences = within_groups(params, groups);
    AttentionParams                      single    = params;
    single.n_head = single.n_head_kv = 1;
    single.q_stride = single.k_stride = single.v_stride = size_t(width);
    single.sequences = sequences.data();
    const detail::AttentionCall call(single, max_rows);

    const bool in_codes = call.codes && columns == call.kernels.format.float_columns;
    size_t     of_rows  = in_codes ? 0 : size_t(max_rows) * width; // floats, what attention begins with
    for (const Group & g : groups) {
        size_t of_group = 0;
        for (int i = g.first_sequence; in_codes && i < g.first_sequence + g.n_sequences; ++i) {
            of_group += detail::AttentionCodes::n_floats(call, sequences[i].n_kv, sequences[i].n_kv);
        }
        of_rows = std::max(of_rows, of_group);
    }
    const size_t code_bytes = codes.size_bytes(n_codes);
    const size_t row_bytes  = aligned(of_rows * sizeof(float));
    const size_t of_sums    = in_codes ? sums_bytes(w, max_group_rows) * (params.head_dim / columns) : sums_bytes(w, max_rows);
    const size_t of_call    = aligned(call.scratch_floats() * sizeof(float));
    const size_t own_bytes  = row_bytes + of_sums + of_call + unpacked_bytes(w);
    auto *       memory     = static_cast<unsigned char *>(workspace.reserve(code_bytes + own_bytes * pool.n_threads()));
    codes.place(memory, n_codes);

    const int part_rows = round_up(min_group_rows / 2, codes.rows), n_parts = ceil_div(max_rows, part_rows);
    const auto to_codes = [&](int task, int) {
        const Group & g = groups[task / n_parts];
        const int     first = task % n_parts * part_rows, n = std::min(part_rows, g.n_rows - first);
        if (n > 0) {
            quantize(w, codes, x + size_t(g.first_row + first) * x_stride, x_stride, n, w.n_in, g.first_code + first, 0);
        }
    };
    const auto attend = [&](int task, int thread) {
        const Group &  g    = groups[task / params.n_head];
        const int      head = task % params.n_head;
        auto *         own  = memory + code_bytes + own_bytes * thread;
        auto *         rows = reinterpret_cast<float *>(own);
        auto *         sums = reinterpret_cast<float *>(own + row_bytes);
        auto *         scratch = reinterpret_cast<float *>(own + row_bytes + of_sums);
        const HeadTask of_head = {w, codes, call, g, sequences.data(), head, params.n_head, out + size_t(g.first_row) * params.out_stride + size_t(head) * params.head_dim,
                                 own + row_bytes + of_sums + of_call};
        in_codes ? attend_in_codes(of_head, sums, rows, scratch) : attend_in_floats(of_head, rows, sums, scratch);
    };
    pool.parallel_steps({{int(groups.size()) * n_parts, to_codes}, {int(groups.size()) * params.n_head, attend}});
}

} // namespace cpu
