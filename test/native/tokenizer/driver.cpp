// Encodes a corpus with a vocabulary and rules dumped to a file, without Node and without ggml: for sanitizers and timing.
//   tokenizer-driver dump corpus ids [max_tokens]
// Numbers are u32, strings and lists have their count in front:
//   dump: model, normalizer, pre_tokenizer, options, added tokens (id, flags, content), pieces, scores (f32), types,
//         charsmap, merges, unknown id      corpus: strings      ids: lists
#include "tokenizer/tokenizer.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace {

struct Reader {
    explicit Reader(const char * path) : file(std::fopen(path, "rb")) {
        if (!file) std::exit((std::perror(path), 1));
    }
    ~Reader() { std::fclose(file); }

    uint32_t number() {
        uint32_t value = 0;
        if (std::fread(&value, 4, 1, file) != 1) at_end = true;
        return value;
    }
    std::string text() {
        std::string out(number(), '\0');
        if (std::fread(out.data(), 1, out.size(), file) != out.size()) at_end = true;
        return out;
    }
    std::vector<std::string> texts() {
        std::vector<std::string> out(number());
        for (std::string & item : out) item = text();
        return out;
    }
    std::vector<std::vector<std::string>> steps() {
        std::vector<std::vector<std::string>> out(number());
        for (auto & item : out) item = texts();
        return out;
    }
    template <typename T> std::vector<T> numbers() {
        std::vector<T> out(number());
        for (T & item : out) {
            const uint32_t bits = number();
            std::memcpy(&item, &bits, 4);
        }
        return out;
    }

    std::FILE * file;
    bool at_end = false;
};

double seconds(std::clock_t since) { return double(std::clock() - since) / CLOCKS_PER_SEC; }

} // namespace

int main(int argc, char ** argv) {
    if (argc < 4) return std::fprintf(stderr, "usage: %s dump corpus ids [max_tokens]\n", argv[0]), 2;
    Reader dump(argv[1]);
    bge::TokenizerSpec spec;
    spec.model = dump.text();
    spec.normalizer = dump.steps();
    spec.pre_tokenizer = dump.steps();
    spec.options = dump.steps();
    spec.added_tokens.resize(dump.number());
    for (bge::AddedToken & token : spec.added_tokens) {
        token.id = int32_t(dump.number());
        const uint32_t flags = dump.number();
        token.special = flags & 1, token.normalized = flags & 2, token.lstrip = flags & 4, token.rstrip = flags & 8, token.single_word = flags & 16;
        token.content = dump.text();
    }
    bge::Vocabulary vocabulary;
    vocabulary.pieces = dump.texts();
    vocabulary.scores = dump.numbers<float>();
    vocabulary.types = dump.numbers<int32_t>();
    vocabulary.charsmap = dump.text();
    vocabulary.merges = dump.texts();
    vocabulary.unknown_id = int32_t(dump.number());

    std::clock_t start = std::clock();
    const auto tokenizer = bge::Tokenizer::create(std::move(vocabulary), spec);
    const double load = seconds(start);

    bge::EncodeOptions options;
    if (argc > 4) options.max_tokens = std::strtoull(argv[4], nullptr, 10);
    Reader corpus(argv[2]);
    std::FILE * out = std::fopen(argv[3], "wb");
    if (!out) return std::perror(argv[3]), 1;
    size_t n_bytes = 0, n_tokens = 0;
    double time = 0;
    while (true) {
        const std::string text = corpus.text();
        if (corpus.at_end) break;
        start = std::clock();
        const std::vector<int32_t> ids = tokenizer->encode(text, options);
        time += seconds(start);
        n_bytes += text.size();
        n_tokens += ids.size();
        const uint32_t n = uint32_t(ids.size());
        std::fwrite(&n, 4, 1, out);
        if (n > 0) std::fwrite(ids.data(), 4, n, out);
    }
    std::fclose(out);
    std::printf("load %.2f s, %.2f MB/s of CPU time (%zu bytes, %zu ids)\n", load, n_bytes / 1e6 / time, n_bytes, n_tokens);
}
