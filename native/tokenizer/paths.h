// Paths: the best way to cut each prefix of a text into pieces, as one backward step per place. When the ways to all
// places that can still matter have their beginning in common, that beginning is settled: it can be written and
// forgotten, so a text of a hundred megabytes needs no more memory than a short one.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace bge {

class Paths {
  public:
    struct Step {
        uint32_t length = 0; // bytes of the last piece; 0: the place is not reached
        int32_t id = -1;
    };

    void clear();                      // begins at place 0
    void resize(size_t end);           // room for places up to `end`
    size_t base() const { return base_; } // the place before which all is forgotten
    Step & operator[](size_t place) { return steps_[place - base_]; }

    // The furthest place that the ways to all reached places from `from` on have in common.
    size_t settled(size_t from) const;
    // Calls `visit(end of piece, step)` along the way from the base to `end`.
    template <typename F> void walk(size_t end, F && visit) {
        ends_.clear();
        for (size_t place = end; place > base_; place -= steps_[place - base_].length) ends_.push_back(place);
        for (size_t i = ends_.size(); i-- > 0;) visit(ends_[i], steps_[ends_[i] - base_]);
    }
    void forget_before(size_t place);

  private:
    std::vector<Step> steps_;
    std::vector<size_t> ends_;
    size_t base_ = 0;
};

} // namespace bge
