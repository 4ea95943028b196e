#include "paths.h"

#include <algorithm>

namespace bge {

void Paths::clear() {
    base_ = 0;
    steps_.assign(1, Step());
}

void Paths::resize(size_t end) { steps_.resize(end - base_ + 1); }

size_t Paths::settled(size_t from) const {
    std::vector<size_t> open; // a heap, the furthest on top: replace it by where its last piece begins until one is left
    for (size_t i = std::max(from, base_) - base_; i < steps_.size(); ++i) {
        if (i == 0 || steps_[i].length > 0) open.push_back(base_ + i);
    }
    if (open.empty()) return base_;
    std::make_heap(open.begin(), open.end());
    while (true) {
        const size_t furthest = open.front();
        while (!open.empty() && open.front() == furthest) {
            std::pop_heap(open.begin(), open.end());
            open.pop_back();
        }
        if (open.empty()) return furthest;
        open.push_back(furthest - steps_[furthest - base_].length);
        std::push_heap(open.begin(), open.end());
    }
}

void Paths::forget_before(size_t place) {
    steps_.erase(steps_.begin(), steps_.begin() + static_cast<std::ptrdiff_t>(place - base_));
    base_ = place;
}

} // namespace bge
