// NativeModel: an engine as a JavaScript object. Calls become jobs of the engine; its thread's answers come back to the JS
// thread through a thread-safe function, in order.
#include "exports.h"
#include "requests.h"
#include "task.h"
#include "texts.h"
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace bge::binding {
namespace {

// Shutting down is safe because the engine's thread is joined before the thread-safe function it calls can go: at
// close(), at collection, and at the end of the environment by a hook that is added after (so runs before) its own.
class Model : public Napi::ObjectWrap<Model> {
    // A method whose C++ exceptions become JavaScript's.
    template <Napi::Value (Model::*method)(const Napi::CallbackInfo &)> Napi::Value safe(const Napi::CallbackInfo & call) {
        return guarded(call.Env(), [&] { return (this->*method)(call); });
    }

public:
    static Napi::Function define(Napi::Env env) {
        return DefineClass(env, "NativeModel", {
            InstanceAccessor<&Model::info>("info"),
            InstanceMethod<&Model::safe<&Model::encode>>("encode"),
            InstanceMethod<&Model::safe<&Model::encode_pair>>("encodePair"),
            InstanceMethod<&Model::safe<&Model::encode_async>>("encodeAsync"),
            InstanceMethod<&Model::safe<&Model::encode_pair_async>>("encodePairAsync"),
            InstanceMethod<&Model::safe<&Model::measure>>("measure"),
            InstanceMethod<&Model::safe<&Model::texts>>("texts"),
            InstanceMethod<&Model::safe<&Model::ranked>>("ranked"),
            InstanceMethod<&Model::safe<&Model::score>>("score"),
            InstanceMethod<&Model::safe<&Model::stats>>("stats"),
            InstanceMethod<&Model::safe<&Model::importance>>("importance"),
            InstanceMethod<&Model::safe<&Model::close>>("close"),
        });
    }

    // Made by load_model() only, from an External<std::shared_ptr<Engine>>.
    Model(const Napi::CallbackInfo & call) : ObjectWrap(call) {
        const Napi::Env env = call.Env();
        if (!call[0].IsExternal()) throw Napi::TypeError::New(env, "Use loadModel()");
        engine_ = *call[0].As<Napi::External<std::shared_ptr<Engine>>>().Data();
        events_ = Napi::ThreadSafeFunction::New(env, Napi::Function(), "bge-reranker", 0, 1);
        events_.Unref(env);
        napi_add_env_cleanup_hook(env, at_environment_end, this);
        hooked_ = true;
        engines_ = &env.GetInstanceData<Environment>()->engines;
        engines_->insert(engine_.get());
    }

    ~Model() override { stop(); }

private:
    // One call of score(), as the JS thread sees it. Owned by calls_, so made and destroyed on the JS thread.
    struct Call {
        Call(Napi::Env env, const Napi::Object & model) : deferred(Napi::Promise::Deferred::New(env)), keep_alive(Napi::Persistent(model)) {}
        Napi::Promise::Deferred deferred;
        Napi::FunctionReference on_progress;
        Napi::ObjectReference keep_alive; // the model must not be collected while it works for this call
        std::shared_ptr<Job> job;
    };

    static void at_environment_end(void * model) {
        static_cast<Model *>(model)->hooked_ = false;
        static_cast<Model *>(model)->stop();
    }

    void stop() {
        forget();
        if (engine_) engine_->abandon();
        release();
        if (hooked_) napi_remove_env_cleanup_hook(Env(), at_environment_end, this);
        hooked_ = false;
    }

    void forget() {
        if (engines_) engines_->erase(engine_.get());
        engines_ = nullptr;
    }

    void release() {
        if (!released_) events_.Release();
        released_ = true;
    }

    Engine & engine(Napi::Env env) const {
        if (!engine_ || closing_) throw binding::to_js(env, "CLOSED", "The reranker was disposed");
        return *engine_;
    }

    // Runs `f` on the JS thread, in order. While the environment ends it is dropped there instead.
    template <class F> void on_js_thread(F f) {
        auto * held = new F(std::move(f));
        const auto run = [](Napi::Env env, Napi::Function, F * held) {
            std::unique_ptr<F> owned(held);
            if (env != nullptr) (*owned)(env);
        };
        if (events_.NonBlockingCall(held, run) != napi_ok) delete held;
    }

    // Settles a call's promise on the JS thread and forgets the call.
    template <class F> void finish(Call * call, F settle) {
        on_js_thread([this, call, settle](Napi::Env env) {
            Napi::HandleScope scope(env);
            const auto owned = calls_.extract(call); // destroyed here, after its promise is settled
            settle(env, call->deferred);
            if (calls_.empty() && !closing_) events_.Unref(env);
        });
    }

    Napi::Value info(const Napi::CallbackInfo & call) {
        const Napi::Env env = call.Env();
        const Engine & e = engine(env);
        Napi::Object o = Napi::Object::New(env);
        o["architecture"] = Napi::String::New(env, e.file().architecture());
        o["device"] = Napi::String::New(env, e.backend().info().name);
        o["isa"] = Napi::String::New(env, e.backend().kernels() ? cpu::isa_name(cpu::isa()) : "");
        o["layerCount"] = Napi::Number::New(env, e.architecture().n_layer);
        o["hiddenSize"] = Napi::Number::New(env, e.architecture().n_embd);
        o["headCount"] = Napi::Number::New(env, e.architecture().n_head);
        o["vocabularySize"] = Napi::Number::New(env, e.architecture().n_vocab);
        o["contextLength"] = Napi::Number::New(env, e.architecture().n_ctx);
        o["maxGraphTokens"] = Napi::Number::New(env, e.options().max_graph_tokens);
        o["maxPrefixBytes"] = Napi::Number::New(env, double(e.max_prefix_bytes()));
        o["weightsSizeBytes"] = Napi::Number::New(env, double(e.weights_size()));
        o["weightsLoaded"] = Napi::Boolean::New(env, e.weights_loaded());
        return o;
    }

    Napi::Value encode(const Napi::CallbackInfo & call) {
        return ids_to_js(call.Env(), engine(call.Env()).tokenizer().encode(text(call[0]), {call[1].ToBoolean(), SIZE_MAX}));
    }

    static Napi::Object to_js(Napi::Env env, const EncodedPair & pair) {
        std::vector<int32_t> types(pair.ids.size());
        for (size_t i = 0; i < types.size(); i++) types[i] = int32_t(i) >= pair.document_begin;
        Napi::Object o = Napi::Object::New(env);
        o["inputIds"] = ids_to_js(env, pair.ids);
        o["tokenTypes"] = ids_to_js(env, types);
        o["truncated"] = Napi::Number::New(env, pair.truncated);
        o["queryLength"] = Napi::Number::New(env, pair.query_length);
        o["documentLength"] = Napi::Number::New(env, pair.document_length);
        o["promptLength"] = Napi::Number::New(env, pair.prompt_length);
        return o;
    }

    Napi::Value encode_pair(const Napi::CallbackInfo & call) {
        const Napi::Env env = call.Env();
        const auto spec = call[2].As<Napi::Object>();
        return to_js(env, engine(env).encode(text(call[0]), text(call[1]), length_limits(spec), boolean(spec, "parseSpecial")));
    }

    // The same off the JS thread. They keep the engine, and so hold its end.

    Napi::Value encode_async(const Napi::CallbackInfo & call) {
        engine(call.Env());
        return Task<std::vector<int32_t>>::run(
            call.Env(),
            [engine = engine_, texts = taken_texts(call[0]), parse_special = bool(call[1].ToBoolean())] {
                return texts.empty() ? std::vector<int32_t>() : engine->tokenizer().encode(texts[0], {parse_special, SIZE_MAX});
            },
            [](Napi::Env env, std::vector<int32_t> && ids) -> Napi::Value { return ids_to_js(env, ids); });
    }

    Napi::Value encode_pair_async(const Napi::CallbackInfo & call) {
        engine(call.Env());
        const auto spec = call[1].As<Napi::Object>();
        auto texts = taken_texts(call[0]);
        if (texts.size() != 2) throw Napi::RangeError::New(call.Env(), "Expected two texts");
        return Task<EncodedPair>::run(
            call.Env(),
            [engine = engine_, texts = std::move(texts), limits = length_limits(spec), parse_special = boolean(spec, "parseSpecial")] {
                return engine->encode(texts[0], texts[1], limits, parse_special);
            },
            [](Napi::Env env, EncodedPair && pair) -> Napi::Value { return to_js(env, pair); });
    }

    Napi::Value measure(const Napi::CallbackInfo & call) {
        const Napi::Env env = call.Env();
        engine(env);
        const auto o = call[0].As<Napi::Object>();
        auto texts = taken_texts(o.Get("texts"));
        auto pairs = pairs_of(o, texts.size());
        return Task<std::vector<PairSize>>::run(
            env,
            [engine = engine_, texts = std::move(texts), pairs = std::move(pairs), limits = length_limits(o), parse_special = boolean(o, "parseSpecial")] {
                return engine->measure(texts, pairs, limits, parse_special);
            },
            [](Napi::Env env, std::vector<PairSize> && sizes) -> Napi::Value {
                auto tokens = Napi::Int32Array::New(env, sizes.size()), queries = Napi::Int32Array::New(env, sizes.size()), documents = Napi::Int32Array::New(env, sizes.size());
                auto truncated = Napi::Uint8Array::New(env, sizes.size());
                for (size_t i = 0; i < sizes.size(); i++) {
                    tokens[i] = sizes[i].tokens;
                    queries[i] = sizes[i].query_length;
                    documents[i] = sizes[i].document_length;
                    truncated[i] = sizes[i].truncated;
                }
                Napi::Object out = Napi::Object::New(env);
                out["tokens"] = tokens;
                out["queryLengths"] = queries;
                out["documentLengths"] = documents;
                out["truncated"] = truncated;
                return out;
            });
    }

    Napi::Value texts(const Napi::CallbackInfo & call) { return new_texts(call.Env()); }

    // Places of numbers, the largest first and equal ones in order.
    Napi::Value ranked(const Napi::CallbackInfo & call) {
        const auto array = call[0].As<Napi::Float32Array>();
        return Task<std::vector<int32_t>>::run(
            call.Env(),
            [values = std::vector<float>(array.Data(), array.Data() + array.ElementLength())]() mutable {
                std::replace_if(values.begin(), values.end(), [](float x) { return std::isnan(x); }, -INFINITY);
                std::vector<int32_t> order(values.size());
                std::iota(order.begin(), order.end(), 0);
                std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return values[size_t(a)] > values[size_t(b)]; });
                return order;
            },
            [](Napi::Env env, std::vector<int32_t> && order) -> Napi::Value { return ids_to_js(env, order); });
    }

    Napi::Value score(const Napi::CallbackInfo & info) {
        const Napi::Env env = info.Env();
        Engine & target = engine(env);
        auto owned = std::make_unique<Call>(env, info.This().As<Napi::Object>());
        Call * call = owned.get();
        const std::shared_ptr<Job> job = call->job = std::make_shared<Job>();
        job->request = request_from(info[0].As<Napi::Object>());
        if (info[1].IsFunction()) {
            call->on_progress = Napi::Persistent(info[1].As<Napi::Function>());
            job->on_progress = [this, call](size_t done, size_t total) {
                on_js_thread([call, done, total](Napi::Env env) {
                    Napi::HandleScope scope(env);
                    call->on_progress.Call({Napi::Number::New(env, double(done)), Napi::Number::New(env, double(total))});
                });
            };
        }
        job->on_done = [this, call](Response && response) {
            auto kept = std::make_shared<Response>(std::move(response));
            finish(call, [kept](Napi::Env env, Napi::Promise::Deferred & deferred) {
                Napi::Object o = Napi::Object::New(env);
                o["logits"] = typed_array<Napi::Float32Array>(env, kept->logits);
                o["tokens"] = ids_to_js(env, kept->tokens);
                o["truncated"] = typed_array<Napi::Uint8Array>(env, kept->truncated);
                deferred.Resolve(o);
            });
        };
        job->on_error = [this, call](const Error & e) {
            finish(call, [e](Napi::Env env, Napi::Promise::Deferred & deferred) { deferred.Reject(binding::to_js(env, e.code, e.what()).Value()); });
        };
        Napi::Object handle = Napi::Object::New(env);
        handle["promise"] = call->deferred.Promise();
        handle["cancel"] = Napi::Function::New(env, [engine = std::weak_ptr<Engine>(engine_), job = std::weak_ptr<Job>(job)](const Napi::CallbackInfo &) {
            const auto of = engine.lock();
            const auto alive = job.lock();
            if (of && alive) of->cancel(*alive);
        });
        if (calls_.empty()) events_.Ref(env);
        calls_.emplace(call, std::move(owned));
        try {
            target.submit(job);
        } catch (const Error & e) {
            job->on_error(e);
        }
        return handle;
    }

    // While it closes and after, too: then of what was done.
    Napi::Value stats(const Napi::CallbackInfo & call) {
        const Napi::Env env = call.Env();
        const EngineStats s = engine_ ? engine_->stats() : last_stats_;
        const PrefixStats prefixes = engine_ ? engine_->prefix_stats() : last_prefix_stats_;
        Napi::Object o = Napi::Object::New(env);
        const auto put = [&](const char * key, double value) { o[key] = Napi::Number::New(env, value); };
        put("queuedCalls", double(s.queued_calls));
        put("queuedPairs", double(s.queued_pairs));
        put("queuedTokens", double(s.queued_tokens));
        put("runningCalls", double(s.running_calls));
        put("runningPairs", double(s.running_pairs));
        put("runningTokens", double(s.running_tokens));
        put("computedPairs", double(s.computed_pairs));
        put("computedTokens", double(s.computed_tokens));
        put("batches", double(s.n_batches));
        put("truncatedPairs", double(s.truncated_pairs));
        put("computeMs", s.compute_ms);
        put("prefixHits", double(prefixes.hits));
        put("prefixMisses", double(prefixes.misses));
        put("prefixTokens", double(prefixes.tokens));
        put("prefixBytes", double(prefixes.bytes));
        return o;
    }

    // Of a model that was loaded `watched`: mean squares of each weight's inputs, by its name.
    Napi::Value importance(const Napi::CallbackInfo & call) {
        const Napi::Env env = call.Env();
        const Importance * kept = engine(env).backend().importance();
        Napi::Object out = Napi::Object::New(env);
        if (!kept) return out;
        for (const auto & [name, entry] : kept->entries()) {
            std::vector<float> means;
            for (double sum : entry.squares) means.push_back(float(sum / double(entry.n_rows)));
            out[name] = typed_array<Napi::Float32Array>(env, means);
        }
        return out;
    }

    Napi::Value close(const Napi::CallbackInfo & call) {
        const Napi::Env env = call.Env();
        if (closing_) return closed_.Value();
        closing_ = true;
        // Work in flight is waited for on the engine's thread: a libuv thread that waited would hold the end of a worker.
        const auto deferred = Napi::Promise::Deferred::New(env);
        closed_ = Napi::Persistent(deferred.Promise().As<Napi::Object>());
        keep_alive_ = Napi::Persistent(call.This().As<Napi::Object>()); // until then
        events_.Ref(env);
        engine_->close([this, deferred] {
            on_js_thread([this, deferred](Napi::Env env) {
                Napi::HandleScope scope(env);
                engine_->close(); // its thread has nothing left to do
                forget();
                last_stats_ = engine_->stats();
                last_prefix_stats_ = engine_->prefix_stats();
                engine_.reset();
                release(); // answers queued before are delivered by now
                keep_alive_.Reset();
                deferred.Resolve(env.Undefined());
            });
        });
        return deferred.Promise();
    }

    std::shared_ptr<Engine> engine_; // null once closed
    std::set<Engine *> * engines_ = nullptr; // of the environment, while engine_ is among them
    EngineStats last_stats_;
    PrefixStats last_prefix_stats_;
    Napi::ThreadSafeFunction events_;
    bool released_ = false, hooked_ = false, closing_ = false;
    Napi::ObjectReference closed_, keep_alive_;
    std::map<Call *, std::unique_ptr<Call>> calls_;
};

} // namespace

static Napi::Value load_model(const Napi::CallbackInfo & call) {
    const Napi::Env env = call.Env();
    const std::string path = text(call[0]);
    const EngineOptions options = engine_options(call[1].As<Napi::Object>());
    return Task<std::shared_ptr<Engine>>::run(
        env, [path, options] { return std::make_shared<Engine>(std::make_shared<ModelFile>(path), options); },
        [](Napi::Env env, std::shared_ptr<Engine> && engine) -> Napi::Value {
            return env.GetInstanceData<Environment>()->model_class.New({Napi::External<std::shared_ptr<Engine>>::New(env, &engine)});
        });
}

// process.exit() and uncaught exceptions end the main thread without its cleanup hooks, and then exit() destroys static objects
// of ggml while an engine may still compute. No answer can be delivered any more when the process emits "exit", so all stop there.
static void stop_at_exit(Napi::Env env) {
    const Napi::Value process = env.Global().Get("process");
    if (!process.IsObject() || !process.As<Napi::Object>().Get("once").IsFunction()) return;
    const auto stop = Napi::Function::New(env, [](const Napi::CallbackInfo & call) {
        for (Engine * engine : call.Env().GetInstanceData<Environment>()->engines) engine->abandon();
    });
    process.As<Napi::Object>().Get("once").As<Napi::Function>().Call(process, {Napi::String::New(env, "exit"), stop});
}

void export_models(Napi::Env env, Napi::Object exports) {
    stop_at_exit(env);
    env.GetInstanceData<Environment>()->model_class = Napi::Persistent(Model::define(env));
    add(exports, "loadModel", load_model);
}

} // namespace bge::binding
