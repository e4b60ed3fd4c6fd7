// The published architectures of resources/architectures: each is read, planned and counted without
// weights, and what comes out equals what its makers say (the figures stand in the files, under
// "hybridscope", with their source).

#include "engine/core/paths.h"
#include "engine/lab/inspect.h"
#include "engine/lab/planner.h"
#include "engine/lab/runner.h"
#include "engine/run/generator.h"
#include "engine/spec/families.h"
#include "engine/spec/ratio.h"

#include <QElapsedTimer>
#include <QtTest>

#include <algorithm>
#include <cmath>

using namespace hs;

class PublishedTest : public QObject {
    Q_OBJECT

private slots:
    void initTestCase();
    void FiguresAreThoseOfTheMakers_data();
    void FiguresAreThoseOfTheMakers();
    void EveryRatioCanBePlanned_data();
    void EveryRatioCanBePlanned();
    void NamesResolveToArchitectures();
};

void PublishedTest::initTestCase() {
    add_model_folder(HS_MODELS);
    QVERIFY(published_architectures().size() > 40);
}

void PublishedTest::FiguresAreThoseOfTheMakers_data() {
    QTest::addColumn<QString>("path");
    for (const NamedModel& architecture : published_architectures()) {
        QTest::newRow(architecture.name.c_str())
            << QString::fromStdString(utf8_from_path(architecture.path));
    }
}

void PublishedTest::FiguresAreThoseOfTheMakers() {
    QFETCH(QString, path);
    const auto file = path_from_utf8(path.toStdString());
    const Result<Checkpoint> checkpoint = Checkpoint::open(file, Need::HeaderOnly);
    QVERIFY2(checkpoint.ok(), checkpoint.ok() ? "" : checkpoint.error().text().c_str());
    const Json* const facts = json_member(checkpoint->metadata(), "hybridscope");
    QVERIFY(facts != nullptr && facts->contains("source"));
    const auto read = read_model(*checkpoint);
    QVERIFY2(read.ok(), read.ok() ? "" : read.error().text().c_str());
    const ModelSpec& spec = read->spec;
    QCOMPARE(spec.name, facts->at("title").get<std::string>());

    // Makers round: "671B", "80B-A3B".
    const ParameterCount count = count_parameters(spec);
    const auto near = [&](const char* key, double found, double tolerance) {
        const Json* const said = json_member(*facts, key);
        if (said == nullptr) {
            return;
        }
        const double off = found / said->get<double>() - 1;
        QVERIFY2(std::abs(off) <= tolerance, qPrintable(QString("%1: %2, found %3")
                                                            .arg(key)
                                                            .arg(said->get<double>(), 0, 'g', 6)
                                                            .arg(found, 0, 'g', 6)));
    };
    near("parameters", static_cast<double>(count.total), 0.012);
    const auto table = static_cast<double>(spec.vocab * spec.hidden);
    const auto active = static_cast<double>(count.active); // with the output matrix
    near("active_without_embedding", active - table, 0.012);
    if (const Json* const said = json_member(*facts, "active")) {
        // Some makers count no embedding, some the output matrix, some the table too.
        const double wanted = said->get<double>();
        double nearest = active;
        for (const double other : {active - table, active + (spec.tied_embedding ? 0.0 : table)}) {
            nearest = std::abs(other - wanted) < std::abs(nearest - wanted) ? other : nearest;
        }
        near("active", nearest, 0.05);
    }

    // Bytes are exact. Caches in bf16, recurrent and conv state in f32.
    const StateOptions options{.kv_dtype = DType::BF16, .context_tokens = 1 << 20};
    const auto bytes_of = [&](std::int64_t tokens, std::initializer_list<StateKind> kinds) {
        std::int64_t bytes = 0;
        for (const LedgerEntry& entry : predict_state(spec, tokens, options)) {
            const bool counted = std::find(kinds.begin(), kinds.end(), entry.kind) != kinds.end();
            bytes += counted ? entry.used_bytes : 0;
        }
        return bytes;
    };
    const auto exact = [&](const char* key, std::int64_t found) {
        const Json* const said = json_member(*facts, key);
        if (said != nullptr) {
            QCOMPARE(found, said->get<std::int64_t>());
        }
    };
    exact("kv_bytes_per_token",
          bytes_of(1, {StateKind::KvCache, StateKind::LatentCache, StateKind::IndexerKeys}));
    exact("window_bytes_per_token", bytes_of(1, {StateKind::WindowRing}));
    exact("recurrent_bytes", bytes_of(1, {StateKind::RecurrentState}));
    exact("conv_bytes", bytes_of(1, {StateKind::ConvState}));
}

void PublishedTest::EveryRatioCanBePlanned_data() {
    FiguresAreThoseOfTheMakers_data();
}

void PublishedTest::EveryRatioCanBePlanned() {
    QFETCH(QString, path);
    const auto file = path_from_utf8(path.toStdString());
    QElapsedTimer time;
    time.start();
    const auto seen = inspect_model(file, DType::BF16);
    QVERIFY2(seen.ok(), seen.ok() ? "" : seen.error().text().c_str());
#ifndef HS_SANITIZE                 // its checks take most of the time
    QVERIFY(time.elapsed() < 1000); // a person waits for it
#endif
    const bool has_other = ratio_of(seen->spec).other > 0;
    const StateOptions options{.kv_dtype = DType::BF16, .context_tokens = 1 << 20};
    std::int64_t last = -1;
    for (const char* ratio : {"none", "1:7", "1:5", "1:3", "1:1", "full", "0"}) {
        const auto edited =
            edit_schedule(seen->spec, {.full = ratio, .other = has_other ? "" : "gated delta"});
        QVERIFY2(edited.ok(), edited.ok() ? "" : edited.error().text().c_str());
        const Ratio made = ratio_of(edited->spec);
        QCOMPARE(made.full + made.other, static_cast<std::int64_t>(edited->spec.layers.size()));
        const bool list = std::string_view(ratio) == "0";
        if (list) {
            QCOMPARE(made.full, 1);
        } else if (std::string_view(ratio) == "full") {
            QCOMPARE(made.other, 0);
        } else if (std::string_view(ratio) == "none") {
            QCOMPARE(made.full, 0);
        }
        // More full attention never takes less at a long context; sparse attention keeps all keys
        // and more.
        const std::int64_t bytes = state_bytes(edited->spec, 1 << 20, options);
        const bool sparse = kind_of(seen->spec.layers.front().mixer) == MixerKind::Sparse;
        QVERIFY(list || sparse || bytes >= last);
        last = bytes;
    }
}

void PublishedTest::NamesResolveToArchitectures() {
    const auto path = resolve_model("kimi-k3");
    QVERIFY(path.ok());
    const auto model = inspect_model(*path, DType::BF16);
    QVERIFY(model.ok());
    QVERIFY(!model->weights_present);
    QCOMPARE(ratio_of(model->spec).text, std::string("8:23"));
    // For words, weights are needed.
    const Result<Checkpoint> weights = Checkpoint::open(*path);
    QVERIFY(!weights.ok());
}

QTEST_GUILESS_MAIN(PublishedTest)
#include "published_test.moc"
