#include "tokenizer.h"
#include "added-tokens.h"
#include "grapheme.h"
#include "model.h"
#include "normalizer.h"
#include "pre-tokenizer.h"
#include "step.h"
#include "unicode.h"

#include <algorithm>
#include <set>

namespace bge {

namespace {

constexpr size_t max_pieces = 1 << 22;           // 16 times the largest vocabulary there is
constexpr size_t max_piece_size = 1024;          // bytes; the longest real one has 96. A text is read this often at most
constexpr size_t max_vocabulary_size = 64 << 20; // bytes of all pieces, 20 times the largest there is
constexpr size_t max_added_token_size = 256;     // bytes; real ones have up to 30
constexpr size_t max_added_tokens_size = 4 << 20;

void check(const Vocabulary & vocabulary, const TokenizerSpec & spec) {
    const size_t n = vocabulary.pieces.size();
    const auto invalid = [](const std::string & what) { return Error("MODEL_INVALID", what + "; convert the model again"); };
    if (n == 0 || n > max_pieces) throw invalid("tokenizer.ggml.tokens has " + std::to_string(n) + " entries");
    if (!vocabulary.scores.empty() && vocabulary.scores.size() != n)
        throw invalid("tokenizer.ggml.scores has " + std::to_string(vocabulary.scores.size()) + " entries for " + std::to_string(n) + " tokens");
    if (!vocabulary.types.empty() && vocabulary.types.size() != n)
        throw invalid("tokenizer.ggml.token_type has " + std::to_string(vocabulary.types.size()) + " entries for " + std::to_string(n) + " tokens");
    if (vocabulary.unknown_id < -1 || vocabulary.unknown_id >= static_cast<int64_t>(n))
        throw invalid("tokenizer.ggml.unknown_token_id is " + std::to_string(vocabulary.unknown_id) + ", beyond the " + std::to_string(n) + " tokens");
    size_t total = 0;
    for (size_t id = 0; id < n; ++id) {
        const size_t size = vocabulary.pieces[id].size();
        total += size;
        if (size > max_piece_size || total > max_vocabulary_size)
            throw invalid("tokenizer.ggml.tokens[" + std::to_string(id) + "] has " + std::to_string(size) + " bytes, all up to it " + std::to_string(total));
    }
    for (const AddedToken & token : spec.added_tokens) {
        if (token.id < 0 || token.id >= static_cast<int64_t>(n))
            throw invalid("the added token \"" + shortened(token.content) + "\" has id " + std::to_string(token.id) + ", beyond the " + std::to_string(n) + " tokens");
        if (token.content.size() > max_added_token_size) throw invalid("the added token \"" + shortened(token.content) + "\" has " + std::to_string(token.content.size()) + " bytes");
    }
}

std::unique_ptr<Model> make_model(const Vocabulary & vocabulary, const TokenizerSpec & spec) {
    const std::set<std::string> known = {
        "unk_id", "unk_token", "fuse_unk", "byte_fallback", "respelled_by_llama_cpp", "longer_merges_first",
        "continuing_subword_prefix", "max_input_chars_per_word", "vocab_size", "ignore_merges",
    };
    for (const TokenizerSpec::Step & option : spec.options) {
        if (option.size() != 2 || known.count(option[0]) == 0) throw unsupported_step("model option", option);
    }
    std::vector<bool> is_special(vocabulary.pieces.size());
    for (const AddedToken & token : spec.added_tokens) is_special[token.id] = is_special[token.id] || token.special;
    if (spec.model == "unigram") return make_unigram(vocabulary, spec, is_special);
    if (spec.model == "bpe") return make_bpe(vocabulary, spec, is_special);
    if (spec.model == "wordpiece") return make_wordpiece(vocabulary, spec, is_special);
    throw Error("TOKENIZER_UNSUPPORTED", "tokenizer.json has a model of type \"" + shortened(spec.model) + "\"; known are unigram, bpe and wordpiece");
}

// A character of a piece is a byte; added tokens are spelled as they are.
std::vector<uint16_t> count_bytes(const Vocabulary & vocabulary, const TokenizerSpec & spec) {
    std::vector<uint16_t> out;
    for (const std::string & piece : vocabulary.pieces) {
        out.push_back(static_cast<uint16_t>(std::count_if(piece.begin(), piece.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; })));
    }
    for (const AddedToken & token : spec.added_tokens) out[static_cast<size_t>(token.id)] = static_cast<uint16_t>(token.content.size());
    return out;
}

// The added tokens that are matched before (false) or after (true) normalization. Special ones come first.
std::vector<AddedToken> select(const TokenizerSpec & spec, bool normalized, const Normalizer & normalizer) {
    std::vector<AddedToken> selected;
    size_t total = 0;
    for (const bool special : {true, false}) {
        for (const AddedToken & token : spec.added_tokens) {
            if (token.content.empty() || token.special != special || token.normalized != normalized) continue;
            selected.push_back(token);
            std::string & content = selected.back().content;
            content = unicode::replace_invalid(content);
            if (normalized) content = normalizer.normalize(content);
            if (content.empty())
                throw Error("TOKENIZER_UNSUPPORTED", "the added token \"" + shortened(token.content) + "\" is empty once normalized, so it would match everywhere");
            total += content.size();
            if (content.size() > 4 * max_added_token_size || total > max_added_tokens_size)
                throw Error("MODEL_INVALID", "the added token \"" + shortened(token.content) + "\" has " + std::to_string(content.size()) + " bytes once normalized, all up to it " + std::to_string(total));
        }
    }
    return selected;
}

} // namespace

struct Tokenizer::Impl {
    size_t n_pieces;
    Normalizer normalizer;
    PreTokenizer pre_tokenizer;
    AddedTokens raw_tokens;
    AddedTokens normalized_tokens;
    std::unique_ptr<Model> model;
    std::vector<uint16_t> n_bytes; // of normalized text that a piece stands for

    Impl(const Vocabulary & vocabulary, const TokenizerSpec & spec)
        : n_pieces(vocabulary.pieces.size()), normalizer(spec.normalizer, vocabulary.charsmap),
          pre_tokenizer(spec.pre_tokenizer, !normalizer.may_remove_start()), raw_tokens(select(spec, false, normalizer)),
          normalized_tokens(select(spec, true, normalizer)), model(make_model(vocabulary, spec)), n_bytes(count_bytes(vocabulary, spec)) {}

    // A stretch of text between added tokens.
    struct Stretch {
        std::string_view text;
        bool at_start; // of the user's text
        bool complete; // false: the text goes on
    };

    bool encode_window(std::string_view window, bool complete, const EncodeOptions & options, std::vector<int32_t> & ids) const;
    bool encode_stretch(const Stretch & stretch, const EncodeOptions & options, std::vector<int32_t> & ids) const;
    size_t find_cut(std::string_view window, const std::vector<AddedTokens::Piece> & pieces) const;
};

std::unique_ptr<Tokenizer> Tokenizer::create(Vocabulary vocabulary, const TokenizerSpec & spec) {
    check(vocabulary, spec);
    return std::unique_ptr<Tokenizer>(new Tokenizer(std::make_unique<Impl>(vocabulary, spec)));
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;
size_t Tokenizer::vocabulary_size() const { return impl_->n_pieces; }

std::vector<Tokenizer::Stretch> Tokenizer::split_added_tokens(std::string_view utf8) const {
    std::vector<Stretch> out;
    for (const AddedTokens::Piece & piece : impl_->raw_tokens.split(utf8, true)) out.push_back({piece.id, utf8.substr(piece.begin, piece.end - piece.begin)});
    return out;
}

bool Tokenizer::covers(const int32_t * ids, size_t n, std::string_view beginning) const {
    size_t size = 0;
    for (size_t i = 0; i < n; ++i) size += impl_->n_bytes[static_cast<size_t>(ids[i])];
    const std::string valid = unicode::is_valid(beginning) ? std::string(beginning) : unicode::replace_invalid(beginning);
    return size >= impl_->normalizer.normalize(valid).size();
}

// When a few ids of a long text are asked for, only a window of it is encoded. A window that turns out too short is
// made longer and encoded anew: all in all less than twice the work, and nothing needs to be kept between.
std::vector<int32_t> Tokenizer::encode(std::string_view utf8, const EncodeOptions & options) const {
    constexpr size_t bytes_per_token = 8, growth = 4, smallest_window = 4096;
    std::vector<int32_t> ids;
    if (options.max_tokens == 0) return ids;
    size_t size = options.max_tokens < utf8.size() / bytes_per_token ? std::max(smallest_window, options.max_tokens * bytes_per_token) : utf8.size();
    while (true) {
        size = size < utf8.size() ? unicode::character_start(utf8, size) : utf8.size();
        const std::string_view window = utf8.substr(0, size);
        const bool complete = size == utf8.size();
        ids.clear();
        const bool enough = unicode::is_valid(window) ? impl_->encode_window(window, complete, options, ids)
                                                      : impl_->encode_window(unicode::replace_invalid(window), complete, options, ids);
        if (enough || complete) return ids;
        size = size > utf8.size() / growth ? utf8.size() : size * growth;
    }
}

// Appends the ids of the text that `window` begins, as far as they are sure. True when these are max_tokens or more.
bool Tokenizer::Impl::encode_window(std::string_view window, bool complete, const EncodeOptions & options, std::vector<int32_t> & ids) const {
    const std::vector<AddedTokens::Piece> pieces = raw_tokens.split(window, options.parse_special);
    const size_t end = complete ? window.size() : find_cut(window, pieces);
    for (const AddedTokens::Piece & piece : pieces) {
        if (piece.begin >= end) break;
        if (piece.id >= 0) {
            ids.push_back(piece.id);
        } else {
            const bool cut = piece.end > end;
            const size_t size = (cut ? end : piece.end) - piece.begin;
            if (encode_stretch({window.substr(piece.begin, size), piece.begin == 0, !cut}, options, ids)) return true;
        }
        if (ids.size() >= options.max_tokens) return true;
    }
    return false;
}

// The last place in an unfinished window where the text may be cut: at a boundary that needs no look further, not in or
// right behind an added token, and not behind white space that an added token might take. 0 when there is none.
size_t Tokenizer::Impl::find_cut(std::string_view window, const std::vector<AddedTokens::Piece> & pieces) const {
    const size_t margin = raw_tokens.longest() + 4; // one more character for single_word
    size_t i_piece = pieces.size();
    for (size_t cut = window.size() > margin ? unicode::character_start(window, window.size() - margin) : 0; cut > 0;) {
        const size_t last = unicode::previous(window, cut);
        const char32_t before = unicode::decode(window, last).value;
        const char32_t after = unicode::decode(window, cut).value;
        while (i_piece > 0 && pieces[i_piece - 1].begin >= cut) --i_piece;
        const bool in_token = i_piece > 0 && pieces[i_piece - 1].id >= 0;
        const bool may_be_taken = raw_tokens.has_lstrip() && unicode::is_white_space(before);
        if (!in_token && !may_be_taken && unicode::is_sure_boundary(before, after)) return cut;
        cut = last;
    }
    return 0;
}

// Appends the ids of one stretch. True when `ids` holds enough.
bool Tokenizer::Impl::encode_stretch(const Stretch & stretch, const EncodeOptions & options, std::vector<int32_t> & ids) const {
    const std::string text = normalizer.normalize(stretch.text);
    const std::vector<AddedTokens::Piece> pieces = normalized_tokens.split(text, options.parse_special);

    // What stands near the end of an incomplete stretch may still change, and an added token may take white space there.
    size_t end = text.size();
    if (!stretch.complete) {
        const size_t unsettled = normalizer.unsettled_size() + normalized_tokens.longest();
        end = text.size() > unsettled ? unicode::character_start(text, text.size() - unsettled) : 0;
        size_t blank = text.size();
        while (normalized_tokens.has_lstrip() && blank > 0) {
            const size_t last = unicode::previous(text, blank);
            if (!unicode::is_white_space(unicode::decode(text, last).value)) break;
            blank = last;
        }
        end = std::min(end, blank);
    }

    const std::unique_ptr<WordEncoder> encoder = model->make_encoder();
    for (const AddedTokens::Piece & piece : pieces) {
        if (piece.begin >= end) break;
        if (piece.id >= 0) {
            if (piece.end > end) break;
            ids.push_back(piece.id);
        } else {
            const bool cut = piece.end > end || (!stretch.complete && piece.end == text.size());
            const size_t size = std::min(piece.end, end) - piece.begin;
            const Words words = pre_tokenizer.split(text.substr(piece.begin, size), stretch.at_start && piece.begin == 0);
            WordOptions word_options = {true, options.parse_special, options.max_tokens};
            for (size_t i = 0; i < words.spans.size(); ++i) {
                word_options.complete = !cut || i < words.n_sure;
                if (!word_options.complete && words.regrouped) break;
                encoder->encode(words[i], word_options, ids);
                if (ids.size() >= options.max_tokens) return true;
            }
        }
        if (ids.size() >= options.max_tokens) return true;
    }
    return false;
}

} // namespace bge
