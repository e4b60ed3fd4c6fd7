// DeepSeek-V2, V3 (R1, V3.1), V3.2 and GLM-5: latent attention (MLA), from V3.2 on over positions
// that an indexer chooses, with mixtures behind the first dense layers (softmax.md sections 3, 4).
// What the checkpoints hold as one matrix kv_b is taken apart here: for each head the rows that
// make keys of the latent, and those that make values.

#include "engine/spec/families/reading.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>

namespace hs {
namespace {

using RowRange = TensorSource::RowRange;

enum class Member { V2, V3, V32, Glm5 };

const char* family_of(Member member) {
    constexpr std::array<const char*, 4> names{"deepseek-v2", "deepseek-v3", "deepseek-v3.2",
                                               "glm-5"};
    return names[static_cast<std::size_t>(member)];
}

bool has_indexer(Member member) {
    return member == Member::V32 || member == Member::Glm5;
}

// Norms of the latents have an epsilon of their own, whatever rms_norm_eps says (softmax.md
// section 0, trap 7). llama.cpp takes the model's, which is the same for all but GLM-5.
constexpr double kLatentEps = 1e-6;

// 0.1 * strength * ln(factor) + 1
double yarn_magnitude(double factor, double strength) {
    return factor > 1.0 ? 0.1 * strength * std::log(factor) + 1.0 : 1.0;
}

Result<void> check_heads(const LatentSpec& s, const std::string& where) {
    const std::int64_t widest =
        std::max({s.query_dim(), s.nope_dim + s.value_dim, s.kv_rank + s.rope_dim});
    if (s.query_heads * widest > limits::head_values) {
        return unsound(fmt::format("{}: {} heads of {} are more than {} values", where,
                                   s.query_heads, widest, limits::head_values));
    }
    if (s.rope_dim % 2 != 0) {
        return refused(fmt::format("{}: expected an even number of rotated dimensions, found {}",
                                   where, s.rope_dim));
    }
    return {};
}

Result<void> check_indexer(const IndexerSpec& s, std::int64_t rope_dim, const std::string& where) {
    if (s.head_dim < rope_dim) {
        return unsound(fmt::format("{}: heads of the indexer have {} dimensions, less than the {} "
                                   "that rotate",
                                   where, s.head_dim, rope_dim));
    }
    if (s.heads * s.head_dim > limits::head_values) {
        return unsound(fmt::format("{}: {} indexer heads of {} are more than {} values", where,
                                   s.heads, s.head_dim, limits::head_values));
    }
    return {};
}

Result<void> check_groups(const MoeSpec& moe, const std::string& where) {
    if (moe.experts % moe.groups != 0 || moe.groups_kept > moe.groups) {
        return unsound(fmt::format("{}: {} experts in {} groups of which {} are kept", where,
                                   moe.experts, moe.groups, moe.groups_kept));
    }
    if (moe.top_k > moe.experts / moe.groups * moe.groups_kept) {
        return unsound(fmt::format("{}: {} experts are to be chosen from {} groups of {}", where,
                                   moe.top_k, moe.groups_kept, moe.experts / moe.groups));
    }
    return {};
}

// Rows of kv_b, [keys | values] head by head.
struct SplitRows {
    std::vector<RowRange> keys, values;
    std::int64_t all = 0;
};

SplitRows split_rows(const LatentSpec& s) {
    SplitRows rows;
    const std::int64_t height = s.nope_dim + s.value_dim;
    for (std::int64_t h = 0; h < s.query_heads; ++h) {
        rows.keys.push_back({h * height, s.nope_dim});
        rows.values.push_back({h * height + s.nope_dim, s.value_dim});
    }
    rows.all = s.query_heads * height;
    return rows;
}

// k_b and v_b out of kv_b; the keys' part is used from the other side.
void add_split_names(TensorNames& names, const LatentSpec& latent, const std::string& kv_b) {
    SplitRows rows = split_rows(latent);
    TensorSource keys;
    keys.name = kv_b;
    keys.rows = std::move(rows.keys);
    keys.file_rows = rows.all;
    keys.transposed = latent.nope_dim;
    names.add_source("layers.#.mixer.k_b", std::move(keys));
    names.add_rows("layers.#.mixer.v_b", kv_b, std::move(rows.values), rows.all);
}

// --- config.json -------------------------------------------------------------------------------

const Json& defaults_of(Member member) {
    static const Json v2 = {{"vocab_size", 102400},          {"hidden_size", 4096},
                            {"intermediate_size", 11008},    {"num_hidden_layers", 32},
                            {"num_attention_heads", 32},     {"max_position_embeddings", 2048},
                            {"rms_norm_eps", 1e-6},          {"first_k_dense_replace", 0},
                            {"kv_lora_rank", 512},           {"q_lora_rank", 1536},
                            {"n_routed_experts", 64},        {"n_shared_experts", 2},
                            {"qk_nope_head_dim", 128},       {"qk_rope_head_dim", 64},
                            {"routed_scaling_factor", 1.0},  {"v_head_dim", 128},
                            {"moe_intermediate_size", 1407}, {"norm_topk_prob", false},
                            {"topk_method", "greedy"},       {"scoring_func", "softmax"}};
    static const Json v3 = {{"vocab_size", 129280},
                            {"hidden_size", 7168},
                            {"intermediate_size", 18432},
                            {"num_hidden_layers", 61},
                            {"num_attention_heads", 128},
                            {"max_position_embeddings", 4096},
                            {"rms_norm_eps", 1e-6},
                            {"first_k_dense_replace", 3},
                            {"kv_lora_rank", 512},
                            {"q_lora_rank", 1536},
                            {"n_routed_experts", 256},
                            {"n_shared_experts", 1},
                            {"qk_nope_head_dim", 128},
                            {"qk_rope_head_dim", 64},
                            {"routed_scaling_factor", 2.5},
                            {"v_head_dim", 128},
                            {"moe_intermediate_size", 2048},
                            {"norm_topk_prob", true},
                            {"topk_method", "noaux_tc"},
                            {"scoring_func", "sigmoid"},
                            {"num_experts_per_tok", 8},
                            {"n_group", 8},
                            {"topk_group", 4}};
    static const Json v32 = with_defaults({{"max_position_embeddings", 163840},
                                           {"index_topk", 2048},
                                           {"index_head_dim", 128},
                                           {"index_n_heads", 64}},
                                          v3);
    static const Json glm5 = with_defaults({{"vocab_size", 154880},
                                            {"hidden_size", 6144},
                                            {"intermediate_size", 12288},
                                            {"num_hidden_layers", 78},
                                            {"num_attention_heads", 64},
                                            {"max_position_embeddings", 202752},
                                            {"rms_norm_eps", 1e-5},
                                            {"q_lora_rank", 2048},
                                            {"qk_nope_head_dim", 192},
                                            {"v_head_dim", 256},
                                            {"n_group", 1},
                                            {"topk_group", 1},
                                            {"index_n_heads", 32}},
                                           v32);
    switch (member) {
    case Member::V2:
        return v2;
    case Member::V3:
        return v3;
    case Member::V32:
        return v32;
    case Member::Glm5:
        break;
    }
    return glm5;
}

Result<void> expect_word(Settings& settings, std::string_view key, std::string_view expected) {
    const std::string found = TRY(settings.word(key, expected));
    if (found != expected) {
        return refused(fmt::format("{}: {}: expected \"{}\", found \"{}\"", settings.where(), key,
                                   expected, found));
    }
    return {};
}

// A setting with one value in this family.
Result<void> expect_flag(Settings& settings, std::string_view key, bool expected,
                         const char* why = "") {
    if (TRY(settings.flag(key, expected)) != expected) {
        return refused(fmt::format("{}: {}: expected {}, found {}{}", settings.where(), key,
                                   expected, !expected, why));
    }
    return {};
}

// The factor of the logits: 1 / sqrt(dims) and, under YaRN, the magnitude twice (softmax.md
// section 3.1).
Result<double> read_scale(const Json& config, const LatentSpec& s, const std::string& where) {
    const double plain = 1.0 / std::sqrt(static_cast<double>(s.query_dim()));
    if (s.rope.scaling.kind != RopeScaling::Kind::Yarn) {
        return plain;
    }
    const Json* rope = json_member(config, "rope_scaling");
    if (rope == nullptr || !rope->is_object() || rope->empty()) {
        rope = json_member(config, "rope_parameters");
    }
    if (rope == nullptr || !rope->is_object()) {
        return plain;
    }
    Settings settings(*rope, "", where + ": rope");
    const double strength = TRY(settings.number("mscale_all_dim", 0.0));
    if (std::fabs(strength) > 100.0) {
        return unsound(fmt::format("{}: mscale_all_dim: expected a number in [-100, 100], found {}",
                                   settings.where(), strength));
    }
    const double magnitude = yarn_magnitude(s.rope.scaling.factor, strength);
    return plain * magnitude * magnitude;
}

Result<LatentSpec> read_latent(const Json& config, Settings& settings, Member member,
                               const Frame& frame) {
    LatentSpec s;
    s.query_heads = frame.query_heads;
    s.nope_dim = TRY(settings.size("qk_nope_head_dim", limits::head_dim));
    s.rope_dim = TRY(settings.size("qk_rope_head_dim", limits::head_dim));
    s.value_dim = TRY(settings.size("v_head_dim", limits::head_dim));
    s.kv_rank = TRY(settings.size("kv_lora_rank", limits::hidden));
    s.query_rank = TRY(settings.count("q_lora_rank", limits::hidden, 0));
    if (s.query_rank == 0 && has_indexer(member)) {
        return refused(settings.where() + ": q_lora_rank: expected at least 1: the indexer reads "
                                          "the compressed query");
    }
    s.latent_norm_eps = kLatentEps;
    TRY(check_heads(s, settings.where()));
    TRY(expect_flag(settings, "attention_bias", false));
    s.rope = TRY(read_rope(settings, s.rope_dim, 1.0, frame.spec.context_length));
    const bool interleaved = TRY(settings.flag("rope_interleave", true));
    if (!interleaved && member != Member::V3) {
        return refused(settings.where() + ": rope_interleave: expected true, found false");
    }
    s.rope.layout = interleaved ? RopeLayout::Interleaved : RopeLayout::HalfSplit;
    s.scale = TRY(read_scale(config, s, settings.where()));
    settings.ignore({"head_dim", "qk_head_dim", "num_key_value_heads"});
    return s;
}

Result<IndexerSpec> read_indexer(Settings& settings, Member member, const LatentSpec& latent) {
    IndexerSpec s;
    s.heads = TRY(settings.size("index_n_heads", limits::heads));
    s.head_dim = TRY(settings.size("index_head_dim", limits::head_dim));
    s.top_k = TRY(settings.size("index_topk", limits::context));
    // The same angles, in another order (softmax.md section 0, trap 5).
    const bool interleaved = member == Member::Glm5;
    TRY(expect_flag(settings, "indexer_rope_interleave", interleaved));
    s.rope = latent.rope;
    s.rope.layout = interleaved ? RopeLayout::Interleaved : RopeLayout::HalfSplit;
    TRY(check_indexer(s, latent.rope_dim, settings.where()));
    return s;
}

// True for layers with an indexer. In GLM-5.2 some have none and read the positions that the last
// one before them chose (softmax.md section 4).
Result<std::vector<bool>> read_indexer_schedule(Settings& settings, Member member,
                                                std::int64_t layers) {
    std::vector<bool> full(static_cast<std::size_t>(layers), true);
    if (member != Member::Glm5) {
        return full;
    }
    std::vector<std::string> types = TRY(settings.words("indexer_types"));
    const Json* const pattern = settings.member("index_topk_pattern");
    if (types.empty() && pattern != nullptr && pattern->is_string()) {
        for (const char letter : pattern->get_ref<const std::string&>()) {
            types.push_back(letter == 'F' ? "full" : letter == 'S' ? "shared" : "");
        }
    } else if (types.empty() && pattern != nullptr) {
        types = TRY(settings.words("index_topk_pattern"));
    }
    const std::int64_t every =
        std::max<std::int64_t>(1, TRY(settings.count("index_topk_freq", limits::layers, 1)));
    const std::int64_t offset = TRY(settings.count("index_skip_topk_offset", limits::layers, 2));
    if (types.empty()) {
        for (std::int64_t i = 0; i < layers; ++i) {
            full[static_cast<std::size_t>(i)] =
                std::max<std::int64_t>(i - offset + 1, 0) % every == 0;
        }
        return full;
    }
    if (static_cast<std::int64_t>(types.size()) < layers) {
        return unsound(fmt::format("{}: indexer_types: expected {} entries, found {}",
                                   settings.where(), layers, types.size()));
    }
    for (std::size_t i = 0; i < full.size(); ++i) {
        if (types[i] != "full" && types[i] != "shared") {
            return refused(fmt::format("{}: indexer_types[{}]: expected \"full\" or \"shared\", "
                                       "found \"{}\"",
                                       settings.where(), i, types[i]));
        }
        full[i] = types[i] == "full";
    }
    return full;
}

// Takes the indexer from layers that have none of their own.
Result<void> share_choices(ModelSpec& spec, const std::vector<bool>& full,
                           const std::string& where) {
    for (std::size_t i = 0; i < spec.layers.size(); ++i) {
        if (full[i]) {
            continue;
        }
        if (i == 0) {
            return unsound(where + ": the first layer has no indexer, and none before it to share");
        }
        auto& latent = std::get<LatentSpec>(spec.layers[i].mixer);
        latent.indexer.reset();
        latent.shares_choice = true;
    }
    return {};
}

Result<MoeSpec> read_mixture(Settings& settings, Member member) {
    MoeSpec moe;
    moe.experts = TRY(settings.size("n_routed_experts", limits::experts));
    moe.top_k = TRY(settings.size("num_experts_per_tok", moe.experts));
    moe.intermediate = TRY(settings.size("moe_intermediate_size", limits::intermediate));
    const std::int64_t shared = TRY(settings.count("n_shared_experts", limits::experts, 0));
    if (shared * moe.intermediate > limits::intermediate) {
        return unsound(fmt::format("{}: {} shared experts of {} are wider than {}",
                                   settings.where(), shared, moe.intermediate,
                                   limits::intermediate));
    }
    moe.shared_intermediate = shared * moe.intermediate;
    moe.weight_scale = TRY(settings.number("routed_scaling_factor"));
    if (member == Member::V2) {
        moe.score = MoeSpec::Score::Softmax;
        // transformers leaves weights as they are whatever it says, DeepSeek's own code does not.
        TRY(expect_flag(settings, "norm_topk_prob", false,
                        ", of which the known implementations make different things"));
        moe.normalise_top_k = false;
        TRY(expect_word(settings, "scoring_func", "softmax"));
        const std::string method = TRY(settings.word("topk_method", "greedy"));
        if (method != "greedy" && method != "group_limited_greedy") {
            return refused(fmt::format("{}: topk_method: expected \"greedy\" or "
                                       "\"group_limited_greedy\", found \"{}\"",
                                       settings.where(), method));
        }
        moe.group_best = 1;
        const std::int64_t groups = TRY(settings.size("n_group", moe.experts, 1));
        const std::int64_t kept = TRY(settings.size("topk_group", groups, groups));
        if (method != "greedy") {
            moe.groups = groups;
            moe.groups_kept = kept;
        }
    } else {
        moe.score = MoeSpec::Score::Sigmoid;
        moe.choice_bias = true;
        moe.normalise_top_k = TRY(settings.flag("norm_topk_prob", true));
        TRY(expect_word(settings, "scoring_func", "sigmoid"));
        TRY(expect_word(settings, "topk_method", "noaux_tc"));
        moe.groups = TRY(settings.size("n_group", moe.experts, 1));
        moe.groups_kept = TRY(settings.size("topk_group", moe.groups, moe.groups));
    }
    if (TRY(settings.size("moe_layer_freq", limits::layers, 1)) != 1) {
        return refused(settings.where() +
                       ": moe_layer_freq: expected 1, a mixture in every layer behind the first");
    }
    TRY(check_groups(moe, settings.where()));
    return moe;
}

// True for layers with a mixture.
Result<std::vector<bool>> read_schedule(Settings& settings, Member member, std::int64_t layers) {
    const std::int64_t dense = TRY(settings.count("first_k_dense_replace", limits::layers, 0));
    std::vector<bool> mixture;
    for (std::int64_t i = 0; i < layers; ++i) {
        mixture.push_back(i >= dense);
    }
    if (!has_indexer(member)) {
        return mixture;
    }
    const std::vector<std::string> types = TRY(settings.words("mlp_layer_types"));
    if (!types.empty() && static_cast<std::int64_t>(types.size()) < layers) {
        return unsound(fmt::format("{}: mlp_layer_types: expected {} entries, found {}",
                                   settings.where(), layers, types.size()));
    }
    for (std::size_t i = 0; i < std::min(types.size(), mixture.size()); ++i) {
        if (types[i] != "dense" && types[i] != "sparse") {
            return refused(fmt::format("{}: mlp_layer_types[{}]: expected \"dense\" or \"sparse\", "
                                       "found \"{}\"",
                                       settings.where(), i, types[i]));
        }
        mixture[i] = types[i] == "sparse";
    }
    const std::vector<std::string> mixers = TRY(settings.words("layer_types"));
    for (const std::string& type : mixers) {
        if (type != "indexed_attention") {
            return refused(fmt::format("{}: layer_types: expected \"indexed_attention\", found "
                                       "\"{}\"",
                                       settings.where(), type));
        }
    }
    return mixture;
}

void add_config_names(TensorNames& names, const std::string& prefix, const Checkpoint& checkpoint,
                      const LatentSpec& latent, const MoeSpec& moe) {
    const std::string layer = prefix + "layers.{L}.";
    const std::string attention = layer + "self_attn.";
    const std::string mlp = layer + "mlp.";
    names.add("embedding", prefix + "embed_tokens.weight");
    names.add("output", "lm_head.weight");
    names.add("norm", prefix + "norm.weight");
    names.add("layers.#.mixer_norm", layer + "input_layernorm.weight");
    names.add("layers.#.channel_norm", layer + "post_attention_layernorm.weight");
    names.add("layers.#.mixer.q", attention + "q_proj.weight");
    names.add("layers.#.mixer.q_a", attention + "q_a_proj.weight");
    names.add("layers.#.mixer.q_a_norm", attention + "q_a_layernorm.weight");
    names.add("layers.#.mixer.q_b", attention + "q_b_proj.weight");
    names.add("layers.#.mixer.kv_a", attention + "kv_a_proj_with_mqa.weight");
    names.add("layers.#.mixer.kv_a_norm", attention + "kv_a_layernorm.weight");
    names.add("layers.#.mixer.o", attention + "o_proj.weight");
    add_split_names(names, latent, attention + "kv_b_proj.weight");
    names.add("layers.#.mixer.indexer.q", attention + "indexer.wq_b.weight");
    names.add("layers.#.mixer.indexer.k", attention + "indexer.wk.weight");
    names.add("layers.#.mixer.indexer.weights", attention + "indexer.weights_proj.weight");
    names.add("layers.#.mixer.indexer.k_norm", attention + "indexer.k_norm.weight");
    names.add("layers.#.mixer.indexer.k_norm_bias", attention + "indexer.k_norm.bias");
    add_dense_names(names, layer, false);
    add_moe_names(names, layer, checkpoint, moe);
    names.add("layers.#.channel.choice_bias", mlp + "gate.e_score_correction_bias");
    for (const char* part : {"gate", "up", "down"}) {
        names.add(std::string("layers.#.channel.shared.") + part,
                  mlp + "shared_experts." + part + "_proj.weight");
    }
}

Result<SpecAndTensors> read_config(const Checkpoint& checkpoint, Member member) {
    const Json& given = checkpoint.metadata();
    Json config = with_defaults(given, defaults_of(member));
    // Here null is a value of its own: queries that are not compressed.
    if (given.is_object() && given.contains("q_lora_rank") && given["q_lora_rank"].is_null()) {
        config["q_lora_rank"] = nullptr;
    }
    Settings settings(config, "", "config.json");
    Frame frame = TRY(read_frame(checkpoint, family_of(member), settings));
    LatentSpec latent = TRY(read_latent(config, settings, member, frame));
    if (has_indexer(member)) {
        latent.indexer = TRY(read_indexer(settings, member, latent));
    }
    const std::vector<bool> indexers = TRY(read_indexer_schedule(settings, member, frame.layers));
    const std::vector<bool> mixture = TRY(read_schedule(settings, member, frame.layers));
    const bool any_mixture = std::find(mixture.begin(), mixture.end(), true) != mixture.end();
    MoeSpec moe;
    if (any_mixture || settings.has("num_experts_per_tok")) {
        moe = TRY(read_mixture(settings, member));
    } else {
        settings.ignore({"n_routed_experts", "n_shared_experts", "moe_intermediate_size",
                         "routed_scaling_factor", "norm_topk_prob", "scoring_func", "topk_method",
                         "n_group", "topk_group", "moe_layer_freq"});
    }
    DenseSpec dense;
    dense.intermediate = TRY(settings.size("intermediate_size", limits::intermediate));
    TRY(expect_flag(settings, "mlp_bias", false));
    frame.spec.tied_embedding = TRY(read_tied(checkpoint, settings, settings));
    settings.ignore({"num_nextn_predict_layers", "num_mtp_layers", "ep_size", "aux_loss_alpha",
                     "seq_aux", "num_experts", "num_local_experts"});
    TRY(settings.refuse_unknown("DeepSeek"));

    for (const bool mixed : mixture) {
        LayerSpec layer{latent, dense};
        if (mixed) {
            layer.channel = moe;
        }
        frame.spec.layers.push_back(std::move(layer));
    }
    TRY(share_choices(frame.spec, indexers, settings.where()));
    const std::string prefix = tensor_prefix(checkpoint);
    TensorNames names;
    add_config_names(names, prefix, checkpoint, latent, moe);
    const std::string head = fmt::format("{}layers.{}.", prefix, frame.layers);
    if (has_all(checkpoint, head,
                {"eh_proj", "enorm", "hnorm", "shared_head.norm", "input_layernorm",
                 "post_attention_layernorm", "self_attn.kv_b_proj", "mlp.gate",
                 "mlp.experts.0.down_proj"})) {
        add_draft(names, prefix + "layers.{L}.", head,
                  {head + "eh_proj", head + "enorm", head + "hnorm", head + "shared_head.norm"});
        frame.spec.draft = LayerSpec{latent, moe};
    }
    const auto extra = [first = prefix + "layers.",
                        trunk = frame.layers](std::string_view tensor) -> const char* {
        if (tensor.starts_with(first) &&
            is_behind_trunk("blk." + std::string(tensor.substr(first.size())), trunk)) {
            return "multi-token prediction";
        }
        return known_extra(tensor);
    };
    return SpecAndTensors{std::move(frame.spec), names.map(), extra};
}

// --- GGUF --------------------------------------------------------------------------------------

Result<LatentSpec> read_gguf_latent(const Checkpoint& checkpoint, Settings& settings,
                                    const Frame& frame) {
    LatentSpec s;
    s.query_heads = frame.query_heads;
    s.kv_rank = TRY(settings.size("attention.kv_lora_rank", limits::hidden));
    const std::int64_t rank = TRY(settings.count("attention.q_lora_rank", limits::hidden, 0));
    s.query_rank = has_layer_tensor(checkpoint, 0, "attn_q.weight") ? 0 : rank;
    s.rope = TRY(read_gguf_rope(settings, limits::head_dim, RopeLayout::Interleaved));
    s.rope_dim = s.rope.dims;
    // Files of the absorbed form say in key_length how wide the cache is, and the heads' own
    // dimensions in the keys with _mla; others have the heads' in key_length.
    const auto length = [&](const char* own, const char* plain) -> Result<std::int64_t> {
        const std::int64_t cached = TRY(settings.size(plain, limits::head_dim));
        return settings.size(own, limits::head_dim, cached);
    };
    const std::int64_t query_dim = TRY(length("attention.key_length_mla", "attention.key_length"));
    s.value_dim = TRY(length("attention.value_length_mla", "attention.value_length"));
    if (query_dim <= s.rope_dim) {
        return unsound(fmt::format("{}: attention.key_length_mla: expected more than the {} "
                                   "dimensions that rotate, found {}",
                                   settings.where(), s.rope_dim, query_dim));
    }
    s.nope_dim = query_dim - s.rope_dim;
    s.latent_norm_eps = kLatentEps;
    TRY(check_heads(s, settings.where()));
    settings.ignore({"attention.head_count_kv"});

    s.scale = 1.0 / std::sqrt(static_cast<double>(query_dim));
    const double strength = TRY(settings.number("rope.scaling.yarn_log_multiplier", 0.0));
    if (std::fabs(strength) > 10.0) {
        return unsound(fmt::format("{}: rope.scaling.yarn_log_multiplier: expected a number in "
                                   "[-10, 10], found {}",
                                   settings.where(), strength));
    }
    RopeScaling& scaling = s.rope.scaling;
    if (scaling.kind == RopeScaling::Kind::Yarn) {
        // The magnitude is in the factor of the logits; angles have none, as mscale and
        // mscale_all_dim are equal in every published model.
        const double magnitude = yarn_magnitude(scaling.factor, 10.0 * strength);
        s.scale *= magnitude * magnitude;
        scaling.attention_factor = 1.0;
        for (const char* key : {"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor"}) {
            if (TRY(settings.number(key, 1.0)) != 1.0) {
                return refused(fmt::format("{}: {}: expected 1", settings.where(), key));
            }
        }
    }
    return s;
}

void add_gguf_names(TensorNames& names, const Checkpoint& checkpoint, const LatentSpec& latent) {
    names.add("embedding", "token_embd.weight");
    names.add("output", "output.weight");
    names.add("norm", "output_norm.weight");
    names.add("layers.#.mixer_norm", "blk.{L}.attn_norm.weight");
    names.add("layers.#.channel_norm", "blk.{L}.ffn_norm.weight");
    names.add("layers.#.mixer.q", "blk.{L}.attn_q.weight");
    names.add("layers.#.mixer.q_a", "blk.{L}.attn_q_a.weight");
    names.add("layers.#.mixer.q_a_norm", "blk.{L}.attn_q_a_norm.weight");
    names.add("layers.#.mixer.q_b", "blk.{L}.attn_q_b.weight");
    names.add("layers.#.mixer.kv_a", "blk.{L}.attn_kv_a_mqa.weight");
    names.add("layers.#.mixer.kv_a_norm", "blk.{L}.attn_kv_a_norm.weight");
    names.add("layers.#.mixer.o", "blk.{L}.attn_output.weight");
    if (has_layer_tensor(checkpoint, 0, "attn_k_b.weight") &&
        has_layer_tensor(checkpoint, 0, "attn_v_b.weight")) {
        // Head by head as a dimension of its own, or as rows: the same bytes.
        names.add("layers.#.mixer.k_b", "blk.{L}.attn_k_b.weight");
        names.add("layers.#.mixer.v_b", "blk.{L}.attn_v_b.weight");
    } else {
        add_split_names(names, latent, "blk.{L}.attn_kv_b.weight");
    }
    names.add("layers.#.mixer.indexer.q", "blk.{L}.indexer.attn_q_b.weight");
    names.add("layers.#.mixer.indexer.k", "blk.{L}.indexer.attn_k.weight");
    names.add("layers.#.mixer.indexer.weights", "blk.{L}.indexer.proj.weight");
    names.add("layers.#.mixer.indexer.k_norm", "blk.{L}.indexer.k_norm.weight");
    names.add("layers.#.mixer.indexer.k_norm_bias", "blk.{L}.indexer.k_norm.bias");
    add_gguf_dense_names(names);
}

Result<SpecAndTensors> read_gguf(const Checkpoint& checkpoint, Member member) {
    Settings settings(checkpoint.metadata(), checkpoint.architecture() + ".", "GGUF metadata");
    Frame frame = TRY(read_gguf_frame(checkpoint, family_of(member), settings));
    LatentSpec latent = TRY(read_gguf_latent(checkpoint, settings, frame));
    std::vector<bool> indexers(static_cast<std::size_t>(frame.layers), true);
    if (has_indexer(member)) {
        IndexerSpec indexer;
        indexer.heads = TRY(settings.size("attention.indexer.head_count", limits::heads));
        indexer.head_dim = TRY(settings.size("attention.indexer.key_length", limits::head_dim));
        indexer.top_k = TRY(settings.size("attention.indexer.top_k", limits::context));
        indexer.rope = latent.rope;
        indexer.rope.layout =
            member == Member::Glm5 ? RopeLayout::Interleaved : RopeLayout::HalfSplit;
        TRY(check_indexer(indexer, latent.rope_dim, settings.where()));
        for (std::int64_t i = 0; i < frame.layers; ++i) {
            indexers[static_cast<std::size_t>(i)] =
                has_layer_tensor(checkpoint, i, "indexer.attn_k.weight");
        }
        // Said by the tensors: a layer without an indexer shares what one before it chose.
        settings.ignore({"attention.indexer.types"});
        latent.indexer = indexer;
    }
    const std::int64_t dense_layers =
        TRY(settings.count("leading_dense_block_count", limits::layers, 0));
    MoeSpec moe;
    if (dense_layers < frame.layers || settings.has("expert_count")) {
        moe = TRY(read_gguf_moe(checkpoint, settings));
        moe.normalise_top_k = TRY(settings.flag("expert_weights_norm", false));
        TRY(check_groups(moe, settings.where()));
        if (member == Member::V3 && moe.score == MoeSpec::Score::Softmax) {
            frame.spec.family = family_of(Member::V2); // they share one architecture
            moe.group_best = 1;
        }
    }
    DenseSpec dense;
    dense.intermediate =
        TRY(settings.size("feed_forward_length", limits::intermediate, std::int64_t{1}));
    settings.ignore({"expert_shared_count", "expert_weights_norm"});
    TRY(settings.refuse_unknown("DeepSeek"));

    for (std::int64_t i = 0; i < frame.layers; ++i) {
        LayerSpec layer{latent, dense};
        if (i >= dense_layers) {
            layer.channel = moe;
        }
        frame.spec.layers.push_back(std::move(layer));
    }
    TRY(share_choices(frame.spec, indexers, settings.where()));
    TensorNames names;
    add_gguf_names(names, checkpoint, latent);
    add_gguf_moe_names(names, checkpoint, moe);
    const std::string head = fmt::format("blk.{}.", frame.layers);
    if (has_all(checkpoint, head,
                {"nextn.eh_proj", "nextn.enorm", "nextn.hnorm", "nextn.shared_head_norm",
                 "attn_norm", "ffn_norm", "attn_kv_a_mqa", "ffn_gate_inp", "ffn_down_exps"})) {
        add_draft(names, "blk.{L}.", head,
                  {head + "nextn.eh_proj", head + "nextn.enorm", head + "nextn.hnorm",
                   head + "nextn.shared_head_norm"});
        frame.spec.draft = LayerSpec{latent, moe};
    }
    const auto extra = [trunk = frame.layers](std::string_view tensor) -> const char* {
        if (is_behind_trunk(tensor, trunk)) {
            return "multi-token prediction";
        }
        return tensor.ends_with(".attn_kv_b.weight") ? "the same as attn_k_b and attn_v_b"
                                                     : known_extra(tensor);
    };
    return SpecAndTensors{std::move(frame.spec), names.map(), extra};
}

Result<SpecAndTensors> read(const Checkpoint& checkpoint, Member member) {
    return checkpoint.container() == Container::Gguf ? read_gguf(checkpoint, member)
                                                     : read_config(checkpoint, member);
}

} // namespace

Result<SpecAndTensors> read_deepseek_v2(const Checkpoint& checkpoint) {
    return read(checkpoint, Member::V2);
}
Result<SpecAndTensors> read_deepseek_v3(const Checkpoint& checkpoint) {
    return read(checkpoint, Member::V3);
}
Result<SpecAndTensors> read_deepseek_v32(const Checkpoint& checkpoint) {
    return read(checkpoint, Member::V32);
}
Result<SpecAndTensors> read_glm_5(const Checkpoint& checkpoint) {
    return read(checkpoint, Member::Glm5);
}

} // namespace hs
