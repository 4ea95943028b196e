// Hyperparameters as a file states them: bounded, so that no count sizes memory before the tensors vouch for it.
#pragma once
#include "../error.h"
#include "../weights.h"
#include <string>

namespace bge {

// Above every model of these families; they keep products of two counts inside 32 bits.
constexpr int64_t max_layers = 1024;
constexpr int64_t max_width = 1 << 20;
constexpr int64_t max_heads = 1024;

Error invalid(const ModelFile & file, const std::string & what);

// A count from the file, from 1 to `limit`.
int32_t read_count(const ModelFile & file, const std::string & key, int64_t limit);
// A finite number above 0.
float read_positive(const ModelFile & file, const std::string & key);
// Rows of the table [n, n_rows] that a tensor is.
int32_t read_rows(const ModelFile & file, const std::string & tensor);
int32_t read_width(const ModelFile & file, const std::string & tensor); // its n

// An activation that a key names, or else `fallback`.
cpu::Activation read_activation(const ModelFile & file, const std::string & key, const std::string & fallback);

} // namespace bge
