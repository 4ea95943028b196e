// What the fuzz targets share.
#pragma once
#include "model-file.h"
#include "tokenizer/tokenizer.h"
#include <string>

extern "C" int LLVMFuzzerInitialize(int * argc, char *** argv);
extern "C" int LLVMFuzzerTestOneInput(const uint8_t * data, size_t size);

// A property that does not hold ends the process, which is what a fuzzer takes for a finding.
void require(bool holds, const std::string & what);

// Opens the libraries that BGE_FUZZ_GGML names, a line each: ggml's version, libggml-base, libggml, the CPU modules.
void open_ggml();

// The rules of a seed's tokenizer. src/tokenizer/tokenizer-spec.ts compiles them of JSON, which native code does not read, so seeds
// carry the result under `fuzz.tokenizer`: one string a step, its parts divided by U+001F.
bge::TokenizerSpec fuzz_spec(const bge::ModelFile & file);
