// Experiments as data: JSON both ways, what is refused, and in which words.

#include "engine/lab/experiment.h"
#include "engine/lab/runner.h"
#include "engine/lab/sha256.h"
#include "engine/lab/timed_run.h"
#include "engine/lab/units.h"

#include <QTemporaryDir>
#include <QTest>

#include <filesystem>
#include <fstream>
#include <random>

using namespace hs;

namespace {

const std::string kModel = HS_TEST_CHECKPOINTS "/qwen3.5/model.gguf";

Experiment full_example() {
    Experiment e;
    e.title = "Ratios – \"quoted\"";
    e.arms = {{.label = "full", .model = kModel, .device = "cpu", .threads = 2, .kv_dtype = "f32"},
              {.label = "1:3", .model = kModel}};
    e.workload.system_prompt = "be brief";
    e.workload.prompt = "What is a cello?";
    e.workload.raw = true;
    e.workload.enable_thinking = false;
    e.workload.generate_tokens = 17;
    e.workload.ignore_end_token = true;
    e.workload.depths = {0, 1024, 4096};
    e.workload.sampling = {.temperature = 0.25,
                           .top_k = 3,
                           .top_p = 0.5,
                           .min_p = 0.125,
                           .repetition_penalty = 1.5,
                           .presence_penalty = -0.5,
                           .seed = 0xffff'ffff'ffff'fff0U};
    e.repeats = 5;
    e.warm_ups = 2;
    e.baseline = 1;
    e.context_tokens = 8192;
    return e;
}

Json parsed(std::string_view text) {
    const Result<Json> json = parse_json(text);
    if (!json.ok()) {
        qFatal("%s", json.error().text().c_str());
    }
    return *json;
}

} // namespace

class ExperimentTest : public QObject {
    Q_OBJECT

private slots:
    void JsonKeepsEveryField() {
        const Experiment written = full_example();
        const Result<Experiment> read = experiment_from_json(parsed(to_json(written).dump()));
        QVERIFY2(read.ok(), read.ok() ? "" : read.error().text().c_str());
        QVERIFY(*read == written);
        QVERIFY(check(*read).ok());
    }

    void WhatIsLeftOutHasItsDefault() {
        const Result<Experiment> read = experiment_from_json(
            parsed(R"({"arms": [{"model": "m"}], "workload": {"prompt": "p"}})"));
        QVERIFY(read.ok());
        Experiment expected;
        expected.arms = {{.label = "m", .model = "m"}};
        expected.workload.prompt = "p";
        QVERIFY(*read == expected);
    }

    void WrongPlansAreRefusedByName_data() {
        QTest::addColumn<QString>("json");
        QTest::addColumn<QString>("named");
        QTest::newRow("no arms") << R"({"workload": {}})"
                                 << "arms";
        QTest::newRow("no workload") << R"({"arms": []})"
                                     << "workload";
        QTest::newRow("not an object") << R"([1])"
                                       << "object";
        QTest::newRow("unknown key") << R"({"arms": [], "workload": {}, "repeat": 3})"
                                     << "repeat";
        QTest::newRow("unknown key of an arm")
            << R"({"arms": [{"model": "m", "kv": "f16"}], "workload": {}})"
            << "arms[0]: unknown";
        QTest::newRow("arm without model") << R"({"arms": [{"label": "m"}], "workload": {}})"
                                           << "model";
        QTest::newRow("arms of another type") << R"({"arms": 3, "workload": {}})"
                                              << "arms";
        QTest::newRow("depths of another type") << R"({"arms": [], "workload": {"depths": "0"}})"
                                                << "depths";
        QTest::newRow("depth of another type") << R"({"arms": [], "workload": {"depths": [1.5]}})"
                                               << "depths";
        QTest::newRow("seed below zero")
            << R"({"arms": [], "workload": {"sampling": {"seed": -1}}})"
            << "seed";
        QTest::newRow("repeats beyond int")
            << R"({"arms": [], "workload": {}, "repeats": 99999999999})"
            << "repeats";
        QTest::newRow("prompt of another type") << R"({"arms": [], "workload": {"prompt": 1}})"
                                                << "prompt";
    }
    void WrongPlansAreRefusedByName() {
        QFETCH(QString, json);
        QFETCH(QString, named);
        const Result<Experiment> read = experiment_from_json(parsed(json.toStdString()));
        QVERIFY(!read.ok());
        QVERIFY2(QString::fromStdString(read.error().text()).contains(named),
                 read.error().text().c_str());
    }

    void NoPlanIsACrash() {
        // Every prefix and many mutations of a whole plan: a value or an error.
        const std::string whole = to_json(full_example()).dump();
        std::mt19937 random(3);
        int read_well = 0;
        for (int i = 0; i < 3000; ++i) {
            std::string text = whole;
            for (std::uint32_t n = 1 + random() % 3; n > 0; --n) {
                const std::size_t at = random() % text.size();
                switch (random() % 3) {
                case 0:
                    text[at] = static_cast<char>(random() % 256);
                    break;
                case 1:
                    text.erase(at, 1 + random() % 8);
                    break;
                default:
                    text.insert(at, std::string(1 + random() % 4, "0{}[],:\"-e"[random() % 10]));
                }
                if (text.empty()) {
                    break;
                }
            }
            const Result<Json> json = parse_json(text);
            if (json.ok()) {
                const Result<Experiment> read = experiment_from_json(*json);
                read_well += read.ok() ? 1 : 0;
                if (read.ok()) {
                    const Result<void> sound = check(*read);
                    QVERIFY(sound.ok() || !sound.error().what.empty());
                }
            }
        }
        QVERIFY(read_well > 50);
    }

    void CheckSaysWhatCannotRun_data() {
        QTest::addColumn<int>("change");
        QTest::addColumn<QString>("named");
        int row = 0;
        for (const char* named :
             {"no arms", "repeats", "warm-ups", "baseline", "generate_tokens", "depth -1",
              "depth 7 stands twice", "no prompt", "top_p", "no label", "two arms", "device",
              "threads", "KV precision", "no model \"nowhere\"", "context_tokens"}) {
            QTest::newRow(named) << row++ << named;
        }
    }
    void CheckSaysWhatCannotRun() {
        QFETCH(int, change);
        QFETCH(QString, named);
        Experiment e = full_example();
        QVERIFY(check(e).ok());
        switch (change) {
        case 0:
            e.arms.clear();
            break;
        case 1:
            e.repeats = 0;
            break;
        case 2:
            e.warm_ups = -1;
            break;
        case 3:
            e.baseline = 2;
            break;
        case 4:
            e.workload.generate_tokens = 0;
            break;
        case 5:
            e.workload.depths = {-1};
            break;
        case 6:
            e.workload.depths = {7, 7};
            break;
        case 7:
            e.workload.prompt.clear();
            break;
        case 8:
            e.workload.sampling.top_p = std::nan("");
            break;
        case 9:
            e.arms[0].label.clear();
            break;
        case 10:
            e.arms[0].label = e.arms[1].label;
            break;
        case 11:
            e.arms[0].device = "tpu";
            break;
        case 12:
            e.arms[0].threads = -1;
            break;
        case 13:
            e.arms[0].kv_dtype = "f8";
            break;
        case 14:
            e.arms[0].model = "nowhere";
            break;
        case 15:
            e.context_tokens = -1;
            break;
        }
        const Result<void> sound = check(e);
        QVERIFY(!sound.ok());
        QVERIFY2(QString::fromStdString(sound.error().text()).contains(named),
                 sound.error().text().c_str());
    }

    void AFillerNeedsNoPrompt() {
        Experiment e = full_example();
        e.workload.prompt.clear();
        e.workload.depths = {512};
        QVERIFY(check(e).ok());
    }

    void ModelsAreFoundInAddedFolders() {
        QTemporaryDir folder;
        const auto path = std::filesystem::path(folder.path().toStdString());
        std::ofstream(path / "some-model.gguf") << "x";
        std::ofstream(path / "notes.txt") << "x";
        QVERIFY(!resolve_model("some-model").ok());
        add_model_folder(path);
        const Result<std::filesystem::path> found = resolve_model("some-model");
        QVERIFY(found.ok());
        QVERIFY(std::filesystem::equivalent(*found, path / "some-model.gguf"));
        bool listed = false;
        for (const NamedModel& model : bundled_models()) {
            listed = listed || model.name == "some-model";
            QVERIFY(model.name != "notes");
        }
        QVERIFY(listed);
        // A path is taken as it is.
        QVERIFY(resolve_model(kModel).ok());
        QVERIFY(resolve_model("").error().code == ErrorCode::InvalidArgument);
        const Result<std::filesystem::path> missing = resolve_model("another");
        QVERIFY(missing.error().code == ErrorCode::NotFound);
        QVERIFY(missing.error().text().find("some-model") != std::string::npos);
    }

    void FigureIsMedianAndRange() {
        const Figure odd = figure({3, 1, 2});
        QVERIFY(odd.median == 2 && odd.low == 1 && odd.high == 3 && odd.n == 3);
        const Figure even = figure({4, 1, 2, 3});
        QVERIFY(even.median == 2.5 && even.low == 1 && even.high == 4 && even.n == 4);
        QVERIFY(figure({}).n == 0);
    }

    void FillersAreTheSameEverywhere() {
        // SplitMix64 modulo 1000, computed apart from this code.
        QCOMPARE(filler_ids({}, 1000, 6, 1),
                 (std::vector<std::int32_t>{465, 519, 590, 235, 761, 48}));
        const std::vector<std::int32_t> alphabet{7, 8, 9};
        for (const std::int32_t id : filler_ids(alphabet, 1000, 500, 1)) {
            QVERIFY(id >= 7 && id <= 9);
        }
        QVERIFY(filler_ids({}, 1000, 500, 1) != filler_ids({}, 1000, 500, 2));
    }

    // Vectors of FIPS 180-4's examples, and one that fills a block exactly.
    void Sha256EqualsThePublishedVectors() {
        const auto of = [](const std::string& text) {
            return sha256(std::as_bytes(std::span(text.data(), text.size())));
        };
        QCOMPARE(of(""), std::string("e3b0c44298fc1c149afbf4c8996fb924"
                                     "27ae41e4649b934ca495991b7852b855"));
        QCOMPARE(of("abc"), std::string("ba7816bf8f01cfea414140de5dae2223"
                                        "b00361a396177a9cb410ff61f20015ad"));
        QCOMPARE(of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
                 std::string("248d6a61d20638b8e5c026930c3e6039"
                             "a33ce45964ff2167f6ecedd419db06c1"));
        QCOMPARE(of(std::string(1'000'000, 'a')), std::string("cdc76e5c9914fb9281a1c7e284d73e67"
                                                              "f1809a48a497200e046d39ccc7112cd0"));
    }

    void NumbersHaveThreeFiguresAndAUnit() {
        QCOMPARE(bytes_text(512), std::string("512 B"));
        QCOMPARE(bytes_text(1536), std::string("1.50 KiB"));
        QCOMPARE(bytes_text(123.4 * 1024 * 1024), std::string("123 MiB"));
        QCOMPARE(ms_text(0.5), std::string("0.500 ms"));
        QCOMPARE(ms_text(1500), std::string("1.50 s"));
        QCOMPARE(tokens_text(4096), std::string("4K"));
        QCOMPARE(tokens_text(1048576), std::string("1M"));
        QCOMPARE(tokens_text(1000), std::string("1000"));
        QCOMPARE(count_text(1234567), std::string("1\u2009234\u2009567"));
        QCOMPARE(count_text(-123), std::string("-123"));
        QCOMPARE(date_text(1764000000000), std::string("2025-11-24 16:00:00 UTC"));
        QCOMPARE(date_text(std::numeric_limits<std::int64_t>::max()), std::string("–"));
        QCOMPARE(number_text(std::nan("")), std::string("–"));
    }
};

QTEST_GUILESS_MAIN(ExperimentTest)
#include "experiment_test.moc"
