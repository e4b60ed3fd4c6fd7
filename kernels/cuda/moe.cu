// Mixtures of experts: the choice, its order, and the products of few tokens. Many tokens go
// through hs_gemm.

#include "kernels/cuda/abi.h"
#include "kernels/cuda/device/dot.cuh"
#include "kernels/cuda/device/glu.cuh"

#include <climits>
#include <cmath>

using namespace hs::cuda;

// --- the choice ----------------------------------------------------------------------------------

// The best first, the lowest index among equals.
extern "C" __global__ void hs_route(const __grid_constant__ RouteParams p) {
    extern __shared__ float room[];
    constexpr unsigned kAll = 0xFFFFFFFFu;
    constexpr float kOut = -INFINITY;
    float* const score = room;              // (experts), what weights are made of
    float* const choice = room + p.experts; // (experts), what is chosen by
    const float* const in = p.scores + blockIdx.x * p.stride;
    const int lane = threadIdx.x;

    float most = kOut;
    for (int e = lane; e < p.experts; e += 32) {
        most = fmaxf(most, in[e]);
    }
    most = warp_max(most);
    float sum = 0.0f;
    for (int e = lane; e < p.experts; e += 32) {
        const float value = p.score == 0   ? expf(in[e] - most)
                            : p.score == 1 ? sigmoid(in[e])
                                           : in[e];
        score[e] = value;
        sum += value;
    }
    sum = warp_sum(sum);
    for (int e = lane; e < p.experts; e += 32) {
        if (p.score == 0) {
            score[e] *= 1.0f / sum;
        }
        choice[e] = score[e] + (p.choice_bias != nullptr ? p.choice_bias[e] : 0.0f);
    }
    __syncwarp();

    if (p.groups > 1) {
        // A group's score is that of its best one or two.
        float* const of_group = room + 2 * p.experts;
        const int size = p.experts / p.groups;
        for (int g = lane; g < p.groups; g += 32) {
            float best = kOut;
            float second = kOut;
            for (int e = g * size; e < (g + 1) * size; ++e) {
                if (choice[e] > best) {
                    second = best;
                    best = choice[e];
                } else {
                    second = fmaxf(second, choice[e]);
                }
            }
            of_group[g] = size > 1 && p.group_best > 1 ? best + second : best;
        }
        __syncwarp();
        for (int g = lane; g < p.groups; g += 32) {
            int before = 0;
            for (int other = 0; other < p.groups; ++other) {
                before +=
                    of_group[other] > of_group[g] || (of_group[other] == of_group[g] && other < g);
            }
            if (before >= p.groups_kept) {
                for (int e = g * size; e < (g + 1) * size; ++e) {
                    choice[e] = kOut;
                }
            }
        }
        __syncwarp();
    }

    std::int32_t* const chosen = p.chosen + static_cast<std::int64_t>(blockIdx.x) * p.top_k;
    float* const weights = p.weights + static_cast<std::int64_t>(blockIdx.x) * p.top_k;
    float last_value = INFINITY;
    int last = -1; // the one chosen before: what comes next is worse, or as good and behind it
    float total = 0.0f;
    for (int i = 0; i < p.top_k; ++i) {
        float best = kOut;
        int at = INT_MAX;
        for (int e = lane; e < p.experts; e += 32) {
            const float value = choice[e];
            const bool left = value < last_value || (value == last_value && e > last);
            if (left && (at == INT_MAX || value > best)) {
                best = value;
                at = e;
            }
        }
#pragma unroll
        for (int offset = 16; offset > 0; offset /= 2) {
            const float other = __shfl_xor_sync(kAll, best, offset);
            const int other_at = __shfl_xor_sync(kAll, at, offset);
            if (other_at != INT_MAX &&
                (at == INT_MAX || other > best || (other == best && other_at < at))) {
                best = other;
                at = other_at;
            }
        }
        if (at == INT_MAX) { // scores that are no numbers
            at = i;
        }
        last_value = best;
        last = at;
        const float weight = score[at];
        if (p.score == 2) { // softmax of the chosen: the first is the largest without a bias
            most = i == 0 ? weight : fmaxf(most, weight);
        }
        if (lane == 0) {
            chosen[i] = at;
            weights[i] = weight;
            if (p.chosen_out != nullptr) {
                p.chosen_out[static_cast<std::int64_t>(blockIdx.x) * p.top_k + i] = at;
            }
        }
    }
    if (lane == 0) {
        for (int i = 0; i < p.top_k; ++i) {
            if (p.score == 2) {
                weights[i] = expf(weights[i] - most);
            }
            total += weights[i];
        }
        const bool normalise = p.normalise != 0 || p.score == 2;
        const float factor = normalise ? p.weight_scale / (total + 1e-20f) : p.weight_scale;
        for (int i = 0; i < p.top_k; ++i) {
            weights[i] *= factor;
        }
    }
}

extern "C" __global__ void __launch_bounds__(kSortThreads)
    hs_sort_pairs(const __grid_constant__ SortPairsParams p) {
    extern __shared__ int counts[]; // (experts + 1) where each begins, then (experts) its tiles
    int* const tiles = counts + p.experts + 1;
    for (int e = threadIdx.x; e <= p.experts; e += kSortThreads) {
        counts[e] = 0;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < p.pairs; i += kSortThreads) {
        atomicAdd(&counts[p.chosen[i] + 1], 1);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        int all = 0;
        for (int e = 0; e < p.experts; ++e) {
            tiles[e] = all;
            all += (counts[e + 1] + kGemmTokens - 1) / kGemmTokens;
            counts[e + 1] += counts[e];
        }
        *p.tile_count = all;
    }
    __syncthreads();
    for (int e = threadIdx.x; e < p.experts; e += kSortThreads) {
        const int count = counts[e + 1] - counts[e];
        for (int i = 0; i * kGemmTokens < count; ++i) {
            p.tiles[tiles[e] + i] = {e, counts[e] + i * kGemmTokens,
                                     min(kGemmTokens, count - i * kGemmTokens)};
        }
    }
    __syncthreads();
    // In the order of pairs within an expert: the same every time.
    for (int e = threadIdx.x / 32; e < p.experts; e += kSortThreads / 32) {
        int slot = counts[e];
        if (counts[e + 1] == slot) {
            continue;
        }
        const int lane = threadIdx.x % 32;
        for (int first = 0; first < p.pairs; first += 32) {
            const bool mine = first + lane < p.pairs && p.chosen[first + lane] == e;
            const unsigned all = __ballot_sync(0xFFFFFFFFu, mine);
            if (mine) {
                p.order[slot + __popc(all & ((1u << lane) - 1))] = first + lane;
            }
            slot += __popc(all);
        }
    }
}

extern "C" __global__ void hs_join_pairs(const __grid_constant__ JoinPairsParams p) {
    const int c = static_cast<int>(blockIdx.y * kPointThreads + threadIdx.x);
    if (c >= p.cols) {
        return;
    }
    const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * p.top_k;
    float sum = 0.0f;
    for (int i = 0; i < p.top_k; ++i) {
        sum += p.weights[first + i] * p.pairs[(first + i) * p.cols + c];
    }
    p.out[blockIdx.x * p.out_stride + c] = sum;
}

// --- products ------------------------------------------------------------------------------------

namespace {

template <Format kFormat>
__device__ void expert_up(const ExpertUpParams& p) {
    const int pair = blockIdx.y;
    const int expert = p.chosen[pair];
    const ExpertMatrix& gate = p.gate[expert];
    const int warp = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    const int first = (static_cast<int>(blockIdx.x) * 8 + warp) * kExpertRows;
    if (gate.format != p.format || first >= p.rows) {
        return;
    }
    const float* const x = p.x + pair / p.top_k * p.x_stride;
    float gates[1][kExpertRows];
    float ups[1][kExpertRows];
    const int token = pair / p.top_k;
    dot_rows_any<kFormat, kExpertRows, 1>(gate.matrix, first, p.rows - 1, x, 0, p.aligned != 0,
                                          p.int8, token, 1, 1, lane, 0, 1, gates);
    if (p.up != nullptr) {
        dot_rows_any<kFormat, kExpertRows, 1>(p.up[expert].matrix, first, p.rows - 1, x, 0,
                                              p.aligned != 0, p.int8, token, 1, 1, lane, 0, 1, ups);
    }
#pragma unroll
    for (int r = 0; r < kExpertRows; ++r) {
        const float g = warp_sum(gates[0][r]);
        const float u = p.up != nullptr ? warp_sum(ups[0][r]) : 0.0f;
        const int row = first + r;
        if (lane == 0 && row < p.rows) {
            const float gate_value = g + (gate.bias != nullptr ? gate.bias[row] : 0.0f);
            float value = gate_value;
            if (p.up != nullptr) {
                const float* const bias = p.up[expert].bias;
                value = glu_of(p.glu, gate_value, u + (bias != nullptr ? bias[row] : 0.0f));
            }
            p.out[static_cast<std::int64_t>(pair) * p.rows + row] = value;
        }
    }
}

template <Format kFormat>
__device__ void expert_down(const ExpertDownParams& p) {
    constexpr int kWarps = 8;
    __shared__ float partial[kWarps][kDownRows];
    const int token = blockIdx.y;
    const int warp = threadIdx.x / 32;
    const int lane = threadIdx.x % 32;
    const int first = static_cast<int>(blockIdx.x) * kDownRows;
    float totals[kDownRows] = {};
    for (int i = warp; i < p.top_k; i += kWarps) {
        const int pair = token * p.top_k + i;
        const ExpertMatrix& down = p.down[p.chosen[pair]];
        if (down.format != p.format) {
            continue;
        }
        float sums[1][kDownRows];
        dot_rows_any<kFormat, kDownRows, 1>(down.matrix, first, p.rows - 1,
                                            p.x + static_cast<std::int64_t>(pair) * p.cols, 0,
                                            p.aligned != 0, p.int8, pair, 1, 1, lane, 0, 1, sums);
#pragma unroll
        for (int r = 0; r < kDownRows; ++r) {
            const float bias = down.bias != nullptr ? down.bias[min(first + r, p.rows - 1)] : 0.0f;
            totals[r] += p.weights[pair] * (warp_sum(sums[0][r]) + bias);
        }
    }
    if (lane == 0) {
#pragma unroll
        for (int r = 0; r < kDownRows; ++r) {
            partial[warp][r] = totals[r];
        }
    }
    __syncthreads();
    const int row = first + static_cast<int>(threadIdx.x);
    if (threadIdx.x < kDownRows && row < p.rows) {
        float& out = p.out[token * p.out_stride + row];
        float sum = p.add != 0 ? out : 0.0f;
        for (int w = 0; w < kWarps; ++w) {
            sum += partial[w][threadIdx.x];
        }
        out = sum;
    }
}

} // namespace

#define HS_EXPERT(F)                                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                              \
        hs_expert_up_##F(const __grid_constant__ ExpertUpParams p) {                               \
        expert_up<Format::F>(p);                                                                   \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(256)                                              \
        hs_expert_down_##F(const __grid_constant__ ExpertDownParams p) {                           \
        expert_down<Format::F>(p);                                                                 \
    }
HS_EXPERT(F32)
HS_EXPERT(F16)
HS_EXPERT(BF16)
HS_EXPERT(F8E4M3)
HS_EXPERT(Q4_0)
HS_EXPERT(Q4_1)
HS_EXPERT(Q5_0)
HS_EXPERT(Q5_1)
HS_EXPERT(Q8_0)
HS_EXPERT(Q2_K)
HS_EXPERT(Q3_K)
HS_EXPERT(Q4_K)
HS_EXPERT(Q5_K)
HS_EXPERT(Q6_K)
HS_EXPERT(IQ4_NL)
HS_EXPERT(IQ4_XS)
HS_EXPERT(MXFP4)
