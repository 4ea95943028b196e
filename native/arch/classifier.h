// The head of encoders: score = output(norm(activation(dense(state)))), one label or the difference of two.
#pragma once
#include "arch.h"
#include <string>

namespace bge {

class Classifier {
public:
    // Tensors `cls`, `cls.norm` (if the file has it) and `cls.output`; `cls` may go without a bias.
    // Throws Error MODEL_UNSUPPORTED when the file has no complete head.
    Classifier(Weights & w, int64_t n_embd, const std::string & activation, float norm_eps);

    ggml_tensor * build(GraphBuilder & g, ggml_tensor * states) const; // [n_embd, n_seqs] -> [n_seqs, 1]

private:
    Linear dense, output;
    Norm norm; // without weights where there is none
    cpu::Activation activation;
};

} // namespace bge
