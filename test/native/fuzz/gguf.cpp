// Fuzz target: a GGUF file from a stranger, taken as far as a score. The engine itself reads it, makes its tokenizer,
// loads its weights and scores one pair.
#include "engine.h"
#include "fuzz.h"
#include <cmath>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

using namespace bge;

namespace {

// Codes that a damaged or hostile file may give. OUT_OF_MEMORY is none of them: inputs have some kilobytes.
const char * const expected_codes[] = {"MODEL_INVALID", "MODEL_UNSUPPORTED", "TOKENIZER_UNSUPPORTED", "INPUT_TOO_LONG", "COMPUTE_FAILED"};

void check(const Error & e) {
    bool expected = false;
    for (const char * code : expected_codes) expected = expected || !std::strcmp(e.code, code);
    const std::string message = e.what();
    require(expected, std::string(e.code) + ": " + message);
    require(message.size() > 20 && message.size() < 1000, "an error message of " + std::to_string(message.size()) + " bytes: " + message.substr(0, 200));
    const size_t refused = message.find(" is not a GGUF file that ggml can read"); // behind the path, if it is not part of a name
    require(refused == std::string::npos || refused > 32, "ggml refuses a header that HeaderCheck lets pass, so no field is named");
}

// Qwen3 files are laid out by a chat template, which their vocabulary may or may not close.
std::vector<TemplatePart> chat_template() {
    using Kind = TemplatePart::Kind;
    return {{Kind::literal, "<|im_start|>x\n"}, {Kind::given, "<think>"}, {Kind::literal, "\nQ: "}, {Kind::query, ""},
            {Kind::literal, "<|im_end|>\nD: "}, {Kind::document, ""}, {Kind::literal, "<|im_end|>\n"}};
}

std::shared_ptr<Job> make_job(bool is_decoder, bool is_chat) {
    auto job = std::make_shared<Job>();
    Request & request = job->request;
    request.texts = {"what is a panda?", "The giant panda (Ailuropoda melanoleuca)\tis  a bear.<s> </s> \xEF\xAC\x81 caf\xC3\xA9 \xE7\x86\x8A\xE8\xB2\x93 \xFF"};
    request.pairs = {0, 1, 0, 0};
    request.limits.max_length = 24;
    request.limits.query_max_length = 8;
    if (is_chat) request.limits.parts = chat_template();
    else if (is_decoder) request.limits.separator = request.limits.prompt = {2};
    return job;
}

void score(const std::string & path) {
    const auto file = std::make_shared<ModelFile>(path);
    const bool is_decoder = file->architecture() != "bert", is_chat = file->architecture() == "qwen3";
    EngineOptions options;
    options.tokenizer = fuzz_spec(*file);
    options.n_threads = 1;
    if (file->has("reranker.label_weights")) options.architecture.label_weights = file->floats("reranker.label_weights");
    options.layout.kind = is_chat ? InputLayout::Kind::chat : is_decoder ? InputLayout::Kind::prompt : InputLayout::Kind::pair;
    if (is_decoder) options.layout.bos = {1};
    else options.layout.before = options.layout.between = options.layout.after = {2};
    Engine engine(file, options);

    bool answered = false;
    const auto job = make_job(is_decoder, is_chat);
    job->on_done = [&](Response && response) {
        answered = true;
        require(response.logits.size() == 2 && std::isfinite(response.logits[0]) && std::isfinite(response.logits[1]), "two finite logits");
    };
    job->on_error = [&](const Error & e) {
        answered = true;
        check(e);
    };
    engine.submit(job);
    engine.close();
    require(answered, "an answer");
}

} // namespace

extern "C" int LLVMFuzzerInitialize(int *, char ***) {
    open_ggml();
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t * data, size_t size) {
    const int fd = memfd_create("fuzz.gguf", MFD_CLOEXEC);
    require(fd >= 0 && write(fd, data, size) == ssize_t(size), "a file in memory");
    try {
        score("/proc/self/fd/" + std::to_string(fd));
    } catch (const Error & e) {
        check(e);
    }
    close(fd);
    return 0;
}
