// Qwen3.8-Flash-Next (qwen4_exp): gated delta layers, and between them gated full attention that
// reads groups of keys which a small index chooses; residual streams in the place of all layer
// norms; and in one layer embeddings of the last tokens together, out of a table larger than many
// models (delta.md section 9). Read for what it weighs and keeps.

#include "engine/spec/families/reading.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace hs {
namespace {

constexpr std::int64_t kMostStreams = 64;
constexpr std::int64_t kMostRows = std::int64_t{1} << 34; // of a table of n-grams
constexpr std::int64_t kMostPrime = std::int64_t{1} << 31;
constexpr std::int64_t kMostLookedUp = 256; // rows, for one token
constexpr std::int64_t kLongest = 16;

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

Result<void> check_ngram(const NgramSpec& ngram, const std::string& where) {
    if (ngram.rows > kMostRows || ngram.heads > kMostLookedUp) {
        return unsound(fmt::format("{}: {} rows of n-grams, of which a token looks up {}, are more "
                                   "than {} and {}",
                                   where, ngram.rows, ngram.heads, kMostRows, kMostLookedUp));
    }
    return {};
}

bool is_prime(std::int64_t n) {
    for (std::int64_t d = 2; d * d <= n; ++d) {
        if (n % d == 0) {
            return false;
        }
    }
    return n > 1;
}

// Each head has a hash table of its own, as long as a prime: those from `base` on, one after
// another. All together are padded to a multiple.
std::int64_t rows_of(std::int64_t heads, std::int64_t base, std::int64_t multiple) {
    std::int64_t rows = 0;
    for (std::int64_t n = base; heads > 0; ++n) {
        if (is_prime(n)) {
            rows += n;
            --heads;
        }
    }
    return (rows + multiple - 1) / multiple * multiple;
}

// Streams do what layer norms do elsewhere.
constexpr JoinSpec kNoNorm{.norm_before = false};

void add_layers(ModelSpec& spec, const GatedDeltaSpec& delta, const SoftmaxSpec& attention,
                const std::vector<bool>& full, const MoeSpec& mixture) {
    for (const bool attends : full) {
        LayerSpec layer{delta, mixture, kNoNorm, kNoNorm};
        if (attends) {
            layer.mixer = attention;
        }
        spec.layers.push_back(std::move(layer));
    }
}

// What the settings are called in a container.
struct Keys {
    const char *index, *streams, *ngrams;
};

std::string reasons_of(const ModelSpec& spec, const Keys& keys, Settings& settings) {
    std::vector<std::string> reasons{
        fmt::format("{} = {}: residual streams in the place of layer norms have no op, supported "
                    "is 1",
                    keys.streams, spec.streams.count)};
    for (const LayerSpec& layer : spec.layers) {
        const auto* const attention = std::get_if<SoftmaxSpec>(&layer.mixer);
        if (attention != nullptr && attention->indexer) {
            reasons.push_back(fmt::format(
                "{} = {}: sparse attention over groups of {} keys of a KV cache has no op; "
                "supported are full, sliding-window and latent attention, and the sparse kind of "
                "the latter",
                keys.index, attention->indexer->top_k * attention->indexer->block,
                attention->indexer->block));
            break;
        }
    }
    for (std::size_t i = 0; i < spec.layers.size(); ++i) {
        if (spec.layers[i].ngram) {
            reasons.push_back(fmt::format("{}: embeddings of the last {} tokens together, at layer "
                                          "{}, have no op; supported is none",
                                          keys.ngrams, spec.layers[i].ngram->longest, i));
        }
    }
    return why_not_run(reasons, settings);
}

// --- config.json -------------------------------------------------------------------------------

// True for layers with attention over keys.
Result<std::vector<bool>> read_schedule(Settings& settings, std::int64_t layers) {
    std::vector<bool> full;
    const std::int64_t interval =
        TRY(settings.size("full_attention_interval", limits::layers, std::int64_t{4}));
    const std::vector<std::string> types = TRY(settings.words("layer_types"));
    if (!types.empty() && static_cast<std::int64_t>(types.size()) != layers) {
        return unsound(fmt::format("{}: layer_types: expected {} entries, found {}",
                                   settings.where(), layers, types.size()));
    }
    // The first name is that of checkpoints, the others are transformers'.
    constexpr std::array<std::string_view, 3> attends{"full_attention", "hybrid_indexed",
                                                      "deepseek_sparse_attention"};
    for (std::size_t i = 0; i < static_cast<std::size_t>(layers); ++i) {
        if (types.empty()) {
            full.push_back((static_cast<std::int64_t>(i) + 1) % interval == 0);
            continue;
        }
        full.push_back(std::find(attends.begin(), attends.end(), types[i]) != attends.end());
        if (!full.back() && types[i] != "linear_attention") {
            return refused(fmt::format("{}: layer_types[{}]: expected \"linear_attention\" or "
                                       "\"full_attention\", found \"{}\"",
                                       settings.where(), i, types[i]));
        }
    }
    return full;
}

Result<std::optional<IndexerSpec>> read_index(Settings& settings) {
    if (!settings.has("indexer_n_heads")) {
        return std::optional<IndexerSpec>();
    }
    IndexerSpec index;
    index.heads = TRY(settings.size("indexer_n_heads", limits::heads));
    index.head_dim = TRY(settings.size("indexer_head_dim", limits::head_dim));
    index.block = TRY(settings.size("indexer_compress_ratio", limits::context));
    index.top_k = TRY(settings.size("indexer_budget", limits::context)) / index.block;
    if (index.heads * index.head_dim > limits::head_values) {
        return unsound(fmt::format("{}: {} index heads of {} are more than {} values",
                                   settings.where(), index.heads, index.head_dim,
                                   limits::head_values));
    }
    if (const auto heads = TRY(settings.size("indexer_kv_heads", limits::heads, 1)); heads != 1) {
        return refused(
            fmt::format("{}: indexer_kv_heads: expected 1, found {}", settings.where(), heads));
    }
    return std::optional<IndexerSpec>(index);
}

// Puts the n-grams at the layers that have them.
Result<void> read_ngrams(Settings& settings, ModelSpec& spec) {
    NgramSpec ngram;
    ngram.longest = TRY(settings.size("ngram_size", kLongest, 3));
    const std::int64_t each = TRY(settings.size("heads_per_ngram", kMostLookedUp, 8));
    const std::int64_t width = TRY(settings.size("ple_embed_dim", limits::hidden, spec.hidden));
    const std::int64_t base = TRY(settings.size("ngram_vocab_size_base", kMostPrime, 20'000'000));
    const std::int64_t multiple =
        TRY(settings.size("make_ngram_vocab_size_divisible_by", kMostPrime, 128));
    ngram.conv_kernel = TRY(settings.size("ple_conv_kernel_size", limits::conv_kernel, 4));
    ngram.heads = (ngram.longest - 1) * each;
    const std::vector<std::int64_t> layers = TRY(settings.list("ple_layer_ids", limits::layers));
    if (layers.empty()) {
        return {};
    }
    if (ngram.heads < 1 || width % ngram.heads != 0) {
        return unsound(fmt::format("{}: ple_embed_dim {} is no multiple of its {} heads",
                                   settings.where(), width, ngram.heads));
    }
    TRY(check_ngram(ngram, settings.where()));
    ngram.row_dim = width / ngram.heads;
    ngram.rows = rows_of(ngram.heads, base, multiple);
    TRY(check_ngram(ngram, settings.where()));
    for (const std::int64_t layer : layers) { // counted from one
        if (layer < 1 || layer > static_cast<std::int64_t>(spec.layers.size())) {
            return unsound(fmt::format("{}: ple_layer_ids: expected 1 to {}, found {}",
                                       settings.where(), spec.layers.size(), layer));
        }
        spec.layers[static_cast<std::size_t>(layer - 1)].ngram = ngram;
    }
    return {};
}

Result<SpecAndTensors> read_config(const Checkpoint& checkpoint) {
    Settings outer(checkpoint.metadata(), "", "config.json");
    const Json* const text = outer.member("text_config");
    Settings settings(text != nullptr ? *text : checkpoint.metadata(), "",
                      text != nullptr ? "config.json: text_config" : "config.json");
    Frame frame = TRY(read_frame(checkpoint, "qwen4-exp", settings));
    ModelSpec& spec = frame.spec;
    SoftmaxSpec attention = TRY(read_softmax(settings, frame.query_heads, 256));
    attention.qk_norm = QkNorm::PerHead;
    attention.output_gate = true;
    attention.rope = TRY(read_rope(settings, attention.head_dim, 0.25, spec.context_length));
    attention.indexer = TRY(read_index(settings));
    GatedDeltaSpec delta;
    delta.key_heads = TRY(settings.size("linear_num_key_heads", limits::heads, 16));
    delta.value_heads = TRY(settings.size("linear_num_value_heads", limits::heads, 32));
    delta.key_dim = TRY(settings.size("linear_key_head_dim", limits::head_dim, 128));
    delta.value_dim = TRY(settings.size("linear_value_head_dim", limits::head_dim, 128));
    delta.conv_kernel = TRY(settings.size("linear_conv_kernel_dim", limits::conv_kernel, 4));
    TRY(check_delta(delta, settings.where()));
    const MoeSpec mixture = TRY(read_moe(settings, true, true));
    spec.streams.count = TRY(settings.size("hc_count", kMostStreams, 4));
    spec.streams.rank = TRY(settings.size("hc_lowrank", limits::hidden, 320));
    if (spec.streams.count < 2) {
        return refused(settings.where() + ": hc_count: expected at least 2, found 1");
    }
    spec.tied_embedding = TRY(read_tied(checkpoint, outer, settings));
    add_layers(spec, delta, attention, TRY(read_schedule(settings, frame.layers)), mixture);
    TRY(read_ngrams(settings, spec));
    settings.ignore({"attn_output_gate", "output_gate_type", "seed", "split_ngram_parts"});
    spec.cannot_run = reasons_of(spec, {"indexer_budget", "hc_count", "ple_layer_ids"}, settings);
    return SpecAndTensors{std::move(spec), TensorNames().map(), known_extra};
}

// --- GGUF --------------------------------------------------------------------------------------

Result<void> read_gguf_ngrams(Settings& settings, ModelSpec& spec) {
    const std::vector<std::int64_t> layers = TRY(settings.list("ple.layers", limits::layers));
    if (layers.empty()) {
        return {};
    }
    NgramSpec ngram;
    ngram.longest = TRY(settings.size("ple.ngram_size", kLongest));
    ngram.heads = (ngram.longest - 1) * TRY(settings.size("ple.heads_per_ngram", kMostLookedUp));
    ngram.conv_kernel = TRY(settings.size("ple.conv_kernel", limits::conv_kernel));
    ngram.row_dim = TRY(settings.size("embedding_length_per_layer_input", limits::hidden));
    for (const std::int64_t rows : TRY(settings.list("ple.head_vocab_sizes", kMostPrime))) {
        ngram.rows += rows;
        TRY(check_ngram(ngram, settings.where()));
    }
    // Padded as the checkpoint has it.
    constexpr std::int64_t kMultiple = 128;
    ngram.rows = (ngram.rows + kMultiple - 1) / kMultiple * kMultiple;
    for (const std::int64_t layer : layers) {
        if (layer >= static_cast<std::int64_t>(spec.layers.size())) {
            return unsound(fmt::format("{}: ple.layers: expected less than {}, found {}",
                                       settings.where(), spec.layers.size(), layer));
        }
        spec.layers[static_cast<std::size_t>(layer)].ngram = ngram;
    }
    return {};
}

Result<SpecAndTensors> read_gguf(const Checkpoint& checkpoint) {
    Settings settings(checkpoint.metadata(), checkpoint.architecture() + ".", "GGUF metadata");
    Frame frame = TRY(read_gguf_frame(checkpoint, "qwen4-exp", settings));
    ModelSpec& spec = frame.spec;
    SoftmaxSpec attention = TRY(read_gguf_softmax(settings, frame));
    attention.qk_norm = QkNorm::PerHead;
    attention.output_gate = true;
    attention.rope = TRY(read_gguf_rope(settings, attention.head_dim, RopeLayout::HalfSplit));
    // Positions in a group, at layers with attention; 0 at the others.
    std::int64_t group = 0;
    for (const std::int64_t ratio :
         TRY(settings.per_layer("attention.compress_ratios", frame.layers, limits::context))) {
        group = std::max(group, ratio);
    }
    if (group > 0) {
        IndexerSpec index;
        index.heads = TRY(settings.size("attention.indexer.head_count", limits::heads));
        index.head_dim = TRY(settings.size("attention.indexer.key_length", limits::head_dim));
        index.block = group;
        index.top_k = TRY(settings.size("attention.indexer.top_k", limits::context)) / group;
        attention.indexer = index;
    }
    GatedDeltaSpec delta;
    delta.key_heads = TRY(settings.size("ssm.group_count", limits::heads));
    delta.value_heads = TRY(settings.size("ssm.time_step_rank", limits::heads));
    delta.key_dim = TRY(settings.size("ssm.state_size", limits::head_dim));
    delta.conv_kernel = TRY(settings.size("ssm.conv_kernel", limits::conv_kernel));
    delta.value_dim = TRY(settings.size("ssm.inner_size", limits::head_values)) / delta.value_heads;
    delta.head_map = HeadMap::Tiled;
    TRY(check_delta(delta, settings.where()));
    MoeSpec mixture = TRY(read_gguf_moe(checkpoint, settings));
    mixture.shared_gate = mixture.shared_intermediate > 0;
    spec.streams.count = TRY(settings.size("hyper_connection.count", kMostStreams));
    spec.streams.rank = TRY(settings.size("hyper_connection.low_rank", limits::hidden));
    const std::int64_t interval =
        TRY(settings.size("full_attention_interval", limits::layers, std::int64_t{4}));
    std::vector<bool> full;
    for (std::int64_t i = 0; i < frame.layers; ++i) {
        full.push_back((i + 1) % interval == 0);
    }
    add_layers(spec, delta, attention, full, mixture);
    TRY(read_gguf_ngrams(settings, spec));
    settings.ignore({"attention.recurrent_layers", "feed_forward_length", "ple.eos_token_id",
                     "ple.image_token_id", "ple.layer_multipliers", "ple.head_offsets"});
    spec.cannot_run = reasons_of(
        spec, {"attention.indexer.top_k", "hyper_connection.count", "ple.layers"}, settings);
    return SpecAndTensors{std::move(spec), TensorNames().map(), known_extra};
}

} // namespace

Result<SpecAndTensors> read_qwen4_exp(const Checkpoint& checkpoint) {
    return checkpoint.container() == Container::Gguf ? read_gguf(checkpoint)
                                                     : read_config(checkpoint);
}

} // namespace hs
