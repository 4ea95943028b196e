// What TypeScript hands over with a model and with a call (src/addon/native.ts), as the engine's structs.
#pragma once
#include "engine.h"
#include <napi.h>

namespace bge::binding {

EngineOptions engine_options(const Napi::Object & spec);
TokenizerSpec tokenizer_spec(const Napi::Object & o);
LengthLimits length_limits(const Napi::Object & o);
std::vector<int32_t> pairs_of(const Napi::Object & o, size_t n_texts);
Request request_from(const Napi::Object & o);

} // namespace bge::binding
