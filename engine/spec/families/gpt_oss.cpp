// gpt-oss: every second layer sees a window, all have sinks and biases; a mixture with a clamped
// gate, whose weights are a softmax over the chosen (softmax.md section 7). Experts lie as MXFP4
// in two tensors of bytes, or as transformers keeps them in BF16: inputs by outputs.

#include "engine/spec/families/reading.h"

#include <algorithm>
#include <fmt/format.h>

namespace hs {
namespace {

// The window of each layer, 0 for all positions.
Result<std::vector<std::int64_t>> read_windows(Settings& settings, std::int64_t layers) {
    const std::int64_t window = TRY(settings.size("sliding_window", limits::context));
    const std::vector<std::string> types = TRY(settings.words("layer_types"));
    if (!types.empty() && static_cast<std::int64_t>(types.size()) != layers) {
        return unsound(fmt::format("{}: layer_types: expected {} entries, found {}",
                                   settings.where(), layers, types.size()));
    }
    std::vector<std::int64_t> windows;
    for (std::int64_t i = 0; i < layers; ++i) {
        bool slides = i % 2 == 0;
        if (!types.empty()) {
            const std::string& type = types[static_cast<std::size_t>(i)];
            if (type != "full_attention" && type != "sliding_attention") {
                return refused(fmt::format("{}: layer_types[{}]: expected \"full_attention\" or "
                                           "\"sliding_attention\", found \"{}\"",
                                           settings.where(), i, type));
            }
            slides = type == "sliding_attention";
        }
        windows.push_back(slides ? window : 0);
    }
    return windows;
}

void add_layers(ModelSpec& spec, const SoftmaxSpec& attention, const MoeSpec& moe,
                const std::vector<std::int64_t>& windows) {
    for (const std::int64_t window : windows) {
        LayerSpec layer{attention, moe};
        std::get<SoftmaxSpec>(layer.mixer).window = window;
        spec.layers.push_back(std::move(layer));
    }
}

bool any_ends_with(const Checkpoint& checkpoint, std::string_view end) {
    const auto tensors = checkpoint.tensors();
    return std::any_of(tensors.begin(), tensors.end(),
                       [&](const TensorInfo& tensor) { return tensor.name.ends_with(end); });
}

// Rows of gate and up alternate, gate first.
void add_expert_names(TensorNames& names, const std::string& experts, const Checkpoint& checkpoint,
                      const MoeSpec& moe, std::int64_t hidden) {
    const std::vector<TensorSource::RowRange> gate{{0, moe.intermediate, 2}};
    const std::vector<TensorSource::RowRange> up{{1, moe.intermediate, 2}};
    const std::int64_t both = 2 * moe.intermediate;
    names.add_stacked("layers.#.channel.experts.#.gate_bias", experts + "gate_up_proj_bias", gate,
                      both);
    names.add_stacked("layers.#.channel.experts.#.up_bias", experts + "gate_up_proj_bias", up,
                      both);
    names.add_stacked("layers.#.channel.experts.#.down_bias", experts + "down_proj_bias");
    TensorSource source;
    source.expert = 0;
    if (any_ends_with(checkpoint, ".experts.gate_up_proj")) {
        source.name = experts + "gate_up_proj"; // (experts, hidden, 2 intermediate)
        source.transposed = hidden;
        source.turned_rows = gate;
        names.add_source("layers.#.channel.experts.#.gate", source);
        source.turned_rows = up;
        names.add_source("layers.#.channel.experts.#.up", source);
        source.name = experts + "down_proj"; // (experts, intermediate, hidden)
        source.transposed = moe.intermediate;
        source.turned_rows = {};
        names.add_source("layers.#.channel.experts.#.down", source);
        return;
    }
    source.name = experts + "gate_up_proj_blocks";
    source.mxfp4_scales = experts + "gate_up_proj_scales";
    source.file_rows = both;
    source.rows = gate;
    names.add_source("layers.#.channel.experts.#.gate", source);
    source.rows = up;
    names.add_source("layers.#.channel.experts.#.up", source);
    source.name = experts + "down_proj_blocks";
    source.mxfp4_scales = experts + "down_proj_scales";
    source.rows = {};
    names.add_source("layers.#.channel.experts.#.down", source);
}

Result<SpecAndTensors> read_config(const Checkpoint& checkpoint) {
    static const Json defaults = {
        {"num_hidden_layers", 36},
        {"num_local_experts", 128},
        {"vocab_size", 201088},
        {"hidden_size", 2880},
        {"intermediate_size", 2880},
        {"head_dim", 64},
        {"num_attention_heads", 64},
        {"num_key_value_heads", 8},
        {"sliding_window", 128},
        {"max_position_embeddings", 131072},
        {"rms_norm_eps", 1e-5},
        {"num_experts_per_tok", 4},
        {"swiglu_alpha", 1.702},
        {"swiglu_limit", 7.0},
        {"attention_bias", true},
        {"rope_theta", 150000.0},
        {"rope_parameters",
         {{"rope_type", "yarn"},
          {"factor", 32.0},
          {"beta_fast", 32.0},
          {"beta_slow", 1.0},
          {"truncate", false},
          {"original_max_position_embeddings", 4096}}},
    };
    const Json config = with_defaults(checkpoint.metadata(), defaults);
    Settings settings(config, "", "config.json");
    Frame frame = TRY(read_frame(checkpoint, "gpt-oss", settings));
    SoftmaxSpec attention = TRY(read_softmax(settings, frame.query_heads, 64));
    attention.sinks = true;
    attention.rope = TRY(read_rope(settings, attention.head_dim, 1.0, frame.spec.context_length));
    MoeSpec moe;
    moe.experts = TRY(settings.size("num_local_experts", limits::experts));
    moe.top_k = TRY(settings.size("num_experts_per_tok", moe.experts));
    moe.intermediate = TRY(settings.size("intermediate_size", limits::intermediate));
    moe.score = MoeSpec::Score::SoftmaxOfChosen;
    moe.router_bias = true;
    moe.expert_bias = true;
    moe.glu.kind = GluSpec::Kind::Clamped;
    moe.glu.alpha = TRY(settings.number("swiglu_alpha"));
    moe.glu.limit = TRY(settings.number("swiglu_limit"));
    if (!(moe.glu.limit > 0)) {
        return unsound(fmt::format("{}: swiglu_limit: expected a positive number, found {}",
                                   settings.where(), moe.glu.limit));
    }
    const std::vector<std::int64_t> windows = TRY(read_windows(settings, frame.layers));
    frame.spec.tied_embedding = TRY(read_tied(checkpoint, settings, settings));
    settings.ignore({"experts_per_token", "num_experts", "initial_context_length"});
    TRY(settings.refuse_unknown("gpt-oss"));
    add_layers(frame.spec, attention, moe, windows);

    const std::string prefix = tensor_prefix(checkpoint);
    const std::string layer = prefix + "layers.{L}.";
    TensorNames names;
    names.add("embedding", prefix + "embed_tokens.weight");
    names.add("output", "lm_head.weight");
    names.add("norm", prefix + "norm.weight");
    names.add("layers.#.mixer_norm", layer + "input_layernorm.weight");
    names.add("layers.#.channel_norm", layer + "post_attention_layernorm.weight");
    add_softmax_names(names, layer, TensorSource::Transform::None);
    names.add("layers.#.mixer.sinks", layer + "self_attn.sinks");
    names.add("layers.#.channel.router", layer + "mlp.router.weight");
    names.add("layers.#.channel.router_bias", layer + "mlp.router.bias");
    add_expert_names(names, layer + "mlp.experts.", checkpoint, moe, frame.spec.hidden);
    return SpecAndTensors{std::move(frame.spec), names.map(), known_extra};
}

Result<SpecAndTensors> read_gguf(const Checkpoint& checkpoint) {
    Settings settings(checkpoint.metadata(), checkpoint.architecture() + ".", "GGUF metadata");
    Frame frame = TRY(read_gguf_frame(checkpoint, "gpt-oss", settings));
    SoftmaxSpec attention = TRY(read_gguf_softmax(settings, frame));
    attention.sinks = true;
    attention.qkv_bias = has_layer_tensor(checkpoint, 0, "attn_q.bias");
    attention.output_bias = has_layer_tensor(checkpoint, 0, "attn_output.bias");
    attention.rope = TRY(read_gguf_rope(settings, attention.head_dim, RopeLayout::HalfSplit));
    // The model was made with the range of YaRN's ramp as it comes; no key of GGUF says so, and
    // programs that round it rotate the middle frequencies a little differently.
    attention.rope.scaling.truncate = false;
    MoeSpec moe = TRY(read_gguf_moe(checkpoint, settings, 3));
    moe.glu.kind = GluSpec::Kind::Clamped;
    const std::int64_t window =
        TRY(settings.size("attention.sliding_window", limits::context, std::int64_t{128}));
    settings.ignore({"feed_forward_length", "attention.sliding_window_pattern"});
    TRY(settings.refuse_unknown("gpt-oss"));
    std::vector<std::int64_t> windows;
    for (std::int64_t i = 0; i < frame.layers; ++i) {
        windows.push_back(i % 2 == 0 ? window : 0); // implied by the architecture
    }
    add_layers(frame.spec, attention, moe, windows);

    TensorNames names;
    names.add("embedding", "token_embd.weight");
    names.add("output", "output.weight");
    names.add("norm", "output_norm.weight");
    names.add("layers.#.mixer_norm", "blk.{L}.attn_norm.weight");
    names.add("layers.#.channel_norm", "blk.{L}.post_attention_norm.weight");
    add_gguf_softmax_names(names);
    names.add("layers.#.mixer.sinks", "blk.{L}.attn_sinks.weight");
    add_gguf_moe_names(names, checkpoint, moe);
    return SpecAndTensors{std::move(frame.spec), names.map(), known_extra};
}

} // namespace

Result<SpecAndTensors> read_gpt_oss(const Checkpoint& checkpoint) {
    return checkpoint.container() == Container::Gguf ? read_gguf(checkpoint)
                                                     : read_config(checkpoint);
}

} // namespace hs
