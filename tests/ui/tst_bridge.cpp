// The seam between window and engine: what goes in comes back, in order, on the window's thread,
// kept in the session file, and can be stopped.

#include "app/bridge/engine_host.h"
#include "engine/store/sessions.h"
#include "tests/support/fake_engine.h"

#include <QElapsedTimer>
#include <QSignalSpy>
#include <QTemporaryDir>
#include <QtTest>

#include <filesystem>
#include <memory>

using namespace hs;
using namespace std::chrono_literals;

class BridgeTest : public QObject {
    Q_OBJECT

private:
    // A chat with one message of the person, in the host's own file.
    ReplyRequest question(EngineHost& host, const std::string& text = "What is a cello?") {
        ReplyRequest request;
        bool stored = false;
        host.side().run(
            this,
            [text](Database& database) {
                SessionStore store(database);
                MessageRow row;
                row.session = store.create(SessionKind::Chat, "cello").value();
                row.role = "user";
                row.content = text;
                row.id = store.add_message(row).value();
                return row;
            },
            [&](const MessageRow& row) {
                request.session = row.session;
                request.parent = row.id;
                stored = true;
            });
        [&] { QTRY_VERIFY(stored); }();
        request.generate.messages = {{"user", text, {}}};
        return request;
    }

    std::vector<MessageRow> messages(EngineHost& host, std::int64_t session) {
        Database reader = Database::open(host.database_path(), Access::ReadOnly).value();
        return SessionStore(reader).messages(session).value();
    }

    std::unique_ptr<EngineHost> host_with(test::FakeEngine& fake) {
        const std::filesystem::path path =
            std::filesystem::path(m_folder->path().toStdU16String()) / "sessions.db";
        return std::make_unique<EngineHost>(path, fake.functions());
    }

    void open(EngineHost& host) {
        QSignalSpy opened(&host, &EngineHost::model_opened);
        host.open_model({.model = "fake"});
        QVERIFY(opened.wait());
    }

    std::unique_ptr<QTemporaryDir> m_folder;

private slots:
    void init() { m_folder = std::make_unique<QTemporaryDir>(); }

    void LoadingTellsItsProgressAndItsModel() {
        test::FakeEngine fake;
        fake.set({.per_load_step = 40ms, .load_steps = 6});
        const auto host = host_with(fake);
        QSignalSpy progress(host.get(), &EngineHost::load_progress);
        QSignalSpy opened(host.get(), &EngineHost::model_opened);
        QSignalSpy busy(host.get(), &EngineHost::busy_changed);
        const RequestId id = host->open_model({.model = "fake"});
        QVERIFY(host->busy());
        QVERIFY(opened.wait());
        QCOMPARE(opened[0][0].value<RequestId>(), id);
        QVERIFY(progress.size() >= 3);
        for (qsizetype i = 1; i < progress.size(); ++i) {
            QVERIFY(progress[i][1].toDouble() >= progress[i - 1][1].toDouble());
        }
        QCOMPARE(progress.last()[1].toDouble(), 1.0);
        QVERIFY(host->model());
        QCOMPARE(host->model()->device, QStringLiteral("fake device"));
        QTRY_VERIFY(!host->busy());
        QCOMPARE(busy.size(), 2);
    }

    void AFailedLoadSaysWhatToDoAndLeavesNoModel() {
        test::FakeEngine fake;
        fake.set({.fail_load = true});
        const auto host = host_with(fake);
        QSignalSpy failed(host.get(), &EngineHost::failed);
        host->open_model({.model = "fake"});
        QVERIFY(failed.wait());
        QVERIFY(failed[0][1].toString().contains(QLatin1String("expected magic")));
        QVERIFY(!failed[0][2].toString().isEmpty());
        QVERIFY(!host->model());
    }

    void AStoppedLoadEndsAsStopped() {
        test::FakeEngine fake;
        fake.set({.per_load_step = 50ms, .load_steps = 100});
        const auto host = host_with(fake);
        QSignalSpy progress(host.get(), &EngineHost::load_progress);
        QSignalSpy stopped(host.get(), &EngineHost::stopped);
        QSignalSpy failed(host.get(), &EngineHost::failed);
        const RequestId id = host->open_model({.model = "fake"});
        QVERIFY(progress.wait());
        host->stop(id);
        QVERIFY(stopped.wait(500));
        QCOMPARE(stopped[0][0].value<RequestId>(), id);
        QCOMPARE(failed.size(), 0);
    }

    void AReplyStreamsInOrderAndIsKept() {
        test::FakeEngine fake;
        fake.set({.thinking = {"Hm, ", "a word."}});
        const auto host = host_with(fake);
        open(*host);
        const ReplyRequest request = question(*host);
        std::string text;
        std::string thinking;
        std::int64_t last_position = -1;
        bool ended = false;
        connect(host.get(), &EngineHost::frame_ready, this, [&] {
            QVERIFY(!ended); // every frame comes before the end
            for (const ReplyProgress& progress : host->take_replies()) {
                text += progress.new_text;
                thinking += progress.new_thinking;
                for (const TokenEvent& token : progress.tokens) {
                    QVERIFY(token.position > last_position);
                    last_position = token.position;
                }
            }
        });
        connect(host.get(), &EngineHost::reply_finished, this, [&] { ended = true; });
        QSignalSpy started(host.get(), &EngineHost::reply_started);
        QSignalSpy finished(host.get(), &EngineHost::reply_finished);
        const RequestId id = host->generate(request);
        QVERIFY(finished.wait());
        QCOMPARE(started.size(), 1);
        QCOMPARE(started[0][0].value<RequestId>(), id);
        QCOMPARE(text, std::string("A cello is a large bowed string instrument."));
        QCOMPARE(thinking, std::string("Hm, a word."));
        const auto rows = messages(*host, request.session);
        QCOMPARE(rows.size(), std::size_t{2});
        QCOMPARE(rows[1].parent, request.parent);
        QCOMPARE(rows[1].content, text);
        QCOMPARE(rows[1].reasoning, thinking);
        QVERIFY(rows[1].state == MessageState::Complete);
        QVERIFY(parse_metrics(rows[1].metrics).ok());
    }

    void FramesComeNoOftenerThanEvery33Ms() {
        test::FakeEngine fake;
        test::FakeEngine::Script script;
        script.words.assign(400, "word ");
        script.per_word = 1ms;
        fake.set(script);
        const auto host = host_with(fake);
        open(*host);
        std::vector<qint64> times;
        QElapsedTimer clock;
        clock.start();
        connect(host.get(), &EngineHost::frame_ready, this, [&] {
            times.push_back(clock.elapsed());
            host->take_replies();
        });
        QSignalSpy finished(host.get(), &EngineHost::reply_finished);
        host->generate(question(*host));
        QVERIFY(finished.wait(20000));
        QVERIFY(times.size() > 5);
        for (std::size_t i = 1; i + 1 < times.size(); ++i) { // the last one is the end's own
            QVERIFY2(times[i] - times[i - 1] >= 32,
                     qPrintable(QString::number(times[i] - times[i - 1])));
        }
    }

    void AStopIsFeltWithin100Ms() {
        test::FakeEngine fake;
        test::FakeEngine::Script script;
        script.words.assign(10000, "word ");
        script.per_word = 50ms;
        fake.set(script);
        const auto host = host_with(fake);
        open(*host);
        QSignalSpy finished(host.get(), &EngineHost::reply_finished);
        const ReplyRequest request = question(*host);
        const RequestId id = host->generate(request);
        bool came = false; // taking is once, a QTRY looks twice
        const auto words_came = [&] {
            for (const ReplyProgress& reply : host->take_replies()) {
                came = came || !reply.new_text.empty();
            }
            return came;
        };
        QTRY_VERIFY(words_came());
        QElapsedTimer clock;
        clock.start();
        host->stop(id);
        QVERIFY(finished.wait());
        const qint64 took = clock.elapsed();
        const auto result = finished[0][2].value<GenerateResult>();
        QVERIFY(result.reason == FinishReason::Stopped);
        QVERIFY(!result.text.empty());
        const auto rows = messages(*host, request.session);
        QVERIFY(rows.back().state == MessageState::Stopped);
        QCOMPARE(rows.back().content, result.text);
        QVERIFY2(took < 100, qPrintable(QString::number(took)));
    }

    void AWaitingRequestCanBeStoppedBeforeItBegins() {
        test::FakeEngine fake;
        test::FakeEngine::Script script;
        script.per_word = 30ms;
        fake.set(script);
        const auto host = host_with(fake);
        open(*host);
        const ReplyRequest first_question = question(*host);
        QSignalSpy stopped(host.get(), &EngineHost::stopped);
        QSignalSpy finished(host.get(), &EngineHost::reply_finished);
        const RequestId first = host->generate(first_question);
        const RequestId second = host->generate(question(*host));
        host->stop(second);
        QTRY_COMPARE(stopped.size(), 1);
        QCOMPARE(stopped[0][0].value<RequestId>(), second);
        QTRY_COMPARE(finished.size(), 1);
        QCOMPARE(finished[0][0].value<RequestId>(), first);
        QTRY_VERIFY(!host->busy());
        QCOMPARE(fake.requests().size(), std::size_t{1});
    }

    void TextIsKeptWhileItIsStillBeingWritten() {
        test::FakeEngine fake;
        test::FakeEngine::Script script;
        script.words.assign(1000, "word ");
        script.per_word = 20ms;
        fake.set(script);
        const auto host = host_with(fake);
        open(*host);
        const ReplyRequest request = question(*host);
        host->generate(request);
        // What a killed program would find in the file after about a second.
        QTRY_VERIFY_WITH_TIMEOUT(
            [&] {
                const auto rows = messages(*host, request.session);
                return rows.size() == 2 && rows[1].state == MessageState::Streaming &&
                       rows[1].content.size() >= 50;
            }(),
            5000);
        host->stop_all();
        QTRY_VERIFY(!host->busy());
    }

    void MemoryThatRunsOutKeepsTheProgramAndSaysSo() {
        test::FakeEngine fake;
        fake.set({.out_of_memory = true});
        const auto host = host_with(fake);
        open(*host);
        QSignalSpy finished(host.get(), &EngineHost::reply_finished);
        const ReplyRequest request = question(*host);
        host->generate(request);
        QVERIFY(finished.wait());
        const auto result = finished[0][2].value<GenerateResult>();
        QVERIFY(result.reason == FinishReason::Failed);
        QVERIFY(result.error.find("memory") != std::string::npos);
        fake.set({});
        host->generate(request);
        QVERIFY(finished.wait());
        QVERIFY(finished[1][2].value<GenerateResult>().reason == FinishReason::EndToken);
    }

    void AReplyWithoutAModelIsRefusedInWords() {
        test::FakeEngine fake;
        const auto host = host_with(fake);
        QSignalSpy failed(host.get(), &EngineHost::failed);
        host->generate(question(*host));
        QVERIFY(failed.size() == 1 || failed.wait());
        QVERIFY(failed[0][1].toString().contains(QLatin1String("no model")));
    }

    void HeadersAreReadWhileAReplyIsWritten() {
        test::FakeEngine fake;
        test::FakeEngine::Script script;
        script.words.assign(1000, "word ");
        script.per_word = 20ms;
        fake.set(script);
        const auto host = host_with(fake);
        open(*host);
        QSignalSpy frames(host.get(), &EngineHost::frame_ready);
        host->generate(question(*host));
        QVERIFY(frames.wait());
        QSignalSpy inspected(host.get(), &EngineHost::model_inspected);
        QSignalSpy failed(host.get(), &EngineHost::failed);
        const RequestId id = host->inspect("other.gguf");
        const RequestId broken = host->inspect("broken.gguf");
        QVERIFY(inspected.wait(1000));
        QCOMPARE(inspected[0][0].value<RequestId>(), id);
        QTRY_COMPARE(failed.size(), 1);
        QCOMPARE(failed[0][0].value<RequestId>(), broken);
        QVERIFY(host->busy());
        host->stop_all();
        QTRY_VERIFY(!host->busy());
    }

    void AnExperimentTellsItsRunsAndItsSession() {
        test::FakeEngine fake;
        const auto host = host_with(fake);
        Experiment experiment;
        experiment.title = "two arms";
        experiment.arms = {{.label = "a", .model = "fake"}, {.label = "b", .model = "fake"}};
        experiment.repeats = 2;
        std::map<int, std::string> text;
        std::size_t samples = 0;
        connect(host.get(), &EngineHost::frame_ready, this, [&] {
            for (const ExperimentFrame& frame : host->take_experiments()) {
                for (const auto& news : frame.news) {
                    text[news.arm] += news.new_text;
                    samples += news.samples.size();
                }
            }
        });
        QSignalSpy started(host.get(), &EngineHost::experiment_started);
        QSignalSpy ready(host.get(), &EngineHost::arm_ready);
        QSignalSpy runs(host.get(), &EngineHost::run_finished);
        QSignalSpy finished(host.get(), &EngineHost::experiment_finished);
        const RequestId id = host->run_experiment(experiment);
        QVERIFY(finished.wait());
        QCOMPARE(started.size(), 1);
        QVERIFY(started[0][1].value<std::int64_t>() > 0);
        QCOMPARE(started[0][1].value<std::int64_t>(), finished[0][1].value<std::int64_t>());
        QCOMPARE(finished[0][0].value<RequestId>(), id);
        QCOMPARE(ready.size(), 2);
        QCOMPARE(runs.size(), 4);
        QCOMPARE(text[0], std::string("A cello is a large bowed string instrument."
                                      "A cello is a large bowed string instrument."));
        QVERIFY(samples > 0);
        QVERIFY(!finished[0][2].value<ExperimentResult>().stopped);
    }

    void NewsOfARunComeBeforeItsEndAndNeverWithTheNext() {
        test::FakeEngine fake;
        test::FakeEngine::Script script;
        script.per_word = 1ms;
        fake.set(script);
        const auto host = host_with(fake);
        Experiment experiment;
        experiment.arms = {{.label = "a", .model = "fake"}};
        experiment.repeats = 12;
        std::string text;
        int runs = 0;
        const auto take = [&] {
            for (const ExperimentFrame& frame : host->take_experiments()) {
                for (const auto& news : frame.news) {
                    QCOMPARE(news.repeat, runs);
                    text += news.new_text;
                }
            }
        };
        connect(host.get(), &EngineHost::frame_ready, this, take);
        connect(host.get(), &EngineHost::run_finished, this, [&](RequestId, const RunResult& run) {
            take();
            QCOMPARE(run.repeat, runs);
            QCOMPARE(text, run.reply.text);
            text.clear();
            ++runs;
            QTest::qSleep(40); // the worker gets ahead by runs
        });
        QSignalSpy finished(host.get(), &EngineHost::experiment_finished);
        host->run_experiment(experiment);
        QVERIFY(finished.wait(20000));
        QCOMPARE(runs, 12);
    }

    void AStoppedExperimentIsAResult() {
        test::FakeEngine fake;
        test::FakeEngine::Script script;
        script.per_word = 30ms;
        fake.set(script);
        const auto host = host_with(fake);
        Experiment experiment;
        experiment.arms = {{.label = "a", .model = "fake"}};
        experiment.repeats = 100;
        QSignalSpy runs(host.get(), &EngineHost::run_finished);
        QSignalSpy finished(host.get(), &EngineHost::experiment_finished);
        const RequestId id = host->run_experiment(experiment);
        QVERIFY(runs.wait());
        host->stop(id);
        QVERIFY(finished.wait(1000));
        QVERIFY(finished[0][2].value<ExperimentResult>().stopped);
    }

    void ClosingInMidReplyJoinsAtOnceAndKeepsTheText() {
        test::FakeEngine fake;
        test::FakeEngine::Script script;
        script.words.assign(10000, "word ");
        script.per_word = 20ms;
        fake.set(script);
        auto host = host_with(fake);
        open(*host);
        const ReplyRequest request = question(*host);
        QSignalSpy frames(host.get(), &EngineHost::frame_ready);
        host->generate(request);
        QTRY_VERIFY(frames.size() >= 3);
        const std::filesystem::path path = host->database_path();
        QElapsedTimer clock;
        clock.start();
        host.reset();
        QVERIFY2(clock.elapsed() < 1000, qPrintable(QString::number(clock.elapsed())));
        Database reader = Database::open(path, Access::ReadOnly).value();
        const auto rows = SessionStore(reader).messages(request.session).value();
        QVERIFY(!rows.back().content.empty());
        QVERIFY(rows.back().state == MessageState::Stopped);
    }

    void AFileThatCannotBeOpenedIsSaidAndTheChatGoesOn() {
        test::FakeEngine fake;
        // A folder where the file should be.
        const std::filesystem::path path =
            std::filesystem::path(m_folder->path().toStdU16String()) / "sessions.db";
        std::filesystem::create_directories(path);
        EngineHost host(path, fake.functions());
        QSignalSpy failed(&host, &EngineHost::failed);
        QVERIFY(failed.wait());
        QCOMPARE(failed[0][0].value<RequestId>(), RequestId{0});
        open(host);
        QSignalSpy finished(&host, &EngineHost::reply_finished);
        host.generate(question(host));
        QVERIFY(finished.wait());
    }
};

QTEST_GUILESS_MAIN(BridgeTest)
#include "tst_bridge.moc"
