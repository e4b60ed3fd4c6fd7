// Sessions, messages, samples and the schema that carries them.

#include "engine/store/database.h"
#include "engine/store/samples.h"
#include "engine/store/schema.h"
#include "engine/store/sessions.h"

#include <QFile>
#include <QTemporaryDir>
#include <QTest>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <random>
#include <sqlite3.h>
#include <thread>

using namespace hs;

namespace {

Database memory_db() {
    Result<Database> db = Database::open(":memory:", Access::ReadWrite);
    if (!db.ok()) {
        qFatal("%s", db.error().text().c_str());
    }
    return std::move(db).value();
}

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

std::int64_t number(Database& db, std::string_view sql) {
    Statement statement = value_of(db.prepare(sql));
    if (!value_of(statement.step())) {
        qFatal("no row");
    }
    return statement.integer(0);
}

std::int64_t add(SessionStore& store, std::int64_t session, std::int64_t parent, std::string role,
                 std::string content, MessageState state = MessageState::Complete) {
    return value_of(store.add_message({.session = session,
                                       .parent = parent,
                                       .role = std::move(role),
                                       .content = std::move(content),
                                       .state = state}));
}

std::vector<std::string> contents(const std::vector<MessageRow>& rows) {
    std::vector<std::string> texts;
    for (const MessageRow& row : rows) {
        texts.push_back(row.content);
    }
    return texts;
}

std::vector<std::int64_t> found(SessionStore& store, std::string_view query) {
    std::vector<std::int64_t> ids;
    for (const SessionRow& row : value_of(store.list(query))) {
        ids.push_back(row.id);
    }
    std::sort(ids.begin(), ids.end());
    return ids;
}

using Ids = std::vector<std::int64_t>;
using Texts = std::vector<std::string>;

} // namespace

class StoreTest : public QObject {
    Q_OBJECT

private:
    QTemporaryDir m_folder;
    std::filesystem::path file(const char* name) const {
        return std::filesystem::path(m_folder.path().toStdU16String()) /
               std::u8string(name, name + std::strlen(name));
    }
    std::filesystem::path file(const char8_t* name) const {
        return std::filesystem::path(m_folder.path().toStdU16String()) / name;
    }

private slots:
    // --- the tree of messages ---

    void BranchRunsThroughTheLatestUnlessAnotherIsChosen() {
        Database db = memory_db();
        SessionStore store(db);
        const auto session = value_of(store.create(SessionKind::Chat, "cellos"));
        const auto question = add(store, session, 0, "user", "What is a cello?");
        const auto first = add(store, session, question, "assistant", "A string instrument.");
        QCOMPARE(contents(value_of(store.branch(session))),
                 (Texts{"What is a cello?", "A string instrument."}));
        // Regenerated: a sibling, nothing overwritten.
        add(store, session, question, "assistant", "A large violin.");
        QCOMPARE(contents(value_of(store.branch(session))),
                 (Texts{"What is a cello?", "A large violin."}));
        need(store.choose(first));
        const auto follow = add(store, session, first, "user", "How large?");
        QCOMPARE(contents(value_of(store.branch(session))),
                 (Texts{"What is a cello?", "A string instrument.", "How large?"}));
        // Edited: a second first message.
        add(store, session, 0, "user", "What is a viola?");
        QCOMPARE(contents(value_of(store.branch(session))), (Texts{"What is a viola?"}));
        need(store.choose(follow));
        QCOMPARE(value_of(store.branch(session)).back().id, follow);
        QCOMPARE(value_of(store.messages(session)).size(), std::size_t{5});
    }

    void MessagesKeepEveryField() {
        Database db = memory_db();
        SessionStore store(db);
        const auto session = value_of(store.create(SessionKind::Chat, ""));
        const MessageRow written{.session = session,
                                 .role = "assistant",
                                 .content = std::string("zero \0 inside, grüße 你好", 28),
                                 .reasoning = "hm",
                                 .state = MessageState::Streaming,
                                 .model = "m",
                                 .metrics = "{}",
                                 .created_ms = 1234};
        const auto id = value_of(store.add_message(written));
        MessageRow read = value_of(store.messages(session)).at(0);
        QCOMPARE(read.id, id);
        QCOMPARE(read.content, written.content);
        QCOMPARE(read.reasoning, written.reasoning);
        QVERIFY(read.state == MessageState::Streaming);
        QCOMPARE(read.model, written.model);
        QCOMPARE(read.created_ms, written.created_ms);
        need(store.set_text(id, "new", "thought"));
        need(store.finish(id, MessageState::Failed, "{\"a\":1}"));
        read = value_of(store.messages(session)).at(0);
        QCOMPARE(read.content, std::string("new"));
        QCOMPARE(read.reasoning, std::string("thought"));
        QVERIFY(read.state == MessageState::Failed);
        QCOMPARE(read.metrics, std::string("{\"a\":1}"));
        const auto row = value_of(store.find(session));
        QCOMPARE(row->messages, 1);
        QCOMPARE(row->model, std::string("m"));
    }

    void WhatIsNotThereIsSaid() {
        Database db = memory_db();
        SessionStore store(db);
        QVERIFY(!value_of(store.find(7)).has_value());
        QVERIFY(store.rename(7, "x").error().code == ErrorCode::NotFound);
        QVERIFY(store.remove(7).error().code == ErrorCode::NotFound);
        QVERIFY(store.set_text(7, "x", "").error().code == ErrorCode::NotFound);
        QVERIFY(store.finish(7, MessageState::Complete, "").error().code == ErrorCode::NotFound);
        QVERIFY(store.choose(7).error().code == ErrorCode::NotFound);
        QVERIFY(store.branch(7).error().code == ErrorCode::NotFound);
        QVERIFY(!store.add_message({.session = 7, .role = "user"}).ok());
        const auto a = value_of(store.create(SessionKind::Chat, "a"));
        const auto b = value_of(store.create(SessionKind::Chat, "b"));
        const auto message = add(store, a, 0, "user", "x");
        // A parent in another session would tear two trees.
        QVERIFY(store.add_message({.session = b, .parent = message, .role = "user"}).error().code ==
                ErrorCode::InvalidArgument);
        QVERIFY(store.add_message({.session = a, .parent = 99, .role = "user"}).error().code ==
                ErrorCode::NotFound);
        // Nothing of the refused ones is left, and the connection still works.
        QCOMPARE(number(db, "SELECT count(*) FROM messages"), 1);
    }

    void RemovingASessionTakesAllOfItAlong() {
        Database db = memory_db();
        SessionStore store(db);
        SampleStore samples(db);
        const auto session = value_of(store.create(SessionKind::Comparison, "gone"));
        add(store, session, add(store, session, 0, "user", "findable"), "assistant", "b");
        const auto experiment = value_of(samples.add_experiment({.session = session}));
        const auto arm = value_of(samples.add_arm({.experiment = experiment}));
        const auto run = value_of(samples.add_run({.arm = arm}));
        const std::array rows{SampleRow{.run = run, .kind = "token ms", .value = 2.5}};
        need(samples.add_samples(rows));
        need(store.remove(session));
        for (const char* table : {"messages", "experiments", "arms", "runs", "samples"}) {
            QCOMPARE(number(db, std::string("SELECT count(*) FROM ") + table), 0);
        }
        QCOMPARE(found(store, "findable"), Ids{});
        need(db.execute("INSERT INTO message_search(message_search) VALUES('integrity-check')"));
    }

    void RecoverMarksWhatACrashLeftStreaming() {
        Database db = memory_db();
        SessionStore store(db);
        SampleStore samples(db);
        const auto session = value_of(store.create(SessionKind::Chat, ""));
        const auto question = add(store, session, 0, "user", "q");
        const auto reply = add(store, session, question, "assistant", "", MessageState::Streaming);
        need(store.set_text(reply, "half a marmalade", ""));
        const auto experiment =
            value_of(samples.add_experiment({.session = session, .state = "running"}));
        const auto arm = value_of(samples.add_arm({.experiment = experiment}));
        value_of(samples.add_run({.arm = arm, .state = "running"}));
        QCOMPARE(value_of(store.recover()), 1);
        QVERIFY(value_of(store.messages(session)).back().state == MessageState::Stopped);
        QCOMPARE(value_of(samples.experiments(session)).at(0).state, std::string("stopped"));
        QCOMPARE(value_of(samples.runs(experiment)).at(0).state, std::string("stopped"));
        QCOMPARE(found(store, "marmalade"), Ids{session});
        QCOMPARE(value_of(store.recover()), 0);
    }

    // --- search ---

    void SearchFindsTitlesAndMessages() {
        Database db = memory_db();
        SessionStore store(db);
        const auto a = value_of(store.create(SessionKind::Chat, "Instruments"));
        add(store, a, 0, "user", "What is a cello? Grüße aus Zürich, naïve café.");
        const auto b = value_of(store.create(SessionKind::Chat, "Weather in Paris"));
        add(store, b, 0, "user", "Will it rain?");
        QCOMPARE(found(store, ""), (Ids{a, b}));
        QCOMPARE(found(store, "   "), (Ids{a, b}));
        QCOMPARE(found(store, "cello"), Ids{a});
        QCOMPARE(found(store, "CEL"), Ids{a});          // begins with
        QCOMPARE(found(store, "zurich cafe"), Ids{a});  // without diacritics
        QCOMPARE(found(store, "instru cello"), Ids{a}); // title and message together
        QCOMPARE(found(store, "paris rain"), Ids{b});
        QCOMPARE(found(store, "paris cello"), Ids{});
        QCOMPARE(found(store, "what is a cello?"), Ids{a});
        need(store.rename(b, "Climate"));
        QCOMPARE(found(store, "paris"), Ids{});
        QCOMPARE(found(store, "climate"), Ids{b});
        const auto rows = value_of(store.list("cello"));
        QVERIFY(rows.at(0).snippet.find("\x02"
                                        "cello\x03") != std::string::npos);
        QCOMPARE(value_of(store.list("climate")).at(0).snippet, std::string("\x02"
                                                                            "Climate\x03"));
        QCOMPARE(value_of(store.list("", 1)).size(), std::size_t{1});
    }

    void AReplyIsFoundOnceItIsFinished() {
        Database db = memory_db();
        SessionStore store(db);
        const auto session = value_of(store.create(SessionKind::Chat, ""));
        const auto reply = add(store, session, 0, "assistant", "", MessageState::Streaming);
        need(store.set_text(reply, "about marmalade", ""));
        need(store.set_text(reply, "about marmalade and jam", "thinking of quinces"));
        need(store.finish(reply, MessageState::Complete, "{}"));
        QCOMPARE(found(store, "marmalade"), Ids{session});
        QCOMPARE(found(store, "quince"), Ids{session});
        need(store.set_text(reply, "about honey", ""));
        QCOMPARE(found(store, "marmalade"), Ids{});
        need(db.execute("INSERT INTO message_search(message_search) VALUES('integrity-check')"));
        need(db.execute("INSERT INTO title_search(title_search) VALUES('integrity-check')"));
    }

    void NoQueryIsASyntaxError() {
        Database db = memory_db();
        SessionStore store(db);
        const auto session = value_of(store.create(SessionKind::Chat, "AND \"quoted\" C++"));
        add(store, session, 0, "user", "NEAR NOT OR x* ^y {z} col:umn");
        const std::vector<std::string> queries{
            "\"",
            "\"\"",
            "'",
            "AND",
            "OR",
            "NOT",
            "NEAR(",
            "NEAR(a b, 5)",
            "a AND",
            "*",
            "^",
            "-",
            "+",
            "a*b",
            "a:b",
            "title:x",
            "{",
            "}",
            "(",
            ")",
            "((",
            "a\"b",
            "\"a",
            "a\"",
            "\\",
            "%",
            "_",
            ";",
            "--",
            "/*",
            std::string("a\0b", 3),
            std::string("\0", 1),
            "\xff\xfe",
            "\xc3",
            "C++",
            "col:umn",
            "…",
            "🎻",
            "\x02",
            std::string(100'000, 'a'),
            std::string(5000, '"'),
            "a b c d e f g h i j k l m n o p q r s t u v w x y z"};
        for (const std::string& query : queries) {
            QVERIFY2(store.list(query).ok(), query.substr(0, 40).c_str());
        }
        QCOMPARE(found(store, "\"quoted\""), Ids{session});
        QCOMPARE(found(store, "AND"), Ids{session});
        QCOMPARE(found(store, "C++"), Ids{session});
        QCOMPARE(found(store, "col:umn"), Ids{session});
        std::mt19937 random(1);
        for (int i = 0; i < 500; ++i) {
            std::string query;
            for (std::uint32_t n = random() % 24; n > 0; --n) {
                query += static_cast<char>(random() % 256);
            }
            QVERIFY(store.list(query).ok());
        }
    }

    // --- samples ---

    void SamplesComeBackAsTheyWereWritten() {
        Database db = memory_db();
        SessionStore sessions(db);
        SampleStore store(db);
        const auto session = value_of(sessions.create(SessionKind::Comparison, "ratios"));
        const auto experiment = value_of(store.add_experiment(
            {.session = session, .plan = "{}", .machine = "{\"cpu\":1}", .state = "running"}));
        const auto second = value_of(store.add_arm({.experiment = experiment, .position = 1}));
        const auto first = value_of(store.add_arm(
            {.experiment = experiment, .position = 0, .label = "full", .weight_bytes = 5}));
        need(store.set_arm({.id = first,
                            .schedule = "8 full attention",
                            .layers = "[]",
                            .weight_bytes = 6,
                            .details = "{}"}));
        const auto run =
            value_of(store.add_run({.arm = first, .repeat = 2, .depth = 4096, .warm_up = true}));
        value_of(store.add_run({.arm = second}));
        need(store.finish_run(run, "an answer", "{\"m\":1}", "complete"));
        need(store.finish_experiment(experiment, "complete"));
        std::vector<SampleRow> rows;
        for (int i = 0; i < 1000; ++i) {
            rows.push_back({.run = run,
                            .kind = i % 2 == 0 ? "token ms" : "state used bytes",
                            .time_ms = i * 0.5,
                            .context_tokens = i,
                            .layer = i % 8 - 1,
                            .state_kind = "KV cache",
                            .count = i,
                            .value = i / 3.0});
        }
        need(store.add_samples(rows));
        const auto arms = value_of(store.arms(experiment));
        QCOMPARE(arms.at(0).id, first);
        QCOMPARE(arms.at(0).schedule, std::string("8 full attention"));
        QCOMPARE(arms.at(0).weight_bytes, 6);
        const auto runs = value_of(store.runs(experiment));
        QCOMPARE(runs.at(0).depth, 4096);
        QVERIFY(runs.at(0).warm_up && !runs.at(1).warm_up);
        QCOMPARE(runs.at(0).text, std::string("an answer"));
        const auto read = value_of(store.samples(experiment));
        QCOMPARE(read.size(), rows.size());
        for (std::size_t i = 0; i < rows.size(); ++i) {
            QVERIFY(read[i].kind == rows[i].kind && read[i].value == rows[i].value &&
                    read[i].context_tokens == rows[i].context_tokens &&
                    read[i].layer == rows[i].layer && read[i].count == rows[i].count &&
                    read[i].time_ms == rows[i].time_ms && read[i].state_kind == "KV cache");
        }
        QCOMPARE(value_of(store.samples(experiment, "token ms")).size(), std::size_t{500});
        QVERIFY(store.set_arm({.id = 99}).error().code == ErrorCode::NotFound);
        QVERIFY(store.finish_run(99, "", "", "").error().code == ErrorCode::NotFound);
    }

    void SamplesOfAnUnknownRunAreRefusedWhole() {
        Database db = memory_db();
        SessionStore sessions(db);
        SampleStore store(db);
        const auto session = value_of(sessions.create(SessionKind::Comparison, ""));
        const auto experiment = value_of(store.add_experiment({.session = session}));
        const auto run =
            value_of(store.add_run({.arm = value_of(store.add_arm({.experiment = experiment}))}));
        const std::array rows{SampleRow{.run = run, .kind = "a"},
                              SampleRow{.run = 99, .kind = "b"}};
        QVERIFY(!store.add_samples(rows).ok());
        QCOMPARE(number(db, "SELECT count(*) FROM samples"), 0);
    }

    // --- schema ---

    void MigrationsRunForwardFromEveryOlderVersion() {
        // Each older version is kept as the SQL that makes such a file; opening brings it up to
        // date and keeps what was in it.
        for (int version = 1; version <= schema_version(); ++version) {
            const QString name = QStringLiteral(HS_TEST_DATA "/engine/store/data/version-%1.sql");
            QFile dump(name.arg(version));
            QVERIFY2(dump.open(QIODevice::ReadOnly), qPrintable(dump.fileName()));
            const auto path = file(("version-" + std::to_string(version) + ".db").c_str());
            make_file(path, dump.readAll());
            Database db = value_of(Database::open(path, Access::ReadWrite));
            QCOMPARE(number(db, "PRAGMA user_version"), schema_version());
            QCOMPARE(number(db, "PRAGMA application_id"), kApplicationId);
            SessionStore store(db);
            QCOMPARE(found(store, "kontrabass"), Ids{1});
            const auto branch = value_of(store.branch(1));
            QCOMPARE(contents(branch), (Texts{"Was ist ein Kontrabaß?", "Kontrabass: a bass."}));
            QCOMPARE(value_of(SampleStore(db).samples(1)).size(), std::size_t{2});
        }
    }

    void StepsOfAMigrationAreAllOrNothing() {
        const auto path = file("steps.db");
        {
            Database db = value_of(Database::open(path, Access::ReadWrite));
            value_of(SessionStore(db).create(SessionKind::Chat, "kept"));
            const std::array<Migration, 3> good{
                migrations()[0], "ALTER TABLE sessions ADD COLUMN note TEXT NOT NULL DEFAULT ''",
                "CREATE TABLE extra(x); INSERT INTO extra VALUES (1);"};
            const std::array<Migration, 3> bad{good[0], good[1], "CREATE TABLE extra(x); nonsense"};
            const Result<void> failed = migrate(db, bad);
            QVERIFY(!failed.ok());
            QVERIFY(failed.error().text().find("version 2 to 3") != std::string::npos);
            QCOMPARE(number(db, "PRAGMA user_version"), 1); // the good step is undone too
            need(migrate(db, good));
            QCOMPARE(number(db, "PRAGMA user_version"), 3);
            QCOMPARE(number(db, "SELECT count(*) FROM sessions WHERE note = ''"), 1);
            need(migrate(db, good)); // nothing left to do
            QCOMPARE(number(db, "SELECT count(*) FROM extra"), 1);
        }
        // This program does not know version 3.
        for (const Access access : {Access::ReadWrite, Access::ReadOnly}) {
            const Result<Database> newer = Database::open(path, access);
            QVERIFY(!newer.ok());
            QVERIFY(newer.error().code == ErrorCode::Unsupported);
            QVERIFY(newer.error().text().find("version 3") != std::string::npos);
        }
    }

    void ReadingNeedsTheCurrentVersion() {
        const auto path = file("read.db");
        QVERIFY(Database::open(path, Access::ReadOnly).error().code == ErrorCode::NotFound);
        QVERIFY(!std::filesystem::exists(path));
        {
            Database db = value_of(Database::open(path, Access::ReadWrite));
            value_of(SessionStore(db).create(SessionKind::Chat, "x"));
        }
        Database db = value_of(Database::open(path, Access::ReadOnly));
        QCOMPARE(value_of(SessionStore(db).list()).size(), std::size_t{1});
        QVERIFY(!SessionStore(db).create(SessionKind::Chat, "y").ok());
    }

    void PathsNeedNotBeAscii() {
        const auto path = file(u8"Sitzungen – ünïcode 会话/sessions.db");
        {
            Database db = value_of(Database::open(path, Access::ReadWrite));
            value_of(SessionStore(db).create(SessionKind::Chat, "x"));
        }
        QVERIFY(std::filesystem::exists(path));
    }

    void TwoConnectionsShareAFile() {
        const auto path = file("shared.db");
        Database writer = value_of(Database::open(path, Access::ReadWrite));
        Database other = value_of(Database::open(path, Access::ReadWrite));
        SessionStore store(writer);
        const auto session = value_of(store.create(SessionKind::Chat, "x"));
        {
            // A reader sees what was committed while a transaction is open, and does not wait.
            Database::Transaction open = value_of(writer.begin());
            need(store.rename(session, "changed"));
            QCOMPARE(value_of(SessionStore(other).find(session))->title, std::string("x"));
            // Not committed: rolled back here.
        }
        QCOMPARE(value_of(store.find(session))->title, std::string("x"));
        // Writers wait for each other instead of failing.
        std::thread second([&] {
            for (int i = 0; i < 50; ++i) {
                need(SessionStore(other).rename(session, "by the second"));
            }
        });
        for (int i = 0; i < 50; ++i) {
            add(store, session, 0, "user", "x");
        }
        second.join();
        QCOMPARE(value_of(store.find(session))->messages, 50);
    }

    // --- files that are not what they should be ---

    void AFileOfAnotherProgramIsRefusedUntouched() {
        const auto path = file("other.db");
        make_file(path, "CREATE TABLE notes(x); INSERT INTO notes VALUES ('mine');");
        const QByteArray before = bytes_of(path);
        const Result<Database> opened = Database::open(path, Access::ReadWrite);
        QVERIFY(!opened.ok());
        QVERIFY(opened.error().code == ErrorCode::InvalidArgument);
        QCOMPARE(bytes_of(path), before);
    }

    void AFileThatIsNoDatabaseIsCorrupt() {
        const auto path = file("text.db");
        write(path, QByteArray("this is a letter, not a database\n").repeated(200));
        const Result<Database> opened = Database::open(path, Access::ReadWrite);
        QVERIFY(!opened.ok());
        QVERIFY(opened.error().code == ErrorCode::Corrupt);
        QVERIFY(opened.error().text().find("text.db") != std::string::npos);
        QVERIFY(!Database::open(file("."), Access::ReadWrite).ok()); // a folder
    }

    void TablesOfAnotherShapeAreErrors() {
        const auto path = file("shape.db");
        make_file(path, "CREATE TABLE sessions(id INTEGER PRIMARY KEY, title TEXT);"
                        "CREATE VIEW messages AS SELECT 1 AS id;"
                        "PRAGMA user_version = 1; PRAGMA application_id = 1215910755;");
        Result<Database> opened = Database::open(path, Access::ReadWrite);
        if (!opened.ok()) {
            return;
        }
        Database db = std::move(opened).value();
        SessionStore store(db);
        QVERIFY(store.list().error().code == ErrorCode::Corrupt);
        QVERIFY(!store.list("word").ok());
        QVERIFY(!store.branch(1).ok());
        QVERIFY(!store.create(SessionKind::Chat, "x").ok());
        QVERIFY(!store.recover().ok());
        QVERIFY(!SampleStore(db).experiments(1).ok());
    }

    void MessagesInACircleEnd() {
        const auto path = file("circle.db");
        {
            Database db = value_of(Database::open(path, Access::ReadWrite));
            SessionStore store(db);
            const auto session = value_of(store.create(SessionKind::Chat, "x"));
            const auto a = add(store, session, 0, "user", "a");
            const auto b = add(store, session, a, "assistant", "b");
            need(db.execute("UPDATE messages SET parent = " + std::to_string(b) +
                            " WHERE id = " + std::to_string(a)));
            need(db.execute("UPDATE sessions SET chosen = -5"));
            QVERIFY(store.branch(session).ok());
            QVERIFY(store.choose(b).ok());
            QVERIFY(store.remove(session).ok());
        }
    }

    void DamagedFilesAreErrorsAndNotCrashes() {
        const auto path = file("whole.db");
        {
            Database db = value_of(Database::open(path, Access::ReadWrite));
            SessionStore store(db);
            SampleStore samples(db);
            for (int i = 0; i < 5; ++i) {
                const auto session = value_of(store.create(SessionKind::Chat, "session"));
                std::int64_t parent = 0;
                for (int j = 0; j < 5; ++j) {
                    parent = add(store, session, parent, "user",
                                 std::string(300, static_cast<char>('a' + j)) + " words");
                }
                const auto experiment = value_of(samples.add_experiment({.session = session}));
                const auto arm = value_of(samples.add_arm({.experiment = experiment}));
                const auto run = value_of(samples.add_run({.arm = arm}));
                std::vector<SampleRow> rows(50, SampleRow{.run = run, .kind = "token ms"});
                need(samples.add_samples(rows));
            }
            need(db.execute("PRAGMA wal_checkpoint(TRUNCATE)"));
        }
        const QByteArray whole = bytes_of(path);
        std::mt19937 random(7);
        int refused = 0;
        for (int i = 0; i < 300; ++i) {
            QByteArray damaged = whole;
            if (i % 4 == 0) {
                damaged.truncate(
                    static_cast<qsizetype>(random() % static_cast<unsigned>(whole.size())));
            }
            for (std::uint32_t n = 1 + random() % 40; n > 0 && !damaged.isEmpty(); --n) {
                // Every second one in the first pages, where schema and roots are.
                const auto reach =
                    n % 2 == 0 ? damaged.size() : std::min<qsizetype>(damaged.size(), 4096);
                damaged[static_cast<qsizetype>(random() % static_cast<unsigned>(reach))] =
                    static_cast<char>(random() % 256);
            }
            const auto copy = file("damaged.db");
            write(copy, damaged);
            std::filesystem::remove(file("damaged.db-wal"));
            std::filesystem::remove(file("damaged.db-shm"));
            Result<Database> opened = Database::open(copy, Access::ReadWrite);
            if (!opened.ok()) {
                QVERIFY(!opened.error().what.empty());
                ++refused;
                continue;
            }
            Database db = std::move(opened).value();
            SessionStore store(db);
            SampleStore samples(db);
            // Whatever comes back is a value or an error; the point is that it comes back.
            refused += store.list().ok() ? 0 : 1;
            refused += store.list("words").ok() ? 0 : 1;
            for (std::int64_t id = 0; id < 6; ++id) {
                refused += store.branch(id).ok() ? 0 : 1;
                refused += samples.samples(id).ok() ? 0 : 1;
                refused += samples.experiments(id).ok() ? 0 : 1;
            }
            refused += store.recover().ok() ? 0 : 1;
            refused += store.create(SessionKind::Chat, "after").ok() ? 0 : 1;
            refused += store.remove(2).ok() ? 0 : 1;
        }
        QVERIFY(refused > 50);
    }

private:
    static QByteArray bytes_of(const std::filesystem::path& path) {
        QFile read(path);
        return read.open(QIODevice::ReadOnly) ? read.readAll() : QByteArray();
    }
    static void write(const std::filesystem::path& path, const QByteArray& bytes) {
        QFile out(path);
        if (!out.open(QIODevice::WriteOnly) || out.write(bytes) != bytes.size()) {
            qFatal("cannot write a test file");
        }
    }
    // A file that Database::open has not seen, made by plain SQL.
    static void make_file(const std::filesystem::path& path, const QByteArray& sql);
};

void StoreTest::make_file(const std::filesystem::path& path, const QByteArray& sql) {
    sqlite3* raw = nullptr;
    char* message = nullptr;
    if (sqlite3_open(path.string().c_str(), &raw) != SQLITE_OK ||
        sqlite3_exec(raw, sql.constData(), nullptr, nullptr, &message) != SQLITE_OK) {
        qFatal("%s", message != nullptr ? message : "cannot make a test file");
    }
    sqlite3_close(raw);
}

QTEST_GUILESS_MAIN(StoreTest)
#include "store_test.moc"
