// Products of few tokens: a decode step, and a guess or two beside it. Weights are read once, at
// the speed of memory.

#include "kernels/cuda/abi.h"
#include "kernels/cuda/device/dot.cuh"
#include "kernels/cuda/device/int8.cuh"

using namespace hs::cuda;

namespace {

template <Format kFormat, int kTokens>
__device__ void gemv(const GemvParams& p) {
    constexpr int kWarps = kGemvThreads / 32;
    __shared__ float partial[kWarps][kTokens][kGemvRows];
    int which = 0;
    while (which + 1 < p.count &&
           static_cast<int>(blockIdx.x) >= p.product[which + 1].first_block) {
        ++which;
    }
    const auto& product = p.product[which];
    const int warp = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    const int block = static_cast<int>(blockIdx.x) - product.first_block;
    const int block_rows = kGemvRows * kWarps / p.split;
    const int head = blockIdx.y;
    const int rows = p.head_rows > 0 ? p.head_rows : product.weight.rows; // of this head
    const int head_first = head * p.head_rows;
    const int first = block * block_rows + warp / p.split * kGemvRows;

    float sums[kTokens][kGemvRows];
    if (first < rows) {
        dot_rows_any<kFormat, kGemvRows, kTokens>(
            product.weight, head_first + first, head_first + rows - 1, p.x + head * p.x_head_stride,
            p.x_stride, p.aligned != 0, p.int8, head, p.heads, p.tokens, lane, warp % p.split,
            p.split, sums);
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
#pragma unroll
            for (int r = 0; r < kGemvRows; ++r) {
                const float sum = warp_sum(sums[t][r]);
                if (lane == 0) {
                    partial[warp][t][r] = sum;
                }
            }
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < block_rows * p.tokens; i += kGemvThreads) {
        const int r = i % block_rows;
        const int t = i / block_rows;
        const int row = block * block_rows + r;
        if (row < rows) {
            float sum = product.bias != nullptr ? product.bias[row] : 0.0f;
            for (int s = 0; s < p.split; ++s) {
                sum += partial[r / kGemvRows * p.split + s][t][r % kGemvRows];
            }
            product.out[head * product.out_head_stride + t * product.out_stride + row] = sum;
        }
    }
}

} // namespace

extern "C" __global__ void hs_quantise(const __grid_constant__ QuantiseParams p) {
    const int col =
        static_cast<int>(blockIdx.y) * kQuantiseCols + 4 * static_cast<int>(threadIdx.x);
    if (col >= p.cols) {
        return;
    }
    const std::int64_t row = blockIdx.x;
    const float* const x = p.x + row / p.heads * p.x_stride + row % p.heads * p.x_head_stride + col;
    const float values[4] = {x[0], x[1], x[2], x[3]};
    write_int8(values, p.to, row, p.cols, col);
}

#define HS_GEMV_OF(F, T)                                                                           \
    extern "C" __global__ void __launch_bounds__(kGemvThreads)                                     \
        hs_gemv_##F##_##T(const __grid_constant__ GemvParams p) {                                  \
        gemv<Format::F, T>(p);                                                                     \
    }
#define HS_GEMV(F) HS_GEMV_OF(F, 1) HS_GEMV_OF(F, 2) HS_GEMV_OF(F, 4) HS_GEMV_OF(F, 8)
HS_GEMV(F32)
HS_GEMV(F16)
HS_GEMV(BF16)
HS_GEMV(F8E4M3)
HS_GEMV(Q4_0)
HS_GEMV(Q4_1)
HS_GEMV(Q5_0)
HS_GEMV(Q5_1)
HS_GEMV(Q8_0)
HS_GEMV(Q2_K)
HS_GEMV(Q3_K)
HS_GEMV(Q4_K)
HS_GEMV(Q5_K)
HS_GEMV(Q6_K)
HS_GEMV(IQ4_NL)
HS_GEMV(IQ4_XS)
HS_GEMV(MXFP4)
