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

void PrefixCache::clear() {
    nodes_.clear();
    for (Node & root : roots_) root.n_children = 0;
}

PrefixCache::Node * PrefixCache::child(const Node & parent, int32_t id) const {
    const auto found = nodes_.find({&parent, id});
    return found == nodes_.end() ? nullptr : found->second.get();
}

void PrefixCache::add(Node & parent, std::unique_ptr<Node> node) {
    node->parent = &parent;
    const Place place(&parent, node->ids[0]);
    nodes_[place] = std::move(node);
    parent.n_children++;
}

void PrefixCache::erase(Node & node) {
    std::vector<Node *> below = {&node};
    for (size_t i = 0; i < below.size(); i++) {
        for (auto next = nodes_.lower_bound({below[i], INT32_MIN}); next != nodes_.end() && next->first.first == below[i]; ++next) below.push_back(next->second.get());
    }
    node.parent->n_children--;
    for (Node * each : below) nodes_.erase({each->parent, each->ids[0]});
}

PrefixStats PrefixCache::stats() const {
    std::lock_guard<std::mutex> lock(mutex_);
    PrefixStats out = stats_;
    out.bytes = int64_t(held_->load());
    return out;
}

// Rows of fewer layers are of no use, and neither is what stands behind them.
PrefixCache::Path PrefixCache::walk(bool soft_cap, const int32_t * ids, int32_t n_ids, int32_t n_layers) {
    Path path;
    path.nodes.push_back(&roots_[soft_cap ? 1 : 0]);
    while (path.n_ids < n_ids) {
        Node * next = child(*path.nodes.back(), ids[path.n_ids]);
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
    const Path path = walk(use.soft_cap, ids, n_ids, use.n_layers_later);
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
    Node * oldest = nullptr;
    for (const auto & [place, node] : nodes_) {
        if (node->n_children == 0 && node->rows.use_count() == 1 && (!oldest || node->used < oldest->used)) oldest = node.get();
    }
    if (oldest) erase(*oldest);
    return oldest != nullptr;
}

// The node keeps its first ids, and a child of it takes the others.
void PrefixCache::split(Node & node, int32_t at) {
    auto rest = std::make_unique<Node>();
    rest->rows = node.rows->part(at, node.rows->n_rows());
    rest->ids.assign(node.ids.begin() + at, node.ids.end());
    rest->used = node.used;
    rest->parent = &node;
    rest->n_children = node.n_children;
    Node * const then = rest.get();
    auto first = node.rows->part(0, at);
    decltype(nodes_) made;
    made[Place(&node, rest->ids[0])] = std::move(rest);
    std::vector<decltype(nodes_)::node_type> children;
    children.reserve(size_t(node.n_children));
    // Nothing from here on throws.
    for (auto next = nodes_.lower_bound({&node, INT32_MIN}); next != nodes_.end() && next->first.first == &node;) children.push_back(nodes_.extract(next++));
    for (auto & child : children) {
        child.key().first = child.mapped()->parent = then;
        nodes_.insert(std::move(child));
    }
    nodes_.merge(made);
    node.rows = std::move(first);
    node.ids.resize(size_t(at));
    node.n_children = 1;
}

void PrefixCache::keep(const std::shared_ptr<PrefixKeys> & keys) try {
    if (!keys->computed) return;
    const std::shared_ptr<KeyRows> rows = std::move(keys->computed);
    const int32_t n_ids = keys->n_kept + rows->n_rows(), n_layers = keys->first_layer + rows->n_layers();
    Path path = walk(keys->soft_cap, keys->ids.data(), n_ids, keys->first_layer > 0 ? keys->first_layer : n_layers);
    Node * last = path.nodes.back();
    if (keys->first_layer > 0) { // to what the graph before kept, where that is still there
        const bool same = path.n_ids == n_ids && path.n_of_last == rows->n_rows() && last->rows->n_rows() == rows->n_rows();
        if (same && last->rows->n_layers() == keys->first_layer) last->rows->append_layers(*rows);
        return;
    }
    if (path.n_ids < keys->n_kept || path.n_ids == n_ids) return;
    if (path.nodes.size() > 1 && size_t(path.n_of_last) < last->ids.size()) split(*last, path.n_of_last);
    if (Node * stale = child(*last, keys->ids[size_t(path.n_ids)])) erase(*stale); // of fewer layers
    auto node = std::make_unique<Node>();
    node->rows = path.n_ids == keys->n_kept ? rows : rows->part(path.n_ids - keys->n_kept, rows->n_rows());
    node->ids.assign(keys->ids.begin() + path.n_ids, keys->ids.begin() + n_ids);
    node->used = time_;
    add(*last, std::move(node));
} catch (const std::bad_alloc &) { // it is not kept then
}

} // namespace bge
