// PairTemplate: pairs laid out by a chat template. Literal text, query and document are encoded as one text, so that tokens form
// across their seams; only special tokens of the template part it. What is too long loses the end of all before the closing part.
// Source: the usage code of Qwen3-Reranker's model card; sentence-transformers 6 CrossEncoder, whose ids are the same.
#pragma once
#include "batch.h"
#include "tokenizer/tokenizer.h"
#include <string>
#include <vector>

namespace bge {

struct TemplatePart {
    enum class Kind { literal, given, query, document } kind = Kind::literal;
    std::string text; // of a literal, whose special tokens are meant; or given by the caller, such as an instruction
};

class PairTemplate {
public:
    // The first part is encoded apart from the rest, and so is what follows the last text of the user's.
    // Throws Error MODEL_UNSUPPORTED unless there is one query, then one document, and a special token closes the document.
    PairTemplate(const Tokenizer & tokenizer, const std::vector<TemplatePart> & parts, bool parse_special);

    // Ids that surround every pair; a pair has room beyond them.
    size_t frame_size() const { return opening_.size() + closing_.size(); }

    // What pairs of one query begin with, up to `max_length` ids.
    std::vector<int32_t> encode_query(const std::string & query, size_t max_length) const;
    // `beginning` is what encode_query() gives. `max_length` counts all ids and must be above the frame's.
    EncodedPair encode(const std::vector<int32_t> & beginning, const std::string & query, const std::string & document, size_t max_length) const;

private:
    struct Piece { TemplatePart::Kind kind; std::string text; };
    struct Run { // either ids or pieces of one text
        std::vector<int32_t> ids;
        std::vector<Piece> pieces;
    };

    std::string compose(const Run & run, const std::string & query, const std::string * document, TemplatePart::Kind up_to) const;

    const Tokenizer & tokenizer_;
    bool parse_special_;
    std::vector<int32_t> opening_, closing_;
    std::vector<Run> runs_; // between the two
};

} // namespace bge
