#pragma once
// Products of float32 factors on the tensor cores: a factor becomes two bf16 terms, and three of
// the four products are done, so that 16 bits of both take part.

#include "kernels/cuda/device/mixers_common.cuh"

namespace hs::cuda {

// Two terms of x as 16-bit values.
__device__ inline void store_terms(float x, unsigned short* to, unsigned short* rest) {
    unsigned lost = 0;
    const unsigned word = BF16Cache::split(x, 0.0f, lost);
    *to = static_cast<unsigned short>(word);
    *rest = static_cast<unsigned short>(lost);
}
__device__ inline void store_pair_terms(float a, float b, unsigned short* to,
                                        unsigned short* rest) {
    unsigned lost = 0;
    *reinterpret_cast<unsigned*>(to) = BF16Cache::split(a, b, lost);
    *reinterpret_cast<unsigned*>(rest) = lost;
}

// Two columns of tiles next to each other as a first factor, in two terms.
struct Terms {
    unsigned of[2][4];

    __device__ void take(const float (&left)[4], const float (&right)[4]) {
        of[0][0] = BF16Cache::split(left[0], left[1], of[1][0]);
        of[0][1] = BF16Cache::split(left[2], left[3], of[1][1]);
        of[0][2] = BF16Cache::split(right[0], right[1], of[1][2]);
        of[0][3] = BF16Cache::split(right[2], right[3], of[1][3]);
    }
};
// Two tiles of a product with three of its four terms; b: of both terms, two words for each tile.
__device__ inline void multiply_terms(float (&left)[4], float (&right)[4], const Terms& a,
                                      const unsigned (&b)[2][4]) {
    multiply_bf16(left, a.of[0], b[0][0], b[0][1]);
    multiply_bf16(right, a.of[0], b[0][2], b[0][3]);
    multiply_bf16(left, a.of[1], b[0][0], b[0][1]);
    multiply_bf16(right, a.of[1], b[0][2], b[0][3]);
    multiply_bf16(left, a.of[0], b[1][0], b[1][1]);
    multiply_bf16(right, a.of[0], b[1][2], b[1][3]);
}

// sum (columns, rows) += x (columns, k) times a second factor in shared memory: its rows of k
// values, `stride` apart, the lane's own address in the first; the other terms `rest` behind. Of a
// triangle no row before the first column of x is read.
template <bool kTriangle, int kSums, int kTiles>
__device__ __forceinline__ void multiply_rows(float (&sum)[kSums][4], const float (&x)[kTiles][4],
                                              const unsigned short* rows, int stride, int rest) {
#pragma unroll
    for (int step = 0; step < kTiles / 2; ++step) {
        Terms a;
        a.take(x[2 * step], x[2 * step + 1]);
#pragma unroll
        for (int tile = kTriangle ? 2 * step : 0; tile < kSums; tile += 2) {
            unsigned b[2][4];
            const unsigned short* const at = rows + 8 * tile * stride + 16 * step;
            load_matrices(b[0], at);
            load_matrices(b[1], at + rest);
            multiply_terms(sum[tile], sum[tile + 1], a, b);
        }
    }
}
// The same with a second factor whose rows are k and whose values are the sum's rows.
template <int kSums, int kTiles>
__device__ __forceinline__ void multiply_turned(float (&sum)[kSums][4], const float (&x)[kTiles][4],
                                                const unsigned short* rows, int stride, int rest) {
#pragma unroll
    for (int step = 0; step < kTiles / 2; ++step) {
        Terms a;
        a.take(x[2 * step], x[2 * step + 1]);
#pragma unroll
        for (int tile = 0; tile < kSums; tile += 2) {
            unsigned b[2][4];
            const unsigned short* const at = rows + 16 * step * stride + 8 * tile;
            load_matrices_turned(b[0], at);
            load_matrices_turned(b[1], at + rest);
            multiply_terms(sum[tile], sum[tile + 1], a, b);
        }
    }
}

// What a lane holds of a state that lies turned in a warp's registers: of every eight key rows two,
// of sixteen value columns one and the eighth behind it. state: its first; columns: of a row.
template <int kTiles>
__device__ __forceinline__ void load_state(float (&s)[kTiles][4], const float* state,
                                           std::int64_t columns) {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            s[tile][i] = state[(8 * tile + i % 2) * columns + i / 2 * 8];
        }
    }
}
template <int kTiles>
__device__ __forceinline__ void store_state(const float (&s)[kTiles][4], float* state,
                                            std::int64_t columns) {
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            state[(8 * tile + i % 2) * columns + i / 2 * 8] = s[tile][i];
        }
    }
}

} // namespace hs::cuda
