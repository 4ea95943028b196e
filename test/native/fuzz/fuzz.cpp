#include "fuzz.h"
#include "error.h"
#include <cstdio>
#include <cstdlib>
#include <sstream>

using namespace bge;

void require(bool holds, const std::string & what) {
    if (holds) return;
    std::fprintf(stderr, "Property broken: %s\n", what.c_str());
    std::abort();
}

void open_ggml() {
    const char * given = std::getenv("BGE_FUZZ_GGML");
    require(given, "BGE_FUZZ_GGML is not set; start with npm run fuzz");
    std::istringstream lines(given);
    ggml_runtime::Libraries libraries;
    std::getline(lines, libraries.version);
    std::getline(lines, libraries.base);
    std::getline(lines, libraries.ggml);
    ggml_runtime::open(libraries);
    ggml_runtime::Module best;
    for (std::string path; std::getline(lines, path);) {
        const ggml_runtime::Module module = ggml_runtime::probe(path);
        if (module.score > best.score) best = module;
    }
    ggml_runtime::load_module(best.path);
}

static TokenizerSpec::Step split(const std::string & line) {
    TokenizerSpec::Step parts(1);
    for (const char c : line) {
        if (c == '\x1F') parts.emplace_back();
        else parts.back() += c;
    }
    return parts;
}

TokenizerSpec fuzz_spec(const ModelFile & file) {
    TokenizerSpec spec;
    for (const std::string & line : file.texts("fuzz.tokenizer")) {
        TokenizerSpec::Step step = split(line);
        const std::string kind = step[0];
        step.erase(step.begin());
        if (kind == "normalizer") spec.normalizer.push_back(step);
        if (kind == "pre_tokenizer") spec.pre_tokenizer.push_back(step);
        if (kind == "option") spec.options.push_back(step);
        if (kind == "model" && step.size() == 1) spec.model = step[0];
        if (kind == "added" && step.size() == 3) { // id, flags, content
            const long flags = std::atol(step[1].c_str());
            spec.added_tokens.push_back({int32_t(std::atol(step[0].c_str())), step[2], bool(flags & 1), bool(flags & 2), bool(flags & 4), bool(flags & 8), bool(flags & 16)});
        }
    }
    return spec;
}
