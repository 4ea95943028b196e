// PrefixCache: keys and values of the ids that pairs begin with, such as an instruction and a query, kept from one batch to the
// next. What stands behind an id never changes its rows, so kept rows are those that a batch would compute, bit for bit.
//
// Kept are F32 rows of every layer that ran, in a tree: pairs that begin alike share what they have in common. Of the engine's
// thread only, but for stats().
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace bge {

struct PrefixStats {
    int64_t hits = 0, misses = 0; // queries of batches, of which something was kept or nothing
    int64_t tokens = 0;           // that were not computed again
    int64_t bytes = 0;            // held now
};

// Keys and values of consecutive ids: one layer is the keys' rows, then the values'.
class KeyRows {
public:
    // Counts its bytes in `held`, as long as it lives. Throws std::bad_alloc.
    KeyRows(std::shared_ptr<std::atomic<size_t>> held, int32_t n_rows, int32_t width, int32_t n_layers);
    ~KeyRows();
    KeyRows(const KeyRows &) = delete;
    KeyRows & operator=(const KeyRows &) = delete;

    enum class Kind { keys, values };

    int32_t n_rows() const { return n_rows_; }
    int32_t n_layers() const { return int32_t(layers_.size()); }
    float * data(int32_t layer, Kind kind) const { return layers_[size_t(layer)].get() + (kind == Kind::values ? size_t(n_rows_) * size_t(width_) : 0); }

    std::shared_ptr<KeyRows> part(int32_t begin, int32_t end) const; // a copy
    void append_layers(KeyRows & above); // takes them

private:
    size_t layer_floats() const { return 2 * size_t(n_rows_) * size_t(width_); }

    std::shared_ptr<std::atomic<size_t>> held_;
    int32_t n_rows_, width_;
    std::vector<std::unique_ptr<float[]>> layers_;
};

// What a graph reads and writes of one prefix's keys and values: first the kept rows, then those that it computes.
struct PrefixKeys {
    struct Part { std::shared_ptr<const KeyRows> rows; int32_t n; }; // their first n
    std::vector<Part> kept;
    int32_t n_kept = 0;
    std::shared_ptr<KeyRows> computed; // takes the rows after them; null where none are to be kept
    int32_t first_layer = 0;           // that `computed` begins with

    std::vector<int32_t> ids;
    bool soft_cap = false;
};

// What rows depend on, beside their ids.
struct PrefixUse {
    int32_t first_layer = 0, n_layers = 0; // layers that run, [first_layer, n_layers)
    int32_t n_layers_later = 0;            // layers that the call asks for in the end
    bool soft_cap = false;
};

class PrefixCache {
public:
    // `width`: of a key, and of a value, in one layer.
    PrefixCache(size_t max_bytes, int32_t width) : max_bytes_(max_bytes), width_(width), held_(std::make_shared<std::atomic<size_t>>(0)) {}

    // What is kept of the prefix, and room for what is not, as far as the bound allows. Never null.
    std::shared_ptr<PrefixKeys> find(const int32_t * ids, int32_t n_ids, const PrefixUse & use);
    // Room for the layers of a graph that goes on from states: the kept rows are those of `before`.
    std::shared_ptr<PrefixKeys> go_on(const PrefixKeys & before, const PrefixUse & use);
    void keep(const std::shared_ptr<PrefixKeys> & keys); // after the graph ran
    void clear();

    PrefixStats stats() const; // from any thread

private:
    // Consecutive ids, which go on from those of the parent. Owned by nodes_, so that no depth of the tree is a depth of the stack.
    struct Node {
        std::vector<int32_t> ids; // none in a root
        std::shared_ptr<KeyRows> rows;
        uint64_t used = 0;
        Node * parent = nullptr;
        int32_t n_children = 0;
    };
    using Place = std::pair<const Node *, int32_t>; // the parent, and the first id

    // The nodes that hold the first ids, and how many of them the last one holds.
    struct Path { std::vector<Node *> nodes; int32_t n_ids = 0, n_of_last = 0; };
    Path walk(bool soft_cap, const int32_t * ids, int32_t n_ids, int32_t n_layers);
    Node * child(const Node & parent, int32_t id) const;
    void add(Node & parent, std::unique_ptr<Node> node);
    void erase(Node & node); // and all that goes on from it
    std::shared_ptr<KeyRows> make_room(int32_t n_rows, int32_t n_layers);
    bool drop_oldest();
    void split(Node & node, int32_t at);

    size_t max_bytes_;
    int32_t width_;
    std::shared_ptr<std::atomic<size_t>> held_;
    Node roots_[2]; // without and with a soft cap
    std::map<Place, std::unique_ptr<Node>> nodes_;
    uint64_t time_ = 0;
    mutable std::mutex mutex_; // guards what follows
    PrefixStats stats_;
};

} // namespace bge
