// sessions: what was kept, shown and exported.

#include "engine/store/sessions.h"

#include "app/cli/shared.h"
#include "engine/lab/report.h"
#include "engine/lab/report_source.h"
#include "engine/lab/units.h"

#include <fmt/format.h>

namespace hs::cli {

namespace {

constexpr const char* kListJson =
    R"help(JSON: an array, latest first, of {id, kind ("chat", "comparison"), title, model, created_ms,
updated_ms (Unix time), messages, snippet (of a search)})help";

constexpr const char* kShowJson =
    R"help(JSON: as `export --format json`: schema "hybridscope-session", version, session {id, kind, title,
created_ms, updated_ms}, messages [{id, parent, role, content, reasoning, model, created_ms,
metrics}], experiments [{id, created_ms, state, plan, machine, arms [{label, model, schedule,
layers, weight_bytes, details, runs [{repeat, depth_tokens, warm_up, state, text, metrics,
samples [{kind, time_ms, context_tokens, layer, state_kind, count, value}]}]}]}])help";

constexpr const char* kExportHelp =
    R"help(html: one page that opens offline, without scripts. csv: one measurement per row with its unit.
json: everything, as described under `sessions show --help`.)help";

struct SessionsSettings {
    std::string session_db;
    std::string query;
    std::int64_t session = 0;
    std::string format = "html";
    std::string out = "-";
    int limit = 100;
    bool json = false;
};

// A search's hits stand between control characters; on a terminal they become brackets.
std::string marked(const std::string& snippet) {
    std::string text;
    for (const char c : snippet) {
        text += c == '\x02' ? '[' : c == '\x03' ? ']' : c == '\n' ? ' ' : c;
    }
    return text;
}

Result<int> list(const SessionsSettings& settings) {
    Database database = TRY(open_sessions(settings.session_db, Access::ReadOnly));
    SessionStore store(database);
    const std::vector<SessionRow> rows = TRY(store.list(settings.query, settings.limit));
    if (settings.json) {
        Json json = Json::array();
        for (const SessionRow& row : rows) {
            json.push_back({{"id", row.id},
                            {"kind", row.kind == SessionKind::Chat ? "chat" : "comparison"},
                            {"title", row.title},
                            {"model", row.model},
                            {"created_ms", row.created_ms},
                            {"updated_ms", row.updated_ms},
                            {"messages", row.messages},
                            {"snippet", row.snippet}});
        }
        print_json(json);
        return kDone;
    }
    for (const SessionRow& row : rows) {
        print(fmt::format("{:>6}  {}  {:<10}  {}\n", row.id, date_text(row.updated_ms),
                          row.kind == SessionKind::Chat ? "chat" : "comparison", row.title));
        if (!row.snippet.empty()) {
            print(fmt::format("        {}\n", marked(row.snippet)));
        }
    }
    if (rows.empty()) {
        note("no session fits");
    }
    return kDone;
}

Result<int> show(const SessionsSettings& settings) {
    Database database = TRY(open_sessions(settings.session_db, Access::ReadOnly));
    if (settings.json) {
        const std::string json = TRY(report_json(database, settings.session));
        print(json);
        return kDone;
    }
    const ReportSource source = TRY(read_report_source(database, settings.session));
    print(fmt::format("{} · {}\n\n", source.session.title, date_text(source.session.created_ms)));
    for (const ReportMessage& message : source.messages) {
        print(fmt::format("{}{}:\n{}\n\n", message.row.role,
                          message.row.model.empty() ? "" : " (" + message.row.model + ")",
                          message.row.content));
    }
    for (const ReportExperiment& experiment : source.experiments) {
        print(fmt::format("experiment {}: {}\n", experiment.row.id, experiment.row.state));
        for (const ReportArm& arm : experiment.arms) {
            print(fmt::format("  {} · {} · {}\n", arm.row.label, arm.model, arm.row.schedule));
            for (const std::int64_t depth : experiment.depths()) {
                const ReportArm& base = experiment.arms[experiment.baseline()];
                for (const SampleKind kind : {SampleKind::TtftMs, SampleKind::PrefillTokensPerS,
                                              SampleKind::DecodeTokensPerS}) {
                    const Figure f = arm.figure_of(kind, depth);
                    if (f.n == 0) {
                        continue;
                    }
                    Comparison comparison = compare(f, base.figure_of(kind, depth));
                    if (&arm == &base) {
                        comparison.verdict = Comparison::Verdict::Baseline;
                    }
                    print(fmt::format("    depth {:>7}  {:<22} {:>8} ({}–{})  {}\n", depth,
                                      to_string(kind), number_text(f.median), number_text(f.low),
                                      number_text(f.high), comparison_text(comparison)));
                }
            }
        }
    }
    return kDone;
}

Result<int> export_session(const SessionsSettings& settings) {
    Database database = TRY(open_sessions(settings.session_db, Access::ReadOnly));
    const std::string text = settings.format == "csv" ? TRY(report_csv(database, settings.session))
                             : settings.format == "json"
                                 ? TRY(report_json(database, settings.session))
                                 : TRY(report_html(database, settings.session));
    TRY(write_text_file(settings.out, text));
    return kDone;
}

} // namespace

void add_sessions(CLI::App& app, Action& action) {
    CLI::App* command = app.add_subcommand("sessions", "what was kept: list, show, export");
    command->require_subcommand(1);
    const auto settings = std::make_shared<SessionsSettings>();
    const auto add = [&](const char* name, const char* description,
                         Result<int> (*run)(const SessionsSettings&)) {
        CLI::App* sub = command->add_subcommand(name, description);
        sub->add_option("--session-db", settings->session_db,
                        "the session file; else the one of the application");
        sub->callback([settings, &action, run] {
            action = [settings, run](const std::stop_token&) { return run(*settings); };
        });
        return sub;
    };
    CLI::App* listing = add("list", "sessions, latest first", list);
    listing->add_option("--search", settings->query, "words that must occur in title or messages");
    listing->add_option("--limit", settings->limit, "the most to list")
        ->check(CLI::Range(1, 1'000'000))
        ->capture_default_str();
    add_json_flag(*listing, settings->json);
    listing->footer(kListJson);

    CLI::App* showing = add("show", "one session, on the terminal", show);
    showing->add_option("SESSION", settings->session, "its number in the list")->required();
    add_json_flag(*showing, settings->json);
    showing->footer(kShowJson);

    CLI::App* exporting = add("export", "one session as a report", export_session);
    exporting->add_option("SESSION", settings->session, "its number in the list")->required();
    exporting->add_option("--format", settings->format, "html, csv or json")
        ->check(CLI::IsMember({"html", "csv", "json"}))
        ->capture_default_str();
    exporting->add_option("-o,--out", settings->out, "the file to write; - is stdout")
        ->capture_default_str();
    exporting->footer(kExportHelp);
}

} // namespace hs::cli
