#pragma once
// ModelSpec: what a model is, as data. A list of layers, each with a token mixer and a channel
// mixer, and their dimensions. After a family has made one, nothing asks for a model's name.
// Plain values; the loader, the planner, the layer strip and the reports all read this.

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace hs {

// --- Token mixers --------------------------------------------------------------------------------

enum class RopeLayout { HalfSplit, Interleaved }; // pairs (i, i + r/2), or (2i, 2i + 1)

// How angles are stretched for long contexts (softmax.md section 1.3).
struct RopeScaling {
    enum class Kind { None, Linear, Yarn, Llama3 };
    Kind kind = Kind::None;
    double factor = 1.0;
    std::int64_t original_context = 0;
    double beta_fast = 32.0, beta_slow = 1.0;             // YaRN
    bool truncate = true;                                 // YaRN: whole corrections
    double attention_factor = 1.0;                        // YaRN: multiplies cos and sin
    double low_freq_factor = 1.0, high_freq_factor = 4.0; // Llama 3

    bool operator==(const RopeScaling&) const = default;
};

struct RopeSpec {
    std::int64_t dims = 0; // rotated dimensions of a head, its first; 0: no rotation
    double theta = 10000.0;
    RopeLayout layout = RopeLayout::HalfSplit;
    RopeScaling scaling;
    // What each frequency is divided by, where a file states it (GGUF rope_freqs); or empty.
    std::vector<float> divisors;

    bool operator==(const RopeSpec&) const = default;
};

enum class QkNorm { None, PerHead, AllHeads };

// Softmax attention over a KV cache: GQA, optionally gated, windowed, with sinks.
struct SoftmaxSpec {
    std::int64_t query_heads = 0;
    std::int64_t kv_heads = 0;
    std::int64_t head_dim = 0;       // of queries and keys
    std::int64_t value_head_dim = 0; // usually head_dim
    double scale = 0.0;              // of the logits, usually head_dim^-0.5
    std::int64_t window = 0;         // keys seen, the query's own among them; 0: all
    QkNorm qk_norm = QkNorm::None;
    bool output_gate = false; // q_proj rows are [query | gate] per head; out * sigmoid(gate)
    bool qkv_bias = false;
    bool output_bias = false;
    RopeSpec rope;

    bool operator==(const SoftmaxSpec&) const = default;
};

// Which key head serves value head h of H_v: h / (H_v / H_k), or h mod H_k (delta.md 14.3).
enum class HeadMap { Grouped, Tiled };

// Gated delta rule with a short convolution (Gated DeltaNet).
struct GatedDeltaSpec {
    std::int64_t key_heads = 0;
    std::int64_t value_heads = 0;
    std::int64_t key_dim = 0;   // per head
    std::int64_t value_dim = 0; // per head
    std::int64_t conv_kernel = 4;
    double beta_scale = 1.0; // beta = beta_scale * sigmoid(b); 2 allows negative eigenvalues
    HeadMap head_map = HeadMap::Grouped;

    std::int64_t conv_channels() const { return 2 * key_heads * key_dim + value_heads * value_dim; }
    bool operator==(const GatedDeltaSpec&) const = default;
};

using TokenMixerSpec = std::variant<SoftmaxSpec, GatedDeltaSpec>;

// What a person sees of a mixer: one word, one colour, one cell of the layer strip.
enum class MixerKind { FullAttention, SlidingWindow, GatedDelta };
inline constexpr MixerKind kLastMixerKind = MixerKind::GatedDelta;

MixerKind kind_of(const TokenMixerSpec& mixer);
const char* to_string(MixerKind kind); // "full attention", "sliding window", "gated delta"
char letter(MixerKind kind);           // "F", "W", "L": never colour alone
bool is_linear(MixerKind kind);        // fixed-size state

// --- Channel mixers ------------------------------------------------------------------------------

// down(silu(gate x) * up x)
struct DenseSpec {
    std::int64_t intermediate = 0;
    bool bias = false; // of all three products

    bool operator==(const DenseSpec&) const = default;
};

struct MoeSpec {
    enum class Score { Softmax, Sigmoid };
    std::int64_t experts = 0;
    std::int64_t top_k = 0;
    std::int64_t intermediate = 0;        // of one expert
    std::int64_t shared_intermediate = 0; // 0: no shared expert
    bool shared_gate = false;             // shared expert * sigmoid(gate x)
    Score score = Score::Softmax;
    bool normalise_top_k = true; // weights of the chosen sum to one
    double weight_scale = 1.0;
    bool choice_bias = false; // added to the scores for the choice alone

    bool operator==(const MoeSpec&) const = default;
};

using ChannelMixerSpec = std::variant<DenseSpec, MoeSpec>;

// --- The whole -----------------------------------------------------------------------------------

struct LayerSpec {
    TokenMixerSpec mixer;
    ChannelMixerSpec channel;

    bool operator==(const LayerSpec&) const = default;
};

struct ModelSpec {
    std::string family; // "qwen3.5"
    std::string name;   // what the checkpoint calls itself, or its file's name
    std::int64_t hidden = 0;
    std::int64_t vocab = 0;
    std::int64_t context_length = 0; // positions it was made for
    double norm_eps = 1e-6;
    bool tied_embedding = false; // the output matrix is the embedding table
    std::vector<LayerSpec> layers;

    bool operator==(const ModelSpec&) const = default;
};

// Weights of a spec, counted from its dimensions.
struct ParameterCount {
    std::int64_t total = 0;
    std::int64_t active = 0; // touched by one token: of a mixture, the chosen and shared experts
    std::int64_t embedding = 0;
    std::int64_t token_mixers = 0;
    std::int64_t channel_mixers = 0;
};
ParameterCount count_parameters(const ModelSpec& spec);

// Layers by kind, "8 full attention" or "1:3 (2 full attention, 6 gated delta)".
std::string describe_schedule(const ModelSpec& spec);

} // namespace hs
