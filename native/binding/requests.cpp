#include "requests.h"
#include "texts.h"
#include "values.h"

namespace bge::binding {

static std::vector<TokenizerSpec::Step> steps(const Napi::Value & value) {
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

static InputLayout input_layout(const Napi::Object & o) {
    InputLayout out;
    const std::string kind = text(o, "kind");
    out.kind = kind == "pair" ? InputLayout::Kind::pair : kind == "chat" ? InputLayout::Kind::chat : InputLayout::Kind::prompt;
    out.before = integers(o.Get("before"));
    out.between = integers(o.Get("between"));
    out.after = integers(o.Get("after"));
    out.bos = integers(o.Get("bos"));
    if (out.kind == InputLayout::Kind::prompt) out.frame_on_top = boolean(o, "frameOnTop");
    if (out.kind == InputLayout::Kind::pair) {
        out.document_token_type = integer(o, "documentTokenType");
        out.padding = integer(o, "padding");
    }
    return out;
}

EngineOptions engine_options(const Napi::Object & spec) {
    EngineOptions options;
    options.device = text(spec, "device");
    options.n_threads = integer(spec, "threads");
    options.tokenizer = tokenizer_spec(spec.Get("tokenizer").As<Napi::Object>());
    options.layout = input_layout(spec.Get("layout").As<Napi::Object>());
    options.architecture.max_layer = integer(spec, "maxLayer");
    options.architecture.token_id = integer(spec, "tokenId");
    options.architecture.label_weights = floats(spec.Get("labelWeights"));
    options.max_graph_tokens = integer(spec, "maxGraphTokens");
    options.max_state_bytes = spec.Get("maxStateBytes").ToNumber().Int64Value();
    options.max_prefix_bytes = spec.Get("maxPrefixBytes").ToNumber().Int64Value();
    options.keep_alive_ms = integer(spec, "keepAliveMs");
    options.watched = boolean(spec, "watched");
    const std::string mode = text(spec, "weightMode");
    options.weight_mode = mode == "row-int8" ? cpu::WeightMode::row_int8 : mode == "fast" ? cpu::WeightMode::fast : cpu::WeightMode::native;
    return options;
}

LengthLimits length_limits(const Napi::Object & o) {
    LengthLimits out;
    out.max_length = integer(o, "maxLength");
    out.query_max_length = integer(o, "queryMaxLength");
    out.truncation = text(o, "truncation") == "longest_first" ? Truncation::longest_first : Truncation::only_second;
    out.keep_end = boolean(o, "keepEnd");
    out.separator = integers(o.Get("separator"));
    out.prompt = integers(o.Get("prompt"));
    for (const TokenizerSpec::Step & part : steps(o.Get("template"))) {
        const std::string & kind = part.at(0);
        using Kind = TemplatePart::Kind;
        out.parts.push_back({kind == "query" ? Kind::query : kind == "document" ? Kind::document : kind == "given" ? Kind::given : Kind::literal, part.at(1)});
    }
    if (out.max_length < 1 || out.query_max_length < 0) throw Napi::RangeError::New(o.Env(), "Expected maxLength to be positive");
    return out;
}

std::vector<int32_t> pairs_of(const Napi::Object & o, size_t n_texts) {
    std::vector<int32_t> out = integers(o.Get("pairs"));
    for (int32_t index : out) {
        if (index < 0 || size_t(index) >= n_texts) throw Napi::RangeError::New(o.Env(), "A pair names a text that is not there");
    }
    return out;
}

Request request_from(const Napi::Object & o) {
    Request out;
    out.limits = length_limits(o);
    out.texts = taken_texts(o.Get("texts"));
    out.pairs = pairs_of(o, out.texts.size());
    out.windows = integers(o.Get("windows"));
    for (int32_t place : out.windows) if (place < 0) throw Napi::RangeError::New(o.Env(), "A window begins before its document");
    if (!out.windows.empty() && out.windows.size() != out.pairs.size()) throw Napi::RangeError::New(o.Env(), "As many windows as pairs are needed");
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

} // namespace bge::binding
