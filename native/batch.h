// Batch: encoded pairs packed end to end, without padding, and their split into ubatches.
#pragma once
#include "prefix-cache.h"
#include <cstdint>
#include <memory>
#include <vector>

namespace bge {

// One query and document as the model reads them.
struct EncodedPair {
    std::vector<int32_t> ids;
    int32_t document_begin = 0; // first id that has the document's token type (pair layouts)
    int32_t query_length = 0;   // ids before the document: [BOS] query separator (prompt layouts)
    int32_t prompt_length = 0;  // ids after the document: separator prompt (prompt layouts)
    int32_t document_length = 0; // ids of the document that are left
    uint8_t truncated = 0;      // bit 0: the query was cut, bit 1: the document was cut
};

// The rows of one sequence in packed order.
struct Span {
    int32_t begin = 0;    // first own row
    int32_t n = 0;        // own rows; a prefix that is kept has none
    int32_t prefix = -1;  // the span of a shared prefix that stands before the own rows
    int32_t n_prefix = 0; // its rows, kept ones included; of a prefix, those that are kept
    int32_t query_length = 0;  // own rows before the document, and after it: token compression keeps both
    int32_t prompt_length = 0;
};

// Who owns which rows at one point of a graph. Shared prefixes come first in `spans`; span n_prefixes + i belongs to
// scored sequence i.
struct Rows {
    std::vector<Span> spans;
    int32_t n_prefixes = 0;
    int32_t n_rows = 0;
    std::vector<std::shared_ptr<PrefixKeys>> prefix_keys; // one a prefix, or none without a cache

    int32_t n_seqs() const { return int32_t(spans.size()) - n_prefixes; }
    std::vector<int32_t> positions() const; // [n_rows], counted within each sequence, its prefix included

    // Keys and values have more rows: the kept ones of a prefix stand right before its own.
    int32_t n_kept() const;
    std::vector<int32_t> key_begins() const; // of each span's first own row
    int32_t prefix_begin(int32_t span, const std::vector<int32_t> & key_begins) const; // row of the first key before the own ones
};

// What one graph computes.
struct Ubatch {
    std::vector<int32_t> ids, token_types; // [n_tokens]
    Rows rows;

    // A cascade's later stages go on from hidden states instead of ids, and all but the last give theirs.
    int32_t first_layer = 0;   // layers already run
    std::vector<float> states; // [n_rows, n_embd] after them, when first_layer > 0
    bool keep_states = false;

    int32_t n_tokens() const { return int32_t(ids.size()); }
};

// Where keys and values of prefixes are kept, if anywhere.
struct PrefixLookup {
    PrefixCache * cache = nullptr;
    PrefixUse use;
};

// Packs `pairs` in their order. `share_prefix`: the first query_length ids of equal queries are stored once, but for those kept.
Ubatch pack(const std::vector<const EncodedPair *> & pairs, bool share_prefix, const PrefixLookup & lookup = {});

// Rows that pack() adds for `pair` after `previous` ones: used to fill a ubatch up to its budget.
class TokenBudget {
public:
    TokenBudget(int64_t max_tokens, int64_t max_pairs, bool share_prefix) : max_tokens_(max_tokens), max_pairs_(max_pairs), share_prefix_(share_prefix) {}
    // Whether `pair` still fits; a first pair always does. Counts it when it does.
    bool take(const EncodedPair & pair);
    int64_t n_tokens() const { return n_tokens_; }

private:
    int64_t max_tokens_, max_pairs_;
    bool share_prefix_;
    int64_t n_tokens_ = 0, n_pairs_ = 0;
    std::vector<const EncodedPair *> queries_;
};

// Whether two pairs begin with the same query ids and both go on after them.
bool same_query(const EncodedPair & a, const EncodedPair & b);

// Token compression: the document rows of each sequence in consecutive groups, all others alone.
struct Groups {
    struct Group { int32_t begin, n; }; // old rows
    std::vector<Group> groups;          // one a new row
    Rows rows;                          // who owns the new rows
};

// Groups of `ratio` document rows, counted from the document's first; the last takes what is left.
Groups group_documents(const Rows & rows, int32_t ratio);

} // namespace bge
