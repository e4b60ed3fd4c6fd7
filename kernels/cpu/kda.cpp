// Kimi delta attention between its projections (delta.md section 5.2): the delta rule of delta.cpp
// with a decay for every key channel. See there for why prefill runs the recurrence.

// The order matters: foreach_target includes this file once per instruction set.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/kda.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>

#include "kernels/cpu/kernels.h"
// clang-format on

#include <algorithm>
#include <array>
#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace hs::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// What a channel keeps: exp(rate softplus(x)), or exp(bound sigmoid(-rate x)) with bound < 0.
HWY_INLINE V keep_of(V x, V rate, V bound, bool bounded) {
    const D d;
    const V one = hn::Set(d, 1.0f);
    if (bounded) {
        // 1 / (1 + exp(-y)); exp(88) is finite, and beyond it the result no longer changes.
        const V e = hn::Exp(d, hn::Min(hn::Mul(rate, x), hn::Set(d, 88.0f)));
        return hn::Exp(d, hn::Div(bound, hn::Add(one, e)));
    }
    const V most = hn::Set(d, 20.0f); // from there on, softplus is x
    const V soft = hn::Log1p(d, hn::Exp(d, hn::Min(x, most)));
    return hn::Exp(d, hn::Mul(rate, hn::IfThenElse(hn::Gt(x, most), x, soft)));
}

// keep = what each of n channels keeps, read = keep * k.
void Keep(const float* f, const float* bias, const float* k, float rate, float bound,
          std::int64_t n, float* keep, float* read) {
    const D d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    const V rates = hn::Set(d, rate);
    const V bounds = hn::Set(d, bound);
    std::int64_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        const V x = hn::Add(hn::LoadU(d, f + i), hn::LoadU(d, bias + i));
        const V kept = keep_of(x, rates, bounds, bound < 0.0f);
        hn::StoreU(kept, d, keep + i);
        hn::StoreU(hn::Mul(kept, hn::LoadU(d, k + i)), d, read + i);
    }
    if (i < n) {
        HWY_ALIGN float padded[hn::MaxLanes(d)] = {};
        for (std::int64_t j = i; j < n; ++j) {
            padded[j - i] = f[j] + bias[j];
        }
        hn::Store(keep_of(hn::Load(d, padded), rates, bounds, bound < 0.0f), d, padded);
        for (std::int64_t j = i; j < n; ++j) {
            keep[j] = padded[j - i];
            read[j] = keep[j] * k[j];
        }
    }
}

} // namespace hs::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hs::cpu {

HWY_EXPORT(Keep);

namespace {

// Tokens that pass at once: their convolved rows and decays stay in the second-level cache.
constexpr std::int64_t kBlock = 64;

void kda_block(const Kda& op, std::int64_t head, std::int64_t first, std::int64_t tokens,
               float* scratch) {
    const std::int64_t n = op.head_dim;
    const std::int64_t channel = head * n; // the head's first, among those of q, k or v
    const std::int64_t all = op.heads * n;
    float* const conv = scratch + delta_rule_scratch_floats(n); // (tokens, 3, n)
    float* const keep = conv + kBlock * 3 * n;
    float* const read = keep + kBlock * n;
    float* const beta = read + kBlock * n;
    const std::array<const float*, 3> in{op.q + first * op.q_stride, op.k + first * op.k_stride,
                                         op.v + first * op.v_stride};
    const std::array<std::int64_t, 3> in_stride{op.q_stride, op.k_stride, op.v_stride};
    for (std::int64_t part = 0; part < 3; ++part) {
        const std::int64_t at = part * all + channel;
        const auto i = static_cast<std::size_t>(part);
        short_conv({.tokens = tokens,
                    .taps = op.conv_kernel,
                    .in = in[i] + channel,
                    .in_stride = in_stride[i],
                    .weight = op.conv_weight + at * op.conv_kernel,
                    .state = op.conv_state + at * (op.conv_kernel - 1),
                    .out = conv + part * n,
                    .out_stride = 3 * n},
                   0, n);
    }
    const float query_length = 1.0f / std::sqrt(static_cast<float>(n));
    for (std::int64_t t = 0; t < tokens; ++t) {
        float* const q = conv + t * 3 * n;
        float* const k = q + n;
        unit_length(q, query_length, n);
        unit_length(k, 1.0f, n);
        HWY_DYNAMIC_DISPATCH(Keep)
        (op.decay + (first + t) * op.decay_stride + channel, op.dt_bias + channel, k,
         op.decay_rate[head], op.decay_bound, n, keep + t * n, read + t * n);
        beta[t] = sigmoid(op.b[(first + t) * op.b_stride + head]);
        if (op.decay_out != nullptr) {
            float sum = 0.0f;
            for (std::int64_t i = 0; i < n; ++i) {
                sum += keep[t * n + i];
            }
            op.decay_out[(first + t) * op.heads + head] =
                std::min(1.0f, sum / static_cast<float>(n));
        }
        if (op.beta_out != nullptr) {
            op.beta_out[(first + t) * op.heads + head] = beta[t];
        }
    }
    float* const out = op.out + first * op.out_stride + channel;
    delta_rule({.tokens = tokens,
                .key_dim = n,
                .value_dim = n,
                .q = conv,
                .k = conv + n,
                .v = conv + 2 * n,
                .stride = 3 * n,
                .per_channel = true,
                .keep = keep,
                .keep_stride = n,
                .read = read,
                .read_stride = n,
                .beta = beta,
                .state = op.state + channel * n,
                .out = out,
                .out_stride = op.out_stride},
               scratch);
    for (std::int64_t t = 0; t < tokens; ++t) {
        float* const row = out + t * op.out_stride;
        rms_norm(row, op.norm_weight, op.norm_eps, n, row);
        sigmoid_multiply(row, op.gate + (first + t) * op.gate_stride + channel, n);
    }
}

} // namespace

std::int64_t kda_scratch_floats(const Kda& op) {
    return delta_rule_scratch_floats(op.head_dim) + kBlock * (5 * op.head_dim + 1);
}

void kda_head(const Kda& op, std::int64_t head, float* scratch) {
    for (std::int64_t first = 0; first < op.tokens; first += kBlock) {
        kda_block(op, head, first, std::min(kBlock, op.tokens - first), scratch);
    }
}

} // namespace hs::cpu
#endif // HWY_ONCE
