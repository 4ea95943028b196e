// Trie: byte strings to ids, read byte by byte. Children lie next to each other, sorted; the root's in a direct table.
#pragma once
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace bge {

class Trie {
  public:
    static constexpr int32_t none = -1;
    static constexpr int32_t root = 0;

    using Entries = std::vector<std::pair<std::string_view, int32_t>>;

    Trie() : Trie(Entries{}) {}
    // Empty strings are left out; of two equal strings the later one counts. The strings are not kept.
    explicit Trie(Entries entries);

    // The node one byte further, or none.
    int32_t next(int32_t node, uint8_t byte) const {
        if (node == root) return root_children_[byte];
        const Node & n = nodes_[node];
        const uint8_t * labels = labels_.data() + n.first_child;
        uint32_t low = 0, high = n.n_children;
        while (high - low > 8) {
            const uint32_t middle = (low + high) / 2;
            (labels[middle] <= byte ? low : high) = middle;
        }
        for (; low < high; ++low) {
            if (labels[low] == byte) return static_cast<int32_t>(n.first_child + low + 1); // node i + 1 is child i
        }
        return none;
    }

    int32_t id(int32_t node) const { return nodes_[node].id; }
    // Id of a whole string, or none.
    int32_t find(std::string_view text) const;

  private:
    struct Node {
        uint32_t first_child = 0;
        int32_t id = none;
        uint16_t n_children = 0;
    };
    std::vector<Node> nodes_;
    std::vector<uint8_t> labels_; // of node i + 1
    int32_t root_children_[256];
};

} // namespace bge
