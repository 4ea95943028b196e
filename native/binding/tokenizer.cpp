// NativeTokenizer: a file's tokenizer alone, for conversion and tests.
#include "exports.h"
#include "requests.h"
#include "values.h"
#include "vocabulary.h"

namespace bge::binding {
namespace {

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

} // namespace

static Napi::Value load_tokenizer(const Napi::CallbackInfo & call) {
    return call.Env().GetInstanceData<Environment>()->tokenizer_class.New({call[0], call[1]});
}

void export_tokenizers(Napi::Env env, Napi::Object exports) {
    env.GetInstanceData<Environment>()->tokenizer_class = Napi::Persistent(LoneTokenizer::define(env));
    add(exports, "loadTokenizer", load_tokenizer);
}

} // namespace bge::binding
