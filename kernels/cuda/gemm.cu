// Products of many tokens on the tensor cores: bf16 factors, f32 sums. What bf16 cannot hold is
// split into terms that add up to it. x is split once for all blocks and comes in by asynchronous
// copies; weights come in as they lie and come apart on their way to shared memory, while the
// tensor cores work on the columns before. Also the laying of weights.

#include "kernels/cuda/abi.h"
#include "kernels/cuda/device/dot.cuh"

using namespace hs::cuda;

namespace {

// Eight values to kCount planes of bf16, `plane` values apart.
template <int kCount>
__device__ inline void split_terms(const float (&values)[8], __nv_bfloat16* to,
                                   std::int64_t plane) {
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

__device__ inline unsigned shared_address(const void* pointer) {
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}
// 16 bytes, or zeros.
__device__ inline void copy_async(void* to, const void* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(from), "r"(there ? 16 : 0)
                 : "memory");
}
__device__ inline void wait_for_copies() {
    asm volatile("cp.async.wait_all;" ::: "memory");
}
__device__ inline void load_matrices(unsigned (&to)[4], const __nv_bfloat16* from) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(from))
                 : "memory");
}
__device__ inline void multiply_add(float (&sum)[4], const unsigned (&a)[4], unsigned b0,
                                    unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Factors of FP8 blocks.
template <Format kFormat>
__device__ inline void scale8(const Matrix& m, int row, int g, float (&w)[8]) {
    if constexpr (kFormat == Format::F8E4M3) {
        if (m.scales != nullptr) {
            const float* const scales = m.scales + row / m.scale_rows * m.scale_stride;
            for (int i = 0; i < 8 && 8 * g + i < m.cols; ++i) {
                w[i] *= scales[(8 * g + i) / m.scale_cols];
            }
        }
    }
}

template <Format kFormat, int kTokens>
__device__ void gemm(const GemmParams& p) {
    constexpr int kXTerms = input_terms(kFormat);
    constexpr int kWTerms = weight_terms(kFormat);
    constexpr int kDepth = gemm_depth(kFormat);
    constexpr int kPitch = gemm_pitch(kFormat);
    constexpr int kChunks = kDepth / 8; // of a row: eight columns
    constexpr int kXStage = kXTerms * kTokens * kPitch;
    constexpr int kStage = kXStage + kWTerms * kGemmRows * kPitch;
    constexpr int kTokenWarps = kTokens / 32;
    constexpr int kRowWarps = kGemmThreads / 32 / kTokenWarps;
    constexpr int kWarpRows = kGemmRows / kRowWarps; // 32 tokens by 32 or 64 rows each
    constexpr int kSpans = kWarpRows / 8;
    constexpr int kLoads = kGemmRows * kChunks / kGemmThreads; // of weights, by each thread
    extern __shared__ __align__(16) __nv_bfloat16 stages[];
    __shared__ std::int64_t x_row[kTokens];
    __shared__ std::int64_t out_row[kTokens]; // -1: none

    // Which rows of x, which matrix.
    const int thread = threadIdx.x;
    const int head = blockIdx.z;
    Matrix weight = p.weight;
    const float* bias = p.bias;
    int tokens = min(kTokens, p.tokens - static_cast<int>(blockIdx.x) * kTokens);
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
        if (thread < kTokens) {
            const int pair = thread < tokens ? p.order[tile.first + thread] : -1;
            x_row[thread] = pair < 0 ? 0 : pair / p.pairs_per_row;
            out_row[thread] = pair;
        }
    } else if (thread < kTokens) {
        const std::int64_t t = static_cast<std::int64_t>(blockIdx.x) * kTokens + thread;
        x_row[thread] = thread < tokens ? t * p.heads + head : 0;
        out_row[thread] = thread < tokens ? t : -1;
    }
    __syncthreads();
    const int rows = p.head_rows > 0 ? p.head_rows : weight.rows;
    const int head_first = head * p.head_rows;
    const int first = static_cast<int>(blockIdx.y) * kGemmRows;
    const int groups = (p.cols + 7) / 8;
    const auto* const x = static_cast<const __nv_bfloat16*>(p.x);

    const auto copy_x = [&](int depth, __nv_bfloat16* stage) {
#pragma unroll
        for (int i = 0; i < kXTerms * kTokens * kChunks / kGemmThreads; ++i) {
            const int at = i * kGemmThreads + thread;
            const int chunk = at % kChunks;
            const int row = at / kChunks % kTokens;
            const int term = at / kChunks / kTokens;
            copy_async(stage + (term * kTokens + row) * kPitch + 8 * chunk,
                       x + term * p.plane + x_row[row] * p.padded + depth + 8 * chunk,
                       row < tokens);
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
    };
    RawGroup<kFormat> raw[kLoads];
    const auto load_weights = [&](int depth) {
#pragma unroll
        for (int i = 0; i < kLoads; ++i) {
            const int at = i * kGemmThreads + thread;
            const int row = first + at / kChunks;
            const int g = depth / 8 + at % kChunks;
            raw[i] = RawGroup<kFormat>{};
            if (g < groups && row < rows) {
                raw[i] = load_raw<kFormat>(weight.data + (head_first + row) * weight.row_stride,
                                           weight.cols, g);
            }
        }
    };
    const auto store_weights = [&](int depth, __nv_bfloat16* stage) {
#pragma unroll
        for (int i = 0; i < kLoads; ++i) {
            const int at = i * kGemmThreads + thread;
            const int row = at / kChunks;
            const int g = depth / 8 + at % kChunks;
            float w[8];
            decode_raw<kFormat>(raw[i], g, w);
            if (g < groups && first + row < rows) {
                scale8<kFormat>(weight, head_first + first + row, g, w);
            }
            split_terms<kWTerms>(w, stage + kXStage + row * kPitch + 8 * (at % kChunks),
                                 kGemmRows * kPitch);
        }
    };

    const int warp = thread / 32;
    const int lane = thread % 32;
    const int warp_token = warp % kTokenWarps * 32;
    const int warp_row = warp / kTokenWarps * kWarpRows;
    float sums[2][kSpans][4] = {};
    copy_x(0, stages);
    load_weights(0);
    store_weights(0, stages);
    wait_for_copies();
    __syncthreads();
    int now = 0;
    for (int depth = 0; depth < p.cols; depth += kDepth, now ^= 1) {
        __nv_bfloat16* const stage = stages + now * kStage;
        __nv_bfloat16* const next = stages + (now ^ 1) * kStage;
        const bool more = depth + kDepth < p.cols;
        if (more) {
            copy_x(depth + kDepth, next);
            load_weights(depth + kDepth);
        }
        const __nv_bfloat16* const w_tile = stage + kXStage;
#pragma unroll
        for (int k = 0; k < kDepth; k += 16) {
            unsigned b[kWTerms][kSpans / 2][4]; // 16 rows each
#pragma unroll
            for (int term = 0; term < kWTerms; ++term) {
#pragma unroll
                for (int n = 0; n < kSpans / 2; ++n) {
                    const int row = warp_row + 16 * n + (lane & 7) + (lane >> 4 << 3);
                    load_matrices(b[term][n], w_tile + (term * kGemmRows + row) * kPitch + k +
                                                  (lane >> 3 & 1) * 8);
                }
            }
#pragma unroll
            for (int m = 0; m < 2; ++m) {
#pragma unroll
                for (int term = 0; term < kXTerms; ++term) {
                    unsigned a[4];
                    const int row = warp_token + 16 * m + (lane & 15);
                    load_matrices(a, stage + (term * kTokens + row) * kPitch + k + (lane >> 4) * 8);
#pragma unroll
                    for (int n = 0; n < kSpans; ++n) {
#pragma unroll
                        for (int w_term = 0; w_term < kWTerms; ++w_term) {
                            if (term + w_term < 3) { // what comes after is below f32
                                const unsigned* const two = &b[w_term][n / 2][n % 2 * 2];
                                multiply_add(sums[m][n], a, two[0], two[1]);
                            }
                        }
                    }
                }
            }
        }
        if (more) {
            store_weights(depth + kDepth, next);
            wait_for_copies();
        }
        __syncthreads();
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
            for (int n = 0; n < kSpans; ++n) {
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

extern "C" __global__ void hs_split(const __grid_constant__ SplitParams p) {
    const int g = static_cast<int>(blockIdx.y * kPointThreads + threadIdx.x);
    if (8 * g >= p.padded) {
        return;
    }
    const std::int64_t row = blockIdx.x;
    const float* const x = p.x + row / p.heads * p.x_stride + row % p.heads * p.x_head_stride;
    float values[8];
    load_x8(x, p.cols, g, false, values);
    auto* const to = static_cast<__nv_bfloat16*>(p.to) + row * p.padded + 8 * g;
    if (p.terms == 1) {
        split_terms<1>(values, to, p.plane);
    } else {
        split_terms<3>(values, to, p.plane);
    }
}

#define HS_GEMM(F)                                                                                 \
    extern "C" __global__ void __launch_bounds__(kGemmThreads)                                     \
        hs_gemm_##F(const __grid_constant__ GemmParams p) {                                        \
        gemm<Format::F, kGemmTokens>(p);                                                           \
    }                                                                                              \
    extern "C" __global__ void hs_lay_##F(const __grid_constant__ LayParams p) {                   \
        lay<Format::F>(p);                                                                         \
    }
#define HS_GEMM_MANY(F)                                                                            \
    HS_GEMM(F)                                                                                     \
    extern "C" __global__ void __launch_bounds__(kGemmThreads)                                     \
        hs_gemm128_##F(const __grid_constant__ GemmParams p) {                                     \
        gemm<Format::F, kManyTokens>(p);                                                           \
    }
HS_GEMM(F32)
HS_GEMM(F16)
HS_GEMM(F8E4M3)
HS_GEMM_MANY(BF16)
HS_GEMM_MANY(Q4_0)
HS_GEMM_MANY(Q4_1)
HS_GEMM_MANY(Q5_0)
HS_GEMM_MANY(Q5_1)
HS_GEMM_MANY(Q8_0)
HS_GEMM_MANY(Q2_K)
HS_GEMM_MANY(Q3_K)
HS_GEMM_MANY(Q4_K)
HS_GEMM_MANY(Q5_K)
HS_GEMM_MANY(Q6_K)
HS_GEMM_MANY(IQ4_NL)
HS_GEMM_MANY(IQ4_XS)
HS_GEMM_MANY(MXFP4)
