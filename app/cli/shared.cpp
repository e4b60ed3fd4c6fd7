#include "app/cli/shared.h"

#include "engine/backend/devices.h"
#include "engine/core/paths.h"
#include "engine/lab/runner.h"

#include <charconv>
#include <chrono>
#include <cstdio>
#include <fmt/format.h>
#include <fstream>
#include <iostream>

namespace hs::cli {

namespace {

// As often as an eye follows.
constexpr auto kProgressEvery = std::chrono::milliseconds(100);
constexpr std::size_t kLongestFile = std::size_t{256} << 20;

// Progress is for a person who looks; in a log it would be noise.
bool stderr_is_watched() {
    static const bool watched = stderr_is_terminal();
    return watched;
}

bool g_progress_shown = false;

} // namespace

void add_device_options(CLI::App& command, DeviceSettings& settings) {
    command.add_option("--device", settings.device, "cpu, cuda or auto")
        ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
        ->capture_default_str();
    command.add_option("--threads", settings.threads, "threads of the CPU; 0: all physical cores")
        ->check(CLI::Range(0, 4096))
        ->capture_default_str();
    command
        .add_option("--kv", settings.kv_dtype,
                    "precision of the KV cache: f32, f16, bf16 or auto (f16 for quantised weights, "
                    "else f32)")
        ->check(CLI::IsMember({"auto", "f32", "f16", "bf16"}))
        ->capture_default_str();
}

void add_sampling_options(CLI::App& command, SamplingSettings& settings) {
    Sampling& v = settings.values;
    settings.temperature = command.add_option("--temp", v.temperature, "temperature; 0: greedy")
                               ->check(CLI::Range(0.0, 100.0));
    settings.top_k = command.add_option("--top-k", v.top_k, "most likely tokens kept; 0: all")
                         ->check(CLI::Range(0, 1 << 30));
    settings.top_p = command.add_option("--top-p", v.top_p, "probability kept; 1: all")
                         ->check(CLI::Range(0.0, 1.0));
    settings.min_p =
        command.add_option("--min-p", v.min_p, "least part of the best probability; 0: off")
            ->check(CLI::Range(0.0, 1.0));
    settings.repetition_penalty =
        command.add_option("--repetition-penalty", v.repetition_penalty, "1: off")
            ->check(CLI::Range(0.01, 100.0));
    settings.presence_penalty =
        command.add_option("--presence-penalty", v.presence_penalty, "0: off")
            ->check(CLI::Range(-100.0, 100.0));
    settings.seed = command.add_option("--seed", v.seed, "0: a fresh one, which is reported");
    command.footer("What is not given here is taken from the model's own recommendation.");
}

Sampling SamplingSettings::over(Sampling recommended) const {
    const auto take = [](const CLI::Option* option, auto& to, const auto& from) {
        if (option != nullptr && option->count() > 0) {
            to = from;
        }
    };
    take(temperature, recommended.temperature, values.temperature);
    take(top_k, recommended.top_k, values.top_k);
    take(top_p, recommended.top_p, values.top_p);
    take(min_p, recommended.min_p, values.min_p);
    take(repetition_penalty, recommended.repetition_penalty, values.repetition_penalty);
    take(presence_penalty, recommended.presence_penalty, values.presence_penalty);
    take(seed, recommended.seed, values.seed);
    return recommended;
}

void add_model_option(CLI::App& command, std::string& model) {
    command
        .add_option("MODEL", model,
                    "a GGUF file, a folder with config.json and safetensors, or a bundled model's "
                    "name (see `models`)")
        ->required();
}

void add_json_flag(CLI::App& command, bool& json) {
    command.add_flag("--json", json, "print JSON, described below");
}

Result<std::vector<std::int64_t>> number_list(const std::string& text, std::int64_t least) {
    std::vector<std::int64_t> numbers;
    std::size_t at = 0;
    while (at < text.size()) {
        const std::size_t comma = std::min(text.find(',', at), text.size());
        const std::string_view part = std::string_view(text).substr(at, comma - at);
        std::int64_t number = 0;
        const auto [end, failed] = std::from_chars(part.data(), part.data() + part.size(), number);
        if (failed != std::errc() || end != part.data() + part.size() || number < least) {
            return Error{
                ErrorCode::InvalidArgument,
                fmt::format("\"{}\" in \"{}\" is not a whole number from {}", part, text, least),
                {}};
        }
        numbers.push_back(number);
        at = comma + 1;
    }
    return numbers;
}

Result<std::string> read_text_file(const std::string& name) {
    std::ifstream file;
    if (name != "-") {
        file.open(path_from_utf8(name), std::ios::binary);
        if (!file) {
            return Error{ErrorCode::NotFound, fmt::format("\"{}\" cannot be read", name), {}};
        }
    }
    std::istream& in = name == "-" ? std::cin : file;
    std::string text;
    std::vector<char> piece(1 << 16);
    while (in.read(piece.data(), static_cast<std::streamsize>(piece.size())) || in.gcount() > 0) {
        text.append(piece.data(), static_cast<std::size_t>(in.gcount()));
        if (text.size() > kLongestFile) {
            return Error{
                ErrorCode::InvalidArgument, fmt::format("\"{}\" is longer than 256 MiB", name), {}};
        }
    }
    if (in.bad()) {
        return Error{ErrorCode::Io, fmt::format("\"{}\" cannot be read to its end", name), {}};
    }
    return text;
}

Result<void> write_text_file(const std::string& name, std::string_view text) {
    if (name == "-") {
        print(text);
        return {};
    }
    std::ofstream file(path_from_utf8(name), std::ios::binary | std::ios::trunc);
    file.write(text.data(), static_cast<std::streamsize>(text.size()));
    file.close();
    if (!file) {
        return Error{ErrorCode::Io, fmt::format("\"{}\" cannot be written", name),
                     "Check that the folder exists and has room."};
    }
    return {};
}

Result<Database> open_sessions(const std::string& named, Access access) {
    return Database::open(named.empty() ? default_session_file() : path_from_utf8(named), access);
}

Result<std::optional<LoadedModel>> load(const std::string& model, const DeviceSettings& settings,
                                        std::stop_token stop) {
    const std::filesystem::path path = TRY(resolve_model(model));
    std::shared_ptr<Backend> backend =
        TRY(open_backend({.device = settings.device, .threads = settings.threads}));
    LoadOptions options;
    options.stop = std::move(stop);
    options.progress = [](const LoadProgress& progress) {
        const double part = progress.total_bytes > 0 ? static_cast<double>(progress.done_bytes) /
                                                           static_cast<double>(progress.total_bytes)
                                                     : 0;
        show_progress(fmt::format("loading {:3.0f} % {}", 100 * part, progress.stage));
    };
    Result<std::optional<LoadedModel>> loaded = load_model(backend, path, options);
    clear_progress();
    return loaded;
}

void print_json(const Json& json) {
    print(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void print(std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
}

void note(std::string_view line) {
    clear_progress();
    std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
}

void show_progress(std::string_view line) {
    using Clock = std::chrono::steady_clock;
    static Clock::time_point shown;
    if (!stderr_is_watched() || Clock::now() - shown < kProgressEvery) {
        return;
    }
    shown = Clock::now();
    g_progress_shown = true;
    std::fprintf(stderr, "\r\033[K%.*s", static_cast<int>(line.size()), line.data());
    std::fflush(stderr);
}

void clear_progress() {
    if (g_progress_shown) {
        g_progress_shown = false;
        std::fprintf(stderr, "\r\033[K");
        std::fflush(stderr);
    }
}

} // namespace hs::cli
