// Engine: one loaded model. Calls are queued; its thread encodes their texts, merges pairs of all calls that ask the
// same of the graph into shared ubatches, and hands every call its own logits in its own order.
#pragma once
#include "arch/arch.h"
#include "backend.h"
#include "cascade.h"
#include "engine-stats.h"
#include "error.h"
#include "input-layout.h"
#include "tokenizer/tokenizer.h"
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace bge {

struct EngineOptions {
    std::string device = "cpu";
    int32_t n_threads = 0; // below 1 = physical cores
    TokenizerSpec tokenizer;
    InputLayout layout;
    ArchitectureOptions architecture;
    cpu::WeightMode weight_mode = cpu::WeightMode::native;
    int32_t max_graph_tokens = 0; // most tokens of one graph, a lone pair's too: what memory allows; 0 = no limit
    int64_t max_state_bytes = 0;  // of hidden states that a cascade keeps; 0 = its own limit
    int64_t max_prefix_bytes = 0; // of keys and values of what pairs begin with; 0 = none are kept
    int64_t keep_alive_ms = -1;   // idle time after which the weights are released until the next call; below 0 = never
    bool watched = false;         // the importance of the inputs of linear layers is kept; on the CPU
};

struct Request {
    std::vector<std::string> texts; // distinct, UTF-8
    std::vector<int32_t> pairs;     // query and document, as indices into texts: two a pair
    std::vector<int32_t> windows;   // ids of the document that are read, first and end: two a pair; empty = all of every document
    LengthLimits limits;
    ScoreParams params;
    std::vector<CascadeStage> cascade; // none = all pairs run to the last cutoff
    bool parse_special = true;
    bool share_prefix = true;
    bool fail_on_truncation = false;
    int32_t max_batch_tokens = 0; // tokens in one graph; 0 = the engine's choice
    int32_t batch_size = 0;       // pairs in one graph; 0 = no limit
};

struct Response {
    std::vector<float> logits;      // [n_pairs, n_cutoffs], pairs fastest; NaN where a cascade had dropped the pair
    std::vector<int32_t> tokens;    // [n_pairs] as fed to the model
    std::vector<uint8_t> truncated; // [n_pairs] bit 0: query cut, bit 1: document cut
};

struct PairSize {
    int32_t tokens = 0, query_length = 0, document_length = 0;
    uint8_t truncated = 0; // as in Response
};

// One call under way. The callbacks run on the engine's thread.
struct Job {
    Request request;
    std::function<void(size_t done, size_t total)> on_progress;
    std::function<void(Response &&)> on_done; // exactly one of on_done and on_error is called, once
    std::function<void(const Error &)> on_error;
    std::atomic<bool> cancelled{false}; // by Engine::cancel()

    // The engine's own.
    std::vector<EncodedPair> encoded;
    std::vector<int32_t> order; // pairs, longest first
    size_t next = 0, n_done = 0;
    QueueShare queued;
    std::unique_ptr<Cascade> cascade; // then `order` holds the pairs of the stage at work
    Response response;
};

// Has the heap trimmed when it is destroyed.
struct HeapTrim {
    ~HeapTrim() { cpu::trim_heap(); }
};

// The weights may come and go between calls (keep_alive_ms); the file's mapping, its metadata and the tokenizer stay.
class Engine {
public:
    Engine(std::shared_ptr<ModelFile> file, const EngineOptions & options);
    ~Engine(); // abandons what is under way

    void submit(std::shared_ptr<Job> job); // throws Error CLOSED
    void cancel(Job & job);                // what has not started is dropped, a batch for cancelled jobs only stops; on_error gets CANCELLED
    void close();                          // finishes what was submitted, then stops. Idempotent
    void close(std::function<void()> on_closed); // the same without waiting; called once, on the engine's thread, at its end
    void abandon();                        // stops a batch at work; jobs fail with CLOSED

    const ArchitectureFacts & architecture() const { return facts_; }
    const Backend & backend() const { return *backend_; }
    const Tokenizer & tokenizer() const { return *tokenizer_; }
    const ModelFile & file() const { return *file_; }
    const EngineOptions & options() const { return options_; }
    EngineStats stats() const { return stats_.read(); } // from any thread, at any time, as the next
    PrefixStats prefix_stats() const { return prefixes_ ? prefixes_->stats() : PrefixStats(); }
    int64_t max_prefix_bytes() const { return prefixes_ ? options_.max_prefix_bytes : 0; }
    size_t weights_size() const { return weights_size_; } // bytes, loaded or not
    bool weights_loaded() const { return weights_loaded_; }
    EncodedPair encode(const std::string & query, const std::string & document, const LengthLimits & limits, bool parse_special) const;
    // What the pairs of texts come to, without keeping their ids; for pairs that are too long, too.
    std::vector<PairSize> measure(const std::vector<std::string> & texts, const std::vector<int32_t> & pairs, const LengthLimits & limits, bool parse_special) const;
    EncodedPair encode(const std::string & query, const std::vector<int32_t> & query_ids, const std::string & document, const std::vector<int32_t> & document_ids,
                       const LengthLimits & limits, bool parse_special) const;

private:
    struct Slot { Job * job; int32_t pair; }; // one pair of one job inside a ubatch

    void run();
    void load_weights(); // no-op when they are there
    void release_weights();
    std::vector<EncodedPair> encode_texts(const Job & job);
    std::vector<EncodedPair> encode_chat(const Job & job);
    void for_each_text(const Job & job, size_t n, const std::function<void(size_t)> & encode);
    void prepare(Job & job);                     // encodes and checks every pair
    bool step();                                 // computes one ubatch; false when nothing is left to do
    std::vector<Slot> fill(int64_t max_tokens);  // takes pairs off the front job and of those that ask the same
    void fail(const std::vector<Slot> & slots, const Error & error);
    void compute(const std::vector<Slot> & slots);
    struct Computed { std::vector<float> logits, states; Rows rows; }; // logits [n_seqs, n_cutoffs]
    Computed compute(const Ubatch & ubatch, const ScoreParams & params);
    PrefixLookup prefix_lookup(const ScoreParams & part, const ScoreParams & whole) const;
    void go_on(Job & job, const std::vector<int32_t> & pairs, const Computed & computed); // of a cascade
    struct AtWork;
    void finish_jobs();
    void queue_rest(Job & job); // counts the pairs in `order` as queued
    void fail(Job & job, const Error & error);
    void answer(Job & job);
    void check(const Request & request) const;
    cpu::ThreadPool & pool() { return backend_->kernels() ? backend_->kernels()->pool : *tokenizer_pool_; }

    HeapTrim heap_trim_; // first: what else is here is freed by then
    std::shared_ptr<ModelFile> file_;
    EngineOptions options_;
    std::unique_ptr<Tokenizer> tokenizer_;
    std::unique_ptr<Backend> backend_;
    std::unique_ptr<cpu::ThreadPool> tokenizer_pool_; // where the backend has none
    std::unique_ptr<FiniteCheck> finite_;
    std::unique_ptr<Weights> weights_;           // null while released, as is architecture_; engine thread only
    std::unique_ptr<Architecture> architecture_;
    ArchitectureFacts facts_;
    size_t weights_size_ = 0;
    std::atomic<bool> weights_loaded_{false};
    std::unique_ptr<PrefixCache> prefixes_; // null where none are kept

    StatsCounter stats_;
    std::deque<std::shared_ptr<Job>> active_; // engine thread only
    std::mutex mutex_;                        // guards what follows
    std::condition_variable wake_;
    std::deque<std::shared_ptr<Job>> incoming_;
    std::set<Job *> at_work_; // of the batch that computes
    bool closing_ = false;
    std::function<void()> on_closed_;
    std::atomic<bool> abandoned_{false};
    std::mutex join_;
    std::thread thread_; // last: it uses all of the above
};

} // namespace bge
