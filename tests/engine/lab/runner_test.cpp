// Experiments on a small random checkpoint: every kind of sample is stored, stopping keeps what was
// measured, and the report of it can be drawn.

#include "engine/lab/bench.h"
#include "engine/lab/inspect.h"
#include "engine/lab/recorder.h"
#include "engine/lab/report.h"
#include "engine/lab/report_source.h"
#include "engine/lab/runner.h"
#include "engine/store/samples.h"
#include "engine/store/sessions.h"

#include <QFile>
#include <QTemporaryDir>
#include <QTest>

#include <filesystem>
#include <fstream>
#include <map>
#include <set>

using namespace hs;

namespace {

const std::filesystem::path kCheckpoints = HS_TEST_CHECKPOINTS;

template <class T>
T value_of(Result<T> result) {
    if (!result.ok()) {
        qFatal("%s", result.error().text().c_str());
    }
    return std::move(result).value();
}

// A byte-level tokenizer of printable ASCII, for checkpoints that were made without one.
std::string ascii_tokenizer() {
    Json vocab = Json::object();
    for (int c = '!'; c <= '~'; ++c) {
        vocab[std::string(1, static_cast<char>(c))] = vocab.size();
    }
    vocab["\u0120"] = vocab.size(); // space
    vocab["\u010a"] = vocab.size(); // line end
    const Json byte_level{{"type", "ByteLevel"},
                          {"add_prefix_space", false},
                          {"trim_offsets", true},
                          {"use_regex", true}};
    const Json json{{"version", "1.0"},
                    {"truncation", nullptr},
                    {"padding", nullptr},
                    {"added_tokens", Json::array()},
                    {"normalizer", nullptr},
                    {"pre_tokenizer", byte_level},
                    {"post_processor", nullptr},
                    {"decoder", byte_level},
                    {"model",
                     {{"type", "BPE"},
                      {"dropout", nullptr},
                      {"unk_token", nullptr},
                      {"continuing_subword_prefix", nullptr},
                      {"end_of_word_suffix", nullptr},
                      {"fuse_unk", false},
                      {"byte_fallback", false},
                      {"ignore_merges", false},
                      {"vocab", vocab},
                      {"merges", Json::array()}}}};
    return json.dump();
}

} // namespace

class RunnerTest : public QObject {
    Q_OBJECT

private:
    QTemporaryDir m_folder;
    std::string m_full; // folders of checkpoints with a tokenizer
    std::string m_hybrid;

    std::string with_tokenizer(const char* name) const {
        const std::filesystem::path to =
            std::filesystem::path(m_folder.path().toStdString()) / name;
        std::filesystem::copy(kCheckpoints / name / "hf", to);
        std::ofstream(to / "tokenizer.json") << ascii_tokenizer();
        return to.string();
    }

    Experiment small() const {
        Experiment e;
        e.title = "small";
        e.arms = {{.label = "full", .model = m_full, .device = "cpu", .threads = 1},
                  {.label = "hybrid", .model = m_hybrid, .device = "cpu", .threads = 1}};
        e.workload.prompt = "Hello there, what is a cello?";
        e.workload.raw = true;
        e.workload.generate_tokens = 12;
        e.repeats = 2;
        e.warm_ups = 1;
        return e;
    }

private slots:
    void initTestCase() {
        m_full = with_tokenizer("qwen3");
        m_hybrid = with_tokenizer("qwen3.5");
    }

    void EveryArmRunsInEveryRound() {
        Experiment e = small();
        e.workload.depths = {0, 64};
        std::vector<RunPlan> plans;
        std::vector<std::string> ready;
        int total = 0;
        int done = 0;
        RunnerSink sink;
        sink.run_planned = [&](const RunPlan& plan) { plans.push_back(plan); };
        sink.arm_ready = [&](int arm, const ModelSpec& spec) {
            QCOMPARE(static_cast<std::size_t>(arm), ready.size());
            ready.push_back(describe_schedule(spec));
        };
        sink.arm_facts = [&](int, const ArmFacts& facts) {
            QVERIFY(facts.weight_bytes > 0 && facts.file_bytes > 0 && facts.parameters > 0);
            QCOMPARE(facts.kv_dtype, std::string("f32")); // not quantised
        };
        sink.progress = [&](const ExperimentProgress& progress) {
            total = progress.total_runs;
            done = progress.done_runs;
        };
        const ExperimentResult result = value_of(run_experiment(e, sink, {}));
        QCOMPARE(total, 2 * 2 * 3);
        QCOMPARE(done, total - 1); // said before the last
        QCOMPARE(plans.size(), std::size_t{12});
        QCOMPARE(ready.size(), std::size_t{2});
        // full 0, full 64, hybrid 0, hybrid 64; then the other way round.
        const std::vector<int> order{0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1};
        for (std::size_t i = 0; i < plans.size(); ++i) {
            QCOMPARE(plans[i].arm, order[i]);
            QCOMPARE(plans[i].warm_up, i < 4);
            QCOMPARE(plans[i].depth, std::int64_t{i % 2 == 0 ? 0 : 64});
            QCOMPARE(plans[i].repeat, i < 8 ? 0 : 1);
        }
        QVERIFY(!result.stopped);
        for (const ArmSummary& arm : result.arms) {
            QCOMPARE(arm.decode_tokens_per_s.n, 2);
            QVERIFY(arm.decode_tokens_per_s.low > 0);
            QVERIFY(arm.prefill_tokens_per_s.low > 0);
            QVERIFY(arm.ttft_ms.low > 0);
            QVERIFY(arm.state_bytes > 0);
            QVERIFY(arm.weight_bytes > 0);
        }
        // After a filler the full length is decoded, whatever it says.
        for (const RunResult& run : result.runs) {
            if (run.depth == 64) {
                QCOMPARE(run.reply.timings.prefilled_tokens, 64);
                QCOMPARE(run.reply.timings.generated_tokens, 12);
            }
        }
    }

    void RepeatsOfAGreedyRunSayTheSame() {
        Experiment e = small();
        const ExperimentResult result = value_of(run_experiment(e, {}, {}));
        std::map<int, std::set<std::vector<std::int32_t>>> answers;
        for (const RunResult& run : result.runs) {
            answers[run.arm].insert(run.reply.ids);
        }
        for (const auto& [arm, different] : answers) {
            QCOMPARE(different.size(), std::size_t{1});
        }
    }

    void EqualWorkGivesEveryArmTheFullLength() {
        Experiment e = small();
        e.workload.ignore_end_token = true;
        const ExperimentResult result = value_of(run_experiment(e, {}, {}));
        for (const RunResult& run : result.runs) {
            QCOMPARE(run.reply.timings.generated_tokens, 12);
            QCOMPARE(run.reply.ids.size(), std::size_t{12});
            QVERIFY(run.reply.reason == FinishReason::TokenLimit);
        }
    }

    void TheStoreHoldsWhatTheSinkSaw() {
        Database db = value_of(Database::open(":memory:", Access::ReadWrite));
        Experiment e = small();
        e.workload.depths = {0, 100};
        std::vector<Sample> seen;
        RunnerSink sink;
        sink.sample = [&](int, const Sample& sample) { seen.push_back(sample); };
        const RecordedExperiment recorded = run_and_record(e, db, 0, sink, {});
        QVERIFY2(recorded.result.ok(),
                 recorded.result.ok() ? "" : recorded.result.error().text().c_str());
        SampleStore store(db);
        const auto rows = value_of(store.samples(recorded.experiment));
        QCOMPARE(rows.size(), seen.size());
        std::set<std::string> kinds;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            QCOMPARE(rows[i].kind, std::string(to_string(seen[i].kind)));
            QCOMPARE(rows[i].value, seen[i].value);
            QCOMPARE(rows[i].context_tokens, seen[i].context_tokens);
            QCOMPARE(rows[i].layer, seen[i].layer);
            kinds.insert(rows[i].kind);
        }
        QCOMPARE(kinds.size(), static_cast<std::size_t>(kLastSampleKind) + 1);
        const auto session = value_of(SessionStore(db).find(recorded.session));
        QCOMPARE(session->title, std::string("small"));
        QVERIFY(session->kind == SessionKind::Comparison);
        QCOMPARE(value_of(store.experiments(recorded.session)).at(0).state,
                 std::string("complete"));
        for (const RunRow& run : value_of(store.runs(recorded.experiment))) {
            QCOMPARE(run.state, std::string("complete"));
            const Result<Metrics> metrics = parse_metrics(run.metrics);
            QVERIFY(metrics.ok());
            QVERIFY(metrics->timings.generated_tokens > 0);
            QVERIFY(!metrics->state.entries.empty());
        }
        // Found by what was asked.
        QCOMPARE(value_of(SessionStore(db).list("cello")).size(), std::size_t{1});
        const std::string html = value_of(report_html(db, recorded.session));
        QCOMPARE(value_of(report_html(db, recorded.session)), html);
        QVERIFY(html.find("State by layer") != std::string::npos);
        QVERIFY(html.find("Decode time against context") != std::string::npos);
    }

    // As the window does: the session is there first, and is found by its question all the same.
    void TheQuestionIsKeptOnceInASessionThatExists() {
        Database db = value_of(Database::open(":memory:", Access::ReadWrite));
        Experiment e = small();
        e.workload.prompt += " What is a cello?";
        e.warm_ups = 0;
        e.repeats = 1;
        SessionStore store(db);
        const std::int64_t session = value_of(store.create(SessionKind::Comparison, "two arms"));
        QVERIFY(run_and_record(e, db, session, {}, {}).result.ok());
        QVERIFY(run_and_record(e, db, session, {}, {}).result.ok());
        QCOMPARE(value_of(store.messages(session)).size(), std::size_t{1});
        QCOMPARE(value_of(store.list("cello")).size(), std::size_t{1});
    }

    // The curve of the report is the ledger's, layer by layer, and grows only where it must.
    void StateSamplesGrowWithFullAttentionAlone() {
        Database db = value_of(Database::open(":memory:", Access::ReadWrite));
        Experiment e = small();
        e.workload.depths = {600};
        e.warm_ups = 0;
        e.repeats = 1;
        const RecordedExperiment recorded = run_and_record(e, db, 0, {}, {});
        QVERIFY(recorded.result.ok());
        const ReportSource source = value_of(read_report_source(db, recorded.session));
        const ReportArm& hybrid = source.experiments.at(0).arms.at(1);
        QCOMPARE(hybrid.layers.size(), std::size_t{4});
        std::map<int, std::map<std::int64_t, double>> bytes; // by layer and context
        for (const SampleRow& sample : hybrid.runs.at(0).samples) {
            if (sample.kind == "state_used_bytes") {
                bytes[sample.layer][sample.context_tokens] += sample.value;
            }
        }
        QCOMPARE(bytes.size(), std::size_t{4});
        for (const auto& [layer, curve] : bytes) {
            QVERIFY(curve.size() >= 4);
            const double first = curve.begin()->second;
            const double last = curve.rbegin()->second;
            if (hybrid.layers[static_cast<std::size_t>(layer)] == "full attention") {
                const double per_token = last / static_cast<double>(curve.rbegin()->first);
                for (const auto& [context, value] : curve) {
                    QCOMPARE(value, per_token * static_cast<double>(context));
                }
            } else {
                QCOMPARE(last, first);
            }
        }
        QCOMPARE(state_curve(hybrid).back().context_tokens, 600 + 12 - 1);
    }

    void StoppingKeepsWhatWasMeasured() {
        Database db = value_of(Database::open(":memory:", Access::ReadWrite));
        Experiment e = small();
        e.repeats = 50;
        std::stop_source stop;
        int ended = 0;
        RunnerSink sink;
        sink.run_ends = [&](const RunResult&) {
            if (++ended == 5) {
                stop.request_stop();
            }
        };
        const RecordedExperiment recorded = run_and_record(e, db, 0, sink, stop.get_token());
        QVERIFY(recorded.result.ok());
        QVERIFY(recorded.result->stopped);
        QCOMPARE(recorded.result->runs.size(), std::size_t{5});
        SampleStore store(db);
        QCOMPARE(value_of(store.runs(recorded.experiment)).size(), std::size_t{5});
        QCOMPARE(value_of(store.experiments(recorded.session)).at(0).state, std::string("stopped"));
        QVERIFY(report_html(db, recorded.session).ok());
    }

    void AFailingArmIsNamed() {
        Database db = value_of(Database::open(":memory:", Access::ReadWrite));
        const std::filesystem::path broken =
            std::filesystem::path(m_folder.path().toStdString()) / "broken.gguf";
        std::ofstream(broken) << "GGUF";
        Experiment e = small();
        e.arms[1].model = broken.string();
        const RecordedExperiment recorded = run_and_record(e, db, 0, {}, {});
        QVERIFY(!recorded.result.ok());
        QVERIFY(recorded.result.error().text().find("arm \"hybrid\"") != std::string::npos);
        const std::string state =
            value_of(SampleStore(db).experiments(recorded.session)).at(0).state;
        QVERIFY(state.starts_with("failed: "));
        // A plan that cannot run at all leaves nothing behind.
        e.repeats = 0;
        QVERIFY(!run_and_record(e, db, 0, {}, {}).result.ok());
        QCOMPARE(value_of(SessionStore(db).list()).size(), std::size_t{1});
    }

    void AStoreThatFailsEndsTheExperiment() {
        Database db = value_of(Database::open(":memory:", Access::ReadWrite));
        RunnerSink sink;
        sink.run_ends = [&](const RunResult&) {
            QVERIFY(db.execute("DROP TABLE IF EXISTS samples").ok());
        };
        Experiment e = small();
        e.repeats = 50;
        const RecordedExperiment recorded = run_and_record(e, db, 0, sink, {});
        QVERIFY(!recorded.result.ok());
        QVERIFY(recorded.result.error().text().find("storing") != std::string::npos);
    }

    void BenchNeedsNoTokenizer() {
        BenchOptions options;
        options.model = (kCheckpoints / "qwen3.5" / "model.gguf").string();
        options.device = "cpu";
        options.threads = 1;
        options.prompts = {16, 300};
        options.generate = 8;
        options.depths = {300, 0};
        options.repeats = 2;
        const BenchResult result = value_of(bench(options, {}, {}));
        QCOMPARE(result.rows.size(), std::size_t{6});
        QCOMPARE(result.rows[0].depth, 0); // from short to long
        for (const BenchRow& row : result.rows) {
            QCOMPARE(row.tokens_per_s.size(), std::size_t{2});
            for (const double value : row.tokens_per_s) {
                QVERIFY(value > 0);
            }
        }
        QCOMPARE(result.state_context_tokens, 600);
        QVERIFY(!result.state.empty());
        QVERIFY(result.peak_resident_bytes > 0);
        const Json json = to_json(result);
        QVERIFY(json["rows"][0]["tokens_per_s"]["median"].get<double>() > 0);
        options.depths = {};
        QVERIFY(!bench(options, {}, {}).ok());
        options.depths = {-1};
        QVERIFY(!bench(options, {}, {}).ok());
    }

    void InfoWorksOnAConfigAlone() {
        const ModelInspection whole =
            value_of(inspect_model(kCheckpoints / "qwen3.5" / "hf", DType::F16));
        const ModelInspection alone =
            value_of(inspect_model(kCheckpoints / "qwen3.5" / "hf" / "config.json", DType::F16));
        QVERIFY(whole.weights_present && !alone.weights_present);
        QCOMPARE(describe_schedule(alone.spec), describe_schedule(whole.spec));
        QCOMPARE(alone.parameters.total, whole.parameters.total);
        QCOMPARE(alone.state.size(), std::size_t{4});
        for (std::size_t i = 0; i < 4; ++i) {
            QCOMPARE(alone.state[i].bytes, whole.state[i].bytes);
        }
        // One layer of four grows; the state of the others stands beside it.
        QCOMPARE(whole.state[1].bytes - whole.state[0].bytes,
                 (32768 - 4096) * whole.growth_bytes_per_token);
        const Json json = to_json(alone);
        QCOMPARE(json["layers"].size(), std::size_t{4});
        QVERIFY(json["layers"][3]["letter"] == "F");
        QVERIFY(to_text(whole).find("DDDF") != std::string::npos);
    }
};

QTEST_GUILESS_MAIN(RunnerTest)
#include "runner_test.moc"
