#include "trie.h"

#include <algorithm>

namespace bge {

// Breadth first over the sorted strings: a node is the range of strings that share its prefix. Nodes are numbered in
// the order they are found, so the children of one node are neighbours.
Trie::Trie(Entries entries) {
    std::stable_sort(entries.begin(), entries.end(), [](const auto & a, const auto & b) { return a.first < b.first; });

    struct Range {
        uint32_t begin, end, depth;
    };
    std::vector<Range> ranges = {{0, static_cast<uint32_t>(entries.size()), 0}};
    nodes_.emplace_back();
    for (size_t i = 0; i < ranges.size(); ++i) {
        Range range = ranges[i];
        while (range.begin < range.end && entries[range.begin].first.size() == range.depth) {
            if (range.depth > 0) nodes_[i].id = entries[range.begin].second;
            ++range.begin;
        }
        nodes_[i].first_child = static_cast<uint32_t>(labels_.size());
        while (range.begin < range.end) {
            const char label = entries[range.begin].first[range.depth];
            uint32_t end = range.begin + 1;
            while (end < range.end && entries[end].first[range.depth] == label) ++end;
            ranges.push_back({range.begin, end, range.depth + 1});
            labels_.push_back(static_cast<uint8_t>(label));
            nodes_.emplace_back();
            ++nodes_[i].n_children;
            range.begin = end;
        }
    }

    std::fill(std::begin(root_children_), std::end(root_children_), none);
    for (uint32_t i = 0; i < nodes_[root].n_children; ++i) root_children_[labels_[i]] = static_cast<int32_t>(i + 1);
}

int32_t Trie::find(std::string_view text) const {
    int32_t node = root;
    for (const char c : text) {
        node = next(node, static_cast<uint8_t>(c));
        if (node == none) return none;
    }
    return id(node);
}

} // namespace bge
