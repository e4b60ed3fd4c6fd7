#pragma once
// Everything a report says, read from the store once: HTML, CSV and JSON are drawn from this and
// cannot disagree. What a file holds that cannot be read is left out, never guessed.

#include "engine/core/json.h"
#include "engine/lab/experiment.h"
#include "engine/lab/runner.h"
#include "engine/store/samples.h"
#include "engine/store/sessions.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

struct ReportRun {
    RunRow row;
    std::optional<Metrics> metrics;
    std::vector<SampleRow> samples;

    bool measured() const { return !row.warm_up && row.state == "complete"; }
};

struct ReportArm {
    ArmRow row;
    std::string model;               // without the folders of the machine it was run on
    std::vector<std::string> layers; // kind of every layer, in order
    Json details = Json::object();
    std::vector<ReportRun> runs;

    // One value per measured run at `depth`; kind is a word of SampleKind.
    Figure figure_of(SampleKind kind, std::int64_t depth) const;
};

struct ReportExperiment {
    ExperimentRow row;
    Experiment plan;
    Json machine = Json::object();
    std::vector<ReportArm> arms;

    std::size_t baseline() const; // index into arms; there is at least one
    std::vector<std::int64_t> depths() const;
};

struct ReportMessage {
    MessageRow row;
    std::optional<Metrics> metrics;
};

struct ReportSource {
    SessionRow session;
    std::vector<ReportMessage> messages; // the branch shown
    std::vector<ReportExperiment> experiments;
};

// Errors: NotFound for an unknown session, those of the store.
Result<ReportSource> read_report_source(Database& database, std::int64_t session);

// A figure against the baseline's, in words that claim no more than the repeats show.
struct Comparison {
    enum class Verdict { Baseline, Unknown, NoDifference, Differs, OneRun };
    Verdict verdict = Verdict::Unknown;
    double ratio = 0; // of the medians
    double noise = 0; // half the range of both together, as a part of the baseline's median
};
// The ranges of the repeats must lie apart to count as a difference.
Comparison compare(const Figure& figure, const Figure& baseline);
std::string comparison_text(const Comparison& comparison);

// State of one run, by context: bytes of all layers together, and of each at the end.
struct StatePoint {
    std::int64_t context_tokens = 0;
    double bytes = 0;
};
std::vector<StatePoint> state_curve(const ReportRun& run);
// Of all measured runs together: what a context holds does not depend on the run.
std::vector<StatePoint> state_curve(const ReportArm& arm);
struct LayerState {
    int layer = 0;
    std::string kind; // of the layer, or of its state where the layer's is not known
    double bytes = 0;
};
std::vector<LayerState> state_by_layer(const ReportArm& arm, const ReportRun& run);
std::vector<LayerState> state_by_layer(const StateEvent& state);
// The measured run with the longest context, at one depth or at any; nullptr when there is none.
const ReportRun* longest_run(const ReportArm& arm, std::optional<std::int64_t> depth = {});

} // namespace hs
