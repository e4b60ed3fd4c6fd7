#pragma once
// What the family files share: settings of a checkpoint with an eye on those nobody understood,
// parts of a spec that several families spell alike, and tables of tensor names.
// Included by engine/spec alone.

#include "engine/core/json.h"
#include "engine/core/result.h"
#include "engine/files/checkpoint.h"
#include "engine/spec/families.h"
#include "engine/spec/model_spec.h"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

// Largest sizes that are taken seriously, so that no product of them wraps: the largest known model
// has 93 layers, hidden 8192, 896 experts, 248320 tokens.
namespace limits {
constexpr std::int64_t layers = 1024;
constexpr std::int64_t hidden = std::int64_t{1} << 17;
constexpr std::int64_t intermediate = std::int64_t{1} << 20;
constexpr std::int64_t heads = std::int64_t{1} << 13;
constexpr std::int64_t head_dim = std::int64_t{1} << 13;
constexpr std::int64_t head_values = std::int64_t{1} << 20; // heads x head_dim
constexpr std::int64_t experts = std::int64_t{1} << 13;
constexpr std::int64_t vocab = std::int64_t{1} << 24;
constexpr std::int64_t context = std::int64_t{1} << 28;
constexpr std::int64_t conv_kernel = 64;
} // namespace limits

// Unsupported, and Corrupt.
Error refused(std::string what, std::string remedy = {});
Error unsound(std::string what);

// Settings of a checkpoint: an object of config.json, or a GGUF's keys under its architecture.
// Remembers what was asked for, so that refuse_unknown() can name what was not.
class Settings {
public:
    // prefix: "" for config.json, "qwen35." for GGUF. where: "config.json", "text_config".
    Settings(const Json& object, std::string prefix, std::string where);

    bool has(std::string_view key);
    // The member, or nullptr when absent or null.
    const Json* member(std::string_view key);
    // An integer in [1, most]. Errors name the key, what was found and the range.
    Result<std::int64_t> size(std::string_view key, std::int64_t most);
    Result<std::int64_t> size(std::string_view key, std::int64_t most, std::int64_t absent);
    // An integer in [0, most].
    Result<std::int64_t> count(std::string_view key, std::int64_t most, std::int64_t absent);
    // A finite number.
    Result<double> number(std::string_view key);
    Result<double> number(std::string_view key, double absent);
    Result<bool> flag(std::string_view key, bool absent);
    Result<std::string> word(std::string_view key, std::string_view absent);
    // One integer for all layers or an array with one for each, in [0, most].
    Result<std::vector<std::int64_t>> per_layer(std::string_view key, std::int64_t layers,
                                                std::int64_t most);
    // A list of integers in [0, most]; empty when absent.
    Result<std::vector<std::int64_t>> list(std::string_view key, std::int64_t most);
    Result<std::vector<std::string>> words(std::string_view key);

    // Keys that say nothing about the forward pass of this family.
    void ignore(std::initializer_list<std::string_view> keys);
    // Errors: Unsupported for a key that was never asked for, whose name speaks of the forward
    // pass and whose value is not neutral (null, false, 0, empty). Others are logged.
    Result<void> refuse_unknown(std::string_view family);
    // The same keys, "name = value", for a model that is planned only.
    std::vector<std::string> unknown();

    const std::string& where() const { return m_where; }

private:
    std::string full(std::string_view key) const { return m_prefix + std::string(key); }

    const Json* m_object;
    std::string m_prefix;
    std::string m_where;
    std::set<std::string, std::less<>> m_asked;
};

// The values of a spec's tensors by name: "layers.#.mixer.q" to a source whose name holds {L} for
// the layer and {E} for the expert.
class TensorNames {
public:
    void add(std::string spec_tensor, std::string checkpoint_tensor,
             TensorSource::Transform transform = TensorSource::Transform::None);
    // A source with all its fields; {L} and {E} are replaced in all names it holds.
    void add_source(std::string spec_tensor, TensorSource source);
    // Some rows of a tensor of `file_rows`.
    void add_rows(std::string spec_tensor, std::string checkpoint_tensor,
                  std::vector<TensorSource::RowRange> rows, std::int64_t file_rows);
    // A tensor that holds all experts, all or some rows of each.
    void add_stacked(std::string spec_tensor, std::string checkpoint_tensor,
                     std::vector<TensorSource::RowRange> rows = {}, std::int64_t file_rows = 0);
    // The names of a layer once more for the multi-token prediction head ("draft.#."): in the
    // checkpoint's names `layer` ("model.layers.{L}.") becomes `head` ("mtp.layers.0.").
    void add_draft_layer(const std::string& layer, const std::string& head);
    TensorMap map() const;

private:
    std::map<std::string, TensorSource, std::less<>> m_sources;
};

// Where one name of a spec stands for different tensors by the layer's mixer: `full` layers are
// looked up in one map, the others in the other, and what belongs to no layer in the first.
TensorMap by_layer(std::vector<bool> full, TensorMap in_full, TensorMap in_others);

// What a multi-token prediction head has beside its layer, less ".weight".
struct DraftNames {
    std::string join, embedding_norm, hidden_norm, norm;
};
// Whether a head is there, and not a piece of one: every "{head}{part}.weight".
bool has_all(const Checkpoint& checkpoint, const std::string& head,
             std::initializer_list<const char*> parts);
// A head whose layer is named as those of the trunk are, with `head` in the place of `layer`.
void add_draft(TensorNames& names, const std::string& layer, const std::string& head,
               const DraftNames& own,
               TensorSource::Transform norms = TensorSource::Transform::None);

// ModelSpec::cannot_run: the reasons, and settings that nobody understood, of which it cannot be
// said that they change no size.
std::string why_not_run(const std::vector<std::string>& reasons, Settings& settings);

// What is common to all families here, before layers are known.
struct Frame {
    ModelSpec spec; // all but layers
    std::int64_t layers = 0;
    std::int64_t query_heads = 0;
};

// --- config.json -------------------------------------------------------------------------------

// The settings with what a model class takes for those that are absent or null.
Json with_defaults(const Json& given, const Json& defaults);
// hidden_size, vocab_size, num_hidden_layers, rms_norm_eps, hidden_act ("silu" alone) ...
Result<Frame> read_frame(const Checkpoint& checkpoint, const char* family, Settings& settings);
// Whether the output matrix is the embedding; the outer settings of a wrapper speak first.
Result<bool> read_tied(const Checkpoint& checkpoint, Settings& outer, Settings& inner);
// rope_parameters, rope_scaling, rope_theta, partial_rotary_factor.
Result<RopeSpec> read_rope(Settings& settings, std::int64_t head_dim, double default_partial,
                           std::int64_t context_length);
// The same of an object that stands for rope_parameters, as configs with one per layer type hold.
Result<RopeSpec> read_rope_parameters(const Json& parameters, const std::string& where,
                                      std::int64_t head_dim, double default_partial,
                                      std::int64_t context_length);
// num_attention_heads ... of full attention, without rope.
Result<SoftmaxSpec> read_softmax(Settings& settings, std::int64_t query_heads,
                                 std::int64_t default_head_dim);
Result<MoeSpec> read_moe(Settings& settings, bool always_normalised, bool shared);
// quantization_config: none, or FP8 that is decided tensor by tensor.
Result<void> check_quantisation(Settings& settings);
// "model.language_model." and the like: what stands before "embed_tokens.weight".
std::string tensor_prefix(const Checkpoint& checkpoint);
void add_dense_names(TensorNames& names, const std::string& layer_prefix, bool bias);
// Experts one by one or stacked, as the checkpoint has them.
void add_moe_names(TensorNames& names, const std::string& layer_prefix,
                   const Checkpoint& checkpoint, const MoeSpec& moe);
void add_softmax_names(TensorNames& names, const std::string& layer_prefix,
                       TensorSource::Transform norms);

// --- GGUF --------------------------------------------------------------------------------------

Result<Frame> read_gguf_frame(const Checkpoint& checkpoint, const char* family, Settings& settings);
Result<RopeSpec> read_gguf_rope(Settings& settings, std::int64_t head_dim, RopeLayout layout);
// kv_heads is set per layer by the caller where it differs.
Result<SoftmaxSpec> read_gguf_softmax(Settings& settings, const Frame& frame);
// absent_gating: 1 softmax, 2 sigmoid, 3 softmax of the chosen, where the file does not say.
Result<MoeSpec> read_gguf_moe(const Checkpoint& checkpoint, Settings& settings,
                              std::int64_t absent_gating = 1);
void add_gguf_softmax_names(TensorNames& names);
void add_gguf_dense_names(TensorNames& names);
void add_gguf_moe_names(TensorNames& names, const Checkpoint& checkpoint, const MoeSpec& moe);
bool has_layer_tensor(const Checkpoint& checkpoint, std::int64_t layer, std::string_view suffix);

// True for tensors of GGUF blocks at and behind `trunk`, where multi-token prediction lies.
bool is_behind_trunk(std::string_view tensor, std::int64_t trunk);
// Why a tensor that no layer asked for is left out, or nullptr when nobody knows it.
const char* known_extra(std::string_view tensor);

// The families' own readers, one file each.
Result<SpecAndTensors> read_llama(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_deepseek_v2(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_deepseek_v3(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_deepseek_v32(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_deepseek_v4(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_glm_5(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_gemma3(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_gpt_oss(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_mimo_v2(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_minimax(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_ring_linear(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_ling_hybrid(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_minimax_m2(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_minimax_m3(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_kimi(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_olmo_hybrid(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_qwen3(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_qwen3_moe(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_qwen3_next(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_qwen3_5(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_qwen3_5_moe(const Checkpoint& checkpoint);
Result<SpecAndTensors> read_qwen4_exp(const Checkpoint& checkpoint);

} // namespace hs
