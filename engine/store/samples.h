#pragma once
// Experiments, runs and samples as they were measured. Reports and reopened plots read this alone.

#include "engine/run/events.h"
#include "engine/store/database.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

struct ExperimentRow {
    std::int64_t id = 0;
    std::int64_t session = 0;
    std::string plan{};    // JSON of the Experiment
    std::string machine{}; // JSON: CPU, threads, memory, program version, date
    std::string state{};   // "running", "complete", "stopped", "failed: ..."
    std::int64_t created_ms = 0;
};

struct ArmRow {
    std::int64_t id = 0;
    std::int64_t experiment = 0;
    int position = 0;
    std::string label{};
    std::string model{};
    std::string schedule{};
    std::string layers{}; // JSON array: kind of every layer, in order
    std::int64_t weight_bytes = 0;
    std::string details{}; // JSON: file size and hash, device, precision, parameters; may be empty
};

struct RunRow {
    std::int64_t id = 0;
    std::int64_t arm = 0; // ArmRow::id
    int repeat = 0;
    std::int64_t depth = 0;
    bool warm_up = false;
    std::string text{};
    std::string metrics{}; // as in messages
    std::string state{};   // "complete", "stopped", ...
};

// kind and state_kind are the engine's words, so that a file can be read without this program.
struct SampleRow {
    std::int64_t run = 0;
    std::string kind{};
    double time_ms = 0;
    std::int64_t context_tokens = 0;
    int layer = -1;
    std::string state_kind{};
    std::int64_t count = 1;
    double value = 0;
};

class SampleStore {
public:
    explicit SampleStore(Database& db)
        : m_db(&db) {}

    Result<std::int64_t> add_experiment(const ExperimentRow& row);
    Result<void> finish_experiment(std::int64_t experiment, std::string_view state);
    Result<std::int64_t> add_arm(const ArmRow& row);
    // What is known once the model is loaded: schedule, layers, weight_bytes, details.
    Result<void> set_arm(const ArmRow& row);
    Result<std::int64_t> add_run(const RunRow& row);
    Result<void> finish_run(std::int64_t run, std::string_view text, std::string_view metrics,
                            std::string_view state);
    // In one transaction; callers collect for up to half a second.
    Result<void> add_samples(std::span<const SampleRow> rows);

    Result<std::vector<ExperimentRow>> experiments(std::int64_t session);
    Result<std::vector<ArmRow>> arms(std::int64_t experiment);
    Result<std::vector<RunRow>> runs(std::int64_t experiment);
    Result<std::vector<SampleRow>> samples(std::int64_t experiment, std::string_view kind = {});

private:
    Database* m_db;
};

} // namespace hs
