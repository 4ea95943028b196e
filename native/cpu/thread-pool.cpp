// ThreadPool: a job is steps of claimed tasks; workers that wake in time join it, and nobody waits for the rest.
#include "cpu.h"

#include <algorithm>
#include <chrono>

#if defined(__x86_64__) || defined(_M_X64)
#include <emmintrin.h>
#endif

namespace cpu {

namespace {

thread_local bool inside_task = false;

// How long a thread looks before it sleeps: to be woken takes about as long, and between two layers it is mostly enough.
constexpr std::chrono::microseconds patience(50);

void pause() {
#if defined(__x86_64__) || defined(_M_X64)
    _mm_pause();
#elif defined(__aarch64__) && !defined(_MSC_VER)
    __asm__ volatile("yield");
#else
    std::this_thread::yield();
#endif
}

template <typename Condition> bool spin_until(const Condition & condition) {
    const auto end = std::chrono::steady_clock::now() + patience;
    do {
        for (int i = 0; i < 32; ++i) {
            if (condition()) {
                return true;
            }
            pause();
        }
    } while (std::chrono::steady_clock::now() < end);
    return false;
}

// Each thread begins with tasks of its own, so that it walks through memory and the others' caches are left alone. With many
// threads a few share a range, so that to look for what is left takes no long.
constexpr int max_ranges = 16;

struct Range {
    std::atomic<int> next{0};
    int              end = 0;
    char             apart[56]; // no two share a line of the cache
};

} // namespace

// Both sides write, then look at what the other wrote, in one order for all threads (the default of std::atomic): one of them sees it.
template <typename Condition> void ThreadPool::Sleepers::wait_until(const Condition & condition) {
    if (spin_until(condition)) {
        return;
    }
    std::unique_lock<std::mutex> lock(mutex);
    ++n;
    changed.wait(lock, condition);
    --n;
}

void ThreadPool::Sleepers::wake(int n_wanted) {
    const int n_asleep = n;
    if (n_asleep == 0 || n_wanted == 0) {
        return;
    }
    { std::lock_guard<std::mutex> lock(mutex); } // who has looked already, but does not wait yet
    if (n_wanted >= n_asleep) {
        changed.notify_all();
    } else {
        for (int i = 0; i < n_wanted; ++i) {
            changed.notify_one();
        }
    }
}

// How far a step is.
struct ThreadPool::Progress {
    Range            ranges[max_ranges];
    std::atomic<int> n_done{0};

    void reset(int n_tasks, int n_ranges) {
        for (int i = 0; i < n_ranges; ++i) {
            ranges[i].next.store(int(int64_t(n_tasks) * i / n_ranges), std::memory_order_relaxed);
            ranges[i].end = int(int64_t(n_tasks) * (i + 1) / n_ranges);
        }
        n_done.store(0, std::memory_order_relaxed);
    }

    // A task that nobody has begun, of range `at` or the ones after it; -1 when there is none.
    int claim(int & at, int n_ranges) {
        for (int i = 0; i < n_ranges; ++i, at = at + 1 < n_ranges ? at + 1 : 0) {
            Range & range = ranges[at];
            if (range.next.load(std::memory_order_relaxed) < range.end) {
                const int task = range.next.fetch_add(1, std::memory_order_relaxed);
                if (task < range.end) {
                    return task;
                }
            }
        }
        return -1;
    }
};

struct ThreadPool::Job {
    ThreadPool & pool;
    const Step * steps;
    int          n_steps, n_ranges;

    void run(int thread) {
        inside_task = true;
        for (int i = 0; i < n_steps; ++i) {
            Progress & progress = pool.progress_[size_t(i)];
            int        at       = int(int64_t(thread) * n_ranges / pool.n_threads());
            int        n_done   = 0;
            for (int task; (task = progress.claim(at, n_ranges)) >= 0; ++n_done) {
                if (!pool.is_stopped()) {
                    steps[i].fn(task, thread);
                }
            }
            if (i + 1 < n_steps) {
                finish(progress, n_done, steps[i].n_tasks);
            }
        }
        inside_task = false;
    }

    // Returns when all tasks of a step are done, n_done of them by this thread.
    void finish(Progress & progress, int n_done, int n_tasks) {
        if (n_done > 0 && (progress.n_done += n_done) == n_tasks) {
            pool.waiting_.wake(pool.n_threads());
        } else {
            pool.waiting_.wait_until([&] { return progress.n_done == n_tasks; });
        }
    }
};

ThreadPool::ThreadPool(int n_threads) : progress_(new Progress[max_steps]) {
    try {
        for (int i = 1; i < n_threads; ++i) {
            workers_.emplace_back([this, i] { work(i); });
        }
    } catch (...) { // the system starts no more; those that run must not outlive what they wait on
        join();
        throw;
    }
}

ThreadPool::~ThreadPool() { join(); }

void ThreadPool::join() {
    stop_ = true;
    ++generation_;
    idle_.wake(n_threads());
    for (std::thread & worker : workers_) {
        worker.join();
    }
}

bool ThreadPool::is_stopped() const { return stop_tasks_ != nullptr && stop_tasks_->load(std::memory_order_relaxed); }

void ThreadPool::parallel_steps(const Step * steps, int n_steps) {
    int n_most = 0;
    for (int i = 0; i < n_steps; ++i) {
        n_most = std::max(n_most, steps[i].n_tasks);
    }
    if (workers_.empty() || n_most <= 1 || inside_task) {
        for (int i = 0; i < n_steps; ++i) {
            for (int task = 0; task < steps[i].n_tasks; ++task) {
                if (!is_stopped()) {
                    steps[i].fn(task, 0);
                }
            }
        }
        return;
    }

    std::lock_guard<std::mutex> turn(turn_);
    Job                         job{*this, steps, n_steps, std::min(n_threads(), max_ranges)};
    for (int i = 0; i < n_steps; ++i) {
        progress_[size_t(i)].reset(steps[i].n_tasks, job.n_ranges);
    }
    job_ = &job;
    ++generation_;
    idle_.wake(n_most - 1);

    job.run(0);

    // All tasks are claimed; nobody joins any more. A worker that counts itself after this finds no job.
    job_ = nullptr;
    waiting_.wait_until([&] { return n_working_ == 0; });
}

void ThreadPool::work(int thread) {
    uint32_t seen = 0;
    for (;;) {
        idle_.wait_until([&] { return generation_ != seen; });
        seen = generation_;
        if (stop_) {
            return;
        }
        ++n_working_;
        if (Job * job = job_) { // else it woke too late, the others did it
            job->run(thread);
        }
        if (--n_working_ == 0) {
            waiting_.wake(1);
        }
    }
}

} // namespace cpu
