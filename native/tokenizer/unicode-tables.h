// The arrays of unicode-tables.cpp. Only unicode.cpp reads them.
#pragma once
#include <cstddef>
#include <cstdint>

namespace bge::unicode {

extern const uint32_t property_runs[]; // first code point, value; up to the next run
extern const size_t n_property_runs;
extern const uint32_t category_runs[]; // the same; values are enum Category
extern const size_t n_category_runs;
extern const uint32_t combining_class_runs[]; // the same; values keep the order of the classes, not their numbers
extern const size_t n_combining_class_runs;
extern const int32_t lowercase_runs[]; // first, last, step, delta
extern const size_t n_lowercase_runs;
extern const uint32_t canonical_decompositions[]; // code point, count, that many code points; ascending
extern const size_t n_canonical_decompositions;
extern const uint32_t compatibility_decompositions[]; // where they differ from the canonical ones
extern const size_t n_compatibility_decompositions;
extern const uint32_t compositions[]; // first, second, composed
extern const size_t n_compositions;

} // namespace bge::unicode
