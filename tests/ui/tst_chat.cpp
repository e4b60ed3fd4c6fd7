// The window with a scripted engine: open a model, send, stop, answer again, edit, go between
// versions, reopen; never blocked, everything named, everything by keyboard.

#include "app/bridge/engine_host.h"
#include "app/main_window.h"
#include "engine/store/sessions.h"
#include "tests/support/fake_engine.h"
#include "ui/chat/chat_model.h"
#include "ui/chat/chat_panel.h"
#include "ui/chat/composer.h"
#include "ui/chat/message_body.h"
#include "ui/chat/message_view.h"
#include "ui/chat/sampling_panel.h"
#include "ui/chat/transcript_view.h"
#include "ui/library/library_model.h"
#include "ui/library/library_panel.h"
#include "ui/settings/settings.h"
#include "ui/settings/settings_dialog.h"
#include "ui/shared/error_bar.h"
#include "ui/shared/layer_strip.h"
#include "ui/shared/status_strip.h"

#include <QAccessible>
#include <QAction>
#include <QApplication>
#include <QClipboard>
#include <QElapsedTimer>
#include <QFile>
#include <QMimeData>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QSignalSpy>
#include <QTemporaryDir>
#include <QToolButton>
#include <QtTest>

#include <ctime>
#include <filesystem>
#include <memory>

using namespace hs;
using namespace std::chrono_literals;

namespace {

const QString kAnswer = QStringLiteral("A cello is a large bowed string instrument.");

// The longest time the window's thread was away from its events, seen from inside by a timer that
// should come every few milliseconds. Time in which the thread was ready but other programs had
// the processor is not counted, where the system tells it: it says nothing about the window.
class Watchdog : public QObject {
public:
    Watchdog() {
        m_schedule.setFileName(QStringLiteral("/proc/thread-self/schedstat"));
        m_timer.setTimerType(Qt::PreciseTimer);
        m_timer.setInterval(2);
        connect(&m_timer, &QTimer::timeout, this, [this] {
            const double now = own_ms();
            m_longest = std::max(m_longest, now - m_last);
            m_last = now;
        });
        m_clock.start();
        m_last = own_ms();
        m_timer.start();
    }
    double longest_ms() const { return m_longest; }

private:
    double own_ms() {
        double waited_ms = 0;
        if (m_schedule.open(QIODevice::ReadOnly | QIODevice::Unbuffered)) {
            // "time on the processor, time waiting for one, in nanoseconds; slices"
            waited_ms = m_schedule.readAll().split(' ').value(1).toDouble() / 1e6;
            m_schedule.close();
        }
        return static_cast<double>(m_clock.nsecsElapsed()) / 1e6 - waited_ms;
    }

    QFile m_schedule;
    QElapsedTimer m_clock;
    QTimer m_timer;
    double m_last = 0;
    double m_longest = 0;
};

} // namespace

class ChatTest : public QObject {
    Q_OBJECT

private:
    std::filesystem::path folder() const {
        return std::filesystem::path(m_folder->path().toStdU16String());
    }

    void start() {
        m_settings =
            std::make_unique<WindowSettings>(m_folder->filePath(QStringLiteral("settings.ini")));
        m_host = std::make_unique<EngineHost>(folder() / "sessions.db", m_fake.functions());
        m_window = std::make_unique<MainWindow>(*m_host, *m_settings);
        m_window->show();
        QVERIFY(QTest::qWaitForWindowExposed(m_window.get()));
    }

    void load() {
        QSignalSpy opened(m_host.get(), &EngineHost::model_opened);
        m_window->load_model(QStringLiteral("fake"));
        QVERIFY(opened.wait());
    }

    ChatModel& model() { return *m_window->chat()->model(); }
    QString text(int row) { return model().index(row).data().toString(); }

    void type_and_send(const QString& words) {
        auto* const edit = m_window->findChild<QPlainTextEdit*>(QStringLiteral("composer"));
        QTest::keyClicks(edit, words);
        QTest::keyClick(edit, Qt::Key_Return);
    }

    void ask(const QString& words) {
        QSignalSpy finished(m_host.get(), &EngineHost::reply_finished);
        type_and_send(words);
        QVERIFY(finished.wait(10000));
        QTRY_VERIFY(!m_window->chat()->replying());
    }

    std::unique_ptr<QTemporaryDir> m_folder;
    test::FakeEngine m_fake;
    std::unique_ptr<WindowSettings> m_settings;
    std::unique_ptr<EngineHost> m_host;
    std::unique_ptr<MainWindow> m_window;

private slots:
    void init() {
        m_folder = std::make_unique<QTemporaryDir>();
        m_fake.set({});
        start();
    }

    void cleanup() {
        m_window.reset();
        m_host.reset();
        m_settings.reset();
    }

    void AQuestionIsAnsweredAndMeasured() {
        load();
        ask(QStringLiteral("What is a cello?"));
        QCOMPARE(model().rowCount(), 2);
        QCOMPARE(text(0), QStringLiteral("What is a cello?"));
        QCOMPARE(text(1), kAnswer);
        QVERIFY(model()
                    .index(1)
                    .data(ChatModel::FiguresRole)
                    .toString()
                    .contains(QLatin1String("TTFT")));
        QVERIFY(m_window->chat()->strip()->total_bytes() > 0);
        QCOMPARE(m_window->chat()->transcript()->view_of(1)->body()->text(), kAnswer);
    }

    void TheFirstMessageLoadsAModelWhenNoneIs() {
        m_window->chat()->set_first_model(QStringLiteral("fake"), QStringLiteral("Fake"));
        const int before = m_fake.loads();
        ask(QStringLiteral("hello"));
        QCOMPARE(m_fake.loads(), before + 1);
        QCOMPARE(text(1), kAnswer);
    }

    void WithoutAnyModelTheWindowSaysWhatToDo() {
        m_window->chat()->set_first_model({}, {});
        type_and_send(QStringLiteral("hello"));
        QTRY_VERIFY(m_window->error_bar()->text().contains(QLatin1String("No model")));
        QVERIFY(!m_window->chat()->replying());
        QCOMPARE(model().rowCount(), 1); // the question is kept
    }

    void AStopIsSeenWithin100MsAndKeepsTheText() {
        test::FakeEngine::Script script;
        script.words.assign(5000, "word ");
        script.per_word = 10ms;
        m_fake.set(script);
        load();
        type_and_send(QStringLiteral("go on"));
        QTRY_VERIFY(text(1).size() > 20);
        QElapsedTimer clock;
        clock.start();
        QTest::keyClick(m_window.get(), Qt::Key_Escape);
        QTRY_VERIFY_WITH_TIMEOUT(!m_window->chat()->replying(), 1000);
        const qint64 took = clock.elapsed();
        QVERIFY(!text(1).isEmpty());
        QCOMPARE(model().index(1).data(ChatModel::StateRole).toInt(),
                 static_cast<int>(MessageState::Stopped));
        QVERIFY2(took <= 150, qPrintable(QString::number(took))); // QTRY looks every 50 ms
    }

    void AnsweringAgainMakesASiblingAndLosesNothing() {
        load();
        ask(QStringLiteral("first"));
        m_fake.set({.words = {"Another ", "answer."}});
        QSignalSpy finished(m_host.get(), &EngineHost::reply_finished);
        m_window->action("answer_again")->trigger();
        QVERIFY(finished.wait());
        QCOMPARE(model().rowCount(), 2);
        QCOMPARE(text(1), QStringLiteral("Another answer."));
        QCOMPARE(model().siblings(1).size(), std::size_t{2});
        m_window->action("previous_sibling")->trigger();
        QCOMPARE(text(1), kAnswer);
        m_window->action("next_sibling")->trigger();
        QCOMPARE(text(1), QStringLiteral("Another answer."));
    }

    void AnEditMakesABranchAndTheModelIsToldThatBranch() {
        load();
        ask(QStringLiteral("first"));
        ask(QStringLiteral("second"));
        QCOMPARE(model().rowCount(), 4);
        MessageView* const view = m_window->chat()->transcript()->view_of(0);
        view->setFocus();
        QTest::keyClick(view, Qt::Key_F2);
        QVERIFY(view->editing());
        auto* const editor = view->findChild<QPlainTextEdit*>();
        editor->setPlainText(QStringLiteral("first, edited"));
        QSignalSpy finished(m_host.get(), &EngineHost::reply_finished);
        QTest::keyClick(editor, Qt::Key_Return);
        QVERIFY(finished.wait());
        QCOMPARE(model().rowCount(), 2);
        QCOMPARE(text(0), QStringLiteral("first, edited"));
        const GenerateRequest asked = m_fake.requests().back();
        QCOMPARE(asked.messages.size(), std::size_t{1});
        QCOMPARE(asked.messages[0].content, std::string("first, edited"));
        m_window->action("previous_sibling")->trigger();
        QCOMPARE(model().rowCount(), 4);
        QCOMPARE(text(0), QStringLiteral("first"));
    }

    void AReopenedSessionShowsTheBranchLastShown() {
        load();
        ask(QStringLiteral("first"));
        m_fake.set({.words = {"Second ", "version."}});
        QSignalSpy finished(m_host.get(), &EngineHost::reply_finished);
        m_window->action("answer_again")->trigger();
        QVERIFY(finished.wait());
        m_window->action("previous_sibling")->trigger();
        const std::int64_t session = m_window->chat()->session();
        m_window.reset();
        m_host.reset();
        start();
        m_window->open_session(session);
        QTRY_COMPARE(model().rowCount(), 2);
        QCOMPARE(text(1), kAnswer);
        QCOMPARE(model().siblings(1).size(), std::size_t{2});
        QVERIFY(!model().index(1).data(ChatModel::FiguresRole).toString().isEmpty());
    }

    void MessagesSentMeanwhileWaitTheirTurn() {
        test::FakeEngine::Script script;
        script.per_word = 30ms;
        m_fake.set(script);
        load();
        type_and_send(QStringLiteral("one"));
        QTRY_VERIFY(m_window->chat()->replying());
        type_and_send(QStringLiteral("two"));
        QCOMPARE(m_window->chat()->composer()->waiting(), QStringList{QStringLiteral("two")});
        QTRY_COMPARE_WITH_TIMEOUT(model().rowCount(), 4, 5000);
        QTRY_COMPARE(text(3), kAnswer);
        QCOMPARE(text(2), QStringLiteral("two"));
        QVERIFY(m_window->chat()->composer()->waiting().isEmpty());
    }

    void ThinkingIsFoldedCountedAndKeptApart() {
        m_fake.set({.thinking = {"let ", "me ", "see"}});
        load();
        ask(QStringLiteral("think"));
        QCOMPARE(text(1), kAnswer);
        QCOMPARE(model().index(1).data(ChatModel::ThinkingRole).toString(),
                 QStringLiteral("let me see"));
        QCOMPARE(model().index(1).data(ChatModel::ThinkingTokensRole).toInt(), 3);
    }

    void TheSystemPromptIsToldAndKept() {
        load();
        m_window->chat()->sampling_panel()->set_system_prompt(QStringLiteral("Be brief."));
        ask(QStringLiteral("hello"));
        QCOMPARE(m_fake.requests().back().messages[0].role, std::string("system"));
        ask(QStringLiteral("again"));
        QCOMPARE(m_fake.requests().back().messages.size(), std::size_t{4}); // once, not twice
        const std::int64_t session = m_window->chat()->session();
        m_window->action("new_chat")->trigger();
        m_window->chat()->sampling_panel()->set_system_prompt({});
        m_window->chat()->open_session(session);
        QTRY_COMPARE(m_window->chat()->sampling_panel()->system_prompt(),
                     QStringLiteral("Be brief."));
    }

    void AFailedReplyKeepsItsTextAndSaysWhy() {
        m_fake.set({.fail_after_words = 2});
        load();
        ask(QStringLiteral("fail"));
        QCOMPARE(text(1), QStringLiteral("A cello is a "));
        QVERIFY(m_window->error_bar()->text().contains(QLatin1String("device was lost")));
        m_fake.set({});
        QSignalSpy finished(m_host.get(), &EngineHost::reply_finished);
        m_window->action("answer_again")->trigger();
        QVERIFY(finished.wait());
        QCOMPARE(text(1), kAnswer);
    }

    void WhyTokensAreReadAgainIsSaid() {
        m_fake.set({.reuse_note = "The edit changed token 12; the nearest snapshot is at 0."});
        load();
        ask(QStringLiteral("why"));
        QVERIFY(model()
                    .index(1)
                    .data(ChatModel::ReuseNoteRole)
                    .toString()
                    .contains(QLatin1String("nearest snapshot")));
    }

    void ADraftSurvivesTheProgram() {
        auto* const edit = m_window->findChild<QPlainTextEdit*>(QStringLiteral("composer"));
        QTest::keyClicks(edit, QStringLiteral("half a thought"));
        m_window->chat()->save_draft_now();
        m_window.reset();
        m_host.reset();
        start();
        QTRY_COMPARE(m_window->chat()->composer()->text(), QStringLiteral("half a thought"));
    }

    void AnotherChatCanBeOpenedInMidReplyAndTheReplyIsKept() {
        test::FakeEngine::Script script;
        script.words.assign(2000, "word ");
        script.per_word = 10ms;
        m_fake.set(script);
        load();
        type_and_send(QStringLiteral("long"));
        QTRY_VERIFY(text(1).size() > 10);
        const std::int64_t session = m_window->chat()->session();
        m_window->action("new_chat")->trigger();
        QCOMPARE(model().rowCount(), 0);
        QTRY_VERIFY(!m_host->busy());
        m_window->chat()->open_session(session);
        QTRY_COMPARE(model().rowCount(), 2);
        QVERIFY(text(1).startsWith(QLatin1String("word ")));
    }

    void TheWindowIsNeverBlockedWhileLoadingAndStreaming() {
        test::FakeEngine::Script script;
        script.load_steps = 100;
        script.per_load_step = 3ms;
        for (int i = 0; i < 600; ++i) {
            script.words.push_back(i % 40 == 39   ? "\n\n"
                                   : i % 97 == 50 ? "\n```python\nprint(1)\n```\n"
                                   : i % 31 == 7  ? "\n- an item\n"
                                                  : "word **bold** ");
        }
        script.per_word = 2ms;
        m_fake.set(script);
        ask_after_load_under_watch();
    }

    void EveryFocusableWidgetHasAName() {
        load();
        ask(QStringLiteral("names"));
        m_window->chat()->set_side_panel_visible(true);
        QStringList nameless;
        const auto check = [&](QWidget* root) {
            for (QWidget* const widget : root->findChildren<QWidget*>()) {
                if (widget->focusPolicy() == Qt::NoFocus || !widget->isVisibleTo(root) ||
                    widget->objectName().startsWith(QLatin1String("qt_"))) {
                    continue;
                }
                QAccessibleInterface* const accessible =
                    QAccessible::queryAccessibleInterface(widget);
                if (!accessible || accessible->text(QAccessible::Name).trimmed().isEmpty()) {
                    nameless << QStringLiteral("%1 \"%2\" in %3")
                                    .arg(
                                        QLatin1String(widget->metaObject()->className()),
                                        widget->objectName(),
                                        widget->parentWidget()
                                            ? QLatin1String(
                                                  widget->parentWidget()->metaObject()->className())
                                            : QLatin1String("nothing"));
                }
            }
        };
        using Id = MainWindow::PageId;
        for (const Id page : {Id::Chat, Id::Compare, Id::Inspect, Id::Sessions, Id::Models}) {
            m_window->show_page(page);
            QTest::qWait(30);
            check(m_window.get());
        }
        SettingsDialog dialog(*m_settings, QStringLiteral("/tmp/sessions.db"));
        dialog.show();
        check(&dialog);
        nameless.removeDuplicates();
        QVERIFY2(nameless.isEmpty(), qPrintable(nameless.join(QLatin1Char('\n'))));
    }

    void PagesAndRegionsAreReachedByKeys() {
        QTest::keyClick(m_window.get(), Qt::Key_5, Qt::ControlModifier);
        QCOMPARE(m_window->page(), MainWindow::PageId::Models);
        QTest::keyClick(m_window.get(), Qt::Key_2, Qt::ControlModifier);
        QCOMPARE(m_window->page(), MainWindow::PageId::Compare);
        QTest::keyClick(m_window.get(), Qt::Key_1, Qt::ControlModifier);
        QCOMPARE(m_window->page(), MainWindow::PageId::Chat);
        m_window->activateWindow();
        QTRY_VERIFY(QApplication::focusWidget());
        QTest::keyClick(m_window.get(), Qt::Key_F6);
        QVERIFY(m_window->status()->isAncestorOf(QApplication::focusWidget()));
    }

    void NothingRunsWhenNothingIsDone() {
        load();
        ask(QStringLiteral("then rest"));
        m_window->chat()->save_draft_now();
        QTest::qWait(500);
        timespec before{};
        timespec after{};
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
        // The test's own waiting looks at its clock; the composer's caret blinks.
        QTest::qWait(2000);
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
        const double ms = static_cast<double>(after.tv_sec - before.tv_sec) * 1e3 +
                          static_cast<double>(after.tv_nsec - before.tv_nsec) / 1e6;
        QVERIFY2(ms < 100, qPrintable(QString::number(ms)));
    }

    void AConfigAloneIsLookedAtAndAModelIsLoaded() {
        const QString config = m_folder->filePath(QStringLiteral("config.json"));
        QFile file(config);
        QVERIFY(file.open(QIODevice::WriteOnly));
        file.write("{}");
        file.close();
        const int before = m_fake.loads();
        m_window->open_path(config);
        QCOMPARE(m_window->page(), MainWindow::PageId::Models);
        QCOMPARE(m_fake.loads(), before);
        const QString model_file = m_folder->filePath(QStringLiteral("my möde l.gguf"));
        QFile weights(model_file);
        QVERIFY(weights.open(QIODevice::WriteOnly));
        weights.close();
        QSignalSpy opened(m_host.get(), &EngineHost::model_opened);
        m_window->open_path(model_file);
        QVERIFY(opened.wait());
        QCOMPARE(m_window->page(), MainWindow::PageId::Chat);
        QTRY_VERIFY(m_window->library()->model()->row_of(model_file) >= 0);
    }

    void TheThemeFollowsItsSettingEverywhere() {
        m_settings->set("look/theme", QStringLiteral("dark"));
        QVERIFY(qApp->palette().color(QPalette::Window).lightness() < 128);
        m_settings->set("look/theme", QStringLiteral("light"));
        QVERIFY(qApp->palette().color(QPalette::Window).lightness() > 128);
        const double before = qApp->font().pointSizeF();
        m_window->action("text_larger")->trigger();
        QVERIFY(qApp->font().pointSizeF() > before);
        m_window->action("text_normal")->trigger();
        QCOMPARE(qApp->font().pointSizeF(), before);
    }

private:
    void ask_after_load_under_watch() {
        Watchdog watchdog;
        load();
        ask(QStringLiteral("write much"));
        QVERIFY2(watchdog.longest_ms() < 50, qPrintable(QString::number(watchdog.longest_ms())));
    }
};

QTEST_MAIN(ChatTest)
#include "tst_chat.moc"
