#pragma once
// x in eight bits, one factor for 32 columns.

#include "kernels/cuda/abi.h"

namespace hs::cuda {

// Columns [col, col + 4) of a row, by one of eight threads side by side, all of which take part.
__device__ inline void write_int8(const float (&values)[4], const Int8Out& to, std::int64_t row,
                                  int cols, int col) {
    const unsigned lane = threadIdx.x % 32;
    const unsigned eight = 0xFFu << (lane & 24);
    float most = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        most = fmaxf(most, fabsf(values[i]));
    }
#pragma unroll
    for (int offset = 4; offset > 0; offset /= 2) {
        most = fmaxf(most, __shfl_xor_sync(eight, most, offset));
    }
    const float inverse = most > 0.0f ? 127.0f / most : 0.0f;
    unsigned packed = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        packed |= (static_cast<unsigned>(__float2int_rn(values[i] * inverse)) & 255u) << (8 * i);
    }
    *reinterpret_cast<unsigned*>(to.q + row * cols + col) = packed;
    if (lane % 8 == 0) {
        to.scales[row * (cols / 32) + col / 32] = most / 127.0f;
    }
}

} // namespace hs::cuda
