// The N-API edge: napi.h is included in this folder only. JavaScript values are read and made on the JS thread only; work
// runs on libuv's threads (Task) or on a model's own (Engine), and errors become exceptions or rejections once, here.
#include "exports.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
    using namespace bge::binding;
    env.SetInstanceData(new Environment);
    export_devices(env, exports);
    export_gguf_reader(env, exports);
    export_gguf_writer(env, exports);
    export_tokenizers(env, exports);
    export_texts(env, exports);
    export_models(env, exports);
    return exports;
}

NODE_API_MODULE(bge_reranker, init)
