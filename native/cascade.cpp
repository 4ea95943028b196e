#include "cascade.h"
#include "error.h"
#include <algorithm>

namespace bge {

void Cascade::check(const std::vector<CascadeStage> & stages, const ScoreParams & params) {
    const auto & cutoffs = params.cutoff_layers;
    int32_t above = 0;
    for (const CascadeStage & stage : stages) {
        if (stage.layer <= above || std::count(cutoffs.begin(), cutoffs.end(), stage.layer) == 0 || stage.layer >= cutoffs.back() || stage.keep < 1) {
            throw Error("MODEL_UNSUPPORTED", "Cascade stages must ascend, stop at cutoff layers below the last one and keep a pair or more");
        }
        above = stage.layer;
    }
}

Cascade::Cascade(std::vector<CascadeStage> stages, const ScoreParams & params, const std::vector<EncodedPair> & pairs, size_t max_state_bytes)
    : stages_(std::move(stages)), params_(params), pairs_(pairs), max_state_bytes_(max_state_bytes), n_left_(pairs.size()), states_(pairs.size()) {}

int32_t Cascade::first_cutoff() const {
    const int32_t above = part_ > 0 ? stages_[part_ - 1].layer : 0;
    return int32_t(std::upper_bound(params_.cutoff_layers.begin(), params_.cutoff_layers.end(), above) - params_.cutoff_layers.begin());
}

ScoreParams Cascade::params() const {
    ScoreParams out = params_;
    const auto begin = out.cutoff_layers.begin() + first_cutoff();
    const auto end = in_last_part() ? out.cutoff_layers.end() : std::upper_bound(begin, out.cutoff_layers.end(), stages_[part_].layer);
    out.heads.assign(params_.heads.begin() + (begin - out.cutoff_layers.begin()), params_.heads.begin() + (end - out.cutoff_layers.begin()));
    out.cutoff_layers = std::vector<int32_t>(begin, end);
    return out;
}

Ubatch Cascade::pack(const std::vector<int32_t> & pairs, bool share_prefix, const PrefixLookup & lookup) const {
    if (!has_states(pairs[0])) {
        std::vector<const EncodedPair *> encoded;
        for (int32_t pair : pairs) encoded.push_back(&pairs_[size_t(pair)]);
        Ubatch out = bge::pack(encoded, share_prefix, lookup);
        out.keep_states = !in_last_part();
        return out;
    }
    Ubatch out;
    out.first_layer = stages_[part_ - 1].layer;
    out.keep_states = !in_last_part();
    Rows & rows = out.rows;
    const auto append = [&](Span span, const Values & values) {
        span.begin = rows.n_rows;
        rows.spans.push_back(span);
        rows.n_rows += span.n;
        out.states.insert(out.states.end(), values.begin(), values.end());
    };
    std::vector<const PrefixState *> prefixes;
    PrefixUse use = lookup.use;
    use.first_layer = out.first_layer;
    const auto find = [&](const State & state) { return std::find(prefixes.begin(), prefixes.end(), state.prefix.get()); };
    for (int32_t pair : pairs) {
        const State & state = *states_[size_t(pair)];
        if (!state.prefix || find(state) != prefixes.end()) continue;
        prefixes.push_back(state.prefix.get());
        Span span;
        if (state.prefix->keys) {
            rows.prefix_keys.push_back(lookup.cache->go_on(*state.prefix->keys, use));
            span.n_prefix = rows.prefix_keys.back()->n_kept;
        }
        span.n = span.query_length = state.span.n_prefix - span.n_prefix;
        append(span, state.prefix->rows);
    }
    rows.n_prefixes = int32_t(prefixes.size());
    for (int32_t pair : pairs) {
        const State & state = *states_[size_t(pair)];
        Span span = state.span;
        if (state.prefix) span.prefix = int32_t(find(state) - prefixes.begin());
        append(span, state.rows);
    }
    return out;
}

void Cascade::keep_states(int32_t pair, const Span & span, const Rows & rows, const Values & states) {
    const auto values = [&](const Span & s) { return Values(states.begin() + s.begin * n_embd_, states.begin() + (s.begin + s.n) * n_embd_); };
    hold(pair, nullptr);
    if ((n_values_ + size_t(span.n) * size_t(n_embd_)) * sizeof(float) > max_state_bytes_) return;
    auto state = std::make_shared<State>();
    state->span = span;
    state->rows = values(span);
    if (span.prefix >= 0) {
        const auto same = [&](const Prefix & p) { return same_query(pairs_[size_t(p.pair)], pairs_[size_t(pair)]); };
        auto found = std::find_if(prefixes_.begin(), prefixes_.end(), same);
        if (found == prefixes_.end()) {
            const size_t prefix = size_t(span.prefix);
            const auto keys = rows.prefix_keys.empty() ? nullptr : rows.prefix_keys[prefix];
            found = prefixes_.insert(found, {pair, std::make_shared<const PrefixState>(PrefixState{values(rows.spans[prefix]), keys})});
        }
        state->prefix = found->state;
    }
    hold(pair, std::move(state));
}

void Cascade::hold(int32_t pair, std::shared_ptr<State> state) {
    auto & held = states_[size_t(pair)];
    if (held) n_values_ -= held->rows.size();
    if (state) n_values_ += state->rows.size();
    held = std::move(state);
}

std::vector<int32_t> Cascade::add(const std::vector<int32_t> & pairs, const float * logits, const Rows & rows, const std::vector<float> & states) {
    n_embd_ = int64_t(states.size()) / rows.n_rows;
    for (size_t i = 0; i < pairs.size(); i++) {
        keep_states(pairs[i], rows.spans[size_t(rows.n_prefixes) + i], rows, states);
        best_.push_back({pairs[i], logits[i]});
    }
    n_left_ -= pairs.size();
    std::sort(best_.begin(), best_.end(), [](const Ranked & a, const Ranked & b) { return a.logit != b.logit ? a.logit > b.logit : a.pair < b.pair; });
    std::vector<int32_t> out;
    for (size_t i = size_t(stages_[part_].keep); i < best_.size(); i++) {
        out.push_back(best_[i].pair);
        hold(best_[i].pair, nullptr);
    }
    best_.resize(std::min(best_.size(), size_t(stages_[part_].keep)));
    return out;
}

std::vector<int32_t> Cascade::advance() {
    std::vector<int32_t> out;
    for (const Ranked & ranked : best_) out.push_back(ranked.pair);
    std::sort(out.begin(), out.end());
    n_left_ = out.size();
    best_.clear();
    prefixes_.clear();
    part_++;
    return out;
}

} // namespace bge
