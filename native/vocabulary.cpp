#include "vocabulary.h"
#include "model-file.h"

namespace bge {

Vocabulary read_vocabulary(const ModelFile & file) {
    Vocabulary out;
    out.pieces = file.texts("tokenizer.ggml.tokens");
    if (file.has("tokenizer.ggml.scores")) out.scores = file.floats("tokenizer.ggml.scores");
    if (file.has("tokenizer.ggml.token_type")) out.types = file.integers("tokenizer.ggml.token_type");
    if (file.has("tokenizer.ggml.precompiled_charsmap")) out.charsmap = file.bytes("tokenizer.ggml.precompiled_charsmap");
    if (file.has("tokenizer.ggml.merges")) out.merges = file.texts("tokenizer.ggml.merges");
    out.unknown_id = int32_t(file.u32("tokenizer.ggml.unknown_token_id", uint32_t(-1)));
    return out;
}

} // namespace bge
