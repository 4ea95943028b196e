// Work off the event loop that is no model's: on libuv's threads.
#pragma once
#include "values.h"
#include <functional>
#include <memory>

namespace bge::binding {

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
    void OnOK() override {
        try {
            deferred_.Resolve(guarded(Env(), [&] { return result_(Env(), std::move(*value_)); }));
        } catch (const Napi::Error & e) {
            deferred_.Reject(e.Value());
        }
    }
    void OnError(const Napi::Error & e) override { deferred_.Reject(to_js(Env(), code_, e.Message()).Value()); }

    Execute_ execute_;
    Result result_;
    std::unique_ptr<T> value_;
    const char * code_ = "COMPUTE_FAILED";
    Napi::Promise::Deferred deferred_;
};

} // namespace bge::binding
