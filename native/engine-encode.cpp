// Engine: a request checked against the model, and its texts encoded to the pairs of ids that the model is fed.
#include "engine.h"
#include <algorithm>
#include <cmath>
#include <numeric>

namespace bge {

EncodedPair Engine::encode(const std::string & query, const std::string & document, const LengthLimits & limits, bool parse_special) const {
    if (options_.layout.kind == InputLayout::Kind::chat) {
        const PairTemplate pair(*tokenizer_, limits.parts, parse_special);
        const size_t max_length = size_t(limits.max_length);
        return pair.encode(pair.encode_query(query, max_length), query, document, max_length);
    }
    const auto ids = [&](const std::string & text, size_t limit) { return tokenizer_->encode(text, {parse_special, limit}); };
    return encode(query, ids(query, limits.query_ids()), document, ids(document, limits.document_ids()), limits, parse_special);
}

// The ids may end where no more are needed, but for the rare pair whose cut depends on how long the texts really are.
EncodedPair Engine::encode(const std::string & query, const std::vector<int32_t> & query_ids, const std::string & document, const std::vector<int32_t> & document_ids,
                           const LengthLimits & limits, bool parse_special) const {
    const auto limited = [&](size_t n) { return std::min(n, size_t(limits.query_max_length)); };
    Longer longer = Longer::unknown;
    if (depends_on_longer(options_.layout, limits, limited(query_ids.size()), document_ids.size())) {
        const auto length = [&](const std::string & text) { return tokenizer_->encode(text, {parse_special, SIZE_MAX}).size(); };
        longer = limited(length(query)) > length(document) ? Longer::query : Longer::document;
    }
    return join(options_.layout, limits, query_ids, document_ids, longer);
}

std::vector<PairSize> Engine::measure(const std::vector<std::string> & texts, const std::vector<int32_t> & pairs, const LengthLimits & limits, bool parse_special) const {
    std::vector<PairSize> out;
    std::string query; // pairs mostly share it
    std::vector<int32_t> query_ids;
    for (size_t i = 0; i < pairs.size(); i += 2) {
        const std::string & of_pair = texts[size_t(pairs[i])], & document = texts[size_t(pairs[i + 1])];
        EncodedPair pair;
        if (options_.layout.kind == InputLayout::Kind::chat) pair = encode(of_pair, document, limits, parse_special);
        else {
            if (i == 0 || of_pair != query) {
                query = of_pair;
                query_ids = tokenizer_->encode(query, {parse_special, limits.query_ids()});
            }
            pair = encode(query, query_ids, document, tokenizer_->encode(document, {parse_special, limits.document_ids()}), limits, parse_special);
        }
        out.push_back({int32_t(pair.ids.size()), pair.query_length, pair.document_length, pair.truncated});
    }
    return out;
}

void Engine::check(const Request & request) const {
    const ArchitectureFacts & a = facts_;
    const ScoreParams & params = request.params;
    for (int32_t layer : params.cutoff_layers) {
        if (layer < 1 || layer > a.n_layer_loaded) throw Error("MODEL_UNSUPPORTED", "Cutoff layer " + std::to_string(layer) + " is not loaded; loaded are layers 1 to " + std::to_string(a.n_layer_loaded));
    }
    for (int32_t head : params.heads) {
        if (head < 0 || head >= a.n_heads) throw Error("MODEL_UNSUPPORTED", "The model has " + std::to_string(a.n_heads) + " heads, not head " + std::to_string(head));
    }
    if (params.heads.size() != params.cutoff_layers.size()) throw Error("MODEL_UNSUPPORTED", "As many heads as cutoff layers are needed");
    if (!std::is_sorted(params.cutoff_layers.begin(), params.cutoff_layers.end()) || params.compress_ratio < 1) throw Error("MODEL_UNSUPPORTED", "Cutoff layers must ascend and the compress ratio be positive");
    if (!request.cascade.empty() && !a.resumable) throw Error("MODEL_UNSUPPORTED", "A cascade needs a model with cutoff layers");
    Cascade::check(request.cascade, params);
}

// In parallel; the first that fails speaks for all.
void Engine::for_each_text(const Job & job, size_t n, const std::function<void(size_t)> & encode) {
    std::vector<std::exception_ptr> failures(n);
    pool().parallel_for(int(n), [&](int i, int) {
        if (job.cancelled || abandoned_) return;
        try {
            encode(size_t(i));
        } catch (...) {
            failures[size_t(i)] = std::current_exception();
        }
    });
    for (const auto & failure : failures) if (failure) std::rethrow_exception(failure);
}

// Each distinct text is encoded once, up to what its longest use keeps and one id more, which tells a cut.
std::vector<EncodedPair> Engine::encode_texts(const Job & job) {
    const Request & r = job.request;
    std::vector<size_t> limit(r.texts.size(), 0);
    for (size_t i = 0; i < r.pairs.size(); i++) {
        limit[r.pairs[i]] = std::max(limit[r.pairs[i]], i % 2 == 0 ? r.limits.query_ids() : r.limits.document_ids());
    }
    for (size_t i = 1; i < r.windows.size(); i += 2) limit[r.pairs[i]] = std::max(limit[r.pairs[i]], size_t(r.windows[i]));
    std::vector<std::vector<int32_t>> ids(r.texts.size());
    for_each_text(job, r.texts.size(), [&](size_t i) { ids[i] = tokenizer_->encode(r.texts[i], {r.parse_special, limit[i]}); });
    std::vector<EncodedPair> out;
    if (job.cancelled || abandoned_) return out;
    for (size_t i = 0; i < r.pairs.size(); i += 2) {
        const int32_t query = r.pairs[i], document = r.pairs[i + 1];
        if (!r.windows.empty()) {
            const size_t n = ids[document].size(), end = std::min(n, size_t(r.windows[i + 1])), begin = std::min(end, size_t(r.windows[i]));
            out.push_back(join(options_.layout, r.limits, ids[query], {ids[document].begin() + begin, ids[document].begin() + end}));
            continue;
        }
        out.push_back(encode(r.texts[query], ids[query], r.texts[document], ids[document], r.limits, r.parse_special));
    }
    return out;
}

// Tokens form across the seams of a template, so each pair is encoded as a whole.
std::vector<EncodedPair> Engine::encode_chat(const Job & job) {
    const Request & r = job.request;
    const PairTemplate pair(*tokenizer_, r.limits.parts, r.parse_special);
    const size_t max_length = size_t(r.limits.max_length);
    std::vector<std::vector<int32_t>> beginnings(r.texts.size());
    for (size_t i = 0; i < r.pairs.size(); i += 2) beginnings[size_t(r.pairs[i])] = {0}; // to be filled in
    for_each_text(job, r.texts.size(), [&](size_t i) { if (!beginnings[i].empty()) beginnings[i] = pair.encode_query(r.texts[i], max_length); });
    std::vector<EncodedPair> out(r.pairs.size() / 2);
    for_each_text(job, out.size(), [&](size_t i) {
        const int32_t query = r.pairs[2 * i], document = r.pairs[2 * i + 1];
        out[i] = pair.encode(beginnings[size_t(query)], r.texts[size_t(query)], r.texts[size_t(document)], max_length);
    });
    return out;
}

void Engine::prepare(Job & job) {
    const Request & r = job.request;
    const size_t n_pairs = r.pairs.size() / 2;
    std::vector<EncodedPair> encoded = options_.layout.kind == InputLayout::Kind::chat ? encode_chat(job) : encode_texts(job);
    if (job.cancelled || abandoned_) return; // finish_jobs() takes it out

    job.encoded.reserve(n_pairs);
    for (size_t i = 0; i < n_pairs; i++) {
        EncodedPair & pair = encoded[i];
        const int64_t n = int64_t(pair.ids.size());
        if (facts_.n_ctx > 0 && n > facts_.n_ctx) {
            throw Error("INPUT_TOO_LONG", "Pair " + std::to_string(i) + " has " + std::to_string(n) + " tokens, but the model has " + std::to_string(facts_.n_ctx) +
                        " positions; set maxLength to at most " + std::to_string(facts_.n_ctx) + " and queryMaxLength below it");
        }
        if (options_.max_graph_tokens > 0 && n > options_.max_graph_tokens) {
            throw Error("OUT_OF_MEMORY", "Pair " + std::to_string(i) + " has " + std::to_string(n) + " tokens, but maxMemory leaves room to compute " +
                        std::to_string(options_.max_graph_tokens) + " at once; lower maxLength or raise maxMemory");
        }
        if (r.fail_on_truncation && pair.truncated) {
            throw Error("TRUNCATED", "Pair " + std::to_string(i) + ": the " + (pair.truncated & 1 ? "query" : "document") + " does not fit " + std::to_string(r.limits.max_length) +
                        " tokens; raise maxLength or shorten it");
        }
        for (int32_t id : pair.ids) {
            if (id < 0 || id >= facts_.n_vocab) throw Error("MODEL_INVALID", file_->path() + ": the tokenizer gives id " + std::to_string(id) + ", the model knows " + std::to_string(facts_.n_vocab));
        }
        job.response.tokens.push_back(int32_t(n));
        job.response.truncated.push_back(pair.truncated);
        job.encoded.push_back(std::move(pair));
    }
    stats_.add_truncated(std::count_if(job.encoded.begin(), job.encoded.end(), [](const EncodedPair & pair) { return pair.truncated != 0; }));
    job.response.logits.assign(n_pairs * r.params.n_cutoffs(), NAN);
    job.order.resize(n_pairs);
    std::iota(job.order.begin(), job.order.end(), 0);
    std::stable_sort(job.order.begin(), job.order.end(), [&](int32_t a, int32_t b) { return job.encoded[a].ids.size() > job.encoded[b].ids.size(); });
    queue_rest(job);
    if (!r.cascade.empty()) {
        const size_t max_state_bytes = options_.max_state_bytes > 0 ? size_t(options_.max_state_bytes) : Cascade::default_state_bytes;
        job.cascade = std::make_unique<Cascade>(r.cascade, r.params, job.encoded, std::min(max_state_bytes, Cascade::default_state_bytes));
    }
    job.request.texts.clear();
    job.request.texts.shrink_to_fit();
}

} // namespace bge
