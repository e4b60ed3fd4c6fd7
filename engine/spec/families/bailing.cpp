// Ring-linear-2.0, and Ling and Ring 2.5 and 2.6: lightning attention with norms and rotation on
// queries and keys, and between it full attention (2.0) or latent attention (2.5, 2.6); mixtures
// chosen by groups behind the first dense layers (lightning.md sections 3 and 4).

#include "engine/spec/families/reading.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <functional>
#include <initializer_list>

namespace hs {
namespace {

using RowRange = TensorSource::RowRange;

// What stands between the lightning layers.
enum class Full { Softmax, Latent };

const char* family_of(Full kind) {
    return kind == Full::Softmax ? "ring-linear" : "ling-hybrid";
}

constexpr const char* kKnown = "supported are BailingMoeLinearV2ForCausalLM (Ring-linear-2.0) and "
                               "BailingMoeV2_5ForCausalLM (Ling and Ring 2.5 and 2.6)";

// Ling 3 goes by the same model type and is another model: its linear layers are KDA.
Result<void> refuse_third_generation(const Checkpoint& checkpoint) {
    const std::string& name = checkpoint.architecture();
    if (name.starts_with("BailingMoeV3")) {
        return refused(
            fmt::format("architecture {}: Ling 3 has other linear layers (KDA); {}", name, kKnown));
    }
    if (!checkpoint.metadata().is_object()) {
        return {};
    }
    for (const auto& [key, value] : checkpoint.metadata().items()) {
        std::string_view bare = key;
        if (bare.starts_with(name + ".")) {
            bare.remove_prefix(name.size() + 1);
        }
        const bool theirs = bare.starts_with("kda_") || bare.starts_with("kda.") ||
                            bare.starts_with("ssm.conv") || bare == "short_conv_kernel_size";
        if (theirs && !value.is_null()) {
            return refused(fmt::format("{}: a setting of Ling 3, whose linear layers are KDA; {}",
                                       key, kKnown));
        }
    }
    return {};
}

Result<void> check_groups(const MoeSpec& moe, const std::string& where) {
    if (moe.experts % moe.groups != 0 || moe.groups_kept > moe.groups ||
        moe.top_k > moe.experts / moe.groups * moe.groups_kept) {
        return unsound(fmt::format("{}: {} of {} experts cannot be chosen from {} of {} groups",
                                   where, moe.top_k, moe.experts, moe.groups_kept, moe.groups));
    }
    if (moe.groups > 1 && moe.groups_kept < moe.groups && moe.experts / moe.groups < 2) {
        return unsound(
            fmt::format("{}: {} groups of one expert have no two best", where, moe.groups));
    }
    return {};
}

Result<void> check_latent(const LatentSpec& s, const std::string& where) {
    const std::int64_t widest = std::max({s.query_dim(), s.nope_dim + s.value_dim, s.cached_dim()});
    if (s.query_heads * widest > limits::head_values) {
        return unsound(fmt::format("{}: {} heads of {} are more than {} values", where,
                                   s.query_heads, widest, limits::head_values));
    }
    return {};
}

Result<void> check_lightning(const LightningSpec& s, const std::string& where) {
    const std::int64_t channels = s.heads * s.head_dim;
    if (channels > limits::head_values) {
        return unsound(fmt::format("{}: {} heads of {} are more than {} values", where, s.heads,
                                   s.head_dim, limits::head_values));
    }
    if (channels % s.norm_groups != 0) {
        return unsound(fmt::format("{}: {} channels do not divide into {} groups to norm", where,
                                   channels, s.norm_groups));
    }
    return {};
}

// k_b and v_b out of kv_b, whose rows are [keys | values] head by head.
void add_split_names(TensorNames& names, const LatentSpec& s, const std::string& kv_b) {
    const std::int64_t height = s.nope_dim + s.value_dim;
    TensorSource keys;
    keys.name = kv_b;
    keys.file_rows = s.query_heads * height;
    keys.transposed = s.nope_dim;
    std::vector<RowRange> values;
    for (std::int64_t h = 0; h < s.query_heads; ++h) {
        keys.rows.push_back({h * height, s.nope_dim});
        values.push_back({h * height + s.nope_dim, s.value_dim});
    }
    names.add_source("layers.#.mixer.k_b", std::move(keys));
    names.add_rows("layers.#.mixer.v_b", kv_b, std::move(values), s.query_heads * height);
}

void add_layers(ModelSpec& spec, const std::vector<bool>& full, const TokenMixerSpec& attention,
                LightningSpec lightning, bool fades_by_layer, const DenseSpec& dense,
                const MoeSpec& moe, std::int64_t dense_layers) {
    const auto layers = static_cast<std::int64_t>(full.size());
    for (std::int64_t i = 0; i < layers; ++i) {
        LayerSpec layer{attention, moe};
        if (!full[static_cast<std::size_t>(i)]) {
            // The class published with Ring 2.5 counts layers from one here; all engines that its
            // makers train and serve with count from zero (lightning.md section 1.1).
            lightning.layer_factor = fades_by_layer ? lightning_layer_factor(i, layers) : 1.0;
            layer.mixer = lightning;
        }
        if (i < dense_layers) {
            layer.channel = dense;
        }
        spec.layers.push_back(std::move(layer));
    }
}

// --- config.json -------------------------------------------------------------------------------

// Whether any layer has a tensor of this name.
bool has_tensor(const Checkpoint& checkpoint, std::string_view name) {
    const auto tensors = checkpoint.tensors();
    return std::any_of(tensors.begin(), tensors.end(),
                       [&](const TensorInfo& tensor) { return tensor.name.ends_with(name); });
}

Result<void> expect_flag(Settings& settings, std::string_view key, bool expected) {
    if (TRY(settings.flag(key, expected)) != expected) {
        return refused(fmt::format("{}: {}: expected {}, found {}", settings.where(), key, expected,
                                   !expected));
    }
    return {};
}

// What this family says of rotation in its own way.
struct Rotated {
    std::int64_t dims = 0;         // of a head
    double attention_factor = 1.0; // of YaRN's, another one
};

// How many of a head's dimensions rotate is rotary_dim, or partial_rotary_factor of them all. Takes
// the settings away, so that the rotation is read as one of that many dimensions.
Result<Rotated> take_rotated(Json& config, std::int64_t head_dim) {
    Settings settings(config, "", "config.json");
    Rotated taken;
    double partial = TRY(settings.number("partial_rotary_factor", 1.0));
    for (const char* key : {"rope_parameters", "rope_scaling"}) {
        if (const Json* rope = settings.member(key); rope != nullptr && rope->is_object()) {
            Settings inner(*rope, "", std::string("config.json: ") + key);
            partial = TRY(inner.number("partial_rotary_factor", partial));
            taken.attention_factor = TRY(inner.number("attn_factor", taken.attention_factor));
        }
    }
    if (!(partial > 0.0 && partial <= 1.0)) {
        return unsound(fmt::format("config.json: partial_rotary_factor: expected a number in "
                                   "(0, 1], found {}",
                                   partial));
    }
    const auto share = static_cast<std::int64_t>(static_cast<double>(head_dim) * partial);
    taken.dims = TRY(settings.size("rotary_dim", head_dim, share));
    if (taken.dims < 2 || taken.dims % 2 != 0) {
        return refused(fmt::format("config.json: rotary_dim: expected an even number of rotated "
                                   "dimensions, found {}",
                                   taken.dims));
    }
    config.erase("rotary_dim");
    config.erase("partial_rotary_factor");
    for (const char* key : {"rope_parameters", "rope_scaling"}) {
        if (const auto rope = config.find(key); rope != config.end() && rope->is_object()) {
            rope->erase("partial_rotary_factor");
            rope->erase("attn_factor");
        }
    }
    return taken;
}

// True for the layers with full attention: the last of every group, and those behind the last
// whole group.
Result<std::vector<bool>> read_schedule(Settings& settings, std::int64_t layers) {
    const std::int64_t group = TRY(settings.size("layer_group_size", limits::layers));
    std::vector<bool> full;
    for (std::int64_t i = 0; i < layers; ++i) {
        full.push_back((i + 1) % group == 0 || i >= layers / group * group);
    }
    return full;
}

Result<LightningSpec> read_lightning(const Checkpoint& checkpoint, Settings& settings,
                                     const Frame& frame, std::int64_t head_dim,
                                     const RopeSpec& rope) {
    LightningSpec s;
    s.heads = frame.query_heads;
    s.head_dim = head_dim;
    s.qk_norm = TRY(
        settings.flag("use_qk_norm", has_tensor(checkpoint, ".attention.query_layernorm.weight")));
    s.scale = 1.0 / std::sqrt(static_cast<double>(head_dim));
    // The number of groups, not their width.
    s.norm_groups = TRY(settings.size("group_norm_size", limits::heads, 1));
    const bool rotates = TRY(settings.flag("linear_rope", true));
    if (rotates) {
        s.rope = rope;
    }
    for (const char* key : {"linear_silu", "use_linear_silu"}) {
        TRY(expect_flag(settings, key, false));
    }
    if (TRY(settings.size("num_linear_key_value_heads", limits::heads, s.heads)) != s.heads) {
        return refused(fmt::format("{}: num_linear_key_value_heads: expected {}, as many as "
                                   "num_attention_heads",
                                   settings.where(), s.heads));
    }
    TRY(check_lightning(s, settings.where()));
    return s;
}

// The factor of the logits: 1 / sqrt(dims), and under YaRN the magnitude twice.
Result<double> read_latent_scale(const Json& config, const LatentSpec& s) {
    const double plain = 1.0 / std::sqrt(static_cast<double>(s.query_dim()));
    const double factor = s.rope.scaling.factor;
    if (s.rope.scaling.kind != RopeScaling::Kind::Yarn || factor <= 1.0) {
        return plain;
    }
    const Json* rope = json_member(config, "rope_scaling");
    if (rope == nullptr || !rope->is_object() || rope->empty()) {
        rope = json_member(config, "rope_parameters");
    }
    if (rope == nullptr || !rope->is_object()) {
        return plain;
    }
    Settings settings(*rope, "", "config.json: rope_scaling");
    const double strength = TRY(settings.number("mscale_all_dim", 0.0));
    if (std::fabs(strength) > 100.0) {
        return unsound(fmt::format("{}: mscale_all_dim: expected a number in [-100, 100], found {}",
                                   settings.where(), strength));
    }
    const double magnitude = 0.1 * strength * std::log(factor) + 1.0;
    return plain * magnitude * magnitude;
}

Result<LatentSpec> read_latent(const Json& config, Settings& settings, const Frame& frame) {
    LatentSpec s;
    s.query_heads = frame.query_heads;
    s.nope_dim = TRY(settings.size("qk_nope_head_dim", limits::head_dim, 128));
    s.rope_dim = TRY(settings.size("qk_rope_head_dim", limits::head_dim, 64));
    s.value_dim = TRY(settings.size("v_head_dim", limits::head_dim, 128));
    s.kv_rank = TRY(settings.size("kv_lora_rank", limits::hidden));
    s.query_rank = TRY(settings.count("q_lora_rank", limits::hidden, 0));
    s.latent_norm_eps = 1e-6; // the class's, whatever rms_norm_eps says (lightning.md section 4.3)
    TRY(check_latent(s, settings.where()));
    if (s.rope_dim % 2 != 0) {
        return refused(fmt::format("{}: qk_rope_head_dim: expected an even number, found {}",
                                   settings.where(), s.rope_dim));
    }
    s.rope = TRY(read_rope(settings, s.rope_dim, 1.0, frame.spec.context_length));
    const bool interleaved = TRY(settings.flag("rope_interleave", true));
    s.rope.layout = interleaved ? RopeLayout::Interleaved : RopeLayout::HalfSplit;
    s.scale = TRY(read_latent_scale(config, s));
    settings.ignore({"num_key_value_heads", "qk_head_dim"});
    return s;
}

Result<MoeSpec> read_mixture(const Checkpoint& checkpoint, Settings& settings) {
    MoeSpec moe;
    moe.experts = TRY(settings.size("num_experts", limits::experts));
    moe.top_k = TRY(settings.size("num_experts_per_tok", moe.experts));
    moe.intermediate = TRY(settings.size("moe_intermediate_size", limits::intermediate));
    const std::int64_t shared = TRY(settings.count("num_shared_experts", limits::experts, 0));
    const std::int64_t width = TRY(settings.size("moe_shared_expert_intermediate_size",
                                                 limits::intermediate, moe.intermediate));
    if (shared * width > limits::intermediate) {
        return unsound(fmt::format("{}: {} shared experts of {} are more than {}", settings.where(),
                                   shared, width, limits::intermediate));
    }
    moe.shared_intermediate = shared * width;
    const bool there = has_tensor(checkpoint, ".mlp.gate.expert_bias") ||
                       has_tensor(checkpoint, ".mlp.gate.e_score_correction_bias");
    moe.choice_bias = TRY(settings.flag("moe_router_enable_expert_bias", there));
    // The first preview had softmax and no bias, and no such key; a bias came with the sigmoid.
    const std::string score =
        TRY(settings.word("score_function", moe.choice_bias ? "sigmoid" : "softmax"));
    if (score != "sigmoid" && score != "softmax") {
        return refused(fmt::format("{}: score_function: expected \"sigmoid\" or \"softmax\", found "
                                   "\"{}\"",
                                   settings.where(), score));
    }
    moe.score = score == "sigmoid" ? MoeSpec::Score::Sigmoid : MoeSpec::Score::Softmax;
    const std::string method = TRY(settings.word("topk_method", "noaux_tc"));
    if (method != "noaux_tc") {
        return refused(fmt::format("{}: topk_method: expected \"noaux_tc\", found \"{}\"",
                                   settings.where(), method));
    }
    moe.normalise_top_k = TRY(settings.flag("norm_topk_prob", true));
    moe.weight_scale = TRY(settings.number("routed_scaling_factor", 1.0));
    moe.groups = TRY(settings.size("n_group", moe.experts, 1));
    moe.groups_kept = TRY(settings.size("topk_group", moe.groups, moe.groups));
    TRY(check_groups(moe, settings.where()));
    settings.ignore({"router_dtype"});
    return moe;
}

TensorNames config_names(const Checkpoint& checkpoint, const TokenMixerSpec& attention,
                         std::int64_t query_heads) {
    const bool plain_name = checkpoint.find("model.embed_tokens.weight") != nullptr;
    const std::string layer = "model.layers.{L}.";
    const std::string part = layer + "attention.";
    const std::string mlp = layer + "mlp.";
    TensorNames names;
    names.add("embedding",
              plain_name ? "model.embed_tokens.weight" : "model.word_embeddings.weight");
    names.add("output", "lm_head.weight");
    names.add("norm", "model.norm.weight");
    names.add("layers.#.mixer_norm", layer + "input_layernorm.weight");
    names.add("layers.#.channel_norm", layer + "post_attention_layernorm.weight");

    names.add("layers.#.mixer.qkv", part + "query_key_value.weight");
    names.add("layers.#.mixer.gate", part + "g_proj.weight");
    names.add("layers.#.mixer.norm", part + "g_norm.weight");
    names.add("layers.#.mixer.out", part + "dense.weight");
    names.add("layers.#.mixer.q_norm", part + "query_layernorm.weight");
    names.add("layers.#.mixer.k_norm", part + "key_layernorm.weight");
    // Some converters renamed the output of full layers.
    const bool renamed = has_tensor(checkpoint, ".attention.o_proj.weight");
    names.add("layers.#.mixer.o", part + (renamed ? "o_proj.weight" : "dense.weight"));
    if (const auto* softmax = std::get_if<SoftmaxSpec>(&attention)) {
        // One matrix for queries, keys and values, as in the linear layers but narrower.
        const std::int64_t q = query_heads * softmax->head_dim;
        const std::int64_t kv = softmax->kv_heads * softmax->head_dim;
        const std::string fused = part + "query_key_value.weight";
        names.add_rows("layers.#.mixer.q", fused, {{0, q}}, q + 2 * kv);
        names.add_rows("layers.#.mixer.k", fused, {{q, kv}}, q + 2 * kv);
        names.add_rows("layers.#.mixer.v", fused, {{q + kv, kv}}, q + 2 * kv);
    } else {
        names.add("layers.#.mixer.q", part + "q_proj.weight");
        names.add("layers.#.mixer.q_a", part + "q_a_proj.weight");
        names.add("layers.#.mixer.q_a_norm", part + "q_a_layernorm.weight");
        names.add("layers.#.mixer.q_b", part + "q_b_proj.weight");
        names.add("layers.#.mixer.kv_a", part + "kv_a_proj_with_mqa.weight");
        names.add("layers.#.mixer.kv_a_norm", part + "kv_a_layernorm.weight");
        add_split_names(names, std::get<LatentSpec>(attention), part + "kv_b_proj.weight");
    }

    add_dense_names(names, layer, false);
    names.add("layers.#.channel.router", mlp + "gate.weight");
    names.add("layers.#.channel.choice_bias", mlp + (has_tensor(checkpoint, ".mlp.gate.expert_bias")
                                                         ? "gate.expert_bias"
                                                         : "gate.e_score_correction_bias"));
    for (const char* product : {"gate", "up", "down"}) {
        names.add(fmt::format("layers.#.channel.experts.#.{}", product),
                  fmt::format("{}experts.{{E}}.{}_proj.weight", mlp, product));
        names.add(fmt::format("layers.#.channel.shared.{}", product),
                  fmt::format("{}shared_experts.{}_proj.weight", mlp, product));
    }
    return names;
}

ExtraReason config_extra(std::int64_t trunk) {
    return [trunk](std::string_view tensor) -> const char* {
        constexpr std::string_view kLayers = "model.layers.";
        if (tensor.starts_with("model.mtp") ||
            (tensor.starts_with(kLayers) &&
             is_behind_trunk("blk." + std::string(tensor.substr(kLayers.size())), trunk))) {
            return "multi-token prediction";
        }
        if (tensor.find("slope") != std::string_view::npos) {
            return "decay table";
        }
        return tensor.ends_with("inv_freq") ? "rotation table" : known_extra(tensor);
    };
}

Result<SpecAndTensors> read_config(const Checkpoint& checkpoint, Full kind) {
    Json config = checkpoint.metadata();
    if (!config.is_object()) {
        return unsound("config.json: expected an object");
    }
    Settings sizes(config, "", "config.json");
    const std::int64_t hidden = TRY(sizes.size("hidden_size", limits::hidden));
    const std::int64_t heads = TRY(sizes.size("num_attention_heads", limits::heads));
    const std::int64_t head_dim =
        TRY(sizes.size("head_dim", limits::head_dim, std::max<std::int64_t>(1, hidden / heads)));
    const Rotated rotated = TRY(take_rotated(config, head_dim));

    Settings settings(config, "", "config.json");
    Frame frame = TRY(read_frame(checkpoint, family_of(kind), settings));
    RopeSpec rope = TRY(read_rope(settings, rotated.dims, 1.0, frame.spec.context_length));
    rope.scaling.attention_factor *= rotated.attention_factor;
    const LightningSpec lightning =
        TRY(read_lightning(checkpoint, settings, frame, head_dim, rope));
    const bool fades_by_layer = TRY(settings.flag("lightning_layerwise_decay", true));
    TokenMixerSpec attention;
    if (kind == Full::Softmax) {
        SoftmaxSpec softmax = TRY(read_softmax(settings, frame.query_heads, head_dim));
        softmax.rope = rope;
        softmax.qk_norm = lightning.qk_norm ? QkNorm::PerHead : QkNorm::None;
        TRY(expect_flag(settings, "attention_bias", false));
        attention = softmax;
    } else {
        LatentSpec latent = TRY(read_latent(config, settings, frame));
        latent.rope.scaling.attention_factor *= rotated.attention_factor;
        attention = latent;
    }
    for (const char* key : {"use_bias", "use_qkv_bias"}) {
        TRY(expect_flag(settings, key, false));
    }
    const std::vector<bool> full = TRY(read_schedule(settings, frame.layers));
    DenseSpec dense;
    MoeSpec moe;
    std::int64_t dense_layers = frame.layers;
    if (TRY(settings.count("num_experts", limits::experts, 0)) > 0) {
        moe = TRY(read_mixture(checkpoint, settings));
        dense_layers = TRY(settings.count("first_k_dense_replace", frame.layers, 0));
    }
    if (dense_layers > 0) {
        dense.intermediate = TRY(settings.size("intermediate_size", limits::intermediate));
    }
    frame.spec.tied_embedding = TRY(read_tied(checkpoint, settings, settings));
    settings.ignore({"head_dim", "intermediate_size", "embedding_dropout", "output_dropout",
                     "use_rmsnorm", "max_window_layers", "use_sliding_window", "sliding_window",
                     "rope_interleave", "num_nextn_predict_layers", "mtp_loss_scaling_factor"});
    TRY(settings.refuse_unknown("Bailing"));
    add_layers(frame.spec, full, attention, lightning, fades_by_layer, dense, moe, dense_layers);
    TensorNames names = config_names(checkpoint, attention, frame.query_heads);
    const std::string head = fmt::format("model.layers.{}.", frame.layers);
    // The head is latent attention and a mixture (lightning.md section 4.5).
    if (kind == Full::Latent && moe.experts > 0 &&
        has_all(checkpoint, head,
                {"eh_proj", "enorm", "hnorm", "final_layernorm", "input_layernorm",
                 "post_attention_layernorm", "attention.kv_b_proj", "mlp.gate",
                 "mlp.experts.0.down_proj"})) {
        add_draft(names, "model.layers.{L}.", head,
                  {head + "eh_proj", head + "enorm", head + "hnorm", head + "final_layernorm"});
        frame.spec.draft = LayerSpec{attention, moe};
    }
    return SpecAndTensors{std::move(frame.spec), names.map(), config_extra(frame.layers)};
}

// --- GGUF --------------------------------------------------------------------------------------
// The keys and names of the llama.cpp fork that writes these files (lightning.md section 4.8).

// True for the layers with full attention: those with KV heads. Where all layers have the same
// number of them the file's tensors tell; full_attention_interval says no more than they do.
Result<std::vector<bool>> read_gguf_schedule(const Checkpoint& checkpoint, Settings& settings,
                                             std::int64_t layers) {
    settings.ignore({"full_attention_interval"});
    std::vector<std::int64_t> kv_heads;
    if (settings.has("attention.head_count_kv")) {
        kv_heads = TRY(settings.per_layer("attention.head_count_kv", layers, limits::heads));
    }
    const bool differ = std::adjacent_find(kv_heads.begin(), kv_heads.end(),
                                           std::not_equal_to<>()) != kv_heads.end();
    std::vector<bool> full;
    for (std::int64_t i = 0; i < layers; ++i) {
        full.push_back(differ ? kv_heads[static_cast<std::size_t>(i)] != 0
                              : has_layer_tensor(checkpoint, i, "attn_kv_a_mqa.weight"));
    }
    return full;
}

Result<LatentSpec> read_gguf_latent(Settings& settings, const Frame& frame) {
    LatentSpec s;
    s.query_heads = frame.query_heads;
    s.rope = TRY(read_gguf_rope(settings, limits::head_dim, RopeLayout::Interleaved));
    s.rope_dim = s.rope.dims;
    const std::int64_t query_dim = TRY(settings.size("attention.key_length_mla", limits::head_dim));
    s.nope_dim = query_dim - s.rope_dim;
    if (s.nope_dim < 1) {
        return unsound(fmt::format("{}: attention.key_length_mla {} leaves nothing beside "
                                   "rope.dimension_count {}",
                                   settings.where(), query_dim, s.rope_dim));
    }
    s.value_dim = TRY(settings.size("attention.value_length_mla", limits::head_dim));
    s.kv_rank = TRY(settings.size("attention.kv_lora_rank", limits::hidden));
    s.query_rank = TRY(settings.count("attention.q_lora_rank", limits::hidden, 0));
    s.scale = 1.0 / std::sqrt(static_cast<double>(query_dim));
    TRY(check_latent(s, settings.where()));
    return s;
}

Result<LightningSpec> read_gguf_lightning(const Checkpoint& checkpoint, Settings& settings,
                                          const Frame& frame, std::int64_t first_linear,
                                          RopeSpec rope) {
    LightningSpec s;
    s.heads = frame.query_heads;
    s.qk_norm = true;
    // No key holds the width of these heads; their norm has it.
    s.head_dim = std::max<std::int64_t>(1, frame.spec.hidden / s.heads);
    const std::string norm = fmt::format("blk.{}.attn_q_norm.weight", first_linear);
    if (const TensorInfo* tensor = checkpoint.find(norm)) {
        s.head_dim = tensor->elements();
    }
    const bool any = first_linear < frame.layers;
    if (any && (s.head_dim < 1 || s.head_dim > limits::head_dim || rope.dims > s.head_dim)) {
        return unsound(fmt::format("{}: expected {} to {} values, found {}", norm, rope.dims,
                                   limits::head_dim, s.head_dim));
    }
    s.scale = 1.0 / std::sqrt(static_cast<double>(s.head_dim));
    s.norm_groups =
        TRY(settings.size("attention.group_norm_groups", limits::heads, std::int64_t{4}));
    rope.layout = RopeLayout::HalfSplit; // in the same file as the interleaved one
    s.rope = std::move(rope);
    if (any) {
        TRY(check_lightning(s, settings.where()));
    }
    return s;
}

Result<SpecAndTensors> read_gguf(const Checkpoint& checkpoint) {
    Settings settings(checkpoint.metadata(), checkpoint.architecture() + ".", "GGUF metadata");
    Frame frame = TRY(read_gguf_frame(checkpoint, family_of(Full::Latent), settings));
    const std::vector<bool> full = TRY(read_gguf_schedule(checkpoint, settings, frame.layers));
    const auto first_linear = std::find(full.begin(), full.end(), false) - full.begin();
    const auto first_full = std::find(full.begin(), full.end(), true) - full.begin();
    for (const char* part : {"attn_qkv.weight", "layer_output_norm.weight"}) {
        if (first_linear < frame.layers && !has_layer_tensor(checkpoint, first_linear, part)) {
            return refused(fmt::format("architecture {} without blk.{}.{}: the name is used for "
                                       "other models too; {}",
                                       checkpoint.architecture(), first_linear, part, kKnown));
        }
    }
    const LatentSpec latent = TRY(read_gguf_latent(settings, frame));
    const LightningSpec lightning =
        TRY(read_gguf_lightning(checkpoint, settings, frame, first_linear, latent.rope));
    MoeSpec moe = TRY(read_gguf_moe(checkpoint, settings, 2));
    const std::int64_t dense_layers =
        TRY(settings.count("leading_dense_block_count", frame.layers, 0));
    // The key states one shared expert's width, the tensor has them all.
    if (const TensorInfo* up =
            checkpoint.find(fmt::format("blk.{}.ffn_up_shexp.weight", dense_layers));
        up != nullptr && up->shape.size() == 2) {
        moe.shared_intermediate = std::min(up->shape[0], limits::intermediate);
    }
    TRY(check_groups(moe, settings.where()));
    DenseSpec dense;
    dense.intermediate = TRY(settings.size("feed_forward_length", limits::intermediate, 1));
    settings.ignore({"attention.key_length", "attention.value_length", "rope.dimension_count"});
    TRY(settings.refuse_unknown("Bailing"));
    add_layers(frame.spec, full, latent, lightning, true, dense, moe, dense_layers);

    TensorNames names;
    names.add("embedding", "token_embd.weight");
    names.add("output", "output.weight");
    names.add("norm", "output_norm.weight");
    names.add("layers.#.mixer_norm", "blk.{L}.attn_norm.weight");
    names.add("layers.#.channel_norm", "blk.{L}.ffn_norm.weight");
    constexpr std::array<std::array<const char*, 2>, 13> parts{{{"qkv", "attn_qkv"},
                                                                {"gate", "attn_gate"},
                                                                {"norm", "layer_output_norm"},
                                                                {"out", "attn_output"},
                                                                {"q_norm", "attn_q_norm"},
                                                                {"k_norm", "attn_k_norm"},
                                                                {"q", "attn_q"},
                                                                {"q_a", "attn_q_a"},
                                                                {"q_a_norm", "attn_q_a_norm"},
                                                                {"q_b", "attn_q_b"},
                                                                {"kv_a", "attn_kv_a_mqa"},
                                                                {"kv_a_norm", "attn_kv_a_norm"},
                                                                {"o", "attn_output"}}};
    for (const auto& [spec, file] : parts) {
        names.add(fmt::format("layers.#.mixer.{}", spec), fmt::format("blk.{{L}}.{}.weight", file));
    }
    if (has_layer_tensor(checkpoint, first_full, "attn_kv_b.weight")) {
        add_split_names(names, latent, "blk.{L}.attn_kv_b.weight");
    } else {
        names.add("layers.#.mixer.k_b", "blk.{L}.attn_k_b.weight");
        names.add("layers.#.mixer.v_b", "blk.{L}.attn_v_b.weight");
    }
    add_gguf_dense_names(names);
    add_gguf_moe_names(names, checkpoint, moe);
    const std::int64_t trunk = frame.layers;
    const std::string head = fmt::format("blk.{}.", trunk);
    if (has_all(checkpoint, head,
                {"nextn.eh_proj", "nextn.enorm", "nextn.hnorm", "layer_output_norm", "attn_norm",
                 "ffn_norm", "attn_kv_a_mqa", "ffn_gate_inp", "ffn_down_exps"})) {
        add_draft(names, "blk.{L}.", head,
                  {head + "nextn.eh_proj", head + "nextn.enorm", head + "nextn.hnorm",
                   head + "layer_output_norm"});
        frame.spec.draft = LayerSpec{latent, moe};
    }
    const auto extra = [trunk](std::string_view tensor) {
        return is_behind_trunk(tensor, trunk) ? "multi-token prediction" : known_extra(tensor);
    };
    return SpecAndTensors{std::move(frame.spec), names.map(), extra};
}

} // namespace

Result<SpecAndTensors> read_ring_linear(const Checkpoint& checkpoint) {
    TRY(refuse_third_generation(checkpoint));
    if (checkpoint.container() == Container::Gguf) {
        return refused("GGUF of Ring-linear: no layout of such files is known",
                       "Take the safetensors checkpoint.");
    }
    return read_config(checkpoint, Full::Softmax);
}

Result<SpecAndTensors> read_ling_hybrid(const Checkpoint& checkpoint) {
    TRY(refuse_third_generation(checkpoint));
    return checkpoint.container() == Container::Gguf ? read_gguf(checkpoint)
                                                     : read_config(checkpoint, Full::Latent);
}

} // namespace hs
