#pragma once
// What every op means, in float64 and plain loops: the yardstick of the selftest and of the
// kernels' tests. Host memory only; not fast, not threaded, never run by a model.
// Arrays are row-major and contiguous, with the shapes of engine/backend/backend.h.

#include "engine/backend/backend.h"

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

namespace hs::reference {

using Values = std::vector<double>;
using Inputs = std::span<const float>;

// x (rows, width), weight (width): x / rms(x) * weight.
Values rms_norm(Inputs x, Inputs weight, double eps);
Values swiglu(Inputs gate, Inputs up);
// One value of any gated unit.
double glu(const GluSpec& spec, double gate, double up);
// x (rows, width), weight and bias (width).
Values layer_norm(Inputs x, Inputs weight, Inputs bias, double eps);
// x (T, heads, head_dim), token t at position first + t. The angle is the f32 product of position
// and frequency, as in the models' training code; all else is f64.
Values rope(Inputs x, std::int64_t heads, std::int64_t head_dim, const RopeTable& table,
            std::int64_t first);

// x (T, K), w (N, K) already dequantised: x W^T + bias.
Values matmul(Inputs x, Inputs w, Inputs bias, std::int64_t tokens, std::int64_t rows,
              std::int64_t cols);
// The most that rounding x to int8 with one scale per 32 can move each value of matmul():
// sum over k of |w| * (largest |x| of the block) / 254.
Values rounding_bound(Inputs x, Inputs w, std::int64_t tokens, std::int64_t rows,
                      std::int64_t cols);

struct Attention {
    std::int64_t tokens = 0, length = 0, query_heads = 0, kv_heads = 0, head_dim = 0, value_dim = 0;
    double scale = 1;
    std::int64_t window = 0;
};
// keys (length, kv_heads, head_dim) and values as the cache holds them; sinks may be empty.
Values attention(const Attention& shape, Inputs q, Inputs keys, Inputs values, Inputs sinks);

// Which positions sparse attention reads, and the scores of all, (tokens, length).
struct ChooseKeys {
    std::int64_t tokens = 0, length = 0, heads = 0, head_dim = 0, most = 0;
};
struct Chosen {
    std::vector<std::int32_t> positions; // (tokens, most), ascending, then -1
    Values scores;                       // -infinity where a position is not seen
};
Chosen choose_keys(const ChooseKeys& shape, Inputs q, Inputs weights, Inputs keys);
// attention() over chosen positions, (tokens, most).
Values sparse_attention(const Attention& shape, Inputs q, Inputs keys, Inputs values,
                        std::span<const std::int32_t> chosen, std::int64_t most);

// A whole latent mixer from position 0 on, keys and values of all heads written out.
struct Latent {
    LatentSpec spec;
    std::int64_t hidden = 0;
    double norm_eps = 1e-6;
    std::function<Inputs(std::string_view)> weight; // "q_a", "indexer.k_norm" ...
};
Values latent(const Latent& op, Inputs x);

struct GatedDelta {
    GatedDeltaSpec spec;
    std::int64_t tokens = 0;
    double norm_eps = 1e-6;
    Inputs qkv, z, b, a, conv_weight, decay_rate, dt_bias, norm_weight;
};
struct GatedDeltaOut {
    Values out, decay, beta;
};
// Token by token; conv_state and state are read and written.
GatedDeltaOut gated_delta(const GatedDelta& op, Values& conv_state, Values& state);

struct Kda {
    KdaSpec spec;
    std::int64_t tokens = 0;
    double norm_eps = 1e-6;
    Inputs q, k, v, decay, b, gate, conv_weight, decay_rate, dt_bias, norm_weight;
};
struct KdaOut {
    Values out, decay, beta;
};
// Token by token; conv_state and state are read and written.
KdaOut kda(const Kda& op, Values& conv_state, Values& state);

// q, k, v (tokens, heads, head_dim), gate (tokens, heads * head_dim).
struct Lightning {
    LightningSpec spec;
    std::int64_t tokens = 0;
    double norm_eps = 1e-6;
    Inputs q, k, v, gate, decay_rates, norm_weight;
};
// Token by token; state is read and written.
Values lightning(const Lightning& op, Values& state);

Values situ(const GluSpec& spec, Inputs gate, Inputs up);
// streams (T, width) each, query (width).
Values mix_streams(std::span<const Inputs> streams, Inputs query, double eps);

// gate, up (experts, inter, hidden), down (experts, hidden, inter), dequantised.
struct MoeOut {
    Values out;
    std::vector<std::int32_t> chosen;
};
// (experts, inter) twice and (experts, hidden); or empty.
struct MoeBiases {
    Inputs gate, up, down;
};
MoeOut moe(const MoeSpec& spec, Inputs x, Inputs scores, Inputs choice_bias, Inputs gate, Inputs up,
           Inputs down, std::int64_t tokens, std::int64_t hidden, const MoeBiases& biases = {});

} // namespace hs::reference
