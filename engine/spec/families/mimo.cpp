// MiMo-V2: full layers between layers that see a window, which have more KV heads, a rotation of
// their own and sinks; values narrower than keys and scaled; a mixture in most layers
// (softmax.md section 2). Later releases keep q, k and v in one matrix, and its FP8 form as slabs.

#include "engine/spec/families/reading.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <optional>

namespace hs {
namespace {

using RowRange = TensorSource::RowRange;

// Full layers and sliding layers.
struct Mixers {
    SoftmaxSpec full, sliding;
};

// What differs between the tensors of full and of sliding layers.
struct MixerNames {
    TensorNames full, sliding;
};

TensorMap by_layer(const MixerNames& names, std::vector<bool> slides) {
    return [full = names.full.map(), sliding = names.sliding.map(),
            slides = std::move(slides)](std::string_view tensor) -> Result<TensorSource> {
        constexpr std::string_view layers = "layers.";
        std::size_t layer = 0;
        for (std::size_t at = layers.size();
             tensor.starts_with(layers) && at < tensor.size() && tensor[at] != '.'; ++at) {
            layer = 10 * layer + static_cast<std::size_t>(tensor[at] - '0');
        }
        const bool head = tensor.starts_with("draft."); // the prediction head slides
        return head || (layer < slides.size() && slides[layer]) ? sliding(tensor) : full(tensor);
    };
}

// q, k and v as rows of one matrix of `slabs` equal parts, each [q | k | v].
void add_fused_names(TensorNames& names, const std::string& tensor, const SoftmaxSpec& s,
                     std::int64_t slabs) {
    const std::array<std::int64_t, 3> rows{s.query_heads * s.head_dim / slabs,
                                           s.kv_heads * s.head_dim / slabs,
                                           s.kv_heads * s.value_head_dim / slabs};
    const std::int64_t slab = rows[0] + rows[1] + rows[2];
    std::int64_t first = 0;
    for (std::size_t part = 0; part < rows.size(); ++part) {
        TensorSource source;
        source.name = tensor;
        for (std::int64_t i = 0; i < slabs; ++i) {
            source.rows.push_back({i * slab + first, rows[part]});
        }
        source.file_rows = slabs * slab;
        source.scale_slab = slabs > 1 ? slab : 0;
        names.add_source(std::string("layers.#.mixer.") + "qkv"[part], source);
        first += rows[part];
    }
}

void add_layers(ModelSpec& spec, const Mixers& mixers, const std::vector<bool>& slides,
                const std::vector<bool>& sparse, const DenseSpec& dense, const MoeSpec& moe) {
    for (std::size_t i = 0; i < slides.size(); ++i) {
        LayerSpec layer{slides[i] ? mixers.sliding : mixers.full, dense};
        if (sparse[i]) {
            layer.channel = moe;
        }
        spec.layers.push_back(std::move(layer));
    }
}

// --- config.json -------------------------------------------------------------------------------

// One entry per layer, as words or as 0 and 1.
Result<std::vector<bool>> read_pattern(Settings& settings, const char* words_key,
                                       std::string_view no, std::string_view yes,
                                       const char* flags_key, std::int64_t layers,
                                       const std::function<bool(std::int64_t)>& absent) {
    std::vector<bool> pattern;
    const std::vector<std::string> words = TRY(settings.words(words_key));
    if (!words.empty()) {
        if (static_cast<std::int64_t>(words.size()) != layers) {
            return unsound(fmt::format("{}: {}: expected {} entries, found {}", settings.where(),
                                       words_key, layers, words.size()));
        }
        for (const std::string& word : words) {
            if (word != no && word != yes) {
                return refused(fmt::format("{}: {}: expected \"{}\" or \"{}\", found \"{}\"",
                                           settings.where(), words_key, no, yes, word));
            }
            pattern.push_back(word == yes);
        }
        settings.ignore({flags_key});
        return pattern;
    }
    if (settings.has(flags_key)) {
        for (const std::int64_t flag : TRY(settings.per_layer(flags_key, layers, 1))) {
            pattern.push_back(flag == 1);
        }
        return pattern;
    }
    for (std::int64_t i = 0; i < layers; ++i) {
        pattern.push_back(absent(i));
    }
    return pattern;
}

// The rotation of one kind of layer: rope_parameters hold one object per kind, released files
// spell a theta for each.
Result<RopeSpec> read_kind_rope(Settings& settings, const char* kind, const char* theta_key,
                                double theta, std::int64_t head_dim, std::int64_t context) {
    Json parameters = {{"rope_type", "default"}};
    parameters["rope_theta"] = TRY(settings.number(theta_key, theta));
    parameters["partial_rotary_factor"] = TRY(settings.number("partial_rotary_factor", 0.334));
    const Json* given = settings.member("rope_parameters");
    if (given != nullptr && given->is_object()) {
        if (const Json* one = json_member(*given, kind); one != nullptr && one->is_object()) {
            for (const auto& [key, value] : one->items()) {
                parameters[key] = value;
            }
        }
    }
    return read_rope_parameters(parameters, settings.where() + ": " + kind, head_dim, 0.334,
                                context);
}

Result<std::int64_t> read_window(Settings& settings) {
    const std::int64_t window =
        TRY(settings.size("sliding_window", limits::context, std::int64_t{128}));
    // Keys seen, the query's own among them. Released files give the same number twice; the newest
    // transformers reads the second as keys beside the query's own (129 of them, as one server's
    // kernel takes it) and writes the sum as the first. The technical report, the makers' first
    // code and the other engines see `sliding_window` keys.
    const std::int64_t size = TRY(settings.size("sliding_window_size", limits::context, window));
    if (size != window && size != window - 1) {
        return refused(fmt::format("{}: sliding_window_size {}: expected sliding_window ({}) or "
                                   "one less",
                                   settings.where(), size, window));
    }
    return window;
}

Result<SoftmaxSpec> read_attention(Settings& settings, const SoftmaxSpec* full,
                                   std::int64_t query_heads) {
    const bool sliding = full != nullptr;
    const auto key = [&](const char* name) { return std::string(sliding ? "swa_" : "") + name; };
    SoftmaxSpec s;
    s.query_heads = sliding
                        ? TRY(settings.size("swa_num_attention_heads", limits::heads, query_heads))
                        : query_heads;
    // Without a number of their own, sliding layers have twice the KV heads, as the first release.
    s.kv_heads = TRY(
        settings.size(key("num_key_value_heads"), limits::heads, sliding ? 2 * full->kv_heads : 4));
    s.head_dim = TRY(settings.size(key("head_dim"), limits::head_dim,
                                   sliding ? full->head_dim : std::int64_t{192}));
    s.value_head_dim = TRY(settings.size(key("v_head_dim"), limits::head_dim,
                                         sliding ? full->value_head_dim : std::int64_t{128}));
    if (s.query_heads % s.kv_heads != 0) {
        return unsound(fmt::format("{}: {} query heads are no multiple of {} KV heads",
                                   settings.where(), s.query_heads, s.kv_heads));
    }
    if (s.query_heads * std::max(s.head_dim, s.value_head_dim) > limits::head_values) {
        return unsound(fmt::format("{}: {} heads of {} are more than {} values", settings.where(),
                                   s.query_heads, s.head_dim, limits::head_values));
    }
    s.scale = 1.0 / std::sqrt(static_cast<double>(s.head_dim));
    s.qkv_bias = TRY(settings.flag("attention_bias", false));
    s.sinks = TRY(settings.flag(
        sliding ? "add_swa_attention_sink_bias" : "add_full_attention_sink_bias", sliding));
    return s;
}

Result<MoeSpec> read_mixture(Settings& settings) {
    MoeSpec moe;
    settings.ignore({"num_local_experts"});
    moe.experts = TRY(settings.size("n_routed_experts", limits::experts));
    moe.top_k = TRY(settings.size("num_experts_per_tok", moe.experts));
    moe.intermediate = TRY(settings.size("moe_intermediate_size", limits::intermediate));
    moe.score = MoeSpec::Score::Sigmoid;
    moe.choice_bias = true;
    moe.normalise_top_k = TRY(settings.flag("norm_topk_prob", true));
    moe.weight_scale = TRY(settings.number("routed_scaling_factor", 1.0));
    moe.groups = TRY(settings.size("n_group", moe.experts, 1));
    moe.groups_kept = TRY(settings.size("topk_group", moe.groups, 1));
    const std::string scoring = TRY(settings.word("scoring_func", "sigmoid"));
    const std::string method = TRY(settings.word("topk_method", "noaux_tc"));
    if (scoring != "sigmoid" || method != "noaux_tc") {
        return refused(fmt::format("{}: scoring_func \"{}\", topk_method \"{}\": expected "
                                   "\"sigmoid\" and \"noaux_tc\"",
                                   settings.where(), scoring, method));
    }
    if (TRY(settings.count("n_shared_experts", limits::experts, 0)) != 0) {
        return refused(settings.where() + ": n_shared_experts: expected none, shared experts of "
                                          "this family are not known");
    }
    return moe;
}

// How many slabs the fused matrices lie in. No setting says so: FP8 files were cut for as many
// devices as the full layers have KV heads, and blocks of factors begin anew in every slab, which
// their number shows unless all cuts fall on blocks.
Result<std::int64_t> find_slabs(const Checkpoint& checkpoint, const std::string& prefix,
                                const Mixers& mixers, const std::vector<bool>& slides) {
    std::int64_t block = 128;
    if (const Json* config = json_member(checkpoint.metadata(), "quantization_config")) {
        Settings q(*config, "", "config.json: quantization_config");
        const std::vector<std::int64_t> sizes = TRY(q.list("weight_block_size", 1 << 20));
        block = sizes.empty() ? block : std::max<std::int64_t>(1, sizes.front());
    }
    const auto rows_of = [](const SoftmaxSpec& s) {
        return (s.query_heads + s.kv_heads) * s.head_dim + s.kv_heads * s.value_head_dim;
    };
    std::vector<std::int64_t> fitting;
    bool scaled = false;
    for (std::int64_t slabs = mixers.full.kv_heads; slabs >= 1; --slabs) {
        if (mixers.full.kv_heads % slabs != 0 || mixers.sliding.kv_heads % slabs != 0) {
            continue;
        }
        bool fits = true;
        for (std::size_t i = 0; i < slides.size(); ++i) {
            const TensorInfo* factors = checkpoint.find(
                fmt::format("{}layers.{}.self_attn.qkv_proj.weight_scale_inv", prefix, i));
            if (factors == nullptr || factors->shape.empty()) {
                continue;
            }
            scaled = true;
            const std::int64_t slab = rows_of(slides[i] ? mixers.sliding : mixers.full) / slabs;
            fits = fits && factors->shape[0] == slabs * ((slab + block - 1) / block);
        }
        if (fits) {
            fitting.push_back(slabs);
        }
    }
    if (!scaled) {
        return 1; // BF16 files keep all q, all k, all v
    }
    if (fitting.empty()) {
        return unsound(fmt::format("{}layers.*.self_attn.qkv_proj.weight_scale_inv: the number of "
                                   "factors fits no cut of the rows",
                                   prefix));
    }
    return fitting.front();
}

Result<SpecAndTensors> read_config(const Checkpoint& checkpoint) {
    static const Json defaults = {
        {"vocab_size", 152576},          {"hidden_size", 4096},
        {"intermediate_size", 16384},    {"num_hidden_layers", 48},
        {"num_attention_heads", 64},     {"max_position_embeddings", 131072},
        {"moe_intermediate_size", 2048}, {"num_experts_per_tok", 8},
        {"n_routed_experts", 256},
    };
    Json config = with_defaults(checkpoint.metadata(), defaults);
    if (json_member(config, "rms_norm_eps") == nullptr) {
        const Json* const released = json_member(config, "layernorm_epsilon");
        Json epsilon = released != nullptr ? *released : Json(1e-5);
        config["rms_norm_eps"] = std::move(epsilon);
    }
    Settings settings(config, "", "config.json");
    Frame frame = TRY(read_frame(checkpoint, "mimo-v2", settings));
    const std::vector<bool> slides = TRY(read_pattern(
        settings, "layer_types", "full_attention", "sliding_attention", "hybrid_layer_pattern",
        frame.layers, [](std::int64_t i) { return i != 0 && (i + 1) % 6 != 0; }));
    Mixers mixers;
    mixers.full = TRY(read_attention(settings, nullptr, frame.query_heads));
    mixers.sliding = mixers.full;
    if (std::find(slides.begin(), slides.end(), true) != slides.end()) {
        mixers.sliding = TRY(read_attention(settings, &mixers.full, frame.query_heads));
        mixers.sliding.window = TRY(read_window(settings));
    }
    // Absent it is that of the first release; null turns it off.
    const bool said = config.contains("attention_value_scale");
    const double value_scale = TRY(settings.number("attention_value_scale", said ? 1.0 : 0.707));
    mixers.full.value_scale = value_scale;
    mixers.sliding.value_scale = value_scale;
    mixers.full.rope = TRY(read_kind_rope(settings, "full_attention", "rope_theta", 5e6,
                                          mixers.full.head_dim, frame.spec.context_length));
    mixers.sliding.rope = TRY(read_kind_rope(settings, "sliding_attention", "swa_rope_theta", 1e4,
                                             mixers.sliding.head_dim, frame.spec.context_length));
    const std::vector<bool> sparse =
        TRY(read_pattern(settings, "mlp_layer_types", "dense", "sparse", "moe_layer_freq",
                         frame.layers, [](std::int64_t i) { return i != 0; }));
    DenseSpec dense;
    dense.intermediate = TRY(settings.size("intermediate_size", limits::intermediate));
    const MoeSpec moe = TRY(read_mixture(settings));
    const std::string layout = TRY(settings.word("attention_projection_layout", ""));
    if (!layout.empty() && layout != "fused_qkv" && layout != "split") {
        return refused(fmt::format("{}: attention_projection_layout: expected \"fused_qkv\", found "
                                   "\"{}\"",
                                   settings.where(), layout));
    }
    frame.spec.tied_embedding = TRY(read_tied(checkpoint, settings, settings));
    settings.ignore({"layernorm_epsilon", "attention_chunk_size", "hybrid_block_size",
                     "rope_scaling", "sliding_window", "sliding_window_size",
                     "swa_num_attention_heads", "swa_num_key_value_heads", "swa_head_dim",
                     "swa_v_head_dim", "add_swa_attention_sink_bias"});
    if (const Json* scaling = settings.member("rope_scaling");
        scaling != nullptr && scaling->is_object() && !scaling->empty() &&
        json_string(*scaling, "rope_type", "default").ok() &&
        *json_string(*scaling, "rope_type", "default") != "default") {
        return refused(settings.where() + ": rope_scaling: expected none in this family");
    }
    TRY(settings.refuse_unknown("MiMo-V2"));
    add_layers(frame.spec, mixers, slides, sparse, dense, moe);

    const std::string prefix = tensor_prefix(checkpoint);
    const std::string layer = prefix + "layers.{L}.";
    const bool fused = layout == "fused_qkv" ||
                       checkpoint.find(prefix + "layers.0.self_attn.qkv_proj.weight") != nullptr;
    const std::int64_t slabs =
        fused ? TRY(find_slabs(checkpoint, prefix, mixers, slides)) : std::int64_t{1};
    // Of the first sliding layer: transformers keeps another name in memory, and some files do too.
    const auto first = std::find(slides.begin(), slides.end(), true) - slides.begin();
    const bool short_name =
        checkpoint.find(fmt::format("{}layers.{}.self_attn.sinks", prefix, first)) != nullptr;
    MixerNames names;
    for (TensorNames* const one : {&names.full, &names.sliding}) {
        one->add("embedding", prefix + "embed_tokens.weight");
        one->add("output", "lm_head.weight");
        one->add("norm", prefix + "norm.weight");
        one->add("layers.#.mixer_norm", layer + "input_layernorm.weight");
        one->add("layers.#.channel_norm", layer + "post_attention_layernorm.weight");
        add_softmax_names(*one, layer, TensorSource::Transform::None);
        one->add("layers.#.mixer.sinks",
                 layer + (short_name ? "self_attn.sinks" : "self_attn.attention_sink_bias"));
        add_dense_names(*one, layer, false);
        add_moe_names(*one, layer, checkpoint, moe);
        one->add("layers.#.channel.choice_bias", layer + "mlp.gate.e_score_correction_bias");
        if (fused) {
            add_fused_names(*one, layer + "self_attn.qkv_proj.weight",
                            one == &names.full ? mixers.full : mixers.sliding, slabs);
        }
    }
    // Of its prediction heads the first; the others are left out.
    const std::string head = prefix + "mtp.layers.0.";
    if (has_all(checkpoint, head,
                {"eh_proj", "enorm", "hnorm", "final_layernorm", "input_layernorm",
                 "pre_mlp_layernorm", "self_attn.o_proj", "mlp.down_proj"})) {
        TensorNames& own = names.sliding;
        add_draft(own, layer, head,
                  {head + "eh_proj", head + "enorm", head + "hnorm", head + "final_layernorm"});
        own.add("draft.#.channel_norm", head + "pre_mlp_layernorm.weight");
        frame.spec.draft = LayerSpec{mixers.sliding, dense};
    }
    const auto extra = [prefix](std::string_view tensor) -> const char* {
        if (tensor.starts_with(prefix + "mtp.")) {
            return "multi-token prediction";
        }
        if (tensor.starts_with("audio_") || tensor.starts_with("speech_")) {
            return "audio";
        }
        return known_extra(tensor);
    };
    return SpecAndTensors{std::move(frame.spec), by_layer(names, slides), extra};
}

// --- GGUF --------------------------------------------------------------------------------------

// Full and sliding layers from one number of KV heads per layer.
Result<Mixers> read_gguf_mixers(Settings& settings, const Frame& frame,
                                const std::vector<bool>& slides) {
    const std::vector<std::int64_t> kv_heads =
        TRY(settings.per_layer("attention.head_count_kv", frame.layers, limits::heads));
    Mixers mixers;
    for (SoftmaxSpec* const s : {&mixers.full, &mixers.sliding}) {
        const bool sliding = s == &mixers.sliding;
        s->query_heads = frame.query_heads;
        for (std::size_t i = 0; i < slides.size(); ++i) {
            if (slides[i] != sliding) {
                continue;
            }
            if (s->kv_heads != 0 && s->kv_heads != kv_heads[i]) {
                return refused(settings.where() + ": attention.head_count_kv: expected one number "
                                                  "for all layers of a kind");
            }
            s->kv_heads = kv_heads[i];
            if (s->kv_heads < 1 || s->query_heads % s->kv_heads != 0) {
                return unsound(fmt::format("{}: attention.head_count {} is no multiple of "
                                           "attention.head_count_kv {}",
                                           settings.where(), s->query_heads, s->kv_heads));
            }
        }
        const std::int64_t usual = std::max<std::int64_t>(1, frame.spec.hidden / frame.query_heads);
        s->head_dim = TRY(settings.size("attention.key_length", limits::head_dim, usual));
        s->value_head_dim =
            TRY(settings.size("attention.value_length", limits::head_dim, s->head_dim));
        if (s->query_heads * std::max(s->head_dim, s->value_head_dim) > limits::head_values) {
            return unsound(fmt::format("{}: {} heads of {} are more than {} values",
                                       settings.where(), s->query_heads, s->head_dim,
                                       limits::head_values));
        }
        s->scale = 1.0 / std::sqrt(static_cast<double>(s->head_dim));
        // Older files lack it; whether their weights hold it already nobody can say.
        s->value_scale = TRY(settings.number("attention.value_scale", 1.0));
        s->rope = TRY(read_gguf_rope(settings, s->head_dim, RopeLayout::HalfSplit));
    }
    mixers.sliding.rope.scaling = {};
    mixers.sliding.rope.theta = TRY(settings.number("rope.freq_base_swa", 1e4));
    if (mixers.sliding.rope.theta < 1.0 || mixers.sliding.rope.theta > 1e15) {
        return unsound(fmt::format("{}: rope.freq_base_swa: expected a number in [1, 1e15], found "
                                   "{}",
                                   settings.where(), mixers.sliding.rope.theta));
    }
    settings.ignore({"attention.sliding_window"});
    if (mixers.sliding.kv_heads > 0) {
        mixers.sliding.window = TRY(settings.size("attention.sliding_window", limits::context));
    }
    return mixers;
}

Result<SpecAndTensors> read_gguf(const Checkpoint& checkpoint) {
    Settings settings(checkpoint.metadata(), checkpoint.architecture() + ".", "GGUF metadata");
    Frame frame = TRY(read_gguf_frame(checkpoint, "mimo-v2", settings));
    std::vector<bool> slides;
    for (const std::int64_t flag :
         TRY(settings.per_layer("attention.sliding_window_pattern", frame.layers, 1))) {
        slides.push_back(flag == 1);
    }
    Mixers mixers = TRY(read_gguf_mixers(settings, frame, slides));
    std::vector<bool> sparse;
    MixerNames names;
    for (std::size_t i = 0; i < slides.size(); ++i) {
        const auto layer = static_cast<std::int64_t>(i);
        SoftmaxSpec& mixer = slides[i] ? mixers.sliding : mixers.full;
        mixer.sinks = mixer.sinks || has_layer_tensor(checkpoint, layer, "attn_sinks.weight");
        mixer.qkv_bias = mixer.qkv_bias || has_layer_tensor(checkpoint, layer, "attn_q.bias");
        sparse.push_back(has_layer_tensor(checkpoint, layer, "ffn_gate_inp.weight"));
    }
    DenseSpec dense;
    dense.intermediate =
        TRY(settings.per_layer("feed_forward_length", frame.layers, limits::intermediate)).front();
    const bool any_dense = std::find(sparse.begin(), sparse.end(), false) != sparse.end();
    if (dense.intermediate < 1 && any_dense) {
        return unsound(settings.where() + ": feed_forward_length: expected at least 1, found 0");
    }
    const MoeSpec moe = TRY(read_gguf_moe(checkpoint, settings, 2));
    settings.ignore({"attention.key_length_swa", "attention.value_length_swa",
                     "rope.dimension_count_swa", "leading_dense_block_count"});
    TRY(settings.refuse_unknown("MiMo-V2"));
    add_layers(frame.spec, mixers, slides, sparse, dense, moe);

    const bool fused = has_layer_tensor(checkpoint, 0, "attn_qkv.weight");
    for (TensorNames* const one : {&names.full, &names.sliding}) {
        one->add("embedding", "token_embd.weight");
        one->add("output", "output.weight");
        one->add("norm", "output_norm.weight");
        one->add("layers.#.mixer_norm", "blk.{L}.attn_norm.weight");
        one->add("layers.#.channel_norm", "blk.{L}.ffn_norm.weight");
        add_gguf_softmax_names(*one);
        one->add("layers.#.mixer.sinks", "blk.{L}.attn_sinks.weight");
        add_gguf_dense_names(*one);
        add_gguf_moe_names(*one, checkpoint, moe);
        if (fused) {
            add_fused_names(*one, "blk.{L}.attn_qkv.weight",
                            one == &names.full ? mixers.full : mixers.sliding, 1);
        }
    }
    const std::int64_t trunk = frame.layers;
    const auto extra = [trunk](std::string_view tensor) {
        return is_behind_trunk(tensor, trunk) ? "multi-token prediction" : known_extra(tensor);
    };
    return SpecAndTensors{std::move(frame.spec), by_layer(names, slides), extra};
}

} // namespace

Result<SpecAndTensors> read_mimo_v2(const Checkpoint& checkpoint) {
    return checkpoint.container() == Container::Gguf ? read_gguf(checkpoint)
                                                     : read_config(checkpoint);
}

} // namespace hs
