#pragma once
// Runs an experiment: checks the whole, warms up, then rounds in which every arm runs once, every
// second round in reverse order, so that a machine that slows down slows all arms alike. Every
// sample goes to the sink as it happens; the runner computes nothing a report could not recompute.

#include "engine/lab/experiment.h"
#include "engine/run/generator.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

namespace hs {

// One measured value. The unit is the kind's.
enum class SampleKind {
    StateUsedBytes,    // layer, state kind; at context_tokens
    StateHeldBytes,    // layer, state kind; at context_tokens
    TokenMs,           // one decode step that ended at context_tokens
    PrefillMs,         // a chunk that ended at context_tokens; tokens of it in `count`
    ResidentBytes,     // of the process
    WeightBytes,       // once per run
    TtftMs,            // once per run
    PrefillTokensPerS, // once per run
    DecodeTokensPerS,  // once per run (and depth)
};
inline constexpr SampleKind kLastSampleKind = SampleKind::DecodeTokensPerS;
const char* to_string(SampleKind kind);

struct Sample {
    SampleKind kind = SampleKind::TokenMs;
    double time_ms = 0; // since the run began
    std::int64_t context_tokens = 0;
    int layer = -1;                       // -1: the whole
    StateKind state = StateKind::KvCache; // of state samples
    std::int64_t count = 1;
    double value = 0;

    bool operator==(const Sample&) const = default;
};

struct RunResult {
    int arm = 0;
    int repeat = 0; // 0 is the first after the warm-ups
    std::int64_t depth = 0;
    bool warm_up = false;
    GenerateResult reply;
};

struct ExperimentProgress {
    int done_runs = 0;
    int total_runs = 0;
    int arm = 0;
    std::string stage{};     // "loading 1:3", "run 2 of 5"
    double remaining_s = -1; // -1: unknown yet
};

// What is known of an arm once it is loaded: requested and effective settings differ.
struct ArmFacts {
    std::string device{};   // the device's own name
    std::string kv_dtype{}; // effective
    std::int64_t context_tokens = 0;
    std::int64_t weight_bytes = 0;
    std::int64_t file_bytes = 0;
    std::string sha256{}; // of a single file up to 64 MiB; empty otherwise
    std::int64_t parameters = 0;
    std::int64_t active_parameters = 0;
    std::string family{};
    Origin origin = Origin::Checkpoint; // whose weights
};

struct RunPlan {
    int arm = 0;
    int repeat = 0;
    std::int64_t depth = 0;
    bool warm_up = false;
};

struct RunnerSink {
    std::function<void(const ExperimentProgress&)> progress{};
    std::function<void(int arm, const ModelSpec&)> arm_ready{};
    std::function<void(int arm, const ArmFacts&)> arm_facts{}; // after arm_ready
    std::function<void(const RunPlan&)> run_planned{};         // before run_begins
    std::function<void(int arm, int repeat, bool warm_up)> run_begins{};
    std::function<void(int arm, const TokenEvent&)> token{};
    std::function<void(int arm, const Sample&)> sample{};
    std::function<void(const RunResult&)> run_ends{};
};

// Median, spread and ratio, from per-repeat values.
struct Figure {
    double median = 0;
    double low = 0, high = 0; // least and most of the repeats
    int n = 0;
};
Figure figure(std::vector<double> values);

// Of an arm's measured runs; with several depths, of those at the deepest.
struct ArmSummary {
    std::string label{};
    std::string model{};
    std::string schedule{}; // "1:3 (2 full attention, 6 gated delta)"
    Figure ttft_ms, prefill_tokens_per_s, decode_tokens_per_s;
    std::int64_t state_bytes = 0; // at the end of a run
    std::int64_t weight_bytes = 0;
    std::int64_t peak_resident_bytes = 0;
    std::string text{}; // first repeat's reply
};

struct ExperimentResult {
    std::vector<ArmSummary> arms{};
    std::vector<RunResult> runs{};
    bool stopped = false;
};

// Errors: those of check(), of loading, and of the first run that failed. Arms stay loaded when
// all fit into memory together; otherwise each is loaded for its run and leaves after it.
Result<ExperimentResult> run_experiment(const Experiment& experiment, const RunnerSink& sink,
                                        std::stop_token stop);

// A path as it is, or by name a bundled model ("hybridscope-ratio-1-3") or a published architecture
// ("kimi-k3", which has no weights) in the resource folders.
Result<std::filesystem::path> resolve_model(const std::string& model);
struct NamedModel {
    std::string name{};
    std::filesystem::path path{};
};
std::vector<NamedModel> bundled_models();
std::vector<NamedModel> published_architectures();
// Adds a folder to look in, before the built-in ones (beside the program, HYBRIDSCOPE_MODELS).
void add_model_folder(const std::filesystem::path& folder);

} // namespace hs
