#include "engine.h"
#include "running-engines.h"
#include "vocabulary.h"
#include <algorithm>
#include <chrono>
#include <future>
#include <system_error>

namespace bge {

// Tokens in one graph. On the CPU small enough for activations to stay in the cache and for a cancel to be noticed,
// large enough to amortise reading the weights.
constexpr int64_t cpu_ubatch_tokens = 1024;
constexpr int64_t gpu_ubatch_tokens = 4096;
// Stock ggml attends sequence by sequence with about twenty nodes each.
constexpr int64_t max_seqs_without_kernels = 32;

// Before anything is encoded: about four bytes a token, as far as the model reads.
static int64_t estimated_tokens(const Request & r) {
    int64_t total = 0;
    for (size_t i = 0; i < r.pairs.size(); i += 2) {
        const auto tokens = [&](int32_t text, int32_t limit) { return std::min(int64_t(r.texts[size_t(text)].size() / 4 + 1), int64_t(limit)); };
        total += std::min<int64_t>(tokens(r.pairs[i], r.limits.query_max_length) + tokens(r.pairs[i + 1], r.limits.max_length), r.limits.max_length);
    }
    return total;
}

// Tables of Unicode are made on first use: the first call need not wait for them.
static std::unique_ptr<Tokenizer> ready_tokenizer(const ModelFile & file, const TokenizerSpec & spec) {
    std::unique_ptr<Tokenizer> tokenizer = Tokenizer::create(read_vocabulary(file), spec);
    try {
        tokenizer->encode("\u00c4 b", {false, SIZE_MAX});
    } catch (const Error &) { // such a text has no ids; calls with one say so
    }
    return tokenizer;
}

Engine::Engine(std::shared_ptr<ModelFile> file, const EngineOptions & options) try : file_(std::move(file)), options_(options) {
    // Its tables take one thread about as long as the weights take all.
    std::future<std::unique_ptr<Tokenizer>> tokenizer = std::async(std::launch::async, [&] { return ready_tokenizer(*file_, options.tokenizer); });
    options_.tokenizer = {}; // large, and not needed again
    backend_ = std::make_unique<Backend>(options.device, options.n_threads, options.watched);
    if (!backend_->kernels()) tokenizer_pool_ = std::make_unique<cpu::ThreadPool>(options.n_threads > 0 ? options.n_threads : cpu::physical_cores());
    finite_ = std::make_unique<FiniteCheck>(*file_, pool());
    load_weights();
    tokenizer_ = tokenizer.get();
    file_->require_unchanged();
    facts_ = *architecture_;
    weights_size_ = weights_->size_bytes();
    // Elsewhere rows would have to be read from the device and written again.
    if (options_.max_prefix_bytes > 0 && facts_.causal && backend_->kernels()) prefixes_ = std::make_unique<PrefixCache>(size_t(options_.max_prefix_bytes), facts_.n_embd_kv);
    const InputLayout & layout = options_.layout;
    for (const auto * ids : {&layout.before, &layout.between, &layout.after, &layout.bos}) {
        for (int32_t id : *ids) {
            if (id < 0 || id >= facts_.n_vocab) throw Error("MODEL_INVALID", file_->path() + ": special token id " + std::to_string(id) + " is not in the vocabulary");
        }
    }
    cpu::trim_heap(); // of what only loading took
    static std::once_flag loaded;
    std::call_once(loaded, stop_engines_before_exit);
    add_running(this);
    try {
        thread_ = std::thread([this] { run(); });
    } catch (...) {
        remove_running(this);
        throw;
    }
} catch (const std::system_error & e) { // of a std::thread
    throw Error("OUT_OF_MEMORY", std::string("The system starts no more threads (") + e.what() + "): raise the limit of processes (`ulimit -u`, or the container's pids) or load with fewer `threads`");
}

Engine::~Engine() {
    remove_running(this);
    abandon();
}

void Engine::submit(std::shared_ptr<Job> job) {
    check(job->request);
    const int64_t tokens = estimated_tokens(job->request);
    {
        std::lock_guard<std::mutex> lock(mutex_);
        if (closing_ || abandoned_) throw Error("CLOSED", "The model is closed");
        stats_.enter(job->queued, int64_t(job->request.pairs.size() / 2), tokens);
        incoming_.push_back(std::move(job));
    }
    wake_.notify_one();
}

void Engine::cancel(Job & job) {
    job.cancelled = true;
    std::lock_guard<std::mutex> lock(mutex_);
    const auto cancelled = [](const Job * at_work) { return at_work->cancelled.load(); };
    if (!at_work_.empty() && std::all_of(at_work_.begin(), at_work_.end(), cancelled)) backend_->interrupt();
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
                fail(*job, e);
            } catch (const std::exception & e) {
                fail(*job, Error("OUT_OF_MEMORY", std::string("The texts could not be encoded: ") + e.what()));
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
        weights_ = std::make_unique<Weights>(file_, *backend_, options_.weight_mode, *finite_, abandoned_);
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
    if (prefixes_) prefixes_->clear();
    architecture_.reset();
    weights_.reset();
    backend_->release_buffers();
    file_->file().drop(0, file_->file().size());
    cpu::trim_heap();
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
                stats_.take(job->queued, job->response.tokens[slots.back().pair]);
            }
        }
    }
    return slots;
}

// While it lives, cancel() may interrupt the batch.
struct Engine::AtWork {
    AtWork(Engine & engine, const std::vector<Slot> & slots) : engine(engine) {
        std::lock_guard<std::mutex> lock(engine.mutex_);
        for (const Slot & slot : slots) engine.at_work_.insert(slot.job);
    }
    ~AtWork() {
        std::lock_guard<std::mutex> lock(engine.mutex_);
        engine.at_work_.clear();
        engine.backend_->resume();
    }
    Engine & engine;
};

bool Engine::step() {
    if (active_.empty()) return false;
    int64_t max_tokens = backend_->is_cpu() ? cpu_ubatch_tokens : gpu_ubatch_tokens;
    if (options_.max_graph_tokens > 0) max_tokens = std::min<int64_t>(max_tokens, options_.max_graph_tokens);
    const std::vector<Slot> slots = fill(max_tokens);
    const auto begin = std::chrono::steady_clock::now();
    const auto end_batch = [&](bool computed) {
        stats_.end_batch(computed, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
    };
    try {
        file_->require_unchanged();
        load_weights();
        const AtWork at_work(*this, slots);
        compute(slots);
        end_batch(true);
    } catch (const Error & e) {
        end_batch(false);
        fail(slots, e);
        return true;
    } catch (const std::exception & e) {
        end_batch(false);
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
        fail(*failed, error);
    }
}

void Engine::fail(Job & job, const Error & error) {
    stats_.leave(job.queued);
    job.on_error(error);
}

void Engine::answer(Job & job) {
    stats_.leave(job.queued);
    job.on_done(std::move(job.response));
}

void Engine::queue_rest(Job & job) {
    int64_t tokens = 0;
    for (int32_t pair : job.order) tokens += job.response.tokens[pair];
    stats_.update(job.queued, int64_t(job.order.size()), tokens);
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
        if (complete) answer(*job);
        else fail(*job, abandoned_ ? Error("CLOSED", "The model was closed before this call was done") : Error("CANCELLED", "The call was cancelled"));
    }
}

} // namespace bge
