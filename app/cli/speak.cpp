// generate and logits: one run of one model.

#include "app/cli/shared.h"
#include "engine/backend/devices.h"
#include "engine/core/memory.h"
#include "engine/core/paths.h"
#include "engine/lab/runner.h"
#include "engine/lab/timed_run.h"
#include "engine/lab/units.h"
#include "engine/run/model.h"
#include "engine/run/sequence.h"
#include "engine/store/sessions.h"

#include <bit>
#include <charconv>
#include <cstring>
#include <fmt/format.h>
#include <fstream>

namespace hs::cli {

namespace {

constexpr const char* kGenerateJson =
    R"help(The reply goes to stdout as it is written, thinking and figures to stderr. What is not given of the
sampling is taken from the model's own recommendation.
JSON (printed at the end):
  model, device, kv_dtype
  text, thinking
  reason         "end token", "stop string", "token limit", "context full", "stopped"
  prompt_ids [number], ids [number]
  seed           that was used
  metrics        timings {queue_ms, tokenise_ms, restore_ms, prefill_ms, ttft_ms, decode_ms,
                 prompt_tokens, reused_tokens, prefilled_tokens, generated_tokens,
                 drafted_tokens, accepted_tokens, draft_gain (against plain decoding; 0: unknown),
                 prefill_tokens_per_s, decode_tokens_per_s}, sampling, state {context_tokens,
                 context_limit, used_bytes, held_bytes, layers [{layer, kind, ...}]}, reuse_note
  peak_resident_bytes
Exit code 130 when it was stopped by Ctrl-C; what was written until then is kept.)help";

struct GenerateOptions {
    std::string model;
    std::string prompt;
    std::string system;
    bool raw = false;
    bool no_think = false;
    bool no_draft = false;
    bool json = false;
    std::int64_t tokens = 512;
    std::int64_t context = 0;
    std::vector<std::string> stop_strings;
    DeviceSettings device;
    SamplingSettings sampling;
};

Result<GenerateRequest> request_of(const GenerateOptions& options, const Sampling& recommended) {
    GenerateRequest request;
    const std::string prompt = options.prompt == "-" ? TRY(read_text_file("-")) : options.prompt;
    request.raw = options.raw;
    if (options.raw) {
        request.raw_prompt = prompt;
    } else {
        if (!options.system.empty()) {
            request.messages.push_back({"system", options.system, {}});
        }
        request.messages.push_back({"user", prompt, {}});
    }
    request.enable_thinking = !options.no_think;
    request.sampling = options.sampling.over(recommended);
    request.max_tokens = options.tokens;
    request.stop_strings = options.stop_strings;
    return request;
}

void print_figures(const GenerateResult& result, const std::string& kv_dtype) {
    const Timings& t = result.timings;
    std::int64_t bytes = 0;
    for (const LedgerEntry& entry : result.state.entries) {
        bytes += entry.used_bytes;
    }
    note(fmt::format(
        "\n{}: {} tokens read in {} ({}), first after {}, {} written at {}; state {} at "
        "{} tokens, KV {}; seed {}",
        to_string(result.reason), t.prefilled_tokens, ms_text(t.prefill_ms),
        rate_text(t.prefill_tokens_per_s()), ms_text(t.ttft_ms), t.generated_tokens,
        rate_text(t.decode_tokens_per_s()), bytes_text(static_cast<double>(bytes)),
        result.state.context_tokens, kv_dtype, result.seed));
    if (t.drafted_tokens > 0) {
        note(fmt::format("guessed ahead: {} of {} tokens came, {:.2f} times the throughput without",
                         t.accepted_tokens, t.drafted_tokens, t.draft_gain));
    }
}

Result<int> run_generate(const GenerateOptions& options, std::stop_token stop) {
    std::optional<LoadedModel> loaded = TRY(load(options.model, options.device, stop));
    if (!loaded) {
        return kStopped;
    }
    const GenerateRequest request = TRY(request_of(options, loaded->recommended));
    if (loaded->template_is_fallback && !options.raw) {
        note("the model has no chat template; the common <|im_start|> form is used");
    }
    SequenceOptions sequence_options;
    sequence_options.state.kv_dtype = TRY(kv_dtype_named(options.device.kv_dtype, *loaded->model));
    sequence_options.snapshot_budget_bytes = 0; // one reply, nothing to return to
    sequence_options.draft = !options.no_draft;
    sequence_options.state.context_tokens = options.context;
    if (options.context == 0) {
        const std::vector<TokenId> ids = TRY(prompt_ids(*loaded, request));
        sequence_options.state.context_tokens =
            static_cast<std::int64_t>(ids.size()) + options.tokens + 1;
    }
    const std::unique_ptr<Sequence> sequence =
        TRY(Sequence::create(loaded->model, sequence_options));

    GenerateSink sink;
    sink.prefill = [](const PrefillEvent& event) {
        show_progress(fmt::format("reading {} of {}", event.done_tokens, event.total_tokens));
    };
    bool begun = false;
    if (!options.json) {
        sink.token = [&begun](const TokenEvent& event) {
            if (!begun) {
                clear_progress();
                begun = true;
            }
            if (event.thinking) {
                std::fwrite(event.text.data(), 1, event.text.size(), stderr);
                std::fflush(stderr);
            } else {
                print(event.text);
            }
        };
    }
    const GenerateResult result = generate(*loaded, *sequence, request, sink, std::move(stop));
    clear_progress();
    if (result.reason == FinishReason::Failed) {
        return Error{ErrorCode::Device, result.error, {}};
    }
    const std::string kv = kv_dtype_name(sequence_options.state.kv_dtype);
    if (options.json) {
        print_json({{"model", loaded->model->spec().name},
                    {"device", loaded->model->backend().device().name},
                    {"kv_dtype", kv},
                    {"text", result.text},
                    {"thinking", result.thinking},
                    {"reason", to_string(result.reason)},
                    {"prompt_ids", result.prompt_ids},
                    {"ids", result.ids},
                    {"seed", result.seed},
                    {"metrics", TRY(parse_json(metrics_json(result, request.sampling)))},
                    {"peak_resident_bytes", process_memory().peak_resident_bytes}});
    } else {
        print("\n");
        print_figures(result, kv);
    }
    return result.reason == FinishReason::Stopped ? kStopped : kDone;
}

// --- logits --------------------------------------------------------------------------------------

constexpr const char* kLogitsHelp =
    R"help(The output is a safetensors file with one tensor "logits", F32 [tokens, vocabulary]: row t holds the
logits after token t. Both ways of reading must agree up to rounding: --split all reads the ids at
once, --split 1 one by one as decoding does, --split N in pieces of N.)help";

struct LogitsOptions {
    std::string model;
    std::string tokens_file;
    std::string out;
    std::string split = "all";
    DeviceSettings device{.kv_dtype = "f32"};
};

Result<std::vector<std::int32_t>> read_ids(const std::string& name) {
    const std::string text = TRY(read_text_file(name));
    std::vector<std::int32_t> ids;
    const char* at = text.data();
    const char* const end = at + text.size();
    const auto is_space = [](char c) {
        return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
    };
    for (;;) {
        while (at < end && is_space(*at)) {
            ++at;
        }
        if (at == end) {
            break;
        }
        std::int32_t id = 0;
        const auto [next, failed] = std::from_chars(at, end, id);
        if (failed != std::errc() || id < 0 || (next < end && !is_space(*next))) {
            return Error{ErrorCode::InvalidArgument,
                         fmt::format("\"{}\": number {} is not a token id", name, ids.size() + 1),
                         "Token ids are whole numbers from 0, separated by white space."};
        }
        ids.push_back(id);
        at = next;
    }
    if (ids.empty()) {
        return Error{
            ErrorCode::InvalidArgument, fmt::format("\"{}\" holds no token ids", name), {}};
    }
    return ids;
}

// Ids per call of the model: all of them, or N.
Result<std::size_t> piece_of(const std::string& split, std::size_t count) {
    if (split == "all") {
        return count;
    }
    const std::vector<std::int64_t> pieces = TRY(number_list(split, 1));
    if (pieces.size() != 1) {
        return Error{ErrorCode::InvalidArgument,
                     fmt::format("--split is \"{}\", expected all, 1 or a number", split),
                     {}};
    }
    return static_cast<std::size_t>(pieces.front());
}

// The header of a safetensors file with the one tensor.
std::string safetensors_header(std::int64_t rows, std::int64_t cols) {
    const Json json{
        {"logits",
         {{"dtype", "F32"}, {"shape", {rows, cols}}, {"data_offsets", {0, rows * cols * 4}}}}};
    std::string header = json.dump();
    header.append((8 - header.size() % 8) % 8, ' ');
    std::string text;
    for (int byte = 0; byte < 8; ++byte) {
        text += static_cast<char>(header.size() >> (8 * byte) & 0xff);
    }
    return text + header;
}

Result<int> run_logits(const LogitsOptions& options, std::stop_token stop) {
    static_assert(std::endian::native == std::endian::little, "the format is little-endian");
    const std::vector<std::int32_t> ids = TRY(read_ids(options.tokens_file));
    const std::size_t piece = TRY(piece_of(options.split, ids.size()));
    const std::filesystem::path path = TRY(resolve_model(options.model));
    std::shared_ptr<Backend> backend =
        TRY(open_backend({.device = options.device.device, .threads = options.device.threads}));
    Checkpoint checkpoint = TRY(Checkpoint::open(path));
    LoadOptions load_options;
    load_options.stop = stop;
    const auto loaded = TRY(Model::load(backend, std::move(checkpoint), load_options));
    if (!loaded) {
        return kStopped;
    }
    const std::shared_ptr<const Model>& model = *loaded;
    SequenceOptions sequence_options;
    sequence_options.state.kv_dtype = TRY(kv_dtype_named(options.device.kv_dtype, *model));
    sequence_options.state.context_tokens = static_cast<std::int64_t>(ids.size());
    sequence_options.snapshot_budget_bytes = 0;
    const std::unique_ptr<Sequence> sequence = TRY(Sequence::create(model, sequence_options));

    const std::int64_t vocab = model->spec().vocab;
    std::ofstream file(path_from_utf8(options.out), std::ios::binary | std::ios::trunc);
    const std::string header = safetensors_header(static_cast<std::int64_t>(ids.size()), vocab);
    file.write(header.data(), static_cast<std::streamsize>(header.size()));
    std::vector<float> logits(std::min(piece, ids.size()) * static_cast<std::size_t>(vocab));
    for (std::size_t first = 0; first < ids.size() && file; first += piece) {
        if (stop.stop_requested()) {
            file.close();
            std::error_code failed;
            std::filesystem::remove(path_from_utf8(options.out), failed); // half a file is none
            return kStopped;
        }
        const std::size_t count = std::min(piece, ids.size() - first);
        show_progress(fmt::format("token {} of {}", first, ids.size()));
        TRY(model->forward(
            *sequence, std::span(ids).subspan(first, count), Model::Logits::All,
            View<float, 2>(logits.data(), {static_cast<std::int64_t>(count), vocab})));
        const auto* bytes = reinterpret_cast<const char*>(logits.data());
        file.write(bytes, static_cast<std::streamsize>(count * static_cast<std::size_t>(vocab) *
                                                       sizeof(float)));
    }
    clear_progress();
    file.close();
    if (!file) {
        return Error{ErrorCode::Io, fmt::format("\"{}\" cannot be written", options.out),
                     "Check that the folder exists and has room."};
    }
    note(fmt::format("{} x {} logits in {}, KV {}", ids.size(), vocab, options.out,
                     kv_dtype_name(sequence_options.state.kv_dtype)));
    return kDone;
}

} // namespace

void add_generate(CLI::App& app, Action& action) {
    CLI::App* command = app.add_subcommand("generate", "one reply, written as it comes");
    const auto options = std::make_shared<GenerateOptions>();
    add_model_option(*command, options->model);
    command->add_option("-p,--prompt", options->prompt, "the question; - reads stdin")->required();
    command->add_option("-n,--tokens", options->tokens, "the most tokens to write")
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{16} << 20))
        ->capture_default_str();
    command->add_flag("--raw", options->raw, "no chat template: the text goes on as it is");
    command->add_option("--system", options->system, "a system prompt");
    command->add_flag("--no-think", options->no_think, "for templates with a thinking switch: off");
    command->add_flag("--no-draft", options->no_draft,
                      "do not guess ahead with the model's multi-token prediction head");
    command
        ->add_option("--context", options->context,
                     "the most tokens to hold; 0: what prompt and reply need")
        ->check(CLI::Range(std::int64_t{0}, std::int64_t{16} << 20))
        ->capture_default_str();
    command->add_option("--stop", options->stop_strings, "ends the reply; may be repeated")
        ->allow_extra_args(false);
    add_sampling_options(*command, options->sampling);
    add_device_options(*command, options->device);
    add_json_flag(*command, options->json);
    command->footer(kGenerateJson);
    command->callback([options, &action] {
        action = [options](std::stop_token stop) {
            return run_generate(*options, std::move(stop));
        };
    });
}

void add_logits(CLI::App& app, Action& action) {
    CLI::App* command = app.add_subcommand("logits", "logits of given token ids, as safetensors");
    const auto options = std::make_shared<LogitsOptions>();
    add_model_option(*command, options->model);
    command
        ->add_option("--tokens", options->tokens_file,
                     "a file of token ids separated by white space; - reads stdin")
        ->required();
    command->add_option("--out", options->out, "the safetensors file to write")->required();
    command->add_option("--split", options->split, "all, 1 or N: ids per call of the model")
        ->capture_default_str();
    add_device_options(*command, options->device);
    command->footer(kLogitsHelp);
    command->callback([options, &action] {
        action = [options](std::stop_token stop) { return run_logits(*options, std::move(stop)); };
    });
}

} // namespace hs::cli
