// The float64 meaning of gates, norms and scalings.

#include "engine/lab/reference.h"

#include <algorithm>
#include <cmath>

namespace hs::reference {

double glu(const GluSpec& spec, double gate, double up) {
    const auto sigmoid = [](double x) { return 1.0 / (1.0 + std::exp(-x)); };
    switch (spec.kind) {
    case GluSpec::Kind::Silu:
        break;
    case GluSpec::Kind::GeluTanh: {
        const double inner =
            std::sqrt(2.0 / 3.14159265358979323846) * (gate + 0.044715 * gate * gate * gate);
        return 0.5 * gate * (1.0 + std::tanh(inner)) * up;
    }
    case GluSpec::Kind::Clamped: {
        const double g = std::min(gate, spec.limit);
        const double u = std::clamp(up, -spec.limit, spec.limit);
        return (u + 1.0) * g * sigmoid(spec.alpha * g);
    }
    case GluSpec::Kind::Situ:
        return spec.beta * std::tanh(gate / spec.beta) * sigmoid(gate) * spec.linear_beta *
               std::tanh(up / spec.linear_beta);
    }
    return gate * sigmoid(gate) * up;
}

Values layer_norm(Inputs x, Inputs weight, Inputs bias, double eps) {
    const std::size_t width = weight.size();
    Values out(x.size());
    for (std::size_t first = 0; first < x.size(); first += width) {
        const Inputs row = x.subspan(first, width);
        double mean = 0;
        for (const float value : row) {
            mean += value / static_cast<double>(width);
        }
        double variance = 0;
        for (const float value : row) {
            variance += (value - mean) * (value - mean) / static_cast<double>(width);
        }
        for (std::size_t i = 0; i < width; ++i) {
            out[first + i] = (row[i] - mean) / std::sqrt(variance + eps) * weight[i] + bias[i];
        }
    }
    return out;
}

} // namespace hs::reference
