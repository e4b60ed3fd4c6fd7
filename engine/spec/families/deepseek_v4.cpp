// DeepSeek-V4: one row per position is key and value of all heads. The last of them are read as
// they are; those before through entries made of 4 positions, which an indexer chooses from, or of
// 128, all of which are read. Four residual streams; mixtures, of which the first ones choose their
// experts by the token's id (softmax.md section 5). Read for what it weighs and keeps.

#include "engine/spec/families/reading.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace hs {
namespace {

// What a layer keeps of the positions before its window.
enum class Far { Nothing, Chosen, All };

struct Schedule {
    std::vector<Far> layers;
    std::int64_t chosen_rate = 4;
    std::int64_t all_rate = 128;
};

constexpr std::int64_t kMostStreams = 64;
constexpr std::int64_t kMostRate = std::int64_t{1} << 16;

Result<void> check_sizes(const CompressedSpec& s, const std::string& where) {
    if (s.query_heads * s.head_dim > limits::head_values) {
        return unsound(fmt::format("{}: {} heads of {} are more than {} values", where,
                                   s.query_heads, s.head_dim, limits::head_values));
    }
    if (s.query_heads % s.output_groups != 0) {
        return unsound(fmt::format("{}: {} heads are in no {} equal groups", where, s.query_heads,
                                   s.output_groups));
    }
    if (s.output_groups * s.output_rank > limits::head_values) {
        return unsound(fmt::format("{}: {} groups of {} are more than {} values", where,
                                   s.output_groups, s.output_rank, limits::head_values));
    }
    if (s.indexer->heads * s.indexer->head_dim > limits::head_values) {
        return unsound(fmt::format("{}: {} indexer heads of {} are more than {} values", where,
                                   s.indexer->heads, s.indexer->head_dim, limits::head_values));
    }
    return {};
}

Result<std::int64_t> shared_width(std::int64_t experts, std::int64_t intermediate,
                                  const std::string& where) {
    if (experts * intermediate > limits::intermediate) {
        return unsound(fmt::format("{}: {} shared experts of {} are wider than {}", where, experts,
                                   intermediate, limits::intermediate));
    }
    return experts * intermediate;
}

Result<Far> far_of(std::int64_t ratio, std::size_t layer, const std::string& name) {
    switch (ratio) {
    case 0:
        return Far::Nothing;
    case 4:
        return Far::Chosen;
    case 128:
        return Far::All;
    default:
        return refused(fmt::format("{}[{}]: expected 0, 4 or 128, found {}", name, layer, ratio));
    }
}

Result<std::vector<Far>> read_ratios(Settings& settings, std::string_view key,
                                     std::int64_t layers) {
    // One more at the end stands for the multi-token prediction head.
    std::vector<Far> all;
    for (const std::int64_t ratio : TRY(settings.per_layer(key, layers, kMostRate))) {
        all.push_back(TRY(far_of(ratio, all.size(), fmt::format("{}: {}", settings.where(), key))));
    }
    return all;
}

// attention: as wide as every layer's, with the indexer. by_id: layers whose experts are chosen by
// token id, without a bias.
void add_layers(ModelSpec& spec, const CompressedSpec& attention, const Schedule& schedule,
                const MoeSpec& mixture, const std::vector<bool>& by_id) {
    for (std::size_t i = 0; i < schedule.layers.size(); ++i) {
        CompressedSpec mixer = attention;
        if (schedule.layers[i] == Far::Chosen) {
            mixer.rate = schedule.chosen_rate;
            mixer.overlapping = true;
        } else {
            mixer.indexer.reset();
            mixer.rate = schedule.layers[i] == Far::All ? schedule.all_rate : 0;
        }
        MoeSpec channel = mixture;
        channel.choice_bias = !by_id[i];
        spec.layers.push_back({mixer, channel});
    }
}

std::string about_entries(const char* key, const Schedule& schedule) {
    const auto count = [&](Far far) {
        return std::count(schedule.layers.begin(), schedule.layers.end(), far);
    };
    return fmt::format("{} = {} at {} layers and {} at {}: attention over rows that are key and "
                       "value of all heads, and over entries made of many rows, has no op; "
                       "supported are full, sliding-window and latent attention, and the sparse "
                       "kind of the latter",
                       key, schedule.chosen_rate, count(Far::Chosen), schedule.all_rate,
                       count(Far::All));
}

std::string about_streams(const char* key, std::int64_t count) {
    return fmt::format("{} = {}: residual streams mixed before and after every mixer have no op, "
                       "supported is 1",
                       key, count);
}

std::string about_ids(const char* key, std::int64_t count) {
    return fmt::format("{} = {}: experts chosen by token id have no op, supported is 0", key,
                       count);
}

// --- config.json -------------------------------------------------------------------------------

Result<Schedule> read_schedule(Settings& settings, std::int64_t layers) {
    Schedule schedule;
    if (const Json* const rates = settings.member("compress_rates")) {
        Settings of_type(*rates, "", settings.where() + ": compress_rates");
        schedule.chosen_rate =
            TRY(of_type.size("compressed_sparse_attention", kMostRate, schedule.chosen_rate));
        schedule.all_rate =
            TRY(of_type.size("heavily_compressed_attention", kMostRate, schedule.all_rate));
    }
    const std::vector<std::string> types = TRY(settings.words("layer_types"));
    if (types.empty()) {
        schedule.layers = TRY(read_ratios(settings, "compress_ratios", layers));
        return schedule;
    }
    settings.ignore({"compress_ratios"});
    if (static_cast<std::int64_t>(types.size()) < layers) {
        return unsound(fmt::format("{}: layer_types: expected {} entries, found {}",
                                   settings.where(), layers, types.size()));
    }
    constexpr std::array<std::string_view, 3> names{
        "sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"};
    for (std::size_t i = 0; i < static_cast<std::size_t>(layers); ++i) {
        const auto* const at = std::find(names.begin(), names.end(), types[i]);
        if (at == names.end()) {
            return refused(fmt::format("{}: layer_types[{}]: expected \"{}\", found \"{}\"",
                                       settings.where(), i, fmt::join(names, "\" or \""),
                                       types[i]));
        }
        schedule.layers.push_back(static_cast<Far>(at - names.begin()));
    }
    return schedule;
}

// True for layers whose experts are chosen by token id.
Result<std::vector<bool>> read_choice(Settings& settings, std::int64_t layers) {
    std::vector<bool> by_id(static_cast<std::size_t>(layers));
    const std::vector<std::string> types = TRY(settings.words("mlp_layer_types"));
    const std::int64_t first = TRY(settings.count("num_hash_layers", limits::layers, 3));
    for (std::size_t i = 0; i < by_id.size(); ++i) {
        by_id[i] = i < types.size() ? types[i] == "hash_moe" : static_cast<std::int64_t>(i) < first;
    }
    return by_id;
}

Result<SpecAndTensors> read_config(const Checkpoint& checkpoint) {
    // What transformers' class of this model takes for absent settings.
    static const Json defaults = {{"vocab_size", 129280},
                                  {"hidden_size", 4096},
                                  {"moe_intermediate_size", 2048},
                                  {"num_hidden_layers", 43},
                                  {"num_attention_heads", 64},
                                  {"num_key_value_heads", 1},
                                  {"head_dim", 512},
                                  {"q_lora_rank", 1024},
                                  {"num_experts_per_tok", 6},
                                  {"n_routed_experts", 256},
                                  {"n_shared_experts", 1},
                                  {"scoring_func", "sqrtsoftplus"},
                                  {"swiglu_limit", 10.0},
                                  {"routed_scaling_factor", 1.5},
                                  {"hc_mult", 4},
                                  {"sliding_window", 128},
                                  {"o_groups", 8},
                                  {"o_lora_rank", 1024},
                                  {"index_n_heads", 64},
                                  {"index_head_dim", 128},
                                  {"index_topk", 512},
                                  {"rms_norm_eps", 1e-6},
                                  {"max_position_embeddings", 1048576}};
    const Json config = with_defaults(checkpoint.metadata(), defaults);
    Settings settings(config, "", "config.json");
    Frame frame = TRY(read_frame(checkpoint, "deepseek-v4", settings));
    ModelSpec& spec = frame.spec;
    CompressedSpec attention;
    attention.query_heads = frame.query_heads;
    attention.head_dim = TRY(settings.size("head_dim", limits::head_dim));
    attention.query_rank = TRY(settings.size("q_lora_rank", limits::hidden));
    attention.output_groups = TRY(settings.size("o_groups", limits::heads));
    attention.output_rank = TRY(settings.size("o_lora_rank", limits::hidden));
    attention.window = TRY(settings.size("sliding_window", limits::context));
    attention.indexer = IndexerSpec{};
    attention.indexer->heads = TRY(settings.size("index_n_heads", limits::heads));
    attention.indexer->head_dim = TRY(settings.size("index_head_dim", limits::head_dim));
    attention.indexer->top_k = TRY(settings.size("index_topk", limits::context));
    TRY(check_sizes(attention, settings.where()));
    if (const auto rows = TRY(settings.size("num_key_value_heads", limits::heads)); rows != 1) {
        return refused(
            fmt::format("{}: num_key_value_heads: expected 1, found {}", settings.where(), rows));
    }
    MoeSpec mixture;
    mixture.experts = TRY(settings.size("n_routed_experts", limits::experts));
    mixture.top_k = TRY(settings.size("num_experts_per_tok", mixture.experts));
    mixture.intermediate = TRY(settings.size("moe_intermediate_size", limits::intermediate));
    const std::int64_t shared = TRY(settings.count("n_shared_experts", limits::experts, 0));
    mixture.shared_intermediate = TRY(shared_width(shared, mixture.intermediate, settings.where()));
    mixture.weight_scale = TRY(settings.number("routed_scaling_factor"));
    const Schedule schedule = TRY(read_schedule(settings, frame.layers));
    const std::vector<bool> by_id = TRY(read_choice(settings, frame.layers));
    spec.streams.count = TRY(settings.size("hc_mult", kMostStreams));
    spec.tied_embedding = TRY(read_tied(checkpoint, settings, settings));
    add_layers(spec, attention, schedule, mixture, by_id);

    std::vector<std::string> reasons{about_entries("compress_ratios", schedule)};
    if (spec.streams.count > 1) {
        reasons.push_back(about_streams("hc_mult", spec.streams.count));
    }
    if (const auto count = std::count(by_id.begin(), by_id.end(), true); count > 0) {
        reasons.push_back(about_ids("num_hash_layers", count));
    }
    if (const auto score = TRY(settings.word("scoring_func", "")); score != "sigmoid") {
        reasons.push_back(fmt::format("scoring_func = \"{}\": supported with a bias for the choice "
                                      "is \"sigmoid\"",
                                      score));
    }
    if (const double limit = TRY(settings.number("swiglu_limit")); limit != 0) {
        reasons.push_back(fmt::format("swiglu_limit = {}: gates and ups clamped as they are have "
                                      "no op, supported is 0",
                                      limit));
    }
    settings.ignore({"compress_rate_csa",
                     "compress_rate_hca",
                     "compress_rope_theta",
                     "default_compress_rates",
                     "first_k_dense_replace",
                     "hc_eps",
                     "hc_sinkhorn_iters",
                     "mlp_bias",
                     "norm_topk_prob",
                     "num_nextn_predict_layers",
                     "partial_rotary_factor",
                     "qk_nope_head_dim",
                     "qk_rope_head_dim",
                     "rope_parameters",
                     "rope_scaling",
                     "rope_theta",
                     "topk_method",
                     "n_group",
                     "topk_group",
                     "num_local_experts",
                     "intermediate_size",
                     "expert_dtype"});
    spec.cannot_run = why_not_run(reasons, settings);
    return SpecAndTensors{std::move(spec), TensorNames().map(), known_extra};
}

// --- GGUF --------------------------------------------------------------------------------------

Result<SpecAndTensors> read_gguf(const Checkpoint& checkpoint) {
    Settings settings(checkpoint.metadata(), checkpoint.architecture() + ".", "GGUF metadata");
    Frame frame = TRY(read_gguf_frame(checkpoint, "deepseek-v4", settings));
    ModelSpec& spec = frame.spec;
    CompressedSpec attention;
    attention.query_heads = frame.query_heads;
    attention.head_dim = TRY(settings.size("attention.key_length", limits::head_dim));
    attention.query_rank = TRY(settings.size("attention.q_lora_rank", limits::hidden));
    attention.output_groups = TRY(settings.size("attention.output_group_count", limits::heads));
    attention.output_rank = TRY(settings.size("attention.output_lora_rank", limits::hidden));
    attention.window = TRY(settings.size("attention.sliding_window", limits::context));
    attention.indexer = IndexerSpec{};
    attention.indexer->heads = TRY(settings.size("attention.indexer.head_count", limits::heads));
    attention.indexer->head_dim =
        TRY(settings.size("attention.indexer.key_length", limits::head_dim));
    attention.indexer->top_k = TRY(settings.size("attention.indexer.top_k", limits::context));
    TRY(check_sizes(attention, settings.where()));
    MoeSpec mixture;
    mixture.experts = TRY(settings.size("expert_count", limits::experts));
    mixture.top_k = TRY(settings.size("expert_used_count", mixture.experts));
    mixture.intermediate = TRY(settings.size("expert_feed_forward_length", limits::intermediate));
    const std::int64_t shared = TRY(settings.count("expert_shared_count", limits::experts, 1));
    mixture.shared_intermediate = TRY(shared_width(shared, mixture.intermediate, settings.where()));
    mixture.weight_scale = TRY(settings.number("expert_weights_scale", 1.0));
    Schedule schedule;
    schedule.layers = TRY(read_ratios(settings, "attention.compress_ratios", frame.layers));
    const std::int64_t hashed = TRY(settings.count("hash_layer_count", limits::layers, 0));
    std::vector<bool> by_id(schedule.layers.size());
    std::fill_n(by_id.begin(), std::min<std::int64_t>(hashed, frame.layers), true);
    spec.streams.count = TRY(settings.size("hyper_connection.count", kMostStreams));
    add_layers(spec, attention, schedule, mixture, by_id);

    std::vector<std::string> reasons{about_entries("attention.compress_ratios", schedule)};
    if (spec.streams.count > 1) {
        reasons.push_back(about_streams("hyper_connection.count", spec.streams.count));
    }
    if (hashed > 0) {
        reasons.push_back(about_ids("hash_layer_count", hashed));
    }
    if (const auto gating = TRY(settings.count("expert_gating_func", 16, 4)); gating != 2) {
        reasons.push_back(fmt::format("expert_gating_func = {}: supported with a bias for the "
                                      "choice is 2 (sigmoid)",
                                      gating));
    }
    settings.ignore({"attention.compress_rope_freq_base", "attention.head_count_kv",
                     "attention.value_length", "expert_weights_norm", "expert_group_count",
                     "expert_group_used_count", "feed_forward_length",
                     "hyper_connection.sinkhorn_iterations", "hyper_connection.epsilon",
                     "leading_dense_block_count", "rope.dimension_count", "rope.freq_base",
                     "rope.scaling.type", "rope.scaling.factor",
                     "rope.scaling.original_context_length", "rope.scaling.yarn_beta_fast",
                     "rope.scaling.yarn_beta_slow", "swiglu_clamp_exp", "swiglu_clamp_shexp"});
    spec.cannot_run = why_not_run(reasons, settings);
    return SpecAndTensors{std::move(spec), TensorNames().map(), known_extra};
}

} // namespace

Result<SpecAndTensors> read_deepseek_v4(const Checkpoint& checkpoint) {
    return checkpoint.container() == Container::Gguf ? read_gguf(checkpoint)
                                                     : read_config(checkpoint);
}

} // namespace hs
