// Lightning attention between its projections (lightning.md section 1): a matrix per head that
// fades by a constant, then a norm in groups and a sigmoid gate.

#include "kernels/cuda/device/mixers_terms.cuh"

namespace hs::cuda {
namespace {

constexpr int kRowLanes = 4;
constexpr int kQuadRows = 4 * kRowLanes;

__device__ float taken(const LightningParams& p, const LightningRows& rows, std::int64_t token,
                       int head, int i) {
    const float x = rows.data[token * rows.token_stride + head * rows.head_stride + i];
    return p.silu ? silu(x) : x;
}

// Norm and gate of one group of one token, by a whole block; other blocks may have written it.
//   sums: (kThreads / 32)
template <int kThreads>
__device__ void norm_group(const LightningParams& p, std::int64_t token, std::int64_t group,
                           float* sums) {
    const int width = static_cast<int>(std::int64_t{p.heads} * p.head_dim / p.norm_groups);
    const std::int64_t first = group * width;
    float* const out = p.out + token * p.out_stride + first;
    const float* const gate = p.gate + token * p.gate_stride + first;
    float squares = 0.0f;
    for (int i = threadIdx.x; i < width; i += kThreads) {
        const float x = __ldcg(out + i);
        squares = fmaf(x, x, squares);
    }
    squares = warp_sum(squares);
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        sums[threadIdx.x / 32] = squares;
    }
    __syncthreads();
    float total = 0.0f;
    for (int i = 0; i < kThreads / 32; ++i) {
        total += sums[i];
    }
    const float factor = 1.0f / sqrtf(total / width + p.norm_eps);
    for (int i = threadIdx.x; i < width; i += kThreads) {
        out[i] = __ldcg(out + i) * factor * p.norm_weight[first + i] * sigmoid(gate[i]);
    }
}

// Counters of blocks, zero between launches.
__device__ unsigned writers[kMostLightningHeads];

// All tokens one after another: S = decay S + k v^T, out = scale S^T q. One token is normed as
// well, by the last block that has written a part of its group; of several nothing is. A block owns
// 32 value columns; lanes share them as in mixers_delta.cuh.
//   grid (slices of 32 value columns, heads)
//   shared: kLightningTokens times q, k (16 kQuads each) and v (32)
template <int kQuads>
__device__ void lightning_scan(const LightningParams& p) {
    constexpr int kRows = kQuads * kQuadRows;
    constexpr int kToken = 2 * kRows + kLightningColumns;
    float* const memory = shared_floats();
    const int thread = threadIdx.x;
    const int lane = thread % 32;
    const int warp = thread / 32;
    const int head = blockIdx.y;
    const int first_column = blockIdx.x * kLightningColumns;
    const int column = first_column + warp * 8 + lane % 8;
    const int row_lane = lane / 8;
    const bool inside = column < p.head_dim;
    float* const state = p.state + std::int64_t{head} * p.head_dim * p.head_dim + column;

    float rows[kQuads][4];
#pragma unroll
    for (int j = 0; j < kQuads; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int row = j * kQuadRows + 4 * row_lane + i;
            rows[j][i] = inside && row < p.head_dim ? state[std::int64_t{row} * p.head_dim] : 0.0f;
        }
    }
    const float decay = expf(-p.decay_rates[head]);
    for (int first = 0; first < p.tokens; first += kLightningTokens) {
        const int count = min(kLightningTokens, p.tokens - first);
        __syncthreads();
        for (int t = warp; t < count; t += kLightningThreads / 32) {
            float* const to = memory + t * kToken;
            for (int i = lane; i < kRows; i += 32) {
                const bool there = i < p.head_dim;
                to[i] = there ? p.scale * taken(p, p.q, first + t, head, i) : 0.0f;
                to[kRows + i] = there ? taken(p, p.k, first + t, head, i) : 0.0f;
            }
            to[2 * kRows + lane] = first_column + lane < p.head_dim
                                       ? taken(p, p.v, first + t, head, first_column + lane)
                                       : 0.0f;
        }
        __syncthreads();
        for (int t = 0; t < count; ++t) {
            const float* const q = memory + t * kToken;
            const float* const k = q + kRows;
            const float v = q[2 * kRows + warp * 8 + lane % 8];
            float out[4] = {};
#pragma unroll
            for (int j = 0; j < kQuads; ++j) {
                const float4 q4 = reinterpret_cast<const float4*>(q)[j * kRowLanes + row_lane];
                const float4 k4 = reinterpret_cast<const float4*>(k)[j * kRowLanes + row_lane];
                const float qs[4] = {q4.x, q4.y, q4.z, q4.w};
                const float ks[4] = {k4.x, k4.y, k4.z, k4.w};
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    rows[j][i] = fmaf(ks[i], v, decay * rows[j][i]);
                    out[i] = fmaf(qs[i], rows[j][i], out[i]);
                }
            }
            float sum = (out[0] + out[1]) + (out[2] + out[3]);
            sum += __shfl_xor_sync(0xffffffffu, sum, 8);
            sum += __shfl_xor_sync(0xffffffffu, sum, 16);
            if (inside && row_lane == 0) {
                p.out[(first + t) * p.out_stride + std::int64_t{head} * p.head_dim + column] = sum;
            }
        }
    }
#pragma unroll
    for (int j = 0; j < kQuads; ++j) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int row = j * kQuadRows + 4 * row_lane + i;
            if (inside && row < p.head_dim) {
                state[std::int64_t{row} * p.head_dim] = rows[j][i];
            }
        }
    }
    if (p.tokens > 1) {
        return;
    }
    const int width = p.heads * p.head_dim / p.norm_groups;
    const bool of_heads = width % p.head_dim == 0; // whole ones
    const int group = of_heads ? head * p.head_dim / width : 0;
    const unsigned count = gridDim.x * (of_heads ? width / p.head_dim : p.heads);
    auto* const flag = reinterpret_cast<unsigned*>(memory);
    if (last_to_come(writers + group, count, flag)) {
        const int last = of_heads ? group + 1 : p.norm_groups;
        for (int g = group; g < last; ++g) {
            norm_group<kLightningThreads>(p, 0, g, memory);
        }
    }
}

// Over chunks of 32 tokens on the tensor cores, for heads of 128 channels. With d what a step keeps
// and S the state before the chunk:
//   out_i = d^(i+1) S^T q_i + sum over j <= i of d^(i-j) (q_i . k_j) v_j, times scale
//   S     = d^n S + sum_j d^(n-1-j) k_j v_j^T
// A warp has 16 value columns of the state, turned, as in mixers_chunks.cuh. No exponent is above
// zero. Grid (head_dim / 64, heads), kChunkThreads.
//   shared: p.stages times q, k (32, 132) and v (32, 68) in float32; q and k in two terms (32, 136)
//   each; their products in two terms (32, 40); powers of d (33). kLightningStage, kLightningRest.
__device__ void lightning_chunks(const LightningParams& p) {
    constexpr int kDim = kChunkDim;
    constexpr int kStride = kDim + 4;
    constexpr int kValueStride = kChunkColumns + 4;
    constexpr int kPlaneStride = kDim + 8;
    constexpr int kTermStride = kChunk + 8;
    constexpr int kPlane = kChunk * kPlaneStride;
    constexpr int kTiles = kChunk / 8;
    constexpr int kStateTiles = kDim / 8;
    const int thread = threadIdx.x;
    const int lane = thread % 32;
    const int warp = thread / 32;
    const int head = blockIdx.y;
    const int first_column = blockIdx.x * kChunkColumns;
    float* const floats = shared_floats();
    auto* const planes = reinterpret_cast<unsigned short*>(floats + p.stages * kLightningStage);
    unsigned short* const matrix = planes + 4 * kPlane;
    float* const powers = reinterpret_cast<float*>(matrix + 2 * kChunk * kTermStride);

    const auto ask_for = [&](int first, float* to) {
        const LightningRows rows[2] = {p.q, p.k};
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            for (int i = thread; i < kChunk * kDim / 4; i += kChunkThreads) {
                const int token = i / (kDim / 4);
                const int d = i % (kDim / 4) * 4;
                const bool there = first + token < p.tokens;
                copy_async_16(to + (r * kChunk + token) * kStride + d,
                              rows[r].data + (there ? first + token : 0) * rows[r].token_stride +
                                  head * rows[r].head_stride + d,
                              there);
            }
        }
        to += 2 * kChunk * kStride;
        for (int i = thread; i < kChunk * kChunkColumns / 4; i += kChunkThreads) {
            const int token = i / (kChunkColumns / 4);
            const int d = i % (kChunkColumns / 4) * 4;
            const bool there = first + token < p.tokens;
            copy_async_16(to + token * kValueStride + d,
                          p.v.data + (there ? first + token : 0) * p.v.token_stride +
                              head * p.v.head_stride + first_column + d,
                          there);
        }
        commit_copies();
    };
    ask_for(0, floats);

    const float rate = p.decay_rates[head] * kLog2E;
    if (thread <= kChunk) {
        powers[thread] = exp2f(-rate * thread);
    }
    const int own = warp * 16 + lane / 4;
    float* const state =
        p.state + std::int64_t{head} * kDim * kDim + first_column + own + 2 * (lane % 4) * kDim;
    float s[kStateTiles][4];
    load_state(s, state, kDim);

    const int plane_row = (lane % 8 + lane / 16 * 8) * kPlaneStride + lane / 8 % 2 * 8;
    const int turned_row = lane % 16 * kPlaneStride + lane / 16 * 8;
    const int matrix_row = (lane % 8 + lane / 16 * 8) * kTermStride + lane / 8 % 2 * 8;
    const unsigned short* const q_planes = planes;
    const unsigned short* const k_planes = planes + 2 * kPlane;
    int turn = 0;
    for (int first = 0; first < p.tokens; first += kChunk) {
        float* const stage = floats + turn * kLightningStage;
        const int count = min(kChunk, p.tokens - first);
        wait_for_copies<0>();
        __syncthreads();
        if (p.stages == 2) {
            turn ^= 1;
            if (first + kChunk < p.tokens) {
                ask_for(first + kChunk, floats + turn * kLightningStage);
            }
        }
        for (int i = thread; i < 2 * kChunk * kDim / 2; i += kChunkThreads) {
            const int row = i / (kDim / 2); // queries, then keys
            const int d = i % (kDim / 2) * 2;
            const float2 pair = *reinterpret_cast<const float2*>(stage + row * kStride + d);
            const float factor = row < kChunk ? p.scale : 1.0f;
            const float x = factor * (p.silu ? silu(pair.x) : pair.x);
            const float y = factor * (p.silu ? silu(pair.y) : pair.y);
            unsigned short* const to =
                planes + (row / kChunk * 2 * kChunk + row % kChunk) * kPlaneStride + d;
            store_pair_terms(x, y, to, to + kPlane);
        }
        __syncthreads();
        // Products of queries and keys on and below the diagonal: warp 0 has queries and keys 0 to
        // 15, warps 1 and 2 queries 16 to 31 with keys 0 to 15 and 16 to 31.
        if (warp < 3) {
            const int query = warp == 0 ? 0 : 16;
            const int key = warp == 2 ? 16 : 0;
            float products[2][4] = {};
            const unsigned short* const q_rows =
                q_planes + (query + lane % 16) * kPlaneStride + lane / 16 * 8;
            const unsigned short* const k_rows = k_planes + key * kPlaneStride + plane_row;
#pragma unroll
            for (int step = 0; step < kDim / 16; ++step) {
                Terms a;
                unsigned b[2][4];
                load_matrices(a.of[0], q_rows + 16 * step);
                load_matrices(a.of[1], q_rows + kPlane + 16 * step);
                load_matrices(b[0], k_rows + 16 * step);
                load_matrices(b[1], k_rows + kPlane + 16 * step);
                multiply_terms(products[0], products[1], a, b);
            }
#pragma unroll
            for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const int i = query + lane / 4 + 8 * half;
                    const int j = key + 8 * tile + 2 * (lane % 4);
                    const float x = j <= i ? products[tile][2 * half] * powers[i - j] : 0.0f;
                    const float y =
                        j + 1 <= i ? products[tile][2 * half + 1] * powers[i - j - 1] : 0.0f;
                    unsigned short* const to = matrix + i * kTermStride + j;
                    store_pair_terms(x, y, to, to + kChunk * kTermStride);
                }
            }
        }
        __syncthreads();

        // (columns, tokens): what queries read of the state, then of the chunk's values.
        float out[kTiles][4] = {};
        multiply_rows<false>(out, s, q_planes + plane_row, kPlaneStride, kPlane);
        float v[kTiles][4];
        const float* const values = stage + 2 * kChunk * kStride;
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int token = 8 * tile + 2 * (lane % 4) + i % 2;
                const float x = values[token * kValueStride + own + i / 2 * 8];
                v[tile][i] = p.silu ? silu(x) : x;
                out[tile][i] *= powers[token + 1];
            }
        }
        multiply_rows<true>(out, v, matrix + matrix_row, kTermStride, kChunk * kTermStride);
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int token = 8 * tile + 2 * (lane % 4) + i % 2;
                if (token < count) {
                    p.out[(first + token) * p.out_stride + std::int64_t{head} * kDim +
                          first_column + own + i / 2 * 8] = out[tile][i];
                }
                v[tile][i] *= token < count ? powers[count - 1 - token] : 0.0f;
            }
        }
        const float kept = powers[count];
#pragma unroll
        for (int tile = 0; tile < kStateTiles; ++tile) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                s[tile][i] *= kept;
            }
        }
        multiply_turned(s, v, k_planes + turned_row, kPlaneStride, kPlane);
        if (p.stages == 1 && first + kChunk < p.tokens) {
            __syncthreads();
            ask_for(first + kChunk, floats);
        }
    }
    store_state(s, state, kDim);
}

} // namespace
} // namespace hs::cuda

using namespace hs::cuda;

// The number is how many quads of key rows a lane holds: head_dim is at most 16 times as much.
#define HS_LIGHTNING(quads)                                                                        \
    extern "C" __global__ void __launch_bounds__(kLightningThreads)                                \
        hs_lightning_scan_##quads(const __grid_constant__ LightningParams p) {                     \
        lightning_scan<quads>(p);                                                                  \
    }
HS_LIGHTNING(2)
HS_LIGHTNING(4)
HS_LIGHTNING(8)
HS_LIGHTNING(16)
#undef HS_LIGHTNING

extern "C" __global__ void __launch_bounds__(kChunkThreads)
    hs_lightning_chunks(const __grid_constant__ LightningParams p) {
    lightning_chunks(p);
}
// Grid (norm_groups, tokens).
extern "C" __global__ void __launch_bounds__(kRowThreads)
    hs_lightning_finish(const __grid_constant__ LightningParams p) {
    norm_group<kRowThreads>(p, blockIdx.y, blockIdx.x, shared_floats());
}
