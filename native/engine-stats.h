// What an engine has to do and has done, as numbers that any thread may read while it works.
#pragma once
#include <cstdint>
#include <mutex>

namespace bge {

struct EngineStats {
    // Accepted calls and pairs that no batch has taken yet. Tokens of calls whose texts are not encoded yet are estimated.
    int64_t queued_calls = 0, queued_pairs = 0, queued_tokens = 0;
    // Calls that batches have taken pairs of and that are not answered yet; pairs of the batch at work.
    int64_t running_calls = 0, running_pairs = 0, running_tokens = 0;
    // Since the engine was made. A pair that goes on to another stage of a cascade counts there again.
    int64_t computed_pairs = 0, computed_tokens = 0, n_batches = 0, truncated_pairs = 0;
    double compute_ms = 0;
};

// A call's share of what is queued.
struct QueueShare {
    int64_t pairs = 0, tokens = 0;
    bool running = false; // a batch has taken some
};

class StatsCounter {
public:
    EngineStats read() const {
        std::lock_guard<std::mutex> lock(mutex_);
        return now_;
    }

    void enter(QueueShare & call, int64_t pairs, int64_t tokens) {
        std::lock_guard<std::mutex> lock(mutex_);
        now_.queued_calls++;
        set(call, pairs, tokens);
    }
    // What of the call is queued is known better, or changes: its texts are encoded, its cascade's next stage begins.
    void update(QueueShare & call, int64_t pairs, int64_t tokens) {
        std::lock_guard<std::mutex> lock(mutex_);
        set(call, pairs, tokens);
    }
    void add_truncated(int64_t n_pairs) {
        std::lock_guard<std::mutex> lock(mutex_);
        now_.truncated_pairs += n_pairs;
    }
    void take(QueueShare & call, int64_t tokens) { // one pair, into the batch at work
        std::lock_guard<std::mutex> lock(mutex_);
        if (!call.running) {
            now_.queued_calls--;
            now_.running_calls++;
        }
        call.running = true;
        set(call, call.pairs - 1, call.tokens - tokens);
        now_.running_pairs++;
        now_.running_tokens += tokens;
    }
    void end_batch(bool computed, double ms) {
        std::lock_guard<std::mutex> lock(mutex_);
        if (computed) {
            now_.computed_pairs += now_.running_pairs;
            now_.computed_tokens += now_.running_tokens;
            now_.n_batches++;
        }
        now_.compute_ms += ms;
        now_.running_pairs = now_.running_tokens = 0;
    }
    void leave(QueueShare & call) { // answered, whichever way
        std::lock_guard<std::mutex> lock(mutex_);
        set(call, 0, 0);
        (call.running ? now_.running_calls : now_.queued_calls)--;
    }

private:
    void set(QueueShare & call, int64_t pairs, int64_t tokens) {
        now_.queued_pairs += pairs - call.pairs;
        now_.queued_tokens += tokens - call.tokens;
        call.pairs = pairs;
        call.tokens = tokens;
    }

    mutable std::mutex mutex_;
    EngineStats now_;
};

} // namespace bge
