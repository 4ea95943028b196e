// NativeTexts: texts on their way to a model, handed over in steps so that large ones never hold the JS thread.
#include "texts.h"
#include "exports.h"
#include "values.h"

namespace bge::binding {
namespace {

class Texts : public Napi::ObjectWrap<Texts> {
public:
    static Napi::Function define(Napi::Env env) {
        return DefineClass(env, "NativeTexts", {InstanceMethod<&Texts::add>("add"), InstanceMethod<&Texts::append>("append")});
    }
    Texts(const Napi::CallbackInfo & call) : ObjectWrap(call) {}

    std::vector<std::string> take() { return std::move(texts_); }

private:
    // Whole texts.
    Napi::Value add(const Napi::CallbackInfo & call) {
        return guarded(call.Env(), [&] {
            for (std::string & text : texts(call[0])) texts_.push_back(std::move(text));
            return call.Env().Undefined();
        });
    }
    // What the last text goes on with.
    Napi::Value append(const Napi::CallbackInfo & call) {
        return guarded(call.Env(), [&] {
            if (texts_.empty()) texts_.emplace_back();
            texts_.back() += text(call[0]);
            return call.Env().Undefined();
        });
    }

    std::vector<std::string> texts_;
};

Napi::FunctionReference & texts_class(Napi::Env env) { return env.GetInstanceData<Environment>()->texts_class; }

} // namespace

std::vector<std::string> taken_texts(const Napi::Value & value) {
    if (value.IsArray()) return texts(value);
    if (!value.IsObject() || !value.As<Napi::Object>().InstanceOf(texts_class(value.Env()).Value())) {
        throw Napi::TypeError::New(value.Env(), "Expected texts to be an array or NativeTexts");
    }
    return Texts::Unwrap(value.As<Napi::Object>())->take();
}

Napi::Object new_texts(Napi::Env env) { return texts_class(env).New({}); }

void export_texts(Napi::Env env, Napi::Object) { env.GetInstanceData<Environment>()->texts_class = Napi::Persistent(Texts::define(env)); }

} // namespace bge::binding
