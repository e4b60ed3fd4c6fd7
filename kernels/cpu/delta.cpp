// The gated delta mixer between its projections (delta.md sections 2 to 4).
//
// Prefill runs the recurrence, not the chunked form: a slab of the state's columns stays in the
// first-level cache while all tokens pass over it, which leaves three multiply-adds per element and
// token, as many as the chunked form has, without its triangular solves. A token's arithmetic is
// the same in prefill and decode, so the results do not depend on how a prompt is cut.

// The order matters: foreach_target includes this file once per instruction set.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/delta.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/kernels.h"
// clang-format on

#include <algorithm>
#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace hs::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// One token over a slab of two vectors of columns: what the key holds, the update, the read-out.
// Even and odd rows are summed apart: four chains of multiply-adds hide their latency.
//   state (key_dim) rows of 2 Lanes floats, row_stride apart
HWY_INLINE void step(float* state, std::int64_t row_stride, std::int64_t key_dim, const float* q,
                     const float* k, const float* v, float decay, float beta, float* out) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    V a0 = hn::Zero(d), a1 = a0, b0 = a0, b1 = a0;
    std::int64_t i = 0;
    for (; i + 2 <= key_dim; i += 2) {
        const float* row = state + i * row_stride;
        const V k0 = hn::Set(d, k[i]);
        const V k1 = hn::Set(d, k[i + 1]);
        a0 = hn::MulAdd(k0, hn::LoadU(d, row), a0);
        a1 = hn::MulAdd(k0, hn::LoadU(d, row + n), a1);
        b0 = hn::MulAdd(k1, hn::LoadU(d, row + row_stride), b0);
        b1 = hn::MulAdd(k1, hn::LoadU(d, row + row_stride + n), b1);
    }
    if (i < key_dim) {
        const V k0 = hn::Set(d, k[i]);
        a0 = hn::MulAdd(k0, hn::LoadU(d, state + i * row_stride), a0);
        a1 = hn::MulAdd(k0, hn::LoadU(d, state + i * row_stride + n), a1);
    }
    const V keep = hn::Set(d, decay);
    const V strength = hn::Set(d, beta);
    const V u0 = hn::Mul(strength, hn::NegMulAdd(keep, hn::Add(a0, b0), hn::LoadU(d, v)));
    const V u1 = hn::Mul(strength, hn::NegMulAdd(keep, hn::Add(a1, b1), hn::LoadU(d, v + n)));
    a0 = hn::Zero(d), a1 = a0, b0 = a0, b1 = a0;
    for (i = 0; i + 2 <= key_dim; i += 2) {
        float* row = state + i * row_stride;
        float* next = row + row_stride;
        const V k0 = hn::Set(d, k[i]);
        const V k1 = hn::Set(d, k[i + 1]);
        const V s00 = hn::MulAdd(k0, u0, hn::Mul(keep, hn::LoadU(d, row)));
        const V s01 = hn::MulAdd(k0, u1, hn::Mul(keep, hn::LoadU(d, row + n)));
        const V s10 = hn::MulAdd(k1, u0, hn::Mul(keep, hn::LoadU(d, next)));
        const V s11 = hn::MulAdd(k1, u1, hn::Mul(keep, hn::LoadU(d, next + n)));
        hn::StoreU(s00, d, row);
        hn::StoreU(s01, d, row + n);
        hn::StoreU(s10, d, next);
        hn::StoreU(s11, d, next + n);
        const V q0 = hn::Set(d, q[i]);
        const V q1 = hn::Set(d, q[i + 1]);
        a0 = hn::MulAdd(q0, s00, a0);
        a1 = hn::MulAdd(q0, s01, a1);
        b0 = hn::MulAdd(q1, s10, b0);
        b1 = hn::MulAdd(q1, s11, b1);
    }
    if (i < key_dim) {
        float* row = state + i * row_stride;
        const V k0 = hn::Set(d, k[i]);
        const V q0 = hn::Set(d, q[i]);
        const V s0 = hn::MulAdd(k0, u0, hn::Mul(keep, hn::LoadU(d, row)));
        const V s1 = hn::MulAdd(k0, u1, hn::Mul(keep, hn::LoadU(d, row + n)));
        hn::StoreU(s0, d, row);
        hn::StoreU(s1, d, row + n);
        a0 = hn::MulAdd(q0, s0, a0);
        a1 = hn::MulAdd(q0, s1, a1);
    }
    hn::StoreU(hn::Add(a0, b0), d, out);
    hn::StoreU(hn::Add(a1, b1), d, out + n);
}

// All tokens over the state of one head. gates (2, tokens): decay, then beta.
void Recur(const GatedDelta& op, std::int64_t head, const float* conv, const float* gates,
           float* slab) {
    const D d;
    const std::int64_t width = 2 * static_cast<std::int64_t>(hn::Lanes(d));
    const std::int64_t key_head =
        op.tiled_heads ? head % op.key_heads : head / (op.value_heads / op.key_heads);
    const std::int64_t channels = op.channels();
    const std::int64_t dk = op.key_dim;
    const std::int64_t dv = op.value_dim;
    float* state = op.state + head * dk * dv;
    const float* q = conv + key_head * dk;
    const float* k = q + op.key_heads * dk;
    const float* v = conv + 2 * op.key_heads * dk + head * dv;
    float* out = op.out + head * dv;
    for (std::int64_t first = 0; first < dv; first += width) {
        const std::int64_t columns = std::min(width, dv - first);
        if (columns == width && op.tokens == 1) { // in place
            step(state + first, dv, dk, q, k, v + first, gates[0], gates[1], out + first);
            continue;
        }
        for (std::int64_t i = 0; i < dk; ++i) {
            std::copy_n(state + i * dv + first, columns, slab + i * width);
            std::fill(slab + i * width + columns, slab + (i + 1) * width, 0.0f);
        }
        for (std::int64_t t = 0; t < op.tokens; ++t) {
            const float* vt = v + t * channels + first;
            float* to = out + t * op.out_stride + first;
            if (columns == width) {
                step(slab, width, dk, q + t * channels, k + t * channels, vt, gates[t],
                     gates[op.tokens + t], to);
                continue;
            }
            float in[2 * 16] = {};
            float result[2 * 16];
            std::copy_n(vt, columns, in);
            step(slab, width, dk, q + t * channels, k + t * channels, in, gates[t],
                 gates[op.tokens + t], result);
            std::copy_n(result, columns, to);
        }
        for (std::int64_t i = 0; i < dk; ++i) {
            std::copy_n(slab + i * width, columns, state + i * dv + first);
        }
    }
}

// conv (tokens, channels) = sum over taps, for channels [first, last), before SiLU.
//   window (conv_kernel - 1 + tokens rows) is read from state and qkv without being made
void Convolve(const GatedDelta& op, std::int64_t first, std::int64_t last, float* conv) {
    constexpr std::int64_t kChannels = 64;
    const std::int64_t taps = op.conv_kernel;
    const std::int64_t channels = op.channels();
    for (std::int64_t c = first; c < last; c += kChannels) {
        const std::int64_t count = std::min(kChannels, last - c);
        // Taps and past inputs with the channel innermost.
        HWY_ALIGN float w[kMostTaps][kChannels];
        HWY_ALIGN float past[kMostTaps][kChannels];
        for (std::int64_t i = 0; i < count; ++i) {
            for (std::int64_t j = 0; j < taps; ++j) {
                w[j][i] = op.conv_weight[(c + i) * taps + j];
            }
            for (std::int64_t j = 0; j + 1 < taps; ++j) {
                past[j][i] = op.conv_state[(c + i) * (taps - 1) + j];
            }
        }
        const auto input = [&](std::int64_t t) {
            return t >= 0 ? op.qkv + t * op.qkv_stride + c : past[t + taps - 1];
        };
        for (std::int64_t t = 0; t < op.tokens; ++t) {
            float* out = conv + t * channels + c;
            const float* x0 = input(t);
            for (std::int64_t i = 0; i < count; ++i) {
                out[i] = w[taps - 1][i] * x0[i];
            }
            for (std::int64_t j = 0; j + 1 < taps; ++j) {
                const float* x = input(t - taps + 1 + j);
                const float* tap = w[j];
                for (std::int64_t i = 0; i < count; ++i) {
                    out[i] += tap[i] * x[i];
                }
            }
        }
        for (std::int64_t j = 0; j + 1 < taps; ++j) { // entries move towards the front
            const float* x = input(op.tokens - taps + 1 + j);
            for (std::int64_t i = 0; i < count; ++i) {
                op.conv_state[(c + i) * (taps - 1) + j] = x[i];
            }
        }
    }
}

float SquareSum(const float* x, std::int64_t n) {
    const D d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    V sum = hn::Zero(d);
    std::int64_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        const V v = hn::LoadU(d, x + i);
        sum = hn::MulAdd(v, v, sum);
    }
    float total = hn::GetLane(hn::SumOfLanes(d, sum));
    for (; i < n; ++i) {
        total += x[i] * x[i];
    }
    return total;
}

} // namespace hs::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hs::cpu {

HWY_EXPORT(Recur);
HWY_EXPORT(Convolve);
HWY_EXPORT(SquareSum);

void short_conv(const GatedDelta& op, std::int64_t first, std::int64_t last, float* conv) {
    HWY_DYNAMIC_DISPATCH(Convolve)(op, first, last, conv);
    for (std::int64_t t = 0; t < op.tokens; ++t) {
        silu(conv + t * op.channels() + first, last - first);
    }
}

void unit_query_key(const GatedDelta& op, std::int64_t key_head, std::int64_t t, float* conv) {
    const std::int64_t n = op.key_dim;
    float* q = conv + t * op.channels() + key_head * n;
    float* k = q + op.key_heads * n;
    const auto length = [&](const float* x) {
        return std::sqrt(HWY_DYNAMIC_DISPATCH(SquareSum)(x, n) + 1e-6f);
    };
    scale(q, 1.0f / (length(q) * std::sqrt(static_cast<float>(n))), n);
    scale(k, 1.0f / length(k), n);
}

std::int64_t delta_scratch_floats(const GatedDelta& op) {
    return 2 * 16 * op.key_dim + 2 * op.tokens;
}

void delta_head(const GatedDelta& op, std::int64_t head, const float* conv, float* scratch) {
    float* gates = scratch + 2 * 16 * op.key_dim;
    for (std::int64_t t = 0; t < op.tokens; ++t) {
        const float dt = op.a[t * op.a_stride + head] + op.dt_bias[head];
        const float softplus = dt > 20.0f ? dt : std::log1p(std::exp(dt));
        gates[t] = std::exp(op.decay_rate[head] * softplus);
        gates[op.tokens + t] = op.beta_scale * sigmoid(op.b[t * op.b_stride + head]);
        if (op.decay_out != nullptr) {
            op.decay_out[t * op.value_heads + head] = gates[t];
        }
        if (op.beta_out != nullptr) {
            op.beta_out[t * op.value_heads + head] = gates[op.tokens + t];
        }
    }
    HWY_DYNAMIC_DISPATCH(Recur)(op, head, conv, gates, scratch);
    for (std::int64_t t = 0; t < op.tokens; ++t) {
        float* out = op.out + t * op.out_stride + head * op.value_dim;
        rms_norm(out, op.norm_weight, op.norm_eps, op.value_dim, out);
        glu({}, op.z + t * op.z_stride + head * op.value_dim, out, op.value_dim, out);
    }
}

} // namespace hs::cpu
#endif // HWY_ONCE
