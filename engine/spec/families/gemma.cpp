// Gemma 3: windows with a rotation of their own between layers of full attention, norms before and
// after every mixer that multiply by 1 + w, a GELU gate, a scaled embedding (softmax.md section
// 8.1). In GGUF the norms hold the sum already.

#include "engine/spec/families/reading.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace hs {
namespace {

using Transform = TensorSource::Transform;

struct Schedule {
    std::vector<bool> slides;
    std::int64_t window = 0;
};

std::vector<bool> every(std::int64_t period, std::int64_t layers) {
    std::vector<bool> slides;
    for (std::int64_t i = 0; i < layers; ++i) {
        slides.push_back((i + 1) % period != 0);
    }
    return slides;
}

Result<Schedule> read_schedule(Settings& settings, std::int64_t layers) {
    Schedule schedule;
    schedule.window = TRY(settings.size("sliding_window", limits::context));
    const std::int64_t period =
        TRY(settings.size("sliding_window_pattern", limits::layers, std::int64_t{6}));
    settings.ignore({"_sliding_window_pattern"});
    const std::vector<std::string> types = TRY(settings.words("layer_types"));
    if (types.empty()) {
        schedule.slides = every(period, layers);
        return schedule;
    }
    if (static_cast<std::int64_t>(types.size()) != layers) {
        return unsound(fmt::format("{}: layer_types: expected {} entries, found {}",
                                   settings.where(), layers, types.size()));
    }
    for (std::size_t i = 0; i < types.size(); ++i) {
        if (types[i] != "full_attention" && types[i] != "sliding_attention") {
            return refused(fmt::format("{}: layer_types[{}]: expected \"full_attention\" or "
                                       "\"sliding_attention\", found \"{}\"",
                                       settings.where(), i, types[i]));
        }
        schedule.slides.push_back(types[i] == "sliding_attention");
    }
    return schedule;
}

// Rotation of full and of sliding layers, spelled as two objects or in the older way, where the
// scaling is that of full layers alone.
struct Rotations {
    RopeSpec full, sliding;
};

Result<Rotations> read_rotations(Settings& settings, std::int64_t head_dim, std::int64_t context) {
    Json full = {{"rope_type", "default"}};
    Json sliding = full;
    if (const Json* parameters = settings.member("rope_parameters")) {
        for (const auto& [key, to] :
             {std::pair{"full_attention", &full}, std::pair{"sliding_attention", &sliding}}) {
            const Json* one = json_member(*parameters, key);
            if (one != nullptr && one->is_object()) {
                *to = *one;
            }
        }
        const bool typed = json_member(*parameters, "full_attention") != nullptr ||
                           json_member(*parameters, "sliding_attention") != nullptr;
        if (!typed && parameters->is_object() && !parameters->empty()) {
            full = *parameters;
        }
    }
    if (const Json* scaling = settings.member("rope_scaling")) {
        if (!scaling->is_object()) {
            return unsound(settings.where() + ": rope_scaling: expected an object");
        }
        for (const auto& [key, value] : scaling->items()) {
            full[key] = value;
        }
    }
    const double theta = TRY(settings.number("rope_theta", 1e6));
    const double local = TRY(settings.number("rope_local_base_freq", 1e4));
    if (json_member(full, "rope_theta") == nullptr) {
        full["rope_theta"] = theta;
    }
    if (json_member(sliding, "rope_theta") == nullptr) {
        sliding["rope_theta"] = local;
    }
    Rotations rotations;
    rotations.full = TRY(read_rope_parameters(full, settings.where(), head_dim, 1.0, context));
    rotations.sliding =
        TRY(read_rope_parameters(sliding, settings.where(), head_dim, 1.0, context));
    return rotations;
}

void add_layers(ModelSpec& spec, const SoftmaxSpec& attention, const DenseSpec& dense,
                const Schedule& schedule, const Rotations& rotations) {
    for (const bool slides : schedule.slides) {
        SoftmaxSpec mixer = attention;
        mixer.window = slides ? schedule.window : 0;
        mixer.rope = slides ? rotations.sliding : rotations.full;
        LayerSpec layer{mixer, dense};
        layer.mixer_join.norm_after = true;
        layer.channel_join.norm_after = true;
        spec.layers.push_back(std::move(layer));
    }
    // In f32. A model that runs in BF16 rounds this factor with everything else; transformers takes
    // it in the type of its weights, and f32 is what we compute in.
    spec.embedding_scale = std::sqrt(static_cast<double>(spec.hidden));
}

const char* extra(std::string_view tensor) {
    if (tensor.find("multi_modal_projector.") != std::string_view::npos) {
        return "vision";
    }
    return known_extra(tensor);
}

Result<SpecAndTensors> read_config(const Checkpoint& checkpoint) {
    // Published files leave out what their class takes anyway.
    static const Json defaults = {
        {"vocab_size", 262208},
        {"hidden_size", 2304},
        {"intermediate_size", 9216},
        {"num_hidden_layers", 26},
        {"num_attention_heads", 8},
        {"num_key_value_heads", 4},
        {"head_dim", 256},
        {"hidden_activation", "gelu_pytorch_tanh"},
        {"max_position_embeddings", 131072},
        {"rms_norm_eps", 1e-6},
        {"tie_word_embeddings", true},
        {"query_pre_attn_scalar", 256},
        {"sliding_window", 4096},
    };
    Settings outer(checkpoint.metadata(), "", "config.json");
    const Json* text = outer.member("text_config");
    if (text != nullptr && !text->is_object()) {
        return unsound("config.json: text_config: expected an object");
    }
    Json config = with_defaults(text != nullptr ? *text : checkpoint.metadata(), defaults);
    config.erase("hidden_act"); // not read by this family, and said wrongly in some files
    Settings settings(config, "", text != nullptr ? "config.json: text_config" : "config.json");
    Frame frame = TRY(read_frame(checkpoint, "gemma3", settings));
    if (text != nullptr) {
        TRY(check_quantisation(outer));
    }
    const std::string activation = TRY(settings.word("hidden_activation", "gelu_pytorch_tanh"));
    if (activation != "gelu_pytorch_tanh") {
        return refused(fmt::format("{}: hidden_activation: expected \"gelu_pytorch_tanh\", found "
                                   "\"{}\"",
                                   settings.where(), activation));
    }
    SoftmaxSpec attention = TRY(read_softmax(settings, frame.query_heads, 256));
    attention.qk_norm = QkNorm::PerHead;
    const double scalar = TRY(settings.number("query_pre_attn_scalar"));
    if (!(scalar > 0)) {
        return unsound(fmt::format("{}: query_pre_attn_scalar: expected a positive number, found "
                                   "{}",
                                   settings.where(), scalar));
    }
    attention.scale = 1.0 / std::sqrt(scalar);
    const Schedule schedule = TRY(read_schedule(settings, frame.layers));
    const Rotations rotations =
        TRY(read_rotations(settings, attention.head_dim, frame.spec.context_length));
    DenseSpec dense;
    dense.intermediate = TRY(settings.size("intermediate_size", limits::intermediate));
    dense.glu.kind = GluSpec::Kind::GeluTanh;
    frame.spec.logit_softcap = TRY(settings.number("final_logit_softcapping", 0.0));
    if (frame.spec.logit_softcap < 0) {
        return unsound(settings.where() + ": final_logit_softcapping: expected a positive number");
    }
    frame.spec.tied_embedding = TRY(read_tied(checkpoint, outer, settings));
    TRY(settings.refuse_unknown("Gemma 3")); // caps of attention logits among them
    add_layers(frame.spec, attention, dense, schedule, rotations);

    const std::string prefix = tensor_prefix(checkpoint);
    const std::string layer = prefix + "layers.{L}.";
    const char* const wrapped = "language_model.lm_head.weight";
    TensorNames names;
    names.add("embedding", prefix + "embed_tokens.weight");
    names.add("output", checkpoint.find(wrapped) != nullptr ? wrapped : "lm_head.weight");
    names.add("norm", prefix + "norm.weight", Transform::AddOne);
    names.add("layers.#.mixer_norm", layer + "input_layernorm.weight", Transform::AddOne);
    names.add("layers.#.mixer_norm_after", layer + "post_attention_layernorm.weight",
              Transform::AddOne);
    names.add("layers.#.channel_norm", layer + "pre_feedforward_layernorm.weight",
              Transform::AddOne);
    names.add("layers.#.channel_norm_after", layer + "post_feedforward_layernorm.weight",
              Transform::AddOne);
    add_softmax_names(names, layer, Transform::AddOne);
    add_dense_names(names, layer, false);
    return SpecAndTensors{std::move(frame.spec), names.map(), extra};
}

Result<Schedule> read_gguf_schedule(Settings& settings, std::int64_t layers) {
    Schedule schedule;
    schedule.window = TRY(settings.count("attention.sliding_window", limits::context, 0));
    std::int64_t period = 6;
    if (const Json* pattern = settings.member("attention.sliding_window_pattern")) {
        const std::vector<std::int64_t> values =
            TRY(settings.per_layer("attention.sliding_window_pattern", layers, limits::layers));
        if (pattern->is_array()) {
            for (const std::int64_t value : values) {
                schedule.slides.push_back(value != 0);
            }
        } else {
            period = std::max<std::int64_t>(1, values.front());
        }
    }
    if (schedule.window == 0) {
        schedule.slides.assign(static_cast<std::size_t>(layers), false);
    } else if (schedule.slides.empty()) {
        schedule.slides = every(period, layers);
    }
    return schedule;
}

Result<SpecAndTensors> read_gguf(const Checkpoint& checkpoint) {
    Settings settings(checkpoint.metadata(), checkpoint.architecture() + ".", "GGUF metadata");
    Frame frame = TRY(read_gguf_frame(checkpoint, "gemma3", settings));
    SoftmaxSpec attention = TRY(read_gguf_softmax(settings, frame));
    attention.qk_norm = QkNorm::PerHead;
    if (!settings.has("attention.scale") && frame.layers == 62) {
        // Files do not say that the largest model scales by its hidden width per head (5376 / 32)
        // instead of head_dim; readers know it by its number of layers.
        attention.scale = 1.0 / std::sqrt(static_cast<double>(frame.spec.hidden) /
                                          static_cast<double>(frame.query_heads));
    }
    Rotations rotations;
    rotations.full = TRY(read_gguf_rope(settings, attention.head_dim, RopeLayout::HalfSplit));
    if (!settings.has("rope.freq_base")) {
        rotations.full.theta = 1e6;
    }
    rotations.sliding = rotations.full;
    rotations.sliding.scaling = {};
    rotations.sliding.theta = TRY(settings.number("rope.freq_base_swa", 1e4));
    if (rotations.sliding.theta < 1.0 || rotations.sliding.theta > 1e15) {
        return unsound(fmt::format("{}: rope.freq_base_swa: expected a number in [1, 1e15], found "
                                   "{}",
                                   settings.where(), rotations.sliding.theta));
    }
    const Schedule schedule = TRY(read_gguf_schedule(settings, frame.layers));
    DenseSpec dense;
    dense.intermediate = TRY(settings.size("feed_forward_length", limits::intermediate));
    dense.glu.kind = GluSpec::Kind::GeluTanh;
    frame.spec.logit_softcap = TRY(settings.number("final_logit_softcapping", 0.0));
    TRY(settings.refuse_unknown("Gemma 3"));
    add_layers(frame.spec, attention, dense, schedule, rotations);

    TensorNames names;
    names.add("embedding", "token_embd.weight");
    names.add("output", "output.weight");
    names.add("norm", "output_norm.weight");
    names.add("layers.#.mixer_norm", "blk.{L}.attn_norm.weight");
    names.add("layers.#.mixer_norm_after", "blk.{L}.post_attention_norm.weight");
    names.add("layers.#.channel_norm", "blk.{L}.ffn_norm.weight");
    names.add("layers.#.channel_norm_after", "blk.{L}.post_ffw_norm.weight");
    add_gguf_softmax_names(names);
    add_gguf_dense_names(names);
    return SpecAndTensors{std::move(frame.spec), names.map(), extra};
}

} // namespace

Result<SpecAndTensors> read_gemma3(const Checkpoint& checkpoint) {
    return checkpoint.container() == Container::Gguf ? read_gguf(checkpoint)
                                                     : read_config(checkpoint);
}

} // namespace hs
