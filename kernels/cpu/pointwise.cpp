// Elementwise work between the products: norms, gates, rotation.

#include "kernels/cpu/kernels.h"

#include <cmath>

namespace hs::cpu {

float sigmoid(float x) {
    return 1.0f / (1.0f + std::exp(-x));
}

void rms_norm(const float* x, const float* weight, float eps, std::int64_t n, float* out) {
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        sum += static_cast<double>(x[i]) * x[i];
    }
    const auto factor = static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(n) + eps));
    for (std::int64_t i = 0; i < n; ++i) {
        out[i] = x[i] * factor * weight[i];
    }
}

void add(float* x, const float* y, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
        x[i] += y[i];
    }
}

void silu_multiply(const float* gate, const float* up, std::int64_t n, float* out) {
    for (std::int64_t i = 0; i < n; ++i) {
        out[i] = gate[i] * sigmoid(gate[i]) * up[i];
    }
}

void sigmoid_multiply(float* x, const float* gate, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
        x[i] *= sigmoid(gate[i]);
    }
}

void scale(float* x, float factor, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
        x[i] *= factor;
    }
}

void multiply_add(float* x, float factor, const float* y, std::int64_t n) {
    for (std::int64_t i = 0; i < n; ++i) {
        x[i] += factor * y[i];
    }
}

void rotate(float* x, const float* cos, const float* sin, std::int64_t dims, bool interleaved) {
    const std::int64_t pairs = dims / 2;
    for (std::int64_t i = 0; i < pairs; ++i) {
        float& first = interleaved ? x[2 * i] : x[i];
        float& second = interleaved ? x[2 * i + 1] : x[i + pairs];
        const float a = first;
        const float b = second;
        first = a * cos[i] - b * sin[i];
        second = b * cos[i] + a * sin[i];
    }
}

} // namespace hs::cpu
