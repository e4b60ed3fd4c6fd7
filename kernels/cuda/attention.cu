// Softmax attention over a cache, and writing into caches (softmax.md sections 1.1 and 1.2).

#include "kernels/cuda/device/mixers_attention.cuh"

namespace hs::cuda {
namespace {

template <class Cache>
__device__ void append_kv(const AppendKvParams& p) {
    const std::int64_t column = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
    const std::int64_t width = std::int64_t{p.heads} * p.dim;
    if (column >= width) {
        return;
    }
    const std::int64_t position = p.first_position + blockIdx.y;
    const std::int64_t slot = p.ring > 0 ? position % p.ring : position;
    const float x =
        p.rows[blockIdx.y * p.token_stride + column / p.dim * p.head_stride + column % p.dim];
    static_cast<typename Cache::Element*>(p.cache)[slot * width + column] = Cache::store(x);
}

// Rows over one part of the keys in float32: any dimensions, any format.
//   grid (row tiles, parts, kv_heads)
//   shared: queries (16, stride), keys (tile_keys, stride), values unless in the keys
//   (tile_keys, value_dim), weights (tile_keys, 16), what a row keeps (16)
template <class Cache>
__device__ void attend_plain(const AttentionParams& p) {
    using Element = typename Cache::Element;
    constexpr int kWarps = kAttendThreads / 32;
    const int lane = threadIdx.x % 32;
    const int warp = threadIdx.x / 32;
    const int part = blockIdx.y;
    const int kv_head = blockIdx.z;
    const RowTile tile = row_tile(p, kAttendRows);
    const bool in_keys = p.values == p.keys;

    // An odd number of quads: eight rows' quads lie in different banks.
    const int quads = (p.head_dim + 3) / 4;
    const int stride = 4 * (quads | 1);
    float* const queries = shared_floats();
    float* const keys = queries + kAttendRows * stride;
    float* const values = in_keys ? keys : keys + p.tile_keys * stride;
    const int value_stride = in_keys ? stride : p.value_dim;
    float* const weights = keys + p.tile_keys * stride + (in_keys ? 0 : p.tile_keys * p.value_dim);
    float* const keep = weights + p.tile_keys * kAttendRows;

    for (int r = warp; r < kAttendRows; r += kWarps) {
        const bool there = r < tile.count;
        const float* const from = query_of(p, kv_head, there ? tile.first + r : 0);
        for (int d = lane; d < stride; d += 32) {
            queries[r * stride + d] = there && d < p.head_dim ? from[d] * p.scale : 0.0f;
        }
    }
    // Of the two rows of this warp.
    const KeyRange seen_by[2] = {keys_seen(p, tile, 2 * warp), keys_seen(p, tile, 2 * warp + 1)};
    float most[2] = {kNone, kNone};
    float sum[2] = {0.0f, 0.0f};
    const KeyRange range = keys_of(p, tile, part);

    // Four rows and up to eight columns of the result per thread.
    constexpr int kColumns = kMostValueDim / 64;
    const int first_row = threadIdx.x / 64 * 4;
    const int column = threadIdx.x % 64;
    float result[4][kColumns] = {};

    for (std::int64_t base = range.begin; base < range.end; base += p.tile_keys) {
        __syncthreads();
        for (int key = warp; key < p.tile_keys; key += kWarps) {
            const std::int64_t slot = slot_of(p, tile, base + key, range.end);
            const bool there = slot >= 0;
            const std::int64_t entry = there ? slot * p.kv_heads + kv_head : 0;
            const Element* const k = static_cast<const Element*>(p.keys) + entry * p.head_dim;
            for (int d = lane; d < stride; d += 32) {
                keys[key * stride + d] = there && d < p.head_dim ? Cache::load(k + d) : 0.0f;
            }
            if (!in_keys) {
                const Element* const v =
                    static_cast<const Element*>(p.values) + entry * p.value_stride;
                for (int d = lane; d < p.value_dim; d += 32) {
                    values[key * p.value_dim + d] = there ? Cache::load(v + d) : 0.0f;
                }
            }
        }
        __syncthreads();
        {
            const int key = lane;
            const bool in_tile = key < p.tile_keys;
            float4 dot[2] = {};
            if (in_tile) {
                const float4* const k = reinterpret_cast<const float4*>(keys + key * stride);
                const float4* const q0 =
                    reinterpret_cast<const float4*>(queries + 2 * warp * stride);
                const float4* const q1 =
                    reinterpret_cast<const float4*>(queries + (2 * warp + 1) * stride);
                for (int d = 0; d < quads; ++d) {
                    const float4 x = k[d];
                    multiply_add(dot[0], x, q0[d]);
                    multiply_add(dot[1], x, q1[d]);
                }
            }
            const std::int64_t position = base + key;
            const bool there = in_tile && slot_of(p, tile, position, range.end) >= 0;
            for (int i = 0; i < 2; ++i) {
                const bool seen =
                    there && position >= seen_by[i].begin && position < seen_by[i].end;
                const float logit = seen ? sum_of(dot[i]) : kNone;
                const float now = fmaxf(most[i], warp_max(logit));
                const float weight = seen ? exp2f(logit - now) : 0.0f;
                const float kept = exp2f(most[i] - now);
                sum[i] = sum[i] * kept + warp_sum(weight);
                most[i] = now;
                if (in_tile) {
                    weights[key * kAttendRows + 2 * warp + i] = weight;
                }
                if (lane == 0) {
                    keep[2 * warp + i] = kept;
                }
            }
        }
        __syncthreads();
        for (int i = 0; i < 4; ++i) {
            const float kept = keep[first_row + i];
#pragma unroll
            for (int c = 0; c < kColumns; ++c) {
                result[i][c] *= kept;
            }
        }
        for (int key = 0; key < p.tile_keys; ++key) {
            const float4 w =
                *reinterpret_cast<const float4*>(weights + key * kAttendRows + first_row);
#pragma unroll
            for (int c = 0; c < kColumns; ++c) {
                if (column + 64 * c < p.value_dim) {
                    const float v = values[key * value_stride + column + 64 * c];
                    result[0][c] = fmaf(w.x, v, result[0][c]);
                    result[1][c] = fmaf(w.y, v, result[1][c]);
                    result[2][c] = fmaf(w.z, v, result[2][c]);
                    result[3][c] = fmaf(w.w, v, result[3][c]);
                }
            }
        }
    }

    __syncthreads();
    float* const largest = weights;
    float* const sums = weights + kAttendRows;
    if (lane == 0) {
        for (int i = 0; i < 2; ++i) {
            largest[2 * warp + i] = most[i];
            sums[2 * warp + i] = sum[i];
        }
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const int r = first_row + i;
        if (r >= tile.count) {
            continue;
        }
        const RowEnd end =
            row_end(p, kv_head, tile.first + r, part, largest[r], sums[r], column == 0);
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
            if (column + 64 * c < p.value_dim) {
                end.to[column + 64 * c] = result[i][c] * end.factor;
            }
        }
    }
}

// Joins the parts of one row and adds the sink. Grid (query_heads, tokens, columns / 64).
//   shared: factors of the parts
__device__ void attend_merge(const AttentionParams& p) {
    constexpr int kColumns = 64;
    constexpr int kGroups = kMergeThreads / kColumns; // of parts
    constexpr int kWarps = kMergeThreads / 32;
    float* const factors = shared_floats();
    float* const of_warps = factors + p.parts;
    float* const sums = of_warps + 2 * kWarps;
    const int thread = threadIdx.x;
    const int head = blockIdx.x;
    const std::int64_t token = blockIdx.y;
    const std::int64_t group = p.query_heads / p.kv_heads;
    const std::int64_t row =
        head / group * p.tokens * group + token * group + head % group; // of all KV heads
    const std::int64_t width = p.value_dim + 2;
    const float* const parts = p.partial + row * p.parts * width;
    const float sink = p.sinks != nullptr ? p.sinks[head] * kLog2E : kNone;

    float most = sink;
    for (int i = thread; i < p.parts; i += kMergeThreads) {
        most = fmaxf(most, parts[i * width]);
    }
    most = warp_max(most);
    if (thread % 32 == 0) {
        of_warps[thread / 32] = most;
    }
    __syncthreads();
    for (int i = 0; i < kWarps; ++i) {
        most = fmaxf(most, of_warps[i]);
    }
    float total = 0.0f;
    for (int i = thread; i < p.parts; i += kMergeThreads) {
        const float factor = exp2f(parts[i * width] - most);
        factors[i] = factor;
        total = fmaf(parts[i * width + 1], factor, total);
    }
    total = warp_sum(total);
    if (thread % 32 == 0) {
        of_warps[kWarps + thread / 32] = total;
    }
    __syncthreads();
    total = p.sinks != nullptr ? exp2f(sink - most) : 0.0f;
    for (int i = 0; i < kWarps; ++i) {
        total += of_warps[kWarps + i];
    }
    const int d = blockIdx.z * kColumns + thread % kColumns;
    float sum = 0.0f;
    if (d < p.value_dim) {
#pragma unroll 8
        for (int i = thread / kColumns; i < p.parts; i += kGroups) {
            sum = fmaf(parts[i * width + 2 + d], factors[i], sum);
        }
    }
    sums[thread] = sum;
    __syncthreads();
    if (thread < kColumns && d < p.value_dim) {
        for (int i = 1; i < kGroups; ++i) {
            sum += sums[i * kColumns + thread];
        }
        p.out[token * p.out_token_stride + head * p.out_head_stride + d] = sum / total;
    }
}

} // namespace
} // namespace hs::cuda

using namespace hs::cuda;

extern "C" __global__ void __launch_bounds__(256)
    hs_append_kv(const __grid_constant__ AppendKvParams p) {
    switch (p.format) {
    case CacheFormat::F32:
        append_kv<F32Cache>(p);
        break;
    case CacheFormat::F16:
        append_kv<F16Cache>(p);
        break;
    case CacheFormat::BF16:
        append_kv<BF16Cache>(p);
        break;
    }
}

extern "C" __global__ void __launch_bounds__(kAttendThreads)
    hs_attend_plain_f32(const __grid_constant__ AttentionParams p) {
    attend_plain<F32Cache>(p);
}
extern "C" __global__ void __launch_bounds__(kAttendThreads)
    hs_attend_plain_f16(const __grid_constant__ AttentionParams p) {
    attend_plain<F16Cache>(p);
}
extern "C" __global__ void __launch_bounds__(kAttendThreads)
    hs_attend_plain_bf16(const __grid_constant__ AttentionParams p) {
    attend_plain<BF16Cache>(p);
}
extern "C" __global__ void __launch_bounds__(kMergeThreads)
    hs_attend_merge(const __grid_constant__ AttentionParams p) {
    attend_merge(p);
}
