#pragma once
// The delta rule with a short convolution (delta.md sections 3 to 5), for gated delta (a decay per
// head) and Kimi delta attention (a decay per key channel: kChannels).
//
// A block owns value columns of one head's state, 32 of them or in decode 128, and keeps them in
// registers: a warp has eight columns, four lanes share a column, and a lane has every fourth quad
// of key rows.

#include "kernels/cuda/device/mixers_common.cuh"
#include "kernels/cuda/device/mixers_mma.cuh"

namespace hs::cuda {

constexpr int kRowLanes = 4;
constexpr int kQuadRows = 4 * kRowLanes; // key rows that the lanes of a column hold one quad of

struct DeltaPlace {
    int head, key_head;
    int column; // of the head
    bool inside;
    int row_lane;
};
__device__ inline int key_head_of(const DeltaParams& p, int head) {
    return p.tiled_heads ? head % p.key_heads : head / (p.value_heads / p.key_heads);
}
__device__ inline DeltaPlace delta_place(const DeltaParams& p, int columns) {
    const int lane = threadIdx.x % 32;
    DeltaPlace at;
    at.head = blockIdx.y;
    at.key_head = key_head_of(p, at.head);
    at.column = blockIdx.x * columns + threadIdx.x / 32 * 8 + lane % 8;
    at.inside = at.column < p.value_dim;
    at.row_lane = lane / 8;
    return at;
}

// A column's part of the state.
template <int kQuads>
struct StateColumn {
    float4 rows[kQuads];

    __device__ void load(const DeltaParams& p, const DeltaPlace& at) {
        const float* const from =
            p.state + std::int64_t{at.head} * p.key_dim * p.value_dim + at.column;
        const auto row = [&](int i) {
            return at.inside && i < p.key_dim ? from[std::int64_t{i} * p.value_dim] : 0.0f;
        };
#pragma unroll
        for (int j = 0; j < kQuads; ++j) {
            const int i = j * kQuadRows + 4 * at.row_lane;
            rows[j] = make_float4(row(i), row(i + 1), row(i + 2), row(i + 3));
        }
    }
    __device__ void store(const DeltaParams& p, const DeltaPlace& at) const {
        float* const to = p.state + std::int64_t{at.head} * p.key_dim * p.value_dim + at.column;
        const auto put = [&](int i, float x) {
            if (at.inside && i < p.key_dim) {
                to[std::int64_t{i} * p.value_dim] = x;
            }
        };
#pragma unroll
        for (int j = 0; j < kQuads; ++j) {
            const int i = j * kQuadRows + 4 * at.row_lane;
            put(i, rows[j].x);
            put(i + 1, rows[j].y);
            put(i + 2, rows[j].z);
            put(i + 3, rows[j].w);
        }
    }
};

__device__ inline float sum_row_lanes(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 8);
    return x + __shfl_xor_sync(0xffffffffu, x, 16);
}

// One token: S = keep S; u = beta (v - S^T k); S += k u^T; returns S^T q.
//   q, k, keep: (16 kQuads), zeros behind key_dim; keep only with kChannels, else decay. q and k
//   still have to be multiplied with their factors.
template <int kQuads, bool kChannels>
__device__ inline float delta_token(StateColumn<kQuads>& state, const float* q, const float* k,
                                    const float* keep, float decay, float beta, float v,
                                    int row_lane, float q_factor = 1.0f, float k_factor = 1.0f) {
    const float4* const q4 = reinterpret_cast<const float4*>(q) + row_lane;
    const float4* const k4 = reinterpret_cast<const float4*>(k) + row_lane;
    const float4* const keep4 = reinterpret_cast<const float4*>(keep) + row_lane;
    float4 held = {};
#pragma unroll
    for (int j = 0; j < kQuads; ++j) {
        float4& s = state.rows[j];
        s = kChannels ? keep4[j * kRowLanes] * s : decay * s;
        multiply_add(held, s, k4[j * kRowLanes]);
    }
    const float u = beta * (v - k_factor * sum_row_lanes(sum_of(held))) * k_factor;
    float4 out = {};
#pragma unroll
    for (int j = 0; j < kQuads; ++j) {
        float4& s = state.rows[j];
        multiply_add(s, k4[j * kRowLanes], u);
        multiply_add(out, s, q4[j * kRowLanes]);
    }
    return q_factor * sum_row_lanes(sum_of(out));
}

// --- gates and convolution -----------------------------------------------------------------------

__device__ inline float write_strength(const DeltaParams& p, std::int64_t token, int head) {
    return p.beta_scale * sigmoid(p.b[token * p.b_stride + head]);
}
// Of one head, or with kChannels of one key channel: the logarithm of what a step keeps.
template <bool kChannels>
__device__ inline float log_kept(const DeltaParams& p, std::int64_t token, int head, int channel) {
    const int i = kChannels ? head * p.key_dim + channel : head;
    const float x = p.decay[token * p.decay_stride + i] + p.dt_bias[i];
    const float rate = p.decay_rate[head];
    if (kChannels && p.decay_bound < 0.0f) {
        return p.decay_bound * sigmoid(-rate * x);
    }
    return rate * softplus(x);
}
template <bool kChannels>
__device__ inline float kept(const DeltaParams& p, std::int64_t token, int head, int channel) {
    return expf(log_kept<kChannels>(p, token, head, channel));
}

// Heads of queries, keys and values one after another, as the channels of the convolution lie.
struct ConvHead {
    int part; // 0: q, 1: k, 2: v
    int dim;
    int first;            // channel within the part
    std::int64_t channel; // among all
};
__device__ inline ConvHead conv_head(const DeltaParams& p, int part, int head) {
    ConvHead at;
    at.part = part;
    at.dim = part < 2 ? p.key_dim : p.value_dim;
    at.first = head * at.dim;
    at.channel = std::int64_t{part} * p.key_heads * p.key_dim + at.first;
    return at;
}
__device__ inline std::int64_t conv_channels(const DeltaParams& p) {
    return std::int64_t{2} * p.key_heads * p.key_dim + std::int64_t{p.value_heads} * p.value_dim;
}

// The input of the convolution at a token, or before the first one.
__device__ inline float conv_input(const DeltaParams& p, const ConvHead& at, int i, int token) {
    const float* const from =
        token >= 0 ? p.in[at.part] + token * p.in_stride[at.part] + at.first + i
                   : p.conv_state + (at.channel + i) * (p.taps - 1) + token + p.taps - 1;
    return *from;
}
__device__ inline float convolved(const DeltaParams& p, const ConvHead& at, int i, int token) {
    const float* const weight = p.conv_weight + (at.channel + i) * p.taps;
    float sum = 0.0f;
    if (p.taps == 4) { // everything is asked for before anything is waited for
        float x[4];
        float w[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            x[j] = conv_input(p, at, i, token - 3 + j);
            w[j] = weight[j];
        }
#pragma unroll
        for (int j = 0; j < 4; ++j) {
            sum = fmaf(w[j], x[j], sum);
        }
        return silu(sum);
    }
    for (int j = 0; j < p.taps; ++j) {
        sum = fmaf(weight[j], conv_input(p, at, i, token - p.taps + 1 + j), sum);
    }
    return silu(sum);
}
// The state of one channel moves on by all tokens.
__device__ inline void move_conv_state(const DeltaParams& p, const ConvHead& at, int i) {
    float* const state = p.conv_state + (at.channel + i) * (p.taps - 1);
    for (int j = 0; j + 1 < p.taps; ++j) { // towards the front
        state[j] = conv_input(p, at, i, p.tokens - p.taps + 1 + j);
    }
}

// out = x / rms(x) * weight * gate'. One warp; x may be written by other blocks of the launch.
template <bool kChannels>
__device__ inline void gated_norm(const DeltaParams& p, std::int64_t token, int head) {
    const int lane = threadIdx.x % 32;
    float* const out = p.out + token * p.out_stride + std::int64_t{head} * p.value_dim;
    const float* const gate = p.gate + token * p.gate_stride + std::int64_t{head} * p.value_dim;
    float squares = 0.0f;
    for (int d = lane; d < p.value_dim; d += 32) {
        const float x = __ldcg(out + d);
        squares = fmaf(x, x, squares);
    }
    const float factor = 1.0f / sqrtf(warp_sum(squares) / p.value_dim + p.norm_eps);
    for (int d = lane; d < p.value_dim; d += 32) {
        const float x = __ldcg(out + d) * factor * p.norm_weight[d];
        out[d] = x * (kChannels ? sigmoid(gate[d]) : silu(gate[d]));
    }
}

// --- one token -----------------------------------------------------------------------------------

// The whole of a decode step. A head's state comes into one block where it has no more than 128
// columns: 32 blocks of 16 warps ask for it all at once, and the norm needs no other block.
//   grid (slices of 128 value columns, value_heads), kStepThreads
//   shared: q, k and with kChannels keep, (16 kQuads) each; v (128); what is read (128); one flag
//   readers, writers: (kMostDeltaHeads) zeros each. The last block that has read a key head's
//   conv state moves it on; the last one that has written a part of a value head norms it.
template <int kQuads, bool kChannels>
__device__ void delta_step(const DeltaParams& p, unsigned* readers, unsigned* writers) {
    constexpr int kRows = kQuads * kQuadRows;
    constexpr int kVectors = kChannels ? 3 : 2;
    float* const q = shared_floats();
    float* const k = q + kRows;
    float* const keep = k + kRows;
    float* const v = q + kVectors * kRows;
    float* const read = v + kStepColumns;
    unsigned* const flag = reinterpret_cast<unsigned*>(read + kStepColumns);
    const DeltaPlace at = delta_place(p, kStepColumns);
    const int thread = threadIdx.x;
    const int lane = thread % 32;

    StateColumn<kQuads> state;
    state.load(p, at);

    for (int i = thread; i < kVectors * kRows + kStepColumns; i += kStepThreads) {
        const int vector = i / kRows;
        const int row = i % kRows;
        float x = 0.0f;
        if (vector >= kVectors) {
            const int own = blockIdx.x * kStepColumns + i - kVectors * kRows;
            if (own < p.value_dim) {
                const ConvHead of_v = conv_head(p, 2, at.head);
                x = convolved(p, of_v, own, 0);
                move_conv_state(p, of_v, own);
            }
        } else if (row < p.key_dim) {
            x = vector == 2 ? kept<kChannels>(p, 0, at.head, row)
                            : convolved(p, conv_head(p, vector, at.key_head), row, 0);
        }
        q[i] = x; // and behind it the others
    }
    const float beta = write_strength(p, 0, at.head);
    const float decay = kChannels ? 0.0f : kept<kChannels>(p, 0, at.head, 0);
    __syncthreads();
    unsigned come = 0; // how many have read the conv state; looked at in the end
    if (thread == 0) {
        come = atomicAdd(readers + at.key_head, 1u);
    }

    float q_squares = 0.0f;
    float k_squares = 0.0f;
    for (int i = lane; i < kRows; i += 32) {
        q_squares = fmaf(q[i], q[i], q_squares);
        k_squares = fmaf(k[i], k[i], k_squares);
    }
    const float q_factor =
        1.0f / (sqrtf(warp_sum(q_squares) + 1e-6f) * sqrtf(static_cast<float>(p.key_dim)));
    const float k_factor = 1.0f / sqrtf(warp_sum(k_squares) + 1e-6f);
    const int column = thread / 32 * 8 + lane % 8;
    const float out = delta_token<kQuads, kChannels>(state, q, k, keep, decay, beta, v[column],
                                                     at.row_lane, q_factor, k_factor);
    state.store(p, at);
    if (at.row_lane == 0) {
        read[column] = out; // zero outside
    }
    if (thread == 0) {
        const bool last = come + 1 == gridDim.x * (p.value_heads / p.key_heads);
        if (last) {
            readers[at.key_head] = 0;
        }
        *flag = last;
    }
    __syncthreads();
    if (*flag != 0) {
        for (int i = thread; i < 2 * p.key_dim; i += kStepThreads) {
            move_conv_state(p, conv_head(p, i / p.key_dim, at.key_head), i % p.key_dim);
        }
    }
    if (blockIdx.x == 0 && thread < 32) {
        if (p.beta_out != nullptr && lane == 0) {
            p.beta_out[at.head] = beta;
        }
        if (p.decay_out != nullptr) {
            float mean = decay;
            if (kChannels) {
                float sum = 0.0f;
                for (int i = lane; i < kRows; i += 32) {
                    sum += keep[i];
                }
                mean = fminf(1.0f, warp_sum(sum) / p.key_dim);
            }
            if (lane == 0) {
                p.decay_out[at.head] = mean;
            }
        }
    }
    const int own = blockIdx.x * kStepColumns + thread;
    const std::int64_t result = std::int64_t{at.head} * p.value_dim + own;
    if (gridDim.x == 1) {
        if (thread < kStepColumns) {
            float squares = 0.0f;
            for (int i = lane; i < kStepColumns; i += 32) {
                squares = fmaf(read[i], read[i], squares);
            }
            const float factor = 1.0f / sqrtf(warp_sum(squares) / p.value_dim + p.norm_eps);
            if (own < p.value_dim) {
                const float x = read[thread] * factor * p.norm_weight[own];
                const float gate = p.gate[result];
                p.out[result] = x * (kChannels ? sigmoid(gate) : silu(gate));
            }
        }
        return;
    }
    if (thread < kStepColumns && own < p.value_dim) {
        p.out[result] = read[thread];
    }
    if (last_to_come(writers + at.head, gridDim.x, flag) && thread < 32) {
        gated_norm<kChannels>(p, 0, at.head);
    }
}

// --- several tokens ------------------------------------------------------------------------------

__device__ inline void put_gates(const DeltaParams& p, int token, int head, float decay) {
    const std::int64_t gate = std::int64_t{token} * p.value_heads + head;
    const float beta = write_strength(p, token, head);
    p.beta[gate] = beta;
    if (p.beta_out != nullptr) {
        p.beta_out[gate] = beta;
    }
    if (p.decay_out != nullptr) {
        p.decay_out[gate] = decay;
    }
}

// Convolution, SiLU, lengths of q and k, gates. One warp per head and token.
//   grid (2 key_heads + value_heads + gates, tokens / 8): q heads, k heads, v heads, and for the
//   gates one more, or with kChannels one per head
template <bool kChannels>
__device__ void delta_prepare(const DeltaParams& p) {
    constexpr int kEach = kMostKeyDim / 32;
    const int lane = threadIdx.x % 32;
    const int token = blockIdx.y * (kRowThreads / 32) + threadIdx.x / 32;
    const int unit = blockIdx.x;
    if (token >= p.tokens) {
        return;
    }
    float* const rows = p.rows + token * conv_channels(p);
    if (unit < 2 * p.key_heads) {
        const ConvHead at = conv_head(p, unit / p.key_heads, unit % p.key_heads);
        float x[kEach];
        float squares = 0.0f;
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
            const int i = lane + 32 * j;
            x[j] = i < p.key_dim ? convolved(p, at, i, token) : 0.0f;
            squares = fmaf(x[j], x[j], squares);
        }
        float factor = 1.0f / sqrtf(warp_sum(squares) + 1e-6f);
        if (at.part == 0) {
            factor /= sqrtf(static_cast<float>(p.key_dim));
        }
#pragma unroll
        for (int j = 0; j < kEach; ++j) {
            const int i = lane + 32 * j;
            if (i < p.key_dim) {
                rows[at.channel + i] = x[j] * factor;
            }
        }
    } else if (unit < 2 * p.key_heads + p.value_heads) {
        const ConvHead at = conv_head(p, 2, unit - 2 * p.key_heads);
        for (int i = lane; i < p.value_dim; i += 32) {
            rows[at.channel + i] = convolved(p, at, i, token);
        }
    } else if (kChannels) {
        const int head = unit - 2 * p.key_heads - p.value_heads;
        const std::int64_t gate = std::int64_t{token} * p.value_heads + head;
        float sum = 0.0f;
        for (int i = lane; i < p.key_dim; i += 32) {
            const float keep = kept<kChannels>(p, token, head, i);
            p.keep[gate * p.key_dim + i] = keep;
            sum += keep;
        }
        sum = warp_sum(sum);
        if (lane == 0) {
            put_gates(p, token, head, fminf(1.0f, sum / p.key_dim));
        }
    } else {
        for (int h = lane; h < p.value_heads; h += 32) {
            const float decay = kept<kChannels>(p, token, h, 0);
            p.keep[std::int64_t{token} * p.value_heads + h] = decay;
            put_gates(p, token, h, decay);
        }
    }
}

// All tokens one after another. Grid (slices of 32 value columns, value_heads).
//   shared: twice kDeltaTokens times q, k and with kChannels keep (16 kQuads each), v (32),
//   beta and decay (2)
template <int kQuads, bool kChannels>
__device__ void delta_scan(const DeltaParams& p) {
    constexpr int kRows = kQuads * kQuadRows;
    constexpr int kVectors = kChannels ? 3 : 2;
    constexpr int kToken = kVectors * kRows + kDeltaColumns + 4; // floats; whole quads
    float* const memory = shared_floats();
    const DeltaPlace at = delta_place(p, kDeltaColumns);
    const int thread = threadIdx.x;
    const int lane = thread % 32;
    const int warp = thread / 32;
    const std::int64_t channels = conv_channels(p);

    StateColumn<kQuads> state;
    state.load(p, at);
    for (int i = thread; i < 2 * kDeltaTokens * kToken; i += kDeltaThreads) {
        memory[i] = 0.0f;
    }
    __syncthreads();

    const float* const vectors[3] = {p.rows + conv_head(p, 0, at.key_head).channel,
                                     p.rows + conv_head(p, 1, at.key_head).channel,
                                     kChannels ? p.keep + std::int64_t{at.head} * p.key_dim
                                               : nullptr};
    const std::int64_t strides[3] = {channels, channels, std::int64_t{p.value_heads} * p.key_dim};
    const int first_column = blockIdx.x * kDeltaColumns;
    const float* const values = p.rows + conv_head(p, 2, at.head).channel + first_column;
    const auto ask_for = [&](int first, float* to) {
        for (int t = warp; t < kDeltaTokens && first + t < p.tokens; t += kDeltaThreads / 32) {
            float* const token = to + t * kToken;
#pragma unroll
            for (int vector = 0; vector < kVectors; ++vector) {
                const float* const from = vectors[vector] + (first + t) * strides[vector];
                for (int i = lane; i < p.key_dim; i += 32) {
                    copy_async(token + vector * kRows + i, from + i);
                }
            }
            if (first_column + lane < p.value_dim) {
                copy_async(token + kVectors * kRows + lane, values + (first + t) * channels + lane);
            }
            const std::int64_t gate = std::int64_t{first + t} * p.value_heads + at.head;
            if (lane == 0) {
                copy_async(token + kVectors * kRows + kDeltaColumns, p.beta + gate);
                if (!kChannels) {
                    copy_async(token + kVectors * kRows + kDeltaColumns + 1, p.keep + gate);
                }
            }
        }
        commit_copies();
    };
    ask_for(0, memory);
    for (int first = 0; first < p.tokens; first += kDeltaTokens) {
        float* const now = memory + first / kDeltaTokens % 2 * kDeltaTokens * kToken;
        float* const next = memory + (first / kDeltaTokens + 1) % 2 * kDeltaTokens * kToken;
        ask_for(first + kDeltaTokens, next);
        wait_for_copies<1>();
        __syncthreads();
        const int count = min(kDeltaTokens, p.tokens - first);
        for (int t = 0; t < count; ++t) {
            const float* const token = now + t * kToken;
            const float* const rest = token + kVectors * kRows;
            const float out = delta_token<kQuads, kChannels>(
                state, token, token + kRows, token + 2 * kRows, rest[kDeltaColumns + 1],
                rest[kDeltaColumns], rest[warp * 8 + lane % 8], at.row_lane);
            if (at.inside && at.row_lane == 0) {
                p.out[(first + t) * p.out_stride + std::int64_t{at.head} * p.value_dim +
                      at.column] = out;
            }
        }
        __syncthreads();
    }
    state.store(p, at);
}

// Norm and gate of what was read, and the convolution's state moved on.
//   grid (value_heads, tokens / 8), then in row 0 more blocks for the channels, 256 each
template <bool kChannels>
__device__ void delta_finish(const DeltaParams& p) {
    if (blockIdx.x < p.value_heads) {
        const int token = blockIdx.y * (kRowThreads / 32) + threadIdx.x / 32;
        if (token < p.tokens) {
            gated_norm<kChannels>(p, token, blockIdx.x);
        }
    } else if (blockIdx.y == 0) {
        const std::int64_t c = std::int64_t{blockIdx.x - p.value_heads} * kRowThreads + threadIdx.x;
        const std::int64_t keys = std::int64_t{p.key_heads} * p.key_dim;
        if (c < conv_channels(p)) {
            const int part = c < keys ? 0 : c < 2 * keys ? 1 : 2;
            move_conv_state(p, conv_head(p, part, 0), static_cast<int>(c - part * keys));
        }
    }
}

} // namespace hs::cuda
