// Linear token mixers of the CPU backend.

#include "engine/backend/cpu/cpu_backend.h"

namespace hs {

void CpuBackend::gated_delta(const GatedDeltaOp& op) {
    const GatedDeltaSpec& spec = op.spec;
    HS_ASSERT(spec.key_heads > 0 && spec.value_heads % spec.key_heads == 0);
    HS_ASSERT(op.qkv.extent[1] == spec.conv_channels() && op.qkv.stride[1] == 1);
    HS_ASSERT(op.z.stride[1] == 1 && op.b.stride[1] == 1 && op.a.stride[1] == 1);
    HS_ASSERT(op.out.extent[0] == op.qkv.extent[0] && op.out.stride[1] == 1);
    HS_ASSERT(op.out.extent[1] == spec.value_heads * spec.value_dim);
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
    const auto convolve = [&](std::int64_t first, std::int64_t last, int) {
        cpu::short_conv(kernel, first, last, conv);
    };
    if (kernel.tokens == 1) { // less work than a fork
        convolve(0, kernel.channels(), 0);
    } else {
        m_pool.for_range(kernel.channels(), 256, convolve);
    }
    for_rows(kernel.tokens, 2 * spec.key_heads * spec.key_dim, [&](std::int64_t t) {
        for (std::int64_t h = 0; h < spec.key_heads; ++h) {
            cpu::unit_query_key(kernel, h, t, conv);
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

void CpuBackend::kda(const KdaOp&) {
    HS_ASSERT(false);
}

void CpuBackend::lightning(const LightningOp&) {
    HS_ASSERT(false);
}

} // namespace hs
