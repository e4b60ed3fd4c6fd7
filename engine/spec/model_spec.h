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

// What a layer picks its keys with before attention reads them: scores from small heads of their
// own, the best top_k of what is scored (softmax.md section 3.2).
struct IndexerSpec {
    std::int64_t heads = 0;
    std::int64_t head_dim = 0;
    std::int64_t top_k = 0; // positions, blocks of them, or compressed entries
    std::int64_t block = 1; // positions that are scored and chosen together
    RopeSpec rope;          // of the first dimensions of queries and keys

    bool operator==(const IndexerSpec&) const = default;
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
    bool sinks = false;       // a logit per query head that takes weight and brings no value
    double value_scale = 1.0; // of what attention reads
    RopeSpec rope;
    std::optional<IndexerSpec> indexer; // reads what it chooses alone; the cache keeps all

    bool operator==(const SoftmaxSpec&) const = default;
};

// Latent attention (MLA): keys and values of all heads come from one compressed row per position,
// which alone is cached (softmax.md section 3.1).
struct LatentSpec {
    std::int64_t query_heads = 0;
    std::int64_t nope_dim = 0;   // of a query head, without position
    std::int64_t rope_dim = 0;   // of a query head and of the one key all heads share
    std::int64_t value_dim = 0;  // of a head
    std::int64_t kv_rank = 0;    // of the compressed row
    std::int64_t query_rank = 0; // queries are compressed too; 0: straight from x
    double scale = 0.0;
    double latent_norm_eps = 0.0; // of the norms inside; 0: the model's
    bool output_gate = false;     // out * sigmoid(gate x)
    RopeSpec rope;                // dims rope_dim, or 0: those values carry no position
    std::optional<IndexerSpec> indexer;
    bool shares_choice = false; // reads the positions that the last indexer before it chose

    std::int64_t query_dim() const { return nope_dim + rope_dim; }
    std::int64_t cached_dim() const { return kv_rank + rope_dim; }
    bool operator==(const LatentSpec&) const = default;
};

// Attention over one row per position that is key and value of all heads: the last `window` of them
// as they are, and all before in entries made of `rate` positions each, by learned weights
// (softmax.md sections 5.2 and 5.3). Queries and output go through products of lower rank.
struct CompressedSpec {
    std::int64_t query_heads = 0;
    std::int64_t head_dim = 0; // of a query head and of the row
    std::int64_t query_rank = 0;
    std::int64_t output_groups = 0; // heads of a group share a product down to output_rank
    std::int64_t output_rank = 0;
    std::int64_t window = 0;  // rows kept as they are; 0: all, and then nothing is compressed
    std::int64_t rate = 0;    // 0: beyond the window nothing is kept
    bool overlapping = false; // an entry is made of its own positions and those of the one before
    std::optional<IndexerSpec> indexer; // of entries; none: all are read

    bool operator==(const CompressedSpec&) const = default;
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
    bool joined_qkv = true; // one matrix "qkv"; else "q", "k" and "v"
    double norm_eps = 0.0;  // of the gated norm; 0: the model's

    std::int64_t conv_channels() const { return 2 * key_heads * key_dim + value_heads * value_dim; }
    bool operator==(const GatedDeltaSpec&) const = default;
};

// Kimi delta attention: the gated delta rule with a decay for every key channel (delta.md
// section 5). Keys and values have head_dim channels.
struct KdaSpec {
    std::int64_t heads = 0;
    std::int64_t head_dim = 0;
    std::int64_t conv_kernel = 4;
    std::int64_t decay_rank = 0; // of the two products that make the decay
    std::int64_t gate_rank = 0;  // of the output gate's two; 0: one full product
    // Log decay per step: -exp(A) softplus(f), or with a bound L < 0, L sigmoid(exp(A) f).
    double decay_bound = 0.0;

    std::int64_t channels() const { return heads * head_dim; } // of each of q, k and v
    bool operator==(const KdaSpec&) const = default;
};

// Lightning attention: a matrix per head that fades by a constant (lightning.md section 1).
struct LightningSpec {
    std::int64_t heads = 0;
    std::int64_t head_dim = 0;
    bool silu = false; // on queries, keys and values
    // Rows of "qkv" are [q | k | v] head by head; else all q, all k, all v.
    bool qkv_per_head = false;
    bool qk_norm = false;         // per head; not with qkv_per_head
    double scale = 1.0;           // of what is read
    std::int64_t norm_groups = 1; // the norm of the output is over heads * head_dim / norm_groups
    double norm_eps = 0.0;        // of that norm; 0: the model's
    double layer_factor = 1.0;    // of all decay rates of the layer
    // Rates fall evenly whatever the number of heads; else as they are interleaved for numbers that
    // are no power of two.
    bool even_rates = false;
    RopeSpec rope;

    bool operator==(const LightningSpec&) const = default;
};
// Rates s of all heads, > 0: a step keeps exp(-s). lightning.md section 1.1.
std::vector<float> lightning_decay_rates(const LightningSpec& spec);
// 1 - layer / (layers - 1) + 1e-5, by absolute index among all layers.
double lightning_layer_factor(std::int64_t layer, std::int64_t layers);

using TokenMixerSpec =
    std::variant<SoftmaxSpec, LatentSpec, CompressedSpec, GatedDeltaSpec, KdaSpec, LightningSpec>;

// What a person sees of a mixer: one word, one colour, one cell of the layer strip.
enum class MixerKind {
    FullAttention,
    SlidingWindow,
    Latent,
    Sparse,
    Compressed,
    GatedDelta,
    Kda,
    Lightning
};
inline constexpr MixerKind kLastMixerKind = MixerKind::Lightning;

MixerKind kind_of(const TokenMixerSpec& mixer);
const char* to_string(MixerKind kind); // "full attention", "latent attention", "gated delta" ...
char letter(MixerKind kind);           // "F", "M", "D" ...: never colour alone
bool is_linear(MixerKind kind);        // fixed-size state
bool is_full(MixerKind kind);          // softmax over all positions: the "full" of a hybrid ratio

// --- Channel mixers ------------------------------------------------------------------------------

// How gate g and up u become what the down product reads.
struct GluSpec {
    enum class Kind {
        Silu,     // silu(g) u
        GeluTanh, // gelu(g) u, gelu by its tanh form
        Clamped,  // (u' + 1) g' sigmoid(alpha g'), g' = min(g, limit), u' = u within +-limit
        Situ,     // beta tanh(g / beta) sigmoid(g) linear_beta tanh(u / linear_beta)
    };
    Kind kind = Kind::Silu;
    double alpha = 1.702, limit = 7.0;
    double beta = 4.0, linear_beta = 25.0;

    bool operator==(const GluSpec&) const = default;
};

// down(glu(gate x, up x))
struct DenseSpec {
    std::int64_t intermediate = 0;
    bool bias = false; // of all three products
    GluSpec glu;

    bool operator==(const DenseSpec&) const = default;
};

struct MoeSpec {
    // Softmax over all experts or over the chosen, or each expert's own sigmoid.
    enum class Score { Softmax, Sigmoid, SoftmaxOfChosen };
    std::int64_t experts = 0;
    std::int64_t top_k = 0;
    std::int64_t intermediate = 0;        // of one expert
    std::int64_t shared_intermediate = 0; // 0: no shared expert
    bool shared_gate = false;             // shared expert * sigmoid(gate x)
    Score score = Score::Softmax;
    bool normalise_top_k = true; // weights of the chosen sum to one
    double weight_scale = 1.0;
    bool choice_bias = false; // added to the scores for the choice alone
    // Experts lie in `groups` equal groups, of which only the best groups_kept are chosen from; a
    // group's score is the sum of its group_best largest, 1 or 2.
    std::int64_t groups = 1;
    std::int64_t groups_kept = 1;
    std::int64_t group_best = 2;
    bool router_bias = false; // of the router's product
    bool expert_bias = false; // of all products of the experts
    // Experts work on a narrower row: x down to `latent`, their sum normed and up again; 0: on x.
    std::int64_t latent = 0;
    bool latent_norm = false;
    GluSpec glu; // of experts and shared expert

    bool operator==(const MoeSpec&) const = default;
};

using ChannelMixerSpec = std::variant<DenseSpec, MoeSpec>;

// --- The whole -----------------------------------------------------------------------------------

// How a mixer joins the residual stream x:
//   skip_scale * skip + branch_scale * norm_after(mixer(norm_before(x)))
// where skip is x, or norm_before(x).
struct JoinSpec {
    bool norm_before = true;
    bool norm_after = false;
    bool skip_normed = false;
    double skip_scale = 1.0;
    double branch_scale = 1.0;

    bool operator==(const JoinSpec&) const = default;
};

// Residual streams side by side (hyper-connections): what a mixer reads is mixed from all of them,
// and its answer goes to each by a weight of its own, both computed from the streams (softmax.md
// section 5.4, delta.md section 9).
struct StreamsSpec {
    std::int64_t count = 1; // 1: the ordinary residual stream
    // Of the two products that weigh every channel of every stream, which then stand for the final
    // norm too; 0: one weight per stream, and a matrix that mixes the streams.
    std::int64_t rank = 0;

    bool operator==(const StreamsSpec&) const = default;
};

// Embeddings of the last few tokens together: `heads` rows of a table, found by hashes of the last
// two, three ... `longest` ids, go through a gate and a convolution over the positions that lie
// `longest` apart, and are added to the stream (delta.md section 9).
struct NgramSpec {
    std::int64_t rows = 0; // of the table
    std::int64_t row_dim = 0;
    std::int64_t heads = 0;
    std::int64_t longest = 0;
    std::int64_t conv_kernel = 0;

    bool operator==(const NgramSpec&) const = default;
};

struct LayerSpec {
    TokenMixerSpec mixer;
    ChannelMixerSpec channel;
    JoinSpec mixer_join = {};
    JoinSpec channel_join = {};
    std::optional<NgramSpec> ngram = {}; // before the token mixer

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
    double embedding_scale = 1.0;
    double logit_softcap = 0.0; // cap * tanh(logit / cap); 0: none
    // Attention residuals: every so many layers the stream is put aside, and each mixer reads a
    // softmax mixture of all that was put aside and the running stream (delta.md section 8); 0: no.
    std::int64_t residual_block = 0;
    StreamsSpec streams;
    // Why no backend can run it, with the settings that say so; empty: it runs. Such a spec is
    // exact in what it weighs and keeps; what only the forward pass reads may be left as it was.
    std::string cannot_run;
    // Ids that stand for no token: their rows of the output matrix are empty and their logits mean
    // nothing.
    std::vector<std::int32_t> never_sampled;
    std::vector<LayerSpec> layers;
    // A head that guesses the token after the next (multi-token prediction): one more layer, over
    // the next token's embedding and the last hidden row, both normed and joined by a product.
    std::optional<LayerSpec> draft;

    bool operator==(const ModelSpec&) const = default;
};

// Weights of a spec, counted from its dimensions.
struct ParameterCount {
    std::int64_t total = 0;
    std::int64_t active = 0;    // touched by one token: of a mixture, the chosen and shared experts
    std::int64_t embedding = 0; // with the tables of n-grams
    std::int64_t token_mixers = 0;
    std::int64_t channel_mixers = 0;
    std::int64_t draft = 0; // of the multi-token prediction head, in none of the others
};
ParameterCount count_parameters(const ModelSpec& spec);

// Layers by kind, "8 full attention" or "1:3 (2 full attention, 6 gated delta)".
std::string describe_schedule(const ModelSpec& spec);

} // namespace hs
