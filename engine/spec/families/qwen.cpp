// Qwen3, dense and mixture: grouped-query attention with a norm over each query and key head
// (softmax.md section 6.1). Layers may see a sliding window, and some of a mixture may be dense.

#include "engine/spec/families/reading.h"

#include <algorithm>
#include <fmt/format.h>

namespace hs {
namespace {

enum class Kind { Dense, Mixture };

// The window of each layer, 0 for all positions.
Result<std::vector<std::int64_t>> read_windows(Settings& settings, std::int64_t layers, Kind kind) {
    std::vector<std::int64_t> windows(static_cast<std::size_t>(layers), 0);
    const bool use_window = TRY(settings.flag("use_sliding_window", false));
    const std::int64_t window = TRY(settings.count("sliding_window", limits::context, 0));
    const std::int64_t first = TRY(settings.count("max_window_layers", limits::layers, 28));
    const std::vector<std::string> types = TRY(settings.words("layer_types"));
    if (!types.empty() && static_cast<std::int64_t>(types.size()) != layers) {
        return unsound(fmt::format("{}: layer_types: expected {} entries, found {}",
                                   settings.where(), layers, types.size()));
    }
    for (std::int64_t i = 0; i < layers; ++i) {
        const auto at = static_cast<std::size_t>(i);
        bool windowed = use_window && (kind == Kind::Mixture || i >= first);
        if (!types.empty() && kind == Kind::Dense) {
            if (types[at] != "full_attention" && types[at] != "sliding_attention") {
                return refused(fmt::format("{}: layer_types[{}]: expected \"full_attention\" "
                                           "or \"sliding_attention\", found \"{}\"",
                                           settings.where(), i, types[at]));
            }
            windowed = types[at] == "sliding_attention";
        }
        if (windowed) {
            if (!use_window || window < 1) {
                return unsound(fmt::format("{}: layer {} slides, but sliding_window is not set",
                                           settings.where(), i));
            }
            windows[at] = window;
        }
    }
    return windows;
}

Result<SpecAndTensors> read_config(const Checkpoint& checkpoint, Kind kind) {
    const char* family = kind == Kind::Dense ? "qwen3" : "qwen3-moe";
    Settings settings(checkpoint.metadata(), "", "config.json");
    Frame frame = TRY(read_frame(checkpoint, family, settings));
    // Absent, head_dim is 128 for the dense models and what is left of hidden for mixtures.
    SoftmaxSpec attention =
        TRY(read_softmax(settings, frame.query_heads,
                         kind == Kind::Dense ? 128 : frame.spec.hidden / frame.query_heads));
    attention.qk_norm = QkNorm::PerHead;
    attention.rope = TRY(read_rope(settings, attention.head_dim, 1.0, frame.spec.context_length));
    const std::vector<std::int64_t> windows = TRY(read_windows(settings, frame.layers, kind));

    DenseSpec dense;
    MoeSpec moe;
    std::vector<std::int64_t> dense_layers;
    std::int64_t sparse_step = 1;
    if (kind == Kind::Mixture) {
        moe = TRY(read_moe(settings, false, false));
        dense_layers = TRY(settings.list("mlp_only_layers", limits::layers));
        sparse_step = TRY(settings.size("decoder_sparse_step", limits::layers, 1));
    }
    if (kind == Kind::Dense) {
        dense.intermediate = TRY(settings.size("intermediate_size", limits::intermediate));
    } else {
        dense.intermediate =
            TRY(settings.size("intermediate_size", limits::intermediate, std::int64_t{6144}));
    }
    frame.spec.tied_embedding = TRY(read_tied(checkpoint, settings, settings));
    TRY(settings.refuse_unknown("Qwen3"));

    for (std::int64_t i = 0; i < frame.layers; ++i) {
        LayerSpec layer{attention, dense};
        std::get<SoftmaxSpec>(layer.mixer).window = windows[static_cast<std::size_t>(i)];
        const bool listed =
            std::find(dense_layers.begin(), dense_layers.end(), i) != dense_layers.end();
        if (kind == Kind::Mixture && !listed && (i + 1) % sparse_step == 0) {
            layer.channel = moe;
        }
        frame.spec.layers.push_back(std::move(layer));
    }

    const std::string prefix = tensor_prefix(checkpoint);
    const std::string layer = prefix + "layers.{L}.";
    TensorNames names;
    names.add("embedding", prefix + "embed_tokens.weight");
    names.add("output", "lm_head.weight");
    names.add("norm", prefix + "norm.weight");
    names.add("layers.#.mixer_norm", layer + "input_layernorm.weight");
    names.add("layers.#.channel_norm", layer + "post_attention_layernorm.weight");
    add_softmax_names(names, layer, TensorSource::Transform::None);
    add_dense_names(names, layer, false);
    if (kind == Kind::Mixture) {
        add_moe_names(names, layer, checkpoint, moe);
    }
    return SpecAndTensors{std::move(frame.spec), names.map(), known_extra};
}

Result<SpecAndTensors> read_gguf(const Checkpoint& checkpoint, Kind kind) {
    const char* family = kind == Kind::Dense ? "qwen3" : "qwen3-moe";
    Settings settings(checkpoint.metadata(), checkpoint.architecture() + ".", "GGUF metadata");
    Frame frame = TRY(read_gguf_frame(checkpoint, family, settings));
    SoftmaxSpec attention = TRY(read_gguf_softmax(settings, frame));
    attention.qk_norm = QkNorm::PerHead;
    attention.rope = TRY(read_gguf_rope(settings, attention.head_dim, RopeLayout::HalfSplit));
    attention.qkv_bias = has_layer_tensor(checkpoint, 0, "attn_q.bias");
    attention.output_bias = has_layer_tensor(checkpoint, 0, "attn_output.bias");

    DenseSpec dense;
    dense.intermediate = TRY(
        settings.size("feed_forward_length", limits::intermediate, kind == Kind::Dense ? 0 : 1));
    if (dense.intermediate < 1) {
        return unsound(settings.where() + ": feed_forward_length is missing");
    }
    MoeSpec moe;
    if (kind == Kind::Mixture) {
        moe = TRY(read_gguf_moe(checkpoint, settings));
    }
    TRY(settings.refuse_unknown("Qwen3"));
    for (std::int64_t i = 0; i < frame.layers; ++i) {
        LayerSpec layer{attention, dense};
        // No key says which layers of a mixture are dense; the tensors do.
        const bool is_dense =
            kind == Kind::Dense || (has_layer_tensor(checkpoint, i, "ffn_up.weight") &&
                                    !has_layer_tensor(checkpoint, i, "ffn_gate_inp.weight"));
        if (!is_dense) {
            layer.channel = moe;
        }
        frame.spec.layers.push_back(std::move(layer));
    }

    TensorNames names;
    names.add("embedding", "token_embd.weight");
    names.add("output", "output.weight");
    names.add("norm", "output_norm.weight");
    names.add("layers.#.mixer_norm", "blk.{L}.attn_norm.weight");
    names.add("layers.#.channel_norm", "blk.{L}.ffn_norm.weight");
    add_gguf_softmax_names(names);
    add_gguf_dense_names(names);
    if (kind == Kind::Mixture) {
        add_gguf_moe_names(names, checkpoint, moe);
    }
    return SpecAndTensors{std::move(frame.spec), names.map(), known_extra};
}

Result<SpecAndTensors> read(const Checkpoint& checkpoint, Kind kind) {
    return checkpoint.container() == Container::Gguf ? read_gguf(checkpoint, kind)
                                                     : read_config(checkpoint, kind);
}

} // namespace

Result<SpecAndTensors> read_qwen3(const Checkpoint& checkpoint) {
    return read(checkpoint, Kind::Dense);
}

Result<SpecAndTensors> read_qwen3_moe(const Checkpoint& checkpoint) {
    return read(checkpoint, Kind::Mixture);
}

} // namespace hs
