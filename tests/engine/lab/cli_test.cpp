// hybridscope-cli from outside: every subcommand, its JSON, and what it says of wrong input.

#include "engine/core/json.h"

#include <QDir>
#include <QFile>
#include <QProcess>
#include <QProcessEnvironment>
#include <QRegularExpression>
#include <QTemporaryDir>
#include <QTest>

#include <cmath>
#include <cstring>
#include <span>
#include <vector>

using namespace hs;

namespace {

const QString kCheckpoints = HS_TEST_CHECKPOINTS;

struct Outcome {
    int code = -1;
    QString out;
    QString err;
};

Json parsed(const QString& text) {
    const Result<Json> json = parse_json(text.toStdString());
    if (!json.ok()) {
        qFatal("%s in: %s", json.error().text().c_str(), qPrintable(text.left(400)));
    }
    return *json;
}

// Tensors of a safetensors file that holds f32 and integers.
struct Tensor {
    std::vector<std::int64_t> shape;
    QByteArray bytes;

    std::span<const float> floats() const {
        return {reinterpret_cast<const float*>(bytes.constData()),
                static_cast<std::size_t>(bytes.size()) / sizeof(float)};
    }
};

Tensor read_tensor(const QString& path, const char* name) {
    QFile file(path);
    if (!file.open(QIODevice::ReadOnly)) {
        qFatal("cannot read %s", qPrintable(path));
    }
    const QByteArray all = file.readAll();
    std::uint64_t header = 0;
    std::memcpy(&header, all.constData(), 8);
    const Json json = parsed(QString::fromUtf8(all.mid(8, static_cast<qsizetype>(header))));
    const Json& entry = json[name];
    const auto first = entry["data_offsets"][0].get<qsizetype>();
    const auto last = entry["data_offsets"][1].get<qsizetype>();
    Tensor tensor;
    tensor.shape = entry["shape"].get<std::vector<std::int64_t>>();
    tensor.bytes = all.mid(8 + static_cast<qsizetype>(header) + first, last - first);
    // To the byte: nothing behind the tensors.
    if (json.size() == 1 && all.size() != 8 + static_cast<qsizetype>(header) + last) {
        qFatal("%s is longer than its header says", qPrintable(path));
    }
    return tensor;
}

// The norm of the difference over the norm of the reference.
double relative_error(std::span<const float> found, std::span<const float> expected) {
    double difference = 0;
    double norm = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
        difference += std::pow(double{found[i]} - double{expected[i]}, 2);
        norm += std::pow(double{expected[i]}, 2);
    }
    return std::sqrt(difference / norm);
}

} // namespace

class CliTest : public QObject {
    Q_OBJECT

private:
    QTemporaryDir m_folder;
    QString m_bundled; // a bundled model

    QString path(const QString& name) const { return m_folder.filePath(name); }

    QString write(const QString& name, const QByteArray& text) const {
        QFile file(path(name));
        if (!file.open(QIODevice::WriteOnly) || file.write(text) != text.size()) {
            qFatal("cannot write %s", qPrintable(name));
        }
        return file.fileName();
    }

    void prepare(QProcess& process) const {
        QProcessEnvironment environment = QProcessEnvironment::systemEnvironment();
        environment.insert("HYBRIDSCOPE_DATA", path("data"));
        environment.insert("HYBRIDSCOPE_MODELS", HS_MODELS);
        environment.insert("TERM", "dumb");
        process.setProcessEnvironment(environment);
    }

    Outcome run(const QStringList& arguments, const QByteArray& input = {}) const {
        QProcess process;
        prepare(process);
        process.start(HS_CLI, arguments);
        process.write(input);
        process.closeWriteChannel();
        if (!process.waitForFinished(180'000)) {
            qFatal("hybridscope-cli does not end: %s", qPrintable(arguments.join(' ')));
        }
        if (process.exitStatus() != QProcess::NormalExit) {
            qFatal("hybridscope-cli crashed: %s", qPrintable(arguments.join(' ')));
        }
        return {process.exitCode(), QString::fromUtf8(process.readAllStandardOutput()),
                QString::fromUtf8(process.readAllStandardError())};
    }

    QString good(const QStringList& arguments, const QByteArray& input = {}) const {
        const Outcome outcome = run(arguments, input);
        if (outcome.code != 0) {
            qFatal("%s: %d, %s", qPrintable(arguments.join(' ')), outcome.code,
                   qPrintable(outcome.err));
        }
        return outcome.out;
    }

private slots:
    void initTestCase() {
        const Json models = parsed(good({"models", "--json"}));
        for (const Json& model : models) {
            if (QString::fromStdString(model["name"].get<std::string>()).endsWith("1-3")) {
                m_bundled = QString::fromStdString(model["name"].get<std::string>());
            }
        }
        QVERIFY2(!m_bundled.isEmpty(), "the bundled models are not beside the program");
    }

    // --- what it is made of ---

    void NeedsNothingButTheCLibrary() {
#ifdef HS_SANITIZE
        QSKIP("a build with sanitizers");
#endif
        QProcess readelf;
        readelf.start("readelf", {"-d", "-V", "-W", HS_CLI});
        if (!readelf.waitForStarted()) {
            QSKIP("readelf is not here");
        }
        readelf.waitForFinished();
        const QString text = QString::fromUtf8(readelf.readAllStandardOutput());
        QRegularExpression needed("Shared library: \\[(.*?)\\]");
        for (auto i = needed.globalMatch(text); i.hasNext();) {
            const QString library = i.next().captured(1);
            QVERIFY2(QRegularExpression("^(libc|libm|ld-linux-x86-64)\\.so\\.\\d+$")
                         .match(library)
                         .hasMatch(),
                     qPrintable(library));
        }
        QRegularExpression version("GLIBC_2\\.(\\d+)");
        for (auto i = version.globalMatch(text); i.hasNext();) {
            QVERIFY(i.next().captured(1).toInt() <= 36);
        }
    }

    void HelpDescribesEveryCommandAndItsJson_data() {
        QTest::addColumn<QStringList>("command");
        QTest::addColumn<QStringList>("words");
        QTest::newRow("info") << QStringList{"info"}
                              << QStringList{"bytes_by_format", "break_even"};
        QTest::newRow("models") << QStringList{"models"} << QStringList{"path"};
        QTest::newRow("generate") << QStringList{"generate"}
                                  << QStringList{"--temp", "--top-k", "--min-p", "ttft_ms"};
        QTest::newRow("tokenize") << QStringList{"tokenize"} << QStringList{"round_trip"};
        QTest::newRow("logits") << QStringList{"logits"} << QStringList{"--split", "F32"};
        QTest::newRow("bench") << QStringList{"bench"} << QStringList{"peak_resident_bytes"};
        QTest::newRow("compare") << QStringList{"compare"} << QStringList{"against_baseline"};
        QTest::newRow("sessions list")
            << QStringList{"sessions", "list"} << QStringList{"updated_ms"};
        QTest::newRow("sessions show") << QStringList{"sessions", "show"} << QStringList{"samples"};
        QTest::newRow("sessions export") << QStringList{"sessions", "export"} << QStringList{"csv"};
        QTest::newRow("selftest") << QStringList{"selftest"} << QStringList{"bound"};
    }
    void HelpDescribesEveryCommandAndItsJson() {
        QFETCH(QStringList, command);
        QFETCH(QStringList, words);
        const QString help = good(command + QStringList{"--help"});
        for (const QString& word : words) {
            QVERIFY2(help.contains(word), qPrintable(word));
        }
        QVERIFY(good({"--help"}).contains(command.first()));
    }

    void WrongInputIsASentenceAndACode_data() {
        QTest::addColumn<QStringList>("arguments");
        QTest::addColumn<QString>("said");
        const QString tiny = kCheckpoints + "/qwen3.5/model.gguf";
        QTest::newRow("nothing") << QStringList{} << "subcommand";
        QTest::newRow("unknown command") << QStringList{"dance"} << "";
        QTest::newRow("no model") << QStringList{"info"} << "MODEL";
        QTest::newRow("no such model") << QStringList{"info", "nowhere"} << "no model \"nowhere\"";
        QTest::newRow("not a model") << QStringList{"info", HS_CLI} << "";
        QTest::newRow("an unknown option") << QStringList{"info", tiny, "--colour"} << "--colour";
        QTest::newRow("temperature below zero")
            << QStringList{"generate", tiny, "-p", "x", "--temp", "-1"} << "--temp";
        QTest::newRow("unknown device") << QStringList{"bench", tiny, "--device", "tpu"} << "tpu";
        QTest::newRow("bench of words") << QStringList{"bench", tiny, "--prompt", "many"} << "many";
        QTest::newRow("bench below zero") << QStringList{"bench", tiny, "--depth", "-5"} << "-5";
        QTest::newRow("no tokenizer")
            << QStringList{"tokenize", tiny, "--text-file", HS_TEST_DATA "/CMakeLists.txt"}
            << "tokenizer";
        QTest::newRow("no text file")
            << QStringList{"tokenize", tiny, "--text-file", "/nowhere/at/all"} << "";
        QTest::newRow("no ids") << QStringList{"logits", tiny, "--tokens", "/nowhere", "--out", "x"}
                                << "/nowhere";
        QTest::newRow("no plan") << QStringList{"compare"} << "--arms";
        QTest::newRow("no prompt") << QStringList{"compare", "--arms", tiny} << "prompt";
        QTest::newRow("plan that is not there")
            << QStringList{"compare", "/nowhere/plan.json"} << "/nowhere/plan.json";
        QTest::newRow("words of a model that is planned only")
            << QStringList{"generate", "deepseek-v4-flash", "-p", "x"} << "hc_mult = 4";
        QTest::newRow("times of a model that is planned only")
            << QStringList{"bench", "minimax-m3"} << "sparse_topk_blocks = 16";
        QTest::newRow("ratios of a model that is planned only")
            << QStringList{"compare", "--arms", "qwen3.8-flash-next", "--ratios", "full,1:3",
                           "--depth", "64"}
            << "hc_count = 4";
        QTest::newRow("no session file")
            << QStringList{"sessions", "list", "--session-db", "/nowhere/s.db"} << "/nowhere/s.db";
        QTest::newRow("a session file that is none")
            << QStringList{"sessions", "list", "--session-db", HS_CLI} << "database";
        QTest::newRow("sessions of nothing") << QStringList{"sessions"} << "subcommand";
    }
    void WrongInputIsASentenceAndACode() {
        QFETCH(QStringList, arguments);
        QFETCH(QString, said);
        const Outcome outcome = run(arguments);
        QVERIFY(outcome.code != 0);
        QVERIFY2(outcome.out.isEmpty(), qPrintable(outcome.out));
        QVERIFY(!outcome.err.trimmed().isEmpty());
        QVERIFY2(outcome.err.contains(said), qPrintable(outcome.err));
    }

    void TokenIdsAreReadStrictly() {
        const QString tiny = kCheckpoints + "/qwen3.5/model.gguf";
        const QString out = path("never.safetensors");
        for (const QByteArray& text :
             {QByteArray(""), QByteArray("1 2 x"), QByteArray("1,2"), QByteArray("-1"),
              QByteArray("99999999999"), QByteArray("1 2.5"), QByteArray("127 128")}) {
            const Outcome outcome =
                run({"logits", tiny, "--tokens", write("ids", text), "--out", out});
            QVERIFY2(outcome.code != 0, text.constData());
            QVERIFY(!outcome.err.isEmpty());
        }
        const Outcome split =
            run({"logits", tiny, "--tokens", write("ids", "1 2"), "--out", out, "--split", "0"});
        QVERIFY(split.code != 0);
    }

    // --- looking ---

    void InfoOfABundledModelAndOfAConfigAlone() {
        const Json bundled = parsed(good({"info", m_bundled, "--json"}));
        QVERIFY(bundled["ratio"] == "1:3");
        QVERIFY(bundled["weights_present"] == true);
        QVERIFY(bundled["bytes_by_format"].contains("Q8_0"));
        QCOMPARE(bundled["layers"].size(), std::size_t{8});
        QCOMPARE(bundled["state"].size(), std::size_t{4});
        QVERIFY(bundled["state"][3]["context_tokens"] == 1048576);
        const Json config =
            parsed(good({"info", kCheckpoints + "/qwen3.5/hf/config.json", "--json"}));
        QVERIFY(config["weights_present"] == false);
        QVERIFY(config["parameters"]["total"].get<std::int64_t>() > 0);
        QVERIFY(good({"info", m_bundled}).contains("1:3 (2 full attention, 6 gated delta)"));
    }

    void TokenizeGoesThereAndBack() {
        const QByteArray text = "What is a cello? Grüße, 你好 🎻\n\tif (x) { return 1; }";
        const QString file = write("text – ü.txt", text);
        const Json json = parsed(good({"tokenize", m_bundled, "--text-file", file, "--json"}));
        QVERIFY(json["round_trip"] == true);
        QCOMPARE(json["text"].get<std::string>(), text.toStdString());
        QCOMPARE(json["ids"].size(), json["pieces"].size());
        QCOMPARE(json["tokens"].get<std::size_t>(), json["ids"].size());
        const Outcome table = run({"tokenize", m_bundled, "--text-file", "-"}, text);
        QCOMPARE(table.code, 0);
        QCOMPARE(static_cast<std::size_t>(table.out.count('\n')), json["ids"].size());
    }

    // --- running ---

    void LogitsAreTheReferencesHoweverTheyAreSplit() {
        for (const char* model : {"/qwen3.5/model.gguf", "/qwen3.5/hf", "/llama/hf"}) {
            const QString folder = kCheckpoints + "/" + QString(model).section('/', 1, 1);
            const Tensor tokens = read_tensor(folder + "/expected.safetensors", "tokens");
            const Tensor expected = read_tensor(folder + "/expected.safetensors", "logits");
            QByteArray ids;
            const std::size_t count = static_cast<std::size_t>(expected.shape.at(0));
            const std::size_t width = static_cast<std::size_t>(tokens.bytes.size()) / count;
            for (std::size_t i = 0; i < count; ++i) {
                std::int64_t id = 0;
                std::memcpy(&id, tokens.bytes.constData() + i * width, width);
                ids += QByteArray::number(static_cast<qlonglong>(id)) + (i % 7 == 0 ? "\n" : " ");
            }
            const QString file = write("ids – ü", ids);
            for (const char* split : {"all", "1", "37"}) {
                const QString out = path("logits – ü.safetensors");
                good({"logits", kCheckpoints + model, "--tokens", file, "--out", out, "--split",
                      split});
                const Tensor found = read_tensor(out, "logits");
                QCOMPARE(found.shape, expected.shape);
                const double error = relative_error(found.floats(), expected.floats());
                QVERIFY2(error <= 2e-4,
                         qPrintable(QString("%1 %2: %3").arg(model, split).arg(error)));
            }
        }
    }

    void GenerateStreamsWhatItReports() {
        const QStringList question{"generate", m_bundled, "-p", "What is a cello?", "-n",
                                   "24",       "--temp",  "0",  "--no-think"};
        const Json json = parsed(good(question + QStringList{"--json"}));
        const Outcome streamed = run(question);
        QCOMPARE(streamed.code, 0);
        QCOMPARE(streamed.out.trimmed(),
                 QString::fromStdString(json["text"].get<std::string>()).trimmed());
        QVERIFY(streamed.err.contains("tokens/s"));
        QVERIFY(!json["text"].get<std::string>().empty());
        QVERIFY(json["metrics"]["timings"]["generated_tokens"].get<int>() ==
                static_cast<int>(json["ids"].size()));
        QVERIFY(json["metrics"]["state"]["used_bytes"].get<std::int64_t>() > 0);
        QVERIFY(json["peak_resident_bytes"].get<std::int64_t>() > 0);
        // Greedy is deterministic; a seed makes sampling so.
        QVERIFY(parsed(good(question + QStringList{"--json"}))["ids"] == json["ids"]);
        const QStringList seeded{"generate", m_bundled, "-p",     "Tell", "-n",     "16",
                                 "--temp",   "1",       "--seed", "5",    "--json", "--raw"};
        const Json first = parsed(good(seeded));
        QVERIFY(first["seed"] == 5);
        QVERIFY(parsed(good(seeded))["ids"] == first["ids"]);
        // The prompt from stdin is the same prompt.
        QStringList piped = question + QStringList{"--json"};
        piped[3] = "-";
        QVERIFY(parsed(good(piped, "What is a cello?"))["ids"] == json["ids"]);
    }

    void CtrlCKeepsWhatWasWritten() {
        QProcess process;
        prepare(process);
        process.start(HS_CLI,
                      {"generate", m_bundled, "-p", "Once upon a time", "-n", "200000", "--raw",
                       "--temp", "1", "--context", "300000", "--stop", "\x01 never"});
        QTRY_VERIFY_WITH_TIMEOUT(
            process.bytesAvailable() > 4 || process.state() == QProcess::NotRunning, 60'000);
        if (process.state() == QProcess::NotRunning) {
            QSKIP("the model ended its text by itself");
        }
        process.terminate();
        QVERIFY(process.waitForFinished(10'000));
        QCOMPARE(process.exitStatus(), QProcess::NormalExit);
        if (process.exitCode() == 0) {
            QSKIP("the model ended its text by itself");
        }
        QCOMPARE(process.exitCode(), 130);
        QVERIFY(process.readAllStandardOutput().size() > 4);
        QVERIFY(process.readAllStandardError().contains("stopped"));
    }

    void BenchMeasuresACheckpointWithoutTokenizer() {
        const QStringList arguments{"bench",    kCheckpoints + "/qwen3.5/model.gguf",
                                    "--prompt", "16,64",
                                    "--gen",    "8",
                                    "--depth",  "0,100",
                                    "--repeat", "2"};
        const Json json = parsed(good(arguments + QStringList{"--json"}));
        QCOMPARE(json["rows"].size(), std::size_t{6});
        for (const Json& row : json["rows"]) {
            QVERIFY(row["tokens_per_s"]["median"].get<double>() > 0);
            QVERIFY(row["tokens_per_s"]["low"] <= row["tokens_per_s"]["high"]);
            QVERIFY(row["tokens_per_s"]["n"] == 2);
        }
        QVERIFY(json["peak_resident_bytes"].get<std::int64_t>() > 0);
        QVERIFY(json["state"]["used_bytes"].get<std::int64_t>() > 0);
        QVERIFY(good(arguments).contains("decode"));
    }

    void CompareIsKeptShownAndExported() {
        const QString db = path("comparison – ü.db");
        const QString html = path("report – ü.html");
        const Json json = parsed(good(
            {"compare", "--arms", QString(m_bundled).replace("1-3", "full") + "," + m_bundled,
             "--prompt", "What is a violin?", "--gen", "12", "--repeat", "2", "--depth", "0,200",
             "--session-db", db, "--html", html, "--csv", path("all.csv"), "--json"}));
        QVERIFY(json["state"] == "complete");
        QCOMPARE(json["arms"].size(), std::size_t{2});
        QVERIFY(json["arms"][0]["label"] == "full");
        QVERIFY(json["arms"][1]["label"] == "1:3");
        QVERIFY(json["arms"][1]["state_bytes"] < json["arms"][0]["state_bytes"]);
        QCOMPARE(json["runs"].size(), std::size_t{2 * 2 * 3});
        const QString session = QString::number(json["session"].get<qlonglong>());

        const Json list = parsed(good({"sessions", "list", "--session-db", db, "--json"}));
        QCOMPARE(list.size(), std::size_t{1});
        QVERIFY(list[0]["kind"] == "comparison");
        QCOMPARE(
            parsed(good({"sessions", "list", "--session-db", db, "--search", "violin", "--json"}))
                .size(),
            std::size_t{1});
        QCOMPARE(parsed(good({"sessions", "list", "--session-db", db, "--search", "trombone \"",
                              "--json"}))
                     .size(),
                 std::size_t{0});
        QVERIFY(good({"sessions", "show", session, "--session-db", db}).contains("1:3"));
        const Json whole =
            parsed(good({"sessions", "show", session, "--session-db", db, "--json"}));
        QVERIFY(whole["schema"] == "hybridscope-session");

        QFile written(html);
        QVERIFY(written.open(QIODevice::ReadOnly));
        const QString page = QString::fromUtf8(written.readAll());
        QCOMPARE(good({"sessions", "export", session, "--session-db", db}), page);
        QVERIFY(page.contains("What is a violin?"));
        const QString csv =
            good({"sessions", "export", session, "--session-db", db, "--format", "csv"});
        QFile table(path("all.csv"));
        QVERIFY(table.open(QIODevice::ReadOnly));
        QCOMPARE(QString::fromUtf8(table.readAll()), csv);
        QVERIFY(csv.startsWith("experiment,arm,label"));
        QVERIFY(run({"sessions", "export", "99", "--session-db", db}).code != 0);
    }

    void ComparePlansAreFiles() {
        const std::string model = m_bundled.toStdString();
        const Json plan{
            {"title", "A plan"},
            {"arms",
             {{{"label", "a"}, {"model", model}},
              {{"label", "b"}, {"model", model}, {"threads", 1}, {"kv_dtype", "f32"}}}},
            {"workload", {{"prompt", "Hello"}, {"generate_tokens", 8}, {"ignore_end_token", true}}},
            {"repeats", 1},
            {"warm_ups", 0},
            {"baseline", 1}};
        const Json json =
            parsed(good({"compare", write("plan.json", QByteArray::fromStdString(plan.dump())),
                         "--session-db", path("plan.db"), "--json"}));
        QVERIFY(json["baseline"] == "b");
        QVERIFY(json["arms"][0]["decode_tokens_per_s"]["against_baseline"]["verdict"] == "one run");
        // Without --session-db it goes to the person's own file.
        good({"compare", path("plan.json")});
        QVERIFY(QFile::exists(path("data/sessions.db")));
        QVERIFY(good({"sessions", "list"}).contains("A plan"));
        const Outcome wrong = run({"compare", write("wrong.json", "{\"arm\": []}")});
        QVERIFY(wrong.code != 0);
        QVERIFY2(wrong.err.contains("wrong.json") && wrong.err.contains("\"arm\""),
                 qPrintable(wrong.err));
    }

    void SelftestHoldsThisMachine() {
        const Outcome outcome = run({"selftest", "--device", "cpu", "--json"});
        const Json json = parsed(outcome.out);
        QVERIFY(!json["rows"].empty());
        QVERIFY(json["passed"] == true);
        QCOMPARE(outcome.code, 0);
    }

    void PathsNeedNotBeAscii() {
        const QString folder = path("Modèle – 模型");
        QVERIFY(QDir().mkpath(folder));
        QVERIFY(QFile::copy(kCheckpoints + "/qwen3.5/model.gguf", folder + "/größe.gguf"));
        QVERIFY(good({"info", folder + "/größe.gguf"}).contains("gated delta"));
    }
};

QTEST_GUILESS_MAIN(CliTest)
#include "cli_test.moc"
