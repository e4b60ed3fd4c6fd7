// The published architectures of resources/architectures: each is read, planned and counted without
// weights, and what comes out equals what its makers say (the figures stand in the files, under
// "hybridscope", with their source).

#include "engine/backend/devices.h"
#include "engine/core/paths.h"
#include "engine/lab/inspect.h"
#include "engine/lab/planner.h"
#include "engine/lab/runner.h"
#include "engine/run/generator.h"
#include "engine/spec/families.h"
#include "engine/spec/ratio.h"

#include <QElapsedTimer>
#include <QTemporaryDir>
#include <QtTest>

#include <algorithm>
#include <array>
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
    void WhatCannotRunSaysWhy_data();
    void WhatCannotRunSaysWhy();
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
    const Json* const within = json_member(*facts, "parameters_within");
    near("parameters", static_cast<double>(count.total),
         within != nullptr ? within->get<double>() : 0.012);
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
    exact("compressor_bytes", bytes_of(1, {StateKind::CompressorBuffer}));
    exact("growth_bytes_per_token", plan_state(spec, options).growth_bytes_per_token);

    // Whole states as tables give them, to their last digit: convolutions in bf16 there, and
    // positions that make no whole entry yet left out.
    const Json* const states = json_member(*facts, "state_at_4k_32k_128k_1m");
    for (std::size_t i = 0; states != nullptr && i < states->size(); ++i) {
        const std::int64_t tokens = std::array{4096, 32768, 131072, 1048576}.at(i);
        const auto bytes = static_cast<double>(
            bytes_of(tokens, {StateKind::KvCache, StateKind::WindowRing, StateKind::LatentCache,
                              StateKind::CompressedCache, StateKind::IndexerKeys,
                              StateKind::RecurrentState}) +
            bytes_of(tokens, {StateKind::ConvState}) / 2);
        const QStringList said =
            QString::fromStdString(states->at(i).get<std::string>()).split(' ');
        QCOMPARE(said.size(), 2);
        QVERIFY(said[1] == "MiB" || said[1] == "GiB");
        const auto digits = said[0].contains('.') ? said[0].size() - said[0].indexOf('.') - 1 : 0;
        const double found = bytes / std::exp2(said[1] == "MiB" ? 20 : 30);
        QVERIFY2(std::abs(found - said[0].toDouble()) <= 0.5 * std::pow(10.0, -digits) + 1e-9,
                 qPrintable(QString("at %1: %2, found %3")
                                .arg(tokens)
                                .arg(said.join(' '))
                                .arg(found, 0, 'f', 4)));
    }
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
        const auto& layers = seen->spec.layers;
        const bool sparse = std::any_of(layers.begin(), layers.end(), [](const LayerSpec& layer) {
            return kind_of(layer.mixer) == MixerKind::Sparse;
        });
        QVERIFY(list || sparse || bytes >= last);
        last = bytes;
    }
}

void PublishedTest::WhatCannotRunSaysWhy_data() {
    QTest::addColumn<QString>("name");
    QTest::addColumn<QStringList>("settings");
    const QStringList v4{"compress_ratios = 4 at", "hc_mult = 4",
                         "num_hash_layers = 3",    "scoring_func = \"sqrtsoftplus\"",
                         "swiglu_limit = 10",      "supported"};
    QTest::newRow("DeepSeek-V4-Flash") << "deepseek-v4-flash" << v4;
    QTest::newRow("DeepSeek-V4-Pro") << "deepseek-v4-pro" << v4;
    QTest::newRow("MiniMax-M3") << "minimax-m3"
                                << QStringList{"sparse_topk_blocks = 16", "sparse_block_size = 128",
                                               "supported"};
    QTest::newRow("Qwen3.8-Flash-Next")
        << "qwen3.8-flash-next"
        << QStringList{"hc_count = 4", "indexer_budget = 2048", "ple_layer_ids", "supported"};
}

// Planned and inspected, but refused for words and for cost alike, in the same sentence.
void PublishedTest::WhatCannotRunSaysWhy() {
    QFETCH(QString, name);
    QFETCH(QStringList, settings);
    const auto path = resolve_model(name.toStdString());
    QVERIFY(path.ok());
    const auto seen = inspect_model(*path, DType::BF16);
    QVERIFY2(seen.ok(), seen.ok() ? "" : seen.error().text().c_str());
    const std::string& reason = seen->spec.cannot_run;
    for (const QString& setting : settings) {
        QVERIFY2(QString::fromStdString(reason).contains(setting), reason.c_str());
    }
    QVERIFY2(reason.find("not understood") == std::string::npos, reason.c_str());
    QVERIFY(to_text(*seen).find(reason) != std::string::npos);
    QCOMPARE(to_json(*seen).at("cannot_run").get<std::string>(), reason);

    auto opened = open_backend({});
    QVERIFY(opened.ok());
    const std::shared_ptr<Backend> backend = std::move(*opened);
    LoadOptions random;
    random.synthetic = DType::BF16;
    random.edit = {.full = "full", .other = "", .layers = 1};
    for (const LoadOptions& options : {LoadOptions{}, random}) {
        const auto loaded = load_model(backend, *path, options);
        QVERIFY(!loaded.ok());
        QCOMPARE(loaded.error().code, ErrorCode::Unsupported);
        const std::string text = loaded.error().text();
        QVERIFY2(text.find(reason) != std::string::npos, text.c_str());
        QVERIFY(text.find(seen->spec.name) != std::string::npos);
    }
    // The same with weights beside the configuration.
    QTemporaryDir folder;
    QVERIFY(
        QFile::copy(QString::fromStdString(utf8_from_path(*path)), folder.filePath("config.json")));
    const QByteArray header = R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
    QFile weights(folder.filePath("model.safetensors"));
    QVERIFY(weights.open(QIODevice::WriteOnly));
    const auto length = static_cast<std::uint64_t>(header.size());
    weights.write(reinterpret_cast<const char*>(&length), sizeof(length));
    weights.write(header + QByteArray(4, '\0'));
    weights.close();
    const auto with_weights =
        inspect_model(path_from_utf8(folder.path().toStdString()), DType::BF16);
    QVERIFY2(with_weights.ok(), with_weights.ok() ? "" : with_weights.error().text().c_str());
    QVERIFY(with_weights->weights_present);
    const auto loaded = load_model(backend, path_from_utf8(folder.path().toStdString()), {});
    QVERIFY(!loaded.ok());
    QVERIFY(loaded.error().text().find(reason) != std::string::npos);

    const auto made = Model::synthetic(backend, seen->spec, 1, DType::BF16);
    QVERIFY(!made.ok());
    QCOMPARE(made.error().code, ErrorCode::Unsupported);
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
