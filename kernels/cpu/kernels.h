#pragma once
// Every kernel of the CPU backend, with its shapes. Kernels take pointers, extents and strides,
// check nothing and know no threads: the backend cuts the work into the ranges they are given.
// Each is compiled for SSE4, AVX2 and AVX-512 with VNNI; the machine picks at run time.

#include "kernels/format.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hs::cpu {

// --- weights ---------------------------------------------------------------------------------

using kernels::Format;
using kernels::kFormats;

std::int64_t block_elems(Format format);
std::int64_t block_bytes(Format format);

// (rows, cols), rows apart by row_stride bytes; data need not be aligned.
struct Matrix {
    Format format = Format::F32;
    std::int64_t rows = 0;
    std::int64_t cols = 0;
    const std::byte* data = nullptr;
    std::int64_t row_stride = 0;
    // F8E4M3: one factor per scale_rows x scale_cols; null: one.
    const float* scales = nullptr;
    std::int64_t scale_rows = 1;
    std::int64_t scale_cols = 1;
    std::int64_t scale_stride = 0;
};

// n elements, a multiple of the block; equal to the published formulas in every bit.
void dequantise(Format format, const std::byte* from, float* to, std::int64_t n);
// One row of a matrix, scales applied.
void dequantise_row(const Matrix& matrix, std::int64_t row, float* to);

float from_f16(std::uint16_t half);
std::uint16_t to_f16(float value); // rounds to nearest, ties to even
float from_bf16(std::uint16_t half);
std::uint16_t to_bf16(float value); // rounds to nearest, ties to even

// --- matrix products -------------------------------------------------------------------------

// The input of products, (tokens, cols). The int8 form has one scale per 32 elements; its rows are
// padded with zeros to a multiple of 256. The scales of 256 elements are small multiples of one
// unit, so that weights with integer scales can be summed in integers over all 256. Its pointers
// are null where no product wants it.
struct Activations {
    const float* x = nullptr;
    std::int64_t stride = 0;
    std::int64_t tokens = 0;
    std::int64_t cols = 0;
    std::int64_t padded = 0;
    std::int8_t* q = nullptr;       // (tokens, padded), in [-127, 127]
    float* scale = nullptr;         // (tokens, padded / 32)
    float* sum32 = nullptr;         // (tokens, padded / 32), scale * sum of 32 of q
    float* sum16 = nullptr;         // (tokens, padded / 16), scale * sum of 16 of q
    std::int16_t* isum16 = nullptr; // (tokens, padded / 16), sum of 16 of q
    float* unit = nullptr;          // (tokens, padded / 256)
    // (tokens, padded / 32), in [0, 256]: scale = multiple * unit, exactly.
    std::int16_t* multiple = nullptr;
    // (tokens, padded / 256, 2, 8): isum16, of each 256 the even ones before the odd ones.
    std::int16_t* split16 = nullptr;
};

// Whether products with this format take the int8 form: ggml's block formats, from AVX2 on. The
// others take x as it is.
bool wants_int8(Format format);
// Bytes of the int8 form, and the pointers of `activations` into `memory` (64-byte aligned).
std::int64_t int8_bytes(std::int64_t tokens, std::int64_t cols);
void place_int8(Activations& activations, std::byte* memory);
// x / scale, rounded to nearest, for tokens [first, last).
void quantise_activations(const Activations& activations, std::int64_t first, std::int64_t last);

// Rows of a matrix that one call of matmul should be given at least, and of which a range should
// be a multiple.
constexpr std::int64_t kRowTile = 16;

// Bytes of scratch of one thread, 64-byte aligned.
std::int64_t matmul_scratch_bytes(const Matrix& matrix, std::int64_t tokens);
// out(t, r) = sum_k x(t, k) w(r, k) (+ bias(r)) for rows r in [first, last).
//   out (tokens, rows), out_stride floats from token to token
void matmul(const Matrix& matrix, std::int64_t first, std::int64_t last,
            const Activations& activations, float* out, std::int64_t out_stride, const float* bias,
            std::byte* scratch);

// --- pointwise; all over `n` or (rows, cols) contiguous floats ---------------------------------

// out = x / rms(x) * weight
void rms_norm(const float* x, const float* weight, float eps, std::int64_t n, float* out);
// out = (x - mean) / sqrt(variance + eps) * weight + bias
void layer_norm(const float* x, const float* weight, const float* bias, float eps, std::int64_t n,
                float* out);
float unit_dot(const float* x, const float* y, float eps, std::int64_t n); // x / rms(x) . y
void add(float* x, const float* y, std::int64_t n);
// How gate g and up u become one.
struct Glu {
    enum class Kind : std::uint8_t {
        Silu,     // silu(g) u
        GeluTanh, // gelu(g) u, gelu by its tanh form
        Clamped,  // (u' + 1) g' sigmoid(alpha g'), g' = min(g, limit), u' = u within +-limit
        Situ,     // beta tanh(g / beta) sigmoid(g) linear_beta tanh(u / linear_beta)
    };
    Kind kind = Kind::Silu;
    float alpha = 1.702f, limit = 7.0f, beta = 4.0f, linear_beta = 25.0f;
};
void glu(const Glu& glu, const float* gate, const float* up, std::int64_t n, float* out);
void softcap(float* x, float cap, std::int64_t n); // cap * tanh(x / cap)
void sigmoid_multiply(float* x, const float* gate, std::int64_t n);
void scale(float* x, float factor, std::int64_t n);
void multiply_add(float* x, float factor, const float* y, std::int64_t n); // x += factor * y
void silu(float* x, std::int64_t n);                                       // x *= sigmoid(x)
float sigmoid(float x);
// One head: pairs (i, i + dims / 2), or (2 i, 2 i + 1); cos and sin have dims / 2 entries.
void rotate(float* x, const float* cos, const float* sin, std::int64_t dims, bool interleaved);
// Rounds n floats to a cache's format: F32, F16 or BF16.
void store_cache(const float* x, Format format, std::byte* to, std::int64_t n);

// --- softmax attention -------------------------------------------------------------------------

struct Attention {
    const float* q = nullptr; // (tokens, query_heads, head_dim)
    std::int64_t q_token_stride = 0;
    std::int64_t q_head_stride = 0;
    std::int64_t tokens = 0;
    std::int64_t query_heads = 0;
    std::int64_t kv_heads = 0;
    std::int64_t head_dim = 0;
    std::int64_t value_dim = 0;
    // Of the query heads that share a KV head, those of this call; at most kMostRows.
    std::int64_t group_first = 0;
    std::int64_t group_count = 1;
    Format cache = Format::F16;
    const std::byte* keys = nullptr;   // (slots, kv_heads, head_dim)
    const std::byte* values = nullptr; // (slots, kv_heads, value_dim)
    // Values from one head and slot to the next, value_dim where values lie alone; head_dim where
    // they are the beginnings of the keys.
    std::int64_t value_stride = 0;
    std::int64_t length = 0; // positions; the last `tokens` belong to q
    std::int64_t ring = 0;   // > 0: position p lies in slot p mod ring
    // Where the p-th key seen lies, (length) slots; null: in slot p, or by the ring. For one token.
    const std::int32_t* slots = nullptr;
    float scale = 1.0f;
    std::int64_t window = 0;      // keys seen, the query's own included; 0: all
    const float* sinks = nullptr; // (query_heads) or null
    float* out = nullptr;         // (tokens, query_heads, value_dim)
    std::int64_t out_token_stride = 0;
    std::int64_t out_head_stride = 0;
};

// A row is one query head of one token; up to kMostRows rows of one KV head are attended
// together, few of them by another way than many.
constexpr std::int64_t kMostRows = 32;
constexpr std::int64_t kFewRows = 8;
std::int64_t attention_block_tokens(const Attention& op);
// A part: for each of its rows the largest logit, the sum of exponentials and the sum of weighted
// values, (rows) + (rows) + (rows, value_dim).
std::int64_t attention_part_rows(const Attention& op);
std::int64_t attention_part_floats(const Attention& op);
std::int64_t attention_scratch_floats(const Attention& op);

// Queries [first, last), at most attention_block_tokens, of the heads that share one KV head, over
// keys [first_key, last_key) as far as they are seen. Adds to part, unless it is fresh. part and
// scratch are 64-byte aligned.
void attend(const Attention& op, std::int64_t kv_head, std::int64_t first, std::int64_t last,
            std::int64_t first_key, std::int64_t last_key, float* part, bool fresh, float* scratch);
// Joins `count` parts over disjoint keys, `stride` floats apart, adds the sinks, and writes out.
void merge_attention(const Attention& op, std::int64_t kv_head, std::int64_t first,
                     std::int64_t last, const float* parts, std::int64_t stride,
                     std::int64_t count);

// --- sparse attention --------------------------------------------------------------------------

struct Indexer {
    const float* q = nullptr; // (tokens, heads, head_dim)
    std::int64_t q_token_stride = 0;
    std::int64_t q_head_stride = 0;
    const float* weights = nullptr; // (tokens, heads)
    std::int64_t weights_stride = 0;
    std::int64_t heads = 0;
    std::int64_t head_dim = 0;
    Format cache = Format::F16;
    const std::byte* keys = nullptr; // (length, head_dim)
};
constexpr std::int64_t kIndexKeys = 64; // of a tile
std::int64_t index_scratch_floats(const Indexer& op);
// scores(t, s) = sum over heads of weight * max(0, q . key(s)) for tokens [first_token, last_token)
// and a tile of up to kIndexKeys keys, [first_key, last_key), which is converted once.
//   scores  of first_token from key 0 on, `stride` floats from token to token; a whole tile of
//           each is written. scratch is 64-byte aligned.
void index_scores(const Indexer& op, std::int64_t first_token, std::int64_t last_token,
                  std::int64_t first_key, std::int64_t last_key, float* scores, std::int64_t stride,
                  float* scratch);
// The `most` largest of n scores, the lowest index first among equals: their indices, ascending,
// then -1.
void choose_best(const float* scores, std::int64_t n, std::int64_t most, std::int32_t* chosen);

// --- the delta rule ----------------------------------------------------------------------------

constexpr std::int64_t kMostTaps = 64; // of the convolution

// A causal convolution of each channel alone, then SiLU.
struct ShortConv {
    std::int64_t tokens = 0;
    std::int64_t taps = 4; // at most kMostTaps
    const float* in = nullptr;
    std::int64_t in_stride = 0;
    const float* weight = nullptr; // (channels, taps), the last tap is now
    float* state = nullptr;        // (channels, taps - 1), moved on by `tokens`
    float* out = nullptr;
    std::int64_t out_stride = 0;
};
void short_conv(const ShortConv& op, std::int64_t first_channel, std::int64_t last_channel);
// x *= length / |x|
void unit_length(float* x, float length, std::int64_t n);

// One head, token by token: S = keep S; u = beta (v - S^T k); S += k u^T; out = S^T q.
struct DeltaRule {
    std::int64_t tokens = 0;
    std::int64_t key_dim = 0;
    std::int64_t value_dim = 0;
    const float* q = nullptr; // (tokens, key_dim)
    const float* k = nullptr;
    const float* v = nullptr;    // (tokens, value_dim)
    std::int64_t stride = 0;     // of q, k and v
    bool per_channel = false;    // keep: (tokens, key_dim), or (tokens)
    const float* keep = nullptr; // in (0, 1]
    std::int64_t keep_stride = 0;
    // What reads S before it fades: k * keep where keep is per channel, else k.
    const float* read = nullptr;
    std::int64_t read_stride = 0;
    const float* beta = nullptr; // (tokens)
    float* state = nullptr;      // (key_dim, value_dim)
    float* out = nullptr;        // (tokens, value_dim)
    std::int64_t out_stride = 0;
};
std::int64_t delta_rule_scratch_floats(std::int64_t key_dim);
void delta_rule(const DeltaRule& op, float* scratch);

// --- gated delta -------------------------------------------------------------------------------

struct GatedDelta {
    std::int64_t tokens = 0;
    std::int64_t key_heads = 0;
    std::int64_t value_heads = 0;
    std::int64_t key_dim = 0;
    std::int64_t value_dim = 0;
    std::int64_t conv_kernel = 4; // at most kMostTaps
    float beta_scale = 1.0f;
    bool tiled_heads = false; // key head of value head h: h mod key_heads, else h / (ratio)
    const float* qkv = nullptr;
    std::int64_t qkv_stride = 0;
    const float* z = nullptr;
    std::int64_t z_stride = 0;
    const float* b = nullptr;
    std::int64_t b_stride = 0;
    const float* a = nullptr;
    std::int64_t a_stride = 0;
    const float* conv_weight = nullptr; // (channels, conv_kernel), the last tap is now
    const float* decay_rate = nullptr;  // (value_heads), -exp(A_log)
    const float* dt_bias = nullptr;     // (value_heads)
    const float* norm_weight = nullptr; // (value_dim)
    float norm_eps = 1e-6f;
    float* conv_state = nullptr; // (channels, conv_kernel - 1)
    float* state = nullptr;      // (value_heads, key_dim, value_dim)
    float* out = nullptr;        // (tokens, value_heads * value_dim)
    std::int64_t out_stride = 0;
    float* decay_out = nullptr; // (tokens, value_heads) or null
    float* beta_out = nullptr;  // (tokens, value_heads) or null

    std::int64_t channels() const { return 2 * key_heads * key_dim + value_heads * value_dim; }
};

// One value head: gates, state updates, read-out, gated norm, for all tokens.
//   conv (tokens, channels): qkv through short_conv(), queries and keys of unit_length()
std::int64_t delta_scratch_floats(const GatedDelta& op);
void delta_head(const GatedDelta& op, std::int64_t head, const float* conv, float* scratch);

// --- Kimi delta attention ----------------------------------------------------------------------

struct Kda {
    std::int64_t tokens = 0;
    std::int64_t heads = 0;
    std::int64_t head_dim = 0;
    std::int64_t conv_kernel = 4; // at most kMostTaps
    // Log decay -exp(A) softplus(f), or with a bound L < 0, L sigmoid(exp(A) f).
    float decay_bound = 0.0f;
    // (tokens, heads * head_dim) each, before the convolution.
    const float* q = nullptr;
    const float* k = nullptr;
    const float* v = nullptr;
    std::int64_t q_stride = 0, k_stride = 0, v_stride = 0;
    const float* decay = nullptr; // (tokens, heads * head_dim), f without dt_bias
    std::int64_t decay_stride = 0;
    const float* b = nullptr; // (tokens, heads)
    std::int64_t b_stride = 0;
    const float* gate = nullptr; // (tokens, heads * head_dim)
    std::int64_t gate_stride = 0;
    const float* conv_weight = nullptr; // (3 * heads * head_dim, conv_kernel): q, k, v
    const float* decay_rate = nullptr;  // (heads), -exp(A_log)
    const float* dt_bias = nullptr;     // (heads * head_dim)
    const float* norm_weight = nullptr; // (head_dim)
    float norm_eps = 1e-6f;
    float* conv_state = nullptr; // (3 * heads * head_dim, conv_kernel - 1)
    float* state = nullptr;      // (heads, head_dim, head_dim)
    float* out = nullptr;        // (tokens, heads * head_dim)
    std::int64_t out_stride = 0;
    float* decay_out = nullptr; // (tokens, heads), mean over channels; or null
    float* beta_out = nullptr;  // (tokens, heads) or null
};
// One head from the convolutions to the gated norm, for all tokens: no head needs another's values.
std::int64_t kda_scratch_floats(const Kda& op);
void kda_head(const Kda& op, std::int64_t head, float* scratch);

// --- lightning attention -------------------------------------------------------------------------

struct Lightning {
    std::int64_t tokens = 0;
    std::int64_t heads = 0;
    std::int64_t head_dim = 0;
    bool silu = false; // on q, k and v
    float scale = 1.0f;
    struct Rows { // (tokens, heads, head_dim)
        const float* data = nullptr;
        std::int64_t token_stride = 0;
        std::int64_t head_stride = 0;
    };
    Rows q, k, v;
    const float* gate = nullptr; // (tokens, heads * head_dim), before the sigmoid
    std::int64_t gate_stride = 0;
    const float* decay_rates = nullptr; // (heads), > 0: a step keeps exp(-rate)
    const float* norm_weight = nullptr; // (heads * head_dim)
    std::int64_t norm_groups = 1;
    float norm_eps = 1e-6f;
    float* state = nullptr; // (heads, head_dim, head_dim) keys by values
    float* out = nullptr;   // (tokens, heads * head_dim)
    std::int64_t out_stride = 0;
};

// One head for all tokens: state updates and what is read, not normed yet. scratch is 64-byte
// aligned.
std::int64_t lightning_scratch_floats(const Lightning& op);
void lightning_head(const Lightning& op, std::int64_t head, float* scratch);
// The group norm and the gate of one token, once all its heads are done.
void lightning_gate(const Lightning& op, std::int64_t token);

// --- mixtures ------------------------------------------------------------------------------------

// The top_k of one row of router scores, in descending order of choice, lowest index first among
// equals, and their weights.
struct Router {
    std::int64_t experts = 0;
    std::int64_t top_k = 0;
    enum class Score : std::uint8_t { Softmax, Sigmoid, SoftmaxOfChosen };
    Score score = Score::Softmax;
    bool normalise = true; // weights of the chosen sum to one
    // Experts in equal groups, of which the best `groups_kept` by their one or two best are chosen
    // from.
    std::int64_t groups = 1;
    std::int64_t groups_kept = 1;
    std::int64_t group_best = 2;
    float weight_scale = 1.0f;
    const float* choice_bias = nullptr; // (experts), added for the choice only; or null
};
// scratch: 2 * experts floats.
void route(const Router& router, const float* scores, std::int32_t* chosen, float* weights,
           float* scratch);

// --- instruction sets --------------------------------------------------------------------------

// The one in use, "AVX-512 VNNI".
const char* instruction_set();
// All that were built and that this machine has, the best first.
std::vector<std::string> instruction_sets();
// For tests and benchmarks, while no kernel runs; "" takes the best again.
void use_instruction_set(std::string_view name);

} // namespace hs::cpu
