#pragma once
// The delta rule over chunks of 32 tokens (delta.md sections 4.3 and 5.3), for key heads of 128
// channels. With G the sum of log decays since the chunk's begin and S the state before it:
//   A_ij = beta_i sum_d k_id k_jd exp(G_id - G_jd), j < i;   T = (I + A)^-1
//   P_ij =        sum_d q_id k_jd exp(G_id - G_jd), j <= i
//   V' = T beta (V - (K exp G) S);   O = (Q exp G) S + P V'
//   S  = exp(G_end) S + (K exp(G_end - G))^T V'
// All but S is made for all chunks at once, A and P in float32 and from differences of G, which
// no exponent above zero comes of. Then a warp takes S over the chunks for 16 value columns: S lies
// turned in its registers, (columns, channels), and is both what products add to and what the next
// take as their first factor, so that warps need nothing of each other. Factors are split into two
// bf16 terms and three of four products done: 16 bits take part.

#include "kernels/cuda/device/mixers_delta.cuh"
#include "kernels/cuda/device/mixers_terms.cuh"

namespace hs::cuda {

constexpr int kChunkStride = kChunkDim + 4;     // floats
constexpr int kMatrixStride = kChunk + 4;       // floats
constexpr int kPlaneStride = kChunkDim + 8;     // 16-bit values in shared memory
constexpr int kTermStride = kChunk + 8;         // 16-bit values
constexpr int kValueStride = kChunkColumns + 4; // floats
constexpr int kPlane = kChunk * kChunkDim;
constexpr int kMatrix = kChunk * kChunk;
// Of a chunk's factors: exp G_i; exp(G_end - G_i); beta_i; exp G_end, one or one per channel.
constexpr int kFadedAt = 0;
constexpr int kFadesAt = kChunk;
constexpr int kBetaAt = 2 * kChunk;
constexpr int kEndAt = 3 * kChunk;

__device__ inline unsigned short* chunk_planes(const DeltaParams& p, int chunk, int head,
                                               int count) {
    return p.planes + (std::int64_t{chunk} * p.key_heads + head) * count * kPlane;
}
__device__ inline unsigned short* chunk_matrices(const DeltaParams& p, int chunk, int head) {
    return p.matrices + (std::int64_t{chunk} * p.value_heads + head) * 4 * kMatrix;
}
__device__ inline float* chunk_factors(const DeltaParams& p, int chunk, int head) {
    return p.factors + (std::int64_t{chunk} * p.value_heads + head) * kChunkFactors;
}

// Everything of a chunk that does not need the state. Grid (chunks, key_heads), kRowThreads.
//   shared: q and k (32, 132), with kChannels the sums of logarithms; K K^T and Q K^T (32, 36);
//   for each warp that has a value head, A (32, 36). chunk_prepare_floats().
template <bool kChannels>
__device__ void delta_chunk_prepare(const DeltaParams& p) {
    constexpr int kWarps = kRowThreads / 32;
    constexpr int kPlanes = kChannels ? kKdaPlanes : kDeltaPlanes;
    constexpr int kEach = kChunkDim / 32;
    const int thread = threadIdx.x;
    const int lane = thread % 32;
    const int warp = thread / 32;
    const int chunk = blockIdx.x;
    const int key_head = blockIdx.y;
    const int first = (p.first_chunk + chunk) * kChunk;
    const int sharing = p.value_heads / p.key_heads;
    const auto value_head = [&](int i) {
        return p.tiled_heads ? i * p.key_heads + key_head : key_head * sharing + i;
    };
    float* const q = shared_floats();
    float* const k = q + kChunk * kChunkStride;
    float* const logs = k + kChunk * kChunkStride; // with kChannels
    float* const kk = logs + (kChannels ? kChunk * kChunkStride : 0);
    float* const qk = kk + kChunk * kMatrixStride;
    float* const a = qk + kChunk * kMatrixStride + warp * kChunk * kMatrixStride;

    for (int i = warp; i < kChunk; i += kWarps) {
        const int token = first + i;
        const bool there = token < p.tokens;
        for (int part = 0; part < 2; ++part) {
            const ConvHead at = conv_head(p, part, key_head);
            float x[kEach];
            float squares = 0.0f;
#pragma unroll
            for (int j = 0; j < kEach; ++j) {
                x[j] = there ? convolved(p, at, lane + 32 * j, token) : 0.0f;
                squares = fmaf(x[j], x[j], squares);
            }
            float factor = 1.0f / sqrtf(warp_sum(squares) + 1e-6f);
            if (part == 0) {
                factor /= sqrtf(static_cast<float>(kChunkDim));
            }
#pragma unroll
            for (int j = 0; j < kEach; ++j) {
                (part == 0 ? q : k)[i * kChunkStride + lane + 32 * j] = x[j] * factor;
            }
        }
        for (int v = 0; v < sharing; ++v) {
            const int head = value_head(v);
            const ConvHead at = conv_head(p, 2, head);
            float* const to = p.values +
                              (std::int64_t{chunk} * kChunk + i) * p.value_heads * p.value_dim +
                              std::int64_t{head} * p.value_dim;
            for (int d = lane; d < p.value_dim; d += 32) {
                to[d] = there ? convolved(p, at, d, token) : 0.0f;
            }
        }
        if (kChannels) {
            float sum = 0.0f;
            for (int d = lane; d < kChunkDim; d += 32) {
                const float log = there ? log_kept<kChannels>(p, token, key_head, d) : 0.0f;
                sum += expf(log);
                logs[i * kChunkStride + d] = log * kLog2E;
            }
            sum = warp_sum(sum);
            if (there && p.decay_out != nullptr && lane == 0) {
                p.decay_out[std::int64_t{token} * p.value_heads + key_head] =
                    fminf(1.0f, sum / kChunkDim);
            }
        }
    }
    __syncthreads();

    if (kChannels) {
        if (thread < kChunkDim) {
            float sum = 0.0f;
            for (int i = 0; i < kChunk; ++i) {
                sum += logs[i * kChunkStride + thread];
                logs[i * kChunkStride + thread] = sum;
            }
        }
        __syncthreads();
        for (int i = 0; i < kChunk; ++i) {
            float4 row[3];
            const float* const rows[3] = {k, q, logs};
#pragma unroll
            for (int r = 0; r < 3; ++r) {
                row[r] = reinterpret_cast<const float4*>(rows[r] + i * kChunkStride)[lane];
            }
            for (int j = warp; j <= i; j += kWarps) {
                const float4 key = reinterpret_cast<const float4*>(k + j * kChunkStride)[lane];
                const float4 log = reinterpret_cast<const float4*>(logs + j * kChunkStride)[lane];
                const float4 faded =
                    make_float4(key.x * exp2f(row[2].x - log.x), key.y * exp2f(row[2].y - log.y),
                                key.z * exp2f(row[2].z - log.z), key.w * exp2f(row[2].w - log.w));
                const float by_key = warp_sum(sum_of(row[0] * faded));
                const float by_query = warp_sum(sum_of(row[1] * faded));
                if (lane == 0) {
                    kk[i * kMatrixStride + j] = by_key;
                    qk[i * kMatrixStride + j] = by_query;
                }
            }
        }
    } else {
        // Thread: row i, every eighth column.
        const int i = thread / 8;
        const int j = thread % 8;
        float4 by_key[4] = {};
        float4 by_query[4] = {};
        for (int d = 0; d < kChunkDim; d += 4) {
            const float4 key = *reinterpret_cast<const float4*>(k + i * kChunkStride + d);
            const float4 query = *reinterpret_cast<const float4*>(q + i * kChunkStride + d);
#pragma unroll
            for (int m = 0; m < 4; ++m) {
                const float4 other =
                    *reinterpret_cast<const float4*>(k + (j + 8 * m) * kChunkStride + d);
                multiply_add(by_key[m], key, other);
                multiply_add(by_query[m], query, other);
            }
        }
#pragma unroll
        for (int m = 0; m < 4; ++m) {
            kk[i * kMatrixStride + j + 8 * m] = sum_of(by_key[m]);
            qk[i * kMatrixStride + j + 8 * m] = sum_of(by_query[m]);
        }
    }
    __syncthreads();

    unsigned short* const planes = chunk_planes(p, chunk, key_head, kPlanes);
    for (int i = thread; i < kPlane / 2; i += kRowThreads) {
        const int row = i / (kChunkDim / 2);
        const int d = i % (kChunkDim / 2) * 2;
        const float2 query = *reinterpret_cast<const float2*>(q + row * kChunkStride + d);
        const float2 key = *reinterpret_cast<const float2*>(k + row * kChunkStride + d);
        unsigned short* const to = planes + 2 * i;
        if (kChannels) {
            const float2 log = *reinterpret_cast<const float2*>(logs + row * kChunkStride + d);
            const float2 end =
                *reinterpret_cast<const float2*>(logs + (kChunk - 1) * kChunkStride + d);
            const float2 faded = make_float2(exp2f(log.x), exp2f(log.y));
            store_pair_terms(query.x * faded.x, query.y * faded.y, to, to + kPlane);
            store_pair_terms(key.x * faded.x, key.y * faded.y, to + 2 * kPlane, to + 3 * kPlane);
            store_pair_terms(key.x * exp2f(end.x - log.x), key.y * exp2f(end.y - log.y),
                             to + 4 * kPlane, to + 5 * kPlane);
        } else {
            store_pair_terms(query.x, query.y, to, to + kPlane);
            store_pair_terms(key.x, key.y, to + 2 * kPlane, to + 3 * kPlane);
        }
    }

    // One warp per value head.
    for (int v = warp; v < sharing; v += kWarps) {
        const int head = value_head(v);
        const int token = first + lane;
        const bool there = token < p.tokens;
        const float beta = there ? write_strength(p, token, head) : 0.0f;
        float sum = 0.0f; // G, in powers of two
        if (!kChannels) {
            const float log = there ? log_kept<kChannels>(p, token, head, 0) : 0.0f;
            if (there && p.decay_out != nullptr) {
                p.decay_out[std::int64_t{token} * p.value_heads + head] = expf(log);
            }
            sum = log * kLog2E;
            for (int step = 1; step < 32; step *= 2) {
                const float other = __shfl_up_sync(0xffffffffu, sum, step);
                sum += lane >= step ? other : 0.0f;
            }
        }
        if (there && p.beta_out != nullptr) {
            p.beta_out[std::int64_t{token} * p.value_heads + head] = beta;
        }
        float* const factors = chunk_factors(p, chunk, head);
        factors[kBetaAt + lane] = beta;
        if (kChannels) {
            for (int d = lane; d < kChunkDim; d += 32) {
                factors[kEndAt + d] = exp2f(logs[(kChunk - 1) * kChunkStride + d]);
            }
        } else {
            const float end = __shfl_sync(0xffffffffu, sum, 31);
            factors[kFadedAt + lane] = exp2f(sum);
            factors[kFadesAt + lane] = exp2f(end - sum);
            if (lane == 0) {
                factors[kEndAt] = exp2f(end);
            }
        }
        unsigned short* const t_terms = chunk_matrices(p, chunk, head);
        unsigned short* const p_terms = t_terms + 2 * kMatrix;
        for (int i = 0; i < kChunk; ++i) { // lane: column j
            const float log = __shfl_sync(0xffffffffu, sum, i) - sum;
            const float fade = lane <= i ? exp2f(log) : 0.0f;
            const float beta_i = __shfl_sync(0xffffffffu, beta, i);
            const float by_key = lane < i ? kk[i * kMatrixStride + lane] : 0.0f;
            const float by_query = lane <= i ? qk[i * kMatrixStride + lane] : 0.0f;
            a[i * kMatrixStride + lane] = beta_i * by_key * fade;
            store_terms(by_query * fade, p_terms + i * kChunk + lane,
                        p_terms + kMatrix + i * kChunk + lane);
        }
        __syncwarp();
        float t[kChunk]; // a column of T
#pragma unroll
        for (int i = 0; i < kChunk; ++i) {
            float held = i == lane ? 1.0f : 0.0f;
#pragma unroll
            for (int j = 0; j < i; ++j) {
                held = fmaf(-a[i * kMatrixStride + j], t[j], held);
            }
            t[i] = held;
            store_terms(held, t_terms + i * kChunk + lane, t_terms + kMatrix + i * kChunk + lane);
        }
        __syncwarp();
    }
}

// The state over all chunks. Grid (value_dim / 64, value_heads), kChunkThreads.
//   shared: p.stages times planes (32, 136) and matrices (32, 40) of 16-bit values, values (32, 68)
//   and factors in float32; kStageHalves.
template <bool kChannels>
__device__ void delta_chunks(const DeltaParams& p) {
    constexpr int kPlanes = kChannels ? kKdaPlanes : kDeltaPlanes;
    constexpr int kTiles = kChunk / 8;         // of tokens
    constexpr int kStateTiles = kChunkDim / 8; // of channels
    const int thread = threadIdx.x;
    const int lane = thread % 32;
    const int warp = thread / 32;
    const int head = blockIdx.y;
    const int key_head = key_head_of(p, head);
    const int first_column = blockIdx.x * kChunkColumns;
    const std::int64_t width = std::int64_t{p.value_heads} * p.value_dim;
    auto* const memory = reinterpret_cast<unsigned short*>(mixer_shared);
    constexpr int kStage = static_cast<int>(kStageHalves<kChannels>);

    const auto ask_for = [&](int chunk, unsigned short* to) {
        const unsigned short* const planes = chunk_planes(p, chunk, key_head, kPlanes);
        for (int i = thread; i < kPlanes * kPlane / 8; i += kChunkThreads) {
            const int row = i / (kChunkDim / 8); // of all planes
            copy_async_16(to + row * kPlaneStride + i % (kChunkDim / 8) * 8, planes + 8 * i, true);
        }
        to += kPlanes * kChunk * kPlaneStride;
        const unsigned short* const matrices = chunk_matrices(p, chunk, head);
        for (int i = thread; i < 4 * kMatrix / 8; i += kChunkThreads) {
            const int row = i / (kChunk / 8);
            copy_async_16(to + row * kTermStride + i % (kChunk / 8) * 8, matrices + 8 * i, true);
        }
        to += 4 * kChunk * kTermStride;
        const float* const values = p.values + std::int64_t{chunk} * kChunk * width +
                                    std::int64_t{head} * p.value_dim + first_column;
        float* const floats = reinterpret_cast<float*>(to);
        for (int i = thread; i < kChunk * kChunkColumns / 4; i += kChunkThreads) {
            const int row = i / (kChunkColumns / 4);
            const int column = i % (kChunkColumns / 4) * 4;
            copy_async_16(floats + row * kValueStride + column, values + row * width + column,
                          true);
        }
        const float* const factors = chunk_factors(p, chunk, head);
        for (int i = thread; i < kChunkFactors / 4; i += kChunkThreads) {
            copy_async_16(floats + kChunk * kValueStride + 4 * i, factors + 4 * i, true);
        }
        commit_copies();
    };

    // (columns, channels): a lane has columns lane / 4 and lane / 4 + 8 of the warp's 16.
    const int own = warp * 16 + lane / 4;
    float* const state = p.state + std::int64_t{head} * kChunkDim * p.value_dim + first_column +
                         own + 2 * (lane % 4) * p.value_dim;
    float s[kStateTiles][4];
    load_state(s, state, p.value_dim);

    const int plane_row = (lane % 8 + lane / 16 * 8) * kPlaneStride + lane / 8 % 2 * 8;
    const int turned_row = lane % 16 * kPlaneStride + lane / 16 * 8;
    const int matrix_row = (lane % 8 + lane / 16 * 8) * kTermStride + lane / 8 % 2 * 8;
    ask_for(0, memory);
    for (int chunk = 0; chunk < p.chunks; ++chunk) {
        const int turn = p.stages == 2 ? chunk % 2 : 0;
        const unsigned short* const planes = memory + turn * kStage;
        wait_for_copies<0>();
        __syncthreads();
        if (p.stages == 2 && chunk + 1 < p.chunks) {
            ask_for(chunk + 1, memory + (turn ^ 1) * kStage);
        }
        constexpr int kShared = kChunk * kPlaneStride; // of a plane
        const unsigned short* const q_rows = planes + plane_row;
        const unsigned short* const k_rows = q_rows + 2 * kShared;
        const unsigned short* const late_rows = // what V' is written with
            planes + (kChannels ? 4 : 2) * kShared + turned_row;
        const unsigned short* const t_rows = planes + kPlanes * kShared + matrix_row;
        const unsigned short* const p_rows = t_rows + 2 * kChunk * kTermStride;
        const float* const values =
            reinterpret_cast<const float*>(planes + kPlanes * kShared + 4 * kChunk * kTermStride);
        const float* const factors = values + kChunk * kValueStride;

        // (columns, tokens): what keys and queries read of the state.
        float by_key[kTiles][4] = {};
        float by_query[kTiles][4] = {};
#pragma unroll
        for (int step = 0; step < kStateTiles / 2; ++step) {
            Terms of_state;
            of_state.take(s[2 * step], s[2 * step + 1]);
#pragma unroll
            for (int tile = 0; tile < kTiles; tile += 2) {
                unsigned b[2][4];
                const int at = 8 * tile * kPlaneStride + 16 * step;
                load_matrices(b[0], k_rows + at);
                load_matrices(b[1], k_rows + kShared + at);
                multiply_terms(by_key[tile], by_key[tile + 1], of_state, b);
                load_matrices(b[0], q_rows + at);
                load_matrices(b[1], q_rows + kShared + at);
                multiply_terms(by_query[tile], by_query[tile + 1], of_state, b);
            }
        }
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int token = 8 * tile + 2 * (lane % 4) + i % 2;
                const float faded = kChannels ? 1.0f : factors[kFadedAt + token];
                const float v = values[token * kValueStride + own + i / 2 * 8];
                by_key[tile][i] = factors[kBetaAt + token] * (v - faded * by_key[tile][i]);
                by_query[tile][i] *= faded;
            }
        }
        // V', then what it adds to the output; nothing above the diagonal.
        float written[kTiles][4] = {};
        multiply_rows<true>(written, by_key, t_rows, kTermStride, kChunk * kTermStride);
        multiply_rows<true>(by_query, written, p_rows, kTermStride, kChunk * kTermStride);
        const int first_token = (p.first_chunk + chunk) * kChunk;
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int token = 8 * tile + 2 * (lane % 4) + i % 2;
                if (first_token + token < p.tokens) {
                    p.out[(first_token + token) * p.out_stride + std::int64_t{head} * p.value_dim +
                          first_column + own + i / 2 * 8] = by_query[tile][i];
                }
                if (!kChannels) {
                    written[tile][i] *= factors[kFadesAt + token];
                }
            }
        }
        // The state.
#pragma unroll
        for (int tile = 0; tile < kStateTiles; ++tile) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                s[tile][i] *= factors[kEndAt + (kChannels ? 8 * tile + 2 * (lane % 4) + i % 2 : 0)];
            }
        }
        multiply_turned(s, written, late_rows, kPlaneStride, kShared);
        if (p.stages == 1 && chunk + 1 < p.chunks) {
            __syncthreads();
            ask_for(chunk + 1, memory);
        }
    }
    store_state(s, state, p.value_dim);
}

} // namespace hs::cuda

// The kernels of one of the two. The number is how many quads of key rows a lane holds: key_dim is
// at most 16 times as much.
#define HS_DELTA_QUADS(name, quads, channels)                                                      \
    extern "C" __global__ void __launch_bounds__(kStepThreads)                                     \
        hs_##name##_step_##quads(const __grid_constant__ DeltaParams p) {                          \
        delta_step<quads, channels>(p, readers, writers);                                          \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(kDeltaThreads)                                    \
        hs_##name##_scan_##quads(const __grid_constant__ DeltaParams p) {                          \
        delta_scan<quads, channels>(p);                                                            \
    }
#define HS_DELTA_ROWS(name, part, threads, channels)                                               \
    extern "C" __global__ void __launch_bounds__(threads)                                          \
        hs_##name##_##part(const __grid_constant__ DeltaParams p) {                                \
        delta_##part<channels>(p);                                                                 \
    }
#define HS_DELTA_KERNELS(name, channels)                                                           \
    namespace {                                                                                    \
    __device__ unsigned readers[kMostDeltaHeads];                                                  \
    __device__ unsigned writers[kMostDeltaHeads];                                                  \
    }                                                                                              \
    HS_DELTA_QUADS(name, 2, channels)                                                              \
    HS_DELTA_QUADS(name, 4, channels)                                                              \
    HS_DELTA_QUADS(name, 8, channels)                                                              \
    HS_DELTA_QUADS(name, 16, channels)                                                             \
    HS_DELTA_ROWS(name, prepare, kRowThreads, channels)                                            \
    HS_DELTA_ROWS(name, finish, kRowThreads, channels)                                             \
    HS_DELTA_ROWS(name, chunk_prepare, kRowThreads, channels)                                      \
    HS_DELTA_ROWS(name, chunks, kChunkThreads, channels)
