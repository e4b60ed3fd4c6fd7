// bench, compare and selftest: figures of this machine.

#include "app/cli/shared.h"
#include "engine/backend/devices.h"
#include "engine/core/paths.h"
#include "engine/files/checkpoint.h"
#include "engine/lab/bench.h"
#include "engine/lab/recorder.h"
#include "engine/lab/report.h"
#include "engine/lab/report_source.h"
#include "engine/lab/selftest.h"
#include "engine/lab/units.h"
#include "engine/spec/families.h"
#include "engine/spec/ratio.h"

#include <algorithm>
#include <fmt/format.h>
#include <set>

namespace hs::cli {

namespace {

// --- bench ---------------------------------------------------------------------------------------

constexpr const char* kBenchJson =
    R"help(Reading (prefill) and writing (decode) are timed apart, each from a context that already holds
--depth tokens; ids are seeded and random. A warm-up runs before anything is timed.
JSON:
  model, family, schedule, device, kv_dtype
  weights ("checkpoint"; "converted": windows put over full attention; "synthetic": random ones)
  file_bytes, weight_bytes, load_ms
  rows [{kind ("prefill", "decode"), depth, tokens,
         tokens_per_s {median, low, high, n, values}}]     low and high: least and most
  state {context_tokens, used_bytes, held_bytes, by_kind}  from the ledger, at the longest context
  peak_resident_bytes                                      of the process, mapped files included
  stopped                                                  true when Ctrl-C ended it early)help";

struct BenchSettings {
    std::string model;
    std::string prompts = "512";
    std::string depths = "0";
    std::int64_t generate = 128;
    int repeats = 3;
    bool json = false;
    DeviceSettings device;
    ScheduleEdit edit;
    std::string weights = "q8_0";
};

Result<int> run_bench(const BenchSettings& settings, std::stop_token stop) {
    BenchOptions options;
    options.model = settings.model;
    options.device = settings.device.device;
    options.threads = settings.device.threads;
    options.kv_dtype = settings.device.kv_dtype;
    options.prompts = TRY(number_list(settings.prompts, 1).with_context("--prompt"));
    options.depths = TRY(number_list(settings.depths, 0).with_context("--depth"));
    options.generate = settings.generate;
    options.repeats = settings.repeats;
    options.edit = settings.edit;
    options.synthetic_weights = settings.weights;
    const BenchResult result = TRY(bench(
        options, [](const std::string& line) { show_progress(line); }, std::move(stop)));
    clear_progress();
    if (settings.json) {
        print_json(to_json(result));
    } else {
        print(to_text(result));
    }
    return result.stopped ? kStopped : kDone;
}

// --- compare -------------------------------------------------------------------------------------

constexpr const char* kCompareJson =
    R"help(A plan is a JSON file with the keys title, arms [{label, model, device, threads, kv_dtype,
full_layers, other_mixer, layers, synthetic_weights}],
workload {system_prompt, prompt, raw, enable_thinking, generate_tokens, ignore_end_token, depths,
sampling {temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty, seed}}, repeats,
warm_ups, baseline, context_tokens; only arms (with model) and workload are required.
Everything measured is written to the session file as it happens.
JSON:
  session, experiment       ids in the session file, for `sessions export`
  state                     "complete" or "stopped"
  baseline                  label of the arm the others are compared with
  arms [{label, model, schedule, weight_bytes, state_bytes, peak_resident_bytes, text,
         ttft_ms, prefill_tokens_per_s, decode_tokens_per_s,
         each {median, low, high, n, against_baseline {verdict, ratio, noise}}}]
         verdict: "baseline", "differs", "no difference seen", "one run", "not measured"
  runs [{arm, repeat, depth_tokens, warm_up, reason, ttft_ms, prefill_tokens_per_s,
         decode_tokens_per_s, prompt_tokens, generated_tokens}])help";

struct CompareSettings {
    std::string plan;
    std::string arms;
    std::string prompt;
    std::string system;
    std::string depths;
    std::string title;
    std::int64_t generate = 64;
    int repeats = 3;
    int warm_ups = 1;
    bool raw = false;
    bool no_think = false;
    bool full_length = false;
    bool json = false;
    std::string session_db;
    std::string html;
    std::string csv;
    std::string ratios;
    ScheduleEdit edit; // of all arms; `full` comes from ratios
    std::string weights = "q8_0";
    DeviceSettings device;
    SamplingSettings sampling;
};

std::vector<std::string> split_names(const std::string& text) {
    std::vector<std::string> names;
    std::size_t at = 0;
    while (at <= text.size()) {
        const std::size_t comma = std::min(text.find(',', at), text.size());
        if (comma > at) {
            names.push_back(text.substr(at, comma - at));
        }
        at = comma + 1;
    }
    return names;
}

std::string file_name(const std::string& model) {
    const std::filesystem::path path = path_from_utf8(model);
    const std::filesystem::path name = path.has_filename() ? path : path.parent_path();
    return utf8_from_path(name.extension() == ".gguf" ? name.stem() : name.filename());
}

std::string ratio_label(const std::string& model) {
    const Result<std::filesystem::path> path = resolve_model(model);
    if (!path.ok()) {
        return {};
    }
    const Result<Checkpoint> header = Checkpoint::open(*path, Need::HeaderOnly);
    if (!header.ok()) {
        return {};
    }
    const Result<SpecAndTensors> read = read_model(*header);
    return read.ok() ? ratio_of(read->spec).text : std::string();
}

// The ratio says most where it tells the arms apart; else the files' names, numbered if need be.
void label_arms(std::vector<Arm>& arms) {
    std::set<std::string> distinct;
    for (Arm& arm : arms) {
        arm.label = arm.edit.full.empty() ? ratio_label(arm.model) : arm.edit.full;
        if (!arm.label.empty()) {
            distinct.insert(arm.label);
        }
    }
    if (distinct.size() == arms.size()) {
        return;
    }
    std::set<std::string> taken;
    for (Arm& arm : arms) {
        const std::string name =
            file_name(arm.model) + (arm.edit.full.empty() ? "" : " " + arm.edit.full);
        arm.label = name;
        for (int number = 2; !taken.insert(arm.label).second; ++number) {
            arm.label = fmt::format("{} #{}", name, number);
        }
    }
}

Result<Experiment> experiment_of(const CompareSettings& settings) {
    if (!settings.plan.empty()) {
        if (!settings.arms.empty() || !settings.prompt.empty()) {
            return Error{ErrorCode::InvalidArgument,
                         "a plan and --arms or --prompt say the same thing twice", "Give one."};
        }
        const std::string text = TRY(read_text_file(settings.plan));
        const Json json = TRY(parse_json(text).with_context(settings.plan));
        Experiment experiment = TRY(experiment_from_json(json).with_context(settings.plan));
        return experiment;
    }
    Experiment experiment;
    std::vector<std::string> ratios = split_names(settings.ratios);
    if (ratios.empty()) {
        ratios.emplace_back();
    }
    for (const std::string& model : split_names(settings.arms)) {
        for (const std::string& ratio : ratios) {
            Arm arm;
            arm.model = model;
            arm.device = settings.device.device;
            arm.threads = settings.device.threads;
            arm.kv_dtype = settings.device.kv_dtype;
            arm.edit = settings.edit;
            arm.edit.full = ratio;
            arm.synthetic_weights = settings.weights;
            experiment.arms.push_back(std::move(arm));
        }
    }
    if (experiment.arms.empty()) {
        return Error{ErrorCode::InvalidArgument, "there is nothing to compare",
                     "Give a plan, or --arms MODEL,MODEL and --prompt TEXT."};
    }
    label_arms(experiment.arms);
    experiment.title = settings.title;
    if (experiment.title.empty()) {
        for (const Arm& arm : experiment.arms) {
            experiment.title += (experiment.title.empty() ? "" : " against ") + arm.label;
        }
    }
    experiment.repeats = settings.repeats;
    experiment.warm_ups = settings.warm_ups;
    Workload& workload = experiment.workload;
    workload.system_prompt = settings.system;
    workload.prompt = settings.prompt;
    workload.raw = settings.raw;
    workload.enable_thinking = !settings.no_think;
    workload.generate_tokens = settings.generate;
    workload.ignore_end_token = settings.full_length;
    workload.depths = TRY(number_list(settings.depths, 0).with_context("--depth"));
    workload.sampling = settings.sampling.over(workload.sampling);
    return experiment;
}

const char* word(Comparison::Verdict verdict) {
    switch (verdict) {
    case Comparison::Verdict::Baseline:
        return "baseline";
    case Comparison::Verdict::NoDifference:
        return "no difference seen";
    case Comparison::Verdict::Differs:
        return "differs";
    case Comparison::Verdict::OneRun:
        return "one run";
    case Comparison::Verdict::Unknown:
        break;
    }
    return "not measured";
}

Comparison against(const Figure& figure, const Figure& baseline, bool is_baseline) {
    Comparison comparison = compare(figure, baseline);
    if (is_baseline) {
        comparison.verdict = Comparison::Verdict::Baseline;
    }
    return comparison;
}

Json figure_json(const Figure& figure, const Comparison& comparison) {
    return {{"median", figure.median},
            {"low", figure.low},
            {"high", figure.high},
            {"n", figure.n},
            {"against_baseline",
             {{"verdict", word(comparison.verdict)},
              {"ratio", comparison.ratio},
              {"noise", comparison.noise}}}};
}

Json compare_json(const Experiment& experiment, const RecordedExperiment& recorded,
                  const ExperimentResult& result) {
    const auto base = static_cast<std::size_t>(experiment.baseline);
    Json arms = Json::array();
    for (std::size_t i = 0; i < result.arms.size(); ++i) {
        const ArmSummary& arm = result.arms[i];
        const ArmSummary& baseline = result.arms[base];
        const auto figure_of = [&](Figure ArmSummary::*member) {
            return figure_json(arm.*member, against(arm.*member, baseline.*member, i == base));
        };
        arms.push_back({{"label", arm.label},
                        {"model", arm.model},
                        {"schedule", arm.schedule},
                        {"weight_bytes", arm.weight_bytes},
                        {"state_bytes", arm.state_bytes},
                        {"peak_resident_bytes", arm.peak_resident_bytes},
                        {"text", arm.text},
                        {"ttft_ms", figure_of(&ArmSummary::ttft_ms)},
                        {"prefill_tokens_per_s", figure_of(&ArmSummary::prefill_tokens_per_s)},
                        {"decode_tokens_per_s", figure_of(&ArmSummary::decode_tokens_per_s)}});
    }
    Json runs = Json::array();
    for (const RunResult& run : result.runs) {
        const Timings& t = run.reply.timings;
        runs.push_back({{"arm", run.arm},
                        {"repeat", run.repeat},
                        {"depth_tokens", run.depth},
                        {"warm_up", run.warm_up},
                        {"reason", to_string(run.reply.reason)},
                        {"ttft_ms", t.ttft_ms},
                        {"prefill_tokens_per_s", t.prefill_tokens_per_s()},
                        {"decode_tokens_per_s", t.decode_tokens_per_s()},
                        {"prompt_tokens", t.prompt_tokens},
                        {"generated_tokens", t.generated_tokens}});
    }
    return {{"session", recorded.session},
            {"experiment", recorded.experiment},
            {"state", result.stopped ? "stopped" : "complete"},
            {"baseline", experiment.arms[base].label},
            {"arms", std::move(arms)},
            {"runs", std::move(runs)}};
}

std::string compare_text(const Experiment& experiment, const ExperimentResult& result) {
    const auto base = static_cast<std::size_t>(experiment.baseline);
    const std::vector<std::int64_t>& depths = experiment.workload.depths;
    std::string text;
    if (!depths.empty()) {
        text = fmt::format("figures after {} tokens of context\n",
                           *std::max_element(depths.begin(), depths.end()));
    }
    text += fmt::format("{:<24} {:>12} {:>12}  {}\n", "arm", "weights", "state",
                        "median (least–most) against the baseline");
    for (std::size_t i = 0; i < result.arms.size(); ++i) {
        const ArmSummary& arm = result.arms[i];
        const ArmSummary& baseline = result.arms[base];
        text += fmt::format("{:<24} {:>12} {:>12}  {}\n", arm.label,
                            bytes_text(static_cast<double>(arm.weight_bytes)),
                            bytes_text(static_cast<double>(arm.state_bytes)), arm.schedule);
        const auto line = [&](const char* name, Figure ArmSummary::*member) {
            const Figure& f = arm.*member;
            if (f.n > 0) {
                text += fmt::format("  {:<20} {:>8} ({}–{})  {}\n", name, number_text(f.median),
                                    number_text(f.low), number_text(f.high),
                                    comparison_text(against(f, baseline.*member, i == base)));
            }
        };
        line("TTFT, ms", &ArmSummary::ttft_ms);
        line("prefill, tokens/s", &ArmSummary::prefill_tokens_per_s);
        line("decode, tokens/s", &ArmSummary::decode_tokens_per_s);
        if (!arm.text.empty()) {
            text += "  " + arm.text + "\n";
        }
    }
    return result.stopped ? text + "stopped before the end\n" : text;
}

Result<int> run_compare(const CompareSettings& settings, std::stop_token stop) {
    const Experiment experiment = TRY(experiment_of(settings));
    Database database = TRY(open_sessions(settings.session_db, Access::ReadWrite));
    RunnerSink sink;
    sink.progress = [](const ExperimentProgress& progress) {
        std::string line = progress.stage;
        if (progress.remaining_s >= 0) {
            line += fmt::format(", about {} left", ms_text(1000 * progress.remaining_s));
        }
        show_progress(line);
    };
    RecordedExperiment recorded = run_and_record(experiment, database, 0, sink, std::move(stop));
    clear_progress();
    if (!recorded.result.ok()) {
        return std::move(recorded.result).error();
    }
    const ExperimentResult& result = *recorded.result;
    if (!settings.html.empty()) {
        const std::string page = TRY(report_html(database, recorded.session));
        TRY(write_text_file(settings.html, page));
    }
    if (!settings.csv.empty()) {
        const std::string table = TRY(report_csv(database, recorded.session));
        TRY(write_text_file(settings.csv, table));
    }
    if (settings.json) {
        print_json(compare_json(experiment, recorded, result));
    } else {
        print(compare_text(experiment, result));
        note(fmt::format("kept as session {}", recorded.session));
    }
    return result.stopped ? kStopped : kDone;
}

// --- selftest ------------------------------------------------------------------------------------

constexpr const char* kSelftestJson =
    R"help(Every operation of the device with random inputs against a plain float64 reference. Exit code 1 when
one does not hold.
JSON:
  device, seed, passed (true or false)
  rows [{op, shape, error, bound, passed}])help";

struct SelftestSettings {
    std::string device = "auto";
    int threads = 0;
    std::uint64_t seed = 1;
    bool json = false;
};

Result<int> run_selftest(const SelftestSettings& settings, std::stop_token stop) {
    const std::unique_ptr<Backend> backend =
        TRY(open_backend({.device = settings.device, .threads = settings.threads}));
    const std::vector<SelftestRow> rows = TRY(selftest(*backend, {.seed = settings.seed}, stop));
    const bool passed =
        std::all_of(rows.begin(), rows.end(), [](const SelftestRow& row) { return row.passed; });
    if (settings.json) {
        Json list = Json::array();
        for (const SelftestRow& row : rows) {
            list.push_back({{"op", row.op},
                            {"shape", row.shape},
                            {"error", row.error},
                            {"bound", row.bound},
                            {"passed", row.passed}});
        }
        print_json({{"device", backend->device().name},
                    {"seed", settings.seed},
                    {"passed", passed},
                    {"rows", std::move(list)}});
    } else {
        print(backend->device().name + "\n" + selftest_table(rows));
    }
    if (stop.stop_requested()) {
        return kStopped;
    }
    return passed ? kDone : kFailed;
}

} // namespace

namespace {

void add_edit_options(CLI::App& command, ScheduleEdit& edit, std::string& weights) {
    command.add_option("--other", edit.other,
                       "what the layers without full attention have: window, window=N, "
                       "\"gated delta\", kda, lightning; else as the model has it");
    command.add_option("--layers", edit.layers, "the first so many alone")
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{1024}));
    command
        .add_option("--weights", weights,
                    "random weights, for an architecture without any or a ratio that its own do "
                    "not fit")
        ->check(CLI::IsMember({"q8_0", "q4_0", "q4_k", "bf16", "f16", "f32"}))
        ->capture_default_str();
}

} // namespace

void add_bench(CLI::App& app, Action& action) {
    CLI::App* command =
        app.add_subcommand("bench", "prefill and decode throughput at several depths of context");
    const auto settings = std::make_shared<BenchSettings>();
    add_model_option(*command, settings->model);
    command->add_option("--prompt", settings->prompts, "tokens to read, as a list: 512,2048")
        ->capture_default_str();
    command->add_option("--gen", settings->generate, "tokens to decode; 0: none")
        ->check(CLI::Range(std::int64_t{0}, std::int64_t{16} << 20))
        ->capture_default_str();
    command->add_option("--depth", settings->depths, "tokens held before, as a list: 0,4096")
        ->capture_default_str();
    command->add_option("--repeat", settings->repeats, "how often each is timed")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    command->add_option("--ratio", settings->edit.full,
                        "other layers with full attention: full, none, 1:3, or a list 3,7");
    add_edit_options(*command, settings->edit, settings->weights);
    add_device_options(*command, settings->device);
    add_json_flag(*command, settings->json);
    command->footer(kBenchJson);
    command->callback([settings, &action] {
        action = [settings](std::stop_token stop) { return run_bench(*settings, std::move(stop)); };
    });
}

void add_compare(CLI::App& app, Action& action) {
    CLI::App* command =
        app.add_subcommand("compare", "run the same work on several models, in rounds");
    const auto settings = std::make_shared<CompareSettings>();
    command->add_option("PLAN", settings->plan, "a plan as JSON; - reads stdin");
    command->add_option("--arms", settings->arms,
                        "models, separated by commas; the first is the baseline");
    command->add_option("--ratios", settings->ratios,
                        "every arm at each of these hybrid ratios: full,1:1,1:3,1:7,none");
    add_edit_options(*command, settings->edit, settings->weights);
    command->add_option("--prompt", settings->prompt, "the question all are asked");
    command->add_option("--gen", settings->generate, "the most tokens of a reply")
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{16} << 20))
        ->capture_default_str();
    command->add_option("--repeat", settings->repeats, "measured rounds")
        ->check(CLI::Range(1, 1000))
        ->capture_default_str();
    command->add_option("--warm-up", settings->warm_ups, "rounds before them")
        ->check(CLI::Range(0, 1000))
        ->capture_default_str();
    command->add_option("--depth", settings->depths,
                        "contexts to fill before decoding, as a list: 0,1024,4096");
    command->add_option("--system", settings->system, "a system prompt");
    command->add_flag("--raw", settings->raw, "no chat template: the text goes on as it is");
    command->add_flag("--no-think", settings->no_think,
                      "for templates with a thinking switch: off");
    command->add_flag("--full-length", settings->full_length,
                      "always --gen tokens, whatever ends a reply, so that all do equal work");
    command->add_option("--title", settings->title, "of the session");
    add_sampling_options(*command, settings->sampling);
    add_device_options(*command, settings->device);
    command->add_option("--session-db", settings->session_db,
                        "the session file; else the one of the application");
    command->add_option("--html", settings->html, "also write the report to this file");
    command->add_option("--csv", settings->csv, "also write every measurement to this file");
    add_json_flag(*command, settings->json);
    command->footer(kCompareJson);
    command->callback([settings, &action] {
        action = [settings](std::stop_token stop) {
            return run_compare(*settings, std::move(stop));
        };
    });
}

void add_selftest(CLI::App& app, Action& action) {
    CLI::App* command =
        app.add_subcommand("selftest", "hold a device's arithmetic to a plain reference");
    const auto settings = std::make_shared<SelftestSettings>();
    command->add_option("--device", settings->device, "cpu, cuda or auto")
        ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
        ->capture_default_str();
    command->add_option("--threads", settings->threads, "threads of the CPU; 0: all physical cores")
        ->check(CLI::Range(0, 4096))
        ->capture_default_str();
    command->add_option("--seed", settings->seed, "of the random inputs")->capture_default_str();
    add_json_flag(*command, settings->json);
    command->footer(kSelftestJson);
    command->callback([settings, &action] {
        action = [settings](std::stop_token stop) {
            return run_selftest(*settings, std::move(stop));
        };
    });
}

} // namespace hs::cli
