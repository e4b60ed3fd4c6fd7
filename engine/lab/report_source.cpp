#include "engine/lab/report_source.h"

#include "engine/lab/units.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <map>
#include <set>

namespace hs {

namespace {

// "/home/someone/models/a.gguf" is "a.gguf" in a report: folders say who the person is.
std::string without_folders(std::string_view model) {
    while (model.size() > 1 && (model.back() == '/' || model.back() == '\\')) {
        model.remove_suffix(1);
    }
    const std::size_t cut = model.find_last_of("/\\");
    return std::string(cut == std::string_view::npos ? model : model.substr(cut + 1));
}

Json object_of(std::string_view text) {
    Result<Json> json = parse_json(text);
    return json.ok() && json->is_object() ? std::move(json).value() : Json::object();
}

std::optional<Metrics> metrics_of(const std::string& text) {
    if (text.empty()) {
        return std::nullopt;
    }
    Result<Metrics> metrics = parse_metrics(text);
    return metrics.ok() ? std::optional<Metrics>(std::move(metrics).value()) : std::nullopt;
}

std::vector<std::string> layers_of(std::string_view text) {
    const Result<Json> json = parse_json(text);
    std::vector<std::string> layers;
    if (json.ok() && json->is_array()) {
        for (const Json& layer : *json) {
            layers.push_back(layer.is_string() ? layer.get<std::string>() : "unknown");
        }
    }
    return layers;
}

// No program of ours writes others; a damaged file may hold them.
bool sound(const SampleRow& sample) {
    constexpr std::int64_t most_tokens = std::int64_t{1} << 40;
    constexpr double most = 1e18;
    return sample.context_tokens >= 0 && sample.context_tokens <= most_tokens &&
           sample.layer >= -1 && sample.layer < 1'000'000 && sample.value >= -most &&
           sample.value <= most && std::isfinite(sample.time_ms);
}

Result<ReportExperiment> read_experiment(SampleStore& store, ExperimentRow row) {
    ReportExperiment experiment;
    experiment.row = std::move(row);
    experiment.machine = object_of(experiment.row.machine);
    Result<Experiment> plan = experiment_from_json(object_of(experiment.row.plan));
    if (plan.ok()) {
        experiment.plan = std::move(plan).value();
    }
    for (Arm& arm : experiment.plan.arms) {
        arm.model = without_folders(arm.model);
    }
    std::map<std::int64_t, std::size_t> arm_index;
    for (ArmRow& arm_row : TRY(store.arms(experiment.row.id))) {
        ReportArm arm;
        arm.model = without_folders(arm_row.model);
        arm.layers = layers_of(arm_row.layers);
        arm.details = object_of(arm_row.details);
        arm_index[arm_row.id] = experiment.arms.size();
        arm.row = std::move(arm_row);
        experiment.arms.push_back(std::move(arm));
    }
    std::map<std::int64_t, std::pair<std::size_t, std::size_t>> run_index;
    for (RunRow& run_row : TRY(store.runs(experiment.row.id))) {
        const std::size_t arm = arm_index.at(run_row.arm);
        run_index[run_row.id] = {arm, experiment.arms[arm].runs.size()};
        ReportRun run;
        run.metrics = metrics_of(run_row.metrics);
        run.row = std::move(run_row);
        experiment.arms[arm].runs.push_back(std::move(run));
    }
    for (SampleRow& sample : TRY(store.samples(experiment.row.id))) {
        if (!sound(sample)) {
            continue;
        }
        const auto [arm, run] = run_index.at(sample.run);
        experiment.arms[arm].runs[run].samples.push_back(std::move(sample));
    }
    return experiment;
}

} // namespace

Figure ReportArm::figure_of(SampleKind kind, std::int64_t depth) const {
    std::vector<double> values;
    for (const ReportRun& run : runs) {
        if (!run.measured() || run.row.depth != depth) {
            continue;
        }
        for (const SampleRow& sample : run.samples) {
            if (sample.kind == to_string(kind) && std::isfinite(sample.value)) {
                values.push_back(sample.value);
                break;
            }
        }
    }
    return figure(std::move(values));
}

std::size_t ReportExperiment::baseline() const {
    return plan.baseline >= 0 && static_cast<std::size_t>(plan.baseline) < arms.size()
               ? static_cast<std::size_t>(plan.baseline)
               : 0;
}

std::vector<std::int64_t> ReportExperiment::depths() const {
    std::set<std::int64_t> depths;
    for (const ReportArm& arm : arms) {
        for (const ReportRun& run : arm.runs) {
            depths.insert(run.row.depth);
        }
    }
    return {depths.begin(), depths.end()};
}

Result<ReportSource> read_report_source(Database& database, std::int64_t session) {
    ReportSource source;
    SessionStore sessions(database);
    const std::optional<SessionRow> row = TRY(sessions.find(session));
    if (!row) {
        return Error{ErrorCode::NotFound, fmt::format("there is no session {}", session),
                     "List the sessions to see which there are."};
    }
    source.session = *row;
    source.session.model = without_folders(source.session.model);
    for (MessageRow& message : TRY(sessions.branch(session))) {
        ReportMessage read;
        read.metrics = metrics_of(message.metrics);
        read.row = std::move(message);
        read.row.model = without_folders(read.row.model);
        source.messages.push_back(std::move(read));
    }
    SampleStore samples(database);
    for (ExperimentRow& experiment : TRY(samples.experiments(session))) {
        ReportExperiment read = TRY(read_experiment(samples, std::move(experiment)));
        if (!read.arms.empty()) {
            source.experiments.push_back(std::move(read));
        }
    }
    return source;
}

Comparison compare(const Figure& figure, const Figure& baseline) {
    Comparison result;
    if (figure.n == 0 || baseline.n == 0 || !(baseline.median > 0)) {
        return result;
    }
    result.ratio = figure.median / baseline.median;
    result.noise = (std::max(figure.high, baseline.high) - std::min(figure.low, baseline.low)) / 2 /
                   baseline.median;
    if (figure.n == 1 || baseline.n == 1) {
        result.verdict = Comparison::Verdict::OneRun;
    } else if (figure.low <= baseline.high && baseline.low <= figure.high) {
        result.verdict = Comparison::Verdict::NoDifference;
    } else {
        result.verdict = Comparison::Verdict::Differs;
    }
    return result;
}

std::string comparison_text(const Comparison& comparison) {
    switch (comparison.verdict) {
    case Comparison::Verdict::Baseline:
        return "baseline";
    case Comparison::Verdict::Unknown:
        return "not measured";
    case Comparison::Verdict::NoDifference:
        return fmt::format("no difference seen (±{} %)", number_text(100 * comparison.noise));
    case Comparison::Verdict::Differs:
        return number_text(comparison.ratio) + "×";
    case Comparison::Verdict::OneRun:
        return number_text(comparison.ratio) + "×, one run";
    }
    return {};
}

std::vector<StatePoint> state_curve(const ReportRun& run) {
    std::map<std::int64_t, double> bytes;
    for (const SampleRow& sample : run.samples) {
        if (sample.kind == to_string(SampleKind::StateUsedBytes)) {
            bytes[sample.context_tokens] += sample.value;
        }
    }
    std::vector<StatePoint> curve;
    for (const auto& [context, value] : bytes) {
        curve.push_back({context, value});
    }
    return curve;
}

std::vector<StatePoint> state_curve(const ReportArm& arm) {
    std::map<std::int64_t, double> bytes;
    for (const ReportRun& run : arm.runs) {
        if (run.measured()) {
            for (const StatePoint& point : state_curve(run)) {
                bytes[point.context_tokens] = point.bytes;
            }
        }
    }
    std::vector<StatePoint> curve;
    for (const auto& [context, value] : bytes) {
        curve.push_back({context, value});
    }
    return curve;
}

std::vector<LayerState> state_by_layer(const ReportArm& arm, const ReportRun& run) {
    std::int64_t last = -1;
    for (const SampleRow& sample : run.samples) {
        if (sample.kind == to_string(SampleKind::StateUsedBytes)) {
            last = std::max(last, sample.context_tokens);
        }
    }
    std::map<int, double> bytes;
    for (std::size_t i = 0; i < arm.layers.size(); ++i) {
        bytes[static_cast<int>(i)] = 0;
    }
    for (const SampleRow& sample : run.samples) {
        if (sample.kind == to_string(SampleKind::StateUsedBytes) && sample.context_tokens == last &&
            sample.layer >= 0) {
            bytes[sample.layer] += sample.value;
        }
    }
    std::vector<LayerState> layers;
    for (const auto& [layer, value] : bytes) {
        const auto index = static_cast<std::size_t>(layer);
        layers.push_back({layer, index < arm.layers.size() ? arm.layers[index] : "unknown", value});
    }
    return layers;
}

std::vector<LayerState> state_by_layer(const StateEvent& state) {
    std::map<int, LayerState> layers;
    for (const LedgerEntry& entry : state.entries) {
        LayerState& layer = layers[entry.layer];
        layer.layer = entry.layer;
        layer.bytes += static_cast<double>(entry.used_bytes);
        switch (entry.kind) {
        case StateKind::KvCache:
            layer.kind = to_string(MixerKind::FullAttention);
            break;
        case StateKind::WindowRing:
            layer.kind = to_string(MixerKind::SlidingWindow);
            break;
        case StateKind::LatentCache:
            layer.kind = to_string(MixerKind::Latent);
            break;
        case StateKind::CompressedCache:
        case StateKind::CompressorBuffer:
            layer.kind = to_string(MixerKind::Compressed);
            break;
        case StateKind::IndexerKeys:
            layer.kind = to_string(MixerKind::Sparse);
            break;
        case StateKind::RecurrentState:
        case StateKind::ConvState: // which linear mixer, the state does not tell
            layer.kind = to_string(StateKind::RecurrentState);
            break;
        }
    }
    std::vector<LayerState> all;
    for (auto& [number, layer] : layers) {
        all.push_back(std::move(layer));
    }
    return all;
}

const ReportRun* longest_run(const ReportArm& arm, std::optional<std::int64_t> depth) {
    const ReportRun* longest = nullptr;
    std::int64_t most = -1;
    for (const ReportRun& run : arm.runs) {
        if (!run.measured() || (depth && run.row.depth != *depth)) {
            continue;
        }
        std::int64_t context = 0;
        for (const SampleRow& sample : run.samples) {
            context = std::max(context, sample.context_tokens);
        }
        if (context > most) {
            most = context;
            longest = &run;
        }
    }
    return longest;
}

} // namespace hs
