#include "by-columns.h"

#include "attention.h"
#include "split.h"

namespace cpu::detail {

namespace {

// Values of one task where whole rows are needed: norms, and codes of all inputs.
constexpr int task_values = 16 * 1024;

// Query rows of a task of attention: whole blocks of every kernel.
constexpr int max_task_queries = 192;

struct HeadTask {
    int head, sequence, first_query, n_queries;
};

// One layer: its rows to codes, and the products of these with its panels.
struct Columns {
    LayerCall     call;
    QuantizedRows codes;
    Split         split;
    int           task_rows; // of to_codes()

    Columns(const LayerCall & call, int n_threads, int unit = 1)
        : call(call), codes(call.w), split(int8_split(call.w, call.n_rows, n_threads, unit)),
          task_rows(round_up(std::max(1, task_values / call.w.n_in), codes.rows)) {}

    size_t codes_bytes() const { return codes.size_bytes(call.n_rows); }
    size_t sums_bytes() const { return aligned(size_t(round_up(split.chunk_rows, 16)) * call.w.columns * sizeof(float)); }
    size_t own_bytes() const { return sums_bytes() + unpacked_bytes(call.w); } // of a thread

    int n_code_tasks() const { return ceil_div(call.n_rows, task_rows); }

    void to_codes(int task) const {
        const int row = task * task_rows;
        quantize(call.w, codes, call.x + size_t(row) * call.x_stride, call.x_stride, std::min(task_rows, call.n_rows - row), call.w.n_in, row, 0);
    }

    // Calls store(panel, sums) for each panel of a task.
    template <typename F> void products(const Split::Task & task, unsigned char * own, const F & store) const {
        auto * sums = reinterpret_cast<float *>(own);
        for (int panel = task.panel; panel < task.end_panel; ++panel) {
            int8_panel(call.w, codes, task.first_row, task.n_rows, panel, sums, own + sums_bytes());
            store(panel, sums);
        }
    }

    void to_y(int i, unsigned char * own) const {
        const Split::Task task = split.task(i);
        products(task, own, [&](int panel, const float * sums) { store_panel(call, task.first_row, task.n_rows, panel, sums); });
    }
};

// Panels of `up` whose outputs are one block of inputs of `down`.
int panels_of_block(const PackedWeights & up, const PackedWeights & down) { return std::max(1, down.block() / up.columns_out()); }

// Both layers of a feed-forward block. What lies between them becomes codes at once, or, with a scale per row, when all of it is there.
struct FeedForward {
    Columns up, down;
    bool    per_row;
    int     at_a_time;        // outputs of `up` that become codes together
    float * hidden = nullptr; // [rows, hidden_stride] with a scale per row
    size_t  hidden_stride;

    FeedForward(const LayerCall & up_call, const LayerCall & down_call, int n_threads)
        : up(up_call, n_threads, panels_of_block(up_call.w, down_call.w)), down(down_call, n_threads), per_row(down_call.w.type == PanelType::int8_row),
          at_a_time(panels_of_block(up_call.w, down_call.w) * up_call.w.columns_out()),
          hidden_stride(size_t(down_call.w.n_blocks) * down_call.w.block() + 16) {}

    size_t hidden_bytes() const { return per_row ? aligned(size_t(up.call.n_rows) * hidden_stride * sizeof(float)) : 0; }
    size_t shared_bytes() const { return up.codes_bytes() + down.codes_bytes() + hidden_bytes(); }
    size_t block_bytes() const { return aligned(size_t(up.split.chunk_rows) * at_a_time * sizeof(float)); }
    size_t own_bytes() const { return std::max(up.own_bytes() + block_bytes(), down.own_bytes()); }

    void place(unsigned char * memory) {
        up.codes.place(memory, up.call.n_rows);
        down.codes.place(memory + up.codes_bytes(), up.call.n_rows);
        hidden = reinterpret_cast<float *>(memory + up.codes_bytes() + down.codes_bytes());
    }

    void to_hidden(int i, unsigned char * own) const {
        const Split::Task task     = up.split.task(i);
        const int         of_panel = up.call.w.columns_out();
        auto *            block    = reinterpret_cast<float *>(own + up.own_bytes());
        up.products(task, own, [&](int panel, const float * sums) {
            const int column = panel * of_panel, begin = column / at_a_time * at_a_time;
            if (per_row) {
                store_panel(up.call, 0, task.n_rows, panel, sums, hidden + size_t(task.first_row) * hidden_stride + column, hidden_stride);
                return;
            }
            store_panel(up.call, 0, task.n_rows, panel, sums, block + column - begin, size_t(at_a_time));
            const int end = std::min(begin + at_a_time, up.call.w.n_out);
            if (column + of_panel >= end) { // the block is complete
                quantize(down.call.w, down.codes, block, size_t(at_a_time), task.n_rows, end - begin, task.first_row, begin);
            }
        });
    }

    int n_hidden_tasks() const { return per_row ? down.n_code_tasks() : 0; }

    void hidden_to_codes(int task) const {
        const int row = task * down.task_rows, n = std::min(down.task_rows, up.call.n_rows - row);
        quantize(down.call.w, down.codes, hidden + size_t(row) * hidden_stride, hidden_stride, n, up.call.w.n_out, row, 0);
    }
};

} // namespace

bool fits_by_columns(const PackedWeights & up, const PackedWeights & down, int n_rows) {
    return up.is_int8() && up.type == down.type && up.blocks == down.blocks && up.n_out == down.n_in &&
           size_t(n_rows) * down.n_blocks * down.block() <= pass_bytes;
}

void feed_forward_by_columns(ThreadPool & pool, const LayerCall & up, const LayerCall & down, Workspace & workspace) {
    FeedForward  f(up, down, pool.n_threads());
    const size_t own_bytes = f.own_bytes();
    auto *       memory    = static_cast<unsigned char *>(workspace.reserve(f.shared_bytes() + own_bytes * pool.n_threads()));
    f.place(memory);
    memory += f.shared_bytes();

    const auto to_codes        = [&](int i, int) { f.up.to_codes(i); };
    const auto to_hidden       = [&](int i, int thread) { f.to_hidden(i, memory + own_bytes * thread); };
    const auto hidden_to_codes = [&](int i, int) { f.hidden_to_codes(i); };
    const auto to_y            = [&](int i, int thread) { f.down.to_y(i, memory + own_bytes * thread); };
    pool.parallel_steps({{f.up.n_code_tasks(), to_codes},
                         {f.up.split.n_tasks(), to_hidden},
                         {f.n_hidden_tasks(), hidden_to_codes},
                         {f.down.split.n_tasks(), to_y}});
}

void post_norm_by_columns(ThreadPool & pool, const PostNormLayer & layer, const float * mixed, size_t mixed_stride, const float * x, size_t x_stride, int n_rows,
                          float * y, size_t y_stride, Workspace & workspace) {
    const PackedWeights & out   = layer.attn_output->weights();
    const PackedWeights & up    = layer.ffn_up->weights();
    const PackedWeights & down  = layer.ffn_down->weights();
    const size_t          width = size_t(out.n_out);
    const Kernels &       k     = *out.kernels;

    // States lie between attention and the feed-forward block; where is known when all that has to be placed is.
    const LayerCall to_sums = {down, k, nullptr, 0, n_rows, y, y_stride, {Activation::none, 1.0f, nullptr, width}};
    Columns      o({out, k, mixed, mixed_stride, n_rows, nullptr, width, {Activation::none, 1.0f, x, x_stride}}, pool.n_threads());
    FeedForward  f({up, k, nullptr, width, n_rows, nullptr, 0, {layer.activation}}, to_sums, pool.n_threads());
    const size_t states_bytes = aligned(size_t(n_rows) * width * sizeof(float)), shared_bytes = states_bytes + o.codes_bytes() + f.shared_bytes();
    const size_t own_bytes    = std::max(o.own_bytes(), f.own_bytes());
    auto *       memory       = static_cast<unsigned char *>(workspace.reserve(shared_bytes + own_bytes * pool.n_threads()));
    auto *       states       = reinterpret_cast<float *>(memory);
    o.codes.place(memory + states_bytes, n_rows);
    f.place(memory + states_bytes + o.codes_bytes());
    o.call.y = states;
    f.up.call.x = f.down.call.epilogue.residual = states;
    memory += shared_bytes;

    const auto norm = [&](const PostNormLayer::Norm & norm, float * rows, size_t stride, int task) {
        for (int row = task * f.up.task_rows; row < std::min(n_rows, (task + 1) * f.up.task_rows); ++row) {
            float * at = rows + size_t(row) * stride;
            k.layer_norm({at, nullptr, norm.weight, norm.bias, nullptr, at, out.n_out, norm.eps});
        }
    };
    const auto mixed_to_codes  = [&](int i, int) { o.to_codes(i); };
    const auto to_states       = [&](int i, int thread) { o.to_y(i, memory + own_bytes * thread); };
    const auto states_to_codes = [&](int i, int) {
        norm(layer.attn_norm, states, width, i);
        f.up.to_codes(i);
    };
    const auto to_hidden       = [&](int i, int thread) { f.to_hidden(i, memory + own_bytes * thread); };
    const auto hidden_to_codes = [&](int i, int) { f.hidden_to_codes(i); };
    const auto to_y            = [&](int i, int thread) { f.down.to_y(i, memory + own_bytes * thread); };
    const auto norm_y          = [&](int i, int) { norm(layer.ffn_norm, y, y_stride, i); };
    pool.parallel_steps({{o.n_code_tasks(), mixed_to_codes},
                         {o.split.n_tasks(), to_states},
                         {f.up.n_code_tasks(), states_to_codes},
                         {f.up.split.n_tasks(), to_hidden},
                         {f.n_hidden_tasks(), hidden_to_codes},
                         {f.down.split.n_tasks(), to_y},
                         {f.up.n_code_tasks(), norm_y}});
}

void self_attention_by_columns(ThreadPool & pool, const PackedWeights & qkv, const AttentionParams & params, const float * x, size_t x_stride, float * out,
                               Workspace & workspace) {
    const AttentionSequence & last   = params.sequences[params.n_sequences - 1];
    const int                 n_rows = last.kv_begin + last.n_kv, width = 3 * params.head_dim, of_panel = qkv.columns_out();
    AttentionParams           single = params; // a head by itself
    single.n_head = single.n_head_kv = 1;
    single.q_stride = single.k_stride = single.v_stride = size_t(width);
    const AttentionCall call(single, max_task_queries);

    Columns      columns({qkv, *qkv.kernels, x, x_stride, n_rows, nullptr, 0, {}}, pool.n_threads());
    const size_t head_size    = aligned(size_t(n_rows) * width * sizeof(float)) / sizeof(float);
    const size_t own_bytes    = std::max(columns.own_bytes(), aligned(call.scratch_floats() * sizeof(float)));
    const size_t shared_bytes = columns.codes_bytes() + head_size * params.n_head * sizeof(float);
    auto *       memory       = static_cast<unsigned char *>(workspace.reserve(shared_bytes + own_bytes * pool.n_threads()));
    auto *       heads        = reinterpret_cast<float *>(memory + columns.codes_bytes());
    columns.codes.place(memory, n_rows);
    memory += shared_bytes;

    std::vector<HeadTask> tasks;
    for (int head = 0; head < params.n_head; ++head) {
        for (int i = 0; i < params.n_sequences; ++i) {
            for (int first = 0; first < params.sequences[i].n_q; first += max_task_queries) {
                tasks.push_back({head, i, first, std::min(max_task_queries, params.sequences[i].n_q - first)});
            }
        }
    }

    const auto to_codes = [&](int i, int) { columns.to_codes(i); };
    const auto to_heads = [&](int i, int thread) {
        const Split::Task task = columns.split.task(i);
        auto *            own  = memory + own_bytes * thread;
        auto *            sums = reinterpret_cast<float *>(own);
        for (int p = task.panel; p < task.end_panel; ++p) { // counted head by head
            const int head = p * of_panel / width, column = p * of_panel % width, part = column / params.head_dim;
            const int panel = ((part * params.n_head + head) * params.head_dim + column % params.head_dim) / of_panel;
            int8_panel(qkv, columns.codes, task.first_row, task.n_rows, panel, sums, own + columns.sums_bytes());
            store_panel(columns.call, 0, task.n_rows, panel, sums, heads + head_size * head + size_t(task.first_row) * width + column, size_t(width));
        }
    };
    const auto attend = [&](int i, int thread) {
        const HeadTask & t    = tasks[size_t(i)];
        const float *    rows = heads + head_size * t.head;
        const Head       head = {rows, rows + params.head_dim, rows + 2 * params.head_dim, out + size_t(t.head) * params.head_dim, 0};
        attend_head(call, params.sequences[t.sequence], head, t.first_query, t.n_queries, reinterpret_cast<float *>(memory + own_bytes * thread));
    };
    pool.parallel_steps({{columns.n_code_tasks(), to_codes}, {columns.split.n_tasks(), to_heads}, {int(tasks.size()), attend}});
}

} // namespace cpu::detail
