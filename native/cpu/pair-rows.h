// Rows that become codes of attention: where they lie, and their values with the bias. See PairCodes.
#pragma once

#include "kernels.h"
#include "row-kernels.h"

namespace cpu::detail {
namespace {

inline const float * row_of(const PairCodes & c, int row) { return row < c.n_first ? c.x + row * c.x_row : c.rest + (row - c.n_first) * c.x_row; }

// The n <= lanes values at p, which are a row's from i on.
inline vec values_at(const PairCodes & c, const float * p, int i, int n) {
    const vec value = load_up_to(p, n);
    return c.bias != nullptr ? add(value, load_up_to(c.bias + i, n)) : value;
}

// Calls fn(i, n, values) for vectors of at most n values of a row.
template <typename F> inline void for_values(const PairCodes & c, int row, const F & fn) {
    const float * x = row_of(c, row);
    for (int first = 0; first < c.n; first += panel_columns, x += c.x_panel) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            const int i = first + v * lanes, n = c.n - i < lanes ? c.n - i : lanes;
            if (n > 0) {
                fn(i, n, values_at(c, x + v * lanes, i, n));
            }
        }
    }
}

// Calls fn(low, high, to) for vectors of two neighbouring rows' values and their place in a panel: zeros for a row too few and after n.
template <typename F> inline void for_row_pair(const PairCodes & c, int row, const F & fn) {
    int32_t *     to    = c.codes + size_t(row / 2) * panel_columns;
    const bool    has_1 = row + 1 < c.n_rows;
    const float * x = row_of(c, row), *x_1 = has_1 ? row_of(c, row + 1) : x;
    for (int first = 0; first < c.n; first += panel_columns, x += c.x_panel, x_1 += c.x_panel, to += c.panel) {
        CPU_UNROLL
        for (int v = 0; v < panel_vectors; ++v) {
            const int i = first + v * lanes, n = c.n - i < lanes ? c.n - i : lanes;
            vec       low = set(0), high = set(0);
            if (n > 0) {
                low  = values_at(c, x + v * lanes, i, n);
                high = has_1 ? values_at(c, x_1 + v * lanes, i, n) : high;
            }
            fn(low, high, to + v * lanes);
        }
    }
}

} // namespace
} // namespace cpu::detail
