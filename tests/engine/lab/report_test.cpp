// Reports from stored sessions alone: the same bytes each time, everything escaped, CSV and JSON
// that parse, and words that claim no more than the repeats show.

#include "engine/lab/report.h"
#include "engine/lab/report_source.h"
#include "engine/lab/svg_plot.h"
#include "engine/store/samples.h"
#include "engine/store/sessions.h"

#include <QFile>
#include <QRegularExpression>
#include <QTemporaryDir>
#include <QTest>
#include <QXmlStreamReader>

#include <cmath>
#include <limits>

using namespace hs;

namespace {

const std::string kHostile = "<script>alert('x')</script> & \"quoted\" \xff\x01 ünï 🎻";

template <class T>
T value_of(Result<T> result) {
    if (!result.ok()) {
        qFatal("%s", result.error().text().c_str());
    }
    return std::move(result).value();
}

void need(const Result<void>& result) {
    if (!result.ok()) {
        qFatal("%s", result.error().text().c_str());
    }
}

GenerateResult reply_of(std::string text, int tokens, double ms) {
    GenerateResult reply;
    reply.reason = FinishReason::TokenLimit;
    reply.text = std::move(text);
    reply.seed = 7;
    reply.timings.ttft_ms = 12.5;
    reply.timings.prefill_ms = 10;
    reply.timings.prefilled_tokens = 32;
    reply.timings.prompt_tokens = 32;
    reply.timings.generated_tokens = tokens;
    reply.timings.decode_ms = ms * (tokens - 1);
    reply.state.context_tokens = 32 + tokens;
    reply.state.context_limit = 4096;
    reply.state.entries = {{.layer = 0, .kind = StateKind::KvCache, .used_bytes = 4096},
                           {.layer = 1, .kind = StateKind::RecurrentState, .used_bytes = 9000},
                           {.layer = 1, .kind = StateKind::ConvState, .used_bytes = 100}};
    return reply;
}

struct ArmPlan {
    std::string label;
    std::vector<std::string> layers;
    double ms_per_token;
    double spread; // of the repeats, as a part
};

// A comparison as the recorder would have left it.
std::int64_t comparison(Database& db, const std::vector<ArmPlan>& plans,
                        const std::vector<std::int64_t>& depths = {0}) {
    SessionStore sessions(db);
    SampleStore store(db);
    const auto session = value_of(sessions.create(SessionKind::Comparison, "Ratios " + kHostile));
    Experiment plan;
    plan.title = "Ratios";
    plan.workload.prompt = "What is a cello? " + kHostile.substr(0, 27);
    plan.workload.depths = depths;
    for (const ArmPlan& arm : plans) {
        plan.arms.push_back({.label = arm.label, .model = "/home/someone/models/" + arm.label});
    }
    const auto experiment = value_of(store.add_experiment(
        {.session = session,
         .plan = to_json(plan).dump(),
         .machine = R"({"program":"Hybridscope 0.1.0","system":"Linux","memory_bytes":8589934592,
                        "devices":[{"kind":"cpu","name":"Some CPU, 2 threads"}]})",
         .state = "complete",
         .created_ms = 1'764'000'000'000}));
    for (std::size_t a = 0; a < plans.size(); ++a) {
        std::string layers = "[";
        for (const std::string& layer : plans[a].layers) {
            layers += (layers.size() > 1 ? ",\"" : "\"") + layer + "\"";
        }
        const auto arm =
            value_of(store.add_arm({.experiment = experiment,
                                    .position = static_cast<int>(a),
                                    .label = plans[a].label,
                                    .model = "/home/someone/models/" + plans[a].label,
                                    .schedule = "schedule of " + plans[a].label,
                                    .layers = layers + "]",
                                    .weight_bytes = 5 << 20,
                                    .details = R"({"family":"qwen3.5","parameters":8400000,
                                          "file_bytes":5500000,"sha256":"00ff","kv_dtype":"f16"})"}));
        for (int repeat = -1; repeat < 3; ++repeat) {
            for (const std::int64_t depth : depths) {
                const bool warm_up = repeat < 0;
                const double ms = plans[a].ms_per_token * (1 + plans[a].spread * repeat) *
                                  (warm_up ? 10 : 1) * (1 + static_cast<double>(depth) / 8192);
                const auto run = value_of(store.add_run({.arm = arm,
                                                         .repeat = std::max(repeat, 0),
                                                         .depth = depth,
                                                         .warm_up = warm_up,
                                                         .state = "complete"}));
                std::vector<SampleRow> rows;
                const auto add = [&](const char* kind, std::int64_t context, double value,
                                     int layer = -1, const char* state = "") {
                    rows.push_back({.run = run,
                                    .kind = kind,
                                    .time_ms = static_cast<double>(context),
                                    .context_tokens = context,
                                    .layer = layer,
                                    .state_kind = state,
                                    .value = value});
                };
                for (std::int64_t context = depth + 32; context <= depth + 64; context += 4) {
                    add("token_ms", context, ms);
                    for (std::size_t l = 0; l < plans[a].layers.size(); ++l) {
                        const bool full = plans[a].layers[l] == "full attention";
                        add("state_used_bytes", context,
                            full ? static_cast<double>(context) * 512 : 20000.0,
                            static_cast<int>(l), full ? "KV cache" : "recurrent state");
                    }
                }
                add("ttft_ms", depth + 64, 10 * ms);
                add("prefill_tokens_per_s", depth + 64, 3000);
                add("decode_tokens_per_s", depth + 64, 1000 / ms);
                need(store.add_samples(rows));
                need(store.finish_run(run, "An answer of " + plans[a].label + " " + kHostile,
                                      metrics_json(reply_of("x", 32, ms), {}), "complete"));
            }
        }
    }
    return session;
}

std::vector<ArmPlan> five_arms() {
    const std::string f = "full attention";
    const std::string l = "gated delta";
    return {{"full", {f, f, f, f, f, f, f, f}, 2.0, 0.01},
            {"1:1", {l, f, l, f, l, f, l, f}, 1.9, 0.05},
            {"1:3", {l, l, l, f, l, l, l, f}, 1.5, 0.01},
            {"1:7", {l, l, l, l, l, l, l, f}, 1.4, 0.01},
            {"none full", {l, l, l, l, l, l, l, l}, 1.2, 0.01}};
}

// RFC 4180, small: rows of fields.
std::vector<std::vector<std::string>> read_csv(const std::string& text) {
    std::vector<std::vector<std::string>> rows(1, std::vector<std::string>(1));
    bool quoted = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        std::string& field = rows.back().back();
        if (quoted) {
            if (text[i] == '"' && i + 1 < text.size() && text[i + 1] == '"') {
                field += text[++i];
            } else if (text[i] == '"') {
                quoted = false;
            } else {
                field += text[i];
            }
        } else if (text[i] == '"') {
            quoted = true;
        } else if (text[i] == ',') {
            rows.back().emplace_back();
        } else if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') {
            ++i;
            rows.emplace_back(1);
        } else {
            field += text[i];
        }
    }
    rows.pop_back(); // behind the last line end
    return rows;
}

// Every element closed, every attribute quoted, every entity known: the page as XML.
void check_markup(const std::string& html) {
    QString text = QString::fromUtf8(html.c_str(), static_cast<qsizetype>(html.size()));
    text.remove(0, text.indexOf("<html"));
    text.replace(QRegularExpression("<meta([^>]*)>"), "<meta\\1/>");
    QXmlStreamReader reader(text);
    while (!reader.atEnd()) {
        reader.readNext();
    }
    QVERIFY2(!reader.hasError(), qPrintable(QString("%1 at line %2, column %3")
                                                .arg(reader.errorString())
                                                .arg(reader.lineNumber())
                                                .arg(reader.columnNumber())));
}

void check_offline(const std::string& html) {
    const QString text = QString::fromStdString(html);
    QVERIFY(!text.contains("<script"));
    QVERIFY(!text.contains(
        QRegularExpression("(src|href)\\s*=", QRegularExpression::CaseInsensitiveOption)));
    QVERIFY(!text.contains(QRegularExpression("https?:")));
    QVERIFY(!text.contains(QRegularExpression("@import|url\\((?!#)")));
    QVERIFY(text.contains("prefers-color-scheme:dark"));
}

Figure of(std::vector<double> values) {
    return figure(std::move(values));
}

} // namespace

class ReportTest : public QObject {
    Q_OBJECT

private slots:
    void TheSameSessionGivesTheSameBytes() {
        QTemporaryDir folder;
        const std::filesystem::path path = folder.filePath("s.db").toStdString();
        std::string html;
        std::string csv;
        std::string json;
        std::int64_t session = 0;
        {
            Database db = value_of(Database::open(path, Access::ReadWrite));
            session = comparison(db, five_arms(), {0, 1024, 4096});
            html = value_of(report_html(db, session));
            csv = value_of(report_csv(db, session));
            json = value_of(report_json(db, session));
            QCOMPARE(value_of(report_html(db, session)), html);
        }
        Database db = value_of(Database::open(path, Access::ReadOnly));
        QCOMPARE(value_of(report_html(db, session)), html);
        QCOMPARE(value_of(report_csv(db, session)), csv);
        QCOMPARE(value_of(report_json(db, session)), json);
        QVERIFY(report_html(db, 99).error().code == ErrorCode::NotFound);
        // For whoever wants to look at it.
        if (const QByteArray out = qgetenv("HS_REPORT_OUT"); !out.isEmpty()) {
            QFile file(QString::fromUtf8(out));
            QVERIFY(file.open(QIODevice::WriteOnly));
            file.write(html.c_str(), static_cast<qint64>(html.size()));
        }
    }

    void ThePageIsWholeEscapedAndOffline() {
        Database db = value_of(Database::open(":memory:", Access::ReadWrite));
        for (const auto& depths : {std::vector<std::int64_t>{0}, {0, 1024, 4096}, {2048}}) {
            const std::string html = value_of(report_html(db, comparison(db, five_arms(), depths)));
            check_markup(html);
            check_offline(html);
            const QString text = QString::fromStdString(html);
            QVERIFY(text.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; "
                                  "&quot;quoted&quot; \uFFFD\uFFFD ünï 🎻"));
            // Folders of the machine stay on it.
            QVERIFY(!text.contains("/home/someone"));
            // What D9 of the design asks of a report: machine, protocol, model, prompt, plan.
            for (const char* part :
                 {"Some CPU, 2 threads", "n = 3 measured rounds", "00ff", "5.25 MiB",
                  "greedy, no seed", "What is a cello?", "&quot;arms&quot;"}) {
                QVERIFY2(text.contains(part), part);
            }
            QCOMPARE(text.count("<article>"), 5); // an answer for each arm
            QVERIFY(text.count("<svg class=\"plot\"") >= 4);
        }
    }

    void WarmUpsAreNotCounted() {
        Database db = value_of(Database::open(":memory:", Access::ReadWrite));
        const ReportSource source =
            value_of(read_report_source(db, comparison(db, five_arms(), {0})));
        const ReportArm& full = source.experiments.at(0).arms.at(0);
        QCOMPARE(full.runs.size(), std::size_t{4});
        const Figure decode = full.figure_of(SampleKind::DecodeTokensPerS, 0);
        QCOMPARE(decode.n, 3);
        QVERIFY(std::fabs(decode.median - 1000 / (2.0 * 1.01)) < 1e-9);
    }

    void DifferencesInsideTheNoiseAreNotClaimed() {
        const Comparison apart = compare(of({10, 11, 12}), of({20, 21, 22}));
        QVERIFY(apart.verdict == Comparison::Verdict::Differs);
        QCOMPARE(comparison_text(apart), std::string("0.524×"));
        const Comparison touching = compare(of({10, 11, 20}), of({20, 21, 22}));
        QVERIFY(touching.verdict == Comparison::Verdict::NoDifference);
        QCOMPARE(comparison_text(touching), std::string("no difference seen (±28.6 %)"));
        const Comparison once = compare(of({10}), of({20}));
        QVERIFY(once.verdict == Comparison::Verdict::OneRun);
        QCOMPARE(comparison_text(once), std::string("0.500×, one run"));
        QVERIFY(compare(of({}), of({1})).verdict == Comparison::Verdict::Unknown);
        QVERIFY(compare(of({1}), of({0})).verdict == Comparison::Verdict::Unknown);
        // 1:1 varies by 10 % around a median 5 % off: the page must not call that a difference.
        Database db = value_of(Database::open(":memory:", Access::ReadWrite));
        const std::string html = value_of(report_html(db, comparison(db, five_arms())));
        QVERIFY(html.find("<strong>1:1</strong> holds 0.805× the state of full (206 KiB at 64 "
                          "tokens; 256 KiB at 64).") != std::string::npos);
        QVERIFY(html.find("Decode throughput: no difference seen") != std::string::npos);
    }

    void CsvHasOneMeasurementPerRow() {
        Database db = value_of(Database::open(":memory:", Access::ReadWrite));
        const auto session = comparison(db, {{"a,\"b\"\r\nc", {"full attention"}, 1, 0}});
        const auto rows = read_csv(value_of(report_csv(db, session)));
        const auto samples = value_of(SampleStore(db).samples(1));
        QCOMPARE(rows.size(), samples.size() + 1);
        for (const auto& row : rows) {
            QCOMPARE(row.size(), std::size_t{17});
        }
        QCOMPARE(rows[1][2], std::string("a,\"b\"\r\nc"));
        double sum = 0;
        double expected = 0;
        for (std::size_t i = 0; i < samples.size(); ++i) {
            sum += std::stod(rows[i + 1][15]);
            expected += samples[i].value;
            QCOMPARE(rows[i + 1][8], samples[i].kind);
        }
        QCOMPARE(sum, expected);
    }

    void JsonParsesAndHoldsEverySample() {
        Database db = value_of(Database::open(":memory:", Access::ReadWrite));
        const auto session = comparison(db, five_arms());
        const Json json = value_of(parse_json(value_of(report_json(db, session))));
        QVERIFY(json["schema"] == "hybridscope-session");
        QCOMPARE(json["experiments"][0]["arms"].size(), std::size_t{5});
        std::size_t samples = 0;
        for (const Json& arm : json["experiments"][0]["arms"]) {
            for (const Json& run : arm["runs"]) {
                samples += run["samples"].size();
                QVERIFY(run["metrics"].is_object());
            }
        }
        QCOMPARE(samples, value_of(SampleStore(db).samples(1)).size());
        QVERIFY(experiment_from_json(json["experiments"][0]["plan"]).ok());
    }

    void AChatBecomesItsTranscript() {
        Database db = value_of(Database::open(":memory:", Access::ReadWrite));
        SessionStore store(db);
        const auto session = value_of(store.create(SessionKind::Chat, kHostile));
        MessageRow question;
        question.session = session;
        question.role = "user";
        question.content = kHostile;
        question.parent = value_of(store.add_message(question));
        for (int turn = 0; turn < 2; ++turn) {
            MessageRow reply;
            reply.session = session;
            reply.parent = question.parent;
            reply.role = "assistant";
            reply.content = "Reply " + kHostile;
            reply.reasoning = "Thinking " + kHostile;
            reply.model = "/home/someone/m.gguf";
            GenerateResult result = reply_of("x", 32 + 64 * turn, 2);
            result.reuse_note = kHostile;
            reply.metrics = metrics_json(result, {});
            question.parent = value_of(store.add_message(reply));
        }
        const std::string html = value_of(report_html(db, session));
        check_markup(html);
        check_offline(html);
        const QString text = QString::fromStdString(html);
        QCOMPARE(text.count("<article"), 3);
        QVERIFY(text.contains("Thinking &lt;script&gt;"));
        QVERIFY(text.contains("TTFT 12.5 ms"));
        QVERIFY(!text.contains("/home/someone"));
        const auto rows = read_csv(value_of(report_csv(db, session)));
        QCOMPARE(rows[0].size(), std::size_t{11});
        bool found = false;
        for (const auto& row : rows) {
            QCOMPARE(row.size(), std::size_t{11});
            found = found || (row[6] == "state_used_bytes" && row[7] == "1" && row[9] == "9000");
        }
        QVERIFY(found);
        QVERIFY(parse_json(value_of(report_json(db, session))).ok());
    }

    void SessionsThatHoldNonsenseStillGiveAPage() {
        Database db = value_of(Database::open(":memory:", Access::ReadWrite));
        const auto session = comparison(db, five_arms());
        need(db.execute(
            "UPDATE experiments SET plan = '[', machine = 'x', state = 'failed: <b>';"
            "UPDATE arms SET layers = '{}', details = '[[', weight_bytes = -5;"
            "UPDATE runs SET metrics = 'null' WHERE id % 2 = 0;"
            "UPDATE samples SET value = 1e308 WHERE rowid % 3 = 0;"
            "UPDATE samples SET value = -1e308, context_tokens = -9000000000000000000,"
            " layer = 2000000000 WHERE rowid % 7 = 0;"
            "UPDATE samples SET context_tokens = 9000000000000000000 WHERE rowid % 11 = 0;"
            "UPDATE sessions SET created_ms = 9000000000000000000"));
        const std::string html = value_of(report_html(db, session));
        check_markup(html);
        QVERIFY(html.find("nan") == std::string::npos);
        QVERIFY(report_csv(db, session).ok());
        QVERIFY(report_json(db, session).ok());
        SessionStore store(db);
        const auto empty = value_of(store.create(SessionKind::Comparison, ""));
        check_markup(value_of(report_html(db, empty)));
        QVERIFY(report_csv(db, empty).ok());
    }

    void PlotsStandAnyNumbers() {
        const double inf = std::numeric_limits<double>::infinity();
        for (const double y : {0.0, 1e-300, 1.0, 1e300, inf, -inf, std::nan("")}) {
            for (const double x : {0.0, 1.0, 1e11, 1e15, inf, -5.0}) {
                const std::string svg = line_plot(
                    {.title = "t", .y_name = "y", .y_unit = PlotUnit::Bytes},
                    {{.label = "a", .style = 9, .points = {{x, y, y, y}, {x + 1, y, y, y}}},
                     {.label = "b", .style = 1}});
                QVERIFY(svg.find("nan") == std::string::npos);
                QVERIFY(svg.find("inf") == std::string::npos);
                QVERIFY(svg.size() < 200'000);
            }
        }
        QVERIFY(layer_bars({{.label = "x", .layers = {{"gated delta", inf}}}}).empty());
        QVERIFY(line_plot({}, {}).empty());
    }

    void LegendsNameTheLettersThatAreDrawn() {
        const std::vector<LayerRow> rows{
            {.label = "a", .layers = {{"gated delta", 1}, {"full attention", 1}}},
            {.label = "b", .layers = {{"recurrent state", 1}, {"<later>", 1}}}};
        QCOMPARE(layer_legend(rows), std::string("– &lt;later&gt;, F full attention, D gated "
                                                 "delta, R recurrent state"));
        const std::string svg = layer_strips(rows);
        for (const char* const letter : {">D<", ">F<", ">R<", ">–<"}) {
            QVERIFY2(svg.find(letter) != std::string::npos, letter);
        }
        QVERIFY(layer_legend({}).empty());
    }

    void TextIsEscapedAndMadeValid() {
        QCOMPARE(html_text("<a b=\"c\">&'"), std::string("&lt;a b=&quot;c&quot;&gt;&amp;&#39;"));
        QCOMPARE(html_text("\xc3\xa4\n\t"), std::string("ä\n\t"));
        // Cut, overlong, surrogate, beyond Unicode, stray, control.
        for (const char* bad :
             {"\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\x80", "\x01"}) {
            const std::string text = html_text(bad);
            QVERIFY(QString::fromStdString(text).contains(QChar(0xfffd)));
        }
        QCOMPARE(html_text(std::string("a\0b", 3)), std::string("a\uFFFDb"));
    }
};

QTEST_GUILESS_MAIN(ReportTest)
#include "report_test.moc"
