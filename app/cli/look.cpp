// info, models and tokenize: what can be said without running a model.

#include "app/cli/shared.h"
#include "engine/core/paths.h"
#include "engine/files/checkpoint.h"
#include "engine/lab/inspect.h"
#include "engine/lab/runner.h"
#include "engine/lab/units.h"
#include "engine/text/tokenizer.h"

#include <fmt/format.h>

namespace hs::cli {

namespace {

constexpr const char* kInfoJson = R"help(JSON:
  path, name, family, architecture, container ("GGUF", "safetensors")
  weights_present (false: a config.json alone), file_bytes
  weight_bytes, bytes_by_format {"Q8_0": bytes}     of the tensors as they lie in the file
  hidden, vocab, context_length, tied_embedding
  cannot_run   why no backend runs it, with the settings that say so; "" for a model that runs
  schedule ("1:3 (2 full attention, 6 gated delta)"), ratio ("1:3")
  layers [{layer, kind, letter, mixer, channel}]
  parameters {total, active, embedding, token_mixers, channel_mixers,
              draft (of a multi-token prediction head, in none of the others)}
  kv_dtype, state [{context_tokens, bytes, by_kind {"KV cache": bytes}}]   4K, 32K, 128K, 1M
  state_growth_bytes_per_token, state_fixed_bytes
  break_even_tokens   context from which the state is smaller than with full attention at every
                      layer; 0: never, or full already
  unused_tensors ["name (reason)"])help";

constexpr const char* kModelsJson =
    R"help(JSON: an array of {name, path, bytes, weights}; weights false: a published architecture)help";

constexpr const char* kTokenizeJson = R"help(JSON:
  tokens      how many
  ids         [number]
  pieces      [text of each token; U+FFFD where one ends inside a character]
  text        what the ids say together
  round_trip  whether that is the input, byte for byte)help";

DType kv_of(const std::string& name) {
    return name == "f32" ? DType::F32 : name == "bf16" ? DType::BF16 : DType::F16;
}

struct InfoOptions {
    std::string model;
    std::string kv = "f16";
    bool json = false;
};

Result<int> info_of(const InfoOptions& options) {
    const std::filesystem::path path = TRY(resolve_model(options.model));
    const ModelInspection seen = TRY(inspect_model(path, kv_of(options.kv)));
    if (options.json) {
        print_json(to_json(seen));
    } else {
        print(to_text(seen));
    }
    return kDone;
}

Result<int> list_models(bool json) {
    Json rows = Json::array();
    std::string text;
    for (const NamedModel& model : bundled_models()) {
        std::error_code failed;
        const auto bytes = std::filesystem::file_size(model.path, failed);
        rows.push_back({{"name", model.name},
                        {"path", utf8_from_path(model.path)},
                        {"weights", true},
                        {"bytes", failed ? 0 : bytes}});
        text += fmt::format("{:<28} {:>10}  {}\n", model.name,
                            bytes_text(failed ? 0 : static_cast<double>(bytes)),
                            utf8_from_path(model.path));
    }
    if (!text.empty()) {
        text += "\nPublished architectures, without weights: for info, bench and compare\n";
    }
    for (const NamedModel& architecture : published_architectures()) {
        rows.push_back({{"name", architecture.name},
                        {"path", utf8_from_path(architecture.path)},
                        {"weights", false},
                        {"bytes", 0}});
        text += fmt::format("{:<28} {:>10}  {}\n", architecture.name, "",
                            utf8_from_path(architecture.path));
    }
    if (json) {
        print_json(rows);
    } else if (text.empty()) {
        note("no bundled models were found beside the program or in HYBRIDSCOPE_MODELS");
    } else {
        print(text);
    }
    return kDone;
}

struct TokenizeOptions {
    std::string model;
    std::string file;
    bool plain = false;
    bool json = false;
};

Result<int> tokenize(const TokenizeOptions& options) {
    const std::filesystem::path path = TRY(resolve_model(options.model));
    const Checkpoint checkpoint = TRY(Checkpoint::open(path, Need::HeaderOnly));
    const Tokenizer tokenizer = TRY(Tokenizer::open(checkpoint));
    const std::string text = TRY(read_text_file(options.file));
    const std::vector<TokenId> ids =
        tokenizer.encode(text, options.plain ? Specials::Plain : Specials::Match);
    const std::string back = tokenizer.decode(ids);
    if (options.json) {
        Json pieces = Json::array();
        for (const TokenId id : ids) {
            pieces.push_back(tokenizer.bytes_of(id));
        }
        print_json({{"tokens", ids.size()},
                    {"ids", ids},
                    {"pieces", std::move(pieces)},
                    {"text", back},
                    {"round_trip", back == text}});
        return kDone;
    }
    for (const TokenId id : ids) {
        // As JSON strings, so that spaces and line ends can be seen.
        print(fmt::format(
            "{:>8}  {}\n", id,
            Json(tokenizer.bytes_of(id)).dump(-1, ' ', false, Json::error_handler_t::replace)));
    }
    note(fmt::format("{} tokens, {} bytes; the ids {} back to the same text", ids.size(),
                     text.size(), back == text ? "go" : "do not go"));
    return kDone;
}

} // namespace

void add_info(CLI::App& app, Action& action) {
    CLI::App* command = app.add_subcommand(
        "info", "family, layer schedule, parameters, bytes and state of a model; a config.json "
                "without weights will do");
    const auto options = std::make_shared<InfoOptions>();
    add_model_option(*command, options->model);
    command->add_option("--kv", options->kv, "precision of the KV cache: f32, f16 or bf16")
        ->check(CLI::IsMember({"f32", "f16", "bf16"}))
        ->capture_default_str();
    add_json_flag(*command, options->json);
    command->footer(kInfoJson);
    command->callback([options, &action] {
        action = [options](const std::stop_token&) { return info_of(*options); };
    });
}

void add_models(CLI::App& app, Action& action) {
    CLI::App* command = app.add_subcommand("models", "the models that come with the program");
    const auto json = std::make_shared<bool>(false);
    add_json_flag(*command, *json);
    command->footer(kModelsJson);
    command->callback([json, &action] {
        action = [json](const std::stop_token&) { return list_models(*json); };
    });
}

void add_tokenize(CLI::App& app, Action& action) {
    CLI::App* command = app.add_subcommand("tokenize", "ids and pieces of a text, and back");
    const auto options = std::make_shared<TokenizeOptions>();
    add_model_option(*command, options->model);
    command->add_option("--text-file", options->file, "the text; - reads stdin")->required();
    command->add_flag("--plain", options->plain,
                      "take the text as a person's words: special tokens in it are not matched");
    add_json_flag(*command, options->json);
    command->footer(kTokenizeJson);
    command->callback([options, &action] {
        action = [options](const std::stop_token&) { return tokenize(*options); };
    });
}

} // namespace hs::cli
