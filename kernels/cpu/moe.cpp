// Routing of a mixture: which experts a token goes to, and with which weights.

#include "kernels/cpu/kernels.h"

#include <algorithm>
#include <cmath>

namespace hs::cpu {

void route(const Router& router, const float* scores, std::int32_t* chosen, float* weights,
           float* scratch) {
    const std::int64_t n = router.experts;
    if (router.sigmoid) {
        for (std::int64_t e = 0; e < n; ++e) {
            scratch[e] = sigmoid(scores[e]);
        }
    } else {
        const float most = *std::max_element(scores, scores + n);
        float sum = 0;
        for (std::int64_t e = 0; e < n; ++e) {
            scratch[e] = std::exp(scores[e] - most);
            sum += scratch[e];
        }
        scale(scratch, 1.0f / sum, n);
    }
    const auto choice = [&](std::int64_t e) {
        return scratch[e] + (router.choice_bias != nullptr ? router.choice_bias[e] : 0.0f);
    };
    float total = 0;
    for (std::int64_t i = 0; i < router.top_k; ++i) {
        std::int64_t best = -1;
        for (std::int64_t e = 0; e < n; ++e) {
            const bool taken = std::find(chosen, chosen + i, e) != chosen + i;
            if (!taken && (best < 0 || choice(e) > choice(best))) {
                best = e;
            }
        }
        chosen[i] = static_cast<std::int32_t>(best);
        weights[i] = scratch[best];
        total += weights[i];
    }
    const float factor =
        router.normalise ? router.weight_scale / (total + 1e-20f) : router.weight_scale;
    scale(weights, factor, router.top_k);
}

} // namespace hs::cpu
