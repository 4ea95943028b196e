// BPE, with byte fallback as SentencePiece models use it or over the characters that byte_level makes of bytes: a word
// begins as characters, and neighbours merge, the earliest merge first, the leftmost of equals first.
// Source: tokenizers models/bpe/{model,word}.rs.
//
// options: unk_token, fuse_unk, byte_fallback, ignore_merges (a word that is a piece is that piece), vocab_size,
//   longer_merges_first (see merges.h), respelled_by_llama_cpp (see restore_spelling)
//
// Words may be whole documents, so they are cut where it changes nothing: between two characters that no piece made by
// a merge has next to each other.
#include "byte-characters.h"
#include "merges.h"
#include "model.h"
#include "paths.h"
#include "step.h"
#include "trie.h"
#include "unicode.h"

#include <algorithm>
#include <mutex>

namespace bge {

namespace {

constexpr size_t long_segment = 1 << 14;   // bytes; from here on segments are encoded from left to right
constexpr size_t long_tail = 512;          // and those whose end is not known; shorter ones are left for later

// The neighbouring characters inside pieces, as a set that may say yes to a few more.
class CharacterPairs {
  public:
    CharacterPairs() : bits_(n_bits / 64) {}
    void add(char32_t left, char32_t right) { bits_[hash(left, right) / 64] |= uint64_t{1} << hash(left, right) % 64; }
    bool may_contain(char32_t left, char32_t right) const { return bits_[hash(left, right) / 64] >> hash(left, right) % 64 & 1; }

  private:
    static constexpr size_t n_bits = 1 << 22;
    static size_t hash(char32_t left, char32_t right) {
        const uint64_t mixed = (uint64_t{left} << 32 | right) * 0x9E3779B97F4A7C15;
        return (mixed ^ mixed >> 31) % n_bits;
    }
    std::vector<uint64_t> bits_;
};

std::unordered_map<std::string_view, int32_t> index_pieces(const Vocabulary & vocabulary, const TokenizerSpec & spec) {
    const size_t n = model_size(vocabulary, spec);
    std::unordered_map<std::string_view, int32_t> ids;
    ids.reserve(n);
    for (size_t id = 0; id < n; ++id) {
        if (!is_padding(vocabulary, id)) ids[vocabulary.pieces[id]] = static_cast<int32_t>(id);
    }
    return ids;
}

// What llama.cpp's converter changes in Gemma's vocabulary: the tab is the piece of its byte, and user defined pieces
// have blanks for ▁ and a score that puts their merges last.
Vocabulary restore_spelling(Vocabulary vocabulary) {
    constexpr int32_t user_defined_piece = 4; // tokenizer.ggml.token_type
    for (size_t id = 0; id < vocabulary.pieces.size(); ++id) {
        std::string & piece = vocabulary.pieces[id];
        if (piece == "<0x09>") piece = "\t";
        if (vocabulary.types.empty() || vocabulary.types[id] != user_defined_piece) continue;
        for (size_t at = 0; (at = piece.find(' ', at)) != std::string::npos;) piece.replace(at, 1, "\xE2\x96\x81");
        if (!vocabulary.scores.empty()) vocabulary.scores[id] = 0;
    }
    return vocabulary;
}

struct Bpe : Model {
    Bpe(const Vocabulary & vocabulary, const TokenizerSpec & spec, const std::vector<bool> & is_special);
    std::unique_ptr<WordEncoder> make_encoder() const override;

    int32_t character_id(char32_t c) const { return c < character_ids.size() ? character_ids[c] : -1; }
    // All pieces by their text; only long segments need it.
    const Trie & trie() const {
        std::call_once(trie_once_, [this] {
            Trie::Entries entries;
            for (size_t id = 0; id < pieces.size(); ++id) entries.emplace_back(pieces[id], static_cast<int32_t>(id));
            trie_ = Trie(std::move(entries));
        });
        return trie_;
    }

    std::vector<std::string> pieces; // empty where no merge makes one and it is not a character
    Merges merges;
    CharacterPairs pairs;
    std::vector<int32_t> character_ids; // by code point
    std::vector<int32_t> bytes;         // empty without byte fallback
    std::vector<bool> is_special;
    int32_t unknown_id = -1;
    Trie whole_words;         // all pieces, with ignore_merges; else empty
    size_t longest_word = 0; // bytes
    bool fuses_unknown;
    bool may_cut = true; // false: a merge takes bytes or the unknown piece, or unknown characters vanish
    size_t longest = 4;

  private:
    Bpe(const Vocabulary & vocabulary, const TokenizerSpec & spec, const std::vector<bool> & is_special,
        const std::unordered_map<std::string_view, int32_t> & ids);
    bool knows_every_byte(const TokenizerSpec & spec) const;

    mutable std::once_flag trie_once_;
    mutable Trie trie_;
};

Bpe::Bpe(const Vocabulary & vocabulary, const TokenizerSpec & spec, const std::vector<bool> & special)
    : Bpe(vocabulary, spec, special, index_pieces(vocabulary, spec)) {}

Bpe::Bpe(const Vocabulary & vocabulary, const TokenizerSpec & spec, const std::vector<bool> & special,
         const std::unordered_map<std::string_view, int32_t> & ids)
    : merges(vocabulary, ids, flag_option(spec, "longer_merges_first", true)), is_special(special), fuses_unknown(flag_option(spec, "fuse_unk", false)) {
    if (!text_option(spec, "continuing_subword_prefix", "").empty()) throw unsupported_step("model option", {"continuing_subword_prefix"});

    const std::string unknown = text_option(spec, "unk_token", "");
    const auto found = ids.find(unknown);
    if (found != ids.end()) unknown_id = found->second;
    else if (!unknown.empty()) throw Error("MODEL_INVALID", "the unknown token \"" + shortened(unknown) + "\" is not in tokenizer.ggml.tokens; convert the model again");

    character_ids.assign(0x110000, -1);
    pieces.resize(vocabulary.pieces.size());
    for (const auto & [piece, id] : ids) {
        if (piece.empty() || !unicode::is_valid(piece)) continue;
        const unicode::Character c = unicode::decode(piece, 0);
        if (c.size != piece.size()) continue;
        character_ids[c.value] = id;
        pieces[id] = piece;
    }

    if (flag_option(spec, "byte_fallback", false)) {
        bytes = byte_pieces(vocabulary, vocabulary.pieces.size());
        // A character of one byte that is a piece itself never falls back.
        const auto is_there = [&](size_t byte) { return bytes[byte] >= 0 || (byte < 0x80 && character_ids[byte] >= 0); };
        for (size_t byte = 0; byte < 256; ++byte) {
            if (!is_there(byte)) throw Error("TOKENIZER_UNSUPPORTED", "tokenizer.json asks for byte fallback, but no piece stands for byte " + std::to_string(byte));
        }
    }

    std::vector<bool> stands_in(vocabulary.pieces.size()); // pieces that come from characters outside the vocabulary
    for (const int32_t id : bytes) {
        if (id >= 0) stands_in[id] = true;
    }
    if (unknown_id >= 0) stands_in[unknown_id] = true;
    else if (bytes.empty() && !knows_every_byte(spec)) may_cut = false;
    if (flag_option(spec, "ignore_merges", false)) {
        Trie::Entries entries;
        for (const auto & [piece, id] : ids) {
            entries.emplace_back(piece, id);
            longest_word = std::max(longest_word, piece.size());
        }
        whole_words = Trie(std::move(entries));
    }
    merges.for_each([&](int32_t left, int32_t right, int32_t id) {
        if (stands_in[left] || stands_in[right]) may_cut = false;
        const std::string & piece = vocabulary.pieces[id];
        pieces[id] = piece;
        longest = std::max(longest, piece.size());
        char32_t before = 0;
        for (size_t i = 0; i < piece.size();) {
            const unicode::Character c = unicode::decode(piece, i);
            if (i > 0) pairs.add(before, c.value);
            before = c.value;
            i += c.size;
        }
    });
}

// Whether words consist of the characters that byte_level makes, and each of those is a piece: then none is unknown.
bool Bpe::knows_every_byte(const TokenizerSpec & spec) const {
    const auto makes_bytes = [](const TokenizerSpec::Step & step) { return !step.empty() && step[0] == "byte_level"; };
    if (std::none_of(spec.pre_tokenizer.begin(), spec.pre_tokenizer.end(), makes_bytes)) return false;
    for (int byte = 0; byte < 256; ++byte) {
        if (character_id(byte_character(static_cast<unsigned char>(byte))) < 0) return false;
    }
    return true;
}

class BpeEncoder : public WordEncoder {
  public:
    explicit BpeEncoder(const Bpe & model) : model_(model) {}
    void encode(std::string_view word, const WordOptions & options, std::vector<int32_t> & out) override;

  private:
    static constexpr uint32_t none = UINT32_MAX;
    struct Symbol {
        int32_t id; // -1 once merged into the one before
        uint32_t previous, next;
    };
    struct Candidate {
        uint32_t rank, position;
        int32_t left, right, id;
    };

    void append_unknown(std::string_view character, std::vector<int32_t> & out) const;
    void encode_whole(std::string_view word, std::vector<int32_t> & out);
    void encode_segment(std::string_view segment, std::vector<int32_t> & out);
    void encode_left_to_right(std::string_view segment, bool complete, size_t max_tokens, std::vector<int32_t> & out);
    void merge(const std::vector<int32_t> & ids, std::vector<int32_t> & out);
    void propose(uint32_t left);
    bool is_stable(int32_t left, int32_t right);

    const Bpe & model_;
    bool special_ = true;
    std::vector<int32_t> ids_; // scratch
    std::vector<Symbol> symbols_;
    std::vector<Candidate> heap_;
    Paths paths_;
    std::unordered_map<uint64_t, bool> stable_;
};

void BpeEncoder::encode(std::string_view word, const WordOptions & options, std::vector<int32_t> & out) {
    special_ = options.special;
    if (model_.longest_word > 0 && word.size() <= model_.longest_word) {
        if (!options.complete) return;
        const int32_t id = model_.whole_words.find(word);
        if (id != Trie::none && (special_ || !model_.is_special[id])) {
            out.push_back(id);
            return;
        }
    }
    if (!model_.may_cut) {
        if (options.complete) encode_whole(word, out);
        return;
    }
    bool after_unknown = false;
    for (size_t begin = 0; begin < word.size() && out.size() < options.max_tokens;) {
        unicode::Character c = unicode::decode(word, begin);
        size_t end = begin + c.size;
        if (model_.character_id(c.value) < 0) {
            const bool fuses = after_unknown && model_.fuses_unknown && model_.bytes.empty();
            if (!fuses) append_unknown(word.substr(begin, c.size), out);
            after_unknown = true;
            begin = end;
            continue;
        }
        after_unknown = false;
        while (end < word.size()) {
            const unicode::Character next = unicode::decode(word, end);
            if (!model_.pairs.may_contain(c.value, next.value) || model_.character_id(next.value) < 0) break;
            c = next;
            end += c.size;
        }
        const std::string_view segment = word.substr(begin, end - begin);
        const bool complete = options.complete || end < word.size();
        const bool is_long = segment.size() >= (complete ? long_segment : long_tail);
        if (is_long) encode_left_to_right(segment, complete, options.max_tokens, out);
        else if (complete) encode_segment(segment, out);
        begin = end;
    }
}

void BpeEncoder::append_unknown(std::string_view character, std::vector<int32_t> & out) const {
    if (!model_.bytes.empty()) {
        for (const char c : character) out.push_back(model_.bytes[static_cast<uint8_t>(c)]);
    } else if (model_.unknown_id >= 0) {
        out.push_back(model_.unknown_id);
    }
}

// For vocabularies whose words may not be cut.
void BpeEncoder::encode_whole(std::string_view word, std::vector<int32_t> & out) {
    std::vector<int32_t> ids;
    bool after_unknown = false;
    for (size_t i = 0; i < word.size();) {
        const unicode::Character c = unicode::decode(word, i);
        const int32_t id = model_.character_id(c.value);
        const bool fuses = id < 0 && after_unknown && model_.fuses_unknown && model_.bytes.empty();
        if (id >= 0) ids.push_back(id);
        else if (!fuses) append_unknown(word.substr(i, c.size), ids);
        after_unknown = id < 0;
        i += c.size;
    }
    merge(ids, out);
}

void BpeEncoder::encode_segment(std::string_view segment, std::vector<int32_t> & out) {
    ids_.clear();
    for (size_t i = 0; i < segment.size();) {
        const unicode::Character c = unicode::decode(segment, i);
        ids_.push_back(model_.character_id(c.value));
        i += c.size;
    }
    if (ids_.size() == 1) out.push_back(ids_[0]);
    else merge(ids_, out);
}

void BpeEncoder::merge(const std::vector<int32_t> & ids, std::vector<int32_t> & out) {
    if (ids.empty()) return;
    symbols_.clear();
    heap_.clear();
    const uint32_t n = static_cast<uint32_t>(ids.size());
    for (uint32_t i = 0; i < n; ++i) symbols_.push_back({ids[i], i == 0 ? none : i - 1, i + 1 == n ? none : i + 1});
    for (uint32_t i = 0; i + 1 < n; ++i) propose(i);

    const auto is_later = [](const Candidate & a, const Candidate & b) { return a.rank != b.rank ? a.rank > b.rank : a.position > b.position; };
    std::make_heap(heap_.begin(), heap_.end(), is_later);
    while (!heap_.empty()) {
        std::pop_heap(heap_.begin(), heap_.end(), is_later);
        const Candidate candidate = heap_.back();
        heap_.pop_back();
        Symbol & left = symbols_[candidate.position];
        if (left.id != candidate.left || left.next == none || symbols_[left.next].id != candidate.right) continue; // out of date
        left.id = candidate.id;
        symbols_[left.next].id = -1;
        left.next = symbols_[left.next].next;
        if (left.next != none) symbols_[left.next].previous = candidate.position;

        for (const uint32_t position : {left.previous, candidate.position}) {
            const size_t size = heap_.size();
            if (position != none) propose(position);
            if (heap_.size() > size) std::push_heap(heap_.begin(), heap_.end(), is_later);
        }
    }
    for (uint32_t i = 0; i != none; i = symbols_[i].next) out.push_back(symbols_[i].id);
}

// Adds the merge of a symbol with the next one, if there is one, to the end of the heap's array.
void BpeEncoder::propose(uint32_t position) {
    const Symbol & left = symbols_[position];
    if (left.next == none) return;
    const int32_t right = symbols_[left.next].id;
    const Merges::Merge * merge = model_.merges.find(left.id, right);
    if (!merge || (!special_ && model_.is_special[merge->id])) return;
    heap_.push_back({merge->rank, position, left.id, right, merge->id});
}

// For segments that are long or whose end is not known. No merge crosses a border between two pieces of the result, so
// what stands left of it is itself the result for that part of the text. Hence every prefix has one last piece, and it
// is the one that is stable next to the last piece of the prefix before it: both, encoded together, come out as they are.
void BpeEncoder::encode_left_to_right(std::string_view segment, bool complete, size_t max_tokens, std::vector<int32_t> & out) {
    constexpr size_t smallest_block = 1 << 12; // bytes
    const Trie & trie = model_.trie();
    const size_t sure_end = complete ? segment.size() : segment.size() - std::min(segment.size(), model_.longest);
    paths_.clear();
    size_t place = 0;
    while (place < segment.size()) {
        const size_t block_end = place + std::min(segment.size() - place, std::max(smallest_block, place - paths_.base()));
        paths_.resize(std::min(segment.size(), block_end + model_.longest));
        for (; place < block_end; place += unicode::decode(segment, place).size) {
            const Paths::Step before = paths_[place];
            if (place > 0 && before.length == 0) continue; // only a damaged vocabulary has such places
            int32_t node = Trie::root;
            for (size_t end = place; end < segment.size();) {
                node = trie.next(node, static_cast<uint8_t>(segment[end++]));
                if (node == Trie::none) break;
                const int32_t id = trie.id(node);
                if (id == Trie::none || paths_[end].length > 0 || !is_stable(place > 0 ? before.id : -1, id)) continue;
                paths_[end] = {static_cast<uint32_t>(end - place), id};
            }
        }
        const bool at_end = place == segment.size() && complete;
        if (at_end && paths_[place].length == 0) { // cannot be, unless the vocabulary is damaged
            encode_segment(segment.substr(paths_.base()), out);
            return;
        }
        const size_t settled = at_end ? place : paths_.settled(std::min(place, sure_end));
        paths_.walk(settled, [&](size_t, const Paths::Step & step) { out.push_back(step.id); });
        if (out.size() >= max_tokens) return;
        paths_.forget_before(settled);
    }
}

// Whether two neighbouring pieces (or one alone, with left -1), encoded together, stay as they are.
bool BpeEncoder::is_stable(int32_t left, int32_t right) {
    constexpr size_t max_remembered = 1 << 20;
    const uint64_t key = static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
    const auto it = stable_.find(key);
    if (it != stable_.end()) return it->second;
    if (left >= 0 && !is_stable(-1, right)) return false;

    std::vector<int32_t> result;
    encode_segment(left < 0 ? model_.pieces[right] : model_.pieces[left] + model_.pieces[right], result);
    const bool stable = left < 0 ? result.size() == 1 && result[0] == right : result.size() == 2 && result[0] == left && result[1] == right;
    if (stable_.size() >= max_remembered) stable_.clear();
    return stable_[key] = stable;
}

std::unique_ptr<WordEncoder> Bpe::make_encoder() const { return std::make_unique<BpeEncoder>(*this); }

} // namespace

std::unique_ptr<Model> make_bpe(const Vocabulary & vocabulary, const TokenizerSpec & spec, const std::vector<bool> & is_special) {
    if (flag_option(spec, "respelled_by_llama_cpp", false)) return std::make_unique<Bpe>(restore_spelling(vocabulary), spec, is_special);
    return std::make_unique<Bpe>(vocabulary, spec, is_special);
}

} // namespace bge
