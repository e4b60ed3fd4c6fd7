// Opening a model with what it needs to speak.

#include "engine/core/log.h"
#include "engine/run/generator.h"
#include "engine/run/weights.h"
#include "engine/spec/families.h"

#include <array>
#include <fmt/format.h>

namespace hs {

namespace {

// The maker's sampling, where the checkpoint says any.
Sampling recommended_sampling(const Checkpoint& checkpoint) {
    Sampling sampling;
    struct Names {
        const char *temperature, *top_k, *top_p, *min_p, *repetition;
    };
    const bool gguf = checkpoint.container() == Container::Gguf;
    const Names names =
        gguf ? Names{"general.sampling.temp", "general.sampling.top_k", "general.sampling.top_p",
                     "general.sampling.min_p", "general.sampling.penalty_repeat"}
             : Names{"temperature", "top_k", "top_p", "min_p", "repetition_penalty"};
    Json side = Json::object();
    if (!gguf) {
        if (const auto text = checkpoint.read_side_file("generation_config.json"); text.ok()) {
            if (auto parsed = parse_json(*text); parsed.ok()) {
                side = std::move(*parsed);
            }
        }
    }
    const Json& from = gguf ? checkpoint.metadata() : side;
    const auto number = [&](const char* name, double absent, double least, double most) {
        const auto value = json_number(from, name, absent);
        return value.ok() && *value >= least && *value <= most ? *value : absent;
    };
    sampling.temperature = number(names.temperature, sampling.temperature, 0.0, 10.0);
    sampling.top_k = static_cast<int>(number(names.top_k, sampling.top_k, 0, 1e6));
    sampling.top_p = number(names.top_p, sampling.top_p, 0.0, 1.0);
    sampling.min_p = number(names.min_p, sampling.min_p, 0.0, 1.0);
    sampling.repetition_penalty = number(names.repetition, sampling.repetition_penalty, 0.01, 10.0);
    return sampling;
}

} // namespace

Result<Checkpoint> open_to_look(const std::filesystem::path& path) {
    std::error_code failed;
    for (std::filesystem::directory_iterator entry(path, failed), end; !failed && entry != end;
         entry.increment(failed)) {
        const std::filesystem::path extension = entry->path().extension();
        if (extension == ".safetensors") {
            return Checkpoint::open(path, Need::Tensors);
        }
    }
    return Checkpoint::open(path, Need::HeaderOnly);
}

namespace {

// Random weights that the device's memory cannot hold are refused before they are made.
Result<void> check_room(const Backend& backend, const ModelSpec& spec, DType dtype) {
    const std::int64_t needed = synthetic_bytes(spec, dtype);
    const std::int64_t there = backend.device().free_bytes;
    if (needed <= there) {
        return {};
    }
    constexpr double kGiB = 1024.0 * 1024.0 * 1024.0;
    return Error{ErrorCode::OutOfMemory,
                 fmt::format("{}: random weights of {} in {} need {:.1f} GiB, and {:.1f} GiB of "
                             "memory are free",
                             spec.name,
                             spec.layers.size() == 1 ? std::string("one layer")
                                                     : fmt::format("{} layers", spec.layers.size()),
                             to_string(dtype), static_cast<double>(needed) / kGiB,
                             static_cast<double>(there) / kGiB),
                 "Take fewer layers or narrower weights."};
}

} // namespace

const char* to_string(Origin origin) {
    constexpr std::array<const char*, 3> names{"checkpoint", "converted", "synthetic"};
    return names[static_cast<std::size_t>(origin)];
}

const char* caveat(Origin origin) {
    constexpr std::array<const char*, 3> texts{"", ", windows put over full attention",
                                               ", random weights"};
    return texts[static_cast<std::size_t>(origin)];
}

Result<std::optional<LoadedModel>> load_model(std::shared_ptr<Backend> backend,
                                              const std::filesystem::path& path,
                                              const LoadOptions& options) {
    const auto u8 = path.u8string();
    LoadedModel loaded;
    loaded.source.assign(u8.begin(), u8.end());
    auto opened = Checkpoint::open(path);
    if (!opened.ok() && opened.error().code == ErrorCode::NotFound) {
        // An architecture without weights. Why it would not run with them is said first.
        Result<Checkpoint> header = open_to_look(path);
        if (header.ok() && options.synthetic) {
            opened = std::move(header);
        } else if (header.ok()) {
            if (const auto read = read_model(*header); read.ok()) {
                TRY(check_runs(read->spec));
            }
        }
    }
    Checkpoint checkpoint = TRY(std::move(opened));
    const SpecAndTensors read = TRY(read_model(checkpoint));
    TRY(check_runs(read.spec));
    const EditedSpec edited = TRY(edit_schedule(read.spec, options.edit));
    if (checkpoint.tensors().empty() || !edited.keeps_weights) {
        loaded.origin = Origin::Synthetic;
    } else if (!edited.changed.empty()) {
        loaded.origin = Origin::Converted;
    }

    // Logits and timings need neither words nor a template: a checkpoint without them still runs.
    if (auto tokenizer = Tokenizer::open(checkpoint); tokenizer.ok()) {
        loaded.tokenizer = std::make_shared<const Tokenizer>(std::move(*tokenizer));
    } else if (tokenizer.error().code != ErrorCode::NotFound) {
        HS_LOG(Warning, "run", "{}: the tokenizer cannot be used: {}", loaded.source,
               tokenizer.error().text());
    }
    if (auto own = ChatTemplate::open(checkpoint); own.ok()) {
        loaded.chat_template = std::make_shared<const ChatTemplate>(std::move(*own));
    } else {
        if (own.error().code != ErrorCode::NotFound) {
            HS_LOG(Warning, "run", "{}: the chat template cannot be used: {}", loaded.source,
                   own.error().text());
        }
        loaded.chat_template = std::make_shared<const ChatTemplate>(ChatTemplate::chatml());
        loaded.template_is_fallback = true;
    }
    loaded.recommended = recommended_sampling(checkpoint);

    std::optional<std::shared_ptr<const Model>> model;
    if (loaded.origin == Origin::Synthetic) {
        if (!options.synthetic) {
            return Error{ErrorCode::NotFound,
                         loaded.source + ": has no weights for the edited schedule",
                         "Compare or measure it: that works with random weights."};
        }
        TRY(check_room(*backend, edited.spec, *options.synthetic));
        constexpr std::uint64_t kSeed = 1; // the same weights every time
        model = TRY(
            Model::synthetic(std::move(backend), edited.spec, kSeed, *options.synthetic, options));
    } else {
        model = TRY(Model::load(std::move(backend), std::move(checkpoint), options));
    }
    if (!model) {
        return std::optional<LoadedModel>();
    }
    loaded.model = std::move(*model);
    return std::optional<LoadedModel>(std::move(loaded));
}

DType default_kv_dtype(const Model& model) {
    return model.rounds_inputs() ? DType::F16 : DType::F32;
}

} // namespace hs
