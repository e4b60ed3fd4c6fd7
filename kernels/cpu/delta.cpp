// The delta rule, and the gated delta mixer between its projections (delta.md sections 2 to 4).
// kda.cpp is made of the same parts.
//
// Prefill runs the recurrence, not the chunked form: a slab of the state's columns stays in the
// first-level cache while all tokens pass over it, which leaves three multiply-adds per element and
// token, as many as the chunked form has, without its triangular solves (and, where every channel
// has a decay of its own, without its exponentials of differences). A token's arithmetic is the
// same in prefill and decode, so the results do not depend on how a prompt is cut.

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

// What the key reads from a slab of two vectors of columns. Even and odd rows are summed apart:
// four chains of multiply-adds hide their latency.
//   state (key_dim) rows of 2 Lanes floats, row_stride apart
HWY_INLINE void read_slab(const float* state, std::int64_t row_stride, std::int64_t key_dim,
                          const float* k, V& held0, V& held1) {
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
    held0 = hn::Add(a0, b0);
    held1 = hn::Add(a1, b1);
}

// One token over a slab: the update, the read-out, and what the next token's key reads.
//   keep: what a row keeps, one factor or (key_dim)
//   read: what the key finds of the state before this token; of the next token on return
template <bool kChannels>
HWY_INLINE void step(float* state, std::int64_t row_stride, std::int64_t key_dim, const float* q,
                     const float* k, const float* keep, const float* v, float beta,
                     const float* next_read, V& held0, V& held1, float* out) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    const V all = hn::Set(d, kChannels ? 1.0f : keep[0]);
    const V strength = hn::Set(d, beta);
    const V u0 = hn::Mul(strength, hn::NegMulAdd(all, held0, hn::LoadU(d, v)));
    const V u1 = hn::Mul(strength, hn::NegMulAdd(all, held1, hn::LoadU(d, v + n)));
    V a0 = hn::Zero(d), a1 = a0, b0 = a0, b1 = a0;
    V c0 = a0, c1 = a0, e0 = a0, e1 = a0;
    const auto row_step = [&](std::int64_t i, V& o0, V& o1, V& h0, V& h1) HWY_ATTR {
        float* const row = state + i * row_stride;
        const V kept = kChannels ? hn::Set(d, keep[i]) : all;
        const V key = hn::Set(d, k[i]);
        const V s0 = hn::MulAdd(key, u0, hn::Mul(kept, hn::LoadU(d, row)));
        const V s1 = hn::MulAdd(key, u1, hn::Mul(kept, hn::LoadU(d, row + n)));
        hn::StoreU(s0, d, row);
        hn::StoreU(s1, d, row + n);
        const V query = hn::Set(d, q[i]);
        o0 = hn::MulAdd(query, s0, o0);
        o1 = hn::MulAdd(query, s1, o1);
        const V next = hn::Set(d, next_read[i]);
        h0 = hn::MulAdd(next, s0, h0);
        h1 = hn::MulAdd(next, s1, h1);
    };
    std::int64_t i = 0;
    for (; i + 2 <= key_dim; i += 2) {
        row_step(i, a0, a1, c0, c1);
        row_step(i + 1, b0, b1, e0, e1);
    }
    if (i < key_dim) {
        row_step(i, a0, a1, c0, c1);
    }
    hn::StoreU(hn::Add(a0, b0), d, out);
    hn::StoreU(hn::Add(a1, b1), d, out + n);
    held0 = hn::Add(c0, e0);
    held1 = hn::Add(c1, e1);
}

// All tokens over one slab.
template <bool kChannels>
HWY_INLINE void recur(const DeltaRule& op, std::int64_t first, std::int64_t columns, float* slab,
                      std::int64_t row_stride) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    V held0 = hn::Zero(d);
    V held1 = held0;
    read_slab(slab, row_stride, op.key_dim, op.read, held0, held1);
    for (std::int64_t t = 0; t < op.tokens; ++t) {
        const std::int64_t next = std::min(t + 1, op.tokens - 1);
        const float* v = op.v + t * op.stride + first;
        float* out = op.out + t * op.out_stride + first;
        const bool whole = columns == 2 * n;
        float values[2 * 16] = {};
        float result[2 * 16];
        if (!whole) {
            std::copy_n(v, columns, values);
        }
        step<kChannels>(slab, row_stride, op.key_dim, op.q + t * op.stride, op.k + t * op.stride,
                        op.keep + t * op.keep_stride, whole ? v : values, op.beta[t],
                        op.read + next * op.read_stride, held0, held1, whole ? out : result);
        if (!whole) {
            std::copy_n(result, columns, out);
        }
    }
}

void Recur(const DeltaRule& op, float* slab) {
    const D d;
    const std::int64_t width = 2 * static_cast<std::int64_t>(hn::Lanes(d));
    const std::int64_t dv = op.value_dim;
    for (std::int64_t first = 0; first < dv; first += width) {
        const std::int64_t columns = std::min(width, dv - first);
        const bool in_place = columns == width && op.tokens == 1;
        if (!in_place) {
            for (std::int64_t i = 0; i < op.key_dim; ++i) {
                std::copy_n(op.state + i * dv + first, columns, slab + i * width);
                std::fill(slab + i * width + columns, slab + (i + 1) * width, 0.0f);
            }
        }
        float* const at = in_place ? op.state + first : slab;
        const std::int64_t stride = in_place ? dv : width;
        if (op.per_channel) {
            recur<true>(op, first, columns, at, stride);
        } else {
            recur<false>(op, first, columns, at, stride);
        }
        for (std::int64_t i = 0; i < op.key_dim && !in_place; ++i) {
            std::copy_n(slab + i * width, columns, op.state + i * dv + first);
        }
    }
}

// Sum over taps, for channels [first, last), before SiLU.
//   the window (taps - 1 + tokens rows) is read from state and input without being made
void Convolve(const ShortConv& op, std::int64_t first, std::int64_t last) {
    constexpr std::int64_t kChannels = 64;
    const std::int64_t taps = op.taps;
    for (std::int64_t c = first; c < last; c += kChannels) {
        const std::int64_t count = std::min(kChannels, last - c);
        // Taps and past inputs with the channel innermost.
        HWY_ALIGN float w[kMostTaps][kChannels];
        HWY_ALIGN float past[kMostTaps][kChannels];
        for (std::int64_t i = 0; i < count; ++i) {
            for (std::int64_t j = 0; j < taps; ++j) {
                w[j][i] = op.weight[(c + i) * taps + j];
            }
            for (std::int64_t j = 0; j + 1 < taps; ++j) {
                past[j][i] = op.state[(c + i) * (taps - 1) + j];
            }
        }
        const auto input = [&](std::int64_t t) {
            return t >= 0 ? op.in + t * op.in_stride + c : past[t + taps - 1];
        };
        for (std::int64_t t = 0; t < op.tokens; ++t) {
            float* out = op.out + t * op.out_stride + c;
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
                op.state[(c + i) * (taps - 1) + j] = x[i];
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

void short_conv(const ShortConv& op, std::int64_t first, std::int64_t last) {
    HWY_DYNAMIC_DISPATCH(Convolve)(op, first, last);
    for (std::int64_t t = 0; t < op.tokens; ++t) {
        silu(op.out + t * op.out_stride + first, last - first);
    }
}

void unit_length(float* x, float length, std::int64_t n) {
    scale(x, length / std::sqrt(HWY_DYNAMIC_DISPATCH(SquareSum)(x, n) + 1e-6f), n);
}

std::int64_t delta_rule_scratch_floats(std::int64_t key_dim) {
    return 2 * 16 * key_dim; // a slab of the widest vectors
}

void delta_rule(const DeltaRule& op, float* scratch) {
    HWY_DYNAMIC_DISPATCH(Recur)(op, scratch);
}

std::int64_t delta_scratch_floats(const GatedDelta& op) {
    return delta_rule_scratch_floats(op.key_dim) + 2 * op.tokens;
}

void delta_head(const GatedDelta& op, std::int64_t head, const float* conv, float* scratch) {
    float* const decay = scratch + delta_rule_scratch_floats(op.key_dim);
    float* const beta = decay + op.tokens;
    for (std::int64_t t = 0; t < op.tokens; ++t) {
        const float dt = op.a[t * op.a_stride + head] + op.dt_bias[head];
        const float softplus = dt > 20.0f ? dt : std::log1p(std::exp(dt));
        decay[t] = std::exp(op.decay_rate[head] * softplus);
        beta[t] = op.beta_scale * sigmoid(op.b[t * op.b_stride + head]);
        if (op.decay_out != nullptr) {
            op.decay_out[t * op.value_heads + head] = decay[t];
        }
        if (op.beta_out != nullptr) {
            op.beta_out[t * op.value_heads + head] = beta[t];
        }
    }
    const std::int64_t key_head =
        op.tiled_heads ? head % op.key_heads : head / (op.value_heads / op.key_heads);
    const float* const q = conv + key_head * op.key_dim;
    const float* const k = q + op.key_heads * op.key_dim;
    delta_rule({.tokens = op.tokens,
                .key_dim = op.key_dim,
                .value_dim = op.value_dim,
                .q = q,
                .k = k,
                .v = conv + 2 * op.key_heads * op.key_dim + head * op.value_dim,
                .stride = op.channels(),
                .keep = decay,
                .keep_stride = 1,
                .read = k,
                .read_stride = op.channels(),
                .beta = beta,
                .state = op.state + head * op.key_dim * op.value_dim,
                .out = op.out + head * op.value_dim,
                .out_stride = op.out_stride},
               scratch);
    for (std::int64_t t = 0; t < op.tokens; ++t) {
        float* out = op.out + t * op.out_stride + head * op.value_dim;
        rms_norm(out, op.norm_weight, op.norm_eps, op.value_dim, out);
        glu({}, op.z + t * op.z_stride + head * op.value_dim, out, op.value_dim, out);
    }
}

} // namespace hs::cpu
#endif // HWY_ONCE
