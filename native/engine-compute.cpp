// Engine: from the pairs of one ubatch to their logits.
#include "engine.h"
#include "graph.h"
#include "running-engines.h"
#include <algorithm>
#include <cmath>
#include <mutex>

namespace bge {

void Engine::compute(const std::vector<Slot> & slots) {
    Job & front = *slots[0].job;
    Cascade * cascade = front.cascade.get(); // all slots are this job's then
    const ScoreParams params = cascade ? cascade->params() : front.request.params;
    const int32_t first_cutoff = cascade ? cascade->first_cutoff() : 0;
    const bool share_prefix = front.request.share_prefix && facts_.causal;
    std::vector<const EncodedPair *> pairs;
    std::vector<int32_t> numbers;
    for (const Slot & slot : slots) {
        pairs.push_back(&slot.job->encoded[slot.pair]);
        numbers.push_back(slot.pair);
    }
    const PrefixLookup lookup = prefix_lookup(params, front.request.params);
    Computed computed;
    try {
        computed = compute(cascade ? cascade->pack(numbers, share_prefix, lookup) : pack(pairs, share_prefix, lookup), params);
    } catch (const Error & e) {
        if (std::string(e.code) != "OUT_OF_MEMORY" || slots.size() == 1) throw;
        const auto half = slots.begin() + slots.size() / 2;
        compute(std::vector<Slot>(slots.begin(), half));
        compute(std::vector<Slot>(half, slots.end()));
        return;
    }
    for (size_t i = 0; i < slots.size(); i++) {
        Job & job = *slots[i].job;
        for (int32_t c = 0; c < params.n_cutoffs(); c++) {
            const float logit = computed.logits[c * slots.size() + i];
            if (!std::isfinite(logit)) {
                throw Error("COMPUTE_FAILED", "Pair " + std::to_string(slots[i].pair) + " gives a logit that is not a number; the weights of " + file_->path() + " are damaged or overflow their type");
            }
            job.response.logits[(first_cutoff + c) * job.encoded.size() + slots[i].pair] = logit;
        }
        if (cascade) continue;
        job.n_done++;
        std::vector<int32_t>().swap(job.encoded[slots[i].pair].ids);
    }
    if (cascade) go_on(front, numbers, computed);
    Job * reported = nullptr;
    for (const Slot & slot : slots) {
        if (slot.job == reported) continue; // slots of one job stand together, but for the second round of fill()
        reported = slot.job;
        if (reported->on_progress) reported->on_progress(reported->n_done, reported->encoded.size());
    }
}

PrefixLookup Engine::prefix_lookup(const ScoreParams & part, const ScoreParams & whole) const {
    const auto last = [&](const ScoreParams & params) { return params.cutoff_layers.empty() ? facts_.n_layer_loaded : params.cutoff_layers.back(); };
    PrefixLookup out;
    out.cache = prefixes_.get();
    out.use.n_layers = last(part);
    out.use.n_layers_later = last(whole);
    out.use.soft_cap = whole.attention_soft_cap;
    return out;
}

// Pairs are done when a cascade drops them, or at its end.
void Engine::go_on(Job & job, const std::vector<int32_t> & pairs, const Computed & computed) {
    Cascade & cascade = *job.cascade;
    if (cascade.in_last_part()) {
        job.n_done += pairs.size();
        return;
    }
    const float * ranked_by = computed.logits.data() + computed.logits.size() - pairs.size();
    job.n_done += cascade.add(pairs, ranked_by, computed.rows, computed.states).size();
    if (!cascade.stage_done()) return;
    job.order = cascade.advance();
    job.next = 0;
    queue_rest(job);
    std::stable_sort(job.order.begin(), job.order.end(), [&](int32_t a, int32_t b) { return job.encoded[a].ids.size() > job.encoded[b].ids.size(); });
}

Engine::Computed Engine::compute(const Ubatch & ubatch, const ScoreParams & params) try {
    const size_t per_seq = backend_->kernels() ? 0 : 48, watchers = backend_->importance() ? 16 : 0;
    GraphBuilder g(*backend_, 256 + size_t(architecture_->n_layer) * (64 + watchers + per_seq * ubatch.rows.spans.size()), /*flash_attention*/ !backend_->is_cpu() && !weights_->is_f32());
    Forward forward = architecture_->build(g, ubatch, params);
    g.output(forward.logits);
    if (forward.states) g.output(forward.states);
    backend_->compute(g.graph(), [&] { g.set_inputs(); });
    static std::once_flag computed; // some static objects of ggml are made by the first graph
    std::call_once(computed, stop_engines_before_exit);
    g.rethrow();
    file_->require_unchanged(); // tables are read where they lie in it
    for (const auto & keys : ubatch.rows.prefix_keys) prefixes_->keep(keys);
    const auto read = [](const ggml_tensor * t, std::vector<float> & out) {
        out.resize(size_t(ggml_nelements(t)));
        ggml_backend_tensor_get(t, out.data(), 0, out.size() * sizeof(float));
    };
    Computed out;
    read(forward.logits, out.logits);
    if (forward.states) read(forward.states, out.states);
    out.rows = std::move(forward.rows);
    return out;
} catch (const std::bad_alloc &) {
    throw Error("OUT_OF_MEMORY", "Not enough memory for one batch; lower maxBatchTokens or maxLength");
}

} // namespace bge
