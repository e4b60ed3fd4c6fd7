#pragma once
// Rows of a matrix times a few rows of x, by one warp: weights come apart in registers, x is read
// as it is, sums are f32.

#include "kernels/cuda/abi.h"
#include "kernels/cuda/device/formats.cuh"
#include "kernels/cuda/device/reduce.cuh"

namespace hs::cuda {

// Elements [8 g, 8 g + 8) of a row of x, zeros beyond `cols`.
__device__ inline void load_x8(const float* x, int cols, int g, bool aligned, float (&out)[8]) {
    const float* const at = x + 8 * g;
    if (8 * g + 8 > cols) {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            out[i] = 8 * g + i < cols ? at[i] : 0.0f;
        }
    } else if (aligned) {
        const float4 a = *reinterpret_cast<const float4*>(at);
        const float4 b = *reinterpret_cast<const float4*>(at + 4);
        out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w;
        out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
    } else {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            out[i] = at[i];
        }
    }
}

// decode8 with the factors of FP8 blocks.
template <Format kFormat>
__device__ inline void decode8_scaled(const Matrix& m, int row, int g, float (&w)[8]) {
    decode8<kFormat>(m.data + row * m.row_stride, m.cols, g, w);
    if constexpr (kFormat == Format::F8E4M3) {
        if (m.scales != nullptr) {
            const float* const scales = m.scales + row / m.scale_rows * m.scale_stride;
            if (m.scale_cols % 8 == 0) {
                const float scale = scales[8 * g / m.scale_cols];
#pragma unroll
                for (int i = 0; i < 8; ++i) {
                    w[i] *= scale;
                }
            } else {
                for (int i = 0; i < 8 && 8 * g + i < m.cols; ++i) {
                    w[i] *= scales[(8 * g + i) / m.scale_cols];
                }
            }
        }
    }
}

// Sums of kRows rows from `first` on (those past the last are read as the last) times kTokens rows
// of x (likewise), over groups lane, lane + 32 * parts, ... of eight columns. Not yet summed over
// the warp.
template <Format kFormat, int kRows, int kTokens>
__device__ inline void dot_rows(const Matrix& m, int first, int last, const float* x,
                                std::int64_t x_stride, int tokens, bool aligned, int lane, int part,
                                int parts, float (&sums)[kTokens][kRows]) {
    const int groups = (m.cols + 7) / 8;
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
            sums[t][r] = 0.0f;
        }
    }
    for (int g = lane + 32 * part; g < groups; g += 32 * parts) {
        float w[kRows][8];
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
            decode8_scaled<kFormat>(m, min(first + r, last), g, w[r]);
        }
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
            float in[8];
            load_x8(x + min(t, tokens - 1) * x_stride, m.cols, g, aligned, in);
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
#pragma unroll
                for (int i = 0; i < 8; ++i) {
                    sums[t][r] += w[r][i] * in[i];
                }
            }
        }
    }
}

// The same with x in eight bits: q (tokens, cols), scales (tokens, cols / 32). Groups of 32
// columns.
template <Format kFormat, int kRows, int kTokens>
__device__ inline void dot_rows_int8(const Matrix& m, int first, int last, const signed char* q,
                                     const float* q_scales, std::int64_t token_rows, int tokens,
                                     int lane, int part, int parts, float (&sums)[kTokens][kRows]) {
    constexpr bool kHalves = layout_of(kFormat).group == 16; // each 16 columns have factors
    const int blocks = m.cols / 32;
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
            sums[t][r] = 0.0f;
        }
    }
    for (int b = lane + 32 * part; b < blocks; b += 32 * parts) {
        unsigned w[kRows][8];
        Factors factors[kRows][kHalves ? 2 : 1];
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
            const Bytes row = m.data + min(first + r, last) * m.row_stride;
            load_quants32<kFormat>(row, m.cols, b, w[r]);
            factors[r][0] = load_factors<kFormat>(row, m.cols, 4 * b);
            if constexpr (kHalves) {
                factors[r][1] = load_factors<kFormat>(row, m.cols, 4 * b + 2);
            }
        }
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
            const std::int64_t at = min(t, tokens - 1) * token_rows * blocks + b;
            const int4* const from = reinterpret_cast<const int4*>(q) + 2 * at;
            const int4 low = from[0];
            const int4 high = from[1];
            const int x[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
            const float scale = q_scales[at];
            int totals[2] = {0, 0};
            if constexpr (has_minimum(kFormat)) {
#pragma unroll
                for (int i = 0; i < 8; ++i) {
                    totals[i / 4] = __dp4a(x[i], 0x01010101, totals[i / 4]);
                }
            }
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
                int dots[2] = {0, 0};
#pragma unroll
                for (int i = 0; i < 8; ++i) {
                    dots[i / 4] = __dp4a(x[i], static_cast<int>(w[r][i]), dots[i / 4]);
                }
                float sum;
                if constexpr (kHalves) {
                    sum = factors[r][0].scale * static_cast<float>(dots[0]) +
                          factors[r][1].scale * static_cast<float>(dots[1]);
                    if constexpr (has_minimum(kFormat)) {
                        sum -= factors[r][0].minimum * static_cast<float>(totals[0]) +
                               factors[r][1].minimum * static_cast<float>(totals[1]);
                    }
                } else {
                    sum = factors[r][0].scale * static_cast<float>(dots[0] + dots[1]);
                    if constexpr (has_minimum(kFormat)) {
                        sum -= factors[r][0].minimum * static_cast<float>(totals[0] + totals[1]);
                    }
                }
                sums[t][r] += scale * sum;
            }
        }
    }
}

// dot_rows or dot_rows_int8, whichever the format takes. Row t of x is token_rows rows behind the
// one before it in eight bits, x_stride values as it is.
template <Format kFormat, int kRows, int kTokens>
__device__ inline void dot_rows_any(const Matrix& m, int first, int last, const float* x,
                                    std::int64_t x_stride, bool aligned, const Int8Rows& int8,
                                    std::int64_t int8_row, std::int64_t token_rows, int tokens,
                                    int lane, int part, int parts, float (&sums)[kTokens][kRows]) {
    if constexpr (takes_int8(kFormat)) {
        dot_rows_int8<kFormat, kRows, kTokens>(m, first, last, int8.q + int8_row * m.cols,
                                               int8.scales + int8_row * (m.cols / 32), token_rows,
                                               tokens, lane, part, parts, sums);
    } else {
        dot_rows<kFormat, kRows, kTokens>(m, first, last, x, x_stride, tokens, aligned, lane, part,
                                          parts, sums);
    }
}

} // namespace hs::cuda
