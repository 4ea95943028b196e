// All engines of the process, so that none computes while it exits.
#pragma once

namespace bge {

class Engine;

void add_running(Engine * engine);
void remove_running(Engine * engine);

// Stops them all when the process exits, before what was registered for exit until now. May be called again, when a
// library has made static objects since.
void stop_engines_before_exit();

} // namespace bge
