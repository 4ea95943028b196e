// Merges: which two neighbouring pieces join, into what, and how early. A hash table with open addressing.
#pragma once
#include "tokenizer.h"

#include <unordered_map>

namespace bge {

class Merges {
  public:
    // From the list of the file, or from the scores when it has none, in the order Hugging Face gives them: of merges
    // with equal scores those of longer pieces first, which transformers did not look at before mid-2024.
    Merges(const Vocabulary & vocabulary, const std::unordered_map<std::string_view, int32_t> & ids, bool longer_first);

    struct Merge {
        uint64_t pair = 0; // left id and right id, plus one; 0: empty slot
        uint32_t rank = 0; // the lower, the earlier
        int32_t id = -1;
    };
    // nullptr when the two stay apart.
    const Merge * find(int32_t left, int32_t right) const {
        const uint64_t pair = pair_of(left, right);
        for (size_t slot = slot_of(pair); slots_[slot].pair != 0; slot = (slot + 1) & mask_) {
            if (slots_[slot].pair == pair) return &slots_[slot];
        }
        return nullptr;
    }

    template <typename F> void for_each(F && visit) const { // visit(left, right, id)
        for (const Merge & merge : slots_) {
            if (merge.pair != 0) visit(static_cast<int32_t>((merge.pair - 1) >> 32), static_cast<int32_t>(merge.pair - 1), merge.id);
        }
    }

  private:
    struct Pair {
        int32_t left, right, id;
    };
    static uint64_t pair_of(int32_t left, int32_t right) { return (static_cast<uint64_t>(left) << 32 | static_cast<uint32_t>(right)) + 1; }
    size_t slot_of(uint64_t pair) const {
        pair *= 0x9E3779B97F4A7C15;
        return (pair ^ pair >> 29) & mask_;
    }
    void fill(const std::vector<Pair> & pairs);

    std::vector<Merge> slots_;
    size_t mask_ = 0;
};

} // namespace bge
