// Softmax attention over a cache (softmax.md sections 1.1 and 1.2).

#include "kernels/cpu/kernels.h"

#include <algorithm>
#include <cmath>

namespace hs::cpu {

std::int64_t attention_scratch_floats(const Attention& op) {
    return op.length + std::max(op.head_dim, op.value_dim);
}

void attend(const Attention& op, std::int64_t kv_head, std::int64_t first, std::int64_t last,
            float* scratch) {
    const std::int64_t group = op.query_heads / op.kv_heads;
    float* scores = scratch;
    float* row = scratch + op.length;
    const auto slot = [&](std::int64_t p) { return op.ring > 0 ? p % op.ring : p; };
    const std::int64_t key_bytes = op.head_dim * block_bytes(op.cache);
    const std::int64_t value_bytes = op.value_dim * block_bytes(op.cache);
    for (std::int64_t t = first; t < last; ++t) {
        const std::int64_t end = op.length - op.tokens + t + 1;
        const std::int64_t begin = op.window > 0 ? std::max<std::int64_t>(0, end - op.window) : 0;
        for (std::int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
            const float* q = op.q + t * op.q_token_stride + h * op.q_head_stride;
            float most = op.sinks != nullptr ? op.sinks[h] : -INFINITY;
            for (std::int64_t p = begin; p < end; ++p) {
                dequantise(op.cache, op.keys + (slot(p) * op.kv_heads + kv_head) * key_bytes, row,
                           op.head_dim);
                float dot = 0;
                for (std::int64_t d = 0; d < op.head_dim; ++d) {
                    dot += q[d] * row[d];
                }
                scores[p - begin] = dot * op.scale;
                most = std::max(most, scores[p - begin]);
            }
            float* out = op.out + t * op.out_token_stride + h * op.out_head_stride;
            std::fill_n(out, op.value_dim, 0.0f);
            float sum = op.sinks != nullptr ? std::exp(op.sinks[h] - most) : 0.0f;
            for (std::int64_t p = begin; p < end; ++p) {
                const float weight = std::exp(scores[p - begin] - most);
                sum += weight;
                dequantise(op.cache, op.values + (slot(p) * op.kv_heads + kv_head) * value_bytes,
                           row, op.value_dim);
                multiply_add(out, weight, row, op.value_dim);
            }
            scale(out, 1.0f / sum, op.value_dim);
        }
    }
}

} // namespace hs::cpu
