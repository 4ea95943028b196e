// Texts from an array, or from a NativeTexts object that took them in steps.
#pragma once
#include <napi.h>
#include <string>
#include <vector>

namespace bge::binding {

std::vector<std::string> taken_texts(const Napi::Value & value); // a NativeTexts is empty afterwards
Napi::Object new_texts(Napi::Env env);

} // namespace bge::binding
