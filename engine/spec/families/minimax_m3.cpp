// MiniMax-M3, its text part: GQA whose first layers read all keys and whose others read blocks of
// them that a small index chooses, while the KV cache keeps everything; mixtures behind the first
// dense layers (softmax.md section 6.4). Read for what it weighs and keeps.

#include "engine/spec/families/reading.h"

#include <algorithm>
#include <fmt/format.h>

namespace hs {
namespace {

constexpr const char* kWhy =
    "sparse attention over blocks of a KV cache has no op; supported are full, sliding-window and "
    "latent attention, and the sparse kind of the latter";

Result<void> check_index(const SoftmaxSpec& s, const std::string& where) {
    const IndexerSpec& index = *s.indexer;
    if (index.heads * index.head_dim > limits::head_values) {
        return unsound(fmt::format("{}: {} index heads of {} are more than {} values", where,
                                   index.heads, index.head_dim, limits::head_values));
    }
    if (index.heads != s.kv_heads) {
        return refused(fmt::format("{}: expected one index head for each of {} KV heads, found {}",
                                   where, s.kv_heads, index.heads));
    }
    return {};
}

// One layer kind to each place.
void add_layers(ModelSpec& spec, const SoftmaxSpec& attention, const std::vector<bool>& sparse,
                const DenseSpec& dense, const MoeSpec& mixture, const std::vector<bool>& mixed) {
    for (std::size_t i = 0; i < sparse.size(); ++i) {
        LayerSpec layer{attention, dense};
        if (!sparse[i]) {
            std::get<SoftmaxSpec>(layer.mixer).indexer.reset();
        }
        if (mixed[i]) {
            layer.channel = mixture;
        }
        spec.layers.push_back(std::move(layer));
    }
}

// --- config.json -------------------------------------------------------------------------------

std::vector<bool> flags_of(const std::vector<std::int64_t>& values) {
    std::vector<bool> flags;
    std::transform(values.begin(), values.end(), std::back_inserter(flags),
                   [](std::int64_t value) { return value != 0; });
    return flags;
}

struct Sparse {
    IndexerSpec index;
    std::vector<bool> layers;
};

Result<Sparse> read_sparse(Settings& settings, std::int64_t layers) {
    const Json* const object = settings.member("sparse_attention_config");
    if (object == nullptr || !object->is_object()) {
        return refused(settings.where() + ": sparse_attention_config: expected an object");
    }
    Settings given(*object, "", settings.where() + ": sparse_attention_config");
    Sparse sparse;
    sparse.index.heads = TRY(given.size("sparse_num_index_heads", limits::heads));
    sparse.index.head_dim = TRY(given.size("sparse_index_dim", limits::head_dim));
    sparse.index.block = TRY(given.size("sparse_block_size", limits::context));
    sparse.index.top_k = TRY(given.size("sparse_topk_blocks", limits::context));
    sparse.layers = flags_of(TRY(given.per_layer("sparse_attention_freq", layers, 1)));
    if (std::find(sparse.layers.begin(), sparse.layers.end(), true) == sparse.layers.end()) {
        return refused(given.where() + ": sparse_attention_freq: expected 1 for a layer at least");
    }
    // An index may have values too; then it would weigh and keep more.
    if (given.has("sparse_disable_index_value")) {
        const auto off = flags_of(TRY(given.per_layer("sparse_disable_index_value", layers, 1)));
        for (std::size_t i = 0; i < off.size(); ++i) {
            if (sparse.layers[i] && !off[i]) {
                return refused(fmt::format("{}: sparse_disable_index_value[{}]: expected 1, an "
                                           "index without values, found 0",
                                           given.where(), i));
            }
        }
    }
    return sparse;
}

Result<SpecAndTensors> read_config(const Checkpoint& checkpoint) {
    // What transformers' class of this model takes for absent settings.
    static const Json defaults = {{"vocab_size", 200064},
                                  {"hidden_size", 6144},
                                  {"intermediate_size", 3072},
                                  {"num_hidden_layers", 60},
                                  {"num_attention_heads", 64},
                                  {"num_key_value_heads", 4},
                                  {"head_dim", 128},
                                  {"rotary_dim", 64},
                                  {"num_experts_per_tok", 4},
                                  {"num_local_experts", 128},
                                  {"n_shared_experts", 1},
                                  {"shared_intermediate_size", 3072},
                                  {"routed_scaling_factor", 2.0},
                                  {"dense_intermediate_size", 12288},
                                  {"rope_theta", 5000000.0},
                                  {"swiglu_alpha", 1.702},
                                  {"swiglu_limit", 7.0},
                                  {"rms_norm_eps", 1e-6},
                                  {"max_position_embeddings", 524288}};
    Settings outer(checkpoint.metadata(), "", "config.json");
    const Json* const text = outer.member("text_config");
    Json config = with_defaults(text != nullptr ? *text : checkpoint.metadata(), defaults);
    // The one activation of the family, by the name of its checkpoints or of transformers.
    if (const auto act = TRY(json_string(config, "hidden_act", "silu")); act == "swigluoai") {
        config["hidden_act"] = "silu";
    }
    if (json_member(config, "partial_rotary_factor") == nullptr) {
        Settings given(config, "", "config.json");
        const std::int64_t head_dim = TRY(given.size("head_dim", limits::head_dim));
        const std::int64_t rotated = TRY(given.size("rotary_dim", head_dim));
        config["partial_rotary_factor"] =
            static_cast<double>(rotated) / static_cast<double>(head_dim);
    }
    Settings settings(config, "", text != nullptr ? "config.json: text_config" : "config.json");
    Frame frame = TRY(read_frame(checkpoint, "minimax-m3", settings));
    ModelSpec& spec = frame.spec;
    SoftmaxSpec attention = TRY(read_softmax(settings, frame.query_heads, 128));
    attention.qk_norm = QkNorm::PerHead;
    attention.rope = TRY(read_rope(settings, attention.head_dim, 0.5, spec.context_length));
    const Sparse sparse = TRY(read_sparse(settings, frame.layers));
    attention.indexer = sparse.index;
    TRY(check_index(attention, settings.where() + ": sparse_attention_config"));

    GluSpec glu;
    glu.kind = GluSpec::Kind::Clamped;
    glu.alpha = TRY(settings.number("swiglu_alpha"));
    glu.limit = TRY(settings.number("swiglu_limit"));
    DenseSpec dense;
    dense.intermediate = TRY(settings.size("dense_intermediate_size", limits::intermediate));
    dense.glu = glu;
    MoeSpec mixture;
    mixture.experts = TRY(settings.size("num_local_experts", limits::experts));
    mixture.top_k = TRY(settings.size("num_experts_per_tok", mixture.experts));
    mixture.intermediate = TRY(settings.size("intermediate_size", limits::intermediate));
    const std::int64_t shared = TRY(settings.count("n_shared_experts", limits::experts, 0));
    const std::int64_t wide =
        TRY(settings.count("shared_intermediate_size", limits::intermediate, 0));
    if (shared * wide > limits::intermediate) {
        return unsound(fmt::format("{}: {} shared experts of {} are wider than {}",
                                   settings.where(), shared, wide, limits::intermediate));
    }
    mixture.shared_intermediate = shared * wide;
    mixture.score = MoeSpec::Score::Sigmoid;
    mixture.choice_bias = TRY(settings.flag("use_routing_bias", true));
    mixture.weight_scale = TRY(settings.number("routed_scaling_factor"));
    mixture.glu = glu;
    const auto mixed = flags_of(TRY(settings.per_layer("moe_layer_freq", frame.layers, 1)));
    spec.tied_embedding = TRY(read_tied(checkpoint, outer, settings));
    add_layers(spec, attention, sparse.layers, dense, mixture, mixed);

    settings.ignore({"layer_types", "num_mtp_modules", "qk_norm_type", "rotary_dim", "scoring_func",
                     "use_gemma_norm", "use_qk_norm", "num_experts"});
    spec.cannot_run = why_not_run(
        {fmt::format("sparse_attention_config: sparse_topk_blocks = {} of sparse_block_size = {} "
                     "at {} layers: {}",
                     sparse.index.top_k, sparse.index.block,
                     std::count(sparse.layers.begin(), sparse.layers.end(), true), kWhy)},
        settings);
    return SpecAndTensors{std::move(spec), TensorNames().map(), known_extra};
}

// --- GGUF --------------------------------------------------------------------------------------

Result<SpecAndTensors> read_gguf(const Checkpoint& checkpoint) {
    Settings settings(checkpoint.metadata(), checkpoint.architecture() + ".", "GGUF metadata");
    Frame frame = TRY(read_gguf_frame(checkpoint, "minimax-m3", settings));
    ModelSpec& spec = frame.spec;
    SoftmaxSpec attention = TRY(read_gguf_softmax(settings, frame));
    attention.qk_norm = QkNorm::PerHead;
    attention.rope = TRY(read_gguf_rope(settings, attention.head_dim, RopeLayout::HalfSplit));
    attention.indexer = IndexerSpec{};
    attention.indexer->heads = TRY(settings.size("attention.indexer.head_count", limits::heads));
    attention.indexer->head_dim =
        TRY(settings.size("attention.indexer.key_length", limits::head_dim));
    attention.indexer->block = TRY(settings.size("attention.indexer.block_size", limits::context));
    attention.indexer->top_k = TRY(settings.size("attention.indexer.top_k", limits::context));
    TRY(check_index(attention, settings.where()));
    GluSpec glu;
    glu.kind = GluSpec::Kind::Clamped;
    MoeSpec mixture = TRY(read_gguf_moe(checkpoint, settings, 2));
    mixture.choice_bias = true;
    mixture.glu = glu;
    // Files say the experts' width; the dense layers' is that of their tensors.
    DenseSpec dense;
    dense.glu = glu;
    dense.intermediate = mixture.intermediate;
    if (const TensorInfo* up = checkpoint.find("blk.0.ffn_up.weight");
        up != nullptr && up->shape.size() == 2) {
        dense.intermediate = std::min(up->shape[0], limits::intermediate);
    }
    const std::int64_t first = TRY(settings.count("leading_dense_block_count", limits::layers, 0));
    std::vector<bool> behind;
    for (std::int64_t i = 0; i < frame.layers; ++i) {
        behind.push_back(i >= first);
    }
    // An index stands where its tensors do; without tensors, beside the mixtures, as published.
    std::vector<bool> sparse = behind;
    for (std::int64_t i = 0; i < frame.layers && !checkpoint.tensors().empty(); ++i) {
        sparse[static_cast<std::size_t>(i)] =
            has_layer_tensor(checkpoint, i, "indexer.k_proj.weight");
    }
    add_layers(spec, attention, sparse, dense, mixture, behind);
    settings.ignore(
        {"attention.indexer.local_blocks", "feed_forward_length", "expert_weights_norm"});
    spec.cannot_run = why_not_run(
        {fmt::format("attention.indexer.top_k = {} of attention.indexer.block_size = {}: {}",
                     attention.indexer->top_k, attention.indexer->block, kWhy)},
        settings);
    return SpecAndTensors{std::move(spec), TensorNames().map(), known_extra};
}

} // namespace

Result<SpecAndTensors> read_minimax_m3(const Checkpoint& checkpoint) {
    return checkpoint.container() == Container::Gguf ? read_gguf(checkpoint)
                                                     : read_config(checkpoint);
}

} // namespace hs
