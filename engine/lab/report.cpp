#include "engine/lab/report.h"

#include "engine/lab/report_html.h"
#include "engine/lab/report_source.h"

#include <cmath>
#include <fmt/format.h>

namespace hs {

namespace {

constexpr int kJsonVersion = 1;

// RFC 4180: quoted where it must be, quotes doubled.
std::string csv_field(std::string_view text) {
    if (text.find_first_of(",\"\r\n") == std::string_view::npos) {
        return std::string(text);
    }
    std::string quoted = "\"";
    for (const char c : text) {
        quoted += c;
        if (c == '"') {
            quoted += c;
        }
    }
    return quoted + '"';
}

std::string csv_number(double value) {
    return std::isfinite(value) ? fmt::format("{}", value) : std::string();
}

const char* unit_of(std::string_view kind) {
    if (kind.ends_with("_bytes")) {
        return "B";
    }
    if (kind.ends_with("_ms")) {
        return "ms";
    }
    return kind.ends_with("_per_s") ? "1/s" : "";
}

void experiment_rows(const ReportExperiment& experiment, std::string& csv) {
    for (const ReportArm& arm : experiment.arms) {
        for (const ReportRun& run : arm.runs) {
            const std::string head =
                fmt::format("{},{},{},{},{},{},{},{}", experiment.row.id, arm.row.position,
                            csv_field(arm.row.label), csv_field(arm.model), run.row.repeat,
                            run.row.depth, run.row.warm_up ? 1 : 0, csv_field(run.row.state));
            for (const SampleRow& sample : run.samples) {
                const auto layer = static_cast<std::size_t>(sample.layer);
                const bool known = sample.layer >= 0 && layer < arm.layers.size();
                csv += fmt::format(
                    "{},{},{},{},{},{},{},{},{},{}\r\n", head, csv_field(sample.kind),
                    csv_number(sample.time_ms), sample.context_tokens,
                    sample.layer >= 0 ? std::to_string(sample.layer) : "",
                    known ? csv_field(arm.layers[layer]) : "", csv_field(sample.state_kind),
                    sample.count, csv_number(sample.value), unit_of(sample.kind));
            }
        }
    }
}

std::string experiments_csv(const ReportSource& source) {
    std::string csv = "experiment,arm,label,model,repeat,depth_tokens,warm_up,state,kind,time_ms,"
                      "context_tokens,layer,layer_kind,state_kind,count,value,unit\r\n";
    for (const ReportExperiment& experiment : source.experiments) {
        experiment_rows(experiment, csv);
    }
    return csv;
}

std::string chat_csv(const ReportSource& source) {
    std::string csv = "message,parent,role,model,created_ms,state,kind,layer,state_kind,value,"
                      "unit\r\n";
    for (const ReportMessage& message : source.messages) {
        if (!message.metrics) {
            continue;
        }
        const std::string head =
            fmt::format("{},{},{},{},{},{}", message.row.id, message.row.parent,
                        csv_field(message.row.role), csv_field(message.row.model),
                        message.row.created_ms, csv_field(to_string(message.metrics->reason)));
        const auto row = [&](std::string_view kind, double value, std::string_view layer = {},
                             std::string_view state_kind = {}) {
            csv += fmt::format("{},{},{},{},{},{}\r\n", head, kind, layer, state_kind,
                               csv_number(value), unit_of(kind));
        };
        const Timings& t = message.metrics->timings;
        row("queue_ms", t.queue_ms);
        row("tokenise_ms", t.tokenise_ms);
        row("restore_ms", t.restore_ms);
        row("prefill_ms", t.prefill_ms);
        row("ttft_ms", t.ttft_ms);
        row("decode_ms", t.decode_ms);
        row("prompt_tokens", static_cast<double>(t.prompt_tokens));
        row("reused_tokens", static_cast<double>(t.reused_tokens));
        row("prefilled_tokens", static_cast<double>(t.prefilled_tokens));
        row("generated_tokens", static_cast<double>(t.generated_tokens));
        row("prefill_tokens_per_s", t.prefill_tokens_per_s());
        row("decode_tokens_per_s", t.decode_tokens_per_s());
        row("context_tokens", static_cast<double>(message.metrics->state.context_tokens));
        for (const LedgerEntry& entry : message.metrics->state.entries) {
            const std::string layer = std::to_string(entry.layer);
            row("state_used_bytes", static_cast<double>(entry.used_bytes), layer,
                to_string(entry.kind));
            row("state_held_bytes", static_cast<double>(entry.held_bytes), layer,
                to_string(entry.kind));
        }
    }
    return csv;
}

Json object_or_null(std::string_view text) {
    const Result<Json> json = parse_json(text);
    return json.ok() ? *json : Json();
}

Json run_json(const ReportRun& run) {
    Json samples = Json::array();
    for (const SampleRow& sample : run.samples) {
        samples.push_back({{"kind", sample.kind},
                           {"time_ms", sample.time_ms},
                           {"context_tokens", sample.context_tokens},
                           {"layer", sample.layer},
                           {"state_kind", sample.state_kind},
                           {"count", sample.count},
                           {"value", sample.value}});
    }
    return {{"repeat", run.row.repeat},     {"depth_tokens", run.row.depth},
            {"warm_up", run.row.warm_up},   {"state", run.row.state},
            {"text", run.row.text},         {"metrics", object_or_null(run.row.metrics)},
            {"samples", std::move(samples)}};
}

Json experiment_json(const ReportExperiment& experiment) {
    Json arms = Json::array();
    for (const ReportArm& arm : experiment.arms) {
        Json runs = Json::array();
        for (const ReportRun& run : arm.runs) {
            runs.push_back(run_json(run));
        }
        arms.push_back({{"label", arm.row.label},
                        {"model", arm.model},
                        {"schedule", arm.row.schedule},
                        {"layers", arm.layers},
                        {"weight_bytes", arm.row.weight_bytes},
                        {"details", arm.details},
                        {"runs", std::move(runs)}});
    }
    return {{"id", experiment.row.id},       {"created_ms", experiment.row.created_ms},
            {"state", experiment.row.state}, {"plan", to_json(experiment.plan)},
            {"machine", experiment.machine}, {"arms", std::move(arms)}};
}

} // namespace

Result<std::string> report_html(Database& database, std::int64_t session) {
    return report_page(TRY(read_report_source(database, session)));
}

Result<std::string> report_csv(Database& database, std::int64_t session) {
    const ReportSource source = TRY(read_report_source(database, session));
    return source.session.kind == SessionKind::Chat && source.experiments.empty()
               ? chat_csv(source)
               : experiments_csv(source);
}

Result<std::string> report_json(Database& database, std::int64_t session) {
    const ReportSource source = TRY(read_report_source(database, session));
    Json messages = Json::array();
    for (const ReportMessage& message : source.messages) {
        messages.push_back({{"id", message.row.id},
                            {"parent", message.row.parent},
                            {"role", message.row.role},
                            {"content", message.row.content},
                            {"reasoning", message.row.reasoning},
                            {"model", message.row.model},
                            {"created_ms", message.row.created_ms},
                            {"metrics", object_or_null(message.row.metrics)}});
    }
    Json experiments = Json::array();
    for (const ReportExperiment& experiment : source.experiments) {
        experiments.push_back(experiment_json(experiment));
    }
    const Json json{{"schema", "hybridscope-session"},
                    {"version", kJsonVersion},
                    {"session",
                     {{"id", source.session.id},
                      {"kind", source.session.kind == SessionKind::Chat ? "chat" : "comparison"},
                      {"title", source.session.title},
                      {"created_ms", source.session.created_ms},
                      {"updated_ms", source.session.updated_ms}}},
                    {"messages", std::move(messages)},
                    {"experiments", std::move(experiments)}};
    return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

} // namespace hs
