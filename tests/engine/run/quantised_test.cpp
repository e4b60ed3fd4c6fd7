// Matrices of quantised checkpoints stand for exactly the values of the published formulas, however
// the checkpoint packs them. Data: tests/data/quantised
// (tests/reference/make_quantised_tensors.py).

#include "engine/run/weights.h"
#include "tests/engine/run/checkpoint_files.h"

#include <numeric>

using namespace hs;
using namespace hs::test;

namespace {

std::filesystem::path folder(const char* name) {
    return std::filesystem::path(HS_TEST_DATA) / "data/quantised" / name;
}

Checkpoint open(const std::filesystem::path& path) {
    Result<Checkpoint> file = Checkpoint::open(path);
    if (!file.ok()) {
        qFatal("%s", file.error().text().c_str());
    }
    return std::move(*file);
}

// All values of a matrix, as the kernels decode them; or an error.
Result<std::vector<float>> values(const Checkpoint& file, const TensorSource& source,
                                  std::int64_t rows, std::int64_t cols) {
    WeightMemory memory;
    CheckpointWeights weights(*test::cpu(), file,
                              [&](std::string_view) -> Result<TensorSource> { return source; },
                              memory, {}, {});
    const Weight weight = TRY(weights.matrix("matrix", rows, cols));
    std::vector<std::int32_t> ids(static_cast<std::size_t>(rows));
    std::iota(ids.begin(), ids.end(), 0);
    std::vector<float> out(static_cast<std::size_t>(rows * cols));
    test::cpu()->embed(weight, ids, View<float, 2>(out.data(), {rows, cols}));
    return out;
}

std::vector<float> expected_of(const TensorInfo& tensor) {
    std::vector<float> want(static_cast<std::size_t>(tensor.elements()));
    std::memcpy(want.data(), tensor.data.data(), want.size() * sizeof(float));
    return want;
}

void compare(const Result<std::vector<float>>& found, std::span<const float> want,
             const std::string& name) {
    QVERIFY2(found.ok(), found.ok() ? "" : found.error().text().c_str());
    QCOMPARE(found->size(), want.size());
    for (std::size_t i = 0; i < want.size(); ++i) {
        if ((*found)[i] != want[i]) {
            QFAIL(qPrintable(QString("%1, value %2: expected %3, found %4")
                                 .arg(QString::fromStdString(name))
                                 .arg(i)
                                 .arg(double(want[i]), 0, 'g', 9)
                                 .arg(double((*found)[i]), 0, 'g', 9)));
        }
    }
}

TensorSource named(std::string name) {
    TensorSource source;
    source.name = std::move(name);
    return source;
}

std::vector<float> logits_of(const QString& name, const char* file, const Expected& want) {
    const std::shared_ptr<const Model> model = load(folder(qPrintable(name)) / file);
    const auto fresh = sequence(model);
    return run(*model, *fresh, want.tokens);
}

} // namespace

class QuantisedTest : public QObject {
    Q_OBJECT

private slots:
    void MatricesEqualThePublishedFormula_data();
    void MatricesEqualThePublishedFormula();
    void StackedExpertsBringTheirOwnFactors();
    void BlocksOfSlabsBeginAnew();
    void PairsOfMxfp4DecodeAsTheBlocksOfGguf();
    void IntegersBecomeBlocksWhereTheseAreExact();
    void TransposesChooseColumns();
    void ModelsOfMxfp4EqualTheReference_data();
    void ModelsOfMxfp4EqualTheReference();
    void WrongSizesAreRefused();
};

void QuantisedTest::MatricesEqualThePublishedFormula_data() {
    QTest::addColumn<QString>("form");
    for (const char* form : {"fp8-block", "fp8-small-block", "fp8-channel", "integers", "mxfp4"}) {
        QTest::newRow(form) << form;
    }
}

void QuantisedTest::MatricesEqualThePublishedFormula() {
    QFETCH(QString, form);
    const Checkpoint file = open(folder(qPrintable(form)));
    const Checkpoint expected = open(folder(qPrintable(form)) / "expected.safetensors");
    int compared = 0;
    for (const TensorInfo& tensor : expected.tensors()) {
        if (!tensor.name.ends_with(".weight")) {
            continue; // experts, below
        }
        compare(values(file, named(tensor.name), tensor.shape[0], tensor.shape[1]),
                expected_of(tensor), tensor.name);
        ++compared;
    }
    QVERIFY(compared > 0);
}

void QuantisedTest::StackedExpertsBringTheirOwnFactors() {
    const Checkpoint file = open(folder("fp8-experts"));
    const Checkpoint expected = open(folder("fp8-experts") / "expected.safetensors");
    for (int expert = 0; expert < 3; ++expert) {
        TensorSource source = named("stack");
        source.expert = expert;
        const TensorInfo& want = *expected.find("stack." + std::to_string(expert));
        compare(values(file, source, want.shape[0], want.shape[1]), expected_of(want), want.name);
    }
}

void QuantisedTest::BlocksOfSlabsBeginAnew() {
    const Checkpoint file = open(folder("fp8-slabs"));
    const Checkpoint expected = open(folder("fp8-slabs") / "expected.safetensors");
    TensorSource source = named("slabs");
    source.scale_slab = 40;
    source.file_rows = 80;
    source.rows = {{0, 24}, {40, 24}};
    compare(values(file, source, 48, 32), expected_of(*expected.find("first")), "first");
    source.rows = {{24, 16}, {64, 16}};
    compare(values(file, source, 32, 32), expected_of(*expected.find("rest")), "rest");
}

void QuantisedTest::PairsOfMxfp4DecodeAsTheBlocksOfGguf() {
    const Checkpoint file = open(folder("mxfp4"));
    const Checkpoint gguf = open(folder("mxfp4") / "model.gguf");
    const Checkpoint expected = open(folder("mxfp4") / "expected.safetensors");
    for (int part = 0; part < 2; ++part) {
        const std::string name = part == 0 ? "gate" : "up";
        const TensorInfo& tensor = *expected.find(name);
        const std::vector<float> all = expected_of(tensor);
        const std::int64_t rows = tensor.shape[1], cols = tensor.shape[2];
        for (int expert = 0; expert < 3; ++expert) {
            const auto want = std::span(all).subspan(static_cast<std::size_t>(expert * rows * cols),
                                                     static_cast<std::size_t>(rows * cols));
            TensorSource pairs = named("e_blocks");
            pairs.mxfp4_scales = "e_scales";
            pairs.expert = expert;
            pairs.file_rows = 2 * rows;
            pairs.rows = {{part, rows, 2}};
            compare(values(file, pairs, rows, cols), want, name + " in pairs");
            TensorSource blocks = named(name);
            blocks.expert = expert;
            compare(values(gguf, blocks, rows, cols), want, name + " in blocks");
        }
    }
}

void QuantisedTest::IntegersBecomeBlocksWhereTheseAreExact() {
    const Checkpoint file = open(folder("integers"));
    const auto type_of = [&](const char* name, std::int64_t rows, std::int64_t cols) {
        WeightMemory memory;
        const TensorSource source = named(std::string(name) + ".weight");
        CheckpointWeights weights(*test::cpu(), file,
                                  [&](std::string_view) -> Result<TensorSource> { return source; },
                                  memory, {}, {});
        const auto weight = weights.matrix("matrix", rows, cols);
        return weight.ok() ? to_string(weight->dtype) : weight.error().what.c_str();
    };
    QCOMPARE(type_of("blocks4", 7, 96), "Q4_0");
    QCOMPARE(type_of("blocks8", 9, 64), "Q8_0");
    QCOMPARE(type_of("plain8", 6, 64), "Q8_0");
    QCOMPARE(type_of("tiny4", 7, 96), "F32");
    QCOMPARE(type_of("zeros4", 19, 96), "F32");
    QCOMPARE(type_of("order4", 6, 64), "F32");
}

void QuantisedTest::TransposesChooseColumns() {
    // Of plain values in their own type, of FP8 with its factors.
    const Checkpoint file = open(folder("fp8-experts"));
    const Checkpoint expected = open(folder("fp8-experts") / "expected.safetensors");
    const std::vector<float> plain = expected_of(*expected.find("stack.1")); // (20, 48)
    std::vector<float> want;
    for (std::size_t c = 1; c < 48; c += 2) {
        for (std::size_t r = 0; r < 20; ++r) {
            want.push_back(plain[r * 48 + c]);
        }
    }
    TensorSource source = named("stack.1");
    source.transposed = 20;
    source.turned_rows = {{1, 24, 2}};
    compare(values(expected, source, 24, 20), want, "plain");
    source.name = "stack";
    source.expert = 1;
    compare(values(file, source, 24, 20), want, "FP8");
    source.turned_rows = {{1, 24, 3}};
    QVERIFY(!values(file, source, 24, 20).ok());
}

void QuantisedTest::ModelsOfMxfp4EqualTheReference_data() {
    QTest::addColumn<QString>("name");
    for (const char* name : {"gpt-oss-mxfp4", "kimi-k3-mxfp4"}) {
        QTest::newRow(name) << name;
    }
}

void QuantisedTest::ModelsOfMxfp4EqualTheReference() {
    QFETCH(QString, name);
    const Expected want = read_expected(folder(qPrintable(name)) / "expected.safetensors");
    const std::vector<float> found = logits_of(name, "hf", want);
    QCOMPARE(logits_of(name, "model.gguf", want), found); // the same blocks by two ways
    const Difference d = difference(found, want.logits, want.vocab);
    QVERIFY2(d.worst_value <= 2e-4, qPrintable(QString::number(d.worst_value)));
    QVERIFY2(d.worst_norm <= 2e-4, qPrintable(QString::number(d.worst_norm)));
}

void QuantisedTest::WrongSizesAreRefused() {
    const Checkpoint fp8 = open(folder("fp8-small-block"));
    QVERIFY(!values(fp8, named("a.weight"), 71, 100).ok());
    const Checkpoint pairs = open(folder("mxfp4"));
    QVERIFY(!values(pairs, named("p.weight"), 6, 64).ok());
    QVERIFY(!values(pairs, named("p.weight"), 7, 96).ok());
    QVERIFY(!values(pairs, named("absent.weight"), 6, 96).ok());
    TensorSource beyond = named("e_blocks");
    beyond.mxfp4_scales = "e_scales";
    beyond.expert = 3;
    QVERIFY(!values(pairs, beyond, 10, 64).ok());
    const Checkpoint integers = open(folder("integers"));
    QVERIFY(!values(integers, named("blocks4.weight"), 7, 64).ok());
    QVERIFY(!values(integers, named("channel8.weight"), 5, 40).ok());
}

QTEST_GUILESS_MAIN(QuantisedTest)
#include "quantised_test.moc"
