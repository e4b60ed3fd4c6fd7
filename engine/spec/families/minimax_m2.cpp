// MiniMax-M2: full attention in every layer with norms over all heads' queries and keys at once,
// partial rotation, and a mixture chosen by sigmoid scores and a bias (softmax.md section 6.3).

#include "engine/spec/families/reading.h"

#include <algorithm>
#include <fmt/format.h>

namespace hs {
namespace {

Result<void> check_words(Settings& settings) {
    const std::string norm = TRY(settings.word("qk_norm_type", "per_layer"));
    if (norm != "per_layer" || !TRY(settings.flag("use_qk_norm", true))) {
        return refused(fmt::format("{}: qk_norm_type: expected \"per_layer\" with use_qk_norm, "
                                   "found \"{}\"",
                                   settings.where(), norm));
    }
    const std::string scoring = TRY(settings.word("scoring_func", "sigmoid"));
    if (scoring != "sigmoid") {
        return refused(fmt::format("{}: scoring_func: expected \"sigmoid\", found \"{}\"",
                                   settings.where(), scoring));
    }
    if (TRY(settings.count("shared_intermediate_size", limits::intermediate, 0)) != 0) {
        return refused(settings.where() +
                       ": shared_intermediate_size: expected 0, shared experts of this family are "
                       "not known");
    }
    const std::vector<std::int64_t> types = TRY(settings.list("attn_type_list", 16));
    if (std::any_of(types.begin(), types.end(), [](std::int64_t type) { return type != 1; })) {
        return refused(settings.where() +
                       ": attn_type_list: expected 1 (full attention) for every layer");
    }
    for (const char* beta : {"layernorm_full_attention_beta", "layernorm_linear_attention_beta",
                             "layernorm_mlp_beta"}) {
        if (TRY(settings.number(beta, 1.0)) != 1.0) {
            return refused(fmt::format("{}: {}: expected 1", settings.where(), beta));
        }
    }
    return {};
}

Result<SpecAndTensors> read_config(const Checkpoint& checkpoint) {
    static const Json defaults = {
        {"vocab_size", 200064},    {"hidden_size", 3072},       {"intermediate_size", 1536},
        {"num_hidden_layers", 62}, {"num_attention_heads", 48}, {"num_key_value_heads", 8},
        {"head_dim", 128},         {"num_experts_per_tok", 8},  {"num_local_experts", 256},
        {"rope_theta", 5000000.0}, {"rms_norm_eps", 1e-6},      {"max_position_embeddings", 196608},
    };
    Json config = with_defaults(checkpoint.metadata(), defaults);
    // Released files say how many dimensions rotate; transformers says which share of them.
    if (json_member(config, "partial_rotary_factor") == nullptr) {
        Settings given(config, "", "config.json");
        const std::int64_t head_dim = TRY(given.size("head_dim", limits::head_dim));
        const std::int64_t rotated = TRY(given.size("rotary_dim", head_dim, head_dim));
        config["partial_rotary_factor"] =
            static_cast<double>(rotated) / static_cast<double>(head_dim);
    }
    Settings settings(config, "", "config.json");
    Frame frame = TRY(read_frame(checkpoint, "minimax-m2", settings));
    SoftmaxSpec attention = TRY(read_softmax(settings, frame.query_heads, 128));
    attention.qk_norm = QkNorm::AllHeads;
    attention.rope = TRY(read_rope(settings, attention.head_dim, 0.5, frame.spec.context_length));
    MoeSpec moe;
    moe.experts = TRY(settings.size("num_local_experts", limits::experts));
    moe.top_k = TRY(settings.size("num_experts_per_tok", moe.experts));
    moe.intermediate = TRY(settings.size("intermediate_size", limits::intermediate));
    moe.score = MoeSpec::Score::Sigmoid;
    moe.choice_bias = TRY(settings.flag("use_routing_bias", true));
    TRY(check_words(settings));
    frame.spec.tied_embedding = TRY(read_tied(checkpoint, settings, settings));
    settings.ignore({"rotary_dim", "num_experts", "mlp_intermediate_size", "num_mtp_modules",
                     "use_mtp", "mtp_transformer_layers", "shared_moe_mode", "sliding_window"});
    TRY(settings.refuse_unknown("MiniMax-M2"));
    frame.spec.layers.assign(static_cast<std::size_t>(frame.layers), {attention, moe});

    const std::string prefix = tensor_prefix(checkpoint);
    const std::string layer = prefix + "layers.{L}.";
    const std::string mixture = layer + "block_sparse_moe.";
    TensorNames names;
    names.add("embedding", prefix + "embed_tokens.weight");
    names.add("output", "lm_head.weight");
    names.add("norm", prefix + "norm.weight");
    names.add("layers.#.mixer_norm", layer + "input_layernorm.weight");
    names.add("layers.#.channel_norm", layer + "post_attention_layernorm.weight");
    add_softmax_names(names, layer, TensorSource::Transform::None);
    names.add("layers.#.channel.router", mixture + "gate.weight");
    names.add("layers.#.channel.choice_bias", mixture + "e_score_correction_bias");
    names.add("layers.#.channel.experts.#.gate", mixture + "experts.{E}.w1.weight");
    names.add("layers.#.channel.experts.#.up", mixture + "experts.{E}.w3.weight");
    names.add("layers.#.channel.experts.#.down", mixture + "experts.{E}.w2.weight");
    const std::int64_t trunk = frame.layers;
    const auto extra = [prefix, trunk](std::string_view tensor) -> const char* {
        // Layers behind the last, where a file has them.
        const std::string first = prefix + "layers.";
        if (tensor.starts_with(first) &&
            is_behind_trunk("blk." + std::string(tensor.substr(first.size())), trunk)) {
            return "multi-token prediction";
        }
        return known_extra(tensor);
    };
    return SpecAndTensors{std::move(frame.spec), names.map(), extra};
}

Result<SpecAndTensors> read_gguf(const Checkpoint& checkpoint) {
    Settings settings(checkpoint.metadata(), checkpoint.architecture() + ".", "GGUF metadata");
    Frame frame = TRY(read_gguf_frame(checkpoint, "minimax-m2", settings));
    SoftmaxSpec attention = TRY(read_gguf_softmax(settings, frame));
    attention.qk_norm = QkNorm::AllHeads;
    attention.rope = TRY(read_gguf_rope(settings, attention.head_dim, RopeLayout::HalfSplit));
    MoeSpec moe = TRY(read_gguf_moe(checkpoint, settings, 2));
    settings.ignore({"feed_forward_length"});
    TRY(settings.refuse_unknown("MiniMax-M2"));
    frame.spec.layers.assign(static_cast<std::size_t>(frame.layers), {attention, moe});

    TensorNames names;
    names.add("embedding", "token_embd.weight");
    names.add("output", "output.weight");
    names.add("norm", "output_norm.weight");
    names.add("layers.#.mixer_norm", "blk.{L}.attn_norm.weight");
    names.add("layers.#.channel_norm", "blk.{L}.ffn_norm.weight");
    add_gguf_softmax_names(names);
    add_gguf_moe_names(names, checkpoint, moe);
    const std::int64_t trunk = frame.layers;
    const auto extra = [trunk](std::string_view tensor) {
        return is_behind_trunk(tensor, trunk) ? "multi-token prediction" : known_extra(tensor);
    };
    return SpecAndTensors{std::move(frame.spec), names.map(), extra};
}

} // namespace

Result<SpecAndTensors> read_minimax_m2(const Checkpoint& checkpoint) {
    return checkpoint.container() == Container::Gguf ? read_gguf(checkpoint)
                                                     : read_config(checkpoint);
}

} // namespace hs
