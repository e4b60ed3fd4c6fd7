#include "engine/lab/inspect.h"

#include "engine/core/paths.h"
#include "engine/lab/planner.h"
#include "engine/lab/timed_run.h"
#include "engine/lab/units.h"
#include "engine/run/generator.h"
#include "engine/run/model.h"
#include "engine/spec/families.h"
#include "engine/spec/ratio.h"

#include <array>
#include <fmt/format.h>

namespace hs {

namespace {

constexpr std::array<std::int64_t, 4> kContexts{4096, 32768, 131072, 1048576};

StateForecast forecast(const ModelSpec& spec, std::int64_t tokens, DType kv_dtype) {
    StateForecast at{.context_tokens = tokens, .by_kind = {}};
    for (const LedgerEntry& entry :
         predict_state(spec, tokens, {.kv_dtype = kv_dtype, .context_tokens = tokens})) {
        at.bytes += entry.used_bytes;
        at.by_kind[to_string(entry.kind)] += entry.used_bytes;
    }
    return at;
}

std::string text_of(const SoftmaxSpec& s) {
    std::string text =
        fmt::format("{} query heads, {} KV heads of {}", s.query_heads, s.kv_heads, s.head_dim);
    if (s.value_head_dim != s.head_dim) {
        text += fmt::format(", values of {}", s.value_head_dim);
    }
    if (s.window > 0) {
        text += fmt::format(", window {}", s.window);
    }
    text += s.sinks ? ", sinks" : "";
    if (s.indexer) {
        text += fmt::format(", {} blocks of {} keys chosen by {} heads of {}", s.indexer->top_k,
                            s.indexer->block, s.indexer->heads, s.indexer->head_dim);
    }
    return s.output_gate ? text + ", gated" : text;
}

std::string text_of(const LatentSpec& s) {
    std::string text = fmt::format("{} query heads of {} + {}, latent {}", s.query_heads,
                                   s.nope_dim, s.rope_dim, s.kv_rank);
    if (s.indexer) {
        text += fmt::format(", {} keys chosen by {} heads of {}", s.indexer->top_k,
                            s.indexer->heads, s.indexer->head_dim);
    }
    text += s.shares_choice ? ", keys as chosen before" : "";
    return s.output_gate ? text + ", gated" : text;
}

std::string text_of(const CompressedSpec& s) {
    std::string text = fmt::format("{} query heads over a row of {}", s.query_heads, s.head_dim);
    if (s.window > 0) {
        text += fmt::format(", window {}", s.window);
    }
    if (s.rate > 0) {
        text += fmt::format(", before it {} tokens to an entry", s.rate);
    }
    if (s.indexer) {
        text += fmt::format(", {} entries chosen by {} heads of {}", s.indexer->top_k,
                            s.indexer->heads, s.indexer->head_dim);
    }
    return text;
}

std::string text_of(const GatedDeltaSpec& s) {
    return fmt::format("{} key heads of {}, {} value heads of {}, convolution over {}", s.key_heads,
                       s.key_dim, s.value_heads, s.value_dim, s.conv_kernel);
}

std::string text_of(const KdaSpec& s) {
    return fmt::format("{} heads of {}, convolution over {}", s.heads, s.head_dim, s.conv_kernel);
}

std::string text_of(const LightningSpec& s) {
    return fmt::format("{} heads of {}", s.heads, s.head_dim);
}

std::string mixer_text(const TokenMixerSpec& mixer) {
    return std::visit([](const auto& spec) { return text_of(spec); }, mixer);
}

std::string channel_text(const ChannelMixerSpec& channel) {
    if (const auto* d = std::get_if<DenseSpec>(&channel)) {
        return fmt::format("dense {}", d->intermediate);
    }
    const auto& m = std::get<MoeSpec>(channel);
    std::string text =
        fmt::format("{} experts of {}, {} chosen", m.experts, m.intermediate, m.top_k);
    return m.shared_intermediate > 0 ? text + fmt::format(", shared {}", m.shared_intermediate)
                                     : text;
}

Json layers_json(const ModelSpec& spec) {
    Json layers = Json::array();
    for (std::size_t i = 0; i < spec.layers.size(); ++i) {
        const LayerSpec& layer = spec.layers[i];
        const MixerKind kind = kind_of(layer.mixer);
        layers.push_back({{"layer", i},
                          {"kind", to_string(kind)},
                          {"letter", std::string(1, letter(kind))},
                          {"mixer", mixer_text(layer.mixer)},
                          {"channel", channel_text(layer.channel)}});
    }
    return layers;
}

// What a model has beside its layers' mixers, or nothing.
std::string beside_layers(const ModelSpec& spec) {
    std::string text;
    if (spec.streams.count > 1) {
        text = fmt::format("{} residual streams, mixed before and after every mixer",
                           spec.streams.count);
    }
    for (std::size_t i = 0; i < spec.layers.size(); ++i) {
        if (const auto& ngram = spec.layers[i].ngram) {
            text += fmt::format("{}a table of {} for the last {} tokens at layer {}",
                                text.empty() ? "" : "; ", count_text(ngram->rows * ngram->row_dim),
                                ngram->longest, i);
        }
    }
    return text;
}

// "F full attention, D gated delta": the kinds the model has.
std::string kinds_legend(const ModelSpec& spec) {
    std::string text;
    for (int k = 0; k <= static_cast<int>(kLastMixerKind); ++k) {
        const auto kind = static_cast<MixerKind>(k);
        if (std::any_of(spec.layers.begin(), spec.layers.end(),
                        [&](const LayerSpec& layer) { return kind_of(layer.mixer) == kind; })) {
            text += fmt::format("{}{} {}", text.empty() ? "" : ", ", letter(kind), to_string(kind));
        }
    }
    return text;
}

// "FDDDFDDD", in groups where there are many.
std::string letters(const ModelSpec& spec) {
    std::string text;
    for (std::size_t i = 0; i < spec.layers.size(); ++i) {
        text += i > 0 && i % 8 == 0 ? " " : "";
        text += letter(kind_of(spec.layers[i].mixer));
    }
    return text;
}

} // namespace

Result<ModelInspection> inspect_model(const std::filesystem::path& path, DType kv_dtype) {
    const Checkpoint checkpoint = TRY(open_to_look(path));
    SpecAndTensors read = TRY(read_model(checkpoint).with_context(utf8_from_path(path)));
    ModelInspection seen;
    seen.architecture = checkpoint.architecture();
    seen.container = checkpoint.container() == Container::Gguf ? "GGUF" : "safetensors";
    seen.path = utf8_from_path(path);
    seen.file_bytes = checkpoint.file_bytes();
    seen.weights_present = !checkpoint.tensors().empty();
    for (const TensorInfo& tensor : checkpoint.tensors()) {
        seen.bytes_by_format[to_string(tensor.dtype)] += tensor.bytes;
        seen.weight_bytes += tensor.bytes;
    }
    if (seen.weights_present && read.spec.cannot_run.empty()) {
        seen.unused_tensors =
            TRY(Model::unused_tensors(checkpoint, read).with_context(utf8_from_path(path)));
    }
    seen.parameters = count_parameters(read.spec);
    seen.kv_dtype = kv_dtype;
    for (const std::int64_t tokens : kContexts) {
        seen.state.push_back(forecast(read.spec, tokens, kv_dtype));
    }
    const StateOptions options{.kv_dtype = kv_dtype, .context_tokens = kContexts.back()};
    const StatePlan plan = plan_state(read.spec, options);
    seen.growth_bytes_per_token = plan.growth_bytes_per_token;
    seen.fixed_bytes = plan.fixed_bytes;
    seen.break_even_tokens = break_even_tokens(read.spec, options);
    seen.spec = std::move(read.spec);
    return seen;
}

Json to_json(const ModelInspection& seen) {
    Json state = Json::array();
    for (const StateForecast& at : seen.state) {
        state.push_back(
            {{"context_tokens", at.context_tokens}, {"bytes", at.bytes}, {"by_kind", at.by_kind}});
    }
    const ModelSpec& spec = seen.spec;
    const ParameterCount& p = seen.parameters;
    return {{"path", seen.path},
            {"name", spec.name},
            {"family", spec.family},
            {"architecture", seen.architecture},
            {"container", seen.container},
            {"weights_present", seen.weights_present},
            {"file_bytes", seen.file_bytes},
            {"weight_bytes", seen.weight_bytes},
            {"bytes_by_format", seen.bytes_by_format},
            {"hidden", spec.hidden},
            {"vocab", spec.vocab},
            {"context_length", spec.context_length},
            {"tied_embedding", spec.tied_embedding},
            {"cannot_run", spec.cannot_run},
            {"schedule", describe_schedule(spec)},
            {"ratio", ratio_of(spec).text},
            {"layers", layers_json(spec)},
            {"parameters",
             {{"total", p.total},
              {"active", p.active},
              {"embedding", p.embedding},
              {"token_mixers", p.token_mixers},
              {"channel_mixers", p.channel_mixers},
              {"draft", p.draft}}},
            {"kv_dtype", kv_dtype_name(seen.kv_dtype)},
            {"state", std::move(state)},
            {"state_growth_bytes_per_token", seen.growth_bytes_per_token},
            {"state_fixed_bytes", seen.fixed_bytes},
            {"break_even_tokens", seen.break_even_tokens},
            {"unused_tensors", seen.unused_tensors}};
}

std::string to_text(const ModelInspection& seen) {
    const ModelSpec& spec = seen.spec;
    const ParameterCount& p = seen.parameters;
    std::string text;
    const auto line = [&](const char* name, const std::string& value) {
        text += fmt::format("{:<21}{}\n", name, value);
    };
    line("model", spec.name);
    line("family", fmt::format("{} ({}, {})", spec.family, seen.architecture, seen.container));
    line("schedule", describe_schedule(spec));
    line("layers", letters(spec));
    line("", kinds_legend(spec));
    for (int k = 0; k <= static_cast<int>(kLastMixerKind); ++k) {
        const auto kind = static_cast<MixerKind>(k);
        for (const LayerSpec& layer : spec.layers) {
            if (kind_of(layer.mixer) == kind) {
                line(to_string(kind), mixer_text(layer.mixer)); // of its first layer
                break;
            }
        }
    }
    if (!spec.layers.empty()) {
        line("channel mixer", channel_text(spec.layers.back().channel));
    }
    line("dimensions", fmt::format("hidden {}, vocabulary {}, made for {} tokens of context",
                                   spec.hidden, spec.vocab, count_text(spec.context_length)));
    line("parameters",
         fmt::format("{} ({} active), of them embedding {}, token mixers {}, channel "
                     "mixers {}",
                     count_text(p.total), count_text(p.active), count_text(p.embedding),
                     count_text(p.token_mixers), count_text(p.channel_mixers)));
    if (const std::string more = beside_layers(spec); !more.empty()) {
        line("", more);
    }
    if (p.draft > 0) {
        line("", fmt::format("and {} of a multi-token prediction head, which guesses ahead",
                             count_text(p.draft)));
    }
    if (seen.weights_present) {
        std::string formats;
        for (const auto& [format, bytes] : seen.bytes_by_format) {
            formats += fmt::format("{}{} {}", formats.empty() ? "" : ", ", format,
                                   bytes_text(static_cast<double>(bytes)));
        }
        line("weights",
             fmt::format("{} ({})", bytes_text(static_cast<double>(seen.weight_bytes)), formats));
    } else {
        line("weights",
             fmt::format("not here; {} in bf16", bytes_text(2 * static_cast<double>(p.total))));
    }
    if (!seen.unused_tensors.empty()) {
        line("left out", fmt::format("{} tensors, first {}", seen.unused_tensors.size(),
                                     seen.unused_tensors.front()));
    }
    if (!spec.cannot_run.empty()) {
        line("does not run", spec.cannot_run);
    }
    text += fmt::format("\nstate of one sequence, KV in {}\n", kv_dtype_name(seen.kv_dtype));
    for (const StateForecast& at : seen.state) {
        std::string kinds;
        for (const auto& [kind, bytes] : at.by_kind) {
            kinds += fmt::format("{}{} {}", kinds.empty() ? "" : ", ", kind,
                                 bytes_text(static_cast<double>(bytes)));
        }
        line(fmt::format("  at {}", tokens_text(at.context_tokens)).c_str(),
             fmt::format("{:<12}{}", bytes_text(static_cast<double>(at.bytes)), kinds));
    }
    if (seen.break_even_tokens > 0) {
        line("  break-even",
             fmt::format("{} tokens: from there on smaller than full attention at every layer",
                         count_text(seen.break_even_tokens)));
    }
    return text;
}

} // namespace hs
