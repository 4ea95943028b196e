#include "prefix-cache.h"
#include <algorithm>
#include <new>

namespace bge {

KeyRows::KeyRows(std::shared_ptr<std::atomic<size_t>> held, int32_t n_rows, int32_t width, int32_t n_layers)
    : held_(std::move(held)), n_rows_(n_rows), width_(width) {
    for (int32_t i = 0; i < n_layers; i++) layers_.emplace_back(new float[layer_floats()]);
    *held_ += layer_floats() * sizeof(float) * layers_.size();
}

KeyRows::~KeyRows() { *held_ -= layer_floats() * sizeof(float) * layers_.size(); }

std::shared_ptr<KeyRows> KeyRows::part(int32_t begin, int32_t end) const {
    const auto out = std::make_shared<KeyRows>(held_, end - begin, width_, n_layers());
    const size_t first = size_t(begin) * size_t(width_), n = size_t(end - begin) * size_t(width_);
    for (int32_t layer = 0; layer < n_layers(); layer++) {
        for (const Kind kind : {Kind::keys, Kind::values}) std::copy_n(data(layer, kind) + first, n, out->data(layer, kind));
    }
    return out;
}

void KeyRows::append_layers(KeyRows & above) {
    layers_.reserve(layers_.size() + above.layers_.size());
    for (auto & layer : above.layers_) layers_.push_back(std::move(layer));
    above.layers_.clear(); // its bytes are counted here now
}

struct PrefixCache::Node {
    std::vector<int32_t> ids; // none in a root
    std::shared_ptr<KeyRows> rows;
    uint64_t used = 0;
    std::vector<std::unique_ptr<Node>> children; // each begins with another id

    Node * find(int32_t id) const {
        for (const auto & child : children) if (child->ids[0] == id) return child.get();
        return nullptr;
    }
    void erase(const Node * child) {
        children.erase(std::find_if(children.begin(), children.end(), [&](const auto & c) { return c.get() == child; }));
    }
};

PrefixCache::PrefixCache(size_t max_bytes, int32_t width) : max_bytes_(max_bytes), width_(width), held_(std::make_shared<std::atomic<size_t>>(0)) { clear(); }

PrefixCache::~PrefixCache() = default;

void PrefixCache::clear() {
    for (auto & root : roots_) root = std::make_unique<Node>();
}

PrefixCache::Node & PrefixCache::root(bool soft_cap) { return *roots_[soft_cap ? 1 : 0]; }

PrefixStats PrefixCache::stats() const {
    std::lock_guard<std::mutex> lock(mutex_);
    PrefixStats out = stats_;
    out.bytes = int64_t(held_->load());
    return out;
}

// Rows of fewer layers are of no use, and neither is what stands behind them.
PrefixCache::Path PrefixCache::walk(Node & root, const int32_t * ids, int32_t n_ids, int32_t n_layers) {
    Path path;
    path.nodes.push_back(&root);
    while (path.n_ids < n_ids) {
        Node * next = path.nodes.back()->find(ids[path.n_ids]);
        if (!next || next->rows->n_layers() < n_layers) break;
        const auto end = next->ids.begin() + std::min(next->ids.size(), size_t(n_ids - path.n_ids));
        path.n_of_last = int32_t(std::mismatch(next->ids.begin(), end, ids + path.n_ids).first - next->ids.begin());
        path.n_ids += path.n_of_last;
        path.nodes.push_back(next);
        if (size_t(path.n_of_last) < next->ids.size()) break;
    }
    return path;
}

std::shared_ptr<PrefixKeys> PrefixCache::find(const int32_t * ids, int32_t n_ids, const PrefixUse & use) {
    const auto keys = std::make_shared<PrefixKeys>();
    keys->ids.assign(ids, ids + n_ids);
    keys->soft_cap = use.soft_cap;
    const Path path = walk(root(use.soft_cap), ids, n_ids, use.n_layers_later);
    time_++;
    for (size_t i = 1; i < path.nodes.size(); i++) {
        Node & node = *path.nodes[i];
        node.used = time_;
        keys->kept.push_back({node.rows, i + 1 == path.nodes.size() ? path.n_of_last : node.rows->n_rows()});
    }
    keys->n_kept = path.n_ids;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        (path.n_ids > 0 ? stats_.hits : stats_.misses)++;
        stats_.tokens += path.n_ids;
    }
    keys->computed = make_room(n_ids - path.n_ids, use.n_layers);
    return keys;
}

std::shared_ptr<PrefixKeys> PrefixCache::go_on(const PrefixKeys & before, const PrefixUse & use) {
    const auto keys = std::make_shared<PrefixKeys>(before);
    keys->first_layer = use.first_layer;
    keys->computed = make_room(int32_t(before.ids.size()) - before.n_kept, use.n_layers - use.first_layer);
    return keys;
}

// As many of the rows as the bound allows, once nothing older is left to drop; null for none.
std::shared_ptr<KeyRows> PrefixCache::make_room(int32_t n_rows, int32_t n_layers) {
    const size_t row = 2 * size_t(width_) * sizeof(float) * size_t(n_layers);
    const auto room = [&] { return max_bytes_ - std::min(max_bytes_, held_->load()); };
    while (room() < row * size_t(n_rows) && drop_oldest()) {}
    n_rows = int32_t(std::min(size_t(n_rows), room() / row));
    if (n_rows == 0) return nullptr;
    try {
        return std::make_shared<KeyRows>(held_, n_rows, width_, n_layers);
    } catch (const std::bad_alloc &) { // what is kept is a help, no need
        return nullptr;
    }
}

// The leaf that was used least lately, of those that no graph or cascade holds.
bool PrefixCache::drop_oldest() {
    Node *oldest = nullptr, *parent = nullptr;
    const auto visit = [&](const auto & self, Node & node) -> void {
        for (const auto & child : node.children) {
            self(self, *child);
            if (!child->children.empty() || child->rows.use_count() > 1 || (oldest && oldest->used <= child->used)) continue;
            oldest = child.get();
            parent = &node;
        }
    };
    for (auto & root : roots_) visit(visit, *root);
    if (oldest) parent->erase(oldest);
    return oldest != nullptr;
}

// The node keeps its first ids, and a child of it takes the others.
void PrefixCache::split(Node & node, int32_t at) {
    auto rest = std::make_unique<Node>();
    rest->rows = node.rows->part(at, node.rows->n_rows());
    rest->ids.assign(node.ids.begin() + at, node.ids.end());
    rest->used = node.used;
    auto first = node.rows->part(0, at);
    std::vector<std::unique_ptr<Node>> children(1);
    // Nothing from here on throws.
    node.rows = std::move(first);
    node.ids.resize(size_t(at));
    rest->children = std::move(node.children);
    children[0] = std::move(rest);
    node.children = std::move(children);
}

void PrefixCache::keep(const std::shared_ptr<PrefixKeys> & keys) try {
    if (!keys->computed) return;
    const std::shared_ptr<KeyRows> rows = std::move(keys->computed);
    const int32_t n_ids = keys->n_kept + rows->n_rows(), n_layers = keys->first_layer + rows->n_layers();
    Path path = walk(root(keys->soft_cap), keys->ids.data(), n_ids, keys->first_layer > 0 ? keys->first_layer : n_layers);
    Node * last = path.nodes.back();
    if (keys->first_layer > 0) { // to what the graph before kept, where that is still there
        const bool same = path.n_ids == n_ids && path.n_of_last == rows->n_rows() && last->rows->n_rows() == rows->n_rows();
        if (same && last->rows->n_layers() == keys->first_layer) last->rows->append_layers(*rows);
        return;
    }
    if (path.n_ids < keys->n_kept || path.n_ids == n_ids) return;
    if (path.nodes.size() > 1 && size_t(path.n_of_last) < last->ids.size()) split(*last, path.n_of_last);
    if (Node * stale = last->find(keys->ids[size_t(path.n_ids)])) last->erase(stale); // of fewer layers
    auto node = std::make_unique<Node>();
    node->rows = path.n_ids == keys->n_kept ? rows : rows->part(path.n_ids - keys->n_kept, rows->n_rows());
    node->ids.assign(keys->ids.begin() + path.n_ids, keys->ids.begin() + n_ids);
    node->used = time_;
    last->children.push_back(std::move(node));
} catch (const std::bad_alloc &) { // it is not kept then
}

} // namespace bge
