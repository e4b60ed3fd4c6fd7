// Softmax attention of many rows (prefill) on the tensor cores: a warp has 16 rows, all keys of a
// tile pass it, and weights go from the logits' registers straight into the next product.
//
// Floor: the products, done twice for their two terms.

#include "kernels/cuda/device/mixers_attention.cuh"

namespace hs::cuda {
namespace {

//   grid (row tiles, parts, kv_heads)
//   shared: queries of both terms; two stages of keys and values
template <class Cache, int kDim, int kValueDim, int kWarps, int kKeys>
__device__ void attend_many(const AttentionParams& p) {
    constexpr int kRows = 16 * kWarps;
    constexpr int kKeyTiles = kKeys / 8;
    constexpr int kColumnTiles = kValueDim / 8;
    constexpr int kStride = kDim + 8;
    constexpr int kValueStride = kValueDim + 8;
    constexpr int kStage = kKeys * (kStride + kValueStride);
    static_assert(kKeys % 16 == 0 && kDim % 16 == 0 && kColumnTiles % 2 == 0);

    const int lane = threadIdx.x % 32;
    const int warp = threadIdx.x / 32;
    const int kv_head = blockIdx.z;
    const int part = blockIdx.y;
    const RowTile tile = row_tile(p, kRows);
    const KeyRange range = keys_of(p, tile, part);

    auto* const queries = reinterpret_cast<unsigned short*>(mixer_shared);
    unsigned short* const memory = queries + 2 * kRows * kStride;
    const auto ask_for = [&](std::int64_t base, unsigned short* to) {
        copy_entries<kDim, kKeys>(p, tile, kv_head, p.keys, p.head_dim, base, range.end, kStride,
                                  to);
        copy_entries<kValueDim, kKeys>(p, tile, kv_head, p.values, p.value_dim, base, range.end,
                                       kValueStride, to + kKeys * kStride);
        commit_copies();
    };
    ask_for(range.begin, memory);
    load_queries<Cache, kDim>(p, tile, kv_head, kRows, kStride, queries);

    const int first_row = 16 * warp;
    const unsigned short* const query_rows =
        queries + (first_row + lane % 16) * kStride + lane / 16 * 8;
    const KeyRange seen_by[2] = {keys_seen(p, tile, first_row + lane / 4),
                                 keys_seen(p, tile, first_row + lane / 4 + 8)};
    // Of the warp's rows: keys before `all_to` and from `all_from` on are seen by every one.
    const bool whole = first_row + 16 <= tile.count;
    const std::int64_t all_to = whole ? keys_seen(p, tile, first_row).end : 0;
    const std::int64_t all_from = whole ? keys_seen(p, tile, first_row + 15).begin : 0;
    float most[2] = {kNone, kNone};
    float sum[2] = {0.0f, 0.0f};
    float result[kColumnTiles][4] = {};

    int turn = 0;
    for (std::int64_t base = range.begin; base < range.end; base += kKeys, turn ^= 1) {
        const unsigned short* const keys = memory + turn * kStage;
        const unsigned short* const values = keys + kKeys * kStride;
        wait_for_copies<0>();
        __syncthreads();
        if (base + kKeys < range.end) {
            ask_for(base + kKeys, memory + (turn ^ 1) * kStage);
        }

        float logits[kKeyTiles][4] = {};
        const unsigned short* const key_rows =
            keys + (lane % 8 + lane / 16 * 8) * kStride + lane / 8 % 2 * 8;
#pragma unroll
        for (int step = 0; step < kDim / 16; ++step) {
            unsigned q[2][4];
            load_matrices(q[0], query_rows + 16 * step);
            load_matrices(q[1], query_rows + kRows * kStride + 16 * step);
#pragma unroll
            for (int n = 0; n < kKeyTiles; n += 2) {
                unsigned k[4];
                load_matrices(k, key_rows + 8 * n * kStride + 16 * step);
#pragma unroll
                for (int term = 0; term < 2; ++term) {
                    Cache::multiply(logits[n], q[term], k[0], k[1]);
                    Cache::multiply(logits[n + 1], q[term], k[2], k[3]);
                }
            }
        }
        if (base < all_from || base + kKeys > min(all_to, range.end)) {
#pragma unroll
            for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const std::int64_t position = base + 8 * n + 2 * (lane % 4) + i % 2;
                    const KeyRange& seen = seen_by[i / 2];
                    if (position < seen.begin || position >= min(seen.end, range.end)) {
                        logits[n][i] = kNone;
                    }
                }
            }
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            float now = most[half];
#pragma unroll
            for (int n = 0; n < kKeyTiles; ++n) {
                now = fmaxf(now, fmaxf(logits[n][2 * half], logits[n][2 * half + 1]));
            }
            now = fmaxf(now, __shfl_xor_sync(0xffffffffu, now, 1));
            now = fmaxf(now, __shfl_xor_sync(0xffffffffu, now, 2));
            const float kept = exp2f(most[half] - now);
            most[half] = now;
            sum[half] *= kept;
            const float from = now - kHeadroom;
#pragma unroll
            for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
                for (int i = 2 * half; i < 2 * half + 2; ++i) {
                    logits[n][i] = logits[n][i] > kNone ? exp2f(logits[n][i] - from) : 0.0f;
                    sum[half] += logits[n][i];
                }
            }
#pragma unroll
            for (int n = 0; n < kColumnTiles; ++n) {
                result[n][2 * half] *= kept;
                result[n][2 * half + 1] *= kept;
            }
        }
        const unsigned short* const value_rows = values + lane % 16 * kValueStride + lane / 16 * 8;
#pragma unroll
        for (int step = 0; step < kKeys / 16; ++step) {
            unsigned w[2][4];
#pragma unroll
            for (int i = 0; i < 4; ++i) { // rows in halves, then keys
                const float* const pair = &logits[2 * step + i / 2][i % 2 * 2];
                w[0][i] = Cache::split(pair[0], pair[1], w[1][i]);
            }
#pragma unroll
            for (int n = 0; n < kColumnTiles; n += 2) {
                unsigned v[4];
                load_matrices_turned(v, value_rows + 16 * step * kValueStride + 8 * n);
#pragma unroll
                for (int term = 0; term < 2; ++term) {
                    Cache::multiply(result[n], w[term], v[0], v[1]);
                    Cache::multiply(result[n + 1], w[term], v[2], v[3]);
                }
            }
        }
    }

#pragma unroll
    for (int half = 0; half < 2; ++half) {
        sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 1);
        sum[half] += __shfl_xor_sync(0xffffffffu, sum[half], 2);
        const int row = first_row + lane / 4 + 8 * half;
        if (row >= tile.count) {
            continue;
        }
        const RowEnd end = row_end(p, kv_head, tile.first + row, part, most[half] - kHeadroom,
                                   sum[half], lane % 4 == 0);
#pragma unroll
        for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                const int column = 8 * n + 2 * (lane % 4) + i;
                if (column < p.value_dim) {
                    end.to[column] = result[n][2 * half + i] * end.factor;
                }
            }
        }
    }
}

} // namespace
} // namespace hs::cuda

using namespace hs::cuda;

#define HS_ATTEND_MANY(name, cache, dim, value_dim, warps, keys)                                   \
    extern "C" __global__ void __launch_bounds__(32 * warps)                                       \
        hs_attend_many_##name(const __grid_constant__ AttentionParams p) {                         \
        attend_many<cache, dim, value_dim, warps, keys>(p);                                        \
    }
#define HS_ATTEND_MANY_SIZES(name, cache)                                                          \
    HS_ATTEND_MANY(name##_64, cache, 64, 64, 4, 64)                                                \
    HS_ATTEND_MANY(name##_128, cache, 128, 128, 4, 32)                                             \
    HS_ATTEND_MANY(name##_192, cache, 192, 128, 4, 32)                                             \
    HS_ATTEND_MANY(name##_256, cache, 256, 256, 8, 32)
HS_ATTEND_MANY_SIZES(f16, F16Cache)
HS_ATTEND_MANY_SIZES(bf16, BF16Cache)
