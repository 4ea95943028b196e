#include "input-layout.h"
#include <algorithm>

namespace bge {

static void append(std::vector<int32_t> & out, const std::vector<int32_t> & ids) { out.insert(out.end(), ids.begin(), ids.end()); }

// `n` ids of a text: the first, or the last.
static void append(std::vector<int32_t> & out, const std::vector<int32_t> & ids, size_t n, bool keep_end) {
    const auto begin = keep_end ? ids.end() - ptrdiff_t(n) : ids.begin();
    out.insert(out.end(), begin, begin + ptrdiff_t(n));
}

// How much of a second part stays when both must fit `limit` ("only_second" of the reference). When the excess would
// take all of it, nothing is cut and the input stays too long: a quirk that is kept, since it decides the ids.
static size_t cut_second(size_t first, size_t second, size_t specials, size_t limit) {
    const size_t total = first + second + specials;
    if (total <= limit) return second;
    const size_t excess = total - limit;
    return excess < second ? second - excess : second;
}

// How much of each stays when the longer one is cut first. Not one token at a time: an odd token goes to the longer text, to
// the document of two equal ones. Source: tokenizers utils/truncation.rs, truncate_encodings, LongestFirst.
static void cut_longest_first(size_t & n_query, size_t & n_document, size_t room, Longer longer) {
    if (n_query + n_document <= room) return;
    const bool query_is_longer = longer == Longer::unknown ? n_query > n_document : longer == Longer::query;
    size_t & shorter = query_is_longer ? n_document : n_query;
    size_t & longest = query_is_longer ? n_query : n_document;
    if (shorter > room) longest = shorter;
    else longest = std::max(shorter, room - shorter);
    if (shorter + longest > room) {
        shorter = room / 2;
        longest = shorter + room % 2;
    }
}

static size_t count_specials(const InputLayout & layout) { return layout.before.size() + layout.between.size() + layout.after.size(); }

static size_t room_of(const InputLayout & layout, const LengthLimits & limits) {
    const size_t specials = count_specials(layout);
    return size_t(limits.max_length) > specials ? size_t(limits.max_length) - specials : 0;
}

// Source: FlagEmbedding inference/reranker/encoder_only/base.py (tokenizer.prepare_for_model, truncation only_second);
// sentence-transformers CrossEncoder.predict (truncation=True).
static EncodedPair join_pair(const InputLayout & layout, const LengthLimits & limits, const std::vector<int32_t> & query, size_t n_query,
                             const std::vector<int32_t> & document, size_t n_document, Longer longer) {
    if (limits.truncation == Truncation::longest_first) cut_longest_first(n_query, n_document, room_of(layout, limits), longer);
    else n_document = cut_second(n_query, n_document, count_specials(layout), size_t(limits.max_length));
    const bool cut = n_document < document.size();
    EncodedPair out;
    append(out.ids, layout.before);
    append(out.ids, query, n_query, limits.keep_end);
    append(out.ids, layout.between);
    out.document_begin = int32_t(out.ids.size());
    append(out.ids, document, n_document, limits.keep_end);
    append(out.ids, layout.after);
    // A causal classifier reads the last token that is not padding, be it spelled in the text: what follows decides nothing.
    // Source: transformers modeling_layers.py, GenericForSequenceClassification.
    while (layout.padding >= 0 && out.ids.size() > 1 && out.ids.back() == layout.padding) {
        out.ids.pop_back();
        if (n_document > 0) n_document--;
    }
    if (layout.document_token_type == 0) out.document_begin = int32_t(out.ids.size());
    out.document_length = int32_t(n_document);
    if (n_query < query.size()) out.truncated |= 1;
    if (cut) out.truncated |= 2;
    return out;
}

// Source: FlagEmbedding inference/reranker/decoder_only/base.py. The limit counts separator and prompt once before
// they are added, so a sequence may reach max_length + 2 * (separator + prompt): kept, since it decides what is read.
// mxbai-rerank mxbai_rerank_v2.py, prepare_inputs, counts neither them nor what stands before the query.
static EncodedPair join_prompt(const InputLayout & layout, const LengthLimits & limits, const std::vector<int32_t> & query, size_t n_query,
                               const std::vector<int32_t> & document, size_t n_document) {
    const size_t frame = limits.separator.size() + limits.prompt.size();
    const size_t limit = size_t(limits.max_length) + (layout.frame_on_top ? layout.bos.size() : frame);
    std::vector<int32_t> second = limits.separator;
    append(second, document, n_document, limits.keep_end);
    const size_t kept = cut_second(layout.bos.size() + n_query, second.size(), 0, limit);
    EncodedPair out;
    append(out.ids, layout.bos);
    append(out.ids, query, n_query, limits.keep_end);
    append(out.ids, second, kept, limits.keep_end); // loses its separator first, where it loses its beginning
    out.query_length = int32_t(std::min(layout.bos.size() + n_query + limits.separator.size(), out.ids.size()));
    append(out.ids, limits.separator);
    append(out.ids, limits.prompt);
    out.prompt_length = int32_t(limits.separator.size() + limits.prompt.size());
    out.document_begin = int32_t(out.ids.size()); // decoders have no token types
    out.document_length = int32_t(kept > limits.separator.size() ? kept - limits.separator.size() : 0);
    if (kept < limits.separator.size() + document.size()) out.truncated |= 2;
    return out;
}

bool depends_on_longer(const InputLayout & layout, const LengthLimits & limits, size_t n_query, size_t n_document) {
    const size_t room = room_of(layout, limits);
    return layout.kind == InputLayout::Kind::pair && limits.truncation == Truncation::longest_first && room % 2 == 1 && n_query > room && n_document > room;
}

EncodedPair join(const InputLayout & layout, const LengthLimits & limits, const std::vector<int32_t> & query, const std::vector<int32_t> & document, Longer longer) {
    const size_t n_query = std::min(query.size(), size_t(limits.query_max_length));
    const bool is_pair = layout.kind == InputLayout::Kind::pair;
    // One id more than fits, so that longest_first sees which text is the longer one.
    const size_t n_document = std::min(document.size(), size_t(limits.max_length) + (is_pair && limits.truncation == Truncation::longest_first ? 1 : 0));
    EncodedPair out = is_pair ? join_pair(layout, limits, query, n_query, document, n_document, longer)
                              : join_prompt(layout, limits, query, n_query, document, n_document);
    if (n_query < query.size()) out.truncated |= 1;
    return out;
}

} // namespace bge
