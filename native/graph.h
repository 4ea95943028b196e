// GraphBuilder: the bricks architectures are built from. On the CPU a brick is one of our kernels, joined to the graph
// as a ggml custom op; elsewhere it is the same maths in ggml ops. Architectures do not know which.
// Activations are F32 [n, n_rows]: one row a token, packed without padding.
#pragma once
#include "backend.h"
#include "batch.h"
#include "weights.h"
#include <array>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace bge {

struct AttentionShape {
    int n_head = 0, n_head_kv = 0, head_dim = 0;
    float scale = 1.0f;
    bool causal = false;
    int window = 0;        // key j is visible to query i iff |i - j| < window, and not after it where causal; 0 = no limit
    float soft_cap = 0.0f; // 0 = off
    bool codes = false;    // 16-bit codes will do, on our CPU kernels
};

struct LinearOptions {
    cpu::Activation activation = cpu::Activation::none;
    ggml_tensor * residual = nullptr; // added after activation and scale
    float scale = 1.0f;
};

struct PostNormLayer {
    Linear attn_output, ffn_up, ffn_down;
    Norm attn_norm, ffn_norm;
    cpu::Activation activation = cpu::Activation::none;
};

// How far apart two tokens can stand, and the row of a table that belongs to each distance. Shared by a graph's layers.
struct Distances {
    std::shared_ptr<const std::vector<int32_t>> row; // of distances from -max_distance to max_distance; does not fall
    int32_t max_distance = 0;
    int32_t n_rows = 0; // of the table

    struct Picks { ggml_tensor *of_queries, *of_keys; };
    mutable std::map<std::pair<int64_t, int64_t>, Picks> picks; // by n_q and n_kv, of the ggml ops
};

// What a layer makes of the table, see cpu::RelativePositions.
struct RelativePositions {
    const Distances * distances;
    ggml_tensor *q, *k; // [n_head * head_dim, distances->n_rows]
};

// Which rows of each scored sequence are meant.
enum class Pick { all, first, last };

std::vector<int32_t> positions(const Rows & rows, Pick pick); // of the rows that select() gives

class GraphBuilder {
public:
    // `flash_attention`: fused where the device has it; it may round keys and values to F16. Not for our CPU kernels.
    GraphBuilder(Backend & backend, size_t max_nodes, bool flash_attention);

    ggml_context * ctx() const { return ctx_.get(); }
    ggml_cgraph * graph() const { return graph_; }

    // Inputs: the values are copied in before the graph runs.
    ggml_tensor * input(std::vector<int32_t> values);                        // I32 [n]
    ggml_tensor * input(std::vector<float> values, int64_t ne0, int64_t ne1); // F32 [ne0, ne1]
    void set_inputs() const;

    ggml_tensor * look_up(ggml_tensor * table, const std::vector<int32_t> & ids); // table [n, n_entries] -> F32 [n, n_ids]
    ggml_tensor * select(ggml_tensor * x, const Rows & rows, Pick pick); // [n, n_seqs], or x itself for Pick::all

    ggml_tensor * linear(const Linear & w, ggml_tensor * x, const LinearOptions & options = {}); // [n_out, n_rows]
    std::vector<ggml_tensor *> linear_parts(const Linear & w, ggml_tensor * x);                  // one a part; may be views of one tensor
    ggml_tensor * gated(const GatedLinear & w, ggml_tensor * x, cpu::Activation activation);      // [n_ff, n_rows]
    ggml_tensor * activate(ggml_tensor * x, cpu::Activation activation);
    // down(activation(up x)), or down(activation(gate x) * up x); `options` are those of `down`. [n_out, n_rows]
    ggml_tensor * feed_forward(const Linear & up, const Linear & down, ggml_tensor * x, cpu::Activation activation, const LinearOptions & options = {});
    ggml_tensor * feed_forward(const GatedLinear & up, const Linear & down, ggml_tensor * x, cpu::Activation activation, const LinearOptions & options = {});

    ggml_tensor * layer_norm(const Norm & norm, ggml_tensor * x);
    // residual + RMS(x) * weight; residual may be null
    ggml_tensor * rms_norm(const Norm & norm, ggml_tensor * x, ggml_tensor * residual = nullptr);

    // rms_norm of each of the n_head heads in every row
    ggml_tensor * head_norm(const Norm & norm, ggml_tensor * x, int n_head);

    // Rotates n_head heads in every row; `positions` has one a row.
    ggml_tensor * rope(ggml_tensor * x, const std::vector<int32_t> & positions, int n_head, int head_dim, const cpu::RopeFrequencies & frequencies,
                       cpu::RopeStyle style);

    // Keys or values of a layer with the kept rows of prefixes before those that follow them; what is to be kept of x is copied as the
    // graph runs. [n, n_rows + rows.n_kept()]
    ggml_tensor * with_kept_rows(ggml_tensor * x, const Rows & rows, int32_t layer, KeyRows::Kind kind);

    // Attention inside each sequence. q holds the rows `pick` names, k and v all of them and the kept ones. -> [n_head * head_dim, n_query_rows]
    ggml_tensor * attention(const AttentionShape & shape, ggml_tensor * q, ggml_tensor * k, ggml_tensor * v, const Rows & rows, Pick pick,
                            const RelativePositions * relative = nullptr);

    // The same of the q, k and v that one layer gives for x, for all rows.
    ggml_tensor * self_attention(const AttentionShape & shape, const Linear & qkv, ggml_tensor * x, const Rows & rows);

    // y = norm(h + down(act(up h))) with h = norm(x + out mixed): what follows attention in a layer of BERT. [n, n_rows]
    ggml_tensor * post_norm(const PostNormLayer & layer, ggml_tensor * mixed, ggml_tensor * x);

    // The mean of each scored sequence's rows: [n, n_seqs].
    ggml_tensor * mean(ggml_tensor * x, const Rows & rows);

    // Token compression: every document row group's mean. `rows` becomes the rows of the result.
    ggml_tensor * merge_documents(ggml_tensor * x, Rows & rows, int32_t ratio);

    ggml_tensor * concat_rows(std::vector<ggml_tensor *> parts); // [n, sum of n_i]

    // A custom op on the CPU: `run` fills the F32 result [ne0, ne1]; args are its sources, in order.
    ggml_tensor * custom(int64_t ne0, int64_t ne1, std::vector<ggml_tensor *> args, std::function<void(ggml_tensor * dst)> run);

    void output(ggml_tensor * x); // keeps x readable after the graph ran
    void rethrow() const;         // what a custom op threw, if any did

    CpuKernels * kernels() const { return backend_.kernels(); }

private:
    struct CustomOp { GraphBuilder * builder; std::function<void(ggml_tensor *)> run; };

    // What queries do not see, of the ggml ops: F32 [n_kv, n_q] and its F16 copy, null where they see all. Layers and sequences share it.
    struct Mask { ggml_tensor *full, *half; };
    Mask & mask(const AttentionShape & shape, const cpu::AttentionSequence & s);
    ggml_tensor * attend(const AttentionShape & shape, ggml_tensor * q, ggml_tensor * k, ggml_tensor * v, const cpu::AttentionSequence & s,
                         const RelativePositions * relative);
    ggml_tensor * add_relative(ggml_tensor * scores, const AttentionShape & shape, ggml_tensor * queries, ggml_tensor * keys, const RelativePositions & relative);
    ggml_tensor * joined_feed_forward(const cpu::PackedLinear & up, const Linear & down, ggml_tensor * x, cpu::Activation activation, const LinearOptions & options);
    ggml_tensor * mul_mat(ggml_tensor * w, ggml_tensor * x);
    void watch(const ggml_tensor * w, ggml_tensor * x); // adds x to the importance of w's inputs when the graph runs
    ggml_tensor * means(ggml_tensor * x, const std::vector<Groups::Group> & groups);
    std::shared_ptr<const cpu::RopeTable> rope_table(const cpu::RopeFrequencies & frequencies, int head_dim, int n_positions);

    Backend & backend_;
    bool flash_attention_;
    ggml_context_ptr ctx_;
    ggml_cgraph * graph_;
    std::vector<std::unique_ptr<CustomOp>> custom_ops_;
    std::vector<std::pair<ggml_tensor *, std::vector<int32_t>>> i32_inputs_;
    std::vector<std::pair<ggml_tensor *, std::vector<float>>> f32_inputs_;
    std::vector<std::shared_ptr<const cpu::RopeTable>> rope_tables_; // layers use the same one or two
    std::map<std::array<int64_t, 5>, Mask> masks_; // by n_q, n_kv, the first query's position, causal and window
    std::exception_ptr failure_;
};

} // namespace bge
