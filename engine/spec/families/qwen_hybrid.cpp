// Qwen3-Next and Qwen3.5: gated delta layers with full attention, gated at its output, between
// them (delta.md sections 4, 7.1, 13 and 14). What differs between the generations, and between
// safetensors and GGUF, is the order of rows and which value head a key head serves; it is settled
// here as data.

#include "engine/spec/families/reading.h"

#include <algorithm>
#include <fmt/format.h>

namespace hs {
namespace {

using Transform = TensorSource::Transform;
using RowRange = TensorSource::RowRange;

enum class Generation { Next, V35, V35Moe };

const char* family_of(Generation generation) {
    switch (generation) {
    case Generation::Next:
        return "qwen3-next";
    case Generation::V35:
        return "qwen3.5";
    case Generation::V35Moe:
        break;
    }
    return "qwen3.5-moe";
}

Result<void> check_delta(const GatedDeltaSpec& delta, const std::string& where) {
    if (delta.value_heads % delta.key_heads != 0) {
        return unsound(fmt::format("{}: linear value heads {} are no multiple of key heads {}",
                                   where, delta.value_heads, delta.key_heads));
    }
    if (delta.key_heads * delta.key_dim > limits::head_values ||
        delta.value_heads * delta.value_dim > limits::head_values) {
        return unsound(fmt::format("{}: {} x {} key and {} x {} value channels are more than {}",
                                   where, delta.key_heads, delta.key_dim, delta.value_heads,
                                   delta.value_dim, limits::head_values));
    }
    return {};
}

// Rows of a projection that is fused per key head, [q | k | v... | z...] for each.
struct FusedRows {
    std::vector<RowRange> qkv;
    std::vector<RowRange> z;
    std::vector<RowRange> b; // of [b... | a...] per key head
    std::vector<RowRange> a;
    std::int64_t fused = 0; // rows of the whole projections
    std::int64_t gates = 0;
};

FusedRows fused_rows(const GatedDeltaSpec& d) {
    FusedRows rows;
    const std::int64_t per_key = d.value_heads / d.key_heads;
    const std::int64_t values = per_key * d.value_dim;
    const std::int64_t group = 2 * d.key_dim + 2 * values;
    const auto pick = [&](std::vector<RowRange>& into, std::int64_t stride, std::int64_t first,
                          std::int64_t count) {
        for (std::int64_t g = 0; g < d.key_heads; ++g) {
            into.push_back({g * stride + first, count});
        }
    };
    pick(rows.qkv, group, 0, d.key_dim);
    pick(rows.qkv, group, d.key_dim, d.key_dim);
    pick(rows.qkv, group, 2 * d.key_dim, values);
    pick(rows.z, group, 2 * d.key_dim + values, values);
    pick(rows.b, 2 * per_key, 0, per_key);
    pick(rows.a, 2 * per_key, per_key, per_key);
    rows.fused = d.key_heads * group;
    rows.gates = 2 * d.value_heads;
    return rows;
}

// --- config.json -------------------------------------------------------------------------------

// True for the layers with full attention.
Result<std::vector<bool>> read_schedule(Settings& settings, std::int64_t layers) {
    std::vector<bool> full;
    const std::vector<std::string> types = TRY(settings.words("layer_types"));
    const std::int64_t interval =
        TRY(settings.size("full_attention_interval", limits::layers, std::int64_t{4}));
    if (types.empty()) {
        for (std::int64_t i = 0; i < layers; ++i) {
            full.push_back((i + 1) % interval == 0);
        }
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

Result<GatedDeltaSpec> read_delta(Settings& settings) {
    GatedDeltaSpec delta;
    delta.key_heads = TRY(settings.size("linear_num_key_heads", limits::heads, std::int64_t{16}));
    delta.value_heads =
        TRY(settings.size("linear_num_value_heads", limits::heads, std::int64_t{32}));
    delta.key_dim = TRY(settings.size("linear_key_head_dim", limits::head_dim, std::int64_t{128}));
    delta.value_dim =
        TRY(settings.size("linear_value_head_dim", limits::head_dim, std::int64_t{128}));
    delta.conv_kernel =
        TRY(settings.size("linear_conv_kernel_dim", limits::conv_kernel, std::int64_t{4}));
    TRY(check_delta(delta, settings.where()));
    const std::string gate = TRY(settings.word("output_gate_type", "silu"));
    if (gate != "silu" && gate != "swish") {
        return refused(fmt::format("{}: output_gate_type: expected \"silu\", found \"{}\"",
                                   settings.where(), gate));
    }
    return delta;
}

void add_config_delta_names(TensorNames& names, const std::string& layer, Generation generation,
                            const GatedDeltaSpec& delta) {
    const std::string linear = layer + "linear_attn.";
    if (generation == Generation::Next) {
        const FusedRows rows = fused_rows(delta);
        names.add_rows("layers.#.mixer.qkv", linear + "in_proj_qkvz.weight", rows.qkv, rows.fused);
        names.add_rows("layers.#.mixer.z", linear + "in_proj_qkvz.weight", rows.z, rows.fused);
        names.add_rows("layers.#.mixer.b", linear + "in_proj_ba.weight", rows.b, rows.gates);
        names.add_rows("layers.#.mixer.a", linear + "in_proj_ba.weight", rows.a, rows.gates);
    } else {
        names.add("layers.#.mixer.qkv", linear + "in_proj_qkv.weight");
        names.add("layers.#.mixer.z", linear + "in_proj_z.weight");
        names.add("layers.#.mixer.b", linear + "in_proj_b.weight");
        names.add("layers.#.mixer.a", linear + "in_proj_a.weight");
    }
    names.add("layers.#.mixer.out", linear + "out_proj.weight");
    names.add("layers.#.mixer.conv", linear + "conv1d.weight");
    names.add("layers.#.mixer.decay_rate", linear + "A_log", Transform::NegativeExp);
    names.add("layers.#.mixer.dt_bias", linear + "dt_bias");
    names.add("layers.#.mixer.norm", linear + "norm.weight"); // the one norm that is not 1 + w
}

Result<SpecAndTensors> read_config(const Checkpoint& checkpoint, Generation generation) {
    Settings outer(checkpoint.metadata(), "", "config.json");
    const Json* text = outer.member("text_config");
    if (text != nullptr && !text->is_object()) {
        return unsound("config.json: text_config: expected an object");
    }
    Settings settings(text != nullptr ? *text : checkpoint.metadata(), "",
                      text != nullptr ? "config.json: text_config" : "config.json");
    Frame frame = TRY(read_frame(checkpoint, family_of(generation), settings));
    if (text != nullptr) {
        TRY(check_quantisation(outer));
    }
    SoftmaxSpec attention = TRY(read_softmax(settings, frame.query_heads, 256));
    attention.qk_norm = QkNorm::PerHead;
    attention.output_gate = TRY(settings.flag("attn_output_gate", true));
    attention.rope = TRY(read_rope(settings, attention.head_dim, 0.25, frame.spec.context_length));
    const GatedDeltaSpec delta = TRY(read_delta(settings));
    const std::vector<bool> full = TRY(read_schedule(settings, frame.layers));

    DenseSpec dense;
    MoeSpec moe;
    std::vector<std::int64_t> dense_layers;
    std::int64_t sparse_step = 1;
    if (generation == Generation::V35) {
        dense.intermediate = TRY(settings.size("intermediate_size", limits::intermediate));
    } else {
        moe = TRY(read_moe(settings, generation == Generation::V35Moe, true));
        if (!settings.has("norm_topk_prob")) {
            moe.normalise_top_k = true;
        }
        dense.intermediate =
            TRY(settings.size("intermediate_size", limits::intermediate, std::int64_t{5632}));
    }
    if (generation == Generation::Next) {
        dense_layers = TRY(settings.list("mlp_only_layers", limits::layers));
        sparse_step = TRY(settings.size("decoder_sparse_step", limits::layers, 1));
    } else {
        // Written by some tools; the model class does not read them.
        settings.ignore({"mlp_only_layers", "decoder_sparse_step", "norm_topk_prob"});
    }
    settings.ignore({"use_sliding_window", "sliding_window", "max_window_layers"});
    frame.spec.tied_embedding = TRY(read_tied(checkpoint, outer, settings));
    TRY(settings.refuse_unknown("Qwen hybrid"));

    for (std::int64_t i = 0; i < frame.layers; ++i) {
        LayerSpec layer{delta, dense};
        if (full[static_cast<std::size_t>(i)]) {
            layer.mixer = attention;
        }
        const bool listed =
            std::find(dense_layers.begin(), dense_layers.end(), i) != dense_layers.end();
        if (generation != Generation::V35 && !listed && (i + 1) % sparse_step == 0) {
            layer.channel = moe;
        }
        frame.spec.layers.push_back(std::move(layer));
    }

    const std::string prefix = tensor_prefix(checkpoint);
    const std::string layer = prefix + "layers.{L}.";
    TensorNames names;
    names.add("embedding", prefix + "embed_tokens.weight");
    names.add("output", "lm_head.weight");
    names.add("norm", prefix + "norm.weight", Transform::AddOne);
    names.add("layers.#.mixer_norm", layer + "input_layernorm.weight", Transform::AddOne);
    names.add("layers.#.channel_norm", layer + "post_attention_layernorm.weight",
              Transform::AddOne);
    add_softmax_names(names, layer, Transform::AddOne);
    add_config_delta_names(names, layer, generation, delta);
    add_dense_names(names, layer, false);
    if (generation != Generation::V35) {
        add_moe_names(names, layer, checkpoint, moe);
    }
    if (has_all(checkpoint, "mtp.",
                {"fc", "pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm",
                 "layers.0.input_layernorm", "layers.0.self_attn.q_proj"})) {
        add_draft(names, layer, "mtp.layers.0.",
                  {"mtp.fc", "mtp.pre_fc_norm_embedding", "mtp.pre_fc_norm_hidden", "mtp.norm"},
                  Transform::AddOne);
        frame.spec.draft = LayerSpec{attention, dense};
        if (checkpoint.find("mtp.layers.0.mlp.gate.weight") != nullptr) {
            frame.spec.draft->channel = moe;
            // Stacked or not, whatever the trunk's experts are.
            const std::string experts = "mtp.layers.0.mlp.experts.";
            const std::string both = experts + "gate_up_proj";
            const bool stacked = checkpoint.find(both) != nullptr;
            for (const char* part : {"gate", "up", "down"}) {
                const std::string name = fmt::format("draft.#.channel.experts.#.{}", part);
                if (!stacked) {
                    names.add(name, fmt::format("{}{{E}}.{}_proj.weight", experts, part));
                } else if (std::string_view(part) == "down") {
                    names.add_stacked(name, experts + "down_proj");
                } else {
                    const bool second = std::string_view(part) == "up";
                    names.add_stacked(name, both,
                                      {{second ? moe.intermediate : 0, moe.intermediate}},
                                      2 * moe.intermediate);
                }
            }
        }
    }
    return SpecAndTensors{std::move(frame.spec), names.map(), known_extra};
}

// --- GGUF --------------------------------------------------------------------------------------

Result<GatedDeltaSpec> read_gguf_delta(Settings& settings, Generation generation) {
    GatedDeltaSpec delta;
    delta.key_heads = TRY(settings.size("ssm.group_count", limits::heads));
    delta.value_heads = TRY(settings.size("ssm.time_step_rank", limits::heads));
    delta.key_dim = TRY(settings.size("ssm.state_size", limits::head_dim));
    delta.conv_kernel = TRY(settings.size("ssm.conv_kernel", limits::conv_kernel));
    const std::int64_t inner = TRY(settings.size("ssm.inner_size", limits::head_values));
    if (inner % delta.value_heads != 0) {
        return unsound(fmt::format("{}: ssm.inner_size {} is no multiple of ssm.time_step_rank {}",
                                   settings.where(), inner, delta.value_heads));
    }
    delta.value_dim = inner / delta.value_heads;
    // The converter of Qwen3.5 reorders value heads so that head j takes key head j mod H_k.
    delta.head_map = generation == Generation::Next ? HeadMap::Grouped : HeadMap::Tiled;
    TRY(check_delta(delta, settings.where()));
    return delta;
}

// True for the layers with full attention.
Result<std::vector<bool>> read_gguf_schedule(Settings& settings, std::int64_t layers) {
    std::vector<bool> full;
    const std::int64_t interval =
        TRY(settings.size("full_attention_interval", limits::layers, std::int64_t{4}));
    if (settings.has("attention.recurrent_layers")) {
        const std::vector<std::int64_t> recurrent =
            TRY(settings.per_layer("attention.recurrent_layers", layers, 1));
        for (const std::int64_t r : recurrent) {
            full.push_back(r == 0);
        }
        return full;
    }
    for (std::int64_t i = 0; i < layers; ++i) {
        full.push_back((i + 1) % interval == 0);
    }
    return full;
}

void add_gguf_delta_names(TensorNames& names, const Checkpoint& checkpoint, Generation generation,
                          const GatedDeltaSpec& delta, std::int64_t first_linear) {
    const FusedRows rows = fused_rows(delta);
    if (generation == Generation::Next &&
        has_layer_tensor(checkpoint, first_linear, "ssm_in.weight")) {
        // Files of early converters kept the fused projection.
        names.add_rows("layers.#.mixer.qkv", "blk.{L}.ssm_in.weight", rows.qkv, rows.fused);
        names.add_rows("layers.#.mixer.z", "blk.{L}.ssm_in.weight", rows.z, rows.fused);
    } else {
        names.add("layers.#.mixer.qkv", "blk.{L}.attn_qkv.weight");
        names.add("layers.#.mixer.z", "blk.{L}.attn_gate.weight");
    }
    if (generation == Generation::Next) {
        names.add_rows("layers.#.mixer.b", "blk.{L}.ssm_ba.weight", rows.b, rows.gates);
        names.add_rows("layers.#.mixer.a", "blk.{L}.ssm_ba.weight", rows.a, rows.gates);
    } else {
        names.add("layers.#.mixer.b", "blk.{L}.ssm_beta.weight");
        names.add("layers.#.mixer.a", "blk.{L}.ssm_alpha.weight");
    }
    names.add("layers.#.mixer.out", "blk.{L}.ssm_out.weight");
    names.add("layers.#.mixer.conv", "blk.{L}.ssm_conv1d.weight");
    names.add("layers.#.mixer.decay_rate", "blk.{L}.ssm_a"); // already -exp(A_log)
    names.add("layers.#.mixer.dt_bias", "blk.{L}.ssm_dt.bias");
    names.add("layers.#.mixer.norm", "blk.{L}.ssm_norm.weight");
}

Result<SpecAndTensors> read_gguf(const Checkpoint& checkpoint, Generation generation) {
    Settings settings(checkpoint.metadata(), checkpoint.architecture() + ".", "GGUF metadata");
    Frame frame = TRY(read_gguf_frame(checkpoint, family_of(generation), settings));
    SoftmaxSpec attention = TRY(read_gguf_softmax(settings, frame));
    attention.qk_norm = QkNorm::PerHead;
    attention.output_gate = true;
    attention.rope = TRY(read_gguf_rope(settings, attention.head_dim, RopeLayout::HalfSplit));
    const GatedDeltaSpec delta = TRY(read_gguf_delta(settings, generation));
    const std::vector<bool> full = TRY(read_gguf_schedule(settings, frame.layers));
    const auto first_full = std::find(full.begin(), full.end(), true) - full.begin();
    attention.qkv_bias = has_layer_tensor(checkpoint, first_full, "attn_q.bias");
    attention.output_bias = has_layer_tensor(checkpoint, first_full, "attn_output.bias");

    DenseSpec dense;
    MoeSpec moe;
    if (generation == Generation::V35) {
        dense.intermediate = TRY(settings.size("feed_forward_length", limits::intermediate));
    } else {
        dense.intermediate =
            TRY(settings.size("feed_forward_length", limits::intermediate, std::int64_t{1}));
        moe = TRY(read_gguf_moe(checkpoint, settings));
        // Released mixtures of this line all have a shared expert; not all files say its width.
        if (const TensorInfo* up = checkpoint.find("blk.0.ffn_up_shexp.weight");
            moe.shared_intermediate == 0 && up != nullptr && up->shape.size() == 2) {
            moe.shared_intermediate = std::min(up->shape[0], limits::intermediate);
            moe.shared_gate = true;
        }
    }
    TRY(settings.refuse_unknown("Qwen hybrid"));
    for (std::int64_t i = 0; i < frame.layers; ++i) {
        LayerSpec layer{delta, dense};
        if (full[static_cast<std::size_t>(i)]) {
            layer.mixer = attention;
        }
        const bool is_dense = generation == Generation::V35 ||
                              (has_layer_tensor(checkpoint, i, "ffn_up.weight") &&
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
    names.add("layers.#.channel_norm", "blk.{L}.post_attention_norm.weight");
    add_gguf_softmax_names(names);
    const auto first_linear = std::find(full.begin(), full.end(), false) - full.begin();
    add_gguf_delta_names(names, checkpoint, generation, delta, first_linear);
    add_gguf_dense_names(names);
    if (generation != Generation::V35) {
        add_gguf_moe_names(names, checkpoint, moe);
    }
    const std::int64_t trunk = frame.layers;
    const std::string head = fmt::format("blk.{}.", trunk);
    if (has_all(checkpoint, head,
                {"nextn.eh_proj", "nextn.enorm", "nextn.hnorm", "nextn.shared_head_norm",
                 "attn_norm", "attn_q"})) {
        add_draft(names, "blk.{L}.", head,
                  {head + "nextn.eh_proj", head + "nextn.enorm", head + "nextn.hnorm",
                   head + "nextn.shared_head_norm"},
                  Transform::None);
        frame.spec.draft = LayerSpec{attention, dense};
        if (has_layer_tensor(checkpoint, trunk, "ffn_gate_inp.weight")) {
            frame.spec.draft->channel = moe;
        }
    }
    const auto extra = [trunk](std::string_view tensor) -> const char* {
        // Blocks behind the trunk, with the usual names.
        if (tensor.starts_with("blk.")) {
            const std::string_view number = tensor.substr(4, tensor.find('.', 4) - 4);
            if (number.size() < 6 && !number.empty() &&
                std::all_of(number.begin(), number.end(),
                            [](char c) { return c >= '0' && c <= '9'; }) &&
                std::stoll(std::string(number)) >= trunk) {
                return "multi-token prediction";
            }
        }
        return known_extra(tensor);
    };
    return SpecAndTensors{std::move(frame.spec), names.map(), extra};
}

Result<SpecAndTensors> read(const Checkpoint& checkpoint, Generation generation) {
    return checkpoint.container() == Container::Gguf ? read_gguf(checkpoint, generation)
                                                     : read_config(checkpoint, generation);
}

} // namespace

Result<SpecAndTensors> read_qwen3_next(const Checkpoint& checkpoint) {
    return read(checkpoint, Generation::Next);
}

Result<SpecAndTensors> read_qwen3_5(const Checkpoint& checkpoint) {
    return read(checkpoint, Generation::V35);
}

Result<SpecAndTensors> read_qwen3_5_moe(const Checkpoint& checkpoint) {
    return read(checkpoint, Generation::V35Moe);
}

} // namespace hs
