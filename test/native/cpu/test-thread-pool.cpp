// The pool: each task once, nested and concurrent calls, more pools and threads than cores.
#include "check.h"

#include <atomic>

namespace test {

void thread_pool() {
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
