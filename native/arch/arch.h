// Architecture: the one interface between the engine and a model's graph.
#pragma once
#include "../graph.h"
#include "../weights.h"
#include <memory>
#include <string>
#include <vector>

namespace bge {

// What one call asks of the graph. Requests that are equal here share batches.
struct ScoreParams {
    std::vector<int32_t> cutoff_layers; // ascending, counted from 1; empty = the last layer
    std::vector<int32_t> heads;         // row of the head matrix for each of them
    std::vector<int32_t> compress_layers;
    int32_t compress_ratio = 1;
    bool attention_soft_cap = false;

    int32_t n_cutoffs() const { return cutoff_layers.empty() ? 1 : int32_t(cutoff_layers.size()); }
    bool operator==(const ScoreParams & o) const {
        return cutoff_layers == o.cutoff_layers && heads == o.heads && compress_layers == o.compress_layers && compress_ratio == o.compress_ratio &&
               attention_soft_cap == o.attention_soft_cap;
    }
};

// What a graph gives.
struct Forward {
    ggml_tensor * logits = nullptr; // F32 [n_seqs, n_cutoffs]
    ggml_tensor * states = nullptr; // F32 [n_embd, rows.n_rows] after the last cutoff layer, for Ubatch::keep_states
    Rows rows;                      // who owns which state
};

// What is known of a model without its weights.
struct ArchitectureFacts {
    int32_t n_layer = 0, n_embd = 0, n_head = 0, n_vocab = 0;
    int32_t n_embd_kv = 0;      // of a key, and of a value, in each layer of a causal model
    int32_t n_layer_loaded = 0; // layers in memory, n_layer unless a smaller one was asked for
    int32_t n_heads = 0;        // rows of the head matrix of layer-head models, else 1
    int32_t n_ctx = 0;          // hard limit of a pair's length; 0 = none
    bool causal = false;        // a later token never changes an earlier one: query prefixes can be shared
    bool resumable = false;     // can start from the states after any layer, as a cascade does
};

struct Architecture : ArchitectureFacts {
    virtual ~Architecture() = default;
    // Adds the forward pass of `ubatch` to the graph.
    virtual Forward build(GraphBuilder & g, const Ubatch & ubatch, const ScoreParams & params) const = 0;
};

// What the caller decides about a model before it is read.
struct ArchitectureOptions {
    int32_t max_layer = 0; // layers above this one are not loaded; 0 = all
    int32_t token_id = -1; // whose logit is the score, for token-logit models
    std::vector<float> label_weights; // the score is this sum of the labels' logits, for causal decoders
};

// Builds the architecture that `general.architecture` names. Throws Error MODEL_UNSUPPORTED for one we do not have.
std::unique_ptr<Architecture> load_architecture(Weights & weights, const ArchitectureOptions & options);
std::vector<std::string> architecture_names();

} // namespace bge
