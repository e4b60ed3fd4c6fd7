// What sparse attention chooses its keys with: scores from small heads, and the best of them
// (softmax.md section 3.2). Sums run over dimensions and heads in one order whatever the number of
// tokens, so that a score is the same in every bit however a prompt is cut.

#include "kernels/cuda/device/mixers_common.cuh"

namespace hs::cuda {
namespace {

// Scores of one token over 64 keys.
//   grid (key tiles, tokens)
//   shared: keys (64, stride), queries (32, stride), partial sums (4, 64)
template <class Cache>
__device__ void index_scores(const ChooseKeysParams& p) {
    using Element = typename Cache::Element;
    constexpr int kWarps = kIndexThreads / 32;
    constexpr int kGroups = kIndexThreads / kIndexKeys;
    const int lane = threadIdx.x % 32;
    const int warp = threadIdx.x / 32;
    const std::int64_t token = p.first_token + blockIdx.y;
    const std::int64_t first_key = std::int64_t{blockIdx.x} * kIndexKeys;
    const std::int64_t seen = p.length - p.tokens + token + 1;
    if (first_key >= seen || seen <= p.most) {
        return; // nothing to see, or all of it is chosen
    }
    const int quads = (p.head_dim + 3) / 4;
    const int stride = 4 * (quads | 1);
    float* const keys = shared_floats();
    float* const queries = keys + kIndexKeys * stride;
    float* const sums = queries + kIndexHeads * stride;

    for (int key = warp; key < kIndexKeys; key += kWarps) {
        const bool there = first_key + key < seen;
        const Element* const from =
            static_cast<const Element*>(p.keys) + (there ? first_key + key : 0) * p.head_dim;
        for (int d = lane; d < stride; d += 32) {
            keys[key * stride + d] = there && d < p.head_dim ? Cache::load(from + d) : 0.0f;
        }
    }
    // Heads h, h + 4, ... of every 32 belong to thread group h; a thread has one key.
    const int key = threadIdx.x % kIndexKeys;
    const int group = threadIdx.x / kIndexKeys;
    const float* const weights = p.weights + token * p.weights_stride;
    float sum = 0.0f;
    for (int first = 0; first < p.heads; first += kIndexHeads) {
        __syncthreads();
        for (int h = warp; h < kIndexHeads; h += kWarps) {
            const bool there = first + h < p.heads;
            const float* const from =
                p.q + token * p.q_token_stride + (there ? first + h : 0) * p.q_head_stride;
            for (int d = lane; d < stride; d += 32) {
                queries[h * stride + d] = there && d < p.head_dim ? from[d] : 0.0f;
            }
        }
        __syncthreads();
        const float4* const k = reinterpret_cast<const float4*>(keys + key * stride);
        for (int h = group; h < kIndexHeads; h += 4 * kGroups) { // four heads at once
            float4 dot[4] = {};
            for (int d = 0; d < quads; ++d) {
                const float4 x = k[d];
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    if (h + i * kGroups < kIndexHeads) {
                        multiply_add(dot[i], x,
                                     *reinterpret_cast<const float4*>(
                                         queries + (h + i * kGroups) * stride + 4 * d));
                    }
                }
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int head = first + h + i * kGroups;
                if (h + i * kGroups < kIndexHeads && head < p.heads) {
                    sum = fmaf(weights[head], fmaxf(sum_of(dot[i]), 0.0f), sum);
                }
            }
        }
    }
    sums[group * kIndexKeys + key] = sum;
    __syncthreads();
    if (group == 0 && first_key + key < seen) {
        float total = 0.0f;
        for (int i = 0; i < kGroups; ++i) {
            total += sums[i * kIndexKeys + key];
        }
        p.scores[blockIdx.y * p.score_stride + first_key + key] = total;
    }
}

// Bits whose order as integers is that of the floats; both zeros are one.
__device__ std::uint32_t ordered(float score) {
    const std::uint32_t bits = __float_as_uint(score + 0.0f);
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

// Sum over the threads before this one, and over all. Every thread of the block takes part.
__device__ std::uint32_t sum_before(std::uint32_t value, std::uint32_t* warps,
                                    std::uint32_t& total) {
    const int lane = threadIdx.x % 32;
    const int warp = threadIdx.x / 32;
    std::uint32_t sum = value;
    for (int step = 1; step < 32; step *= 2) {
        const std::uint32_t other = __shfl_up_sync(0xffffffffu, sum, step);
        sum += lane >= step ? other : 0;
    }
    __syncthreads();
    if (lane == 31) {
        warps[warp] = sum;
    }
    __syncthreads();
    std::uint32_t before = 0;
    total = 0;
    for (int i = 0; i < kChooseThreads / 32; ++i) {
        const std::uint32_t of_warp = warps[i];
        before += i < warp ? of_warp : 0;
        total += of_warp;
    }
    return before + sum - value;
}

// The best of one token's scores. Grid (tokens).
// By the digits of the scores' bits: three passes find the least score that is taken, one more the
// positions, in order.
__device__ void choose_best(const ChooseKeysParams& p) {
    constexpr int kBins = 2048;
    constexpr int kShifts[3] = {21, 10, 0};
    constexpr int kBits[3] = {11, 11, 10};
    std::uint32_t* const counts = reinterpret_cast<std::uint32_t*>(mixer_shared);
    std::uint32_t* const warps = counts + kBins;
    std::uint32_t* const found = warps + kChooseThreads / 32; // digit, how many are left
    const int thread = threadIdx.x;
    const std::int64_t token = p.first_token + blockIdx.x;
    const std::int64_t seen = p.length - p.tokens + token + 1;
    const float* const scores = p.scores + blockIdx.x * p.score_stride;
    std::int32_t* const chosen = p.chosen + token * p.most;
    if (seen <= p.most) {
        for (std::int64_t i = thread; i < p.most; i += kChooseThreads) {
            chosen[i] = i < seen ? static_cast<std::int32_t>(i) : -1;
        }
        return;
    }
    std::uint32_t least = 0; // of what is taken, as far as its digits are known
    std::uint32_t known = 0; // mask of these digits
    std::uint32_t rest = static_cast<std::uint32_t>(p.most); // of the scores that share them
    for (int pass = 0; pass < 3; ++pass) {
        const std::uint32_t mask = (1u << kBits[pass]) - 1;
        __syncthreads();
        for (int i = thread; i < kBins; i += kChooseThreads) {
            counts[i] = 0;
        }
        __syncthreads();
        for (std::int64_t i = thread; i < seen; i += kChooseThreads) {
            const std::uint32_t bits = ordered(scores[i]);
            if ((bits & known) == least) {
                atomicAdd(&counts[(bits >> kShifts[pass]) & mask], 1u);
            }
        }
        __syncthreads();
        // Two bins per thread, the highest first.
        const int high = kBins - 1 - 2 * thread;
        const std::uint32_t a = counts[high];
        const std::uint32_t b = counts[high - 1];
        std::uint32_t total = 0;
        const std::uint32_t above = sum_before(a + b, warps, total);
        if (above < rest && rest <= above + a) {
            found[0] = static_cast<std::uint32_t>(high);
            found[1] = rest - above;
        } else if (above + a < rest && rest <= above + a + b) {
            found[0] = static_cast<std::uint32_t>(high - 1);
            found[1] = rest - above - a;
        }
        __syncthreads();
        least |= found[0] << kShifts[pass];
        known |= mask << kShifts[pass];
        rest = found[1];
    }
    // A thread has four scores next to each other; counts of the higher in the upper half.
    constexpr int kEach = 4;
    std::uint32_t higher = 0; // so far
    std::uint32_t equal = 0;
    for (std::int64_t base = 0; base < seen; base += kEach * kChooseThreads) {
        const std::int64_t first = base + kEach * thread;
        std::uint32_t bits[kEach];
        std::uint32_t mine = 0;
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
            bits[i] = first + i < seen ? ordered(scores[first + i]) : 0;
            mine += bits[i] > least ? 0x10000u : first + i < seen && bits[i] == least ? 1u : 0u;
        }
        std::uint32_t total = 0;
        const std::uint32_t before = sum_before(mine, warps, total);
        std::uint32_t my_higher = higher + (before >> 16);
        std::uint32_t my_equal = equal + (before & 0xffffu);
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
            const bool is_equal = first + i < seen && bits[i] == least;
            if (bits[i] > least || (is_equal && my_equal < rest)) {
                chosen[my_higher + min(my_equal, rest)] = static_cast<std::int32_t>(first + i);
            }
            my_higher += bits[i] > least ? 1 : 0;
            my_equal += is_equal ? 1 : 0;
        }
        higher += total >> 16;
        equal += total & 0xffffu;
    }
}

} // namespace
} // namespace hs::cuda

using namespace hs::cuda;

extern "C" __global__ void __launch_bounds__(kIndexThreads)
    hs_index_scores_f32(const __grid_constant__ ChooseKeysParams p) {
    index_scores<F32Cache>(p);
}
extern "C" __global__ void __launch_bounds__(kIndexThreads)
    hs_index_scores_f16(const __grid_constant__ ChooseKeysParams p) {
    index_scores<F16Cache>(p);
}
extern "C" __global__ void __launch_bounds__(kIndexThreads)
    hs_index_scores_bf16(const __grid_constant__ ChooseKeysParams p) {
    index_scores<BF16Cache>(p);
}
extern "C" __global__ void __launch_bounds__(kChooseThreads)
    hs_choose_best(const __grid_constant__ ChooseKeysParams p) {
    choose_best(p);
}
