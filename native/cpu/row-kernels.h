// Work row by row on the vector layer: the store of finished sums, softmax, norms, rope.
#pragma once

#include "kernels.h"
#include "math-kernels.h"

#include <math.h>

namespace cpu::detail {
namespace {

// Calls fn(i, n) for pieces of at most one vector.
template <typename F> inline void for_vectors(int n, const F & fn) {
    int i = 0;
    for (; i + lanes <= n; i += lanes) {
        fn(i, lanes);
    }
    if (i < n) {
        fn(i, n - i);
    }
}

inline vec load_up_to(const float * p, int n) { return n == lanes ? load(p) : load_first(p, n); }

inline void store_up_to(float * p, vec v, int n) { n == lanes ? store(p, v) : store_first(p, v, n); }

// --- Store of a panel ------------------------------------------------------------------------------

template <Activation activation> void store_as(const Store & s) {
    const int half = s.columns / 2;
    for (int r = 0; r < s.n_rows; ++r) {
        const float * sums     = s.sums + size_t(r) * s.columns;
        const float * residual = s.residual != nullptr ? s.residual + r * s.residual_stride : nullptr;
        float *       y        = s.y + r * s.y_stride;
        for_vectors(s.n_valid, [&](int i, int n) {
            vec value = load(sums + i);
            if (s.bias != nullptr) {
                value = add(value, load(s.bias + i));
            }
            value = activated<activation>(value);
            if (s.gated) {
                value = mul(value, load(sums + half + i));
            }
            if (residual != nullptr) {
                value = fma(value, set(s.scale), load_up_to(residual + i, n));
            } else if (s.scale != 1.0f) {
                value = mul(value, set(s.scale));
            }
            store_up_to(y + i, value, n);
        });
    }
}

void store(const Store & s) {
    switch (s.activation) {
        case Activation::none:      return store_as<Activation::none>(s);
        case Activation::gelu_erf:  return store_as<Activation::gelu_erf>(s);
        case Activation::gelu_tanh: return store_as<Activation::gelu_tanh>(s);
        case Activation::silu:      return store_as<Activation::silu>(s);
        case Activation::tanh:      return store_as<Activation::tanh>(s);
        case Activation::relu:      return store_as<Activation::relu>(s);
    }
}

template <Activation activation> void activate_as(const float * x, float * y, int n) {
    for_vectors(n, [&](int i, int left) { store_up_to(y + i, activated<activation>(load_up_to(x + i, left)), left); });
}

void activate(Activation activation, const float * x, float * y, int n) {
    switch (activation) {
        case Activation::none:      return activate_as<Activation::none>(x, y, n);
        case Activation::gelu_erf:  return activate_as<Activation::gelu_erf>(x, y, n);
        case Activation::gelu_tanh: return activate_as<Activation::gelu_tanh>(x, y, n);
        case Activation::silu:      return activate_as<Activation::silu>(x, y, n);
        case Activation::tanh:      return activate_as<Activation::tanh>(x, y, n);
        case Activation::relu:      return activate_as<Activation::relu>(x, y, n);
    }
}

// --- Softmax ---------------------------------------------------------------------------------------

constexpr float minus_infinity = -INFINITY;

void softmax_row(const Softmax & s, int r) {
    float *   scores = s.scores + r * s.stride;
    const int first = s.first[r], end = s.end[r];
    vec       top = set(minus_infinity);
    if (s.soft_cap > 0) {
        const vec inner = set(s.scale / s.soft_cap), cap = set(s.soft_cap);
        for (int j = 0; j < s.n; j += lanes) {
            store(scores + j, mul(cap, tanh(mul(load(scores + j), inner))));
        }
    }
    const float scale = s.soft_cap > 0 ? 1.0f : s.scale;
    for (int j = first / lanes * lanes; j < end; j += lanes) {
        const vec x = load(scores + j);
        top         = max(top, j >= first && j + lanes <= end ? x : in_range(first - j, end - j, x, set(minus_infinity)));
    }
    float new_max = largest(top) * scale;
    new_max       = first < end && new_max > s.max[r] ? new_max : s.max[r];
    s.rescale[r]  = 1.0f;
    if (new_max != s.max[r]) {
        float first_lane[lanes];
        store(first_lane, exp(set(s.max[r] - new_max)));
        s.rescale[r] = s.max[r] == minus_infinity ? 0.0f : first_lane[0];
        s.max[r]     = new_max;
    }

    const vec by = set(scale), minus_max = set(-new_max);
    vec       total = set(0);
    for (int j = 0; j < s.n; j += lanes) {
        vec weight = set(0);
        if (j < end && j + lanes > first) {
            weight = exp(fma(load(scores + j), by, minus_max));
            if (j < first || j + lanes > end) {
                weight = in_range(first - j, end - j, weight, set(0));
            }
        }
        total = add(total, weight);
        store(scores + j, weight);
    }
    s.sum[r] = s.sum[r] * s.rescale[r] + sum(total);
}

void softmax(const Softmax & s) {
    for (int r = 0; r < s.n_rows; ++r) {
        softmax_row(s, r);
    }
}

void scale_row(float * x, int n, float scale) {
    for_vectors(n, [&](int i, int left) { store_up_to(x + i, mul(load_up_to(x + i, left), set(scale)), left); });
}

// --- Norms -----------------------------------------------------------------------------------------

inline vec summed(const Norm & a, int i, int n) {
    const vec x = load_up_to(a.x + i, n);
    return a.add != nullptr ? add(x, load_up_to(a.add + i, n)) : x;
}

inline void normed(const Norm & a, float mean, float inverse) {
    for_vectors(a.n, [&](int i, int n) {
        vec value = mul(sub(summed(a, i, n), set(mean)), set(inverse));
        value     = a.bias != nullptr ? fma(value, load_up_to(a.weight + i, n), load_up_to(a.bias + i, n)) : mul(value, load_up_to(a.weight + i, n));
        store_up_to(a.y + i, a.residual != nullptr ? add(value, load_up_to(a.residual + i, n)) : value, n);
    });
}

void layer_norm(const Norm & a) {
    vec total = set(0);
    for_vectors(a.n, [&](int i, int n) { total = add(total, summed(a, i, n)); });
    const float mean = sum(total) / float(a.n);

    vec squares = set(0);
    for_vectors(a.n, [&](int i, int n) {
        vec d   = sub(summed(a, i, n), set(mean));
        d       = n == lanes ? d : in_range(0, n, d, set(0));
        squares = fma(d, d, squares);
    });
    normed(a, mean, 1.0f / sqrtf(sum(squares) / float(a.n) + a.eps));
}

void rms_norm(const Norm & a) {
    vec squares = set(0);
    for_vectors(a.n, [&](int i, int n) {
        const vec x = summed(a, i, n);
        squares     = fma(x, x, squares);
    });
    normed(a, 0.0f, 1.0f / sqrtf(sum(squares) / float(a.n) + a.eps));
}

// --- Rope and sums ---------------------------------------------------------------------------------

void rope_halves(float * x, const float * cos, const float * sin, int half) {
    for_vectors(half, [&](int i, int n) {
        const vec c = load_up_to(cos + i, n), s = load_up_to(sin + i, n);
        const vec a = load_up_to(x + i, n), b = load_up_to(x + half + i, n);
        store_up_to(x + i, fnma(b, s, mul(a, c)), n);
        store_up_to(x + half + i, fma(a, s, mul(b, c)), n);
    });
}

void rope_pairs(float * x, const float * cos, const float * sin, int half) {
    for_vectors(2 * half, [&](int i, int n) {
        const vec c = spread_low(load_up_to(cos + i / 2, n / 2)), s = spread_low(load_up_to(sin + i / 2, n / 2));
        const vec v = load_up_to(x + i, n);
        store_up_to(x + i, fma(alternate_signs(swap_pairs(v)), s, mul(v, c)), n);
    });
}

void scale_add(float scale, const float * a, const float * b, float * y, int n) {
    for_vectors(n, [&](int i, int left) {
        const vec value = load_up_to(a + i, left);
        store_up_to(y + i, b != nullptr ? fma(value, set(scale), load_up_to(b + i, left)) : mul(value, set(scale)), left);
    });
}

} // namespace
} // namespace cpu::detail
