#pragma once
// What plots and tables of a comparison are drawn from: the arms of one experiment with the
// samples of their runs. Filled live from the bridge, or read back from the session file.

#include "engine/lab/experiment.h"
#include "engine/lab/runner.h"
#include "engine/spec/model_spec.h"
#include "engine/store/database.h"

#include <QString>

#include <cstdint>
#include <map>
#include <vector>

namespace hs {

struct RunSource {
    int repeat = 0;
    std::int64_t depth = 0;
    bool warm_up = false;
    bool complete = false;
    QString text;
    std::vector<Sample> samples;
};

struct ArmSource {
    QString label;
    QString model;
    QString schedule;
    std::vector<MixerKind> layers;
    std::int64_t weight_bytes = 0;
    std::vector<RunSource> runs;
};

struct PlotSource {
    std::int64_t session = 0;
    std::int64_t experiment = 0;
    Experiment plan;
    QString state; // "running", "complete", "stopped", "failed: ..."
    std::vector<ArmSource> arms;

    bool empty() const { return arms.empty(); }
};

// Every experiment of a session as it was stored. Runs on the side thread.
Result<std::vector<PlotSource>> read_plot_sources(Database& database, std::int64_t session);

// Values of one kind over context, all counted runs of an arm together. A state kind's samples are
// summed over layers within one moment.
using ValuesByContext = std::map<std::int64_t, std::vector<double>>;
ValuesByContext values_by_context(const ArmSource& arm, SampleKind kind);

// One value per counted run, for figures.
std::vector<double> values_per_run(const ArmSource& arm, SampleKind kind);

// What the sequence used at the largest context of the last counted run.
struct StateAtEnd {
    std::int64_t context_tokens = 0;
    std::vector<LedgerEntry> entries; // used_bytes alone

    std::int64_t used_bytes() const;
};
StateAtEnd last_state(const ArmSource& arm);

} // namespace hs
