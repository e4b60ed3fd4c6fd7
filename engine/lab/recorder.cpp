#include "engine/lab/recorder.h"

#include "engine/backend/devices.h"
#include "engine/core/json.h"
#include "engine/core/log.h"
#include "engine/core/memory.h"
#include "engine/core/paths.h"
#include "engine/store/samples.h"
#include "engine/store/sessions.h"

#include <chrono>
#include <fmt/format.h>
#include <thread>

namespace hs {

namespace {

using Clock = std::chrono::steady_clock;

// What a kill may cost is less than a second; writing more often would show in the timings.
constexpr auto kCollect = std::chrono::milliseconds(500);

// Text of a model may end inside a character; JSON replaces what is no UTF-8.
std::string dump(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string layers_json(const ModelSpec& spec) {
    Json layers = Json::array();
    for (const LayerSpec& layer : spec.layers) {
        layers.push_back(to_string(kind_of(layer.mixer)));
    }
    return dump(layers);
}

std::string details_json(const Arm& arm, const ArmFacts& facts) {
    return dump({{"family", facts.family},
                 {"parameters", facts.parameters},
                 {"active_parameters", facts.active_parameters},
                 {"file_bytes", facts.file_bytes},
                 {"sha256", facts.sha256},
                 {"device", facts.device},
                 {"threads_requested", arm.threads},
                 {"kv_dtype_requested", arm.kv_dtype},
                 {"kv_dtype", facts.kv_dtype},
                 {"context_tokens", facts.context_tokens}});
}

std::string outcome(const RunResult& run) {
    switch (run.reply.reason) {
    case FinishReason::Stopped:
        return "stopped";
    case FinishReason::Failed:
        return "failed";
    default:
        return "complete";
    }
}

// Between runner and store. The first thing that cannot be written ends the experiment: figures
// that are not kept would be shown once and lost.
class Recorder {
public:
    Recorder(const Experiment& experiment, Database& database, const RunnerSink& outer)
        : m_experiment(experiment)
        , m_sessions(database)
        , m_samples(database)
        , m_outer(outer) {}

    // Creates session, experiment and arms.
    Result<void> begin(std::int64_t session) {
        m_session = session;
        if (m_session == 0) {
            const std::string title =
                m_experiment.title.empty() ? "Comparison" : m_experiment.title;
            m_session = TRY(m_sessions.create(SessionKind::Comparison, title));
        }
        // The question as a message, so that the search finds the session by it.
        const std::vector<MessageRow> messages = TRY(m_sessions.messages(m_session));
        if (messages.empty() && !m_experiment.workload.prompt.empty()) {
            MessageRow question;
            question.session = m_session;
            question.role = "user";
            question.content = m_experiment.workload.prompt;
            TRY(m_sessions.add_message(question));
        }
        m_row = TRY(m_samples.add_experiment({.session = m_session,
                                              .plan = dump(to_json(m_experiment)),
                                              .machine = machine_json(),
                                              .state = "running"}));
        for (std::size_t i = 0; i < m_experiment.arms.size(); ++i) {
            ArmRow arm{.experiment = m_row,
                       .position = static_cast<int>(i),
                       .label = m_experiment.arms[i].label,
                       .model = m_experiment.arms[i].model};
            arm.id = TRY(m_samples.add_arm(arm));
            m_arms.push_back(std::move(arm));
        }
        return {};
    }

    RunnerSink sink(std::stop_source& stop) {
        RunnerSink sink = m_outer; // what is only passed on stays as it is
        sink.arm_ready = [this, &stop](int arm, const ModelSpec& spec) {
            ArmRow& row = m_arms[static_cast<std::size_t>(arm)];
            row.schedule = describe_schedule(spec);
            row.layers = layers_json(spec);
            keep(m_samples.set_arm(row), stop);
            if (m_outer.arm_ready) {
                m_outer.arm_ready(arm, spec);
            }
        };
        sink.arm_facts = [this, &stop](int arm, const ArmFacts& facts) {
            const auto index = static_cast<std::size_t>(arm);
            m_arms[index].weight_bytes = facts.weight_bytes;
            m_arms[index].schedule += caveat(facts.origin);
            m_arms[index].details = details_json(m_experiment.arms[index], facts);
            keep(m_samples.set_arm(m_arms[index]), stop);
            if (m_outer.arm_facts) {
                m_outer.arm_facts(arm, facts);
            }
        };
        sink.run_planned = [this, &stop](const RunPlan& plan) {
            begin_run(plan, stop);
            if (m_outer.run_planned) {
                m_outer.run_planned(plan);
            }
        };
        sink.token = [this, &stop](int arm, const TokenEvent& event) {
            if (!event.thinking) {
                m_text += event.text;
            }
            flush_when_due(stop);
            if (m_outer.token) {
                m_outer.token(arm, event);
            }
        };
        sink.sample = [this, &stop](int arm, const Sample& sample) {
            add(sample);
            flush_when_due(stop);
            if (m_outer.sample) {
                m_outer.sample(arm, sample);
            }
        };
        sink.run_ends = [this, &stop](const RunResult& run) {
            end_run(run, stop);
            if (m_outer.run_ends) {
                m_outer.run_ends(run);
            }
        };
        return sink;
    }

    Result<ExperimentResult> end(Result<ExperimentResult> result) {
        std::stop_source none;
        flush(none);
        if (result.ok() && m_failure) {
            result = *m_failure;
        }
        const std::string state = !result.ok()      ? "failed: " + result.error().text()
                                  : result->stopped ? "stopped"
                                                    : "complete";
        if (m_run != 0) { // one that failed in its middle
            const Result<void> kept = m_samples.finish_run(m_run, m_text, "", "failed");
            if (!kept.ok()) {
                HS_LOG(Warning, "lab", "a run was not closed: {}", kept.error().text());
            }
        }
        if (m_row != 0) {
            const Result<void> kept = m_samples.finish_experiment(m_row, state);
            if (!kept.ok() && result.ok()) {
                return kept.error();
            }
        }
        return result;
    }

    std::int64_t session() const { return m_session; }
    std::int64_t experiment() const { return m_row; }

private:
    void keep(const Result<void>& written, std::stop_source& stop) {
        if (!written.ok() && !m_failure) {
            m_failure = Error(written.error()).with_context("storing what was measured");
            stop.request_stop();
        }
    }

    void begin_run(const RunPlan& plan, std::stop_source& stop) {
        m_text.clear();
        m_flushed = Clock::now();
        const Result<std::int64_t> run =
            m_samples.add_run({.arm = m_arms[static_cast<std::size_t>(plan.arm)].id,
                               .repeat = plan.repeat,
                               .depth = plan.depth,
                               .warm_up = plan.warm_up,
                               .state = "running"});
        m_run = run.ok() ? *run : 0;
        if (!run.ok()) {
            keep(Result<void>(run.error()), stop);
        }
    }

    void add(const Sample& sample) {
        const bool of_state =
            sample.kind == SampleKind::StateUsedBytes || sample.kind == SampleKind::StateHeldBytes;
        m_rows.push_back({.run = m_run,
                          .kind = to_string(sample.kind),
                          .time_ms = sample.time_ms,
                          .context_tokens = sample.context_tokens,
                          .layer = sample.layer,
                          .state_kind = of_state ? to_string(sample.state) : "",
                          .count = sample.count,
                          .value = sample.value});
    }

    void flush_when_due(std::stop_source& stop) {
        if (Clock::now() - m_flushed >= kCollect) {
            flush(stop);
            if (m_run != 0) {
                keep(m_samples.finish_run(m_run, m_text, "", "running"), stop);
            }
        }
    }

    void flush(std::stop_source& stop) {
        m_flushed = Clock::now();
        if (m_run != 0 && !m_failure) {
            keep(m_samples.add_samples(m_rows), stop);
        }
        m_rows.clear();
    }

    void end_run(const RunResult& run, std::stop_source& stop) {
        flush(stop);
        if (m_run != 0) {
            keep(m_samples.finish_run(m_run, run.reply.text,
                                      metrics_json(run.reply, m_experiment.workload.sampling),
                                      outcome(run)),
                 stop);
        }
        m_run = 0;
    }

    const Experiment& m_experiment;
    SessionStore m_sessions;
    SampleStore m_samples;
    const RunnerSink& m_outer;
    std::int64_t m_session = 0;
    std::int64_t m_row = 0;
    std::vector<ArmRow> m_arms;
    std::int64_t m_run = 0; // the one being made
    std::string m_text;
    std::vector<SampleRow> m_rows; // not written yet
    Clock::time_point m_flushed;
    std::optional<Error> m_failure;
};

} // namespace

RecordedExperiment run_and_record(const Experiment& experiment, Database& database,
                                  std::int64_t session, const RunnerSink& sink,
                                  std::stop_token stop) {
    Recorder recorder(experiment, database, sink);
    // A plan that cannot run leaves no session behind.
    const Result<void> sound = check(experiment);
    if (!sound.ok()) {
        return {session, 0, sound.error()};
    }
    const Result<void> begun = recorder.begin(session);
    if (!begun.ok()) {
        return {recorder.session(), recorder.experiment(), begun.error()};
    }
    std::stop_source own;
    const std::stop_callback passed_on(stop, [&own] { own.request_stop(); });
    Result<ExperimentResult> result =
        recorder.end(run_experiment(experiment, recorder.sink(own), own.get_token()));
    return {recorder.session(), recorder.experiment(), std::move(result)};
}

std::string machine_json() {
    Json devices = Json::array();
    for (const DeviceReport& device : list_devices()) {
        if (device.usable) {
            devices.push_back({{"kind", device.info.kind},
                               {"name", device.info.name},
                               {"memory_bytes", device.info.total_bytes}});
        }
    }
    const auto today = std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now());
    const std::chrono::year_month_day date(today);
    return dump({{"program", fmt::format("Hybridscope {}", HS_VERSION)},
                 {"compiler", fmt::format("C++ {}", __VERSION__)},
                 {"system", system_name()},
                 {"logical_cpus", std::thread::hardware_concurrency()},
                 {"memory_bytes", machine_memory().total_bytes},
                 {"available_bytes", machine_memory().available_bytes},
                 {"devices", std::move(devices)},
                 {"date", fmt::format("{:04}-{:02}-{:02}", static_cast<int>(date.year()),
                                      static_cast<unsigned>(date.month()),
                                      static_cast<unsigned>(date.day()))}});
}

} // namespace hs
