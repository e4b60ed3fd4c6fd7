// Products of many tokens on the tensor cores: bf16 factors, f32 sums. x is split into two bf16
// terms, so that 16 bits of it take part; so are weights that bf16 cannot hold. Weights come apart
// on their way to shared memory. Also the laying of weights.

#include "kernels/cuda/abi.h"
#include "kernels/cuda/device/dot.cuh"

using namespace hs::cuda;

namespace {

constexpr int kDepth = 32;       // columns at a time
constexpr int kPad = kDepth + 8; // of a row in shared memory: no two rows of eight share banks
constexpr int kTokenWarps = 2;   // 32 tokens by 32 rows each

// Terms of bf16 that a weight takes: quants lose less by one than they have lost already. F32 keeps
// all its bits, and so does x with it.
template <Format kFormat>
constexpr int kTerms = kFormat == Format::F32                                ? 3
                       : kFormat == Format::F16 || kFormat == Format::F8E4M3 ? 2
                                                                             : 1;

using Row = __nv_bfloat16[kPad];

// Eight values to kCount planes of bf16, `plane` values apart.
template <int kCount>
__device__ inline void split_terms(const float (&values)[8], __nv_bfloat16* to, int plane) {
    float rest[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        rest[i] = values[i];
    }
#pragma unroll
    for (int term = 0; term < kCount; ++term) {
        __nv_bfloat162 pairs[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            pairs[i] = __floats2bfloat162_rn(rest[2 * i], rest[2 * i + 1]);
            rest[2 * i] -= __low2float(pairs[i]);
            rest[2 * i + 1] -= __high2float(pairs[i]);
        }
        *reinterpret_cast<uint4*>(to + term * plane) = *reinterpret_cast<const uint4*>(pairs);
    }
}

__device__ inline void load_matrices(unsigned (&to)[4], const __nv_bfloat16* from) {
    const auto address = static_cast<unsigned>(__cvta_generic_to_shared(from));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address));
}

__device__ inline void multiply_add(float (&sum)[4], const unsigned (&a)[4], unsigned b0,
                                    unsigned b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <Format kFormat>
__device__ void gemm(const GemmParams& p) {
    constexpr int kWTerms = kTerms<kFormat>;
    constexpr int kXTerms = kFormat == Format::F32 ? 3 : 2;
    __shared__ __align__(16) Row x_tile[kXTerms][kGemmTokens];
    __shared__ __align__(16) Row w_tile[kWTerms][kGemmRows];
    __shared__ std::int64_t x_row[kGemmTokens];
    __shared__ std::int64_t out_row[kGemmTokens]; // -1: none

    // Which rows of x, which matrix.
    const int thread = threadIdx.x;
    const int head = blockIdx.z;
    Matrix weight = p.weight;
    const float* bias = p.bias;
    int tokens = min(kGemmTokens, p.tokens - static_cast<int>(blockIdx.x) * kGemmTokens);
    if (p.experts != nullptr) {
        if (static_cast<int>(blockIdx.x) >= *p.tile_count) {
            return;
        }
        const ExpertTile tile = p.tiles[blockIdx.x];
        const ExpertMatrix& expert = p.experts[tile.expert];
        if (expert.format != p.format) {
            return;
        }
        weight = expert.matrix;
        bias = expert.bias;
        tokens = tile.count;
        if (thread < kGemmTokens) {
            const int pair = thread < tokens ? p.order[tile.first + thread] : -1;
            x_row[thread] = pair < 0 ? 0 : pair / p.pairs_per_row;
            out_row[thread] = pair;
        }
    } else if (thread < kGemmTokens) {
        const std::int64_t t = static_cast<std::int64_t>(blockIdx.x) * kGemmTokens + thread;
        x_row[thread] = thread < tokens ? t : 0;
        out_row[thread] = thread < tokens ? t : -1;
    }
    __syncthreads();
    const int rows = p.head_rows > 0 ? p.head_rows : weight.rows;
    const int head_first = head * p.head_rows;
    const int first = static_cast<int>(blockIdx.y) * kGemmRows;
    const float* const x = p.x + head * p.x_head_stride;
    const int groups = (p.cols + 7) / 8;

    // A thread brings eight columns of one row of x and of two rows of weights.
    const int load_row = thread / 4;
    const int load_group = thread % 4;
    float x_next[8];
    float w_next[2][8];
    const auto fetch = [&](int depth) {
        const int g = depth / 8 + load_group;
        const bool inside = g < groups;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            x_next[i] = w_next[0][i] = w_next[1][i] = 0.0f;
        }
        if (inside && load_row < tokens) {
            load_x8(x + x_row[load_row] * p.x_stride, p.cols, g, p.aligned != 0, x_next);
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int row = first + load_row + 64 * i;
            if (inside && row < rows) {
                decode8_scaled<kFormat>(weight, head_first + row, g, w_next[i]);
            }
        }
    };

    const int warp = thread / 32;
    const int lane = thread % 32;
    const int warp_token = warp % kTokenWarps * 32;
    const int warp_row = warp / kTokenWarps * 32;
    float sums[2][4][4] = {};
    fetch(0);
    for (int depth = 0; depth < p.cols; depth += kDepth) {
        __syncthreads(); // the tiles are free
        split_terms<kXTerms>(x_next, &x_tile[0][load_row][8 * load_group], kGemmTokens * kPad);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            split_terms<kWTerms>(w_next[i], &w_tile[0][load_row + 64 * i][8 * load_group],
                                 kGemmRows * kPad);
        }
        __syncthreads();
        if (depth + kDepth < p.cols) {
            fetch(depth + kDepth);
        }
#pragma unroll
        for (int k = 0; k < kDepth; k += 16) {
            unsigned b[kWTerms][2][4]; // 16 rows each
#pragma unroll
            for (int term = 0; term < kWTerms; ++term) {
#pragma unroll
                for (int n = 0; n < 2; ++n) {
                    const int row = warp_row + 16 * n + (lane & 7) + (lane >> 4 << 3);
                    load_matrices(b[term][n], &w_tile[term][row][k + (lane >> 3 & 1) * 8]);
                }
            }
#pragma unroll
            for (int m = 0; m < 2; ++m) {
#pragma unroll
                for (int term = 0; term < kXTerms; ++term) {
                    unsigned a[4];
                    load_matrices(
                        a, &x_tile[term][warp_token + 16 * m + (lane & 15)][k + (lane >> 4) * 8]);
#pragma unroll
                    for (int n = 0; n < 4; ++n) {
#pragma unroll
                        for (int w_term = 0; w_term < kWTerms; ++w_term) {
                            if (term + w_term < 3) { // what comes after is below f32
                                const unsigned* const row = &b[w_term][n / 2][n % 2 * 2];
                                multiply_add(sums[m][n], a, row[0], row[1]);
                            }
                        }
                    }
                }
            }
        }
    }

#pragma unroll
    for (int m = 0; m < 2; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const std::int64_t t = out_row[warp_token + 16 * m + 8 * half + lane / 4];
            if (t < 0) {
                continue;
            }
            float* const out = p.out + head * p.out_head_stride + t * p.out_stride;
#pragma unroll
            for (int n = 0; n < 4; ++n) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const int row = first + warp_row + 8 * n + 2 * (lane % 4) + i;
                    if (row < rows) {
                        out[row] = sums[m][n][2 * half + i] +
                                   (bias != nullptr ? bias[head_first + row] : 0.0f);
                    }
                }
            }
        }
    }
}

// --- laying --------------------------------------------------------------------------------------

template <Format kFormat>
__device__ void lay(const LayParams& p) {
    const int piece = static_cast<int>(blockIdx.y * kPointThreads + threadIdx.x);
    if (piece >= p.pieces) {
        return;
    }
    const unsigned char* const from = p.from + blockIdx.x * p.from_stride;
    unsigned char* const to = p.to + blockIdx.x * p.to_stride;
    if constexpr (is_plain(kFormat)) {
        to[piece] = from[piece];
    } else {
        lay_piece<kFormat>(from, to, p.cols, piece);
    }
}

} // namespace

#define HS_GEMM(F)                                                                                 \
    extern "C" __global__ void __launch_bounds__(kGemmThreads)                                     \
        hs_gemm_##F(const __grid_constant__ GemmParams p) {                                        \
        gemm<Format::F>(p);                                                                        \
    }                                                                                              \
    extern "C" __global__ void hs_lay_##F(const __grid_constant__ LayParams p) {                   \
        lay<Format::F>(p);                                                                         \
    }
HS_GEMM(F32)
HS_GEMM(F16)
HS_GEMM(BF16)
HS_GEMM(F8E4M3)
HS_GEMM(Q4_0)
HS_GEMM(Q4_1)
HS_GEMM(Q5_0)
HS_GEMM(Q5_1)
HS_GEMM(Q8_0)
HS_GEMM(Q2_K)
HS_GEMM(Q3_K)
HS_GEMM(Q4_K)
HS_GEMM(Q5_K)
HS_GEMM(Q6_K)
HS_GEMM(IQ4_NL)
HS_GEMM(IQ4_XS)
HS_GEMM(MXFP4)
