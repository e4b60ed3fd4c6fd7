// Routing of a mixture: which experts a token goes to, and with which weights.

#include "kernels/cpu/kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

namespace hs::cpu {

namespace {

// Leaves the scores of choice of the best groups alone; the others can no longer be chosen.
void keep_best_groups(const Router& router, float* choice) {
    constexpr float kOut = -std::numeric_limits<float>::infinity();
    const std::int64_t size = router.experts / router.groups;
    std::vector<std::pair<float, std::int64_t>> groups;
    for (std::int64_t g = 0; g < router.groups; ++g) {
        float best = kOut;
        float second = kOut;
        for (std::int64_t e = g * size; e < (g + 1) * size; ++e) {
            if (choice[e] > best) {
                second = best;
                best = choice[e];
            } else {
                second = std::max(second, choice[e]);
            }
        }
        groups.emplace_back(size > 1 && router.group_best > 1 ? best + second : best, g);
    }
    std::stable_sort(groups.begin(), groups.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    for (std::int64_t i = router.groups_kept; i < router.groups; ++i) {
        const std::int64_t g = groups[static_cast<std::size_t>(i)].second;
        std::fill(choice + g * size, choice + (g + 1) * size, kOut);
    }
}

} // namespace

void route(const Router& router, const float* scores, std::int32_t* chosen, float* weights,
           float* scratch) {
    const std::int64_t n = router.experts;
    float* const choice = scratch + n;
    switch (router.score) {
    case Router::Score::Sigmoid:
        for (std::int64_t e = 0; e < n; ++e) {
            scratch[e] = sigmoid(scores[e]);
        }
        break;
    case Router::Score::Softmax: {
        const float most = *std::max_element(scores, scores + n);
        float sum = 0;
        for (std::int64_t e = 0; e < n; ++e) {
            scratch[e] = std::exp(scores[e] - most);
            sum += scratch[e];
        }
        scale(scratch, 1.0f / sum, n);
        break;
    }
    case Router::Score::SoftmaxOfChosen:
        std::copy_n(scores, n, scratch);
        break;
    }
    for (std::int64_t e = 0; e < n; ++e) {
        choice[e] = scratch[e] + (router.choice_bias != nullptr ? router.choice_bias[e] : 0.0f);
    }
    if (router.groups > 1) {
        keep_best_groups(router, choice);
    }
    for (std::int64_t i = 0; i < router.top_k; ++i) {
        std::int64_t best = -1;
        for (std::int64_t e = 0; e < n; ++e) {
            const bool taken = std::find(chosen, chosen + i, e) != chosen + i;
            if (!taken && (best < 0 || choice[e] > choice[best])) {
                best = e;
            }
        }
        chosen[i] = static_cast<std::int32_t>(best);
        weights[i] = scratch[best];
    }
    if (router.score == Router::Score::SoftmaxOfChosen) {
        const float most = *std::max_element(weights, weights + router.top_k);
        for (std::int64_t i = 0; i < router.top_k; ++i) {
            weights[i] = std::exp(weights[i] - most);
        }
    }
    const float total = std::accumulate(weights, weights + router.top_k, 0.0f);
    const bool normalise = router.normalise || router.score == Router::Score::SoftmaxOfChosen;
    scale(weights, normalise ? router.weight_scale / (total + 1e-20f) : router.weight_scale,
          router.top_k);
}

} // namespace hs::cpu
