// The N-API edge, and the only file that includes napi.h. JavaScript values are read and made on the JS thread only;
// work runs on libuv's threads (Task) or on a model's own (Engine), and errors become rejections here, once.
#include "cpu/cpu.h"
#include "engine.h"
#include "error.h"
#include "ggml-runtime.h"
#include "gguf-writer.h"
#include "model-file.h"
#include "tensor-types.h"
#include <functional>
#include <memory>
#include <napi.h>
#include <map>

namespace bge {
namespace {

Napi::Error to_js(Napi::Env env, const char * code, const std::string & message) {
    Napi::Error error = Napi::Error::New(env, message);
    error.Set("code", Napi::String::New(env, code));
    return error;
}

// Runs `f`, turning what it throws into a JavaScript exception with a code.
template <class F> auto guarded(Napi::Env env, F && f) -> decltype(f()) {
    try {
        return f();
    } catch (const Error & e) {
        throw to_js(env, e.code, e.what());
    } catch (const Napi::Error &) {
        throw;
    } catch (const std::bad_alloc &) {
        throw to_js(env, "OUT_OF_MEMORY", "Out of memory");
    } catch (const std::exception & e) {
        throw to_js(env, "COMPUTE_FAILED", e.what());
    }
}

// --- Reading JavaScript values ---------------------------------------------------------------------

std::string text(const Napi::Value & value) { return value.As<Napi::String>().Utf8Value(); }
std::string text(const Napi::Object & object, const char * key) { return text(object.Get(key)); }
int32_t integer(const Napi::Object & object, const char * key) { return object.Get(key).ToNumber().Int32Value(); }
bool boolean(const Napi::Object & object, const char * key) { return object.Get(key).ToBoolean(); }

// From an array of numbers or an Int32Array.
std::vector<int32_t> integers(const Napi::Value & value) {
    if (value.IsUndefined() || value.IsNull()) return {};
    if (value.IsTypedArray()) {
        const auto array = value.As<Napi::Int32Array>();
        return {array.Data(), array.Data() + array.ElementLength()};
    }
    const auto array = value.As<Napi::Array>();
    std::vector<int32_t> out(array.Length());
    for (uint32_t i = 0; i < array.Length(); i++) out[i] = array.Get(i).ToNumber().Int32Value();
    return out;
}

std::vector<std::string> texts(const Napi::Value & value) {
    const auto array = value.As<Napi::Array>();
    std::vector<std::string> out(array.Length());
    for (uint32_t i = 0; i < array.Length(); i++) out[i] = text(array.Get(i));
    return out;
}

std::vector<TokenizerSpec::Step> steps(const Napi::Value & value) {
    const auto array = value.As<Napi::Array>();
    std::vector<TokenizerSpec::Step> out(array.Length());
    for (uint32_t i = 0; i < array.Length(); i++) out[i] = texts(array.Get(i));
    return out;
}

TokenizerSpec tokenizer_spec(const Napi::Object & o) {
    TokenizerSpec out;
    out.model = text(o, "model");
    out.normalizer = steps(o.Get("normalizer"));
    out.pre_tokenizer = steps(o.Get("preTokenizer"));
    out.options = steps(o.Get("options"));
    const auto added = o.Get("addedTokens").As<Napi::Array>();
    for (uint32_t i = 0; i < added.Length(); i++) {
        const auto a = added.Get(i).As<Napi::Object>();
        AddedToken token;
        token.id = integer(a, "id");
        token.content = text(a, "content");
        token.special = boolean(a, "special");
        token.normalized = boolean(a, "normalized");
        token.lstrip = boolean(a, "lstrip");
        token.rstrip = boolean(a, "rstrip");
        token.single_word = boolean(a, "singleWord");
        out.added_tokens.push_back(token);
    }
    return out;
}

InputLayout input_layout(const Napi::Object & o) {
    InputLayout out;
    out.kind = text(o, "kind") == "pair" ? InputLayout::Kind::pair : InputLayout::Kind::prompt;
    out.before = integers(o.Get("before"));
    out.between = integers(o.Get("between"));
    out.after = integers(o.Get("after"));
    out.bos = integers(o.Get("bos"));
    if (out.kind == InputLayout::Kind::pair) out.document_token_type = integer(o, "documentTokenType");
    return out;
}

LengthLimits length_limits(const Napi::Object & o) {
    LengthLimits out;
    out.max_length = integer(o, "maxLength");
    out.query_max_length = integer(o, "queryMaxLength");
    out.separator = integers(o.Get("separator"));
    out.prompt = integers(o.Get("prompt"));
    if (out.max_length < 1 || out.query_max_length < 0) throw Napi::RangeError::New(o.Env(), "Expected maxLength to be positive");
    return out;
}

Request request_from(const Napi::Object & o) {
    Request out;
    out.limits = length_limits(o);
    out.texts = texts(o.Get("texts"));
    out.pairs = integers(o.Get("pairs"));
    for (int32_t index : out.pairs) {
        if (index < 0 || size_t(index) >= out.texts.size()) throw Napi::RangeError::New(o.Env(), "A pair names a text that is not there");
    }
    out.params.cutoff_layers = integers(o.Get("cutoffLayers"));
    out.params.heads = integers(o.Get("heads"));
    out.params.compress_layers = integers(o.Get("compressLayers"));
    out.params.compress_ratio = integer(o, "compressRatio");
    out.params.attention_soft_cap = boolean(o, "attentionSoftcap");
    if (o.Get("cascade").IsArray()) {
        const auto stages = o.Get("cascade").As<Napi::Array>();
        for (uint32_t i = 0; i < stages.Length(); i++) {
            const auto stage = stages.Get(i).As<Napi::Object>();
            out.cascade.push_back({integer(stage, "layer"), integer(stage, "keep")});
        }
    }
    out.parse_special = boolean(o, "parseSpecial");
    out.share_prefix = boolean(o, "sharePrefix");
    out.fail_on_truncation = boolean(o, "failOnTruncation");
    out.max_batch_tokens = integer(o, "maxBatchTokens");
    out.batch_size = integer(o, "batchSize");
    return out;
}

ggml_type tensor_type(const Napi::Value & value) { return tensor_type_named(text(value)); }

// --- Making JavaScript values ----------------------------------------------------------------------

template <class Array, class T> Array typed_array(Napi::Env env, const std::vector<T> & values) {
    Array out = Array::New(env, values.size());
    if (!values.empty()) std::memcpy(out.Data(), values.data(), values.size() * sizeof(T));
    return out;
}

Napi::Int32Array ids_to_js(Napi::Env env, const std::vector<int32_t> & ids) { return typed_array<Napi::Int32Array>(env, ids); }

Napi::Array strings_to_js(Napi::Env env, const std::vector<std::string> & values) {
    Napi::Array out = Napi::Array::New(env, values.size());
    for (uint32_t i = 0; i < values.size(); i++) out.Set(i, Napi::String::New(env, values[i]));
    return out;
}

// --- Work off the event loop -----------------------------------------------------------------------

// A one-off job: `execute` on a worker thread, without JS values; `result` on the JS thread, without heavy work.
template <class T> class Task : public Napi::AsyncWorker {
public:
    using Execute_ = std::function<T()>;
    using Result = std::function<Napi::Value(Napi::Env, T &&)>;

    static Napi::Value run(Napi::Env env, Execute_ execute, Result result) {
        auto * task = new Task(env, std::move(execute), std::move(result)); // deletes itself
        task->Queue();
        return task->deferred_.Promise();
    }

private:
    Task(Napi::Env env, Execute_ execute, Result result)
        : AsyncWorker(env, "bge-reranker"), execute_(std::move(execute)), result_(std::move(result)), deferred_(Napi::Promise::Deferred::New(env)) {}

    void Execute() override {
        try {
            value_ = std::make_unique<T>(execute_());
        } catch (const Error & e) {
            code_ = e.code;
            SetError(e.what());
        } catch (const std::bad_alloc &) {
            code_ = "OUT_OF_MEMORY";
            SetError("Out of memory");
        } catch (const std::exception & e) {
            code_ = "COMPUTE_FAILED";
            SetError(e.what());
        }
    }
    void OnOK() override { deferred_.Resolve(result_(Env(), std::move(*value_))); }
    void OnError(const Napi::Error & e) override { deferred_.Reject(to_js(Env(), code_, e.Message()).Value()); }

    Execute_ execute_;
    Result result_;
    std::unique_ptr<T> value_;
    const char * code_ = "COMPUTE_FAILED";
    Napi::Promise::Deferred deferred_;
};

// --- Model -----------------------------------------------------------------------------------------

struct Environment {
    Napi::FunctionReference model_class, tokenizer_class;
};

// Shutting down is safe because the engine's thread is joined before the thread-safe function it calls can go: at
// close(), at collection, and at the end of the environment by a hook that is added after (so runs before) its own.
class Model : public Napi::ObjectWrap<Model> {
public:
    static Napi::Function define(Napi::Env env) {
        return DefineClass(env, "NativeModel", {
            InstanceAccessor<&Model::info>("info"),
            InstanceMethod<&Model::encode>("encode"),
            InstanceMethod<&Model::encode_pair>("encodePair"),
            InstanceMethod<&Model::score>("score"),
            InstanceMethod<&Model::close>("close"),
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
        if (engine_) engine_->abandon();
        release();
        if (hooked_) napi_remove_env_cleanup_hook(Env(), at_environment_end, this);
        hooked_ = false;
    }

    void release() {
        if (!released_) events_.Release();
        released_ = true;
    }

    Engine & engine(Napi::Env env) const {
        if (!engine_ || closing_) throw to_js(env, "CLOSED", "The reranker was disposed");
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
        o["weightsSizeBytes"] = Napi::Number::New(env, double(e.weights_size()));
        o["weightsLoaded"] = Napi::Boolean::New(env, e.weights_loaded());
        return o;
    }

    Napi::Value encode(const Napi::CallbackInfo & call) {
        return guarded(call.Env(), [&] { return ids_to_js(call.Env(), engine(call.Env()).tokenizer().encode(text(call[0]), {call[1].ToBoolean(), SIZE_MAX})); });
    }

    Napi::Value encode_pair(const Napi::CallbackInfo & call) {
        const Napi::Env env = call.Env();
        return guarded(env, [&] {
            const auto spec = call[2].As<Napi::Object>();
            const EncodedPair pair = engine(env).encode(text(call[0]), text(call[1]), length_limits(spec), boolean(spec, "parseSpecial"));
            std::vector<int32_t> types(pair.ids.size());
            for (size_t i = 0; i < types.size(); i++) types[i] = int32_t(i) >= pair.document_begin;
            Napi::Object o = Napi::Object::New(env);
            o["inputIds"] = ids_to_js(env, pair.ids);
            o["tokenTypes"] = ids_to_js(env, types);
            o["truncated"] = Napi::Number::New(env, pair.truncated);
            o["queryLength"] = Napi::Number::New(env, pair.query_length);
            o["promptLength"] = Napi::Number::New(env, pair.prompt_length);
            return o;
        });
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
            finish(call, [e](Napi::Env env, Napi::Promise::Deferred & deferred) { deferred.Reject(to_js(env, e.code, e.what()).Value()); });
        };
        Napi::Object handle = Napi::Object::New(env);
        handle["promise"] = call->deferred.Promise();
        handle["cancel"] = Napi::Function::New(env, [job = std::weak_ptr<Job>(job)](const Napi::CallbackInfo &) {
            if (auto alive = job.lock()) alive->cancelled = true;
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
                engine_.reset();
                release(); // answers queued before are delivered by now
                keep_alive_.Reset();
                deferred.Resolve(env.Undefined());
            });
        });
        return deferred.Promise();
    }

    std::shared_ptr<Engine> engine_; // null once closed
    Napi::ThreadSafeFunction events_;
    bool released_ = false, hooked_ = false, closing_ = false;
    Napi::ObjectReference closed_, keep_alive_;
    std::map<Call *, std::unique_ptr<Call>> calls_;
};

Napi::Value load_model(const Napi::CallbackInfo & call) {
    const Napi::Env env = call.Env();
    const std::string path = text(call[0]);
    const auto spec = call[1].As<Napi::Object>();
    EngineOptions options;
    options.device = text(spec, "device");
    options.n_threads = integer(spec, "threads");
    options.tokenizer = tokenizer_spec(spec.Get("tokenizer").As<Napi::Object>());
    options.layout = input_layout(spec.Get("layout").As<Napi::Object>());
    options.architecture.max_layer = integer(spec, "maxLayer");
    options.architecture.token_id = integer(spec, "tokenId");
    options.max_graph_tokens = integer(spec, "maxGraphTokens");
    options.max_state_bytes = spec.Get("maxStateBytes").ToNumber().Int64Value();
    options.keep_alive_ms = integer(spec, "keepAliveMs");
    options.weight_mode = text(spec, "weightMode") == "row-int8" ? cpu::WeightMode::row_int8 : cpu::WeightMode::native;
    return Task<std::shared_ptr<Engine>>::run(
        env, [path, options] { return std::make_shared<Engine>(std::make_shared<ModelFile>(path), options); },
        [](Napi::Env env, std::shared_ptr<Engine> && engine) -> Napi::Value {
            return env.GetInstanceData<Environment>()->model_class.New({Napi::External<std::shared_ptr<Engine>>::New(env, &engine)});
        });
}

// --- A tokenizer alone, for conversion and tests ---------------------------------------------------

class LoneTokenizer : public Napi::ObjectWrap<LoneTokenizer> {
public:
    static Napi::Function define(Napi::Env env) {
        return DefineClass(env, "NativeTokenizer", {InstanceMethod<&LoneTokenizer::encode>("encode")});
    }
    LoneTokenizer(const Napi::CallbackInfo & call) : ObjectWrap(call) {
        tokenizer_ = guarded(call.Env(), [&] { return Tokenizer::create(read_vocabulary(ModelFile(text(call[0]))), tokenizer_spec(call[1].As<Napi::Object>())); });
    }

private:
    Napi::Value encode(const Napi::CallbackInfo & call) {
        return guarded(call.Env(), [&] { return ids_to_js(call.Env(), tokenizer_->encode(text(call[0]), {call[1].ToBoolean(), SIZE_MAX})); });
    }
    std::unique_ptr<Tokenizer> tokenizer_;
};

Napi::Value load_tokenizer(const Napi::CallbackInfo & call) {
    return call.Env().GetInstanceData<Environment>()->tokenizer_class.New({call[0], call[1]});
}

// --- ggml and devices ------------------------------------------------------------------------------

Napi::Value open(const Napi::CallbackInfo & call) {
    const Napi::Env env = call.Env();
    const auto o = call[0].As<Napi::Object>();
    const auto opened = guarded(env, [&] { return ggml_runtime::open({text(o, "base"), text(o, "ggml"), text(o, "version")}); });
    Napi::Object out = Napi::Object::New(env);
    out["version"] = Napi::String::New(env, opened.version);
    out["commit"] = Napi::String::New(env, opened.commit);
    out["from"] = Napi::String::New(env, opened.from);
    out["shared"] = Napi::Boolean::New(env, opened.shared);
    return out;
}

Napi::Value held(const Napi::CallbackInfo & call) {
    const Napi::Env env = call.Env();
    const auto found = ggml_runtime::held(text(call[0]));
    if (found.version.empty()) return env.Undefined();
    Napi::Object out = Napi::Object::New(env);
    out["version"] = Napi::String::New(env, found.version);
    out["from"] = Napi::String::New(env, found.from);
    out["ours"] = Napi::Boolean::New(env, found.ours);
    return out;
}

Napi::Value preload(const Napi::CallbackInfo & call) {
    return Napi::String::New(call.Env(), ggml_runtime::preload(text(call[0])));
}

Napi::Value probe(const Napi::CallbackInfo & call) {
    const Napi::Env env = call.Env();
    const auto module = ggml_runtime::probe(text(call[0]));
    Napi::Object out = Napi::Object::New(env);
    out["path"] = Napi::String::New(env, module.path);
    out["score"] = Napi::Number::New(env, module.score);
    if (!module.error.empty()) out["error"] = Napi::String::New(env, module.error);
    return out;
}

Napi::Value load_module(const Napi::CallbackInfo & call) {
    return guarded(call.Env(), [&] { return strings_to_js(call.Env(), ggml_runtime::load_module(text(call[0]))); });
}

Napi::Value devices(const Napi::CallbackInfo & call) {
    const Napi::Env env = call.Env();
    const auto found = guarded(env, [] { return list_devices(); });
    Napi::Array out = Napi::Array::New(env);
    for (uint32_t i = 0; i < found.size(); i++) {
        Napi::Object o = Napi::Object::New(env);
        o["name"] = Napi::String::New(env, found[i].name);
        o["description"] = Napi::String::New(env, found[i].description);
        o["kind"] = Napi::String::New(env, found[i].kind);
        o["memoryFreeBytes"] = Napi::Number::New(env, double(found[i].memory_free));
        o["memoryTotalBytes"] = Napi::Number::New(env, double(found[i].memory_total));
        out.Set(i, o);
    }
    return out;
}

Napi::Value cpu_info(const Napi::CallbackInfo & call) {
    const Napi::Env env = call.Env();
    Napi::Object out = Napi::Object::New(env);
    out["isa"] = Napi::String::New(env, guarded(env, [] { return std::string(cpu::isa_name(cpu::isa())); }));
    out["physicalCores"] = Napi::Number::New(env, cpu::physical_cores());
    return out;
}

// --- GGUF files ------------------------------------------------------------------------------------

struct KvType { gguf_type type; const char * name; };
const KvType kv_types[] = {
    {GGUF_TYPE_UINT8, "u8"}, {GGUF_TYPE_INT8, "i8"}, {GGUF_TYPE_UINT16, "u16"}, {GGUF_TYPE_INT16, "i16"},
    {GGUF_TYPE_UINT32, "u32"}, {GGUF_TYPE_INT32, "i32"}, {GGUF_TYPE_UINT64, "u64"}, {GGUF_TYPE_INT64, "i64"},
    {GGUF_TYPE_FLOAT32, "f32"}, {GGUF_TYPE_FLOAT64, "f64"}, {GGUF_TYPE_BOOL, "bool"}, {GGUF_TYPE_STRING, "string"},
};

std::string kv_type_name(gguf_type type) {
    for (const auto & t : kv_types) if (t.type == type) return t.name;
    return "unknown";
}

Napi::Value scalar_to_js(Napi::Env env, const gguf_context * g, int64_t id) {
    switch (gguf_get_kv_type(g, id)) {
        case GGUF_TYPE_UINT8: return Napi::Number::New(env, gguf_get_val_u8(g, id));
        case GGUF_TYPE_INT8: return Napi::Number::New(env, gguf_get_val_i8(g, id));
        case GGUF_TYPE_UINT16: return Napi::Number::New(env, gguf_get_val_u16(g, id));
        case GGUF_TYPE_INT16: return Napi::Number::New(env, gguf_get_val_i16(g, id));
        case GGUF_TYPE_UINT32: return Napi::Number::New(env, gguf_get_val_u32(g, id));
        case GGUF_TYPE_INT32: return Napi::Number::New(env, gguf_get_val_i32(g, id));
        case GGUF_TYPE_UINT64: return Napi::BigInt::New(env, gguf_get_val_u64(g, id));
        case GGUF_TYPE_INT64: return Napi::BigInt::New(env, gguf_get_val_i64(g, id));
        case GGUF_TYPE_FLOAT32: return Napi::Number::New(env, gguf_get_val_f32(g, id));
        case GGUF_TYPE_FLOAT64: return Napi::Number::New(env, gguf_get_val_f64(g, id));
        case GGUF_TYPE_BOOL: return Napi::Boolean::New(env, gguf_get_val_bool(g, id));
        default: return Napi::String::New(env, gguf_get_val_str(g, id));
    }
}

template <class Array> Napi::Value numbers_to_js(Napi::Env env, const void * data, size_t n) {
    Array out = Array::New(env, n);
    if (n) std::memcpy(out.Data(), data, out.ByteLength());
    return out;
}

Napi::Value array_to_js(Napi::Env env, const gguf_context * g, int64_t id) {
    const size_t n = gguf_get_arr_n(g, id);
    const gguf_type type = gguf_get_arr_type(g, id);
    if (type == GGUF_TYPE_STRING) {
        Napi::Array out = Napi::Array::New(env, n);
        for (size_t i = 0; i < n; i++) {
            Napi::HandleScope scope(env); // a vocabulary has 250,000 strings
            out.Set(uint32_t(i), Napi::String::New(env, gguf_get_arr_str(g, id, i)));
        }
        return out;
    }
    const void * data = gguf_get_arr_data(g, id);
    switch (type) {
        case GGUF_TYPE_UINT8: case GGUF_TYPE_BOOL: return numbers_to_js<Napi::Uint8Array>(env, data, n);
        case GGUF_TYPE_INT8: return numbers_to_js<Napi::Int8Array>(env, data, n);
        case GGUF_TYPE_UINT16: return numbers_to_js<Napi::Uint16Array>(env, data, n);
        case GGUF_TYPE_INT16: return numbers_to_js<Napi::Int16Array>(env, data, n);
        case GGUF_TYPE_UINT32: return numbers_to_js<Napi::Uint32Array>(env, data, n);
        case GGUF_TYPE_INT32: return numbers_to_js<Napi::Int32Array>(env, data, n);
        case GGUF_TYPE_UINT64: return numbers_to_js<Napi::BigUint64Array>(env, data, n);
        case GGUF_TYPE_INT64: return numbers_to_js<Napi::BigInt64Array>(env, data, n);
        case GGUF_TYPE_FLOAT32: return numbers_to_js<Napi::Float32Array>(env, data, n);
        default: return numbers_to_js<Napi::Float64Array>(env, data, n);
    }
}

Napi::Object header_to_js(Napi::Env env, const ModelFile & file) {
    const gguf_context * g = file.gguf();
    Napi::Object metadata = Napi::Object::New(env);
    for (int64_t i = 0; i < gguf_get_n_kv(g); i++) {
        const bool array = gguf_get_kv_type(g, i) == GGUF_TYPE_ARRAY;
        Napi::Object entry = Napi::Object::New(env);
        entry["type"] = Napi::String::New(env, array ? kv_type_name(gguf_get_arr_type(g, i)) + "[]" : kv_type_name(gguf_get_kv_type(g, i)));
        entry["value"] = array ? array_to_js(env, g, i) : scalar_to_js(env, g, i);
        metadata.Set(gguf_get_key(g, i), entry);
    }
    const int64_t n_tensors = gguf_get_n_tensors(g);
    Napi::Array tensors = Napi::Array::New(env, size_t(n_tensors));
    for (int64_t i = 0; i < n_tensors; i++) {
        const char * name = gguf_get_tensor_name(g, i);
        const ggml_tensor * meta = file.find(name);
        Napi::Array shape = Napi::Array::New(env);
        for (int d = 0; d < ggml_n_dims(meta); d++) shape.Set(uint32_t(d), Napi::Number::New(env, double(meta->ne[d])));
        Napi::Object o = Napi::Object::New(env);
        o["name"] = Napi::String::New(env, name);
        o["type"] = Napi::String::New(env, tensor_type_name(meta->type));
        o["shape"] = shape;
        o["offset"] = Napi::Number::New(env, double(file.offset_of(name)));
        o["sizeBytes"] = Napi::Number::New(env, double(ggml_nbytes(meta)));
        tensors.Set(uint32_t(i), o);
    }
    Napi::Object out = Napi::Object::New(env);
    out["version"] = Napi::Number::New(env, gguf_get_version(g));
    out["alignment"] = Napi::Number::New(env, double(gguf_get_alignment(g)));
    out["dataOffset"] = Napi::Number::New(env, double(gguf_get_data_offset(g)));
    out["fileSizeBytes"] = Napi::Number::New(env, double(file.file().size()));
    out["metadata"] = metadata;
    out["tensors"] = tensors;
    return out;
}

Napi::Value read_gguf(const Napi::CallbackInfo & call) {
    return guarded(call.Env(), [&] { return header_to_js(call.Env(), ModelFile(text(call[0]))); });
}

template <class T> GgufArray number_array(gguf_type type, const Napi::Array & array, T (*read)(const Napi::Value &)) {
    GgufArray out{type, std::vector<uint8_t>(array.Length() * sizeof(T))};
    for (uint32_t i = 0; i < array.Length(); i++) {
        const T value = read(array.Get(i));
        std::memcpy(out.bytes.data() + i * sizeof(T), &value, sizeof(T));
    }
    return out;
}

template <class T> T read_number(const Napi::Value & v) { return static_cast<T>(v.ToNumber().DoubleValue()); }
template <> uint64_t read_number(const Napi::Value & v) {
    bool lossless;
    return v.IsBigInt() ? v.As<Napi::BigInt>().Uint64Value(&lossless) : uint64_t(v.ToNumber().DoubleValue());
}
template <> int64_t read_number(const Napi::Value & v) {
    bool lossless;
    return v.IsBigInt() ? v.As<Napi::BigInt>().Int64Value(&lossless) : v.ToNumber().Int64Value();
}
template <> bool read_number(const Napi::Value & v) { return v.ToBoolean(); }

// A typed array of the right element size is taken as it is; anything else is read as an array of values.
template <class T> GgufValue array_from_js(gguf_type type, const Napi::Value & value) {
    if (value.IsTypedArray() && value.As<Napi::TypedArray>().ElementSize() == sizeof(T)) {
        const auto array = value.As<Napi::TypedArray>();
        const auto * data = static_cast<const uint8_t *>(array.ArrayBuffer().Data()) + array.ByteOffset();
        return GgufArray{type, {data, data + array.ByteLength()}};
    }
    if (!value.IsArray()) throw Napi::TypeError::New(value.Env(), "Expected an array of numbers, or a typed array of their size");
    return number_array<T>(type, value.As<Napi::Array>(), read_number<T>);
}

template <class T> GgufValue value_from_js(gguf_type type, bool array, const Napi::Value & value) {
    return array ? array_from_js<T>(type, value) : GgufValue(read_number<T>(value));
}

GgufEntry entry_from_js(const Napi::Array & entry) {
    const std::string key = text(entry.Get(0u));
    std::string name = text(entry.Get(1u));
    const Napi::Value value = entry.Get(2u);
    const bool array = name.size() > 2 && name.substr(name.size() - 2) == "[]";
    if (array) name.resize(name.size() - 2);
    for (const auto & t : kv_types) {
        if (name != t.name) continue;
        switch (t.type) {
            case GGUF_TYPE_UINT8: return {key, value_from_js<uint8_t>(t.type, array, value)};
            case GGUF_TYPE_INT8: return {key, value_from_js<int8_t>(t.type, array, value)};
            case GGUF_TYPE_UINT16: return {key, value_from_js<uint16_t>(t.type, array, value)};
            case GGUF_TYPE_INT16: return {key, value_from_js<int16_t>(t.type, array, value)};
            case GGUF_TYPE_UINT32: return {key, value_from_js<uint32_t>(t.type, array, value)};
            case GGUF_TYPE_INT32: return {key, value_from_js<int32_t>(t.type, array, value)};
            case GGUF_TYPE_UINT64: return {key, value_from_js<uint64_t>(t.type, array, value)};
            case GGUF_TYPE_INT64: return {key, value_from_js<int64_t>(t.type, array, value)};
            case GGUF_TYPE_FLOAT32: return {key, value_from_js<float>(t.type, array, value)};
            case GGUF_TYPE_FLOAT64: return {key, value_from_js<double>(t.type, array, value)};
            case GGUF_TYPE_BOOL: return {key, value_from_js<bool>(t.type, array, value)};
            default: return {key, array ? GgufValue(texts(value)) : GgufValue(text(value))};
        }
    }
    throw Napi::TypeError::New(value.Env(), "Unknown GGUF type " + name + " of key " + key);
}

Napi::Value write_header(const Napi::CallbackInfo & call) {
    const Napi::Env env = call.Env();
    const std::string path = text(call[0]);
    const auto entries = call[1].As<Napi::Array>();
    std::vector<GgufEntry> metadata;
    for (uint32_t i = 0; i < entries.Length(); i++) metadata.push_back(entry_from_js(entries.Get(i).As<Napi::Array>()));
    const auto list = call[2].As<Napi::Array>();
    std::vector<GgufTensorSpec> tensors;
    return guarded(env, [&]() -> Napi::Value {
        for (uint32_t i = 0; i < list.Length(); i++) {
            const auto o = list.Get(i).As<Napi::Object>();
            GgufTensorSpec spec{text(o, "name"), tensor_type(o.Get("type")), {}};
            const auto shape = o.Get("shape").As<Napi::Array>();
            for (uint32_t d = 0; d < shape.Length(); d++) spec.shape.push_back(shape.Get(d).ToNumber().Int64Value());
            tensors.push_back(spec);
        }
        const GgufLayout layout = write_gguf_header(path, metadata, tensors);
        Napi::Array placed = Napi::Array::New(env, tensors.size());
        for (uint32_t i = 0; i < tensors.size(); i++) {
            Napi::Object o = Napi::Object::New(env);
            const auto given = list.Get(i).As<Napi::Object>();
            o["name"] = given.Get("name");
            o["type"] = given.Get("type");
            o["shape"] = given.Get("shape");
            o["offset"] = Napi::Number::New(env, double(layout.offsets[i]));
            o["sizeBytes"] = Napi::Number::New(env, double(layout.sizes[i]));
            placed.Set(i, o);
        }
        Napi::Object out = Napi::Object::New(env);
        out["version"] = Napi::Number::New(env, 3);
        out["alignment"] = Napi::Number::New(env, double(layout.alignment));
        out["dataOffset"] = Napi::Number::New(env, double(layout.data_offset));
        out["fileSizeBytes"] = Napi::Number::New(env, double(layout.file_size));
        out["metadata"] = Napi::Object::New(env);
        out["tensors"] = placed;
        return out;
    });
}

Napi::Value types(const Napi::CallbackInfo & call) {
    const Napi::Env env = call.Env();
    const auto list = tensor_types();
    Napi::Array out = Napi::Array::New(env, list.size());
    for (uint32_t i = 0; i < list.size(); i++) {
        Napi::Object o = Napi::Object::New(env);
        o["name"] = Napi::String::New(env, list[i].name);
        o["blockSize"] = Napi::Number::New(env, double(list[i].block_size));
        o["blockBytes"] = Napi::Number::New(env, double(list[i].block_bytes));
        o["quantized"] = Napi::Boolean::New(env, list[i].quantized);
        o["writable"] = Napi::Boolean::New(env, list[i].writable);
        out.Set(i, o);
    }
    return out;
}

Napi::Value convert_rows_async(const Napi::CallbackInfo & call) {
    const Napi::Env env = call.Env();
    const auto source = call[0].As<Napi::Uint8Array>();
    const uint8_t * data = source.Data();
    const size_t size = source.ByteLength();
    return guarded(env, [&] {
        const ggml_type from = tensor_type(call[1]), to = tensor_type(call[2]);
        const size_t columns = size_t(call[3].ToNumber().Int64Value());
        // The caller's bytes are read in place; the reference keeps them alive.
        auto keep_alive = std::make_shared<Napi::ObjectReference>(Napi::Persistent(source.As<Napi::Object>()));
        return Task<std::vector<uint8_t>>::run(
            env, [=] { return convert_rows(data, size, from, to, columns); },
            [keep_alive](Napi::Env env, std::vector<uint8_t> && bytes) -> Napi::Value {
                keep_alive->Reset();
                return typed_array<Napi::Uint8Array>(env, bytes);
            });
    });
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
    auto * data = new Environment();
    env.SetInstanceData(data);
    data->model_class = Napi::Persistent(Model::define(env));
    data->tokenizer_class = Napi::Persistent(LoneTokenizer::define(env));
#ifdef BGE_GGML_LINKED
    exports["builtin"] = Napi::Boolean::New(env, true);
#else
    exports["builtin"] = Napi::Boolean::New(env, false);
#endif
    const auto add = [&](const char * name, Napi::Value (*f)(const Napi::CallbackInfo &)) { exports[name] = Napi::Function::New(env, f, name); };
    add("open", open);
    add("held", held);
    add("preload", preload);
    add("probe", probe);
    add("loadModule", load_module);
    add("devices", devices);
    add("cpu", cpu_info);
    add("tensorTypes", types);
    add("readGguf", read_gguf);
    add("writeGgufHeader", write_header);
    add("convertRows", convert_rows_async);
    add("loadTokenizer", load_tokenizer);
    add("loadModel", load_model);
    return exports;
}

} // namespace
} // namespace bge

static Napi::Object init_addon(Napi::Env env, Napi::Object exports) { return bge::init(env, exports); }
NODE_API_MODULE(bge_reranker, init_addon)
