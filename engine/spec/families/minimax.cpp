// MiniMax-Text-01 and MiniMax-M1: lightning attention with full attention between it, a mixture in
// every layer, and a residual stream of normed rows (lightning.md section 2). The published
// checkpoints and those of transformers' port name settings and tensors differently and differ in
// three places of the arithmetic, which are settled here: how much of a head rotates, how decay
// rates fall where the number of heads is no power of two, and the epsilon of the mixer's norm.

#include "engine/spec/families/reading.h"

#include <algorithm>
#include <fmt/format.h>

namespace hs {
namespace {

constexpr const char* kFamily = "minimax-01";

// From this id on the published output matrix has rows that belong to no token (lightning.md
// section 2.5).
constexpr std::int64_t kFirstWithoutToken = 200032;
constexpr std::int64_t kMostIds = 200064;
// Added tokens without a row lie among the last ids; as many rows are looked at.
constexpr std::int64_t kRowsLookedAt = 4096;

// --- ids without a token -------------------------------------------------------------------------

bool all_zero(std::span<const std::byte> bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

// Ids whose rows of the output matrix are zeros: their logit would be 0, above most others'.
std::vector<std::int32_t> ids_without_token(const Checkpoint& checkpoint, const std::string& output,
                                            std::int64_t vocab, std::vector<std::int64_t> listed) {
    for (std::int64_t id = kFirstWithoutToken; id < std::min(vocab, kMostIds); ++id) {
        listed.push_back(id);
    }
    const TensorInfo* table = checkpoint.find(output);
    const std::int64_t rows = table != nullptr && table->shape.size() == 2 ? table->shape[0] : 0;
    if (rows == vocab && table->data.size() == static_cast<std::size_t>(table->bytes)) {
        const auto row_bytes = table->data.size() / static_cast<std::size_t>(rows);
        for (std::int64_t id = std::max<std::int64_t>(0, rows - kRowsLookedAt); id < rows; ++id) {
            if (all_zero(
                    table->data.subspan(static_cast<std::size_t>(id) * row_bytes, row_bytes))) {
                listed.push_back(id);
            }
        }
    }
    std::sort(listed.begin(), listed.end());
    listed.erase(std::unique(listed.begin(), listed.end()), listed.end());
    std::vector<std::int32_t> ids;
    for (const std::int64_t id : listed) {
        if (id < vocab) {
            ids.push_back(static_cast<std::int32_t>(id));
        }
    }
    return ids;
}

// --- what both containers make -------------------------------------------------------------------

// How the two kinds of token mixer and the channel mixer join the stream.
struct Joins {
    JoinSpec full, linear, channel;
};

void add_layers(ModelSpec& spec, const std::vector<bool>& full, const SoftmaxSpec& attention,
                LightningSpec lightning, const MoeSpec& moe, const Joins& joins,
                double last_layer) {
    for (std::size_t i = 0; i < full.size(); ++i) {
        LayerSpec layer{attention, moe, joins.full, joins.channel};
        if (!full[i]) {
            lightning.layer_factor =
                1.0 - (last_layer > 0 ? static_cast<double>(i) / last_layer : 0.0) + 1e-5;
            layer.mixer = lightning;
            layer.mixer_join = joins.linear;
        }
        spec.layers.push_back(std::move(layer));
    }
}

// What a layer's number is divided by. The port takes a little more than the last layer's, which
// shows where that layer is linear: its rates are but 1e-5 of the first's.
double last_layer_of(const Frame& frame, bool port) {
    const auto last = static_cast<double>(frame.layers - 1);
    return port ? last + 1e-5 : last;
}

LightningSpec lightning_like(const SoftmaxSpec& attention) {
    LightningSpec lightning;
    lightning.heads = attention.query_heads;
    lightning.head_dim = attention.head_dim;
    lightning.silu = true;
    lightning.qkv_per_head = true;
    return lightning;
}

JoinSpec normed_join(double alpha, double beta) {
    JoinSpec join;
    join.skip_normed = true;
    join.skip_scale = alpha;
    join.branch_scale = beta;
    return join;
}

// --- config.json -------------------------------------------------------------------------------

// Names of the published code and of transformers' port.
struct Spelling {
    const char* published;
    const char* port;
};
constexpr Spelling kFullAlpha{"layernorm_full_attention_alpha", "full_attn_alpha_factor"};
constexpr Spelling kFullBeta{"layernorm_full_attention_beta", "full_attn_beta_factor"};
constexpr Spelling kLinearAlpha{"layernorm_linear_attention_alpha", "linear_attn_alpha_factor"};
constexpr Spelling kLinearBeta{"layernorm_linear_attention_beta", "linear_attn_beta_factor"};
constexpr Spelling kMlpAlpha{"layernorm_mlp_alpha", "mlp_alpha_factor"};
constexpr Spelling kMlpBeta{"layernorm_mlp_beta", "mlp_beta_factor"};

Result<double> read_factor(Settings& settings, const Spelling& spelling, bool port) {
    const char* own = port ? spelling.port : spelling.published;
    const char* other = port ? spelling.published : spelling.port;
    settings.ignore({own, other});
    const char* key = settings.has(own) || !settings.has(other) ? own : other;
    const double factor = TRY(port ? settings.number(key, 1.0) : settings.number(key));
    if (!(factor > -1e6 && factor < 1e6)) {
        return unsound(fmt::format("{}: {}: expected a number in (-1e6, 1e6), found {}",
                                   settings.where(), key, factor));
    }
    return factor;
}

Result<JoinSpec> read_join(Settings& settings, const Spelling& alpha, const Spelling& beta,
                           bool port) {
    const double skip = TRY(read_factor(settings, alpha, port));
    const double branch = TRY(read_factor(settings, beta, port));
    JoinSpec join = normed_join(skip, branch);
    // Without it the stream itself is passed on; the port knows the normed form alone.
    join.skip_normed = port || TRY(settings.flag("postnorm", false));
    return join;
}

// True for the layers with full attention.
Result<std::vector<bool>> read_schedule(Settings& settings, std::int64_t layers, bool port) {
    const std::vector<std::int64_t> types = TRY(settings.list("attn_type_list", 1));
    const std::vector<std::string> words = TRY(settings.words("layer_types"));
    std::vector<bool> full;
    for (const std::int64_t type : types) {
        full.push_back(type == 1);
    }
    if (types.empty()) {
        for (const std::string& word : words) {
            if (word != "full_attention" && word != "linear_attention") {
                return refused(fmt::format("{}: layer_types: expected \"full_attention\" or "
                                           "\"linear_attention\", found \"{}\"",
                                           settings.where(), word));
            }
            full.push_back(word == "full_attention");
        }
    }
    if (full.empty() && port) {
        for (std::int64_t i = 0; i < layers; ++i) { // the port's default, not the published one
            full.push_back(i % 2 == 0);
        }
    }
    if (static_cast<std::int64_t>(full.size()) != layers) {
        return unsound(fmt::format("{}: expected attn_type_list or layer_types with {} entries, "
                                   "one per layer, found {}",
                                   settings.where(), layers, full.size()));
    }
    return full;
}

// The published code rotates rotary_dim of a head's dimensions. transformers' port knows no such
// setting and rotates them all.
Result<RopeSpec> read_rotation(Settings& settings, std::int64_t head_dim, std::int64_t context) {
    const std::int64_t rotated = TRY(settings.size("rotary_dim", head_dim, head_dim));
    if (rotated % 2 != 0) {
        return refused(fmt::format("{}: rotary_dim: expected an even number, found {}",
                                   settings.where(), rotated));
    }
    return read_rope(settings, rotated, 1.0, context);
}

TensorNames config_names(const Checkpoint& checkpoint, const MoeSpec& moe) {
    const std::string prefix = tensor_prefix(checkpoint);
    const std::string layer = prefix + "layers.{L}.";
    const std::string attention = layer + "self_attn.";
    TensorNames names;
    names.add("embedding", prefix + "embed_tokens.weight");
    names.add("output", prefix.starts_with("language_model.") ? "language_model.lm_head.weight"
                                                              : "lm_head.weight");
    names.add("norm", prefix + "norm.weight");
    names.add("layers.#.mixer_norm", layer + "input_layernorm.weight");
    names.add("layers.#.channel_norm", layer + "post_attention_layernorm.weight");
    add_softmax_names(names, layer, TensorSource::Transform::None);
    names.add("layers.#.mixer.qkv", attention + "qkv_proj.weight");
    names.add("layers.#.mixer.gate", attention + "output_gate.weight");
    names.add("layers.#.mixer.norm", attention + "norm.weight");
    names.add("layers.#.mixer.out", attention + "out_proj.weight");
    if (checkpoint.find(prefix + "layers.0.mlp.gate.weight") != nullptr) {
        add_moe_names(names, layer, checkpoint, moe);
        return names;
    }
    const std::string mixture = layer + "block_sparse_moe.";
    names.add("layers.#.channel.router", mixture + "gate.weight");
    names.add("layers.#.channel.experts.#.gate", mixture + "experts.{E}.w1.weight");
    names.add("layers.#.channel.experts.#.up", mixture + "experts.{E}.w3.weight");
    names.add("layers.#.channel.experts.#.down", mixture + "experts.{E}.w2.weight");
    return names;
}

const char* extra_of(std::string_view tensor) {
    for (const char* table : {"slope_rate", "query_decay", "key_decay", "diagonal_decay"}) {
        if (tensor.ends_with(table)) {
            return "decay table"; // rounded to the checkpoint's type; made anew in full precision
        }
    }
    return known_extra(tensor);
}

Result<SpecAndTensors> read_config(const Checkpoint& checkpoint) {
    const std::string& name = checkpoint.architecture();
    const bool port = name == "MiniMaxForCausalLM" || name == "minimax" || name == "MiniMaxModel";
    static const Json port_defaults = {{"vocab_size", 32000},
                                       {"hidden_size", 4096},
                                       {"intermediate_size", 14336},
                                       {"num_hidden_layers", 32},
                                       {"num_attention_heads", 32},
                                       {"num_key_value_heads", 8},
                                       {"max_position_embeddings", 131072},
                                       {"rms_norm_eps", 1e-5},
                                       {"rope_theta", 1e6},
                                       {"num_experts_per_tok", 2},
                                       {"num_local_experts", 8}};
    const Json config =
        port ? with_defaults(checkpoint.metadata(), port_defaults) : checkpoint.metadata();
    Settings settings(config, "", "config.json");
    Frame frame = TRY(read_frame(checkpoint, kFamily, settings));
    SoftmaxSpec attention =
        TRY(read_softmax(settings, frame.query_heads, frame.spec.hidden / frame.query_heads));
    if (attention.qkv_bias) {
        return refused(settings.where() + ": attention_bias: expected false, found true");
    }
    attention.window = TRY(settings.count("sliding_window", limits::context, 0));
    attention.rope = TRY(read_rotation(settings, attention.head_dim, frame.spec.context_length));
    LightningSpec lightning = lightning_like(attention);
    // The port leaves its class's epsilon; vLLM and llama.cpp run the published weights with this.
    lightning.norm_eps = port ? 1e-6 : 1e-5;
    lightning.even_rates = port;
    MoeSpec moe;
    moe.experts = TRY(settings.size("num_local_experts", limits::experts));
    moe.top_k = TRY(settings.size("num_experts_per_tok", moe.experts));
    moe.intermediate = TRY(settings.size("intermediate_size", limits::intermediate));
    if (TRY(settings.count("shared_intermediate_size", limits::intermediate, 0)) != 0) {
        return refused(settings.where() + ": shared_intermediate_size: expected 0: shared experts "
                                          "of this family are not known");
    }
    const Joins joins{TRY(read_join(settings, kFullAlpha, kFullBeta, port)),
                      TRY(read_join(settings, kLinearAlpha, kLinearBeta, port)),
                      TRY(read_join(settings, kMlpAlpha, kMlpBeta, port))};
    const std::vector<bool> full = TRY(read_schedule(settings, frame.layers, port));
    frame.spec.tied_embedding = TRY(read_tied(checkpoint, settings, settings));
    settings.ignore(
        {"num_experts", "shared_moe_mode", "block_size", "postnorm", "layer_type_list"});
    TRY(settings.refuse_unknown("MiniMax-01"));

    add_layers(frame.spec, full, attention, lightning, moe, joins, last_layer_of(frame, port));
    const TensorNames names = config_names(checkpoint, moe);
    const TensorSource output =
        TRY(names.map()(frame.spec.tied_embedding ? "embedding" : "output"));
    frame.spec.never_sampled = ids_without_token(checkpoint, output.name, frame.spec.vocab, {});
    return SpecAndTensors{std::move(frame.spec), names.map(), extra_of};
}

// --- GGUF --------------------------------------------------------------------------------------

// True for the layers with full attention.
Result<std::vector<bool>> read_gguf_schedule(Settings& settings, std::int64_t layers) {
    std::vector<bool> full;
    const std::int64_t interval =
        TRY(settings.size("full_attention_interval", limits::layers, std::int64_t{8}));
    if (settings.has("attention.recurrent_layers")) {
        const std::vector<std::int64_t> recurrent =
            TRY(settings.per_layer("attention.recurrent_layers", layers, 1));
        for (const std::int64_t flag : recurrent) {
            full.push_back(flag == 0);
        }
        return full;
    }
    for (std::int64_t i = 0; i < layers; ++i) {
        full.push_back((i + 1) % interval == 0);
    }
    return full;
}

Result<SpecAndTensors> read_gguf(const Checkpoint& checkpoint) {
    Settings settings(checkpoint.metadata(), checkpoint.architecture() + ".", "GGUF metadata");
    Frame frame = TRY(read_gguf_frame(checkpoint, kFamily, settings));
    SoftmaxSpec attention = TRY(read_gguf_softmax(settings, frame));
    if (attention.value_head_dim != attention.head_dim) {
        return refused(settings.where() +
                       ": attention.value_length: expected attention.key_length");
    }
    attention.rope = TRY(read_gguf_rope(settings, attention.head_dim, RopeLayout::HalfSplit));
    LightningSpec lightning = lightning_like(attention);
    // Heads that rotate whole come out of transformers' port. What it does otherwise shows with
    // numbers of heads that no published model has, and where the last layer is linear.
    const bool port = attention.rope.dims == attention.head_dim;
    lightning.even_rates = port;
    const MoeSpec moe = TRY(read_gguf_moe(checkpoint, settings));
    const double alpha = TRY(settings.number("residual_scale"));
    const JoinSpec join = normed_join(alpha, 1.0);
    const std::vector<bool> full = TRY(read_gguf_schedule(settings, frame.layers));
    settings.ignore({"feed_forward_length"});
    TRY(settings.refuse_unknown("MiniMax-01"));
    add_layers(frame.spec, full, attention, lightning, moe, {join, join, join},
               last_layer_of(frame, port));

    Settings tokenizer(checkpoint.metadata(), "tokenizer.ggml.", "GGUF metadata");
    const std::vector<std::int64_t> listed = TRY(tokenizer.list("suppress_tokens", limits::vocab));
    const char* output = frame.spec.tied_embedding ? "token_embd.weight" : "output.weight";
    frame.spec.never_sampled = ids_without_token(checkpoint, output, frame.spec.vocab, listed);

    TensorNames names;
    names.add("embedding", "token_embd.weight");
    names.add("output", "output.weight");
    names.add("norm", "output_norm.weight");
    names.add("layers.#.mixer_norm", "blk.{L}.attn_norm.weight");
    names.add("layers.#.channel_norm", "blk.{L}.ffn_norm.weight");
    add_gguf_softmax_names(names);
    names.add("layers.#.mixer.qkv", "blk.{L}.attn_qkv.weight");
    names.add("layers.#.mixer.gate", "blk.{L}.attn_gate.weight");
    names.add("layers.#.mixer.norm", "blk.{L}.attn_norm_2.weight");
    names.add("layers.#.mixer.out", "blk.{L}.attn_output.weight");
    add_gguf_moe_names(names, checkpoint, moe);
    return SpecAndTensors{std::move(frame.spec), names.map(), known_extra};
}

} // namespace

Result<SpecAndTensors> read_minimax(const Checkpoint& checkpoint) {
    return checkpoint.container() == Container::Gguf ? read_gguf(checkpoint)
                                                     : read_config(checkpoint);
}

} // namespace hs
