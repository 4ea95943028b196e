// The pool: each task once, nested and concurrent calls, more pools and threads than cores.
#include "check.h"

#include <atomic>
#include <chrono>
#include <fstream>
#include <system_error>

#ifdef __linux__
#include <sys/resource.h>
#endif

namespace test {

namespace {

void stops() {
    for (int n_threads : {1, 3}) {
        cpu::ThreadPool   pool(n_threads);
        std::atomic<bool> stop{false};
        std::atomic<int>  n{0};
        pool.set_stop(&stop);
        pool.parallel_for(1000, [&](int, int) {
            if (++n == 10) {
                stop = true;
            }
        });
        CHECK(n >= 10 && n < 10 + n_threads, text("%.0f of 1000 tasks ran beside a stop after 10", n));
        stop = false;
        n    = 0;
        pool.parallel_for(1000, [&](int, int) { ++n; });
        CHECK(n == 1000, "all tasks run after a stop");
    }
}

// No task before all of the step before are done, on each of them; steps without tasks, and fewer tasks than threads.
void steps() {
    for (int n_threads : {1, 2, 5, 40}) {
        cpu::ThreadPool pool(n_threads);
        for (int round = 0; round < 200; ++round) {
            const std::vector<int>        sizes = {3 + round % 50, 0, 1, 200, 2, 1, 0, 64};
            std::vector<std::atomic<int>> done(sizes.size());
            std::atomic<bool>             early{false};
            const auto                    task = [&](int step) {
                for (int before = 0; before < step; ++before) {
                    early = early || done[size_t(before)] != sizes[size_t(before)];
                }
                ++done[size_t(step)];
            };
            pool.parallel_steps({{sizes[0], [&](int, int) { task(0); }}, {sizes[1], [&](int, int) { task(1); }}, {sizes[2], [&](int, int) { task(2); }},
                                 {sizes[3], [&](int, int) { task(3); }}, {sizes[4], [&](int, int) { task(4); }}, {sizes[5], [&](int, int) { task(5); }},
                                 {sizes[6], [&](int, int) { task(6); }}, {sizes[7], [&](int, int) { task(7); }}});
            CHECK(!early, text("a task ran before the step before was done, on %.0f threads", n_threads));
            CHECK(done[7] == sizes[7], text("%.0f of 64 tasks of the last step ran", done[7]));
        }
    }
}

// What one thread wrote in a step another reads in the next, without more ado; and threads that sleep in between are woken.
void steps_are_ordered() {
    cpu::ThreadPool  pool(4);
    std::vector<int> values(64), sums(64);
    for (int round = 0; round < 50; ++round) {
        pool.parallel_steps({{64, [&](int i, int) { values[size_t(i)] = round + i; }},
                             {1, [&](int, int) { std::this_thread::sleep_for(std::chrono::milliseconds(round % 10 == 0)); }},
                             {64, [&](int i, int) { sums[size_t(i)] = values[size_t(i)] + values[size_t(63 - i)]; }}});
        CHECK(sums[0] == 2 * round + 63 && sums[63] == sums[0], text("round %.0f reads what was written in it", round));
    }
}

// Without memory for stacks the system starts no threads: the pool has to say so, and to end those it has.
void too_many_threads() {
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    std::ifstream statm("/proc/self/statm");
    size_t        n_pages = 0;
    statm >> n_pages;
    rlimit old, small;
    getrlimit(RLIMIT_AS, &old);
    small          = old;
    small.rlim_cur = n_pages * 4096 + (size_t(80) << 20);
    setrlimit(RLIMIT_AS, &small);
    rlimit taken;
    getrlimit(RLIMIT_AS, &taken);
    if (taken.rlim_cur != small.rlim_cur) { // qemu-user says yes and does nothing, since the limit would be its own
        std::printf("too many threads: skipped, the system takes no limit of memory\n");
        return;
    }
    bool refused = false;
    try {
        cpu::ThreadPool pool(1000);
    } catch (const std::system_error &) {
        refused = true;
    }
    setrlimit(RLIMIT_AS, &old);
    CHECK(refused, "a pool of more threads than there is memory for");
#endif
}

} // namespace

void thread_pool() {
    stops();
    steps();
    steps_are_ordered();
    too_many_threads();
    CHECK(cpu::physical_cores() >= 1, "at least one core");
    for (int n_threads : {0, 1, 2, 3, 8}) {
        cpu::ThreadPool pool(n_threads);
        for (int n_tasks : {0, 1, 2, 5, 1000}) {
            std::vector<std::atomic<int>> seen(n_tasks);
            std::vector<std::atomic<int>> busy(pool.n_threads());
            std::atomic<bool>             shared{false};
            pool.parallel_for(n_tasks, [&](int task, int thread) {
                if (busy[thread].fetch_add(1) != 0) {
                    shared = true;
                }
                ++seen[task];
                --busy[thread];
            });
            bool once = true;
            for (const auto & count : seen) {
                once = once && count == 1;
            }
            CHECK(once, text("%.0f tasks on %.0f threads: each once", n_tasks, n_threads));
            CHECK(!shared, "two running tasks had one thread number");
        }
    }

    cpu::ThreadPool  outer(3), inner(2);
    std::atomic<int> n{0};
    outer.parallel_for(10, [&](int, int) { inner.parallel_for(10, [&](int, int) { outer.parallel_for(10, [&](int, int) { ++n; }); }); });
    CHECK(n == 1000, "nested calls");

    // Callers on several threads, many short jobs: a lost wake-up would hang here.
    n = 0;
    std::vector<std::thread> callers;
    for (int i = 0; i < 4; ++i) {
        callers.emplace_back([&] {
            for (int job = 0; job < 500; ++job) {
                outer.parallel_for(7, [&](int, int) { ++n; });
            }
        });
    }
    for (std::thread & caller : callers) {
        caller.join();
    }
    CHECK(n == 4 * 500 * 7, "concurrent callers");
}

} // namespace test
