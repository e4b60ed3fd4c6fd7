// Linear token mixers of the CPU backend.

#include "engine/backend/cpu/cpu_backend.h"

#include <cmath>

namespace hs {

void CpuBackend::gated_delta(const GatedDeltaOp& op) {
    const GatedDeltaSpec& spec = op.spec;
    op.check();
    const cpu::GatedDelta kernel{.tokens = op.qkv.extent[0],
                                 .key_heads = spec.key_heads,
                                 .value_heads = spec.value_heads,
                                 .key_dim = spec.key_dim,
                                 .value_dim = spec.value_dim,
                                 .conv_kernel = spec.conv_kernel,
                                 .beta_scale = static_cast<float>(spec.beta_scale),
                                 .tiled_heads = spec.head_map == HeadMap::Tiled,
                                 .qkv = op.qkv.data,
                                 .qkv_stride = op.qkv.stride[0],
                                 .z = op.z.data,
                                 .z_stride = op.z.stride[0],
                                 .b = op.b.data,
                                 .b_stride = op.b.stride[0],
                                 .a = op.a.data,
                                 .a_stride = op.a.stride[0],
                                 .conv_weight = op.conv_weight,
                                 .decay_rate = op.decay_rate,
                                 .dt_bias = op.dt_bias,
                                 .norm_weight = op.norm_weight,
                                 .norm_eps = op.norm_eps,
                                 .conv_state = op.conv_state,
                                 .state = op.state,
                                 .out = op.out.data,
                                 .out_stride = op.out.stride[0],
                                 .decay_out = op.decay_out,
                                 .beta_out = op.beta_out};
    HS_ASSERT(spec.conv_kernel >= 1 && spec.conv_kernel <= cpu::kMostTaps);
    float* conv = m_work.floats(kernel.tokens * kernel.channels());
    const std::int64_t channels = kernel.channels();
    const cpu::ShortConv short_conv{.tokens = kernel.tokens,
                                    .taps = spec.conv_kernel,
                                    .in = kernel.qkv,
                                    .in_stride = kernel.qkv_stride,
                                    .weight = kernel.conv_weight,
                                    .state = kernel.conv_state,
                                    .out = conv,
                                    .out_stride = channels};
    if (kernel.tokens == 1) { // less work than a fork
        cpu::short_conv(short_conv, 0, channels);
    } else {
        m_pool.for_range(channels, 256, [&](std::int64_t first, std::int64_t last, int) {
            cpu::short_conv(short_conv, first, last);
        });
    }
    const float query_length = 1.0f / std::sqrt(static_cast<float>(spec.key_dim));
    for_rows(kernel.tokens, 2 * spec.key_heads * spec.key_dim, [&](std::int64_t t) {
        for (std::int64_t h = 0; h < 2 * spec.key_heads; ++h) { // queries, then keys
            cpu::unit_length(conv + t * channels + h * spec.key_dim,
                             h < spec.key_heads ? query_length : 1.0f, spec.key_dim);
        }
    });
    const std::int64_t floats = cpu::delta_scratch_floats(kernel);
    reserve_worker_scratch(floats * static_cast<std::int64_t>(sizeof(float)));
    m_pool.for_range(spec.value_heads, 1, [&](std::int64_t first, std::int64_t last, int worker) {
        for (std::int64_t h = first; h < last; ++h) {
            cpu::delta_head(kernel, h, conv, worker_floats(worker));
        }
    });
}

void CpuBackend::kda(const KdaOp& op) {
    const KdaSpec& spec = op.spec;
    const std::int64_t tokens = op.q.extent[0];
    op.check();
    HS_ASSERT(spec.conv_kernel >= 1 && spec.conv_kernel <= cpu::kMostTaps);
    const cpu::Kda kernel{.tokens = tokens,
                          .heads = spec.heads,
                          .head_dim = spec.head_dim,
                          .conv_kernel = spec.conv_kernel,
                          .decay_bound = static_cast<float>(spec.decay_bound),
                          .q = op.q.data,
                          .k = op.k.data,
                          .v = op.v.data,
                          .q_stride = op.q.stride[0],
                          .k_stride = op.k.stride[0],
                          .v_stride = op.v.stride[0],
                          .decay = op.decay.data,
                          .decay_stride = op.decay.stride[0],
                          .b = op.b.data,
                          .b_stride = op.b.stride[0],
                          .gate = op.gate.data,
                          .gate_stride = op.gate.stride[0],
                          .conv_weight = op.conv_weight,
                          .decay_rate = op.decay_rate,
                          .dt_bias = op.dt_bias,
                          .norm_weight = op.norm_weight,
                          .norm_eps = op.norm_eps,
                          .conv_state = op.conv_state,
                          .state = op.state,
                          .out = op.out.data,
                          .out_stride = op.out.stride[0],
                          .decay_out = op.decay_out,
                          .beta_out = op.beta_out};
    const std::int64_t floats = cpu::kda_scratch_floats(kernel);
    reserve_worker_scratch(floats * static_cast<std::int64_t>(sizeof(float)));
    m_pool.for_range(spec.heads, 1, [&](std::int64_t first, std::int64_t last, int worker) {
        for (std::int64_t h = first; h < last; ++h) {
            cpu::kda_head(kernel, h, worker_floats(worker));
        }
    });
}

void CpuBackend::lightning(const LightningOp& op) {
    const LightningSpec& spec = op.spec;
    const std::int64_t tokens = op.out.extent[0];
    const std::int64_t channels = spec.heads * spec.head_dim;
    const auto rows = [&](const View<const float, 3>& heads) {
        return cpu::Lightning::Rows{heads.data, heads.stride[0], heads.stride[1]};
    };
    op.check();
    const cpu::Lightning kernel{.tokens = tokens,
                                .heads = spec.heads,
                                .head_dim = spec.head_dim,
                                .silu = spec.silu,
                                .scale = static_cast<float>(spec.scale),
                                .q = rows(op.q),
                                .k = rows(op.k),
                                .v = rows(op.v),
                                .gate = op.gate.data,
                                .gate_stride = op.gate.stride[0],
                                .decay_rates = op.decay_rates,
                                .norm_weight = op.norm_weight,
                                .norm_groups = spec.norm_groups,
                                .norm_eps = op.norm_eps,
                                .state = op.state,
                                .out = op.out.data,
                                .out_stride = op.out.stride[0]};
    const std::int64_t floats = cpu::lightning_scratch_floats(kernel);
    reserve_worker_scratch(floats * static_cast<std::int64_t>(sizeof(float)));
    m_pool.for_range(spec.heads, 1, [&](std::int64_t first, std::int64_t last, int worker) {
        for (std::int64_t h = first; h < last; ++h) {
            cpu::lightning_head(kernel, h, worker_floats(worker));
        }
    });
    for_rows(tokens, 4 * channels, [&](std::int64_t t) { cpu::lightning_gate(kernel, t); });
}

} // namespace hs
