// A program that is killed while a reply grows loses at most the last second of it. The test starts
// itself as the program that writes, kills it (SIGKILL) at random moments, and looks at the file.

#include "engine/store/database.h"
#include "engine/store/sessions.h"

#include <QProcess>
#include <QTemporaryDir>
#include <QTest>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <random>
#include <string>
#include <thread>

using namespace hs;
using Clock = std::chrono::steady_clock;

namespace {

constexpr int kKills = 20;
// How often a growing reply is written; the promise is once a second.
constexpr auto kWriteEvery = std::chrono::milliseconds(400);
constexpr double kPromiseMs = 1000;

std::string token(int index) {
    return "token" + std::to_string(index) + " ";
}

template <class T>
T value_of(Result<T> result) {
    if (!result.ok()) {
        qFatal("%s", result.error().text().c_str());
    }
    return std::move(result).value();
}

// Streams for ever, as the engine does, and says on stdout what it had produced when.
int stream(const char* path) {
    Database db = value_of(Database::open(path, Access::ReadWrite));
    SessionStore store(db);
    const auto session = value_of(store.create(SessionKind::Chat, "killed"));
    const auto question =
        value_of(store.add_message({.session = session, .role = "user", .content = "go on"}));
    const auto reply = value_of(store.add_message({.session = session,
                                                   .parent = question,
                                                   .role = "assistant",
                                                   .state = MessageState::Streaming}));
    std::string text;
    const auto begin = Clock::now();
    auto written = begin;
    for (int index = 0;; ++index) {
        text += token(index);
        const auto now = Clock::now();
        std::printf("%lld %d %.3f\n", static_cast<long long>(reply), index + 1,
                    std::chrono::duration<double, std::milli>(now - begin).count());
        std::fflush(stdout);
        if (now - written >= kWriteEvery) {
            if (!store.set_text(reply, text, "").ok()) {
                return 1;
            }
            written = now;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(3));
    }
}

} // namespace

class CrashTest : public QObject {
    Q_OBJECT

private slots:
    void AKilledProgramLosesAtMostTheLastSecond() {
        QTemporaryDir folder;
        const QString path = folder.filePath("sessions.db");
        std::mt19937 random(20);
        double worst_ms = 0;
        for (int kill = 0; kill < kKills; ++kill) {
            QProcess writer;
            writer.start(QCoreApplication::applicationFilePath(), {"--stream", path});
            QVERIFY(writer.waitForStarted());
            QVERIFY(writer.waitForReadyRead(20'000));
            // From at once to well past a second, so that both an unwritten and a written reply
            // are met.
            QTest::qWait(static_cast<int>(random() % 1800));
            writer.kill();
            QVERIFY(writer.waitForFinished(20'000));
            QCOMPARE(writer.exitStatus(), QProcess::CrashExit);

            const QList<QByteArray> lines = writer.readAllStandardOutput().split('\n');
            std::int64_t reply = 0;
            int produced = 0;
            std::vector<double> when; // of each token
            for (const QByteArray& line : lines) {
                const QList<QByteArray> parts = line.split(' ');
                if (parts.size() == 3 && line.endsWith(parts[2])) {
                    reply = parts[0].toLongLong();
                    produced = parts[1].toInt();
                    when.push_back(parts[2].toDouble());
                }
            }
            if (!when.empty() && lines.back() != QByteArray()) {
                when.pop_back(); // the last line was cut
            }
            QVERIFY(!when.empty());
            produced = static_cast<int>(when.size());

            Database db = value_of(Database::open(path.toStdString(), Access::ReadWrite));
            check_intact(db);
            SessionStore store(db);
            QCOMPARE(value_of(store.recover()), 1);
            const auto sessions = value_of(store.list());
            QCOMPARE(sessions.size(), static_cast<std::size_t>(kill + 1));
            const auto branch = value_of(store.branch(sessions.front().id));
            QCOMPARE(branch.size(), std::size_t{2});
            QCOMPARE(branch[0].content, std::string("go on"));
            QCOMPARE(branch[1].id, reply);
            QVERIFY(branch[1].state == MessageState::Stopped);
            // What is there is the beginning of what was produced, in whole tokens.
            std::string expected;
            int kept = 0;
            while (expected.size() < branch[1].content.size()) {
                expected += token(kept++);
            }
            QCOMPARE(branch[1].content, expected);
            const double lost_ms =
                kept >= produced
                    ? 0
                    : when.back() - (kept > 0 ? when[static_cast<std::size_t>(kept) - 1] : 0);
            worst_ms = std::max(worst_ms, lost_ms);
            QVERIFY2(lost_ms <= kPromiseMs, qPrintable(QString("lost %1 ms").arg(lost_ms)));
        }
        qInfo("most that was lost: %.0f ms of %d kills", worst_ms, kKills);
    }

private:
    static void check_intact(Database& db) {
        Statement check = value_of(db.prepare("PRAGMA integrity_check"));
        QVERIFY(value_of(check.step()));
        QCOMPARE(check.text(0), std::string("ok"));
        QVERIFY(db.execute("INSERT INTO message_search(message_search) VALUES('integrity-check')")
                    .ok());
    }
};

int main(int argc, char** argv) {
    if (argc == 3 && std::string_view(argv[1]) == "--stream") {
        return stream(argv[2]);
    }
    QCoreApplication application(argc, argv);
    CrashTest test;
    return QTest::qExec(&test, argc, argv);
}

#include "crash_test.moc"
