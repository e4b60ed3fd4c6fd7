#pragma once
// Writes an experiment into the store as it happens: sits between runner and database, collects
// samples for at most half a second.

#include "engine/lab/runner.h"
#include "engine/store/database.h"

namespace hs {

// Runs the experiment with every event stored under `session` (0: a new one, titled after the
// experiment) and passed on to `sink`. The session id is in the result even when it failed.
struct RecordedExperiment {
    std::int64_t session = 0;
    std::int64_t experiment = 0;
    Result<ExperimentResult> result;
};
RecordedExperiment run_and_record(const Experiment& experiment, Database& database,
                                  std::int64_t session, const RunnerSink& sink,
                                  std::stop_token stop);

// The machine and program a measurement was made with, as JSON for ExperimentRow::machine.
std::string machine_json();

} // namespace hs
