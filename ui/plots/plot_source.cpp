#include "ui/plots/plot_source.h"

#include "engine/core/json.h"
#include "engine/store/samples.h"

#include <algorithm>
#include <optional>
#include <tuple>

namespace hs {

namespace {

// The stored words are the engine's own, so each is found by comparing with what it says today.
template <class Kind>
std::optional<Kind> kind_named(std::string_view word, Kind last) {
    for (int i = 0; i <= static_cast<int>(last); ++i) {
        if (word == to_string(static_cast<Kind>(i))) {
            return static_cast<Kind>(i);
        }
    }
    return std::nullopt;
}

std::vector<MixerKind> layer_kinds(const std::string& layers) {
    std::vector<MixerKind> kinds;
    const auto json = parse_json(layers);
    if (!json.ok() || !json->is_array()) {
        return kinds;
    }
    for (const Json& layer : *json) {
        if (layer.is_string()) {
            kinds.push_back(
                kind_named(layer.get<std::string>(), kLastMixerKind).value_or(MixerKind{}));
        }
    }
    return kinds;
}

bool counts(const RunSource& run) {
    return !run.warm_up && run.complete;
}

// Counted runs, or whatever there is while the first one is under way.
std::vector<const RunSource*> runs_to_show(const ArmSource& arm) {
    std::vector<const RunSource*> shown;
    for (const RunSource& run : arm.runs) {
        if (counts(run)) {
            shown.push_back(&run);
        }
    }
    if (shown.empty() && !arm.runs.empty()) {
        shown.push_back(&arm.runs.back());
    }
    return shown;
}

} // namespace

Result<std::vector<PlotSource>> read_plot_sources(Database& database, std::int64_t session) {
    SampleStore store(database);
    std::vector<PlotSource> sources;
    for (const ExperimentRow& row : TRY(store.experiments(session))) {
        PlotSource source;
        source.session = session;
        source.experiment = row.id;
        source.state = QString::fromStdString(row.state);
        const Json plan = TRY(parse_json(row.plan));
        source.plan = TRY(experiment_from_json(plan));
        std::map<std::int64_t, std::size_t> arm_index;
        for (const ArmRow& arm : TRY(store.arms(row.id))) {
            arm_index[arm.id] = source.arms.size();
            source.arms.push_back({QString::fromStdString(arm.label),
                                   QString::fromStdString(arm.model),
                                   QString::fromStdString(arm.schedule),
                                   layer_kinds(arm.layers),
                                   arm.weight_bytes,
                                   {}});
        }
        std::map<std::int64_t, std::pair<std::size_t, std::size_t>> run_index;
        for (const RunRow& run : TRY(store.runs(row.id))) {
            const auto arm = arm_index.find(run.arm);
            if (arm == arm_index.end()) {
                continue;
            }
            std::vector<RunSource>& runs = source.arms[arm->second].runs;
            run_index[run.id] = {arm->second, runs.size()};
            runs.push_back({run.repeat,
                            run.depth,
                            run.warm_up,
                            run.state == "complete",
                            QString::fromStdString(run.text),
                            {}});
        }
        for (const SampleRow& sample : TRY(store.samples(row.id))) {
            const auto run = run_index.find(sample.run);
            const auto kind = kind_named(sample.kind, kLastSampleKind);
            if (run == run_index.end() || !kind) {
                continue; // a kind of a later program
            }
            const auto [arm, index] = run->second;
            source.arms[arm].runs[index].samples.push_back(
                {*kind, sample.time_ms, sample.context_tokens, sample.layer,
                 kind_named(sample.state_kind, kLastStateKind).value_or(StateKind{}), sample.count,
                 sample.value});
        }
        sources.push_back(std::move(source));
    }
    return sources;
}

ValuesByContext values_by_context(const ArmSource& arm, SampleKind kind) {
    ValuesByContext values;
    for (const RunSource* run : runs_to_show(arm)) {
        // The last word on each layer and state at a context counts, then layers add up.
        std::map<std::tuple<std::int64_t, int, StateKind>, double> parts;
        for (const Sample& sample : run->samples) {
            if (sample.kind == kind) {
                parts[{sample.context_tokens, sample.layer, sample.state}] = sample.value;
            }
        }
        std::map<std::int64_t, double> of_run;
        for (const auto& [key, value] : parts) {
            of_run[std::get<0>(key)] += value;
        }
        for (const auto& [context, value] : of_run) {
            values[context].push_back(value);
        }
    }
    return values;
}

std::vector<double> values_per_run(const ArmSource& arm, SampleKind kind) {
    std::vector<double> values;
    for (const RunSource& run : arm.runs) {
        if (counts(run)) {
            for (const Sample& sample : run.samples) {
                if (sample.kind == kind) {
                    values.push_back(sample.value);
                }
            }
        }
    }
    return values;
}

StateAtEnd last_state(const ArmSource& arm) {
    StateAtEnd state;
    const auto runs = runs_to_show(arm);
    if (runs.empty()) {
        return state;
    }
    for (const Sample& sample : runs.back()->samples) {
        if (sample.kind == SampleKind::StateUsedBytes) {
            state.context_tokens = std::max(state.context_tokens, sample.context_tokens);
        }
    }
    std::map<std::pair<int, StateKind>, std::int64_t> parts;
    for (const Sample& sample : runs.back()->samples) {
        if (sample.kind == SampleKind::StateUsedBytes && sample.layer >= 0 &&
            sample.context_tokens == state.context_tokens) {
            parts[{sample.layer, sample.state}] = static_cast<std::int64_t>(sample.value);
        }
    }
    for (const auto& [key, bytes] : parts) {
        state.entries.push_back({key.first, key.second, 0, bytes});
    }
    return state;
}

std::int64_t StateAtEnd::used_bytes() const {
    std::int64_t bytes = 0;
    for (const LedgerEntry& entry : entries) {
        bytes += entry.used_bytes;
    }
    return bytes;
}

} // namespace hs
