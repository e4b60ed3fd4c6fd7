#pragma once
// What several subcommands need: options that are spelled alike, files, lists of numbers.

#include "app/cli/commands.h"
#include "engine/core/json.h"
#include "engine/core/tensor_view.h"
#include "engine/run/events.h"
#include "engine/run/generator.h"
#include "engine/store/database.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace hs::cli {

// Where and how a model runs.
struct DeviceSettings {
    std::string device = "auto";
    int threads = 0;
    std::string kv_dtype = "auto";
};
void add_device_options(CLI::App& command, DeviceSettings& settings);

// Sampling as asked for; what was not asked for is the model's own recommendation.
struct SamplingSettings {
    Sampling values;
    CLI::Option* temperature = nullptr;
    CLI::Option* top_k = nullptr;
    CLI::Option* top_p = nullptr;
    CLI::Option* min_p = nullptr;
    CLI::Option* repetition_penalty = nullptr;
    CLI::Option* presence_penalty = nullptr;
    CLI::Option* seed = nullptr;

    Sampling over(Sampling recommended) const;
};
void add_sampling_options(CLI::App& command, SamplingSettings& settings);

void add_model_option(CLI::App& command, std::string& model);
void add_json_flag(CLI::App& command, bool& json);

// "0,4096" as numbers from `least`; empty text is no numbers.
Result<std::vector<std::int64_t>> number_list(const std::string& text, std::int64_t least);

// The bytes of a file, or of stdin for "-"; at most 256 MiB.
Result<std::string> read_text_file(const std::string& name);
// Written whole, or an error; "-" is stdout.
Result<void> write_text_file(const std::string& name, std::string_view text);

// The session file: the one named, else the person's own.
Result<Database> open_sessions(const std::string& named, Access access);

// Loads with progress on stderr where that is a terminal. Empty when stopped.
Result<std::optional<LoadedModel>> load(const std::string& model, const DeviceSettings& settings,
                                        std::stop_token stop);

// Prints JSON in the form every --json shares: two spaces, a line end, only valid UTF-8.
void print_json(const Json& json);
void print(std::string_view text);
void note(std::string_view line); // to stderr
// A line on stderr that the next one replaces, where stderr is a terminal; nothing elsewhere.
void show_progress(std::string_view line);
void clear_progress();

} // namespace hs::cli
