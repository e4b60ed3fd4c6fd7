// The gated delta mixer between its projections (delta.md sections 2 to 4).

#include "kernels/cpu/kernels.h"

#include <algorithm>
#include <cmath>

namespace hs::cpu {

void short_conv(const GatedDelta& op, std::int64_t first, std::int64_t last, float* conv) {
    const std::int64_t kernel = op.conv_kernel;
    const std::int64_t tail = kernel - 1;
    const std::int64_t channels = op.channels();
    for (std::int64_t c = first; c < last; ++c) {
        const float* w = op.conv_weight + c * kernel;
        float* state = op.conv_state + c * tail;
        // Input at time t of this call; the state holds t = -tail .. -1.
        const auto input = [&](std::int64_t t) {
            return t >= 0 ? op.qkv[t * op.qkv_stride + c] : state[t + tail];
        };
        for (std::int64_t t = 0; t < op.tokens; ++t) {
            float sum = 0;
            for (std::int64_t j = 0; j < kernel; ++j) {
                sum += w[j] * input(t - tail + j);
            }
            conv[t * channels + c] = sum * sigmoid(sum);
        }
        for (std::int64_t j = 0; j < tail; ++j) { // entries move towards the front
            state[j] = input(op.tokens - tail + j);
        }
    }
}

void unit_query_key(const GatedDelta& op, std::int64_t key_head, float* conv) {
    const std::int64_t n = op.key_dim;
    for (std::int64_t t = 0; t < op.tokens; ++t) {
        float* q = conv + t * op.channels() + key_head * n;
        float* k = q + op.key_heads * n;
        for (float* x : {q, k}) {
            float sum = 0;
            for (std::int64_t i = 0; i < n; ++i) {
                sum += x[i] * x[i];
            }
            float factor = 1.0f / std::sqrt(sum + 1e-6f);
            if (x == q) {
                factor /= std::sqrt(static_cast<float>(n));
            }
            scale(x, factor, n);
        }
    }
}

std::int64_t delta_scratch_floats(const GatedDelta& op) {
    return 2 * op.value_dim;
}

void delta_head(const GatedDelta& op, std::int64_t head, const float* conv, float* scratch) {
    const std::int64_t key_head =
        op.tiled_heads ? head % op.key_heads : head / (op.value_heads / op.key_heads);
    const std::int64_t channels = op.channels();
    const std::int64_t dk = op.key_dim;
    const std::int64_t dv = op.value_dim;
    float* state = op.state + head * dk * dv;
    float* update = scratch;
    float* read = scratch + dv;
    for (std::int64_t t = 0; t < op.tokens; ++t) {
        const float* q = conv + t * channels + key_head * dk;
        const float* k = q + op.key_heads * dk;
        const float* v = conv + t * channels + 2 * op.key_heads * dk + head * dv;
        const float dt = op.a[t * op.a_stride + head] + op.dt_bias[head];
        const float softplus = dt > 20.0f ? dt : std::log1p(std::exp(dt));
        const float decay = std::exp(op.decay_rate[head] * softplus);
        const float beta = op.beta_scale * sigmoid(op.b[t * op.b_stride + head]);
        std::fill_n(update, dv, 0.0f);
        for (std::int64_t i = 0; i < dk; ++i) {
            multiply_add(update, k[i], state + i * dv, dv);
        }
        for (std::int64_t j = 0; j < dv; ++j) {
            update[j] = beta * (v[j] - decay * update[j]);
        }
        std::fill_n(read, dv, 0.0f);
        for (std::int64_t i = 0; i < dk; ++i) {
            float* row = state + i * dv;
            for (std::int64_t j = 0; j < dv; ++j) {
                row[j] = decay * row[j] + k[i] * update[j];
                read[j] += q[i] * row[j];
            }
        }
        float* out = op.out + t * op.out_stride + head * dv;
        rms_norm(read, op.norm_weight, op.norm_eps, dv, out);
        const float* z = op.z + t * op.z_stride + head * dv;
        for (std::int64_t j = 0; j < dv; ++j) {
            out[j] *= z[j] * sigmoid(z[j]);
        }
        if (op.decay_out != nullptr) {
            op.decay_out[t * op.value_heads + head] = decay;
        }
        if (op.beta_out != nullptr) {
            op.beta_out[t * op.value_heads + head] = beta;
        }
    }
}

} // namespace hs::cpu
