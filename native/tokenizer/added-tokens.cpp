#include "added-tokens.h"
#include "unicode.h"

#include <algorithm>

namespace bge {

namespace {

bool is_word_before(std::string_view text, size_t position) {
    return position > 0 && unicode::is_word(unicode::decode(text, unicode::previous(text, position)).value);
}

bool is_word_after(std::string_view text, size_t position) {
    return position < text.size() && unicode::is_word(unicode::decode(text, position).value);
}

size_t start_of_white_space(std::string_view text, size_t end, size_t lowest) {
    while (end > lowest) {
        const size_t last = unicode::previous(text, end);
        if (!unicode::is_white_space(unicode::decode(text, last).value)) break;
        end = last;
    }
    return std::max(end, lowest);
}

size_t end_of_white_space(std::string_view text, size_t begin) {
    while (begin < text.size()) {
        const unicode::Character c = unicode::decode(text, begin);
        if (!unicode::is_white_space(c.value)) break;
        begin += c.size;
    }
    return begin;
}

} // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
    Trie::Entries entries;
    for (size_t i = tokens_.size(); i-- > 0;) { // backwards: the trie keeps the last of equal strings
        const std::string & content = tokens_[i].content;
        entries.emplace_back(content, static_cast<int32_t>(i));
        first_bytes_.set(static_cast<uint8_t>(content[0]));
        longest_ = std::max(longest_, content.size());
        has_lstrip_ = has_lstrip_ || tokens_[i].lstrip;
    }
    trie_ = Trie(std::move(entries));
}

const AddedToken * AddedTokens::match(std::string_view text, size_t begin) const {
    int32_t longest = Trie::none;
    int32_t node = Trie::root;
    for (size_t i = begin; i < text.size(); ++i) {
        node = trie_.next(node, static_cast<uint8_t>(text[i]));
        if (node == Trie::none) break;
        if (trie_.id(node) != Trie::none) longest = trie_.id(node);
    }
    return longest == Trie::none ? nullptr : &tokens_[longest];
}

std::vector<AddedTokens::Piece> AddedTokens::split(std::string_view text, bool parse_special) const {
    std::vector<Piece> pieces;
    size_t done = 0;
    for (size_t i = 0; i < text.size();) {
        const AddedToken * token = first_bytes_[static_cast<uint8_t>(text[i])] ? match(text, i) : nullptr;
        if (!token) {
            ++i;
            continue;
        }
        size_t begin = i;
        size_t end = i + token->content.size();
        i = end; // the search goes on behind a match, taken or not
        if (token->special && !parse_special) continue;
        if (token->single_word && (is_word_before(text, begin) || is_word_after(text, end))) continue;
        // White space that the token before has taken is not taken again.
        if (token->lstrip) begin = start_of_white_space(text, begin, std::min(done, begin));
        if (token->rstrip) end = end_of_white_space(text, end);
        if (done < begin) pieces.push_back({-1, done, begin});
        pieces.push_back({token->id, begin, end});
        done = end;
    }
    if (done < text.size()) pieces.push_back({-1, done, text.size()});
    return pieces;
}

} // namespace bge
