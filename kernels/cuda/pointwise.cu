// Pointwise kernels and norms.

#include "kernels/cuda/abi.h"
#include "kernels/cuda/device/formats.cuh"
#include "kernels/cuda/device/glu.cuh"
#include "kernels/cuda/device/int8.cuh"
#include "kernels/cuda/device/reduce.cuh"

#include <cfloat>

using namespace hs::cuda;

namespace {

__device__ int column() {
    return static_cast<int>(blockIdx.y * kPointThreads + threadIdx.x);
}
__device__ std::int64_t row() {
    return blockIdx.x;
}

} // namespace

extern "C" __global__ void hs_copy(const __grid_constant__ CopyParams p) {
    const std::int64_t at = 16 * (std::int64_t{blockIdx.x} * kPointThreads + threadIdx.x);
    const auto* const from = static_cast<const unsigned char*>(p.from) + at;
    auto* const to = static_cast<unsigned char*>(p.to) + at;
    const auto address =
        reinterpret_cast<std::uintptr_t>(p.from) | reinterpret_cast<std::uintptr_t>(p.to);
    if (address % 16 == 0 && at + 16 <= p.bytes) {
        *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
        return;
    }
    for (int i = 0; i < 16 && at + i < p.bytes; ++i) {
        to[i] = from[i];
    }
}

extern "C" __global__ void hs_blend(const __grid_constant__ BlendParams p) {
    const int c = column();
    if (c < p.cols) {
        float& x = p.x[row() * p.x_stride + c];
        x = p.x_scale * x + p.y_scale * p.y[row() * p.y_stride + c];
    }
}

extern "C" __global__ void hs_add(const __grid_constant__ BlendParams p) {
    const int c = column();
    if (c < p.cols) {
        p.x[row() * p.x_stride + c] += p.y[row() * p.y_stride + c];
    }
}

extern "C" __global__ void hs_scale(const __grid_constant__ ScaleParams p) {
    const int c = column();
    if (c < p.cols) {
        p.x[row() * p.stride + c] *= p.value;
    }
}

extern "C" __global__ void hs_softcap(const __grid_constant__ ScaleParams p) {
    const int c = column();
    if (c < p.cols) {
        float& x = p.x[row() * p.stride + c];
        x = p.value * tanhf(x / p.value);
    }
}

extern "C" __global__ void hs_scale_rows(const __grid_constant__ ScaleRowsParams p) {
    const int c = column();
    if (c < p.cols) {
        p.x[row() * p.x_stride + c] *= sigmoid(p.gate[row() * p.gate_stride]);
    }
}

extern "C" __global__ void hs_copy_columns(const __grid_constant__ HeadsParams p) {
    const int c = column();
    if (c < p.heads * p.width) {
        const int head = c / p.width;
        const int i = c % p.width;
        p.to[row() * p.to_stride + head * p.to_head + i] =
            p.from[row() * p.from_stride + head * p.from_head + i];
    }
}

extern "C" __global__ void hs_sigmoid_gate(const __grid_constant__ HeadsParams p) {
    const int c = column();
    if (c < p.heads * p.width) {
        const int head = c / p.width;
        const int i = c % p.width;
        p.to[row() * p.to_stride + head * p.to_head + i] *=
            sigmoid(p.from[row() * p.from_stride + head * p.from_head + i]);
    }
}

extern "C" __global__ void hs_glu(const __grid_constant__ GluParams p) {
    const int c = column();
    if (c < p.cols) {
        p.out[row() * p.out_stride + c] =
            glu_of(p.glu, p.gate[row() * p.gate_stride + c], p.up[row() * p.up_stride + c]);
    }
}

extern "C" __global__ void hs_rms_norm(const __grid_constant__ NormParams p) {
    __shared__ float room[32];
    const std::int64_t t = blockIdx.x / p.pieces;
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.x % p.pieces) * p.width;
    const float* const x = p.x + t * p.x_stride + first;
    float* const out = p.out + t * p.out_stride + first;
    float squares = 0.0f;
    for (int i = threadIdx.x; i < p.width; i += blockDim.x) {
        squares += x[i] * x[i];
    }
    squares = block_sum(squares, room);
    const float factor = 1.0f / sqrtf(squares / static_cast<float>(p.width) + p.eps);
    for (int i = threadIdx.x; i < p.width; i += blockDim.x) {
        out[i] = x[i] * factor * p.weight[i];
    }
}

extern "C" __global__ void __launch_bounds__(kNormRowThreads)
    hs_norm_row(const __grid_constant__ NormRowParams p) {
    __shared__ float room[32];
    constexpr int kPieces = kMostNormRow / (4 * kNormRowThreads);
    float* const x = p.x + row() * p.x_stride;
    float4 held[kPieces];
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
        const int col = 4 * (i * kNormRowThreads + static_cast<int>(threadIdx.x));
        if (col < p.width) {
            float4 v = *reinterpret_cast<const float4*>(x + col);
            if (p.y != nullptr) {
                const float4 y = *reinterpret_cast<const float4*>(p.y + row() * p.y_stride + col);
                v.x += y.x, v.y += y.y, v.z += y.z, v.w += y.w;
                *reinterpret_cast<float4*>(x + col) = v;
            }
            squares += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
            held[i] = v;
        }
    }
    squares = block_sum(squares, room);
    const float factor = 1.0f / sqrtf(squares / static_cast<float>(p.width) + p.eps);
    float* const out = p.out + row() * p.out_stride;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
        const int col = 4 * (i * kNormRowThreads + static_cast<int>(threadIdx.x));
        if (col < p.width) {
            const float4 w = *reinterpret_cast<const float4*>(p.weight + col);
            const float4 v = held[i];
            const float values[4] = {v.x * factor * w.x, v.y * factor * w.y, v.z * factor * w.z,
                                     v.w * factor * w.w};
            *reinterpret_cast<float4*>(out + col) =
                make_float4(values[0], values[1], values[2], values[3]);
            if (p.int8.q != nullptr) {
                write_int8(values, p.int8, row(), p.width, col);
            }
        }
    }
}

extern "C" __global__ void hs_glu_int8(const __grid_constant__ GluInt8Params p) {
    const int col =
        static_cast<int>(blockIdx.y) * kQuantiseCols + 4 * static_cast<int>(threadIdx.x);
    if (col >= p.glu.cols) {
        return;
    }
    const float* const gate = p.glu.gate + row() * p.glu.gate_stride + col;
    const float* const up = p.glu.up + row() * p.glu.up_stride + col;
    float* const out = p.glu.out + row() * p.glu.out_stride + col;
    float values[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        values[i] = glu_of(p.glu.glu, gate[i], up[i]);
        out[i] = values[i];
    }
    write_int8(values, p.int8, row(), p.glu.cols, col);
}

extern "C" __global__ void hs_layer_norm(const __grid_constant__ NormParams p) {
    __shared__ float room[32];
    const float* const x = p.x + row() * p.x_stride;
    float* const out = p.out + row() * p.out_stride;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < p.width; i += blockDim.x) {
        sum += x[i];
    }
    const float mean = block_sum(sum, room) / static_cast<float>(p.width);
    float squares = 0.0f;
    for (int i = threadIdx.x; i < p.width; i += blockDim.x) {
        squares += (x[i] - mean) * (x[i] - mean);
    }
    squares = block_sum(squares, room);
    const float factor = 1.0f / sqrtf(squares / static_cast<float>(p.width) + p.eps);
    for (int i = threadIdx.x; i < p.width; i += blockDim.x) {
        out[i] = (x[i] - mean) * factor * p.weight[i] + p.bias[i];
    }
}

extern "C" __global__ void hs_mix_streams(const __grid_constant__ MixStreamsParams p) {
    __shared__ float room[32];
    __shared__ float weights[kMostStreams];
    for (int s = 0; s < p.count; ++s) {
        const float* const x = p.stream[s] + row() * p.stride[s];
        float squares = 0.0f;
        float product = 0.0f;
        for (int i = threadIdx.x; i < p.width; i += blockDim.x) {
            squares += x[i] * x[i];
            product += x[i] * p.query[i];
        }
        squares = block_sum(squares, room);
        product = block_sum(product, room);
        if (threadIdx.x == 0) {
            weights[s] = product / sqrtf(squares / static_cast<float>(p.width) + p.eps);
        }
    }
    __syncthreads();
    float most = -FLT_MAX;
    for (int s = 0; s < p.count; ++s) {
        most = fmaxf(most, weights[s]);
    }
    float sum = 0.0f;
    for (int s = 0; s < p.count; ++s) {
        sum += expf(weights[s] - most);
    }
    float* const out = p.out + row() * p.out_stride;
    for (int i = threadIdx.x; i < p.width; i += blockDim.x) {
        float mixed = 0.0f;
        for (int s = 0; s < p.count; ++s) {
            mixed += expf(weights[s] - most) / sum * p.stream[s][row() * p.stride[s] + i];
        }
        out[i] = mixed;
    }
}

extern "C" __global__ void hs_rope(const __grid_constant__ RopeParams p) {
    __shared__ float cosines[kRopePairs];
    __shared__ float sines[kRopePairs];
    for (int i = threadIdx.x; i < p.pairs; i += blockDim.x) {
        // The product in f32, as the models were trained.
        const float angle =
            times(static_cast<float>(p.first_position + row()), p.inverse_frequency[i]);
        cosines[i] = cosf(angle) * p.magnitude;
        sines[i] = sinf(angle) * p.magnitude;
    }
    __syncthreads();
    const int first = blockIdx.y * kRopeHeads;
    const int heads = min(kRopeHeads, p.heads - first);
    for (int i = threadIdx.x; i < heads * p.pairs; i += blockDim.x) {
        const int pair = i % p.pairs;
        float* const x = p.x + row() * p.token_stride + (first + i / p.pairs) * p.head_stride;
        const int at = p.first_pair + pair;
        float& a = x[p.interleaved ? 2 * at : at];
        float& b = x[p.interleaved ? 2 * at + 1 : at + p.all_pairs];
        const float a_was = a;
        const float b_was = b;
        a = a_was * cosines[pair] - b_was * sines[pair];
        b = b_was * cosines[pair] + a_was * sines[pair];
    }
}

namespace {

template <Format kFormat>
__device__ void embed(const EmbedParams& p) {
    const int g = column();
    if (8 * g >= p.table.cols) {
        return;
    }
    const int id = p.ids[blockIdx.x];
    float w[8];
    decode8<kFormat>(p.table.data + id * p.table.row_stride, p.table.cols, g, w);
    float* const out = p.out + row() * p.out_stride + 8 * g;
    const float* const scales =
        p.table.scales != nullptr ? p.table.scales + id / p.table.scale_rows * p.table.scale_stride
                                  : nullptr;
    for (int i = 0; i < 8 && 8 * g + i < p.table.cols; ++i) {
        out[i] = scales != nullptr ? w[i] * scales[(8 * g + i) / p.table.scale_cols] : w[i];
    }
}

} // namespace

#define HS_EMBED(F)                                                                                \
    extern "C" __global__ void hs_embed_##F(const __grid_constant__ EmbedParams p) {               \
        embed<Format::F>(p);                                                                       \
    }
HS_EMBED(F32)
HS_EMBED(F16)
HS_EMBED(BF16)
HS_EMBED(F8E4M3)
HS_EMBED(Q4_0)
HS_EMBED(Q4_1)
HS_EMBED(Q5_0)
HS_EMBED(Q5_1)
HS_EMBED(Q8_0)
HS_EMBED(Q2_K)
HS_EMBED(Q3_K)
HS_EMBED(Q4_K)
HS_EMBED(Q5_K)
HS_EMBED(Q6_K)
HS_EMBED(IQ4_NL)
HS_EMBED(IQ4_XS)
HS_EMBED(MXFP4)
