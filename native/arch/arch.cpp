// The table of architectures: what this package supports.
#include "arch.h"
#include "../error.h"

namespace bge {

using Load = std::unique_ptr<Architecture> (*)(Weights &, const ArchitectureOptions &);

std::unique_ptr<Architecture> load_bert(Weights &, const ArchitectureOptions &);
std::unique_ptr<Architecture> load_deberta_v2(Weights &, const ArchitectureOptions &);
std::unique_ptr<Architecture> load_gemma(Weights &, const ArchitectureOptions &);
std::unique_ptr<Architecture> load_gemma2(Weights &, const ArchitectureOptions &);
std::unique_ptr<Architecture> load_gte(Weights &, const ArchitectureOptions &);
std::unique_ptr<Architecture> load_llama(Weights &, const ArchitectureOptions &);
std::unique_ptr<Architecture> load_minicpm(Weights &, const ArchitectureOptions &);
std::unique_ptr<Architecture> load_modern_bert(Weights &, const ArchitectureOptions &);
std::unique_ptr<Architecture> load_qwen2(Weights &, const ArchitectureOptions &);
std::unique_ptr<Architecture> load_qwen3(Weights &, const ArchitectureOptions &);

static const struct {
    const char * name; // general.architecture
    Load load;
} architectures[] = {
    {"bert", load_bert},
    {"deberta-v2", load_deberta_v2},
    {"gemma", load_gemma},
    {"gemma2", load_gemma2},
    {"gte", load_gte},
    {"llama", load_llama},
    {"minicpm", load_minicpm},
    {"modern-bert", load_modern_bert},
    {"qwen2", load_qwen2},
    {"qwen3", load_qwen3},
};

std::vector<std::string> architecture_names() {
    std::vector<std::string> out;
    for (const auto & a : architectures) out.push_back(a.name);
    return out;
}

std::unique_ptr<Architecture> load_architecture(Weights & weights, const ArchitectureOptions & options) {
    const std::string name = weights.file().architecture();
    std::string known;
    for (const auto & a : architectures) {
        if (name == a.name) return a.load(weights, options);
        known += (known.empty() ? "" : ", ") + std::string(a.name);
    }
    throw Error("MODEL_UNSUPPORTED", weights.file().path() + " holds a '" + shortened(name) + "' model; supported are " + known);
}

} // namespace bge
