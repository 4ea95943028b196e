// Exponentials and activations on the vector layer, to about 1e-7.
#pragma once

#include "types.h"

namespace cpu::detail {
namespace {

// Cephes' expf: x = n ln 2 + r, then a polynomial in r. Below -87 the result stays at about 1e-38.
inline vec exp(vec x) {
    x     = min(max(x, set(-87.0f)), set(88.0f));
    vec n = round(mul(x, set(1.44269504f)));
    vec r = fnma(n, set(0.693359375f), x);
    r     = fnma(n, set(-2.12194440e-4f), r);
    vec p = set(1.9875691500e-4f);
    p     = fma(p, r, set(1.3981999507e-3f));
    p     = fma(p, r, set(8.3334519073e-3f));
    p     = fma(p, r, set(4.1665795894e-2f));
    p     = fma(p, r, set(1.6666665459e-1f));
    p     = fma(p, r, set(5.0000001201e-1f));
    p     = fma(p, mul(r, r), add(r, set(1.0f)));
    return mul(p, power_of_two(n));
}

// Cephes' tanhf: a polynomial near 0, where 1 - 2 / (e^2x + 1) would cancel.
inline vec tanh(vec x) {
    const vec z = abs(x);
    const vec s = mul(x, x);
    vec       p = set(-5.70498872745e-3f);
    p           = fma(p, s, set(2.06390887954e-2f));
    p           = fma(p, s, set(-5.37397155531e-2f));
    p           = fma(p, s, set(1.33314422036e-1f));
    p           = fma(p, s, set(-3.33332819422e-1f));
    p           = fma(mul(p, s), x, x);
    const vec e = exp(add(z, z));
    const vec q = sign_of(sub(set(1.0f), div(set(2.0f), add(e, set(1.0f)))), x);
    return where_less(z, set(0.625f), p, q);
}

inline vec sigmoid(vec x) { return div(set(1.0f), add(set(1.0f), exp(sub(set(0.0f), x)))); }

// x/2 (1 + erf(x / sqrt 2)) by Abramowitz and Stegun 7.1.26, whose erfc keeps the negative tail exact.
inline vec gelu_erf(vec x) {
    const vec z = mul(abs(x), set(0.70710678f));
    const vec t = div(set(1.0f), fma(set(0.3275911f), z, set(1.0f)));
    vec       p = set(1.061405429f);
    p           = fma(p, t, set(-1.453152027f));
    p           = fma(p, t, set(1.421413741f));
    p           = fma(p, t, set(-0.284496736f));
    p           = fma(p, t, set(0.254829592f));
    const vec erfc = mul(mul(p, t), exp(sub(set(0.0f), mul(z, z)))); // of |z|
    return mul(mul(set(0.5f), x), where_less(x, set(0.0f), erfc, sub(set(2.0f), erfc)));
}

// x/2 (1 + tanh u) = x sigmoid(2 u), which does not cancel.
inline vec gelu_tanh(vec x) {
    const vec u = mul(mul(x, set(1.59576912f)), fma(set(0.044715f), mul(x, x), set(1.0f)));
    return mul(x, sigmoid(u));
}

template <Activation activation> vec activated(vec x) {
    switch (activation) {
        case Activation::none:      return x;
        case Activation::gelu_erf:  return gelu_erf(x);
        case Activation::gelu_tanh: return gelu_tanh(x);
        case Activation::silu:      return mul(x, sigmoid(x));
        case Activation::tanh:      return tanh(x);
        case Activation::relu:      return max(x, set(0.0f));
    }
    return x;
}

} // namespace
} // namespace cpu::detail
