#pragma once
// What the token mixers' kernels share: cache formats, sums over warps, functions of one value.

#include "kernels/cuda/abi_mixers.h"
#include "kernels/cuda/device/mixers_mma.cuh"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace hs::cuda {

constexpr float kLog2E = 1.44269504f;

extern __shared__ __align__(128) unsigned char mixer_shared[];

__device__ inline float* shared_floats() {
    return reinterpret_cast<float*>(mixer_shared);
}

struct F32Cache {
    using Element = float;
    static __device__ float load(const Element* p) { return *p; }
    static __device__ Element store(float x) { return x; }
};
struct F16Cache {
    using Element = __half;
    static __device__ float load(const Element* p) { return __half2float(*p); }
    static __device__ Element store(float x) { return __float2half_rn(x); }
    // Two values to one word, and what is lost by it to another.
    static __device__ unsigned split(float a, float b, unsigned& rest) {
        const __half2 pair = __floats2half2_rn(a, b);
        const __half2 lost = __floats2half2_rn(a - __low2float(pair), b - __high2float(pair));
        rest = *reinterpret_cast<const unsigned*>(&lost);
        return *reinterpret_cast<const unsigned*>(&pair);
    }
    static __device__ void multiply(float (&sum)[4], const unsigned (&a)[4], unsigned b0,
                                    unsigned b1) {
        multiply_f16(sum, a, b0, b1);
    }
};
struct BF16Cache {
    using Element = __nv_bfloat16;
    static __device__ float load(const Element* p) { return __bfloat162float(*p); }
    static __device__ Element store(float x) { return __float2bfloat16_rn(x); }
    static __device__ unsigned split(float a, float b, unsigned& rest) {
        const __nv_bfloat162 pair = __floats2bfloat162_rn(a, b);
        const __nv_bfloat162 lost =
            __floats2bfloat162_rn(a - __low2float(pair), b - __high2float(pair));
        rest = *reinterpret_cast<const unsigned*>(&lost);
        return *reinterpret_cast<const unsigned*>(&pair);
    }
    static __device__ void multiply(float (&sum)[4], const unsigned (&a)[4], unsigned b0,
                                    unsigned b1) {
        multiply_bf16(sum, a, b0, b1);
    }
};

__device__ inline float warp_sum(float x) {
    for (int step = 16; step > 0; step /= 2) {
        x += __shfl_xor_sync(0xffffffffu, x, step);
    }
    return x;
}
__device__ inline float warp_max(float x) {
    for (int step = 16; step > 0; step /= 2) {
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    }
    return x;
}

__device__ inline float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}
__device__ inline float silu(float x) {
    return x * sigmoid(x);
}
__device__ inline float softplus(float x) {
    return x > 20.0f ? x : log1pf(expf(x));
}

__device__ inline float4 operator*(float a, float4 b) {
    return make_float4(a * b.x, a * b.y, a * b.z, a * b.w);
}
__device__ inline float4 operator*(float4 a, float4 b) {
    return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
}
// a += b * c
__device__ inline void multiply_add(float4& a, float4 b, float4 c) {
    a.x = fmaf(b.x, c.x, a.x);
    a.y = fmaf(b.y, c.y, a.y);
    a.z = fmaf(b.z, c.z, a.z);
    a.w = fmaf(b.w, c.w, a.w);
}
__device__ inline void multiply_add(float4& a, float4 b, float c) {
    multiply_add(a, b, make_float4(c, c, c, c));
}
__device__ inline float sum_of(float4 a) {
    return (a.x + a.y) + (a.z + a.w);
}

// Counts the blocks that have come to a point, for each head; zero between launches.
__device__ inline bool last_to_come(unsigned* counter, unsigned count, unsigned* shared) {
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        const bool last = atomicAdd(counter, 1u) == count - 1;
        if (last) {
            *counter = 0;
        }
        *shared = last;
    }
    __syncthreads();
    const bool last = *shared != 0;
    __threadfence();
    return last;
}

} // namespace hs::cuda
