// The pool: each task once, nested and concurrent calls, more pools and threads than cores.
#include "check.h"

#include <atomic>
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
