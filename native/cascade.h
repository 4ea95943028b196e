// Cascade: a call that scores all its pairs at an early cutoff layer, keeps the best and takes only those on to later
// layers, from the hidden states where they stopped.
//
// After the stage {layer, keep} the `keep` pairs with the highest logits there go on; of equal ones those that came
// first. Pairs that go on get the logits of a run without a cascade; the others have none at later cutoffs (NaN). A
// cutoff layer belongs to the first stage that reaches it, those above the last stage to what runs after it.
//
// States stay on the host as F32, n_embd * 4 bytes a token: of the best `keep` pairs so far and of the ubatch at work,
// a shared query prefix once, as far as its keys and values are not kept. 32 pairs of 512 tokens of 2304 units take 151 MB. Beyond `max_state_bytes` a pair's states
// are let go, and should it be kept, it starts again from its ids.
#pragma once
#include "arch/arch.h"
#include "batch.h"
#include <memory>
#include <vector>

namespace bge {

struct CascadeStage {
    int32_t layer = 0; // one of the call's cutoff layers
    int32_t keep = 0;
};

class Cascade {
public:
    static constexpr size_t default_state_bytes = size_t(1) << 30;

    // Throws Error MODEL_UNSUPPORTED unless the stages ascend, are cutoffs and lie below the last one.
    static void check(const std::vector<CascadeStage> & stages, const ScoreParams & params);

    Cascade(std::vector<CascadeStage> stages, const ScoreParams & params, const std::vector<EncodedPair> & pairs, size_t max_state_bytes = default_state_bytes);

    bool in_last_part() const { return part_ == stages_.size(); }
    ScoreParams params() const;   // of the part at work: its cutoffs only
    int32_t first_cutoff() const; // where they stand among the call's

    // Pairs of one ubatch all go on from states or all start from ids.
    bool has_states(int32_t pair) const { return states_[size_t(pair)] != nullptr; }
    Ubatch pack(const std::vector<int32_t> & pairs, bool share_prefix, const PrefixLookup & lookup) const;

    // Takes a ubatch's states and its logits at the part's last cutoff, both in the order of `pairs`.
    // Returns the pairs that are out: better ones are known.
    std::vector<int32_t> add(const std::vector<int32_t> & pairs, const float * logits, const Rows & rows, const std::vector<float> & states);
    bool stage_done() const { return n_left_ == 0; } // all its pairs were added
    // Begins the next part. Returns the pairs that go on, in input order.
    std::vector<int32_t> advance();

private:
    using Values = std::vector<float>;
    struct PrefixState {
        Values rows;                            // those that are not kept
        std::shared_ptr<const PrefixKeys> keys; // null without a cache
    };
    struct State {
        Span span; // its begins are not meant
        Values rows;
        std::shared_ptr<const PrefixState> prefix; // null when the query is among the own rows
    };
    struct Prefix { int32_t pair; std::shared_ptr<const PrefixState> state; }; // the query of `pair`
    struct Ranked { int32_t pair; float logit; };

    void keep_states(int32_t pair, const Span & span, const Rows & rows, const Values & states);
    void hold(int32_t pair, std::shared_ptr<State> state); // null lets go of what was held

    std::vector<CascadeStage> stages_;
    ScoreParams params_;
    const std::vector<EncodedPair> & pairs_;
    size_t max_state_bytes_;
    size_t part_ = 0, n_left_;
    std::vector<std::shared_ptr<State>> states_; // one a pair
    std::vector<Prefix> prefixes_;               // of the part at work
    std::vector<Ranked> best_;                   // of the part at work, best first
    int64_t n_embd_ = 0;
    size_t n_values_ = 0; // in states_
};

} // namespace bge
