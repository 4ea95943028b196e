#include "engine.h"
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <set>

namespace bge {

// Tokens in one graph. On the CPU small enough for activations to stay in the cache and for a cancel to be noticed,
// large enough to amortise reading the weights.
constexpr int64_t cpu_ubatch_tokens = 1024;
constexpr int64_t gpu_ubatch_tokens = 4096;
// Stock ggml attends sequence by sequence with about twenty nodes each.
constexpr int64_t max_seqs_without_kernels = 32;

namespace {

// process.exit() runs no cleanup hook of Node's main environment: exit() destroys ggml's static objects while an engine
// may still compute on its thread. So all engines are stopped first, by a handler that is registered after ggml made
// those objects. They are per process, not per environment, and must outlive every other static: never destroyed.
struct Running {
    std::mutex mutex;
    std::set<Engine *> engines;
};

Running & running() {
    static Running * all = new Running;
    return *all;
}

void stop_before_exit() {
    std::atexit([] {
        std::lock_guard<std::mutex> lock(running().mutex);
        for (Engine * engine : running().engines) engine->abandon();
    });
}

} // namespace

Vocabulary read_vocabulary(const ModelFile & file) {
    Vocabulary out;
    out.pieces = file.texts("tokenizer.ggml.tokens");
    if (file.has("tokenizer.ggml.scores")) out.scores = file.floats("tokenizer.ggml.scores");
    if (file.has("tokenizer.ggml.token_type")) out.types = file.integers("tokenizer.ggml.token_type");
    if (file.has("tokenizer.ggml.precompiled_charsmap")) out.charsmap = file.bytes("tokenizer.ggml.precompiled_charsmap");
    if (file.has("tokenizer.ggml.merges")) out.merges = file.texts("tokenizer.ggml.merges");
    out.unknown_id = int32_t(file.u32("tokenizer.ggml.unknown_token_id", uint32_t(-1)));
    return out;
}

Engine::Engine(std::shared_ptr<ModelFile> file, const EngineOptions & options) : file_(std::move(file)), options_(options) {
    tokenizer_ = Tokenizer::create(read_vocabulary(*file_), options.tokenizer);
    options_.tokenizer = {}; // large, and not needed again
    backend_ = std::make_unique<Backend>(options.device, options.n_threads);
    if (!backend_->kernels()) tokenizer_pool_ = std::make_unique<cpu::ThreadPool>(options.n_threads > 0 ? options.n_threads : cpu::physical_cores());
    load_weights();
    facts_ = *architecture_;
    weights_size_ = weights_->size_bytes();
    const InputLayout & layout = options_.layout;
    for (const auto * ids : {&layout.before, &layout.between, &layout.after, &layout.bos}) {
        for (int32_t id : *ids) {
            if (id < 0 || id >= facts_.n_vocab) throw Error("MODEL_INVALID", file_->path() + ": special token id " + std::to_string(id) + " is not in the vocabulary");
        }
    }
    cpu::trim_heap(); // of what only loading took
    {
        std::lock_guard<std::mutex> lock(running().mutex);
        running().engines.insert(this);
    }
    static std::once_flag loaded;
    std::call_once(loaded, stop_before_exit);
    thread_ = std::thread([this] { run(); });
}

Engine::~Engine() {
    {
        std::lock_guard<std::mutex> lock(running().mutex);
        running().engines.erase(this);
    }
    abandon();
}

void Engine::submit(std::shared_ptr<Job> job) {
    check(job->request);
    {
        std::lock_guard<std::mutex> lock(mutex_);
        if (closing_ || abandoned_) throw Error("CLOSED", "The model is closed");
        incoming_.push_back(std::move(job));
    }
    wake_.notify_one();
}

void Engine::close() {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        closing_ = true;
    }
    wake_.notify_one();
    std::lock_guard<std::mutex> join(join_);
    if (thread_.joinable()) thread_.join();
}

void Engine::close(std::function<void()> on_closed) {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        closing_ = true;
        on_closed_ = std::move(on_closed);
    }
    wake_.notify_one();
}

void Engine::abandon() {
    abandoned_ = true;
    backend_->abort();
    close();
}

EncodedPair Engine::encode(const std::string & query, const std::string & document, const LengthLimits & limits, bool parse_special) const {
    const auto ids = [&](const std::string & text, int32_t limit) { return tokenizer_->encode(text, {parse_special, size_t(limit) + 1}); };
    return join(options_.layout, limits, ids(query, limits.query_max_length), ids(document, limits.max_length));
}

void Engine::run() {
    const auto has_work = [&] { return closing_ || !incoming_.empty() || !active_.empty(); };
    const std::chrono::milliseconds keep_alive(options_.keep_alive_ms);
    for (;;) {
        std::deque<std::shared_ptr<Job>> incoming;
        {
            std::unique_lock<std::mutex> lock(mutex_);
            if (!weights_loaded_ || options_.keep_alive_ms < 0) wake_.wait(lock, has_work);
            else if (!wake_.wait_for(lock, keep_alive, has_work)) {
                lock.unlock();
                release_weights();
                continue;
            }
            if (closing_ && incoming_.empty() && active_.empty()) break;
            incoming.swap(incoming_);
        }
        for (auto & job : incoming) {
            try {
                if (!job->cancelled && !abandoned_) prepare(*job);
                active_.push_back(job);
            } catch (const Error & e) {
                job->on_error(e);
            } catch (const std::exception & e) {
                job->on_error(Error("OUT_OF_MEMORY", std::string("The texts could not be encoded: ") + e.what()));
            }
        }
        finish_jobs();
        while (step()) {
            finish_jobs();
            std::lock_guard<std::mutex> lock(mutex_);
            if (!incoming_.empty()) break;
        }
    }
    release_weights(); // here, since unmapping gigabytes takes a while
    std::unique_lock<std::mutex> lock(mutex_);
    const std::function<void()> on_closed = std::move(on_closed_);
    lock.unlock();
    if (on_closed) on_closed();
}

void Engine::load_weights() {
    if (weights_loaded_) return;
    try {
        weights_ = std::make_unique<Weights>(file_, *backend_, options_.weight_mode, abandoned_);
        architecture_ = load_architecture(*weights_, options_.architecture);
        weights_->finish();
        weights_loaded_ = true;
    } catch (const std::bad_alloc &) {
        release_weights();
        throw Error("OUT_OF_MEMORY", "There is no memory left for the weights of " + file_->path());
    } catch (...) {
        release_weights();
        throw;
    }
}

void Engine::release_weights() {
    weights_loaded_ = false;
    architecture_.reset();
    weights_.reset();
    backend_->release_buffers();
    file_->file().drop(0, file_->file().size());
    cpu::trim_heap();
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

void Engine::prepare(Job & job) {
    const Request & r = job.request;
    const size_t n_pairs = r.pairs.size() / 2;
    // Each distinct text is encoded once, up to what its longest use keeps and one id more, which tells a cut.
    std::vector<size_t> limit(r.texts.size(), 0);
    for (size_t i = 0; i < n_pairs; i++) {
        limit[r.pairs[2 * i]] = std::max(limit[r.pairs[2 * i]], size_t(r.limits.query_max_length) + 1);
        limit[r.pairs[2 * i + 1]] = std::max(limit[r.pairs[2 * i + 1]], size_t(r.limits.max_length) + 1);
    }
    std::vector<std::vector<int32_t>> ids(r.texts.size());
    std::vector<std::exception_ptr> failures(r.texts.size());
    pool().parallel_for(int(r.texts.size()), [&](int i, int) {
        if (job.cancelled || abandoned_) return;
        try {
            ids[i] = tokenizer_->encode(r.texts[i], {r.parse_special, limit[i]});
        } catch (...) {
            failures[i] = std::current_exception();
        }
    });
    for (const auto & failure : failures) if (failure) std::rethrow_exception(failure);
    if (job.cancelled || abandoned_) return; // finish_jobs() takes it out

    job.encoded.reserve(n_pairs);
    for (size_t i = 0; i < n_pairs; i++) {
        EncodedPair pair = join(options_.layout, r.limits, ids[r.pairs[2 * i]], ids[r.pairs[2 * i + 1]]);
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
    job.response.logits.assign(n_pairs * r.params.n_cutoffs(), NAN);
    job.order.resize(n_pairs);
    std::iota(job.order.begin(), job.order.end(), 0);
    std::stable_sort(job.order.begin(), job.order.end(), [&](int32_t a, int32_t b) { return job.encoded[a].ids.size() > job.encoded[b].ids.size(); });
    if (!r.cascade.empty()) {
        const size_t max_state_bytes = options_.max_state_bytes > 0 ? size_t(options_.max_state_bytes) : Cascade::default_state_bytes;
        job.cascade = std::make_unique<Cascade>(r.cascade, r.params, job.encoded, std::min(max_state_bytes, Cascade::default_state_bytes));
    }
    job.request.texts.clear();
    job.request.texts.shrink_to_fit();
}

std::vector<Engine::Slot> Engine::fill(int64_t max_tokens) {
    Job & front = *active_.front();
    std::vector<Job *> group;
    int64_t max_pairs = backend_->kernels() ? 0 : max_seqs_without_kernels;
    for (auto & job : active_) {
        const Request & r = job->request;
        if (job.get() != &front && (job->cascade || front.cascade)) continue; // a cascade keeps states and runs alone
        if (!(r.params == front.request.params) || r.share_prefix != front.request.share_prefix) continue;
        group.push_back(job.get());
        if (r.batch_size > 0) max_pairs = max_pairs ? std::min<int64_t>(max_pairs, r.batch_size) : r.batch_size;
        if (r.max_batch_tokens > 0) max_tokens = std::min<int64_t>(max_tokens, r.max_batch_tokens);
    }
    TokenBudget budget(max_tokens, max_pairs, front.request.share_prefix && facts_.causal);
    std::vector<Slot> slots;
    // Every job gets a fair share first, so that a large one does not hold small ones up; what is left goes in order.
    const int64_t share = std::max<int64_t>(1, max_tokens / int64_t(group.size()));
    for (int round = 0; round < 2; round++) {
        for (Job * job : group) {
            const int64_t limit = round == 0 ? budget.n_tokens() + share : max_tokens;
            const auto fits_cascade = [&] {
                return !job->cascade || slots.empty() || job->cascade->has_states(job->order[job->next]) == job->cascade->has_states(slots[0].pair);
            };
            while (job->next < job->order.size() && fits_cascade() && (budget.n_tokens() < limit) && budget.take(job->encoded[job->order[job->next]])) {
                slots.push_back({job, job->order[job->next++]});
            }
        }
    }
    return slots;
}

bool Engine::step() {
    if (active_.empty()) return false;
    int64_t max_tokens = backend_->is_cpu() ? cpu_ubatch_tokens : gpu_ubatch_tokens;
    if (options_.max_graph_tokens > 0) max_tokens = std::min<int64_t>(max_tokens, options_.max_graph_tokens);
    const std::vector<Slot> slots = fill(max_tokens);
    try {
        load_weights();
        compute(slots);
    } catch (const Error & e) {
        fail(slots, e);
        return true;
    } catch (const std::exception & e) {
        fail(slots, Error("COMPUTE_FAILED", e.what()));
        return true;
    }
    if (active_.size() > 1) { // the next group's turn
        active_.push_back(std::move(active_.front()));
        active_.pop_front();
    }
    return true;
}

// Takes out the jobs that the slots belong to.
void Engine::fail(const std::vector<Slot> & slots, const Error & error) {
    for (const Slot & slot : slots) {
        const auto found = std::find_if(active_.begin(), active_.end(), [&](const auto & a) { return a.get() == slot.job; });
        if (found == active_.end()) continue;
        const std::shared_ptr<Job> failed = *found;
        active_.erase(found);
        failed->on_error(error);
    }
}

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
    Computed computed;
    try {
        computed = compute(cascade ? cascade->pack(numbers, share_prefix) : pack(pairs, share_prefix), params);
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
    std::stable_sort(job.order.begin(), job.order.end(), [&](int32_t a, int32_t b) { return job.encoded[a].ids.size() > job.encoded[b].ids.size(); });
}

Engine::Computed Engine::compute(const Ubatch & ubatch, const ScoreParams & params) try {
    const size_t per_seq = backend_->kernels() ? 0 : 32;
    GraphBuilder g(*backend_, 256 + size_t(architecture_->n_layer) * (64 + per_seq * ubatch.rows.spans.size()), /*flash_attention*/ !backend_->is_cpu() && !weights_->is_f32());
    Forward forward = architecture_->build(g, ubatch, params);
    g.output(forward.logits);
    if (forward.states) g.output(forward.states);
    backend_->compute(g.graph(), [&] { g.set_inputs(); });
    static std::once_flag computed; // some static objects of ggml are made by the first graph
    std::call_once(computed, stop_before_exit);
    g.rethrow();
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

// Takes out the jobs that are complete, cancelled or abandoned.
void Engine::finish_jobs() {
    for (size_t i = 0; i < active_.size();) {
        const std::shared_ptr<Job> job = active_[i];
        const bool complete = job->n_done == job->encoded.size() && !job->cancelled && !abandoned_;
        if (!complete && !job->cancelled && !abandoned_) {
            i++;
            continue;
        }
        active_.erase(active_.begin() + i);
        if (complete) job->on_done(std::move(job->response));
        else job->on_error(abandoned_ ? Error("CLOSED", "The model was closed before this call was done") : Error("CANCELLED", "The call was cancelled"));
    }
}

} // namespace bge
