// Softmax attention of few rows over long caches (decode), and over latent rows, on the tensor
// cores. A block goes through one part of the keys with all rows of its tile; warps share the keys
// of a tile for the logits, and the value columns for what is read.
//
// Floor: the bytes of keys and values. Products are done twice, once per term, and still take less
// time than the bytes as long as a KV head has no more than some 32 rows.

#include "kernels/cuda/device/mixers_attention.cuh"

namespace hs::cuda {
namespace {

//   grid (row tiles, parts, kv_heads)
//   kTiles: of 16 rows; kKeys: of a tile of keys
//   shared: two stages of keys and values; queries (where they are held in registers, in the second
//   stage before that is used); weights; largest logits and what rows keep
template <class Cache, int kDim, int kValueDim, int kTiles, int kKeys>
__device__ void attend_few(const AttentionParams& p) {
    constexpr int kRows = 16 * kTiles;
    constexpr int kWarps = kFewThreads / 32;
    constexpr int kKeyWarps = kWarps / kTiles; // that share the keys of a tile
    constexpr int kWarpKeys = kKeys / kKeyWarps;
    constexpr int kKeyTiles = kWarpKeys / 8;
    constexpr int kSteps = kDim / 16;
    constexpr int kStride = kDim + 8; // 16-bit values; no two of eight rows share banks
    constexpr int kValueStride = kValueDim + 8;
    constexpr int kWeightStride = kKeys + 8;
    constexpr int kColumnTiles = kValueDim / 8 / kWarps;
    constexpr bool kHeld = kDim <= 256 && kTiles == 1; // queries in registers
    static_assert(kWarpKeys % 8 == 0 && kDim % 32 == 0 && kColumnTiles % 2 == 0);

    const int lane = threadIdx.x % 32;
    const int warp = threadIdx.x / 32;
    const int kv_head = blockIdx.z;
    const int part = blockIdx.y;
    const RowTile tile = row_tile(p, kRows);
    const KeyRange range = keys_of(p, tile, part);
    const bool in_keys = p.values == p.keys;

    auto* const memory = reinterpret_cast<unsigned short*>(mixer_shared);
    const int stage = kKeys * (kStride + (in_keys ? 0 : kValueStride));
    unsigned short* const queries = memory + (kHeld ? stage : 2 * stage);
    unsigned short* const weights = memory + 2 * stage + (kHeld ? 0 : 2 * kRows * kStride);
    float* const largest = reinterpret_cast<float*>(weights + 2 * kRows * kWeightStride);
    float* const keep = largest + kKeyWarps * kRows;

    const auto ask_for = [&](std::int64_t base, unsigned short* to) {
        copy_entries<kDim, kKeys>(p, tile, kv_head, p.keys, p.head_dim, base, range.end, kStride,
                                  to);
        if (!in_keys) {
            copy_entries<kValueDim, kKeys>(p, tile, kv_head, p.values, p.value_dim, base, range.end,
                                           kValueStride, to + kKeys * kStride);
        }
        commit_copies();
    };

    ask_for(range.begin, memory);
    load_queries<Cache, kDim>(p, tile, kv_head, kRows, kStride, queries);
    __syncthreads();
    // For the logits a warp has 16 rows and its keys.
    const int first_row = warp % kTiles * 16;
    const int first_key = warp / kTiles * kWarpKeys;
    const unsigned short* const query_rows =
        queries + (first_row + lane % 16) * kStride + lane / 16 * 8;
    unsigned held[kHeld ? kSteps : 1][2][4];
    if (kHeld) {
#pragma unroll
        for (int step = 0; step < kSteps; ++step) {
            load_matrices(held[kHeld ? step : 0][0], query_rows + 16 * step);
            load_matrices(held[kHeld ? step : 0][1], query_rows + kRows * kStride + 16 * step);
        }
    }

    const KeyRange seen_by[2] = {keys_seen(p, tile, first_row + lane / 4),
                                 keys_seen(p, tile, first_row + lane / 4 + 8)};
    float most[2] = {kNone, kNone}; // of rows lane / 4 and lane / 4 + 8
    float sum[2] = {0.0f, 0.0f};    // of this lane's keys
    float result[kTiles][kColumnTiles][4] = {};

    int turn = 0;
    for (std::int64_t base = range.begin; base < range.end; base += kKeys, turn ^= 1) {
        const unsigned short* const keys = memory + turn * stage;
        const unsigned short* const values = in_keys ? keys : keys + kKeys * kStride;
        const int value_stride = in_keys ? kStride : kValueStride;
        wait_for_copies<0>();
        __syncthreads(); // and everyone is done with the other stage
        if (base + kKeys < range.end) {
            ask_for(base + kKeys, memory + (turn ^ 1) * stage);
        }

        // Logits; four sums each, for products are slow to follow one another.
        float logits[kKeyTiles][4];
#pragma unroll
        for (int n = 0; n < kKeyTiles; ++n) {
            float sums[2][2][4] = {}; // of even and odd steps, by terms
            const unsigned short* const key_rows =
                keys + (first_key + 8 * n + lane % 8) * kStride + lane / 8 * 8;
#pragma unroll
            for (int step = 0; step < kSteps; step += 2) {
                unsigned k[4];
                load_matrices(k, key_rows + 16 * step);
#pragma unroll
                for (int odd = 0; odd < 2; ++odd) {
#pragma unroll
                    for (int term = 0; term < 2; ++term) {
                        if (kHeld) {
                            Cache::multiply(sums[odd][term], held[kHeld ? step + odd : 0][term],
                                            k[2 * odd], k[2 * odd + 1]);
                        } else {
                            unsigned q[4];
                            load_matrices(q,
                                          query_rows + term * kRows * kStride + 16 * (step + odd));
                            Cache::multiply(sums[odd][term], q, k[2 * odd], k[2 * odd + 1]);
                        }
                    }
                }
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const std::int64_t position = base + first_key + 8 * n + 2 * (lane % 4) + i % 2;
                bool seen = position >= seen_by[i / 2].begin && position < seen_by[i / 2].end &&
                            position < range.end;
                if (p.chosen != nullptr) {
                    seen = seen && slot_of(p, tile, position, range.end) >= 0;
                }
                logits[n][i] =
                    seen ? (sums[0][0][i] + sums[1][0][i]) + (sums[0][1][i] + sums[1][1][i])
                         : kNone;
            }
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float now = kNone;
#pragma unroll
            for (int n = 0; n < kKeyTiles; ++n) {
                now = fmaxf(now, fmaxf(logits[n][2 * half], logits[n][2 * half + 1]));
            }
            now = fmaxf(now, __shfl_xor_sync(0xffffffffu, now, 1));
            now = fmaxf(now, __shfl_xor_sync(0xffffffffu, now, 2));
            if (lane % 4 == 0) {
                largest[warp / kTiles * kRows + first_row + lane / 4 + 8 * half] = now;
            }
        }
        __syncthreads();
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = first_row + lane / 4 + 8 * half;
            float now = most[half];
#pragma unroll
            for (int w = 0; w < kKeyWarps; ++w) {
                now = fmaxf(now, largest[w * kRows + row]);
            }
            const float kept = exp2f(most[half] - now);
            most[half] = now;
            sum[half] *= kept;
            if (warp / kTiles == 0 && lane % 4 == 0) {
                keep[row] = kept;
            }
#pragma unroll
            for (int n = 0; n < kKeyTiles; ++n) {
                float w[2];
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const float logit = logits[n][2 * half + i];
                    w[i] = logit > kNone ? exp2f(logit - now + kHeadroom) : 0.0f;
                    sum[half] += w[i];
                }
                unsigned rest = 0;
                const unsigned word = Cache::split(w[0], w[1], rest);
                unsigned short* const to =
                    weights + row * kWeightStride + first_key + 8 * n + 2 * (lane % 4);
                *reinterpret_cast<unsigned*>(to) = word;
                *reinterpret_cast<unsigned*>(to + kRows * kWeightStride) = rest;
            }
        }
        __syncthreads();

        // What is read: a warp has all rows and its columns.
        const int first_column = warp * kColumnTiles * 8;
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
            const float kept[2] = {keep[16 * t + lane / 4], keep[16 * t + lane / 4 + 8]};
#pragma unroll
            for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    result[t][n][i] *= kept[i / 2];
                }
            }
        }
#pragma unroll
        for (int step = 0; step < kKeys / 16; ++step) {
            unsigned w[kTiles][2][4];
#pragma unroll
            for (int t = 0; t < kTiles; ++t) {
#pragma unroll
                for (int term = 0; term < 2; ++term) {
                    load_matrices(w[t][term],
                                  weights + (term * kRows + 16 * t + lane % 16) * kWeightStride +
                                      16 * step + lane / 16 * 8);
                }
            }
            const unsigned short* const value_rows =
                values + (16 * step + lane % 16) * value_stride + first_column + lane / 16 * 8;
#pragma unroll
            for (int n = 0; n < kColumnTiles; n += 2) {
                unsigned v[4];
                load_matrices_turned(v, value_rows + 8 * n);
#pragma unroll
                for (int t = 0; t < kTiles; ++t) {
#pragma unroll
                    for (int term = 0; term < 2; ++term) {
                        Cache::multiply(result[t][n], w[t][term], v[0], v[1]);
                        Cache::multiply(result[t][n + 1], w[t][term], v[2], v[3]);
                    }
                }
            }
        }
    }

    // Sums of the warps that shared the keys; `largest` and `keep` are free again.
    __syncthreads();
    float* const sums = largest;
    float* const mosts = keep;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 1);
        sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 2);
        const int row = first_row + lane / 4 + 8 * half;
        if (lane % 4 == 0) {
            sums[warp / kTiles * kRows + row] = sum[half];
            if (warp / kTiles == 0) {
                mosts[row] = most[half];
            }
        }
    }
    __syncthreads();
    const int first_column = warp * kColumnTiles * 8;
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = 16 * t + lane / 4 + 8 * half;
            if (row >= tile.count) {
                continue;
            }
            float total = 0.0f;
#pragma unroll
            for (int w = 0; w < kKeyWarps; ++w) {
                total += sums[w * kRows + row];
            }
            const RowEnd end = row_end(p, kv_head, tile.first + row, part, mosts[row] - kHeadroom,
                                       total, threadIdx.x % 4 == 0 && warp == 0);
#pragma unroll
            for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    const int column = first_column + 8 * n + 2 * (lane % 4) + i;
                    if (column < p.value_dim) {
                        end.to[column] = result[t][n][2 * half + i] * end.factor;
                    }
                }
            }
        }
    }
}

} // namespace
} // namespace hs::cuda

using namespace hs::cuda;

#define HS_ATTEND_FEW(name, cache, dim, value_dim, tiles, keys)                                    \
    extern "C" __global__ void __launch_bounds__(kFewThreads)                                      \
        hs_attend_few_##name(const __grid_constant__ AttentionParams p) {                          \
        attend_few<cache, dim, value_dim, tiles, keys>(p);                                         \
    }
#define HS_ATTEND_FEW_SIZES(name, cache)                                                           \
    HS_ATTEND_FEW(name##_64, cache, 64, 64, 1, 64)                                                 \
    HS_ATTEND_FEW(name##_128, cache, 128, 128, 1, 64)                                              \
    HS_ATTEND_FEW(name##_192, cache, 192, 128, 1, 32)                                              \
    HS_ATTEND_FEW(name##_256, cache, 256, 256, 1, 32)                                              \
    HS_ATTEND_FEW(name##_576, cache, 576, 512, 1, 32)                                              \
    HS_ATTEND_FEW(name##_576_2, cache, 576, 512, 2, 32)
HS_ATTEND_FEW_SIZES(f16, F16Cache)
HS_ATTEND_FEW_SIZES(bf16, BF16Cache)
