// Where user-perceived characters (extended grapheme clusters, Unicode 16) end.
#pragma once
#include <cstddef>
#include <string_view>

namespace bge::unicode {

// End of the cluster that begins at `position`, which must be a cluster boundary below the size of the text.
size_t next_grapheme(std::string_view utf8, size_t position);

// Whether text may be cut between two neighbouring characters without looking further: a cluster boundary whatever
// stands around them, and a place that no normal form composes or reorders across.
bool is_sure_boundary(char32_t before, char32_t after);

} // namespace bge::unicode
