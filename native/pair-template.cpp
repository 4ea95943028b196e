#include "pair-template.h"
#include "error.h"
#include <algorithm>

namespace bge {

using Kind = TemplatePart::Kind;

static void append(std::vector<int32_t> & out, const std::vector<int32_t> & ids) { out.insert(out.end(), ids.begin(), ids.end()); }

PairTemplate::PairTemplate(const Tokenizer & tokenizer, const std::vector<TemplatePart> & parts, bool parse_special) : tokenizer_(tokenizer), parse_special_(parse_special) {
    const auto is_user = [](const TemplatePart & part) { return part.kind != Kind::literal; };
    const auto count = [&](Kind kind) { return std::count_if(parts.begin(), parts.end(), [&](const TemplatePart & part) { return part.kind == kind; }); };
    const auto place = [&](Kind kind) { return std::find_if(parts.begin(), parts.end(), [&](const TemplatePart & part) { return part.kind == kind; }); };
    if (parts.empty() || is_user(parts[0]) || count(Kind::query) != 1 || count(Kind::document) != 1 || place(Kind::query) > place(Kind::document) || is_user(parts.back()))
        throw Error("MODEL_UNSUPPORTED", "The template of a pair should have text, one query, then one document, and text behind it");
    opening_ = tokenizer.encode(parts[0].text);
    const auto last_user = std::find_if(parts.rbegin(), parts.rend(), is_user).base(); // the part behind it
    std::string behind;
    for (auto part = last_user; part != parts.end(); ++part) behind += part->text;
    closing_ = tokenizer.encode(behind);
    if (last_user[-1].kind != Kind::document || tokenizer.split_added_tokens(behind)[0].id < 0)
        throw Error("MODEL_UNSUPPORTED", "The template of a pair should close the document with a special token");

    Run run;
    const auto flush = [&] {
        if (!run.pieces.empty()) runs_.push_back(std::move(run));
        run = {};
    };
    for (auto part = parts.begin() + 1; part != last_user; ++part) {
        if (part->kind != Kind::literal) {
            run.pieces.push_back({part->kind, part->text});
            continue;
        }
        for (const Tokenizer::Stretch & stretch : tokenizer.split_added_tokens(part->text)) {
            if (stretch.id < 0) {
                run.pieces.push_back({Kind::literal, std::string(stretch.text)});
                continue;
            }
            flush();
            if (runs_.empty() || !runs_.back().pieces.empty()) runs_.push_back({});
            runs_.back().ids.push_back(stretch.id);
        }
    }
    flush();
}

// The text of a run up to the end of its first piece of the kind `up_to`. Without a document, up to where that begins.
std::string PairTemplate::compose(const Run & run, const std::string & query, const std::string * document, Kind up_to) const {
    std::string out;
    for (const Piece & piece : run.pieces) {
        if (piece.kind == Kind::document && !document) break;
        out += piece.kind == Kind::query ? query : piece.kind == Kind::document ? *document : piece.text;
        if (piece.kind == up_to) break;
    }
    return out;
}

static bool has(const std::vector<int32_t> & ids, size_t limit) { return ids.size() >= limit; }

std::vector<int32_t> PairTemplate::encode_query(const std::string & query, size_t max_length) const {
    std::vector<int32_t> out = opening_;
    for (const Run & run : runs_) {
        if (has(out, max_length)) break;
        append(out, run.ids);
        if (!run.pieces.empty()) append(out, tokenizer_.encode(compose(run, query, nullptr, Kind::document), {parse_special_, max_length - out.size()}));
    }
    return out;
}

EncodedPair PairTemplate::encode(const std::vector<int32_t> & beginning, const std::string & query, const std::string & document, size_t max_length) const {
    const size_t limit = max_length > closing_.size() ? max_length - closing_.size() : 0;
    EncodedPair out;
    out.ids = opening_;
    for (const Run & run : runs_) {
        const size_t before = out.ids.size(), room = limit > before ? limit - before : 0;
        append(out.ids, run.ids);
        if (run.pieces.empty()) continue;
        const std::vector<int32_t> ids = tokenizer_.encode(compose(run, query, &document, Kind::document), {parse_special_, room + 1});
        append(out.ids, ids);
        if (ids.size() <= room) continue;
        for (const Piece & piece : run.pieces) {
            // The document ends its run, so an id too many is one of its own.
            if (piece.kind == Kind::document && !document.empty()) out.truncated |= 2;
            if (piece.kind == Kind::query && !query.empty() && !tokenizer_.covers(ids.data(), room, compose(run, query, &document, Kind::query))) out.truncated |= 1;
        }
    }
    if (out.ids.size() > limit) out.ids.resize(limit);

    const auto [end, end_of_beginning] = std::mismatch(out.ids.begin(), out.ids.end(), beginning.begin(), beginning.end());
    const size_t common = size_t(end - out.ids.begin());
    out.document_length = int32_t(out.ids.size() - common);
    // The last id before the document may be another one with it, so it belongs to each pair's own.
    const size_t shared = beginning.empty() ? 0 : beginning.size() - 1;
    if (shared <= common && shared < out.ids.size()) out.query_length = int32_t(shared);
    append(out.ids, closing_);
    out.prompt_length = int32_t(closing_.size());
    out.document_begin = int32_t(out.ids.size()); // decoders have no token types
    return out;
}

} // namespace bge
