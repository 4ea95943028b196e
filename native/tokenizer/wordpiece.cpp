// WordPiece: the longest piece that begins the word, then the longest that continues it, and so on; one unknown piece
// for the whole word when that does not come out. Source: tokenizers models/wordpiece/mod.rs.
//
// options: unk_token, continuing_subword_prefix, max_input_chars_per_word, vocab_size
#include "model.h"
#include "step.h"
#include "trie.h"
#include "unicode.h"

namespace bge {

namespace {

constexpr int32_t control_piece = 3; // tokenizer.ggml.token_type
constexpr size_t max_prefix_size = 16; // bytes; it goes before every piece
constexpr std::string_view word_mark = "\xE2\x96\x81"; // ▁

struct WordPiece : Model {
    WordPiece(const Vocabulary & vocabulary, const TokenizerSpec & spec, const std::vector<bool> & is_special);
    std::unique_ptr<WordEncoder> make_encoder() const override;

    Trie beginning;
    Trie continuing;
    std::vector<bool> is_special;
    int32_t unknown_id;
    size_t max_characters;
};

// The GGUF spells pieces as llama.cpp does: "▁word" begins a word, "word" continues one (## in vocab.txt), and
// control pieces such as [CLS] are as they are.
WordPiece::WordPiece(const Vocabulary & vocabulary, const TokenizerSpec & spec, const std::vector<bool> & special) : is_special(special) {
    const size_t n = model_size(vocabulary, spec);
    const std::string unknown = text_option(spec, "unk_token", "[UNK]");
    const std::string prefix = text_option(spec, "continuing_subword_prefix", "##");
    const int64_t limit = number_option(spec, "max_input_chars_per_word", 100);
    if (limit < 1) throw Error("MODEL_INVALID", "tokenizer.json sets max_input_chars_per_word to " + std::to_string(limit));
    if (prefix.size() > max_prefix_size) throw unsupported_step("model option", {"continuing_subword_prefix", prefix});
    max_characters = static_cast<size_t>(limit);
    unknown_id = vocabulary.unknown_id;

    std::vector<std::string> prefixed; // "##word" also begins a word, where the text spells it out
    prefixed.reserve(n);
    Trie::Entries beginnings, continuations;
    for (size_t id = 0; id < n; ++id) {
        const std::string_view piece = vocabulary.pieces[id];
        const int32_t value = static_cast<int32_t>(id);
        if (is_padding(vocabulary, id)) continue;
        if (unknown_id < 0 && piece == unknown) unknown_id = value;
        const bool is_control = special[id] || (!vocabulary.types.empty() && vocabulary.types[id] == control_piece);
        if (is_control) {
            beginnings.emplace_back(piece, value);
        } else if (piece.substr(0, word_mark.size()) == word_mark) {
            beginnings.emplace_back(piece.substr(word_mark.size()), value);
        } else {
            continuations.emplace_back(piece, value);
            beginnings.emplace_back(prefixed.emplace_back(prefix + std::string(piece)), value);
        }
    }
    if (unknown_id < 0) throw Error("MODEL_INVALID", "no piece is the unknown token \"" + shortened(unknown) + "\" and tokenizer.ggml.unknown_token_id is missing; convert the model again");
    beginning = Trie(std::move(beginnings));
    continuing = Trie(std::move(continuations));
}

class WordPieceEncoder : public WordEncoder {
  public:
    explicit WordPieceEncoder(const WordPiece & model) : model_(model) {}

    void encode(std::string_view word, const WordOptions & options, std::vector<int32_t> & out) override {
        if (!options.complete) return; // its end decides whether it is known at all
        const size_t first = out.size();
        for (size_t begin = 0, n_characters = 0; begin < word.size();) {
            const Match match = longest(begin == 0 ? model_.beginning : model_.continuing, word.substr(begin), options.special);
            n_characters += count_characters(word.substr(begin, match.size));
            if (match.id == Trie::none || n_characters > model_.max_characters) {
                out.resize(first);
                out.push_back(model_.unknown_id);
                return;
            }
            out.push_back(match.id);
            begin += match.size;
        }
    }

  private:
    struct Match {
        int32_t id = Trie::none;
        size_t size = 0;
    };

    Match longest(const Trie & trie, std::string_view text, bool special) const {
        Match match;
        int32_t node = Trie::root;
        for (size_t i = 0; i < text.size(); ++i) {
            node = trie.next(node, static_cast<uint8_t>(text[i]));
            if (node == Trie::none) break;
            const int32_t id = trie.id(node);
            if (id != Trie::none && (special || !model_.is_special[id])) match = {id, i + 1};
        }
        return match;
    }

    static size_t count_characters(std::string_view text) {
        size_t n = 0;
        for (const char c : text) n += (static_cast<uint8_t>(c) & 0xC0) != 0x80;
        return n;
    }

    const WordPiece & model_;
};

std::unique_ptr<WordEncoder> WordPiece::make_encoder() const { return std::make_unique<WordPieceEncoder>(*this); }

} // namespace

std::unique_ptr<Model> make_wordpiece(const Vocabulary & vocabulary, const TokenizerSpec & spec, const std::vector<bool> & is_special) {
    return std::make_unique<WordPiece>(vocabulary, spec, is_special);
}

} // namespace bge
