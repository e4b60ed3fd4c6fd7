// The pages Compare, Inspect and Sessions: item models, plots, and the road from an experiment to
// a report, with a scripted engine and a real session file.

#include "app/bridge/engine_host.h"
#include "engine/core/json.h"
#include "engine/store/samples.h"
#include "engine/store/sessions.h"
#include "tests/support/fake_engine.h"
#include "ui/compare/arms_model.h"
#include "ui/compare/compare_panel.h"
#include "ui/inspect/inspect_panel.h"
#include "ui/inspect/layers_model.h"
#include "ui/plots/plot_view.h"
#include "ui/plots/plots.h"
#include "ui/reports/report_dialog.h"
#include "ui/sessions/session_panel.h"
#include "ui/sessions/sessions_model.h"

#include <QAbstractItemModelTester>
#include <QCheckBox>
#include <QLabel>
#include <QLineEdit>
#include <QListWidget>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QSignalSpy>
#include <QStandardItemModel>
#include <QTableView>
#include <QTemporaryDir>
#include <QtTest>

#include <filesystem>
#include <memory>

using namespace hs;

namespace {

std::filesystem::path in(const QTemporaryDir& folder, const char* name) {
    return std::filesystem::path(folder.path().toStdU16String()) / name;
}

// Two arms of two runs: the second holds half the state and is twice as fast, beyond all spread.
PlotSource two_arms() {
    PlotSource source;
    source.plan.repeats = 2;
    for (int arm = 0; arm < 2; ++arm) {
        ArmSource made;
        made.label = arm == 0 ? QStringLiteral("full") : QStringLiteral("1:1");
        made.layers = {MixerKind::FullAttention,
                       arm == 0 ? MixerKind::FullAttention : MixerKind::GatedDelta};
        made.weight_bytes = 5 << 20;
        for (int repeat = -1; repeat < 2; ++repeat) {
            RunSource run{repeat, 0, repeat < 0, true, QStringLiteral("4182"), {}};
            for (std::int64_t context = 1; context <= 100; ++context) {
                const auto kv = static_cast<double>(context * 512);
                run.samples.push_back(
                    {SampleKind::StateUsedBytes, 0, context, 0, StateKind::KvCache, 1, kv});
                run.samples.push_back(arm == 0 ? Sample{SampleKind::StateUsedBytes, 0, context, 1,
                                                        StateKind::KvCache, 1, kv}
                                               : Sample{SampleKind::StateUsedBytes, 0, context, 1,
                                                        StateKind::RecurrentState, 1, 4096});
                run.samples.push_back({.kind = SampleKind::TokenMs,
                                       .context_tokens = context,
                                       .value = (arm == 0 ? 4.0 : 2.0) + 0.1 * repeat});
                run.samples.push_back(
                    {.kind = SampleKind::ResidentBytes, .context_tokens = context, .value = 1e8});
            }
            run.samples.push_back({.kind = SampleKind::DecodeTokensPerS,
                                   .value = (arm == 0 ? 250.0 : 500.0) + repeat});
            run.samples.push_back({.kind = SampleKind::TtftMs, .value = 10.0 + repeat});
            made.runs.push_back(std::move(run));
        }
        source.arms.push_back(std::move(made));
    }
    return source;
}

} // namespace

class ComparisonsTest : public QObject {
    Q_OBJECT

private:
    QTemporaryDir m_folder;

    // A stored comparison like two_arms(); returns its session.
    std::int64_t store_comparison(Database& database) {
        const PlotSource source = two_arms();
        SessionStore sessions(database);
        SampleStore samples(database);
        const std::int64_t session =
            sessions.create(SessionKind::Comparison, "boxes and codes").value();
        Experiment plan;
        plan.title = "boxes and codes";
        plan.repeats = 2;
        plan.arms = {{.label = "full", .model = "a.gguf"}, {.label = "1:1", .model = "b.gguf"}};
        plan.workload.prompt = "What is the code?";
        const std::int64_t experiment =
            samples.add_experiment({0, session, to_json(plan).dump(), "{}", "running", 0}).value();
        for (std::size_t i = 0; i < source.arms.size(); ++i) {
            Json layers = Json::array();
            for (const MixerKind kind : source.arms[i].layers) {
                layers.push_back(to_string(kind));
            }
            const std::int64_t arm =
                samples
                    .add_arm({0, experiment, static_cast<int>(i), plan.arms[i].label,
                              plan.arms[i].model, "", layers.dump(), 5 << 20})
                    .value();
            for (const RunSource& run : source.arms[i].runs) {
                const std::int64_t id =
                    samples.add_run({0, arm, run.repeat, run.depth, run.warm_up, "", "", ""})
                        .value();
                std::vector<SampleRow> rows;
                for (const Sample& sample : run.samples) {
                    rows.push_back({id, to_string(sample.kind), sample.time_ms,
                                    sample.context_tokens, sample.layer, to_string(sample.state),
                                    sample.count, sample.value});
                }
                if (!samples.add_samples(rows).ok() ||
                    !samples.finish_run(id, run.text.toStdString(), "{}", "complete").ok()) {
                    return 0;
                }
            }
        }
        return samples.finish_experiment(experiment, "complete").ok() ? session : 0;
    }

private slots:
    void PlotsDrawWhatWasMeasured() {
        const PlotSource source = two_arms();
        for (const PlotRow& row : plots()) {
            const PlotContent content = row.make(source);
            QVERIFY2(!content.series.isEmpty(), row.id);
            QVERIFY2(!content.y_title.isEmpty() && !content.x_title.isEmpty(), row.id);
            for (const PlotCurve& series : content.series) {
                QCOMPARE(series.x.size(), series.y.size());
                QVERIFY2(!series.x.isEmpty(), row.id);
            }
        }
        // 100 tokens: two KV layers of 512 bytes a token, against one and a fixed 4 KiB.
        const PlotContent growth = plots()[0].make(source);
        QCOMPARE(growth.series[0].y.last(), 100.0 * 512 * 2);
        QCOMPARE(growth.series[1].y.last(), 100.0 * 512 + 4096);
        // Time 2.0 and 2.1 ms: the median of throughput lies between 476 and 500.
        const PlotContent speed = plots()[1].make(source);
        QCOMPARE(speed.unit, CurveUnit::TokensPerSecond);
        const double rate = speed.series[1].y.first();
        QVERIFY(rate > 476 && rate < 500);
        QVERIFY(speed.series[1].low.first() < speed.series[1].high.first());
    }

    void WarmUpsDoNotCount() {
        const PlotSource source = two_arms();
        QCOMPARE(values_per_run(source.arms[0], SampleKind::TtftMs),
                 (std::vector<double>{10.0, 11.0}));
        QCOMPARE(values_by_context(source.arms[0], SampleKind::TokenMs).at(7).size(),
                 std::size_t{2});
    }

    void NothingMeasuredDrawsNothingAndDoesNotFail() {
        PlotSource source;
        source.arms.resize(2);
        PlotView view;
        view.show();
        for (const PlotRow& row : plots()) {
            view.set_content(row.make(source));
        }
        view.show_table(true);
        QTest::keyClick(&view, Qt::Key_Right);
        QVERIFY(view.as_tsv().count(QLatin1Char('\n')) == 0);
    }

    void PlotHasATableTwinAndACursor() {
        PlotView view;
        view.set_title(QStringLiteral("State"));
        view.resize(640, 400);
        view.show();
        view.set_content(plots()[0].make(two_arms()));
        QVERIFY(!view.accessibleName().isEmpty());
        QTest::keyClick(&view, Qt::Key_T);
        QVERIFY(view.table_shown());
        QCOMPARE(view.table()->rowCount(), 100);
        QCOMPARE(view.table()->columnCount(), 3);
        QCOMPARE(view.table()->item(99, 1)->text(), QLocale().toString(100.0, 'f', 0));
        view.show_table(false);
        QTest::keyClick(&view, Qt::Key_Right);
        const QStringList lines = view.as_tsv().split(QLatin1Char('\n'));
        QCOMPARE(lines.size(), 101);
        QTemporaryDir out;
        QCOMPARE(view.save_image(out.filePath(QStringLiteral("größe.png"))), QString());
        QVERIFY(QFileInfo(out.filePath(QStringLiteral("größe.png"))).size() > 2000);
        QVERIFY(!view.save_image(QStringLiteral("/nowhere/at/all.png")).isEmpty());
    }

    void ArmsAreComparedWithTheBaselineAndNoiseIsCalledNoise() {
        ArmsModel model;
        QAbstractItemModelTester tester(&model,
                                        QAbstractItemModelTester::FailureReportingMode::QtTest);
        PlotSource source = two_arms();
        model.set_source(source);
        QCOMPARE(model.rowCount(), 2);
        const auto cell = [&](int row, int column) {
            return model.index(row, column).data().toString();
        };
        QVERIFY(cell(0, ArmsModel::Arm).contains(QStringLiteral("baseline")));
        QVERIFY2(cell(1, ArmsModel::Decode).contains(QStringLiteral("2")),
                 qPrintable(cell(1, ArmsModel::Decode)));
        QVERIFY(!cell(1, ArmsModel::Decode).contains(QStringLiteral("no difference")));
        QVERIFY2(cell(1, ArmsModel::Ttft).contains(QStringLiteral("no difference seen")),
                 qPrintable(cell(1, ArmsModel::Ttft)));
        source.plan.baseline = 1;
        model.set_source(source);
        QVERIFY(cell(1, ArmsModel::Arm).contains(QStringLiteral("baseline")));
        source.arms.pop_back();
        model.set_source(source);
        QCOMPARE(model.rowCount(), 1);
    }

    void LayersShowPredictionBesideTheLedger() {
        LayersModel model;
        QAbstractItemModelTester tester(&model,
                                        QAbstractItemModelTester::FailureReportingMode::QtTest);
        const ModelSpec spec = test::FakeEngine::spec();
        const StateOptions options{DType::F16, 4096};
        model.set_spec(spec, options);
        QCOMPARE(model.rowCount(), static_cast<int>(spec.layers.size()));
        StateEvent state;
        state.context_tokens = 128;
        state.entries = predict_state(spec, 128, options);
        model.set_state(state);
        for (int row = 0; row < model.rowCount(); ++row) {
            QCOMPARE(model.index(row, LayersModel::Used).data(),
                     model.index(row, LayersModel::Predicted).data());
            const bool linear =
                is_linear(kind_of(spec.layers[static_cast<std::size_t>(row)].mixer));
            QCOMPARE(model.index(row, LayersModel::Growth).data().toString() ==
                         LayersModel::tr("fixed"),
                     linear);
        }
        model.clear();
        QCOMPARE(model.rowCount(), 0);
    }

    void ComparisonRunsShowsAndStops() {
        test::FakeEngine engine;
        EngineHost host(in(m_folder, "compare.db"), engine.functions());
        ComparePanel panel(host);
        panel.resize(1200, 760);
        panel.show();
        QStringList models; // check() wants them there; the scripted engine reads none
        for (const char* name : {"a.gguf", "b.gguf"}) {
            models << QString::fromStdU16String(in(m_folder, name).u16string());
            QFile file(models.last());
            QVERIFY(file.open(QIODevice::WriteOnly));
        }
        panel.choose_models(models);
        auto* const list = panel.findChild<QListWidget*>(QStringLiteral("compare_models"));
        for (int i = 0; i < list->count(); ++i) { // the two alone
            list->item(i)->setCheckState(models.contains(list->item(i)->toolTip()) ? Qt::Checked
                                                                                   : Qt::Unchecked);
        }
        const Experiment said = panel.experiment();
        QCOMPARE(said.arms.size(), std::size_t{2});
        panel.set_experiment(said);
        QCOMPARE(panel.experiment(), said);

        // One model alone is refused with a sentence.
        auto* const status = panel.findChild<QLabel*>(QStringLiteral("compare_status"));
        list->item(list->count() - 1)->setCheckState(Qt::Unchecked);
        panel.start();
        QVERIFY(!panel.running());
        QVERIFY(!status->text().isEmpty());
        list->item(list->count() - 1)->setCheckState(Qt::Checked);
        // So is a context length that is no number.
        auto* const depths = panel.findChild<QLineEdit*>(QStringLiteral("compare_depths"));
        depths->setText(QStringLiteral("512, many"));
        panel.start();
        QVERIFY(!panel.running());
        depths->clear();

        QSignalSpy finished(&panel, &ComparePanel::finished);
        panel.start();
        QVERIFY(panel.running());
        QTRY_COMPARE(finished.count(), 1);
        QVERIFY(!panel.running());
        QCOMPARE(panel.source().state, QStringLiteral("complete"));
        for (const ArmSource& arm : panel.source().arms) {
            QCOMPARE(arm.layers.size(), std::size_t{8});
            QCOMPARE(arm.runs.size(), std::size_t{3});
            for (const RunSource& run : arm.runs) {
                QVERIFY(run.complete);
                QCOMPARE(run.text, QStringLiteral("A cello is a large bowed string instrument."));
            }
        }
        bool shown = false;
        for (const QPlainTextEdit* answer : panel.findChildren<QPlainTextEdit*>()) {
            shown = shown || answer->toPlainText() ==
                                 QStringLiteral("A cello is a large bowed string instrument.");
        }
        QVERIFY(shown);

        test::FakeEngine::Script slow;
        slow.per_word = std::chrono::milliseconds(200);
        engine.set(slow);
        panel.start();
        QTest::qWait(300);
        QElapsedTimer felt;
        felt.start();
        panel.stop();
        QTRY_VERIFY(!panel.running());
        QVERIFY(felt.elapsed() < 1000);
        QCOMPARE(panel.source().state, QStringLiteral("stopped"));

        test::FakeEngine::Script failing;
        failing.fail_experiment = true;
        engine.set(failing);
        QSignalSpy trouble(&panel, &Page::trouble);
        panel.start();
        QTRY_COMPARE(trouble.count(), 1);
        QVERIFY(!panel.running());
    }

    void StoredComparisonReopensWithItsPlotsAndExports() {
        test::FakeEngine engine;
        const auto path = in(m_folder, "stored.db");
        std::int64_t session = 0;
        {
            Database database = Database::open(path, Access::ReadWrite).value();
            session = store_comparison(database);
            QVERIFY(session != 0);
        }
        EngineHost host(path, engine.functions());
        ComparePanel panel(host);
        panel.resize(1200, 760);
        panel.show();
        panel.open_session(session);
        QTRY_COMPARE(panel.source().arms.size(), std::size_t{2});
        QCOMPARE(panel.source().state, QStringLiteral("complete"));
        QCOMPARE(panel.arms()->rowCount(), 2);
        QCOMPARE(panel.experiment().workload.prompt, std::string("What is the code?"));
        // What was read back is what was stored.
        const PlotSource stored = two_arms();
        for (std::size_t i = 0; i < 2; ++i) {
            QCOMPARE(panel.source().arms[i].layers, stored.arms[i].layers);
            QCOMPARE(values_by_context(panel.source().arms[i], SampleKind::StateUsedBytes),
                     values_by_context(stored.arms[i], SampleKind::StateUsedBytes));
            QCOMPARE(panel.source().arms[i].runs.back().text, QStringLiteral("4182"));
        }

        ReportDialog dialog(host, session, QStringLiteral("boxes / codes"));
        dialog.findChild<QAbstractButton*>()->setFocus();
        for (const auto format : {ReportDialog::Format::Html, ReportDialog::Format::Csv,
                                  ReportDialog::Format::JsonData}) {
            ReportDialog one(host, session, QStringLiteral("boxes / codes"));
            one.set_format(format);
            one.set_path(QString::fromStdU16String(in(m_folder, "Größe-report.out").u16string()));
            QSignalSpy written(&one, &ReportDialog::written);
            one.findChild<QCheckBox*>()->setChecked(false);
            one.write();
            QTRY_COMPARE(written.count(), 1);
            QVERIFY(QFileInfo(one.path()).size() > 200);
        }
        ReportDialog wrong(host, session, QStringLiteral("x"));
        wrong.set_path(QStringLiteral("/nowhere/report.html"));
        QSignalSpy written(&wrong, &ReportDialog::written);
        wrong.findChild<QCheckBox*>()->setChecked(false);
        wrong.write();
        QTest::qWait(300);
        QCOMPARE(written.count(), 0);
    }

    void SessionsAreListedSearchedRenamedAndDeleted() {
        test::FakeEngine engine;
        const auto path = in(m_folder, "sessions.db");
        {
            Database database = Database::open(path, Access::ReadWrite).value();
            SessionStore store(database);
            const std::int64_t cello = store.create(SessionKind::Chat, "Instruments").value();
            QVERIFY(
                store.add_message({.session = cello, .role = "user", .content = "What is a cello?"})
                    .ok());
            QVERIFY(store.create(SessionKind::Chat, "Weather").ok());
            QVERIFY(store_comparison(database) != 0);
        }
        EngineHost host(path, engine.functions());
        SessionPanel panel(host);
        QAbstractItemModelTester tester(panel.model(),
                                        QAbstractItemModelTester::FailureReportingMode::QtTest);
        panel.resize(900, 600);
        panel.show();
        QTRY_COMPARE(panel.model()->rowCount(), 3);

        auto* const search = panel.findChild<QLineEdit*>(QStringLiteral("session_search"));
        QTest::keyClicks(search, QStringLiteral("cello"));
        QTRY_COMPARE(panel.model()->rowCount(), 1);
        QVERIFY(panel.model()
                    ->index(0, SessionsModel::Title)
                    .data()
                    .toString()
                    .contains(QStringLiteral("cello")));
        QSignalSpy opened(&panel, &Page::open_session_wanted);
        panel.open_current();
        QCOMPARE(opened.count(), 1);
        search->setText(QStringLiteral("\"OR ( *"));
        QTest::qWait(400); // no query of a person's is an error
        search->clear();
        QTRY_COMPARE(panel.model()->rowCount(), 3);
        for (QWidget* widget : panel.findChildren<QWidget*>()) {
            if (widget->focusPolicy() != Qt::NoFocus && widget->isVisible()) {
                const bool named = !widget->accessibleName().isEmpty() ||
                                   qobject_cast<QPushButton*>(widget) != nullptr;
                QVERIFY2(named || qobject_cast<QAbstractItemView*>(widget->parentWidget()),
                         qPrintable(QString::fromLatin1(widget->metaObject()->className()) +
                                    widget->objectName()));
            }
        }
    }

    void InspectFollowsTheModelAndItsState() {
        test::FakeEngine engine;
        EngineHost host(in(m_folder, "inspect.db"), engine.functions());
        InspectPanel panel(host);
        panel.resize(1100, 700);
        panel.show();
        QCOMPARE(panel.model()->rowCount(), 0);
        host.open_model({.model = "/models/a.gguf"});
        QTRY_COMPARE(panel.model()->rowCount(), 8);
        QVERIFY(panel.plot()->content().series.size() >= 2);
        const auto& series = panel.plot()->content().series;
        // The twin with full attention everywhere holds more at the far end.
        QVERIFY(series[1].y.last() > series[0].y.last());
        StateEvent state;
        state.context_tokens = 64;
        state.entries = predict_state(test::FakeEngine::spec(), 64, {DType::F16, 4096});
        panel.show_state(state);
        QCOMPARE(panel.plot()->content().series.size(), qsizetype{3});
    }
};

QTEST_MAIN(ComparisonsTest)
#include "tst_comparisons.moc"
