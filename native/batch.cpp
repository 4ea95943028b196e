#include "batch.h"
#include <algorithm>

namespace bge {

bool same_query(const EncodedPair & a, const EncodedPair & b) {
    const size_t n = size_t(a.query_length);
    return n > 0 && a.query_length == b.query_length && a.ids.size() > n && b.ids.size() > n &&
           std::equal(a.ids.begin(), a.ids.begin() + a.query_length, b.ids.begin());
}

static const EncodedPair * find_query(const std::vector<const EncodedPair *> & queries, const EncodedPair & pair, size_t & index) {
    for (index = 0; index < queries.size(); index++) {
        if (same_query(*queries[index], pair)) return queries[index];
    }
    return nullptr;
}

bool TokenBudget::take(const EncodedPair & pair) {
    size_t index;
    const bool shared = share_prefix_ && find_query(queries_, pair, index);
    const int64_t n = int64_t(pair.ids.size()) - (shared ? pair.query_length : 0);
    if (n_pairs_ > 0 && (n_tokens_ + n > max_tokens_ || (max_pairs_ > 0 && n_pairs_ >= max_pairs_))) return false;
    n_tokens_ += n;
    n_pairs_++;
    if (share_prefix_ && !shared && pair.query_length > 0) queries_.push_back(&pair);
    return true;
}

static void append(Ubatch & out, const EncodedPair & pair, int32_t from, int32_t to) {
    for (int32_t i = from; i < to; i++) {
        out.ids.push_back(pair.ids[i]);
        out.token_types.push_back(i >= pair.document_begin);
    }
}

Ubatch pack(const std::vector<const EncodedPair *> & pairs, bool share_prefix, const PrefixLookup & lookup) {
    Ubatch out;
    std::vector<const EncodedPair *> queries;
    std::vector<int32_t> uses;
    size_t index;
    if (share_prefix) {
        for (const EncodedPair * pair : pairs) {
            if (find_query(queries, *pair, index)) uses[index]++;
            else if (same_query(*pair, *pair)) { queries.push_back(pair); uses.push_back(1); }
        }
        // A prefix used once is not worth a span of its own, unless it is kept.
        size_t n = 0;
        for (size_t i = 0; i < queries.size(); i++) {
            if (uses[i] > 1 || lookup.cache) queries[n++] = queries[i];
        }
        queries.resize(n);
        for (const EncodedPair * query : queries) {
            Span span;
            if (lookup.cache) {
                out.rows.prefix_keys.push_back(lookup.cache->find(query->ids.data(), query->query_length, lookup.use));
                span.n_prefix = out.rows.prefix_keys.back()->n_kept;
            }
            span.begin = out.n_tokens();
            span.n = span.query_length = query->query_length - span.n_prefix;
            out.rows.spans.push_back(span);
            append(out, *query, span.n_prefix, query->query_length);
        }
        out.rows.n_prefixes = int32_t(queries.size());
    }
    for (const EncodedPair * pair : pairs) {
        Span span;
        span.begin = out.n_tokens();
        span.query_length = pair->query_length;
        span.prompt_length = pair->prompt_length;
        if (share_prefix && find_query(queries, *pair, index)) {
            span.prefix = int32_t(index);
            span.n_prefix = pair->query_length;
            span.query_length = 0;
        }
        span.n = int32_t(pair->ids.size()) - span.n_prefix;
        append(out, *pair, span.n_prefix, int32_t(pair->ids.size()));
        out.rows.spans.push_back(span);
    }
    out.rows.n_rows = out.n_tokens();
    return out;
}

Groups group_documents(const Rows & rows, int32_t ratio) {
    Groups out;
    out.rows = rows;
    const auto add = [&](int32_t begin, int32_t end, int32_t size) {
        for (int32_t i = begin; i < end; i += std::min(size, end - i)) out.groups.push_back({i, std::min(size, end - i)});
    };
    for (Span & span : out.rows.spans) { // prefixes come first and hold no document, so they stay where they are
        const int32_t begin = span.begin, end = begin + span.n;
        const int32_t document = std::min(begin + span.query_length, end), prompt = std::max(document, end - span.prompt_length);
        span.begin = int32_t(out.groups.size());
        add(begin, document, 1);
        add(document, prompt, ratio);
        add(prompt, end, 1);
        span.n = int32_t(out.groups.size()) - span.begin;
    }
    out.rows.n_rows = int32_t(out.groups.size());
    return out;
}

int32_t Rows::n_kept() const {
    int32_t n = 0;
    for (int32_t i = 0; i < n_prefixes; i++) n += spans[size_t(i)].n_prefix;
    return n;
}

std::vector<int32_t> Rows::key_begins() const {
    std::vector<int32_t> out;
    int32_t n_kept = 0;
    for (const Span & span : spans) {
        if (int32_t(out.size()) < n_prefixes) n_kept += span.n_prefix;
        out.push_back(span.begin + n_kept);
    }
    return out;
}

int32_t Rows::prefix_begin(int32_t span, const std::vector<int32_t> & key_begins) const {
    const int32_t prefix = span < n_prefixes ? span : spans[size_t(span)].prefix;
    return prefix < 0 ? 0 : key_begins[size_t(prefix)] - spans[size_t(prefix)].n_prefix;
}

std::vector<int32_t> Rows::positions() const {
    std::vector<int32_t> out(n_rows);
    for (const Span & span : spans) {
        for (int32_t i = 0; i < span.n; i++) out[span.begin + i] = span.n_prefix + i;
    }
    return out;
}

} // namespace bge
