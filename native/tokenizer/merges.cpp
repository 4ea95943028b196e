#include "merges.h"
#include "../error.h"

#include <algorithm>
#include <cmath>

namespace bge {

namespace {

size_t count_characters(std::string_view text) {
    return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

} // namespace

Merges::Merges(const Vocabulary & vocabulary, const std::unordered_map<std::string_view, int32_t> & ids, bool longer_first) {
    const auto find_id = [&](std::string_view piece) {
        const auto it = ids.find(piece);
        return it == ids.end() ? -1 : it->second;
    };
    std::vector<Pair> pairs;
    if (!vocabulary.merges.empty()) {
        std::string joined;
        for (const std::string & line : vocabulary.merges) {
            const size_t blank = line.find(' ');
            const std::string_view left = std::string_view(line).substr(0, blank);
            const std::string_view right = blank == std::string::npos ? "" : std::string_view(line).substr(blank + 1);
            joined.assign(left).append(right);
            const Pair pair = {find_id(left), find_id(right), find_id(joined)};
            if (pair.left < 0 || pair.right < 0 || pair.id < 0)
                throw Error("MODEL_INVALID", "tokenizer.ggml.merges[" + std::to_string(pairs.size()) + "] \"" + shortened(line) + "\" is not two pieces that make a third; convert the model again");
            pairs.push_back(pair);
        }
        fill(pairs);
        return;
    }

    // transformers convert_slow_tokenizer.py, generate_merges: every way to put a piece together from two, the best
    // scores first, then those with the longer left and the longer right piece.
    struct Candidate {
        Pair pair;
        float score;
        uint32_t left_size, right_size; // characters
    };
    if (vocabulary.scores.empty()) throw Error("MODEL_INVALID", "tokenizer.ggml.merges and tokenizer.ggml.scores are both missing; convert the model again");
    std::vector<Candidate> candidates;
    for (size_t id = 0; id < vocabulary.pieces.size(); ++id) {
        const std::string_view piece = vocabulary.pieces[id];
        const float score = vocabulary.scores[id];
        if (find_id(piece) != static_cast<int32_t>(id)) continue; // padding
        if (std::isnan(score)) throw Error("MODEL_INVALID", "tokenizer.ggml.scores[" + std::to_string(id) + "] is not a number; convert the model again");
        const size_t first = candidates.size();
        for (size_t at = 1; at < piece.size(); ++at) {
            if ((static_cast<uint8_t>(piece[at]) & 0xC0) == 0x80) continue;
            const int32_t left = find_id(piece.substr(0, at));
            const int32_t right = left < 0 ? -1 : find_id(piece.substr(at));
            if (right < 0) continue;
            const size_t left_size = count_characters(piece.substr(0, at));
            candidates.push_back({{left, right, static_cast<int32_t>(id)}, score, static_cast<uint32_t>(left_size), static_cast<uint32_t>(count_characters(piece.substr(at)))});
        }
        std::sort(candidates.begin() + static_cast<std::ptrdiff_t>(first), candidates.end(), [](const Candidate & a, const Candidate & b) {
            return a.pair.left != b.pair.left ? a.pair.left < b.pair.left : a.pair.right < b.pair.right;
        });
    }
    std::stable_sort(candidates.begin(), candidates.end(), [&](const Candidate & a, const Candidate & b) {
        if (a.score != b.score) return a.score > b.score;
        if (!longer_first) return false;
        if (a.left_size != b.left_size) return a.left_size > b.left_size;
        return a.right_size > b.right_size;
    });
    for (const Candidate & candidate : candidates) pairs.push_back(candidate.pair);
    fill(pairs);
}

void Merges::fill(const std::vector<Pair> & pairs) {
    size_t capacity = 16;
    while (capacity < pairs.size() * 5 / 3) capacity *= 2;
    slots_.resize(capacity);
    mask_ = capacity - 1;
    for (size_t rank = 0; rank < pairs.size(); ++rank) {
        const uint64_t pair = pair_of(pairs[rank].left, pairs[rank].right);
        size_t slot = slot_of(pair);
        while (slots_[slot].pair != 0 && slots_[slot].pair != pair) slot = (slot + 1) & mask_;
        slots_[slot] = {pair, static_cast<uint32_t>(rank), pairs[rank].id}; // the later of two equal merges counts
    }
}

} // namespace bge
