// ThreadPool: a job is a counter of claimed tasks; workers that wake in time join it, the caller never waits for the rest.
#include "cpu.h"

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

template <typename Condition> void spin_until(const Condition & condition) {
    const auto end = std::chrono::steady_clock::now() + patience;
    do {
        for (int i = 0; i < 32; ++i) {
            if (condition()) {
                return;
            }
            pause();
        }
    } while (std::chrono::steady_clock::now() < end);
}

} // namespace

struct ThreadPool::Job {
    TaskRef          fn;
    int              n_tasks;
    const std::atomic<bool> * stop; // or null
    std::atomic<int> next{0};
    std::atomic<int> n_working{0}; // workers inside; it changes under mutex_

    void run(int thread) {
        inside_task = true;
        for (int task; (task = next.fetch_add(1, std::memory_order_relaxed)) < n_tasks;) {
            if (stop == nullptr || !stop->load(std::memory_order_relaxed)) {
                fn(task, thread);
            }
        }
        inside_task = false;
    }
};

ThreadPool::ThreadPool(int n_threads) {
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
    {
        std::lock_guard<std::mutex> lock(mutex_);
        stop_ = true;
        ++generation_;
    }
    wake_.notify_all();
    for (std::thread & worker : workers_) {
        worker.join();
    }
}

void ThreadPool::parallel_for(int n_tasks, TaskRef fn) {
    if (workers_.empty() || n_tasks <= 1 || inside_task) {
        for (int task = 0; task < n_tasks; ++task) {
            if (stop_tasks_ == nullptr || !stop_tasks_->load(std::memory_order_relaxed)) {
                fn(task, 0);
            }
        }
        return;
    }

    std::lock_guard<std::mutex> turn(turn_);
    Job                         job{fn, n_tasks, stop_tasks_};
    {
        std::lock_guard<std::mutex> lock(mutex_);
        job_ = &job;
        ++generation_;
    }
    const int n_wanted = n_tasks - 1;
    if (n_wanted >= int(workers_.size())) {
        wake_.notify_all();
    } else {
        for (int i = 0; i < n_wanted; ++i) {
            wake_.notify_one();
        }
    }

    job.run(0);

    // All tasks are claimed; nobody joins any more.
    {
        std::lock_guard<std::mutex> lock(mutex_);
        job_ = nullptr;
    }
    spin_until([&] { return job.n_working.load(std::memory_order_acquire) == 0; });
    // The lock orders what the workers wrote before what the caller reads, and waits for one that is still in the job.
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [&] { return job.n_working.load(std::memory_order_relaxed) == 0; });
}

void ThreadPool::work(int thread) {
    uint32_t seen = 0;
    for (;;) {
        spin_until([&] { return generation_.load(std::memory_order_relaxed) != seen; });
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_relaxed) != seen; });
        seen = generation_.load(std::memory_order_relaxed);
        if (stop_) {
            return;
        }
        Job * job = job_;
        if (job == nullptr) {
            continue; // woke too late, the others did it
        }
        ++job->n_working;
        lock.unlock();
        job->run(thread);
        lock.lock();
        if (--job->n_working == 0) {
            done_.notify_all();
        }
    }
}

} // namespace cpu
