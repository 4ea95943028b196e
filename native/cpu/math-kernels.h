// Exponentials and activations on the vector layer, to about 1e-7.
#pragma once

#include "types.h"

namespace cpu::detail {
namespace {

// Two vectors that go through a function together. The functions are long chains of dependent steps, and a chip
// looks too few instructions ahead to overlap two calls by itself.
struct vec_pair {
    vec a, b;
    vec_pair(vec both) : a(both), b(both) {}
    vec_pair(vec a, vec b) : a(a), b(b) {}
};

inline vec_pair add(vec_pair x, vec_pair y) { return {add(x.a, y.a), add(x.b, y.b)}; }
inline vec_pair sub(vec_pair x, vec_pair y) { return {sub(x.a, y.a), sub(x.b, y.b)}; }
inline vec_pair mul(vec_pair x, vec_pair y) { return {mul(x.a, y.a), mul(x.b, y.b)}; }
inline vec_pair div(vec_pair x, vec_pair y) { return {div(x.a, y.a), div(x.b, y.b)}; }
inline vec_pair max(vec_pair x, vec_pair y) { return {max(x.a, y.a), max(x.b, y.b)}; }
inline vec_pair min(vec_pair x, vec_pair y) { return {min(x.a, y.a), min(x.b, y.b)}; }
inline vec_pair fma(vec_pair x, vec_pair y, vec_pair z) { return {fma(x.a, y.a, z.a), fma(x.b, y.b, z.b)}; }
inline vec_pair fnma(vec_pair x, vec_pair y, vec_pair z) { return {fnma(x.a, y.a, z.a), fnma(x.b, y.b, z.b)}; }
inline vec_pair abs(vec_pair x) { return {abs(x.a), abs(x.b)}; }
inline vec_pair round(vec_pair x) { return {round(x.a), round(x.b)}; }
inline vec_pair power_of_two(vec_pair n) { return {power_of_two(n.a), power_of_two(n.b)}; }
inline vec_pair times_power_of_two(vec_pair v, vec_pair n) { return {times_power_of_two(v.a, n.a), times_power_of_two(v.b, n.b)}; }
inline vec_pair sign_of(vec_pair magnitude, vec_pair x) { return {sign_of(magnitude.a, x.a), sign_of(magnitude.b, x.b)}; }
inline vec_pair where_less(vec_pair x, vec_pair y, vec_pair yes, vec_pair no) {
    return {where_less(x.a, y.a, yes.a, no.a), where_less(x.b, y.b, yes.b, no.b)};
}

// In the following, V is a vec or a vec_pair. NaN goes through all of them: of max(a, b) and min(a, b), x86 gives b when one is NaN.

// Cephes' expf for x <= 0: x = n ln 2 + r, then a polynomial in r. Below -87 the result stays at about 1e-38.
template <typename V> inline V exp_not_positive(V x) {
    x         = max(V(set(-87.0f)), x);
    const V n = round(mul(x, V(set(1.44269504f))));
    V       r = fnma(n, V(set(0.693359375f)), x);
    r         = fnma(n, V(set(-2.12194440e-4f)), r);
    V p       = fma(V(set(1.9875691500e-4f)), r, V(set(1.3981999507e-3f)));
    p         = fma(p, r, V(set(8.3334519073e-3f)));
    p         = fma(p, r, V(set(4.1665795894e-2f)));
    p         = fma(p, r, V(set(1.6666665459e-1f)));
    p         = fma(p, r, V(set(5.0000001201e-1f)));
    p         = fma(p, mul(r, r), add(r, V(set(1.0f))));
    return mul(p, power_of_two(n));
}

// 2^x for x <= 0, within 8e-5 of itself: a polynomial in what rounding leaves. Below -125 the result stays there.
template <typename V> inline V exp2_near(V x) {
    x         = max(V(set(-125.0f)), x);
    const V n = round(x);
    const V r = sub(x, n);
    V       p = fma(V(set(5.517166876e-2f)), r, V(set(2.426111338e-1f)));
    p         = fma(p, r, V(set(6.932609865e-1f)));
    p         = fma(p, r, V(set(9.999280729e-1f)));
    return times_power_of_two(p, n);
}

// Cephes' tanhf: a polynomial near 0, where (1 - e) / (1 + e) with e = exp(-2 |x|) would cancel. NaN for what is infinite: sums that
// overflowed must not become a plausible 1.
template <typename V> inline V tanh(V x) {
    const V z = abs(x);
    const V s = mul(x, x);
    V       p = fma(V(set(-5.70498872745e-3f)), s, V(set(2.06390887954e-2f)));
    p         = fma(p, s, V(set(-5.37397155531e-2f)));
    p         = fma(p, s, V(set(1.33314422036e-1f)));
    p         = fma(p, s, V(set(-3.33332819422e-1f)));
    p         = fma(mul(p, s), x, x);
    const V e = exp_not_positive(mul(z, V(set(-2.0f))));
    const V q = div(sub(V(set(1.0f)), e), add(V(set(1.0f)), e));
    return fma(x, V(set(0.0f)), where_less(z, V(set(0.625f)), p, sign_of(q, x)));
}

// 1 / (1 + exp(-x)) by way of e = exp(-|x|), which cannot overflow.
template <typename V> inline V sigmoid(V x) {
    const V e = exp_not_positive(sub(V(set(0.0f)), abs(x)));
    return div(where_less(x, V(set(0.0f)), e, V(set(1.0f))), add(V(set(1.0f)), e));
}

// x/2 (1 + erf(x / sqrt 2)) by Abramowitz and Stegun 7.1.26, whose erfc keeps the negative tail exact.
template <typename V> inline V gelu_erf(V x) {
    const V z    = mul(abs(x), V(set(0.70710678f)));
    const V t    = div(V(set(1.0f)), fma(V(set(0.3275911f)), z, V(set(1.0f))));
    V       p    = fma(V(set(1.061405429f)), t, V(set(-1.453152027f)));
    p            = fma(p, t, V(set(1.421413741f)));
    p            = fma(p, t, V(set(-0.284496736f)));
    p            = fma(p, t, V(set(0.254829592f)));
    const V erfc = mul(mul(p, t), exp_not_positive(sub(V(set(0.0f)), mul(z, z)))); // of |z|
    return mul(mul(V(set(0.5f)), x), where_less(x, V(set(0.0f)), erfc, sub(V(set(2.0f)), erfc)));
}

// x/2 + x t P(t²) with t = x clamped to +-4.4, where t P(t²) is 1/2: a third of the steps of gelu_erf(). P was fitted to the
// smallest error of the result, which is 4e-5, most of it just past 4.4.
template <typename V> inline V gelu_near(V x) {
    const V t = max(min(x, V(set(4.4f))), V(set(-4.4f)));
    const V s = mul(t, t);
    V       p = fma(V(set(3.569428118e-11f)), s, V(set(-3.754048206e-9f)));
    p         = fma(p, s, V(set(1.740847070e-7f)));
    p         = fma(p, s, V(set(-4.724867803e-6f)));
    p         = fma(p, s, V(set(8.429301210e-5f)));
    p         = fma(p, s, V(set(-1.054992473e-3f)));
    p         = fma(p, s, V(set(9.643027866e-3f)));
    p         = fma(p, s, V(set(-6.607642950e-2f)));
    p         = fma(p, s, V(set(3.987616084e-1f)));
    return fma(mul(x, t), p, mul(V(set(0.5f)), x));
}

// x/2 (1 + tanh u) = x sigmoid(2 u), which does not cancel.
template <typename V> inline V gelu_tanh(V x) {
    const V u = mul(mul(x, V(set(1.59576912f))), fma(V(set(0.044715f)), mul(x, x), V(set(1.0f))));
    return mul(x, sigmoid(u));
}

template <Activation activation, typename V> inline V activated(V x) {
    switch (activation) {
        case Activation::none:      return x;
        case Activation::gelu_erf:  return gelu_erf(x);
        case Activation::gelu_near: return gelu_near(x);
        case Activation::gelu_tanh: return gelu_tanh(x);
        case Activation::silu:      return mul(x, sigmoid(x));
        case Activation::tanh:      return tanh(x);
        case Activation::relu:      return max(V(set(0.0f)), x);
    }
    return x;
}

} // namespace
} // namespace cpu::detail
