#include "running-engines.h"
#include "engine.h"
#include <cstdlib>
#include <mutex>
#include <set>

namespace bge {
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

} // namespace

void add_running(Engine * engine) {
    std::lock_guard<std::mutex> lock(running().mutex);
    running().engines.insert(engine);
}

void remove_running(Engine * engine) {
    std::lock_guard<std::mutex> lock(running().mutex);
    running().engines.erase(engine);
}

void stop_engines_before_exit() {
    std::atexit([] {
        std::lock_guard<std::mutex> lock(running().mutex);
        for (Engine * engine : running().engines) engine->abandon();
    });
}

} // namespace bge
