#pragma once
// Sums over the threads of a warp and of a block, in a fixed order.

namespace hs::cuda {

__device__ inline float warp_sum(float value) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
        value += __shfl_xor_sync(0xFFFFFFFFu, value, offset);
    }
    return value;
}

__device__ inline float warp_max(float value) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) {
        value = fmaxf(value, __shfl_xor_sync(0xFFFFFFFFu, value, offset));
    }
    return value;
}

// For all threads of a block of whole warps, at most 1024; `room` is 32 floats of shared memory,
// free again afterwards.
__device__ inline float block_sum(float value, float* room) {
    const int warps = static_cast<int>(blockDim.x) / 32;
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) {
        room[threadIdx.x / 32] = value;
    }
    __syncthreads();
    float total = 0.0f;
    for (int w = 0; w < warps; ++w) {
        total += room[w];
    }
    __syncthreads();
    return total;
}

} // namespace hs::cuda
