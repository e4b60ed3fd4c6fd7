#pragma once
// The op set: all that a device does for a model. Whoever has read this page and
// engine/run/model.cpp knows the engine. Both backends mean the same by every op; the selftest
// holds them to engine/lab/reference.
//
// Views point into memory of the backend (Buffer); activations are f32, row-major, one row per
// token. T is the number of tokens of a call, at least 1. Extents are checked by the callers in
// engine/mixers once per load; an op asserts what would otherwise write out of bounds.

#include "engine/core/memory.h"
#include "engine/core/tensor_view.h"
#include "engine/spec/model_spec.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace hs {

// A matrix in its file format: `rows` outputs of `cols` inputs. Does not own.
struct Weight {
    DType dtype = DType::F32;
    std::int64_t rows = 0;
    std::int64_t cols = 0;
    const std::byte* data = nullptr;
    std::int64_t row_stride_bytes = 0;
    // FP8: one f32 factor per block of scale_rows x scale_cols; null otherwise.
    const float* scales = nullptr;
    std::int64_t scale_block_rows = 0;
    std::int64_t scale_block_cols = 0;
    std::int64_t scale_stride = 0; // factors per block row

    explicit operator bool() const { return data != nullptr; }
    std::int64_t bytes() const { return rows * row_stride_bytes; }
    // Rows [first, first + count); first must fall on a scale block.
    Weight slice_rows(std::int64_t first, std::int64_t count) const;
};

// Memory of a device. Moves, does not copy.
class Buffer {
public:
    virtual ~Buffer() = default;
    virtual std::byte* data() = 0;
    virtual std::int64_t bytes() const = 0;
};

// Memory of a device that grows without moving: a KV cache.
class GrowingBuffer : public Buffer {
public:
    // bytes() is then at least `bytes`. Errors: OutOfMemory.
    virtual Result<void> grow(std::int64_t bytes) = 0;
    virtual void shrink(std::int64_t bytes) = 0;
};

// Elements of any weight format as f32, equal to the published formulas in every bit. out.size()
// must be a multiple of the format's block. For small tensors (norms) at load.
// Errors: Unsupported for a type that is no weight format, InvalidArgument for a size that is no
// multiple of the block or of which `from` holds too little.
Result<void> dequantise(DType dtype, std::span<const std::byte> from, std::span<float> out);

// One product of a group that shares its input.
struct Product {
    Weight weight;               // (N, K)
    View<float, 2> out;          // (T, N)
    const float* bias = nullptr; // (N) or null
};

// Rotation angles of one mixer: cos and sin for `pairs` frequencies, made once per model.
struct RopeTable {
    std::vector<float> inverse_frequency; // (dims / 2)
    float magnitude = 1.0f;               // multiplies cos and sin
    std::int64_t dims = 0;
    RopeLayout layout = RopeLayout::HalfSplit;
};
RopeTable make_rope_table(const RopeSpec& spec);

// The ops of mixers are values with a check(): it asserts what every backend relies on, and every
// backend begins with it.

struct AttentionOp {
    View<const float, 3> q; // (T, query_heads, head_dim)
    // The cache, positions [0, length) of which the last T belong to q. dtype F32, F16 or BF16.
    DType cache_dtype = DType::F16;
    const std::byte* keys = nullptr;   // (length, kv_heads, head_dim)
    const std::byte* values = nullptr; // (length, kv_heads, value_head_dim)
    std::int64_t length = 0;
    std::int64_t ring = 0; // > 0: position p lies in slot p mod ring
    std::int64_t kv_heads = 0;
    std::int64_t head_dim = 0;
    std::int64_t value_head_dim = 0;
    float scale = 1.0f;
    std::int64_t window = 0;      // keys seen, own included; 0: all
    const float* sinks = nullptr; // (query_heads) or null
    // Sparse: the positions each query reads, (T, chosen_most), lowest first, -1 where there are
    // fewer; null: all. Without window and ring.
    const std::int32_t* chosen = nullptr;
    std::int64_t chosen_most = 0;
    View<float, 3> out; // (T, query_heads, value_head_dim)
    void check() const;
};

// Latent attention reads one row of `latent + rope` values per position as the key of every head
// and its first `latent` values as the value: attention with one KV head, head_dim latent + rope,
// value_head_dim latent and values == keys. See values_in_keys().
inline bool values_in_keys(const AttentionOp& op) {
    return op.values == op.keys;
}

// Which positions a query of sparse attention reads (softmax.md section 3.2):
//   score(t, s) = sum over heads h of weight(t, h) * max(0, q(t, h) . key(s)), s <= position of t
// and of those the best `most`, the lowest position first among equals.
struct ChooseKeysOp {
    View<const float, 3> q;       // (T, heads, head_dim)
    View<const float, 2> weights; // (T, heads), all factors in it
    DType cache_dtype = DType::F16;
    const std::byte* keys = nullptr; // (length, head_dim)
    std::int64_t length = 0;         // the last T belong to q
    std::int64_t most = 0;
    // (T, most): ascending positions, then -1. In scratch memory: an id takes a float's room.
    std::int32_t* chosen = nullptr;
    void check() const;
};

// The gated delta mixer between its projections: convolution, SiLU, unit q and k, gates, state
// update, read-out, gated norm (delta.md section 4.2). T = 1 is the decode step, T > 1 runs chunks.
struct GatedDeltaOp {
    GatedDeltaSpec spec;
    View<const float, 2> qkv;           // (T, conv_channels): q heads | k heads | v heads
    View<const float, 2> z;             // (T, value_heads * value_dim), the output gate
    View<const float, 2> b;             // (T, value_heads), before the sigmoid
    View<const float, 2> a;             // (T, value_heads), before the softplus
    const float* conv_weight = nullptr; // (conv_channels, conv_kernel), the last tap is now
    const float* decay_rate = nullptr;  // (value_heads), -exp(A_log)
    const float* dt_bias = nullptr;     // (value_heads)
    const float* norm_weight = nullptr; // (value_dim)
    float norm_eps = 1e-6f;
    float* conv_state = nullptr; // (conv_channels, conv_kernel - 1), read and written
    float* state = nullptr;      // (value_heads, key_dim, value_dim), read and written
    View<float, 2> out;          // (T, value_heads * value_dim), ready for the output projection
    // For taps, may be null: what is kept and written per token.
    float* decay_out = nullptr; // (T, value_heads) in (0, 1]
    float* beta_out = nullptr;  // (T, value_heads)
    void check() const;
};

// Kimi delta attention between its projections: convolution, SiLU, unit q and k, decay per key
// channel, state update, read-out, norm and sigmoid gate (delta.md section 5.2).
struct KdaOp {
    KdaSpec spec;
    View<const float, 2> q, k, v;       // (T, heads * head_dim), before the convolution
    View<const float, 2> decay;         // (T, heads * head_dim), f without dt_bias
    View<const float, 2> b;             // (T, heads), before the sigmoid
    View<const float, 2> gate;          // (T, heads * head_dim), before the sigmoid
    const float* conv_weight = nullptr; // (3 * heads * head_dim, conv_kernel): q, k, v
    const float* decay_rate = nullptr;  // (heads), -exp(A_log)
    const float* dt_bias = nullptr;     // (heads * head_dim)
    const float* norm_weight = nullptr; // (head_dim)
    float norm_eps = 1e-6f;
    float* conv_state = nullptr; // (3 * heads * head_dim, conv_kernel - 1), read and written
    float* state = nullptr;      // (heads, head_dim, head_dim) keys by values, read and written
    View<float, 2> out;          // (T, heads * head_dim)
    float* decay_out = nullptr;  // for taps: (T, heads), mean over channels, in (0, 1]; or null
    float* beta_out = nullptr;   // (T, heads); or null
    void check() const;
};

// Lightning attention between its projections: SiLU or norms, rotation, state update, read-out,
// group norm and sigmoid gate (lightning.md section 1).
struct LightningOp {
    LightningSpec spec;
    View<const float, 3> q, k, v; // (T, heads, head_dim), views of the projection; q, k normed and
                                  // rotated already, none of them through SiLU
    View<const float, 2> gate;    // (T, heads * head_dim), before the sigmoid
    const float* decay_rates = nullptr; // (heads), > 0
    const float* norm_weight = nullptr; // (heads * head_dim)
    float norm_eps = 1e-6f;
    float* state = nullptr; // (heads, head_dim, head_dim) keys by values, read and written
    View<float, 2> out;     // (T, heads * head_dim)
    void check() const;
};

// A mixture between the residual stream and back: route, run the chosen experts, add.
struct MoeOp {
    MoeSpec spec;
    View<const float, 2> x;      // (T, hidden)
    View<const float, 2> scores; // (T, experts), the router's product, before softmax or sigmoid
    const float* choice_bias = nullptr;     // (experts), added for the choice only; or null
    std::span<const Weight> gate, up, down; // one matrix per expert
    // One row per expert, (inter), (inter), (hidden); or empty.
    std::span<const float*const> gate_bias, up_bias, down_bias;
    View<float, 2> out;                 // (T, hidden), overwritten
    std::int32_t* chosen_out = nullptr; // for taps: (T, top_k), or null
    void check() const;
};

struct DeviceInfo {
    std::string name; // "AMD EPYC ..., 2 threads, AVX-512"
    std::string kind; // "cpu", "cuda"
    std::int64_t total_bytes = 0;
    std::int64_t free_bytes = 0;
};

class Backend {
public:
    virtual ~Backend() = default;

    virtual DeviceInfo device() const = 0;
    // Tokens of one pass through a model's layers: more would not make products faster, and
    // activations of a long prompt would take the memory that its state needs.
    virtual std::int64_t pass_tokens() const = 0;

    // --- memory ---
    virtual Result<std::unique_ptr<Buffer>> allocate(std::int64_t bytes) = 0; // zeroed
    virtual Result<std::unique_ptr<GrowingBuffer>> reserve(std::int64_t most_bytes) = 0;
    // Makes a matrix of the file, in host memory, usable by this backend. What memory that takes is
    // added to `held`; the CPU takes none and answers with the same pointer.
    virtual Result<Weight> place(const Weight& host,
                                 std::vector<std::unique_ptr<Buffer>>& held) = 0;
    virtual void copy_in(std::byte* to, std::span<const std::byte> from) = 0;
    virtual void copy_out(std::span<std::byte> to, const std::byte* from) = 0;
    virtual void copy(std::byte* to, const std::byte* from, std::int64_t bytes) = 0;
    // Scratch for one forward pass: valid until reset_scratch. (rows, cols) f32.
    virtual View<float, 2> scratch(std::int64_t rows, std::int64_t cols) = 0;
    virtual void reset_scratch() = 0;

    // --- pointwise ---
    // out (T, hidden) = rows of the table.
    virtual void embed(const Weight& table, std::span<const std::int32_t> ids,
                       View<float, 2> out) = 0;
    // x / rms(x) * weight per row; weight (cols). out may be x. With groups, a row is cut into
    // cols / weight.size() pieces that are normed alone (heads).
    virtual void rms_norm(View<const float, 2> x, std::span<const float> weight, float eps,
                          View<float, 2> out) = 0;
    // (x - mean) / sqrt(variance + eps) * weight + bias per row; out may be x.
    virtual void layer_norm(View<const float, 2> x, std::span<const float> weight,
                            std::span<const float> bias, float eps, View<float, 2> out) = 0;
    virtual void add(View<float, 2> x, View<const float, 2> y) = 0; // x += y
    // x = x_scale * x + y_scale * y
    virtual void blend(View<float, 2> x, float x_scale, View<const float, 2> y, float y_scale) = 0;
    virtual void scale(View<float, 2> x, float factor) = 0;
    virtual void copy_columns(View<const float, 3> from, View<float, 3> to) = 0; // equal extents
    virtual void softcap(View<float, 2> x, float cap) = 0; // cap * tanh(x / cap)
    // Per row, a softmax mixture of streams (T, hidden): the weight of a stream is exp(query .
    // stream / rms(stream)), over the sum of all; query (hidden).
    virtual void mix_streams(std::span<const View<const float, 2>> streams,
                             std::span<const float> query, float eps, View<float, 2> out) = 0;
    // out = glu(gate, up); out may be gate.
    virtual void glu(const GluSpec& spec, View<const float, 2> gate, View<const float, 2> up,
                     View<float, 2> out) = 0;
    // x *= sigmoid(gate), elementwise.
    virtual void sigmoid_gate(View<float, 3> x, View<const float, 3> gate) = 0;
    // x (T, hidden) *= sigmoid(gate) with one gate per row (T, 1).
    virtual void sigmoid_scale_rows(View<float, 2> x, View<const float, 2> gate) = 0;
    // Rotates the first dims of every head. x (T, heads, head_dim), token t at position first + t.
    virtual void rope(View<float, 3> x, const RopeTable& table, std::int64_t first_position) = 0;

    // --- matrices ---
    // out = x W^T (+ bias) for every product; x (T, K). One call shares what reading x costs.
    virtual void matmul(View<const float, 2> x, std::span<const Product> products) = 0;
    void matmul(View<const float, 2> x, const Weight& weight, View<float, 2> out) {
        const Product product{weight, out, nullptr};
        matmul(x, {&product, 1});
    }

    // A matrix per head: out (T, heads, N) = x (T, heads, K) times rows [h N, h N + N) of the
    // weight (heads * N, K), transposed.
    virtual void matmul_heads(View<const float, 3> x, const Weight& weight, View<float, 3> out) = 0;

    // --- token mixers ---
    // Writes k (T, kv_heads, head_dim) and v into a cache at positions [first, first + T).
    virtual void append_kv(View<const float, 3> rows, DType cache_dtype, std::byte* cache,
                           std::int64_t first_position, std::int64_t ring) = 0;
    virtual void attention(const AttentionOp& op) = 0;
    virtual void choose_keys(const ChooseKeysOp& op) = 0;
    virtual void gated_delta(const GatedDeltaOp& op) = 0;
    virtual void kda(const KdaOp& op) = 0;
    virtual void lightning(const LightningOp& op) = 0;

    // --- channel mixers ---
    virtual void moe(const MoeOp& op) = 0;

    // Waits until everything asked for is done. Errors: Device.
    virtual Result<void> finish() = 0;
};

// threads: 0 takes all physical cores.
std::unique_ptr<Backend> make_cpu_backend(int threads);

} // namespace hs
