#include "engine/lab/runner.h"

#include "engine/backend/devices.h"
#include "engine/core/memory.h"
#include "engine/lab/sha256.h"
#include "engine/lab/timed_run.h"
#include "engine/text/detokenizer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <fmt/format.h>
#include <set>
#include <tuple>

namespace hs {

namespace {

using Clock = std::chrono::steady_clock;

// Of the memory that is free, what models may take together before they are loaded one at a time.
constexpr double kShareOfMemory = 0.5;
// Files up to this size are hashed for the report; it costs a quarter of a second.
constexpr std::int64_t kHashedBytes = std::int64_t{64} << 20;
// State is sampled whenever the context grew by this part, so that a curve has points enough at
// any length and a long run does not drown in them.
constexpr std::int64_t kStatePointsPerDoubling = 64;
// The seed of fillers: one for all arms and repeats, so that all read the same ids.
constexpr std::uint64_t kFillerSeed = 1;

// An arm's model as it is kept between runs.
struct ArmModel {
    LoadedModel loaded;
    ArmFacts facts;
    DType kv_dtype = DType::F16;
    std::vector<TokenId> prompt; // ids of the prompt, where it is read as it is
};

// Devices are opened once and shared by the arms that name them alike.
class Backends {
public:
    Result<std::shared_ptr<Backend>> open(const Arm& arm) {
        for (const auto& [device, threads, backend] : m_open) {
            if (device == arm.device && threads == arm.threads) {
                return backend;
            }
        }
        std::shared_ptr<Backend> backend =
            TRY(open_backend({.device = arm.device, .threads = arm.threads}));
        m_open.emplace_back(arm.device, arm.threads, backend);
        return backend;
    }

private:
    std::vector<std::tuple<std::string, int, std::shared_ptr<Backend>>> m_open;
};

GenerateRequest request_of(const Experiment& experiment, int repeat) {
    const Workload& workload = experiment.workload;
    GenerateRequest request;
    request.raw = workload.raw;
    request.enable_thinking = workload.enable_thinking;
    if (workload.raw) {
        request.raw_prompt = workload.prompt;
    } else {
        if (!workload.system_prompt.empty()) {
            request.messages.push_back({"system", workload.system_prompt, {}});
        }
        request.messages.push_back({"user", workload.prompt, {}});
    }
    request.max_tokens = workload.generate_tokens;
    request.sampling = workload.sampling;
    // A fresh seed per reply would give each arm another one. Repeats differ, arms do not.
    const std::uint64_t first = request.sampling.seed != 0 ? request.sampling.seed : 1;
    request.sampling.seed = first + static_cast<std::uint64_t>(repeat);
    return request;
}

std::vector<std::int64_t> depths_of(const Workload& workload) {
    return workload.depths.empty() ? std::vector<std::int64_t>{0} : workload.depths;
}

std::int64_t deepest(const Workload& workload) {
    const std::vector<std::int64_t> depths = depths_of(workload);
    return *std::max_element(depths.begin(), depths.end());
}

// One run: a fresh sequence, the work, and every sample on the way.
class Run {
public:
    Run(const Experiment& experiment, const ArmModel& model, const RunPlan& plan,
        const RunnerSink& sink)
        : m_experiment(experiment)
        , m_model(model)
        , m_plan(plan)
        , m_sink(sink)
        , m_request(request_of(experiment, plan.repeat))
        , m_begin(Clock::now()) {}

    Result<RunResult> run(std::stop_token stop) {
        RunResult result{.arm = m_plan.arm,
                         .repeat = m_plan.repeat,
                         .depth = m_plan.depth,
                         .warm_up = m_plan.warm_up,
                         .reply = {}};
        SequenceOptions options;
        options.state.kv_dtype = m_model.kv_dtype;
        options.state.context_tokens = m_model.facts.context_tokens;
        options.snapshot_budget_bytes = 0; // a run is never returned to
        m_sequence = TRY(Sequence::create(m_model.loaded.model, options));
        m_begin = Clock::now();
        if (m_plan.depth == 0 && !m_experiment.workload.ignore_end_token) {
            result.reply = reply(std::move(stop));
        } else {
            result.reply = TRY(equal_work(std::move(stop)));
        }
        if (result.reply.reason == FinishReason::Failed) {
            return Error{ErrorCode::Device, result.reply.error, {}};
        }
        sample_state(true);
        sample_ends(result.reply.timings);
        return result;
    }

private:
    // The prompt as a chat would read it, until the model ends its reply.
    GenerateResult reply(std::stop_token stop) {
        GenerateSink sink;
        std::int64_t read = 0;
        double read_ms = 0;
        sink.prefill = [&](const PrefillEvent& event) {
            if (event.done_tokens > read) {
                sample({.kind = SampleKind::PrefillMs,
                        .context_tokens = m_sequence->position(),
                        .count = event.done_tokens - read,
                        .value = event.elapsed_ms - read_ms});
                sample_state(false);
            }
            read = event.done_tokens;
            read_ms = event.elapsed_ms;
        };
        bool first = true;
        double before_ms = 0;
        sink.token = [&](const TokenEvent& event) {
            if (!first) {
                sample({.kind = SampleKind::TokenMs,
                        .context_tokens = event.position,
                        .value = event.elapsed_ms - before_ms});
            }
            first = false;
            before_ms = event.elapsed_ms;
            sample_state(false);
            tell(event);
        };
        return generate(m_model.loaded, *m_sequence, m_request, sink, std::move(stop));
    }

    // A filler of the wanted depth, or the prompt, then the full number of tokens: the same work
    // for every arm.
    Result<GenerateResult> equal_work(std::stop_token stop) {
        const ModelSpec& spec = m_model.loaded.model->spec();
        GenerateResult result;
        result.seed = m_request.sampling.seed;
        if (m_plan.depth > 0) {
            result.prompt_ids = filler_ids(alphabet(), spec.vocab, m_plan.depth, kFillerSeed);
        } else {
            const auto begin = Clock::now();
            result.prompt_ids = TRY(prompt_ids(m_model.loaded, m_request));
            result.timings.tokenise_ms =
                std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
        }
        std::vector<float> logits(static_cast<std::size_t>(spec.vocab));
        Sampler sampler(m_request.sampling);
        for (const TokenId id : result.prompt_ids) {
            sampler.accept(id);
        }
        TimedSink sink;
        sink.prefill = [&](std::int64_t tokens, double ms) {
            sample({.kind = SampleKind::PrefillMs,
                    .context_tokens = m_sequence->position(),
                    .count = tokens,
                    .value = ms});
            sample_state(false);
        };
        std::optional<Detokenizer> text;
        if (m_model.loaded.tokenizer) {
            text.emplace(*m_model.loaded.tokenizer);
        }
        bool first = true;
        sink.token = [&](std::int32_t id, double ms) {
            if (!first) {
                sample({.kind = SampleKind::TokenMs,
                        .context_tokens = m_sequence->position(),
                        .value = ms});
            }
            first = false;
            sample_state(false);
            const std::string piece = text ? text->push(id) : std::string();
            result.text += piece;
            tell({.position = m_sequence->position(),
                  .id = id,
                  .text = piece,
                  .thinking = false,
                  .elapsed_ms = elapsed_ms()});
        };
        Timings& timings = result.timings;
        timings.prompt_tokens = static_cast<std::int64_t>(result.prompt_ids.size());
        const std::optional<double> read =
            TRY(timed_prefill(*m_sequence, result.prompt_ids, logits, sink, stop));
        result.reason = FinishReason::Stopped;
        if (read) {
            timings.prefilled_tokens = timings.prompt_tokens;
            timings.prefill_ms = *read;
            TimedDecode decoded = TRY(timed_decode(*m_sequence, logits, sampler,
                                                   m_request.max_tokens, sink, std::move(stop)));
            timings.ttft_ms = timings.tokenise_ms + *read + decoded.first_ms;
            timings.decode_ms = decoded.rest_ms;
            timings.generated_tokens = static_cast<std::int64_t>(decoded.ids.size());
            result.reason = decoded.stopped ? FinishReason::Stopped : FinishReason::TokenLimit;
            result.ids = std::move(decoded.ids);
        }
        if (text) {
            result.text += text->flush();
        }
        result.state = m_sequence->state();
        return result;
    }

    // The distinct ids of the prompt as a person wrote it; none without a tokenizer.
    std::vector<std::int32_t> alphabet() const {
        if (!m_model.loaded.tokenizer) {
            return {};
        }
        const std::vector<TokenId> ids =
            m_model.loaded.tokenizer->encode(m_experiment.workload.prompt, Specials::Plain);
        const std::set<TokenId> distinct(ids.begin(), ids.end());
        return {distinct.begin(), distinct.end()};
    }

    double elapsed_ms() const {
        return std::chrono::duration<double, std::milli>(Clock::now() - m_begin).count();
    }

    void tell(const TokenEvent& event) const {
        if (m_sink.token) {
            m_sink.token(m_plan.arm, event);
        }
    }

    void sample(Sample value) const {
        if (m_sink.sample) {
            value.time_ms = elapsed_ms();
            m_sink.sample(m_plan.arm, value);
        }
    }

    // Every layer and kind, when the context has grown enough since the last time, or `now`.
    void sample_state(bool now) {
        const std::int64_t context = m_sequence->position();
        const std::int64_t step = std::max<std::int64_t>(1, m_sampled / kStatePointsPerDoubling);
        if (context == m_sampled || (!now && context - m_sampled < step)) {
            return;
        }
        m_sampled = context;
        for (const LedgerEntry& entry : m_sequence->ledger().entries()) {
            sample({.kind = SampleKind::StateUsedBytes,
                    .context_tokens = context,
                    .layer = entry.layer,
                    .state = entry.kind,
                    .value = static_cast<double>(entry.used_bytes)});
            sample({.kind = SampleKind::StateHeldBytes,
                    .context_tokens = context,
                    .layer = entry.layer,
                    .state = entry.kind,
                    .value = static_cast<double>(entry.held_bytes)});
        }
    }

    // What a run has once, at its end.
    void sample_ends(const Timings& timings) const {
        const std::int64_t context = m_sequence->position();
        const auto once = [&](SampleKind kind, double value, std::int64_t count) {
            sample({.kind = kind, .context_tokens = context, .count = count, .value = value});
        };
        once(SampleKind::WeightBytes, static_cast<double>(m_model.facts.weight_bytes), 1);
        once(SampleKind::ResidentBytes, static_cast<double>(process_memory().resident_bytes), 1);
        if (timings.generated_tokens > 0) {
            once(SampleKind::TtftMs, timings.ttft_ms, 1);
        }
        if (timings.prefill_ms > 0) {
            once(SampleKind::PrefillTokensPerS, timings.prefill_tokens_per_s(),
                 timings.prefilled_tokens);
        }
        if (timings.generated_tokens > 1) {
            once(SampleKind::DecodeTokensPerS, timings.decode_tokens_per_s(),
                 timings.generated_tokens - 1);
        }
    }

    const Experiment& m_experiment;
    const ArmModel& m_model;
    const RunPlan m_plan;
    const RunnerSink& m_sink;
    const GenerateRequest m_request;
    Clock::time_point m_begin;
    std::unique_ptr<Sequence> m_sequence;
    std::int64_t m_sampled = 0; // the context at the last state sample
};

// All runs of an experiment, and the models they need.
class Runner {
public:
    Runner(const Experiment& experiment, const RunnerSink& sink, std::stop_token stop)
        : m_experiment(experiment)
        , m_sink(sink)
        , m_stop(std::move(stop))
        , m_models(experiment.arms.size())
        , m_announced(experiment.arms.size())
        , m_schedules(experiment.arms.size())
        , m_weight_bytes(experiment.arms.size())
        , m_peak(experiment.arms.size()) {}

    Result<ExperimentResult> run() {
        TRY(check(m_experiment));
        TRY(find_models());
        m_progress.total_runs =
            static_cast<int>(m_experiment.arms.size() * depths_of(m_experiment.workload).size()) *
            (m_experiment.repeats + m_experiment.warm_ups);
        m_begin = Clock::now();
        const int rounds = m_experiment.warm_ups + m_experiment.repeats;
        bool going = true;
        for (int round = 0; round < rounds && going; ++round) {
            const bool warm_up = round < m_experiment.warm_ups;
            const int repeat = warm_up ? round : round - m_experiment.warm_ups;
            const int arms = static_cast<int>(m_experiment.arms.size());
            for (int i = 0; i < arms && going; ++i) {
                const int arm = round % 2 == 0 ? i : arms - 1 - i;
                going = TRY(
                    run_arm(arm, repeat, warm_up)
                        .with_context(fmt::format(
                            "arm \"{}\"", m_experiment.arms[static_cast<std::size_t>(arm)].label)));
            }
        }
        m_result.stopped = !going;
        summarise();
        return std::move(m_result);
    }

private:
    Result<void> find_models() {
        std::int64_t bytes = 0;
        std::set<std::filesystem::path> distinct;
        for (const Arm& arm : m_experiment.arms) {
            m_paths.push_back(TRY(resolve_model(arm.model)));
            const Checkpoint header = TRY(
                open_to_look(m_paths.back()).with_context(fmt::format("arm \"{}\"", arm.label)));
            m_file_bytes.push_back(header.file_bytes());
            if (distinct.insert(m_paths.back()).second) {
                bytes += header.file_bytes();
            }
        }
        m_keep_all = static_cast<double>(bytes) <=
                     kShareOfMemory * static_cast<double>(machine_memory().available_bytes);
        return {};
    }

    // False when stopped.
    Result<bool> run_arm(int arm, int repeat, bool warm_up) {
        const auto index = static_cast<std::size_t>(arm);
        if (!TRY(load(arm))) {
            return false;
        }
        for (const std::int64_t depth : depths_of(m_experiment.workload)) {
            if (m_stop.stop_requested()) {
                return false;
            }
            say(arm, fmt::format("{}: run {} of {}", m_experiment.arms[index].label,
                                 m_progress.done_runs + 1, m_progress.total_runs));
            const RunPlan plan{.arm = arm, .repeat = repeat, .depth = depth, .warm_up = warm_up};
            if (m_sink.run_planned) {
                m_sink.run_planned(plan);
            }
            if (m_sink.run_begins) {
                m_sink.run_begins(arm, repeat, warm_up);
            }
            RunResult result = TRY(Run(m_experiment, *m_models[index], plan, m_sink).run(m_stop));
            m_peak[index] = std::max(m_peak[index], process_memory().resident_bytes);
            const bool stopped = result.reply.reason == FinishReason::Stopped;
            if (m_sink.run_ends) {
                m_sink.run_ends(result);
            }
            m_result.runs.push_back(std::move(result));
            if (stopped) {
                return false;
            }
            ++m_progress.done_runs;
        }
        if (!m_keep_all) {
            m_models[index].reset();
        }
        return true;
    }

    // Makes m_models[arm] hold its model. False when stopped.
    Result<bool> load(int arm) {
        const auto index = static_cast<std::size_t>(arm);
        if (m_models[index]) {
            return true;
        }
        const Arm& wanted = m_experiment.arms[index];
        say(arm, fmt::format("loading {}", wanted.label));
        auto model = std::make_unique<ArmModel>();
        std::shared_ptr<Backend> backend = TRY(m_backends.open(wanted));
        // Arms that differ in precision alone share the weights.
        for (std::size_t other = 0; other < m_models.size(); ++other) {
            if (m_models[other] && m_paths[other] == m_paths[index] &&
                m_experiment.arms[other].edit == wanted.edit &&
                m_experiment.arms[other].synthetic_weights == wanted.synthetic_weights &&
                &m_models[other]->loaded.model->backend() == backend.get()) {
                model->loaded = m_models[other]->loaded;
            }
        }
        if (!model->loaded.model) {
            LoadOptions options;
            options.stop = m_stop;
            options.edit = wanted.edit;
            options.synthetic = TRY(synthetic_weights_named(wanted.synthetic_weights));
            std::optional<LoadedModel> loaded = TRY(load_model(backend, m_paths[index], options));
            if (!loaded) {
                return false;
            }
            model->loaded = *std::move(loaded);
        }
        TRY(fill_facts(index, *model));
        if (!m_announced[index]) {
            m_announced[index] = true;
            if (m_sink.arm_ready) {
                m_sink.arm_ready(arm, model->loaded.model->spec());
            }
            if (m_sink.arm_facts) {
                m_sink.arm_facts(arm, model->facts);
            }
        }
        m_schedules[index] =
            describe_schedule(model->loaded.model->spec()) + caveat(model->loaded.origin);
        m_weight_bytes[index] = model->facts.weight_bytes;
        m_models[index] = std::move(model);
        return true;
    }

    Result<void> fill_facts(std::size_t index, ArmModel& model) {
        const Arm& arm = m_experiment.arms[index];
        const Model& loaded = *model.loaded.model;
        const ModelSpec& spec = loaded.spec();
        model.kv_dtype = TRY(kv_dtype_named(arm.kv_dtype, loaded));
        ArmFacts& facts = model.facts;
        facts.device = loaded.backend().device().name;
        facts.kv_dtype = kv_dtype_name(model.kv_dtype);
        facts.weight_bytes = loaded.weight_bytes();
        facts.file_bytes = m_file_bytes[index];
        facts.family = spec.family;
        facts.origin = model.loaded.origin;
        const ParameterCount count = count_parameters(spec);
        facts.parameters = count.total;
        facts.active_parameters = count.active;
        facts.context_tokens = m_experiment.context_tokens;
        if (facts.context_tokens == 0) {
            facts.context_tokens = TRY(needed_context(model));
        }
        std::error_code failed;
        if (!m_announced[index] && facts.file_bytes <= kHashedBytes &&
            std::filesystem::is_regular_file(m_paths[index], failed)) {
            const MappedFile file = TRY(MappedFile::open(m_paths[index]));
            facts.sha256 = sha256(file.bytes());
        }
        return {};
    }

    // What the longest run of the workload fills, and one token more.
    Result<std::int64_t> needed_context(const ArmModel& model) const {
        const Workload& workload = m_experiment.workload;
        std::int64_t most = deepest(workload);
        const std::vector<std::int64_t> depths = depths_of(workload);
        if (std::find(depths.begin(), depths.end(), 0) != depths.end()) {
            const std::vector<TokenId> ids =
                TRY(prompt_ids(model.loaded, request_of(m_experiment, 0)));
            most = std::max(most, static_cast<std::int64_t>(ids.size()));
        }
        return most + workload.generate_tokens + 1;
    }

    void say(int arm, std::string stage) {
        if (!m_sink.progress) {
            return;
        }
        m_progress.arm = arm;
        m_progress.stage = std::move(stage);
        // Once every arm has run, the mean so far says what the rest will take.
        const int first_round =
            static_cast<int>(m_experiment.arms.size() * depths_of(m_experiment.workload).size());
        m_progress.remaining_s = -1;
        if (m_progress.done_runs >= first_round) {
            const double spent = std::chrono::duration<double>(Clock::now() - m_begin).count();
            m_progress.remaining_s =
                spent / m_progress.done_runs * (m_progress.total_runs - m_progress.done_runs);
        }
        m_sink.progress(m_progress);
    }

    void summarise() {
        const std::int64_t depth = deepest(m_experiment.workload);
        for (std::size_t arm = 0; arm < m_experiment.arms.size(); ++arm) {
            ArmSummary summary;
            summary.label = m_experiment.arms[arm].label;
            summary.model = m_experiment.arms[arm].model;
            summary.schedule = m_schedules[arm];
            summary.weight_bytes = m_weight_bytes[arm];
            summary.peak_resident_bytes = m_peak[arm];
            std::vector<double> ttft;
            std::vector<double> prefill;
            std::vector<double> decode;
            for (const RunResult& run : m_result.runs) {
                if (run.arm != static_cast<int>(arm) || run.warm_up ||
                    run.reply.reason == FinishReason::Stopped) {
                    continue;
                }
                if (run.repeat == 0 && (run.depth == 0 || summary.text.empty())) {
                    summary.text = run.reply.text;
                }
                if (run.depth != depth) {
                    continue;
                }
                const Timings& timings = run.reply.timings;
                ttft.push_back(timings.ttft_ms);
                if (timings.prefill_ms > 0) {
                    prefill.push_back(timings.prefill_tokens_per_s());
                }
                if (timings.generated_tokens > 1) {
                    decode.push_back(timings.decode_tokens_per_s());
                }
                summary.state_bytes = 0;
                for (const LedgerEntry& entry : run.reply.state.entries) {
                    summary.state_bytes += entry.used_bytes;
                }
            }
            summary.ttft_ms = figure(std::move(ttft));
            summary.prefill_tokens_per_s = figure(std::move(prefill));
            summary.decode_tokens_per_s = figure(std::move(decode));
            m_result.arms.push_back(std::move(summary));
        }
    }

    const Experiment& m_experiment;
    const RunnerSink& m_sink;
    const std::stop_token m_stop;
    Backends m_backends;
    std::vector<std::filesystem::path> m_paths;
    std::vector<std::int64_t> m_file_bytes;
    std::vector<std::unique_ptr<ArmModel>> m_models;
    std::vector<bool> m_announced;
    std::vector<std::string> m_schedules;
    std::vector<std::int64_t> m_weight_bytes;
    std::vector<std::int64_t> m_peak; // resident bytes after the arm's runs
    bool m_keep_all = true;
    Clock::time_point m_begin;
    ExperimentProgress m_progress;
    ExperimentResult m_result;
};

} // namespace

const char* to_string(SampleKind kind) {
    switch (kind) {
    case SampleKind::StateUsedBytes:
        return "state_used_bytes";
    case SampleKind::StateHeldBytes:
        return "state_held_bytes";
    case SampleKind::TokenMs:
        return "token_ms";
    case SampleKind::PrefillMs:
        return "prefill_ms";
    case SampleKind::ResidentBytes:
        return "resident_bytes";
    case SampleKind::WeightBytes:
        return "weight_bytes";
    case SampleKind::TtftMs:
        return "ttft_ms";
    case SampleKind::PrefillTokensPerS:
        return "prefill_tokens_per_s";
    case SampleKind::DecodeTokensPerS:
        return "decode_tokens_per_s";
    }
    return "";
}

Figure figure(std::vector<double> values) {
    if (values.empty()) {
        return {};
    }
    std::sort(values.begin(), values.end());
    const std::size_t half = values.size() / 2;
    const double median =
        values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
    return {.median = median,
            .low = values.front(),
            .high = values.back(),
            .n = static_cast<int>(values.size())};
}

Result<ExperimentResult> run_experiment(const Experiment& experiment, const RunnerSink& sink,
                                        std::stop_token stop) {
    return Runner(experiment, sink, std::move(stop)).run();
}

} // namespace hs
