// OLMo-Hybrid: gated delta layers whose write strength reaches 2, with norms before their mixers,
// between layers of plain attention with norms after theirs (delta.md sections 1.2, 4, 12 and 13).
// No GGUF of it is known.

#include "engine/spec/families/reading.h"

#include <algorithm>
#include <fmt/format.h>

namespace hs {
namespace {

using Transform = TensorSource::Transform;

// True for the layers with full attention.
Result<std::vector<bool>> read_schedule(Settings& settings, std::int64_t layers) {
    std::vector<bool> full;
    const std::vector<std::string> types = TRY(settings.words("layer_types"));
    if (types.empty()) {
        for (std::int64_t i = 0; i < layers; ++i) {
            full.push_back(i % 4 == 3);
        }
        full.back() = full.back() || std::find(full.begin(), full.end(), true) == full.end();
        return full;
    }
    if (static_cast<std::int64_t>(types.size()) != layers) {
        return unsound(fmt::format("{}: layer_types: expected {} entries, found {}",
                                   settings.where(), layers, types.size()));
    }
    for (std::size_t i = 0; i < types.size(); ++i) {
        if (types[i] != "full_attention" && types[i] != "linear_attention") {
            return refused(fmt::format("{}: layer_types[{}]: expected \"full_attention\" or "
                                       "\"linear_attention\", found \"{}\"",
                                       settings.where(), i, types[i]));
        }
        full.push_back(types[i] == "full_attention");
    }
    return full;
}

Result<GatedDeltaSpec> read_delta(Settings& settings, const Frame& frame) {
    GatedDeltaSpec delta;
    const std::int64_t heads = frame.query_heads;
    delta.key_heads = TRY(settings.size("linear_num_key_heads", limits::heads, heads));
    delta.value_heads = TRY(settings.size("linear_num_value_heads", limits::heads, heads));
    const std::int64_t usual =
        std::max<std::int64_t>(1, 3 * frame.spec.hidden / (4 * delta.key_heads));
    delta.key_dim = TRY(settings.size("linear_key_head_dim", limits::head_dim, usual));
    delta.value_dim =
        TRY(settings.size("linear_value_head_dim", limits::head_dim, 2 * delta.key_dim));
    delta.conv_kernel =
        TRY(settings.size("linear_conv_kernel_dim", limits::conv_kernel, std::int64_t{4}));
    delta.beta_scale = TRY(settings.flag("linear_allow_neg_eigval", true)) ? 2.0 : 1.0;
    delta.joined_qkv = false;
    delta.norm_eps = 1e-5; // whatever rms_norm_eps says
    if (delta.value_heads % delta.key_heads != 0) {
        return unsound(fmt::format("{}: linear value heads {} are no multiple of key heads {}",
                                   settings.where(), delta.value_heads, delta.key_heads));
    }
    if (delta.key_heads * delta.key_dim > limits::head_values ||
        delta.value_heads * delta.value_dim > limits::head_values) {
        return unsound(fmt::format("{}: {} x {} key and {} x {} value channels are more than {}",
                                   settings.where(), delta.key_heads, delta.key_dim,
                                   delta.value_heads, delta.value_dim, limits::head_values));
    }
    // Of how weights began.
    settings.ignore({"linear_a_log_min", "linear_a_log_max", "linear_dt_min", "linear_dt_max",
                     "linear_dt_init_floor"});
    return delta;
}

// Without rope_theta there is no rotation. The release says null in both places it may stand;
// transformers takes 10000 where a file does not mention it at all, and then writes it down.
Result<RopeSpec> read_rotation(Settings& settings, std::int64_t head_dim, std::int64_t context) {
    const Json* const parameters = settings.member("rope_parameters");
    const Json* const older = settings.member("rope_scaling");
    const auto names_theta = [](const Json* object) {
        return object != nullptr && object->is_object() &&
               json_member(*object, "rope_theta") != nullptr;
    };
    if (settings.has("rope_theta") || names_theta(parameters) || names_theta(older)) {
        return read_rope(settings, head_dim, 1.0, context);
    }
    RopeSpec none;
    none.dims = 0;
    return none;
}

Result<SoftmaxSpec> read_attention(Settings& settings, const Frame& frame) {
    if (frame.spec.hidden % frame.query_heads != 0) {
        return unsound(fmt::format("{}: hidden_size {} is no multiple of num_attention_heads {}",
                                   settings.where(), frame.spec.hidden, frame.query_heads));
    }
    SoftmaxSpec attention =
        TRY(read_softmax(settings, frame.query_heads, frame.spec.hidden / frame.query_heads));
    attention.qk_norm = QkNorm::AllHeads;
    attention.rope = TRY(read_rotation(settings, attention.head_dim, frame.spec.context_length));
    return attention;
}

// Of two names of a layer's tensor, the one that the checkpoint has; the first where it has none.
std::string either(const Checkpoint& checkpoint, const std::string& prefix, std::int64_t layer,
                   const std::string& first, const std::string& second) {
    const std::string base = fmt::format("{}layers.{}.", prefix, layer);
    const bool other = checkpoint.find(base + first + ".weight") == nullptr &&
                       checkpoint.find(base + second + ".weight") != nullptr;
    return prefix + "layers.{L}." + (other ? second : first) + ".weight";
}

void add_names(TensorNames& names, const Checkpoint& checkpoint, const std::vector<bool>& full) {
    const std::string prefix = tensor_prefix(checkpoint);
    const std::string layer = prefix + "layers.{L}.";
    const auto first_full = std::find(full.begin(), full.end(), true) - full.begin();
    const auto first_linear = std::find(full.begin(), full.end(), false) - full.begin();
    names.add("embedding", prefix + "embed_tokens.weight");
    names.add("output", "lm_head.weight");
    names.add("norm", prefix + "norm.weight");
    names.add("layers.#.mixer_norm",
              either(checkpoint, prefix, first_linear, "attention_layer_norm", "input_layernorm"));
    names.add("layers.#.channel_norm",
              either(checkpoint, prefix, first_linear, "feedforward_layer_norm",
                     "post_attention_layernorm"));
    // transformers renames the linear layers' norms when it saves, and with them this one.
    names.add("layers.#.mixer_norm_after",
              either(checkpoint, prefix, first_full, "post_attention_layernorm",
                     "feedforward_layer_norm"));
    names.add("layers.#.channel_norm_after", layer + "post_feedforward_layernorm.weight");
    add_softmax_names(names, layer, Transform::None);
    add_dense_names(names, layer, false);
}

// Linear layers call their products as full ones do, in a module of another name, so that a name
// of the spec stands for one or the other by layer.
void add_linear_names(TensorNames& names, const Checkpoint& checkpoint) {
    const std::string linear = tensor_prefix(checkpoint) + "layers.{L}.linear_attn.";
    const std::string to = "layers.#.mixer.";
    for (const char* part : {"q", "k", "v", "b", "a"}) {
        names.add(to + part, linear + part + "_proj.weight");
    }
    names.add(to + "z", linear + "g_proj.weight");
    names.add(to + "out", linear + "o_proj.weight");
    names.add(to + "norm", linear + "o_norm.weight");
    names.add(to + "dt_bias", linear + "dt_bias");
    names.add(to + "decay_rate", linear + "A_log", Transform::NegativeExp);
    const auto tensors = checkpoint.tensors();
    const bool joined = std::any_of(tensors.begin(), tensors.end(), [](const TensorInfo& tensor) {
        return tensor.name.ends_with(".linear_attn.conv1d.weight");
    });
    TensorSource conv;
    conv.name = linear + (joined ? "conv1d.weight" : "q_conv1d.weight");
    if (!joined) {
        conv.more = {linear + "k_conv1d.weight", linear + "v_conv1d.weight"};
    }
    names.add_source(to + "conv", std::move(conv));
}

} // namespace

Result<SpecAndTensors> read_olmo_hybrid(const Checkpoint& checkpoint) {
    if (checkpoint.container() == Container::Gguf) {
        return refused("GGUF files of OLMo-Hybrid are not known",
                       "Use the safetensors checkpoint.");
    }
    Settings settings(checkpoint.metadata(), "", "config.json");
    Frame frame = TRY(read_frame(checkpoint, "olmo-hybrid", settings));
    const SoftmaxSpec attention = TRY(read_attention(settings, frame));
    const GatedDeltaSpec delta = TRY(read_delta(settings, frame));
    const std::vector<bool> full = TRY(read_schedule(settings, frame.layers));
    DenseSpec dense;
    dense.intermediate = TRY(settings.size("intermediate_size", limits::intermediate));
    frame.spec.tied_embedding = TRY(read_tied(checkpoint, settings, settings));
    TRY(settings.refuse_unknown("OLMo-Hybrid"));

    for (const bool is_full : full) {
        LayerSpec layer{delta, dense};
        if (is_full) {
            layer.mixer = attention;
            layer.mixer_join.norm_before = layer.channel_join.norm_before = false;
            layer.mixer_join.norm_after = layer.channel_join.norm_after = true;
        }
        frame.spec.layers.push_back(std::move(layer));
    }
    TensorNames of_full;
    add_names(of_full, checkpoint, full);
    TensorNames of_linear;
    add_names(of_linear, checkpoint, full);
    add_linear_names(of_linear, checkpoint);
    return SpecAndTensors{std::move(frame.spec), by_layer(full, of_full.map(), of_linear.map()),
                          known_extra};
}

} // namespace hs
