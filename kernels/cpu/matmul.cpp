// Matrix products with weights in their file formats.

#include "kernels/cpu/kernels.h"

#include <algorithm>
#include <cmath>

namespace hs::cpu {

std::int64_t int8_bytes(std::int64_t tokens, std::int64_t cols) {
    return tokens * (cols + cols / 32 * 4 + cols / 16 * 4) + 3 * 64;
}

void place_int8(Activations& activations, std::byte* memory) {
    const auto aligned = [](std::int64_t bytes) { return (bytes + 63) / 64 * 64; };
    const std::int64_t n = activations.tokens * activations.cols;
    activations.q = reinterpret_cast<std::int8_t*>(memory);
    memory += aligned(n);
    activations.scale = reinterpret_cast<float*>(memory);
    memory += aligned(n / 32 * 4);
    activations.sum = reinterpret_cast<float*>(memory);
}

void quantise_activations(const Activations& a, std::int64_t first, std::int64_t last) {
    for (std::int64_t t = first; t < last; ++t) {
        for (std::int64_t block = 0; block < a.cols / 32; ++block) {
            const float* x = a.x + t * a.stride + block * 32;
            std::int8_t* q = a.q + t * a.cols + block * 32;
            float most = 0;
            for (int i = 0; i < 32; ++i) {
                most = std::max(most, std::fabs(x[i]));
            }
            const float scale = most / 127.0f;
            const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
            a.scale[t * (a.cols / 32) + block] = scale;
            for (int half = 0; half < 2; ++half) {
                int sum = 0;
                for (int i = 16 * half; i < 16 * half + 16; ++i) {
                    q[i] = static_cast<std::int8_t>(std::nearbyint(x[i] * inverse));
                    sum += q[i];
                }
                a.sum[t * (a.cols / 16) + 2 * block + half] = scale * static_cast<float>(sum);
            }
        }
    }
}

std::int64_t matmul_scratch_bytes(const Matrix& matrix, std::int64_t) {
    return 2 * matrix.cols * static_cast<std::int64_t>(sizeof(float));
}

void matmul(const Matrix& matrix, std::int64_t first, std::int64_t last,
            const Activations& activations, float* out, std::int64_t out_stride, const float* bias,
            std::byte* scratch) {
    auto* row = reinterpret_cast<float*>(scratch);
    for (std::int64_t r = first; r < last; ++r) {
        dequantise_row(matrix, r, row);
        for (std::int64_t t = 0; t < activations.tokens; ++t) {
            const float* x = activations.x + t * activations.stride;
            float lanes[16] = {};
            std::int64_t k = 0;
            for (; k + 16 <= matrix.cols; k += 16) {
                for (int i = 0; i < 16; ++i) {
                    lanes[i] += x[k + i] * row[k + i];
                }
            }
            float sum = 0;
            for (; k < matrix.cols; ++k) {
                sum += x[k] * row[k];
            }
            for (float lane : lanes) {
                sum += lane;
            }
            out[t * out_stride + r] = sum + (bias != nullptr ? bias[r] : 0.0f);
        }
    }
}

} // namespace hs::cpu
