// engine-test: an engine used as hard as callers can, which is for sanitizers to watch (npm run sanitize): calls of many
// threads, cancelled ones, weights that come and go, and every order of its end. It tokenizes without the model's own
// rules, so logits are compared with logits of its own.
//   BGE_FUZZ_GGML=... engine-test MODEL...     (see ../fuzz/fuzz.h)
#include "../fuzz/fuzz.h"
#include "engine.h"
#include <chrono>
#include <cmath>
#include <cstdio>
#include <future>

using namespace bge;

namespace {

std::atomic<int> n_passed{0}, n_failed{0};

void check(bool holds, const char * what) {
    ++(holds ? n_passed : n_failed);
    if (!holds) std::printf("FAILED %s\n", what);
}

void sleep_ms(int64_t n) { std::this_thread::sleep_for(std::chrono::milliseconds(n)); }

struct Answer {
    std::vector<float> logits;
    std::string error; // its code; empty where there is none
};

struct Call {
    std::shared_ptr<Job> job = std::make_shared<Job>();
    std::future<Answer> answer;
};

enum class Kind { plain, cascade };

// `n_words` makes the documents long; pairs are cut at 96 tokens.
Call submit(Engine & engine, int n_pairs, int n_words, Kind kind = Kind::plain) {
    Call call;
    Request & request = call.job->request;
    request.texts.push_back("what is a panda");
    for (int i = 0; i < n_pairs; i++) {
        std::string text = "document " + std::to_string(i);
        for (int w = 0; w < n_words + i % 5; w++) text += " panda bear";
        request.texts.push_back(text);
        request.pairs.insert(request.pairs.end(), {0, i + 1});
    }
    request.limits.max_length = 96;
    request.limits.query_max_length = 32;
    const int32_t n_layer = engine.architecture().n_layer;
    if (kind == Kind::cascade) {
        request.params.cutoff_layers = {n_layer - 1, n_layer};
        request.params.heads = {0, 0};
        request.cascade = {{n_layer - 1, 2}};
    }
    const auto promise = std::make_shared<std::promise<Answer>>(); // throws at a second answer
    call.answer = promise->get_future();
    call.job->on_progress = [](size_t done, size_t total) { check(done <= total, "progress stays within its total"); };
    call.job->on_done = [promise](Response && response) { promise->set_value({std::move(response.logits), ""}); };
    call.job->on_error = [promise](const Error & e) { promise->set_value({{}, e.code}); };
    try {
        engine.submit(call.job);
    } catch (const Error & e) {
        promise->set_value({{}, e.code});
    }
    return call;
}

EngineOptions options_for(const ModelFile & file, int n_threads, int64_t keep_alive_ms) {
    EngineOptions options;
    options.n_threads = n_threads;
    options.keep_alive_ms = keep_alive_ms;
    options.max_prefix_bytes = keep_alive_ms < 0 ? 1 << 20 : 20'000; // the smaller has no room for a whole query
    if (file.has("tokenizer.ggml.merges") || file.text("tokenizer.ggml.model") == "llama") {
        options.tokenizer.model = "bpe";
        options.tokenizer.options = {{"byte_fallback", "true"}};
    } else if (file.text("tokenizer.ggml.model") == "bert") {
        options.tokenizer.model = "wordpiece";
        options.tokenizer.options = {{"unk_token", "[UNK]"}};
    } else {
        options.tokenizer.model = "unigram";
    }
    options.tokenizer.pre_tokenizer = {{"whitespace"}};
    const bool is_decoder = file.architecture() != "bert";
    options.layout.kind = is_decoder ? InputLayout::Kind::prompt : InputLayout::Kind::pair;
    if (is_decoder) options.layout.bos = {1};
    else options.layout.before = options.layout.between = options.layout.after = {0};
    if (is_decoder && !file.find("reranker.head.weight")) options.architecture.token_id = 5;
    return options;
}

// A row's place in a batch changes the order of ggml's sums, not ours.
bool close_to(const std::vector<float> & a, const std::vector<float> & b) {
    bool out = a.size() == b.size();
    for (size_t i = 0; out && i < a.size(); i++) out = std::fabs(a[i] - b[i]) <= 1e-4f * (1 + std::fabs(b[i]));
    return out;
}

void test_calls(const std::shared_ptr<ModelFile> & file, int64_t keep_alive_ms) {
    Engine engine(file, options_for(*file, 3, keep_alive_ms));
    const Kind staged_kind = engine.architecture().resumable ? Kind::cascade : Kind::plain;
    const std::vector<float> wanted = submit(engine, 6, 10).answer.get().logits;
    check(wanted.size() == 6, "there are as many logits as pairs");
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 3; caller++) {
        callers.emplace_back([&, caller] {
            for (int round = 0; round < 2; round++) {
                Call same = submit(engine, 6, 10), cancelled = submit(engine, 16, 20), staged = submit(engine, 4, 5, staged_kind);
                if ((round + caller) % 2) sleep_ms(caller);
                engine.cancel(*cancelled.job);
                check(!engine.tokenizer().encode("beside the queue").empty(), "a text is encoded beside the queue");
                check(engine.weights_size() > 0, "the size of weights is known, loaded or not");
                check(close_to(same.answer.get().logits, wanted), "logits are the same beside other calls");
                const std::string error = cancelled.answer.get().error;
                check(error == "CANCELLED" || error.empty(), "a cancelled call ends cancelled or done");
                check(staged.answer.get().error.empty(), "a cascade ends well");
                if (keep_alive_ms >= 0) sleep_ms(keep_alive_ms + caller);
            }
        });
    }
    for (std::thread & caller : callers) caller.join();
    if (keep_alive_ms < 0) return;
    for (int i = 0; i < 2000 && engine.weights_loaded(); i++) sleep_ms(5);
    check(!engine.weights_loaded(), "idle weights are released");
}

// What maxMemory leaves room for is a number of tokens; a pair beyond it is refused, and the engine goes on.
void test_memory_limit(const std::shared_ptr<ModelFile> & file) {
    EngineOptions options = options_for(*file, 2, -1);
    options.max_graph_tokens = 64;
    Engine engine(file, options);
    check(submit(engine, 2, 60).answer.get().error == "OUT_OF_MEMORY", "a pair beyond maxMemory is refused");
    const Answer answer = submit(engine, 20, 1).answer.get();
    check(answer.error.empty() && answer.logits.size() == 20, "pairs within maxMemory are scored, whatever their number");
}

// Ends while calls are under way: finishing or abandoning them, of one thread or two, with and without waiting.
void test_ends(const std::shared_ptr<ModelFile> & file) {
    for (int order = 0; order < 8; order++) {
        auto engine = std::make_unique<Engine>(file, options_for(*file, 2, order % 2 ? 0 : -1));
        std::vector<Call> calls;
        for (int i = 0; i < 3; i++) calls.push_back(submit(*engine, 8, 20));
        if (order % 3) sleep_ms(3 * order);
        std::atomic<int> n_closed{0};
        if (order >= 4) engine->close([&] { ++n_closed; });
        std::thread beside([&] { order % 4 < 2 ? engine->close() : engine->abandon(); });
        if (order % 2) engine->close();
        else engine->abandon();
        beside.join();
        check(n_closed == (order >= 4), "who does not wait for the end is told of it once");
        check(submit(*engine, 1, 1).answer.get().error == "CLOSED", "a closed engine takes no calls");
        engine.reset();
        for (Call & call : calls) {
            const Answer answer = call.answer.get();
            check(answer.error == "CLOSED" || answer.logits.size() == 8, "each call under way gets an answer");
        }
    }
}

// Rows hold their id and place, so that each tells whether it is the right one.
struct KeptPrefixes {
    static constexpr int32_t width = 4;
    PrefixCache cache;

    explicit KeptPrefixes(size_t max_bytes) : cache(max_bytes, width) {}

    static float value(const std::vector<int32_t> & ids, int32_t row, int32_t layer, KeyRows::Kind kind) {
        return float(ids[size_t(row)] * 1000 + row * 10 + layer) + (kind == KeyRows::Kind::values ? 0.5f : 0);
    }

    // What a graph does; returns how many rows were kept, having looked at each.
    int32_t compute(const std::vector<int32_t> & ids, int32_t n_layers, bool soft_cap = false) {
        const auto keys = cache.find(ids.data(), int32_t(ids.size()), {0, n_layers, n_layers, soft_cap});
        run(*keys, n_layers);
        cache.keep(keys);
        return keys->n_kept;
    }

    void run(const PrefixKeys & keys, int32_t n_layers) {
        for (const auto kind : {KeyRows::Kind::keys, KeyRows::Kind::values}) {
            for (int32_t layer = keys.first_layer; layer < n_layers; layer++) {
                int32_t row = 0;
                for (const PrefixKeys::Part & part : keys.kept) {
                    for (int32_t i = 0; i < part.n; i++, row++) {
                        for (int32_t j = 0; j < width; j++) check(part.rows->data(layer, kind)[i * width + j] == value(keys.ids, row, layer, kind), "a kept row is the right one");
                    }
                }
                check(row == keys.n_kept, "kept rows are as many as said");
                for (int32_t i = 0; keys.computed && i < keys.computed->n_rows(); i++) {
                    std::fill_n(keys.computed->data(layer - keys.first_layer, kind) + i * width, width, value(keys.ids, row + i, layer, kind));
                }
            }
        }
    }
};

void test_prefix_cache() {
    const size_t row = 2 * KeptPrefixes::width * sizeof(float); // of one layer
    {
        KeptPrefixes kept(1 << 20);
        const std::vector<int32_t> a = {1, 2, 3, 4, 5}, b = {1, 2, 3, 9, 9, 9}, c = {1, 2}, d = {7};
        check(kept.compute(a, 2) == 0 && kept.compute(a, 2) == 5, "a prefix is kept");
        check(kept.compute(b, 2) == 3 && kept.compute(b, 2) == 6 && kept.compute(a, 2) == 5, "prefixes share what they begin with");
        check(kept.compute(c, 2) == 2 && kept.compute(d, 2) == 0, "the beginning of a prefix is kept, another is not");
        check(kept.cache.stats().bytes == int64_t((5 + 3 + 1) * 2 * row), "what is shared is held once");
        check(kept.compute(a, 2, true) == 0 && kept.compute(a, 2, true) == 5, "a soft cap makes other rows");
        check(kept.compute(a, 1) == 5, "rows of more layers do");
        check(kept.compute(a, 3) == 0 && kept.compute(a, 3) == 5 && kept.compute(a, 2) == 5, "rows of fewer layers do not, and are replaced");
        check(kept.cache.stats().hits == 9 && kept.cache.stats().misses == 4, "hits and misses are counted");
        kept.cache.clear();
        check(kept.cache.stats().bytes == 0 && kept.compute(a, 2) == 0, "an empty cache holds nothing");
    }
    {
        KeptPrefixes kept(10 * row); // ten rows of one layer
        const auto ids = [](int32_t first, int32_t n) { std::vector<int32_t> out; for (int32_t i = 0; i < n; i++) out.push_back(first + i); return out; };
        check(kept.compute(ids(100, 4), 1) == 0 && kept.compute(ids(200, 4), 1) == 0 && kept.compute(ids(100, 4), 1) == 4, "two prefixes fit");
        check(kept.compute(ids(300, 4), 1) == 0 && kept.compute(ids(100, 4), 1) == 4 && kept.compute(ids(200, 4), 1) == 0, "the one used least lately makes room");
        check(kept.compute(ids(500, 30), 1) == 0 && kept.compute(ids(500, 30), 1) == 10, "of one that is too long the beginning is kept");
        const auto held = kept.cache.find(ids(500, 10).data(), 10, {0, 1, 1, false});
        check(kept.compute(ids(600, 4), 1) == 0 && kept.compute(ids(600, 4), 1) == 0, "what is in use makes no room");
        kept.run(*held, 1);
        check(kept.cache.stats().bytes <= int64_t(10 * row), "the bound holds");
    }
    { // Each goes on from the one before, and then the beginning of all makes way for rows of more layers.
        KeptPrefixes kept(1 << 24);
        std::vector<int32_t> ids;
        for (int32_t i = 1; i <= 500; i++) {
            ids.push_back(i);
            kept.compute(ids, 1);
        }
        check(kept.compute(ids, 1) == 500 && kept.compute({1, 2}, 2) == 0 && kept.cache.stats().bytes == int64_t(2 * 2 * row), "what goes on from dropped rows is dropped");
    }
    { // Prefixes over three ids, of any length and number of layers, against a plain look at every row that is kept.
        for (const size_t n_rows : {7, 60, 4000}) {
            KeptPrefixes kept(n_rows * row);
            uint32_t seed = 1;
            const auto random = [&](uint32_t n) { return int32_t((seed = seed * 1103515245u + 12345u) >> 16) % int32_t(n); };
            for (int i = 0; i < 1000; i++) {
                std::vector<int32_t> ids;
                for (int32_t n = 1 + random(12); n > 0; n--) ids.push_back(1 + random(3));
                kept.compute(ids, 1 + random(3), random(4) == 0);
                if (kept.cache.stats().bytes > int64_t(n_rows * row)) check(false, "the bound holds");
            }
            check(kept.cache.stats().hits > 100, "prefixes are found again");
        }
    }
    { // A cascade: two layers, then two more of the same rows.
        KeptPrefixes kept(1 << 20);
        const std::vector<int32_t> a = {1, 2, 3};
        const auto first = kept.cache.find(a.data(), 3, {0, 2, 4, false});
        kept.run(*first, 2);
        kept.cache.keep(first);
        const auto then = kept.cache.go_on(*first, {2, 4, 4, false});
        kept.run(*then, 4);
        kept.cache.keep(then);
        check(kept.compute(a, 4) == 3 && kept.cache.stats().bytes == int64_t(3 * 4 * row), "the layers of a cascade's stages come together");
    }
    std::printf("prefix cache: %s\n", n_failed == 0 ? "ok" : "FAILED");
}

void test_model(const char * path) {
    const auto file = std::make_shared<ModelFile>(path);
    const int failed_before = n_failed;
    for (int64_t keep_alive_ms : {-1, 1}) test_calls(file, keep_alive_ms);
    test_memory_limit(file);
    test_ends(file);
    std::printf("%s: %s\n", file->architecture().c_str(), n_failed == failed_before ? "ok" : "FAILED");
}

} // namespace

int main(int argc, char ** argv) {
    try {
        open_ggml();
        test_prefix_cache();
        for (int i = 1; i < argc; i++) test_model(argv[i]);
    } catch (const Error & e) {
        std::printf("FAILED %s: %s\n", e.code, e.what());
        return 1;
    }
    std::printf("%d passed, %d failed\n", n_passed.load(), n_failed.load());
    return n_failed == 0 && n_passed > 0 ? 0 : 1;
}
