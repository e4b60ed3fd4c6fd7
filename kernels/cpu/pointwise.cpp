// Elementwise work between the products: norms, gates, rotation.

// The order matters: foreach_target includes this file once per instruction set.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/pointwise.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>

#include "kernels/cpu/kernels.h"
// clang-format on

#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace hs::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// body(load, store) over n floats, the tail through a padded copy, so that a value does not depend
// on where in a row it stands.
template <class Body>
HWY_INLINE void for_lanes(std::int64_t n, const Body& body) {
    const D d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    std::int64_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        body(i, lanes);
    }
    if (i < n) {
        body(i, n - i);
    }
}
HWY_INLINE V load(const float* p, std::int64_t count) {
    const D d;
    if (count == static_cast<std::int64_t>(hn::Lanes(d))) {
        return hn::LoadU(d, p);
    }
    HWY_ALIGN float padded[hn::MaxLanes(d)] = {};
    for (std::int64_t i = 0; i < count; ++i) {
        padded[i] = p[i];
    }
    return hn::Load(d, padded);
}
HWY_INLINE void store(V v, float* p, std::int64_t count) {
    const D d;
    if (count == static_cast<std::int64_t>(hn::Lanes(d))) {
        hn::StoreU(v, d, p);
        return;
    }
    HWY_ALIGN float padded[hn::MaxLanes(d)];
    hn::Store(v, d, padded);
    for (std::int64_t i = 0; i < count; ++i) {
        p[i] = padded[i];
    }
}

// 1 / (1 + exp(-x)). exp(88) is finite, and beyond it the result no longer changes.
HWY_INLINE V sigmoid_of(V x) {
    const D d;
    const V one = hn::Set(d, 1.0f);
    const V e = hn::Exp(d, hn::Min(hn::Neg(x), hn::Set(d, 88.0f)));
    return hn::Div(one, hn::Add(one, e));
}

void RmsNorm(const float* x, const float* weight, float eps, std::int64_t n, float* out) {
    const D d;
    V a = hn::Zero(d);
    V b = hn::Zero(d);
    bool odd = false;
    for_lanes(n, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
        const V v = load(x + i, count);
        if (odd) {
            a = hn::MulAdd(v, v, a);
        } else {
            b = hn::MulAdd(v, v, b);
        }
        odd = !odd;
    });
    const float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(a, b)));
    const V factor = hn::Set(d, 1.0f / std::sqrt(sum / static_cast<float>(n) + eps));
    for_lanes(n, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
        const V v = hn::Mul(load(x + i, count), factor);
        store(hn::Mul(v, load(weight + i, count)), out + i, count);
    });
}

void SiluMultiply(const float* gate, const float* up, std::int64_t n, float* out) {
    for_lanes(n, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
        const V g = load(gate + i, count);
        const V y = hn::Mul(hn::Mul(g, sigmoid_of(g)), load(up + i, count));
        store(y, out + i, count);
    });
}

void SigmoidMultiply(float* x, const float* gate, std::int64_t n) {
    for_lanes(n, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
        store(hn::Mul(load(x + i, count), sigmoid_of(load(gate + i, count))), x + i, count);
    });
}

void Silu(float* x, std::int64_t n) {
    for_lanes(n, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
        const V v = load(x + i, count);
        store(hn::Mul(v, sigmoid_of(v)), x + i, count);
    });
}

void Add(float* x, const float* y, std::int64_t n) {
    for_lanes(n, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
        store(hn::Add(load(x + i, count), load(y + i, count)), x + i, count);
    });
}

void Scale(float* x, float factor, std::int64_t n) {
    const V f = hn::Set(D(), factor);
    for_lanes(n, [&](std::int64_t i, std::int64_t count)
                     HWY_ATTR { store(hn::Mul(load(x + i, count), f), x + i, count); });
}

void MultiplyAdd(float* x, float factor, const float* y, std::int64_t n) {
    const V f = hn::Set(D(), factor);
    for_lanes(n, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
        store(hn::MulAdd(f, load(y + i, count), load(x + i, count)), x + i, count);
    });
}

} // namespace hs::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hs::cpu {

HWY_EXPORT(RmsNorm);
HWY_EXPORT(SiluMultiply);
HWY_EXPORT(SigmoidMultiply);
HWY_EXPORT(Silu);
HWY_EXPORT(Add);
HWY_EXPORT(Scale);
HWY_EXPORT(MultiplyAdd);

float sigmoid(float x) {
    return 1.0f / (1.0f + std::exp(-x));
}
void rms_norm(const float* x, const float* weight, float eps, std::int64_t n, float* out) {
    HWY_DYNAMIC_DISPATCH(RmsNorm)(x, weight, eps, n, out);
}
void add(float* x, const float* y, std::int64_t n) {
    HWY_DYNAMIC_DISPATCH(Add)(x, y, n);
}
void silu_multiply(const float* gate, const float* up, std::int64_t n, float* out) {
    HWY_DYNAMIC_DISPATCH(SiluMultiply)(gate, up, n, out);
}
void sigmoid_multiply(float* x, const float* gate, std::int64_t n) {
    HWY_DYNAMIC_DISPATCH(SigmoidMultiply)(x, gate, n);
}
void silu(float* x, std::int64_t n) {
    HWY_DYNAMIC_DISPATCH(Silu)(x, n);
}
void scale(float* x, float factor, std::int64_t n) {
    HWY_DYNAMIC_DISPATCH(Scale)(x, factor, n);
}
void multiply_add(float* x, float factor, const float* y, std::int64_t n) {
    HWY_DYNAMIC_DISPATCH(MultiplyAdd)(x, factor, y, n);
}

void rotate(float* x, const float* cos, const float* sin, std::int64_t dims, bool interleaved) {
    const std::int64_t pairs = dims / 2;
    if (interleaved) {
        for (std::int64_t i = 0; i < pairs; ++i) {
            const float a = x[2 * i];
            const float b = x[2 * i + 1];
            x[2 * i] = a * cos[i] - b * sin[i];
            x[2 * i + 1] = b * cos[i] + a * sin[i];
        }
        return;
    }
    float* y = x + pairs;
    for (std::int64_t i = 0; i < pairs; ++i) {
        const float a = x[i];
        const float b = y[i];
        x[i] = a * cos[i] - b * sin[i];
        y[i] = b * cos[i] + a * sin[i];
    }
}

} // namespace hs::cpu
#endif // HWY_ONCE
