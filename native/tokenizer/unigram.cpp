// Unigram: of all ways to cut a word into pieces, the one whose scores add up highest. Source: tokenizers
// models/unigram/model.rs, encode_optimized; ties and rounding fall as they do there.
//
// options: unk_id, byte_fallback, vocab_size
#include "model.h"
#include "paths.h"
#include "step.h"
#include "trie.h"
#include "unicode.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace bge {

namespace {

constexpr double unknown_penalty = 10.0; // below the lowest score of the vocabulary

struct Unigram : Model {
    Unigram(const Vocabulary & vocabulary, const TokenizerSpec & spec, const std::vector<bool> & is_special);
    std::unique_ptr<WordEncoder> make_encoder() const override;

    Trie trie;
    std::vector<double> scores;
    std::vector<bool> is_special;
    std::vector<int32_t> bytes; // empty without byte fallback
    int32_t unknown_id;
    double unknown_score;
    size_t longest = 4; // bytes of the longest piece or character
};

Unigram::Unigram(const Vocabulary & vocabulary, const TokenizerSpec & spec, const std::vector<bool> & special)
    : is_special(special) {
    const size_t n = model_size(vocabulary, spec);
    if (vocabulary.scores.empty()) throw Error("MODEL_INVALID", "tokenizer.ggml.scores is missing; a unigram vocabulary needs it. Convert the model again");
    const int64_t unknown = number_option(spec, "unk_id", vocabulary.unknown_id);
    if (unknown < 0 || static_cast<uint64_t>(unknown) >= n)
        throw Error("MODEL_INVALID", "tokenizer.ggml.unknown_token_id is " + std::to_string(unknown) + "; it must name one of the " + std::to_string(n) + " pieces");
    unknown_id = static_cast<int32_t>(unknown);

    Trie::Entries entries;
    double lowest = std::numeric_limits<double>::infinity();
    scores.assign(vocabulary.scores.begin(), vocabulary.scores.begin() + n);
    for (size_t id = 0; id < n; ++id) {
        if (std::isnan(scores[id])) throw Error("MODEL_INVALID", "tokenizer.ggml.scores[" + std::to_string(id) + "] is not a number; convert the model again");
        if (is_padding(vocabulary, id)) continue;
        entries.emplace_back(vocabulary.pieces[id], static_cast<int32_t>(id));
        lowest = std::min(lowest, scores[id]);
        longest = std::max(longest, vocabulary.pieces[id].size());
    }
    trie = Trie(std::move(entries));
    unknown_score = lowest - unknown_penalty;
    if (flag_option(spec, "byte_fallback", false)) bytes = byte_pieces(vocabulary, n);
}

class UnigramEncoder : public WordEncoder {
  public:
    explicit UnigramEncoder(const Unigram & model) : model_(model) {}
    void encode(std::string_view word, const WordOptions & options, std::vector<int32_t> & out) override;

  private:
    static constexpr size_t nowhere = SIZE_MAX;

    void extend(size_t begin);
    void write_path(size_t end, std::vector<int32_t> & out);
    void write_unknown(std::vector<int32_t> & out);
    bool is_allowed(int32_t id) const { return special_ || !model_.is_special[id]; }

    const Unigram & model_;
    std::string_view word_;
    bool special_ = true;
    Paths paths_;
    std::vector<double> scores_; // of the best path to each place from scores_base_ on
    size_t scores_base_ = 0;
    // A run of unknown pieces becomes one; it is written when its end is known.
    size_t unknown_begin_ = nowhere;
    size_t unknown_end_ = 0;
    size_t n_unknown_ = 0;
};

void UnigramEncoder::encode(std::string_view word, const WordOptions & options, std::vector<int32_t> & out) {
    constexpr size_t smallest_block = 1 << 15; // bytes
    word_ = word;
    special_ = options.special;
    unknown_begin_ = nowhere;
    n_unknown_ = 0;
    paths_.clear();
    scores_.assign(1, 0.0);
    scores_base_ = 0;
    // A piece of the text to come may begin anywhere in the last `longest` bytes of an incomplete word.
    const size_t sure_end = options.complete ? word.size() : word.size() - std::min(word.size(), model_.longest);

    size_t place = 0;
    while (place < word.size()) {
        // Doubling what could not be settled keeps the whole linear: a run of one letter may stay open to its end.
        const size_t block_end = place + std::min(word.size() - place, std::max(smallest_block, place - paths_.base()));
        const size_t reach = std::min(word.size(), block_end + model_.longest);
        paths_.resize(reach);
        scores_.resize(reach - scores_base_ + 1);
        while (place < block_end) {
            extend(place);
            place += unicode::decode(word, place).size;
        }
        if (place == word.size() && options.complete) break;
        const size_t settled = paths_.settled(std::min(place, sure_end));
        write_path(settled, out);
        if (out.size() >= options.max_tokens) return;
        scores_.erase(scores_.begin(), scores_.begin() + static_cast<std::ptrdiff_t>(place - scores_base_));
        scores_base_ = place;
        paths_.forget_before(settled);
    }
    if (!options.complete) return; // nor is a run of unknown pieces written that may go on
    write_path(word.size(), out);
    write_unknown(out);
}

// Follows every piece that begins at `begin`.
void UnigramEncoder::extend(size_t begin) {
    const size_t base = scores_base_;
    const double score = scores_[begin - base];
    const size_t character_end = begin + unicode::decode(word_, begin).size;
    const auto offer = [&](size_t end, double candidate, int32_t id) {
        Paths::Step & step = paths_[end];
        if (step.length > 0 && !(candidate > scores_[end - base])) return;
        step = {static_cast<uint32_t>(end - begin), id};
        scores_[end - base] = candidate;
    };

    bool has_character = false;
    int32_t node = Trie::root;
    for (size_t end = begin; end < word_.size();) {
        node = model_.trie.next(node, static_cast<uint8_t>(word_[end++]));
        if (node == Trie::none) break;
        const int32_t id = model_.trie.id(node);
        if (id == Trie::none || !is_allowed(id)) continue;
        offer(end, model_.scores[id] + score, id);
        if (end == character_end) has_character = true;
    }
    if (!has_character) offer(character_end, model_.unknown_score + score, model_.unknown_id);
}

void UnigramEncoder::write_path(size_t end, std::vector<int32_t> & out) {
    paths_.walk(end, [&](size_t piece_end, const Paths::Step & step) {
        if (step.id == model_.unknown_id) {
            if (unknown_begin_ == nowhere) unknown_begin_ = piece_end - step.length;
            unknown_end_ = piece_end;
            ++n_unknown_;
        } else {
            write_unknown(out);
            out.push_back(step.id);
        }
    });
}

void UnigramEncoder::write_unknown(std::vector<int32_t> & out) {
    if (unknown_begin_ == nowhere) return;
    const std::string_view text = word_.substr(unknown_begin_, unknown_end_ - unknown_begin_);
    // Hugging Face looks the joined text up again, and it may be a piece of its own.
    const int32_t joined = n_unknown_ > 1 ? model_.trie.find(text) : Trie::none;
    unknown_begin_ = nowhere;
    n_unknown_ = 0;
    const std::vector<int32_t> & bytes = model_.bytes;
    if (joined != Trie::none && is_allowed(joined)) {
        out.push_back(joined);
    } else if (!bytes.empty() && std::all_of(text.begin(), text.end(), [&](char c) { return bytes[static_cast<uint8_t>(c)] >= 0; })) {
        for (const char c : text) out.push_back(bytes[static_cast<uint8_t>(c)]);
    } else {
        out.push_back(model_.unknown_id);
    }
}

std::unique_ptr<WordEncoder> Unigram::make_encoder() const { return std::make_unique<UnigramEncoder>(*this); }

} // namespace

std::unique_ptr<Model> make_unigram(const Vocabulary & vocabulary, const TokenizerSpec & spec, const std::vector<bool> & is_special) {
    return std::make_unique<Unigram>(vocabulary, spec, is_special);
}

} // namespace bge
