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

// tanh(x) = 2 sigmoid(2 x) - 1 loses the last bits of small x; Highway's does not.
HWY_INLINE V tanh_of(V x) {
    return hn::Tanh(D(), x);
}

template <class Act>
HWY_INLINE void gated(const float* gate, const float* up, std::int64_t n, float* out,
                      const Act& act) {
    for_lanes(n, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
        store(act(load(gate + i, count), load(up + i, count)), out + i, count);
    });
}

void GluOf(const Glu& glu, const float* gate, const float* up, std::int64_t n, float* out) {
    const D d;
    switch (glu.kind) {
    case Glu::Kind::Silu:
        gated(gate, up, n, out,
              [](V g, V u) HWY_ATTR { return hn::Mul(hn::Mul(g, sigmoid_of(g)), u); });
        return;
    case Glu::Kind::GeluTanh: {
        // 0.5 g (1 + tanh(sqrt(2 / pi) (g + 0.044715 g^3)))
        const V root = hn::Set(d, 0.7978845608028654f);
        const V cubic = hn::Set(d, 0.044715f);
        const V half = hn::Set(d, 0.5f);
        const V one = hn::Set(d, 1.0f);
        gated(gate, up, n, out, [=](V g, V u) HWY_ATTR {
            const V inner = hn::Mul(root, hn::MulAdd(hn::Mul(cubic, g), hn::Mul(g, g), g));
            return hn::Mul(hn::Mul(hn::Mul(half, g), hn::Add(one, tanh_of(inner))), u);
        });
        return;
    }
    case Glu::Kind::Clamped: {
        const V alpha = hn::Set(d, glu.alpha);
        const V limit = hn::Set(d, glu.limit);
        const V one = hn::Set(d, 1.0f);
        gated(gate, up, n, out, [=](V g, V u) HWY_ATTR {
            const V low = hn::Min(g, limit);
            const V bounded = hn::Max(hn::Min(u, limit), hn::Neg(limit));
            return hn::Mul(hn::Mul(low, sigmoid_of(hn::Mul(alpha, low))), hn::Add(bounded, one));
        });
        return;
    }
    case Glu::Kind::Situ: {
        const V beta = hn::Set(d, glu.beta);
        const V linear = hn::Set(d, glu.linear_beta);
        gated(gate, up, n, out, [=](V g, V u) HWY_ATTR {
            const V soft = hn::Mul(hn::Mul(beta, tanh_of(hn::Div(g, beta))), sigmoid_of(g));
            return hn::Mul(soft, hn::Mul(linear, tanh_of(hn::Div(u, linear))));
        });
        return;
    }
    }
}

void Softcap(float* x, float cap, std::int64_t n) {
    const V c = hn::Set(D(), cap);
    for_lanes(n, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
        store(hn::Mul(c, tanh_of(hn::Div(load(x + i, count), c))), x + i, count);
    });
}

float SumOf(const float* x, std::int64_t n) {
    V sum = hn::Zero(D());
    for_lanes(n, [&](std::int64_t i, std::int64_t count)
                     HWY_ATTR { sum = hn::Add(sum, load(x + i, count)); });
    return hn::GetLane(hn::SumOfLanes(D(), sum));
}

void LayerNorm(const float* x, const float* weight, const float* bias, float eps, std::int64_t n,
               float* out) {
    const D d;
    const V mean = hn::Set(d, SumOf(x, n) / static_cast<float>(n));
    for_lanes(n, [&](std::int64_t i, std::int64_t count)
                     HWY_ATTR { store(hn::Sub(load(x + i, count), mean), out + i, count); });
    V squares = hn::Zero(d);
    for_lanes(n, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
        const V v = load(out + i, count);
        squares = hn::MulAdd(v, v, squares);
    });
    const float variance = hn::GetLane(hn::SumOfLanes(d, squares)) / static_cast<float>(n);
    const V factor = hn::Set(d, 1.0f / std::sqrt(variance + eps));
    for_lanes(n, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
        const V v = hn::Mul(load(out + i, count), factor);
        store(hn::MulAdd(v, load(weight + i, count), load(bias + i, count)), out + i, count);
    });
}

float UnitDot(const float* x, const float* y, float eps, std::int64_t n) {
    const D d;
    V squares = hn::Zero(d);
    V dot = hn::Zero(d);
    for_lanes(n, [&](std::int64_t i, std::int64_t count) HWY_ATTR {
        const V v = load(x + i, count);
        squares = hn::MulAdd(v, v, squares);
        dot = hn::MulAdd(v, load(y + i, count), dot);
    });
    const float mean = hn::GetLane(hn::SumOfLanes(d, squares)) / static_cast<float>(n);
    return hn::GetLane(hn::SumOfLanes(d, dot)) / std::sqrt(mean + eps);
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
HWY_EXPORT(LayerNorm);
HWY_EXPORT(UnitDot);
HWY_EXPORT(GluOf);
HWY_EXPORT(Softcap);
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
void layer_norm(const float* x, const float* weight, const float* bias, float eps, std::int64_t n,
                float* out) {
    HWY_DYNAMIC_DISPATCH(LayerNorm)(x, weight, bias, eps, n, out);
}
float unit_dot(const float* x, const float* y, float eps, std::int64_t n) {
    return HWY_DYNAMIC_DISPATCH(UnitDot)(x, y, eps, n);
}
void glu(const Glu& glu, const float* gate, const float* up, std::int64_t n, float* out) {
    HWY_DYNAMIC_DISPATCH(GluOf)(glu, gate, up, n, out);
}
void softcap(float* x, float cap, std::int64_t n) {
    HWY_DYNAMIC_DISPATCH(Softcap)(x, cap, n);
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
