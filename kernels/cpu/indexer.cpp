// What sparse attention chooses its keys with: scores from small heads, and the best of them
// (softmax.md section 3.2). A score does not depend on how a prompt is cut: ties fall the same way.

// The order matters: foreach_target includes this file once per instruction set.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/indexer.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/kernels.h"
// clang-format on

#include <algorithm>
#include <numeric>
#include <vector>

HWY_BEFORE_NAMESPACE();
namespace hs::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

HWY_INLINE float dot(const float* x, const float* y, std::int64_t n) {
    const hn::ScalableTag<float> d;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    auto sum = hn::Zero(d);
    std::int64_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        sum = hn::MulAdd(hn::LoadU(d, x + i), hn::LoadU(d, y + i), sum);
    }
    float total = hn::GetLane(hn::SumOfLanes(d, sum));
    for (; i < n; ++i) {
        total += x[i] * y[i];
    }
    return total;
}

void IndexScores(const Indexer& op, std::int64_t token, std::int64_t first_key,
                 std::int64_t last_key, float* scores) {
    std::vector<float> key(static_cast<std::size_t>(op.head_dim));
    const std::int64_t key_bytes = op.head_dim * block_bytes(op.cache);
    const float* const weights = op.weights + token * op.weights_stride;
    for (std::int64_t s = first_key; s < last_key; ++s) {
        dequantise(op.cache, op.keys + s * key_bytes, key.data(), op.head_dim);
        float score = 0.0f;
        for (std::int64_t h = 0; h < op.heads; ++h) {
            const float* const q = op.q + token * op.q_token_stride + h * op.q_head_stride;
            score += weights[h] * std::max(0.0f, dot(q, key.data(), op.head_dim));
        }
        scores[s] = score;
    }
}

} // namespace hs::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hs::cpu {

HWY_EXPORT(IndexScores);

void index_scores(const Indexer& op, std::int64_t token, std::int64_t first_key,
                  std::int64_t last_key, float* scores) {
    HWY_DYNAMIC_DISPATCH(IndexScores)(op, token, first_key, last_key, scores);
}

void choose_best(const float* scores, std::int64_t n, std::int64_t most, std::int32_t* chosen) {
    std::fill_n(chosen, most, -1);
    if (n <= most) {
        std::iota(chosen, chosen + n, 0);
        return;
    }
    std::vector<std::int32_t> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    std::nth_element(order.begin(), order.begin() + most - 1, order.end(),
                     [&](std::int32_t a, std::int32_t b) {
                         return scores[a] != scores[b] ? scores[a] > scores[b] : a < b;
                     });
    std::copy_n(order.begin(), most, chosen);
    std::sort(chosen, chosen + most);
}

} // namespace hs::cpu
#endif // HWY_ONCE
