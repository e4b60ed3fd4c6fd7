#pragma once
// What the ways of reading a softmax cache share: which rows a block has, which keys they see, and
// where their results go. Logits are in powers of two.

#include "kernels/cuda/device/mixers_common.cuh"

namespace hs::cuda {

constexpr float kNone = -1e30f; // the largest of no logits

// Divisions of 64 bits take long, and rows are few.
__device__ inline unsigned group_of(const AttentionParams& p) {
    return static_cast<unsigned>(p.query_heads) / static_cast<unsigned>(p.kv_heads);
}

// The rows of one block: some heads of a KV head's group, of one token or of several.
struct RowTile {
    unsigned first; // row of the KV head
    int count;
    unsigned first_token, last_token;
};
__device__ inline RowTile row_tile(const AttentionParams& p, unsigned rows) {
    const unsigned group = group_of(p);
    RowTile tile;
    if (p.chosen != nullptr) { // each token has keys of its own
        const unsigned tiles = (group + rows - 1) / rows;
        const unsigned head = blockIdx.x % tiles * rows;
        tile.first_token = tile.last_token = blockIdx.x / tiles;
        tile.first = tile.first_token * group + head;
        tile.count = static_cast<int>(min(rows, group - head));
    } else {
        // The last rows first: they see the most keys.
        tile.first = (gridDim.x - 1 - blockIdx.x) * rows;
        tile.count = static_cast<int>(min(rows, p.tokens * group - tile.first));
        tile.first_token = tile.first / group;
        tile.last_token = (tile.first + tile.count - 1) / group;
    }
    return tile;
}

struct KeyRange {
    std::int64_t begin, end;
};
// What a part of the keys has for a block. Of chosen positions, numbers in their list.
__device__ inline KeyRange keys_of(const AttentionParams& p, const RowTile& tile, int part) {
    KeyRange keys;
    keys.begin = p.first_key + part * p.part_keys;
    keys.end = keys.begin + p.part_keys;
    if (p.chosen != nullptr) {
        keys.end = min(keys.end, p.chosen_most);
    } else {
        const std::int64_t before = p.length - p.tokens + 1;
        keys.end = min(keys.end, before + tile.last_token);
        if (p.window > 0) {
            keys.begin = max(keys.begin, before + tile.first_token - p.window);
        }
    }
    return keys;
}
// What a row sees; nothing where the tile has no such row.
__device__ inline KeyRange keys_seen(const AttentionParams& p, const RowTile& tile, int row) {
    if (row >= tile.count) {
        return {0, 0};
    }
    if (p.chosen != nullptr) {
        return {0, p.chosen_most};
    }
    const std::int64_t end = p.length - p.tokens + (tile.first + row) / group_of(p) + 1;
    return {p.window > 0 ? max(std::int64_t{0}, end - p.window) : 0, end};
}
// Where a key lies; -1: nowhere.
__device__ inline std::int64_t slot_of(const AttentionParams& p, const RowTile& tile,
                                       std::int64_t position, std::int64_t end) {
    if (position >= end) {
        return -1;
    }
    return p.chosen != nullptr ? p.chosen[tile.first_token * p.chosen_most + position]
           : p.ring > 0        ? position % p.ring
                               : position;
}

__device__ inline const float* query_of(const AttentionParams& p, int kv_head, unsigned row) {
    const unsigned group = group_of(p);
    return p.q + row / group * p.q_token_stride + (kv_head * group + row % group) * p.q_head_stride;
}

// Where a row's values go and what they are multiplied with. One part: to the result, with the
// sink; several: with `most` and `sum` to the memory that the parts are merged from.
struct RowEnd {
    float* to;
    float factor;
};
__device__ inline RowEnd row_end(const AttentionParams& p, int kv_head, unsigned row, int part,
                                 float most, float sum, bool writes) {
    const unsigned group = group_of(p);
    if (p.partial != nullptr) {
        float* const to =
            p.partial +
            ((std::int64_t{kv_head} * p.tokens * group + row) * p.parts + part) * (p.value_dim + 2);
        if (writes) {
            to[0] = most;
            to[1] = sum;
        }
        return {to + 2, 1.0f};
    }
    const unsigned head = kv_head * group + row % group;
    float factor = 1.0f;
    if (p.sinks != nullptr) {
        const float sink = p.sinks[head] * kLog2E;
        const float now = fmaxf(sink, most);
        factor = exp2f(most - now);
        sum = sum * factor + exp2f(sink - now);
    }
    return {p.out + row / group * p.out_token_stride + head * p.out_head_stride, factor / sum};
}

// --- on the tensor cores -------------------------------------------------------------------------
// Keys and values are what the cache holds; queries and weights are split into two terms of its
// type, so that 16 (BF16) or 22 (F16) of their bits take part.

// Largest weight: 2^12, so that small weights do not vanish among F16's smallest numbers.
constexpr float kHeadroom = 12.0f;

// Queries of a tile, scaled, both terms: (2, rows, stride) 16-bit values.
template <class Cache, int kDim>
__device__ inline void load_queries(const AttentionParams& p, const RowTile& tile, int kv_head,
                                    int rows, int stride, unsigned short* to) {
    constexpr int kPairs = kDim / 2;
    for (int i = threadIdx.x; i < rows * kPairs; i += blockDim.x) {
        const int row = i / kPairs;
        const int d = 2 * (i % kPairs);
        float x[2] = {0.0f, 0.0f};
        if (row < tile.count) {
            const float* const from = query_of(p, kv_head, tile.first + row);
            x[0] = d < p.head_dim ? from[d] * p.scale : 0.0f;
            x[1] = d + 1 < p.head_dim ? from[d + 1] * p.scale : 0.0f;
        }
        unsigned rest = 0;
        const unsigned word = Cache::split(x[0], x[1], rest);
        *reinterpret_cast<unsigned*>(to + row * stride + d) = word;
        *reinterpret_cast<unsigned*>(to + (rows + row) * stride + d) = rest;
    }
}

// Begins to copy kKeys entries of kDim values, zeros where there are none.
template <int kDim, int kKeys>
__device__ inline void copy_entries(const AttentionParams& p, const RowTile& tile, int kv_head,
                                    const void* cache, int dims, std::int64_t base,
                                    std::int64_t end, int stride, unsigned short* to) {
    constexpr int kPieces = kDim / 8; // of 16 bytes
    for (int i = threadIdx.x; i < kKeys * kPieces; i += blockDim.x) {
        const int key = i / kPieces;
        const int d = 8 * (i % kPieces);
        const std::int64_t slot = slot_of(p, tile, base + key, end);
        const bool there = slot >= 0 && d < dims;
        const unsigned short* const from = static_cast<const unsigned short*>(cache) +
                                           (there ? (slot * p.kv_heads + kv_head) * dims + d : 0);
        copy_async_16(to + key * stride + d, from, there);
    }
}

} // namespace hs::cuda
