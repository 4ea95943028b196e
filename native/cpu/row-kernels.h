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

// Calls whole(i) for pairs of whole vectors, then part(i, n) for what is left.
template <typename Whole, typename Part> inline void for_pairs(int n, const Whole & whole, const Part & part) {
    int i = 0;
    for (; i + 2 * lanes <= n; i += 2 * lanes) {
        whole(i);
    }
    for (; i < n; i += lanes) {
        part(i, n - i < lanes ? n - i : lanes);
    }
}

inline vec_pair load_pair(const float * p) { return {load(p), load(p + lanes)}; }
inline void     store_pair(float * p, vec_pair v) {
    store(p, v.a);
    store(p + lanes, v.b);
}

// --- Store of a panel ------------------------------------------------------------------------------

// From sums to what is stored, for one vec or vec_pair.
template <Activation activation, typename V> inline V finished(V sums, V bias, V scale) {
    return mul(activated<activation>(add(sums, bias)), scale);
}

// Fields as locals: what is stored could otherwise be one of them, for all the compiler knows.
template <Activation activation> void store_as(const Store & s) {
    const float * sums = s.sums, * bias = s.bias, * residual = s.residual;
    float *       y    = s.y;
    const int     n    = s.n_valid, columns = s.columns;
    const bool    gated = s.gated;
    const vec     scale = set(s.scale);
    const size_t  y_stride = s.y_stride, residual_stride = s.residual_stride;
    for (int r = s.n_rows; r > 0; --r, sums += columns, y += y_stride) {
        for_pairs(
            n,
            [&](int i) {
                const vec_pair b     = bias != nullptr ? load_pair(bias + i) : vec_pair(set(0));
                vec_pair       value = finished<activation, vec_pair>(load_pair(sums + i), b, scale);
                value                = gated ? mul(value, load_pair(sums + columns / 2 + i)) : value;
                store_pair(y + i, residual != nullptr ? add(value, load_pair(residual + i)) : value);
            },
            [&](int i, int left) { // sums and bias are padded to whole panels, the residual is not
                const vec b     = bias != nullptr ? load_up_to(bias + i, left) : set(0);
                vec       value = finished<activation, vec>(load_up_to(sums + i, left), b, scale);
                value           = gated ? mul(value, load_up_to(sums + columns / 2 + i, left)) : value;
                store_up_to(y + i, residual != nullptr ? add(value, load_up_to(residual + i, left)) : value, left);
            });
        residual = residual != nullptr ? residual + residual_stride : nullptr;
    }
}

void store(const Store & s) {
    switch (s.activation) {
        case Activation::none:      return store_as<Activation::none>(s);
        case Activation::gelu_erf:  return store_as<Activation::gelu_erf>(s);
        case Activation::gelu_near: return store_as<Activation::gelu_near>(s);
        case Activation::gelu_tanh: return store_as<Activation::gelu_tanh>(s);
        case Activation::silu:      return store_as<Activation::silu>(s);
        case Activation::tanh:      return store_as<Activation::tanh>(s);
        case Activation::relu:      return store_as<Activation::relu>(s);
    }
}

template <Activation activation> void activate_as(const float * x, float * y, int n) {
    for_pairs(
        n, [&](int i) { store_pair(y + i, activated<activation>(load_pair(x + i))); },
        [&](int i, int left) { store_up_to(y + i, activated<activation>(load_up_to(x + i, left)), left); });
}

void activate(Activation activation, const float * x, float * y, int n) {
    switch (activation) {
        case Activation::none:      return activate_as<Activation::none>(x, y, n);
        case Activation::gelu_erf:  return activate_as<Activation::gelu_erf>(x, y, n);
        case Activation::gelu_near: return activate_as<Activation::gelu_near>(x, y, n);
        case Activation::gelu_tanh: return activate_as<Activation::gelu_tanh>(x, y, n);
        case Activation::silu:      return activate_as<Activation::silu>(x, y, n);
        case Activation::tanh:      return activate_as<Activation::tanh>(x, y, n);
        case Activation::relu:      return activate_as<Activation::relu>(x, y, n);
    }
}

// --- Softmax ---------------------------------------------------------------------------------------

constexpr float minus_infinity = -INFINITY;

// Caps the scores that count and returns the largest one.
inline float softmax_top(float soft_cap, float scale, float * scores, int first, int end) {
    int j = first / lanes * lanes;
    for (int i = j; soft_cap > 0 && i < end; i += lanes) {
        store(scores + i, mul(set(soft_cap), tanh(mul(load(scores + i), set(scale / soft_cap)))));
    }
    auto     part = [&](int i) { return in_range(first - i, end - i, load(scores + i), set(minus_infinity)); };
    vec_pair top  = set(minus_infinity);
    if (j < first) {
        top.a = part(j);
        j += lanes;
    }
    for (; j + 2 * lanes <= end; j += 2 * lanes) {
        top = max(top, load_pair(scores + j));
    }
    for (; j < end; j += lanes) {
        top.a = max(top.a, part(j));
    }
    return largest(max(top.a, top.b));
}

// Takes the largest score of a tile into the running maximum.
inline void take_top(float top, float * max, float * rescale) {
    const float old = *max;
    *max            = top > old ? top : old;
    *rescale        = top > old ? expf(old - top) : 1.0f; // 0 at the first tile
}

void softmax_row(const Softmax & s, int r) {
    float *     scores = s.scores + r * s.stride;
    const int   first = s.first[r], end = s.end[r];
    const float scale = s.soft_cap > 0 ? 1.0f : s.scale; // the cap has applied it

    const float top = first < end ? softmax_top(s.soft_cap, s.scale, scores, first, end) * scale : minus_infinity;
    take_top(top, s.max + r, s.rescale + r);

    const vec by = set(scale), minus_max = set(-s.max[r]);
    vec       total = set(0);
    for (int j = 0; j < s.n; j += 2 * lanes) { // n is a multiple of 16
        if (j >= first && j + 2 * lanes <= end) {
            const vec_pair weights = exp_not_positive(fma(load_pair(scores + j), vec_pair(by), vec_pair(minus_max)));
            store_pair(scores + j, weights);
            total = add(total, add(weights.a, weights.b));
            continue;
        }
        for (int i = j; i < j + 2 * lanes && i < s.n; i += lanes) {
            vec weights = set(0);
            if (i < end && i + lanes > first) {
                weights = in_range(first - i, end - i, exp_not_positive(fma(load(scores + i), by, minus_max)), set(0));
            }
            store(scores + i, weights);
            total = add(total, weights);
        }
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

// The sum of what fn(i, n) gives for pieces of at most one vector, four of them at a time.
template <typename F> inline float sum_of_vectors(int n, const F & fn) {
    vec totals[4] = {set(0), set(0), set(0), set(0)};
    int i = 0;
    for (; i + 4 * lanes <= n; i += 4 * lanes) {
        CPU_UNROLL
        for (int j = 0; j < 4; ++j) {
            totals[j] = add(totals[j], fn(i + j * lanes, lanes));
        }
    }
    for (; i < n; i += lanes) {
        totals[0] = add(totals[0], fn(i, n - i < lanes ? n - i : lanes));
    }
    return sum(add(add(totals[0], totals[1]), add(totals[2], totals[3])));
}

void layer_norm(const Norm & a) {
    const float mean    = sum_of_vectors(a.n, [&](int i, int n) { return summed(a, i, n); }) / float(a.n);
    const float squares = sum_of_vectors(a.n, [&](int i, int n) {
        vec d = sub(summed(a, i, n), set(mean));
        d     = n == lanes ? d : in_range(0, n, d, set(0));
        return mul(d, d);
    });
    normed(a, mean, 1.0f / sqrtf(squares / float(a.n) + a.eps));
}

void rms_norm(const Norm & a) {
    const float squares = sum_of_vectors(a.n, [&](int i, int n) {
        const vec x = summed(a, i, n);
        return mul(x, x);
    });
    normed(a, 0.0f, 1.0f / sqrtf(squares / float(a.n) + a.eps));
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
