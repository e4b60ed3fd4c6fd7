// Kimi-Linear and the text part of Kimi K3: Kimi delta attention with latent attention between,
// which knows no rotation (delta.md sections 5, 7.2, 8, 13 and 14). K3 is the same model with more
// settings: a bounded decay, gates of full rank, latent experts under tanh, attention residuals;
// what a config does not set is as in Kimi-Linear.

#include "engine/spec/families/reading.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>

namespace hs {
namespace {

using Transform = TensorSource::Transform;
using RowRange = TensorSource::RowRange;

constexpr const char* kLinear = "kimi-linear";
constexpr const char* kThree = "kimi-k3";

// The norms of the compressed rows are built without an epsilon of the config's, which leaves 1e-6
// in the released code and in transformers; llama.cpp takes rms_norm_eps, 1e-5.
constexpr double kLatentEps = 1e-6;

// --- checks that both containers need ----------------------------------------------------------

Result<void> check_latent(const LatentSpec& s, const std::string& where) {
    const std::int64_t widest = std::max({s.query_dim(), s.nope_dim + s.value_dim, s.cached_dim()});
    if (s.query_heads * widest > limits::head_values) {
        return unsound(fmt::format("{}: {} heads of {} are more than {} values", where,
                                   s.query_heads, widest, limits::head_values));
    }
    return {};
}

Result<void> check_kda(const KdaSpec& s, const std::string& where) {
    if (s.channels() > limits::head_values || s.head_dim * s.head_dim > limits::head_values) {
        return unsound(fmt::format("{}: {} heads of {} x {} are more than {} values", where,
                                   s.heads, s.head_dim, s.head_dim, limits::head_values));
    }
    return {};
}

Result<double> checked_bound(double bound, const std::string& where) {
    if (bound >= 0.0 || bound < -1000.0) {
        return refused(fmt::format("{}: gate_lower_bound: expected a number in [-1000, 0), or "
                                   "none, found {}",
                                   where, bound));
    }
    return bound;
}

Result<void> check_moe(const MoeSpec& s, const std::string& where) {
    if (s.groups < 1 || s.experts % s.groups != 0 || s.groups_kept > s.groups ||
        s.groups_kept * (s.experts / s.groups) < s.top_k) {
        return unsound(fmt::format("{}: {} experts in {} groups, {} kept, cannot give {} per token",
                                   where, s.experts, s.groups, s.groups_kept, s.top_k));
    }
    return {};
}

Result<GluSpec> checked_situ(double beta, double linear_beta, const std::string& where) {
    if (!(beta > 0) || !(linear_beta > 0)) {
        return unsound(fmt::format("{}: expected bounds of SiTU > 0, found {} and {}", where, beta,
                                   linear_beta));
    }
    GluSpec glu;
    glu.kind = GluSpec::Kind::Situ;
    glu.beta = beta;
    glu.linear_beta = linear_beta;
    return glu;
}

// kv_b holds [keys | values] per head; the keys' part serves as its transpose.
void add_split_kv(TensorNames& names, const LatentSpec& s, const std::string& kv_b) {
    const std::int64_t height = s.nope_dim + s.value_dim;
    TensorSource keys;
    TensorSource values;
    keys.name = values.name = kv_b;
    keys.file_rows = values.file_rows = s.query_heads * height;
    for (std::int64_t h = 0; h < s.query_heads; ++h) {
        keys.rows.push_back({h * height, s.nope_dim});
        values.rows.push_back({h * height + s.nope_dim, s.value_dim});
    }
    keys.transposed = s.nope_dim;
    names.add_source("layers.#.mixer.k_b", std::move(keys));
    names.add_source("layers.#.mixer.v_b", std::move(values));
}

// The values of a vector that may be padded at its end, as K3's decay rates are.
void add_beginning(TensorNames& names, const Checkpoint& checkpoint, const std::string& spec_tensor,
                   const std::string& pattern, std::int64_t layer, std::int64_t wanted,
                   Transform transform) {
    std::string name = pattern;
    name.replace(name.find("{L}"), 3, std::to_string(layer));
    TensorSource source;
    source.name = pattern;
    source.transform = transform;
    const TensorInfo* const tensor = checkpoint.find(name);
    if (tensor != nullptr && tensor->elements() > wanted) {
        source.rows = {{0, wanted}};
        source.file_rows = tensor->elements();
    }
    names.add_source(spec_tensor, std::move(source));
}

void add_conv(TensorNames& names, std::string q, std::string k, std::string v) {
    TensorSource conv;
    conv.name = std::move(q);
    conv.more = {std::move(k), std::move(v)};
    names.add_source("layers.#.mixer.conv", std::move(conv));
}

bool any_tensor_ends(const Checkpoint& checkpoint, std::string_view end) {
    const auto tensors = checkpoint.tensors();
    return std::any_of(tensors.begin(), tensors.end(),
                       [&](const TensorInfo& tensor) { return tensor.name.ends_with(end); });
}

// Whether a part that a release has is there: by its tensors, or assumed while only the header is
// known.
bool has_part(const Checkpoint& checkpoint, std::string_view end) {
    return checkpoint.tensors().empty() || any_tensor_ends(checkpoint, end);
}

struct Parts {
    Frame frame;
    std::vector<bool> full;  // latent attention, by layer
    std::vector<bool> mixed; // experts, by layer
    LatentSpec latent;
    KdaSpec kda;
    DenseSpec dense;
    MoeSpec moe;
};

ModelSpec assemble(const Parts& parts) {
    ModelSpec spec = parts.frame.spec;
    for (std::size_t i = 0; i < parts.full.size(); ++i) {
        LayerSpec layer{parts.kda, parts.dense};
        if (parts.full[i]) {
            layer.mixer = parts.latent;
        }
        if (parts.mixed[i]) {
            layer.channel = parts.moe;
        }
        spec.layers.push_back(std::move(layer));
    }
    return spec;
}

std::int64_t first_layer(const std::vector<bool>& layers, bool wanted) {
    return std::find(layers.begin(), layers.end(), wanted) - layers.begin();
}

const char* kimi_extra(std::string_view tensor) {
    if (tensor.starts_with("mm_projector.")) {
        return "vision";
    }
    if (tensor.ends_with(".weight_shape")) {
        return "the shape of packed weights";
    }
    return known_extra(tensor);
}

// --- config.json -------------------------------------------------------------------------------

// True for the layers with latent attention.
Result<std::vector<bool>> read_schedule(Settings& settings, Settings& linear, std::int64_t layers) {
    std::vector<bool> full;
    const std::vector<std::string> types = TRY(settings.words("layer_types"));
    // Counted from 1.
    const std::vector<std::int64_t> listed_full =
        TRY(linear.list("full_attn_layers", limits::layers));
    const std::vector<std::int64_t> listed_kda = TRY(linear.list("kda_layers", limits::layers));
    if (!types.empty()) {
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
    for (std::int64_t i = 1; i <= layers; ++i) {
        const auto in_full = std::count(listed_full.begin(), listed_full.end(), i);
        const auto in_kda = std::count(listed_kda.begin(), listed_kda.end(), i);
        if (in_full + in_kda != 1) {
            return unsound(fmt::format("{}: expected layer {} once in full_attn_layers or "
                                       "kda_layers, which count from 1; found it {} times",
                                       linear.where(), i, in_full + in_kda));
        }
        full.push_back(in_full == 1);
    }
    return full;
}

// True for the layers with experts.
Result<std::vector<bool>> read_mixed(Settings& settings, std::int64_t layers) {
    const std::int64_t dense = TRY(settings.count("first_k_dense_replace", limits::layers, 1));
    const std::int64_t step = TRY(settings.size("moe_layer_freq", limits::layers, 1));
    const std::vector<std::string> types = TRY(settings.words("mlp_layer_types"));
    if (!types.empty() && static_cast<std::int64_t>(types.size()) != layers) {
        return unsound(fmt::format("{}: mlp_layer_types: expected {} entries, found {}",
                                   settings.where(), layers, types.size()));
    }
    std::vector<bool> mixed;
    for (std::int64_t i = 0; i < layers; ++i) {
        if (types.empty()) {
            mixed.push_back(i >= dense && i % step == 0);
            continue;
        }
        const std::string& type = types[static_cast<std::size_t>(i)];
        if (type != "dense" && type != "sparse") {
            return refused(fmt::format("{}: mlp_layer_types[{}]: expected \"dense\" or \"sparse\", "
                                       "found \"{}\"",
                                       settings.where(), i, type));
        }
        mixed.push_back(type == "sparse");
    }
    return mixed;
}

Result<LatentSpec> read_latent(Settings& settings, std::int64_t query_heads) {
    LatentSpec s;
    s.query_heads = query_heads;
    s.nope_dim = TRY(settings.size("qk_nope_head_dim", limits::head_dim, 128));
    s.rope_dim = TRY(settings.size("qk_rope_head_dim", limits::head_dim, 64));
    s.value_dim = TRY(settings.size("v_head_dim", limits::head_dim, 128));
    s.kv_rank = TRY(settings.size("kv_lora_rank", limits::hidden, 512));
    s.query_rank = TRY(settings.count("q_lora_rank", limits::hidden, 0));
    s.scale = 1.0 / std::sqrt(static_cast<double>(s.query_dim()));
    s.latent_norm_eps = kLatentEps;
    s.output_gate = TRY(settings.flag("mla_use_output_gate", false));
    // transformers' class has no such key and never rotates; the released one has it, set.
    if (!TRY(settings.flag("mla_use_nope", true))) {
        return refused(settings.where() + ": mla_use_nope: expected true, found false");
    }
    if (TRY(settings.flag("attention_bias", false))) {
        return refused(settings.where() + ": attention_bias: expected false, found true");
    }
    const std::int64_t kv_heads =
        TRY(settings.size("num_key_value_heads", limits::heads, query_heads));
    if (kv_heads != query_heads) {
        return refused(fmt::format("{}: num_key_value_heads: expected {}, as many as query heads, "
                                   "found {}",
                                   settings.where(), query_heads, kv_heads));
    }
    settings.ignore({"head_dim", "qk_head_dim", "rope_theta", "rope_scaling", "rope_parameters"});
    TRY(check_latent(s, settings.where()));
    return s;
}

// The sizes stand in an object of their own, or flat as transformers writes them.
Result<KdaSpec> read_kda(Settings& settings, Settings& linear) {
    const auto size = [&](const char* inner, const char* flat, std::int64_t most,
                          std::int64_t absent) -> Result<std::int64_t> {
        const std::int64_t outside = TRY(settings.size(flat, most, absent));
        return linear.size(inner, most, outside);
    };
    KdaSpec s;
    s.heads = TRY(size("num_heads", "linear_num_heads", limits::heads, 32));
    s.head_dim = TRY(size("head_dim", "linear_head_dim", limits::head_dim, 128));
    s.conv_kernel =
        TRY(size("short_conv_kernel_size", "linear_conv_kernel_dim", limits::conv_kernel, 4));
    s.decay_rank = s.head_dim;
    s.gate_rank = TRY(linear.flag("use_full_rank_gate", false)) ? 0 : s.head_dim;
    if (linear.has("gate_lower_bound")) {
        const double bound = TRY(linear.number("gate_lower_bound"));
        s.decay_bound = TRY(checked_bound(bound, linear.where()));
    }
    TRY(check_kda(s, settings.where()));
    return s;
}

Result<GluSpec> read_glu(Settings& settings, const std::string& activation) {
    if (activation == "silu" || activation == "swish") {
        settings.ignore({"activation_situ_beta", "activation_situ_linear_beta"});
        return GluSpec{};
    }
    if (activation != "situ") {
        return refused(fmt::format("{}: hidden_act: expected \"silu\" or \"situ\", found \"{}\"",
                                   settings.where(), activation));
    }
    const double beta = TRY(settings.number("activation_situ_beta"));
    const double linear_beta = TRY(settings.number("activation_situ_linear_beta"));
    return checked_situ(beta, linear_beta, settings.where());
}

Result<MoeSpec> read_experts(Settings& settings, const Checkpoint& checkpoint) {
    // The release's word for a setting, or the one of transformers' class.
    const auto either = [&](const char* first, const char* second) {
        const bool other = settings.has(second) && !settings.has(first);
        return other ? second : first;
    };
    MoeSpec s;
    s.experts = TRY(settings.size(either("num_experts", "num_local_experts"), limits::experts));
    s.top_k = TRY(settings.size(either("num_experts_per_token", "num_experts_per_tok"), s.experts));
    s.intermediate = TRY(settings.size("moe_intermediate_size", limits::intermediate));
    const std::int64_t shared =
        TRY(settings.count(either("num_shared_experts", "n_shared_experts"), limits::experts, 1));
    s.shared_intermediate = shared * s.intermediate;
    if (s.shared_intermediate > limits::intermediate) {
        return unsound(fmt::format("{}: {} shared experts of {} are wider than {}",
                                   settings.where(), shared, s.intermediate, limits::intermediate));
    }
    const std::string score = TRY(settings.word("moe_router_activation_func", "sigmoid"));
    if (score != "sigmoid" && score != "softmax") {
        return refused(fmt::format("{}: moe_router_activation_func: expected \"sigmoid\" or "
                                   "\"softmax\", found \"{}\"",
                                   settings.where(), score));
    }
    s.score = score == "sigmoid" ? MoeSpec::Score::Sigmoid : MoeSpec::Score::Softmax;
    s.choice_bias = has_part(checkpoint, ".gate.e_score_correction_bias");
    s.normalise_top_k = TRY(settings.flag(either("moe_renormalize", "norm_topk_prob"), true));
    s.weight_scale = TRY(settings.number("routed_scaling_factor", 1.0));
    s.groups = TRY(settings.size(either("num_expert_group", "n_group"), s.experts, 1));
    s.groups_kept = TRY(settings.size("topk_group", s.groups, s.groups));
    if (!TRY(settings.flag("use_grouped_topk", true))) {
        s.groups = s.groups_kept = 1;
    }
    const std::string method = TRY(settings.word("topk_method", "noaux_tc"));
    if (method != "noaux_tc") {
        return refused(fmt::format("{}: topk_method: expected \"noaux_tc\", found \"{}\"",
                                   settings.where(), method));
    }
    s.latent = TRY(settings.count("routed_expert_hidden_size", limits::hidden, 0));
    s.latent_norm = TRY(settings.flag("latent_moe_use_norm", false)) && s.latent > 0;
    TRY(check_moe(s, settings.where()));
    return s;
}

void add_mixer_names(TensorNames& names, const Checkpoint& checkpoint, const std::string& layer,
                     const Parts& parts) {
    const std::string mixer = layer + "self_attn.";
    const std::string to = "layers.#.mixer.";
    const auto add = [&](const char* spec_tensor, const char* name) {
        names.add(to + spec_tensor, mixer + name + ".weight");
    };
    // KDA and latent attention share the module's name, and some names within.
    add("q", "q_proj");
    add("k", "k_proj");
    add("v", "v_proj");
    add("b", "b_proj");
    add("gate_a", "g_a_proj");
    add("gate_b", "g_b_proj");
    add("gate", "g_proj");
    add("out", "o_proj");
    add("norm", "o_norm");
    add("q_a", "q_a_proj");
    add("q_a_norm", "q_a_layernorm");
    add("q_b", "q_b_proj");
    add("kv_a", "kv_a_proj_with_mqa");
    add("kv_a_norm", "kv_a_layernorm");
    add("o", "o_proj");
    add_split_kv(names, parts.latent, mixer + "kv_b_proj.weight");
    // The module as transformers holds it in memory keeps what decays apart.
    const bool apart = any_tensor_ends(checkpoint, ".forget_gate.dt_bias");
    const std::string decay = mixer + (apart ? "forget_gate." : "");
    names.add(to + "decay_a", decay + "f_a_proj.weight");
    names.add(to + "decay_b", decay + "f_b_proj.weight");
    names.add(to + "dt_bias", decay + "dt_bias");
    add_beginning(names, checkpoint, to + "decay_rate", decay + "A_log",
                  first_layer(parts.full, false), parts.kda.heads, Transform::NegativeExp);
    if (any_tensor_ends(checkpoint, ".self_attn.conv1d.weight")) {
        names.add(to + "conv", mixer + "conv1d.weight");
    } else {
        add_conv(names, mixer + "q_conv1d.weight", mixer + "k_conv1d.weight",
                 mixer + "v_conv1d.weight");
    }
}

void add_expert_names(TensorNames& names, const Checkpoint& checkpoint, const std::string& layer,
                      const MoeSpec& moe) {
    const bool own_name = checkpoint.tensors().empty() ||
                          any_tensor_ends(checkpoint, ".block_sparse_moe.gate.weight");
    const std::string block = layer + (own_name ? "block_sparse_moe." : "mlp.");
    const std::string to = "layers.#.channel.";
    names.add(to + "router", block + "gate.weight");
    names.add(to + "choice_bias", block + "gate.e_score_correction_bias");
    for (const char* part : {"gate", "up", "down"}) {
        names.add(to + "shared." + part, block + "shared_experts." + part + "_proj.weight");
    }
    names.add(to + "latent.down", block + "routed_expert_down_proj.weight");
    names.add(to + "latent.up", block + "routed_expert_up_proj.weight");
    names.add(to + "latent.norm", block + "routed_expert_norm.weight");
    const std::string experts = to + "experts.#.";
    if (any_tensor_ends(checkpoint, ".experts.gate_up_proj")) { // (E, 2 I, H), the gates first
        names.add_stacked(experts + "gate", block + "experts.gate_up_proj", {{0, moe.intermediate}},
                          2 * moe.intermediate);
        names.add_stacked(experts + "up", block + "experts.gate_up_proj",
                          {{moe.intermediate, moe.intermediate}}, 2 * moe.intermediate);
        names.add_stacked(experts + "down", block + "experts.down_proj");
        return;
    }
    const bool long_words = any_tensor_ends(checkpoint, ".experts.0.up_proj.weight") ||
                            any_tensor_ends(checkpoint, ".experts.0.up_proj.weight_packed");
    const std::string end = long_words ? "_proj.weight" : ".weight";
    const bool packed = any_tensor_ends(checkpoint, end + "_packed");
    for (const auto& [part, number] :
         {std::pair{"gate", "w1"}, std::pair{"up", "w3"}, std::pair{"down", "w2"}}) {
        TensorSource source;
        const std::string name = block + "experts.{E}." + (long_words ? part : number) + end;
        source.name = packed ? name + "_packed" : name;
        source.mxfp4_scales = packed ? name + "_scale" : "";
        names.add_source(experts + part, std::move(source));
    }
}

void add_residual_names(TensorNames& names, const std::string& prefix) {
    // Norm weight and projection occur only as their product.
    const auto add = [&](const char* spec_tensor, const std::string& name) {
        TensorSource source;
        source.name = name + "_proj.weight";
        source.factor = name + "_norm.weight";
        names.add_source(spec_tensor, std::move(source));
    };
    add("residual.mixer.#", prefix + "layers.{L}.self_attention_res");
    add("residual.channel.#", prefix + "layers.{L}.mlp_res");
    add("residual.output", prefix + "output_attn_res");
}

// The settings under the words that read_frame() knows.
Json common_words(const Json& given) {
    Json all = given;
    if (const Json* length = json_member(given, "model_max_length");
        length != nullptr && json_member(given, "max_position_embeddings") == nullptr) {
        all["max_position_embeddings"] = *length;
    }
    all["hidden_act"] = "silu"; // of the convolutions, always
    return all;
}

Result<SpecAndTensors> read_config(const Checkpoint& checkpoint) {
    Settings outer(checkpoint.metadata(), "", "config.json");
    const Json* text = outer.member("text_config");
    if (text != nullptr && !text->is_object()) {
        return unsound("config.json: text_config: expected an object");
    }
    const Json& given = text != nullptr ? *text : checkpoint.metadata();
    const char* const where = text != nullptr ? "config.json: text_config" : "config.json";
    const Json words = common_words(given);
    Settings settings(words, "", where);
    settings.ignore({"model_max_length"});
    const Json* const object = settings.member("linear_attn_config");
    if (object != nullptr && !object->is_object()) {
        return unsound(std::string(where) + ": linear_attn_config: expected an object");
    }
    static const Json none = Json::object();
    Settings linear(object != nullptr ? *object : none, "",
                    std::string(where) + ": linear_attn_config");

    Parts parts;
    parts.frame = TRY(read_frame(checkpoint, kLinear, settings));
    if (text != nullptr) {
        TRY(check_quantisation(outer));
    }
    parts.full = TRY(read_schedule(settings, linear, parts.frame.layers));
    parts.mixed = TRY(read_mixed(settings, parts.frame.layers));
    parts.latent = TRY(read_latent(settings, parts.frame.query_heads));
    parts.kda = TRY(read_kda(settings, linear));
    const std::string activation = TRY(json_string(given, "hidden_act", "silu"));
    parts.dense.glu = TRY(read_glu(settings, activation));
    parts.dense.intermediate = TRY(settings.size("intermediate_size", limits::intermediate));
    if (std::find(parts.mixed.begin(), parts.mixed.end(), true) != parts.mixed.end()) {
        parts.moe = TRY(read_experts(settings, checkpoint));
        parts.moe.glu = parts.dense.glu;
    } else {
        settings.ignore({"num_experts", "num_local_experts", "num_experts_per_token",
                         "num_experts_per_tok", "moe_intermediate_size", "num_shared_experts",
                         "n_shared_experts", "moe_router_activation_func", "moe_renormalize",
                         "norm_topk_prob", "routed_scaling_factor", "num_expert_group", "n_group",
                         "topk_group", "use_grouped_topk", "topk_method",
                         "routed_expert_hidden_size", "latent_moe_use_norm"});
    }
    ModelSpec& spec = parts.frame.spec;
    spec.residual_block = TRY(settings.count("attn_res_block_size", limits::layers, 0));
    if (spec.residual_block > 0 || parts.kda.decay_bound < 0.0) {
        spec.family = kThree;
    }
    spec.tied_embedding = TRY(read_tied(checkpoint, outer, settings));
    TRY(settings.refuse_unknown("Kimi"));
    TRY(linear.refuse_unknown("Kimi"));

    const std::string prefix = checkpoint.tensors().empty() && text != nullptr
                                   ? "language_model.model."
                                   : tensor_prefix(checkpoint);
    const std::string layer = prefix + "layers.{L}.";
    const std::string output =
        std::string(prefix == "language_model.model." ? "language_model." : "") + "lm_head.weight";
    if (checkpoint.find(output) != nullptr) {
        spec.tied_embedding = false; // transformers' class ties nothing, whatever the config says
    }
    TensorNames names;
    names.add("embedding", prefix + "embed_tokens.weight");
    names.add("output", output);
    names.add("norm", prefix + "norm.weight");
    names.add("layers.#.mixer_norm", layer + "input_layernorm.weight");
    names.add("layers.#.channel_norm", layer + "post_attention_layernorm.weight");
    add_mixer_names(names, checkpoint, layer, parts);
    add_dense_names(names, layer, false);
    if (any_tensor_ends(checkpoint, ".block_sparse_moe.gate_proj.weight")) {
        // transformers renames all channel mixers when it saves, dense ones too.
        for (const char* part : {"gate", "up", "down"}) {
            names.add(std::string("layers.#.channel.") + part,
                      layer + "block_sparse_moe." + part + "_proj.weight");
        }
    }
    add_expert_names(names, checkpoint, layer, parts.moe);
    add_residual_names(names, prefix);
    return SpecAndTensors{assemble(parts), names.map(), kimi_extra};
}

// --- GGUF --------------------------------------------------------------------------------------

Result<LatentSpec> read_gguf_latent(Settings& settings, const Checkpoint& checkpoint,
                                    std::int64_t query_heads) {
    LatentSpec s;
    s.query_heads = query_heads;
    s.kv_rank = TRY(settings.size("attention.kv_lora_rank", limits::hidden));
    s.query_rank = TRY(settings.count("attention.q_lora_rank", limits::hidden, 0));
    s.rope_dim = TRY(settings.size("rope.dimension_count", limits::head_dim, 64));
    // Heads have sizes of their own; key_length and value_length are those of the cached rows.
    const std::int64_t query_dim =
        TRY(settings.size("attention.key_length_mla", 2 * limits::head_dim, 192));
    s.value_dim = TRY(settings.size("attention.value_length_mla", limits::head_dim, 128));
    s.nope_dim = query_dim - s.rope_dim;
    if (s.nope_dim < 1) {
        return unsound(fmt::format("{}: attention.key_length_mla {} leaves nothing beside "
                                   "rope.dimension_count {}",
                                   settings.where(), query_dim, s.rope_dim));
    }
    s.scale = 1.0 / std::sqrt(static_cast<double>(query_dim));
    s.latent_norm_eps = kLatentEps;
    s.output_gate = any_tensor_ends(checkpoint, ".attn_gate.weight");
    settings.ignore({"attention.key_length", "attention.value_length", "rope.freq_base"});
    TRY(check_latent(s, settings.where()));
    return s;
}

Result<KdaSpec> read_gguf_kda(Settings& settings, const Checkpoint& checkpoint,
                              const Parts& parts) {
    KdaSpec s;
    s.head_dim = TRY(settings.size("kda.head_dim", limits::head_dim, 128));
    s.conv_kernel = TRY(settings.size("ssm.conv_kernel", limits::conv_kernel, 4));
    // No key says how many; the release has as many as latent attention.
    s.heads = parts.frame.query_heads;
    const TensorInfo* const bias =
        checkpoint.find(fmt::format("blk.{}.ssm_dt.bias", first_layer(parts.full, false)));
    if (bias != nullptr && bias->elements() >= s.head_dim) {
        s.heads = std::min(bias->elements() / s.head_dim, limits::heads);
    }
    s.decay_rank = s.head_dim;
    s.gate_rank = any_tensor_ends(checkpoint, ".ssm_g.weight") ? 0 : s.head_dim;
    if (settings.has("kda.gate_lower_bound")) {
        const double bound = TRY(settings.number("kda.gate_lower_bound"));
        s.decay_bound = TRY(checked_bound(bound, settings.where()));
    }
    TRY(check_kda(s, settings.where()));
    return s;
}

Result<MoeSpec> read_gguf_experts(Settings& settings, const Checkpoint& checkpoint) {
    MoeSpec moe = TRY(read_gguf_moe(checkpoint, settings, 2));
    const char* const latent =
        settings.has("latent_moe.dim") ? "latent_moe.dim" : "expert_latent_length";
    moe.latent = TRY(settings.count(latent, limits::hidden, 0));
    moe.latent_norm = moe.latent > 0 && any_tensor_ends(checkpoint, ".ffn_routed_norm.weight");
    TRY(check_moe(moe, settings.where()));
    return moe;
}

void add_gguf_names(TensorNames& names, const Checkpoint& checkpoint, const Parts& parts) {
    const std::string to = "layers.#.mixer.";
    const auto add = [&](const char* spec_tensor, const char* name) {
        names.add(to + spec_tensor, std::string("blk.{L}.") + name + ".weight");
    };
    const std::int64_t linear = first_layer(parts.full, false);
    const std::int64_t latent = first_layer(parts.full, true);
    names.add("embedding", "token_embd.weight");
    names.add("output", "output.weight");
    names.add("norm", "output_norm.weight");
    names.add("layers.#.mixer_norm", "blk.{L}.attn_norm.weight");
    names.add("layers.#.channel_norm", "blk.{L}.ffn_norm.weight");
    add("q", "attn_q");
    add("k", "attn_k");
    add("v", "attn_v");
    add("b", "ssm_beta");
    add("decay_a", "ssm_f_a");
    add("decay_b", "ssm_f_b");
    add("gate_a", "ssm_g_a");
    add("gate_b", "ssm_g_b");
    add("out", "attn_output");
    add("norm", "ssm_norm");
    names.add(to + "dt_bias", "blk.{L}.ssm_dt.bias");
    add_beginning(names, checkpoint, to + "decay_rate", "blk.{L}.ssm_a", linear, parts.kda.heads,
                  Transform::None); // already -exp(A_log)
    add_conv(names, "blk.{L}.ssm_conv1d_q.weight", "blk.{L}.ssm_conv1d_k.weight",
             "blk.{L}.ssm_conv1d_v.weight");
    add("q_a", "attn_q_a");
    add("q_a_norm", "attn_q_a_norm");
    add("q_b", "attn_q_b");
    add("kv_a", "attn_kv_a_mqa");
    add("kv_a_norm", "attn_kv_a_norm");
    add("o", "attn_output");
    if (has_layer_tensor(checkpoint, latent, "attn_kv_b.weight") &&
        !has_layer_tensor(checkpoint, latent, "attn_k_b.weight")) {
        add_split_kv(names, parts.latent, "blk.{L}.attn_kv_b.weight"); // files of early converters
    } else {
        add("k_b", "attn_k_b");
        add("v_b", "attn_v_b");
    }
    add_gguf_dense_names(names);
    add_gguf_moe_names(names, checkpoint, parts.moe);
    names.add("layers.#.channel.latent.down", "blk.{L}.ffn_routed_down.weight");
    names.add("layers.#.channel.latent.up", "blk.{L}.ffn_routed_up.weight");
    names.add("layers.#.channel.latent.norm", "blk.{L}.ffn_routed_norm.weight");
    names.add("residual.mixer.#", "blk.{L}.attn_res_score.weight");
    names.add("residual.channel.#", "blk.{L}.ffn_res_score.weight");
    names.add("residual.output", "output_res_score.weight");
}

Result<SpecAndTensors> read_gguf(const Checkpoint& checkpoint) {
    const bool three = checkpoint.architecture() == "kimi-k3";
    Settings settings(checkpoint.metadata(), checkpoint.architecture() + ".", "GGUF metadata");
    Parts parts;
    parts.frame = TRY(read_gguf_frame(checkpoint, three ? kThree : kLinear, settings));
    // No KV head: Kimi delta attention.
    const std::vector<std::int64_t> kv_heads =
        TRY(settings.per_layer("attention.head_count_kv", parts.frame.layers, limits::heads));
    for (const std::int64_t heads : kv_heads) {
        parts.full.push_back(heads > 0);
    }
    parts.latent = TRY(read_gguf_latent(settings, checkpoint, parts.frame.query_heads));
    parts.kda = TRY(read_gguf_kda(settings, checkpoint, parts));
    parts.dense.intermediate =
        TRY(settings.size("feed_forward_length", limits::intermediate, std::int64_t{1}));
    const std::int64_t dense = TRY(settings.count("leading_dense_block_count", limits::layers, 0));
    for (std::int64_t i = 0; i < parts.frame.layers; ++i) {
        parts.mixed.push_back(i >= dense);
    }
    if (dense < parts.frame.layers) {
        parts.moe = TRY(read_gguf_experts(settings, checkpoint));
    }
    if (three) {
        // Names of the first converters, of forks, stand beside the later ones.
        const bool older = settings.has("situ.beta");
        const double beta = TRY(settings.number(older ? "situ.beta" : "activation.situ_beta", 4.0));
        const double linear_beta =
            TRY(settings.number(older ? "situ.linear_beta" : "activation.situ_linear_beta", 25.0));
        parts.dense.glu = TRY(checked_situ(beta, linear_beta, settings.where()));
        parts.moe.glu = parts.dense.glu;
        const char* const block =
            settings.has("attnres.block_size") ? "attnres.block_size" : "attn_res.block_size";
        parts.frame.spec.residual_block = TRY(settings.count(block, limits::layers, 0));
    }
    TRY(settings.refuse_unknown("Kimi"));
    TensorNames of_latent;
    add_gguf_names(of_latent, checkpoint, parts);
    TensorNames of_kda = of_latent;
    of_latent.add("layers.#.mixer.gate", "blk.{L}.attn_gate.weight");
    of_kda.add("layers.#.mixer.gate", "blk.{L}.ssm_g.weight");
    const std::int64_t trunk = parts.frame.layers;
    const auto extra = [trunk](std::string_view tensor) -> const char* {
        return is_behind_trunk(tensor, trunk) ? "multi-token prediction" : known_extra(tensor);
    };
    return SpecAndTensors{assemble(parts), by_layer(parts.full, of_latent.map(), of_kda.map()),
                          extra};
}

} // namespace

Result<SpecAndTensors> read_kimi(const Checkpoint& checkpoint) {
    return checkpoint.container() == Container::Gguf ? read_gguf(checkpoint)
                                                     : read_config(checkpoint);
}

} // namespace hs
