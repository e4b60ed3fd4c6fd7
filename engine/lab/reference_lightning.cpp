// Lightning attention between its projections, in float64 (lightning.md sections 1.2 and 1.4).

#include "engine/lab/reference.h"

#include <cmath>

namespace hs::reference {

namespace {

double sigmoid(double x) {
    return 1.0 / (1.0 + std::exp(-x));
}
std::size_t at(std::int64_t i) {
    return static_cast<std::size_t>(i);
}

} // namespace

Values lightning(const Lightning& op, Values& state) {
    const LightningSpec& s = op.spec;
    const std::int64_t n = s.head_dim;
    const std::int64_t width = s.heads * n;
    const auto input = [&](Inputs values, std::int64_t i) {
        const double x = values[at(i)];
        return s.silu ? x * sigmoid(x) : x;
    };
    Values out(at(op.tokens * width));
    for (std::int64_t t = 0; t < op.tokens; ++t) {
        for (std::int64_t h = 0; h < s.heads; ++h) {
            const double keep = std::exp(-double{op.decay_rates[at(h)]});
            const std::int64_t row = t * width + h * n;
            for (std::int64_t i = 0; i < n; ++i) {
                for (std::int64_t j = 0; j < n; ++j) {
                    double& held = state[at((h * n + i) * n + j)];
                    held = keep * held + input(op.k, row + i) * input(op.v, row + j);
                    out[at(row + j)] += s.scale * input(op.q, row + i) * held;
                }
            }
        }
        const std::int64_t group = width / s.norm_groups;
        for (std::int64_t first = t * width; first < (t + 1) * width; first += group) {
            double squares = 0;
            for (std::int64_t i = first; i < first + group; ++i) {
                squares += out[at(i)] * out[at(i)];
            }
            const double rms = std::sqrt(squares / static_cast<double>(group) + op.norm_eps);
            for (std::int64_t i = first; i < first + group; ++i) {
                out[at(i)] *= op.norm_weight[at(i % width)] / rms * sigmoid(op.gate[at(i)]);
            }
        }
    }
    return out;
}

} // namespace hs::reference
