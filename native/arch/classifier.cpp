#include "classifier.h"
#include "hyperparameters.h"

namespace bge {

Classifier::Classifier(Weights & w, int64_t n_embd, const std::string & fallback, float norm_eps) {
    const ModelFile & file = w.file();
    if (!file.find("cls.output.weight") || !file.find("cls.weight")) {
        throw Error("MODEL_UNSUPPORTED", file.path() + " has no complete classification head (cls.weight, cls.output.weight): it is an embedding model, or was "
                    "converted without its head; convert the checkpoint again with this package");
    }
    activation = read_activation(file, "reranker.head.activation", fallback);
    dense = w.linear("cls", n_embd, n_embd, w.has_bias("cls"));
    if (file.has("reranker.head.norm_epsilon")) norm_eps = read_positive(file, "reranker.head.norm_epsilon");
    if (file.find("cls.norm.weight")) norm = w.norm("cls.norm", n_embd, norm_eps, w.has_bias("cls.norm"));
    const int32_t n_labels = read_rows(file, "cls.output.weight");
    if (n_labels > 2) throw Error("MODEL_UNSUPPORTED", file.path() + " has " + std::to_string(n_labels) + " labels; a reranker has one, or two of which the second says relevant");
    output = w.linear("cls.output", n_embd, n_labels, w.has_bias("cls.output"));
}

ggml_tensor * Classifier::build(GraphBuilder & g, ggml_tensor * states) const {
    ggml_tensor * x = g.linear(dense, states, {activation, nullptr, 1.0f});
    if (norm.weight) x = g.layer_norm(norm, x);
    ggml_tensor * labels = g.linear(output, x); // [n_labels, n_seqs]
    const int64_t n_seqs = labels->ne[1];
    if (output.n_out == 1) return ggml_reshape_2d(g.ctx(), labels, n_seqs, 1);
    const auto label = [&](size_t i) { return ggml_cont(g.ctx(), ggml_view_2d(g.ctx(), labels, 1, n_seqs, labels->nb[1], i * sizeof(float))); };
    return ggml_reshape_2d(g.ctx(), ggml_sub(g.ctx(), label(1), label(0)), n_seqs, 1);
}

} // namespace bge
