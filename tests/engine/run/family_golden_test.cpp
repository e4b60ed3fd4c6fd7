// Checkpoints of every family give the logits that transformers gives, from both containers,
// however the tokens are cut into pieces.

#include "tests/engine/run/checkpoint_files.h"

using namespace hs;
using namespace hs::test;

class FamilyGoldenTest : public QObject {
    Q_OBJECT

private slots:
    void LogitsEqualTheReference_data();
    void LogitsEqualTheReference();
    void GreedyTokensEqualTheReference_data() { LogitsEqualTheReference_data(); }
    void GreedyTokensEqualTheReference();
};

void FamilyGoldenTest::LogitsEqualTheReference_data() {
    QTest::addColumn<QString>("model");
    QTest::addColumn<QString>("expected");
    for (const CheckpointFile& file : checkpoint_files()) {
        QTest::newRow(file.name.c_str()) << QString::fromStdString(file.model.string())
                                         << QString::fromStdString(file.expected.string());
    }
}

void FamilyGoldenTest::LogitsEqualTheReference() {
    QFETCH(QString, model);
    QFETCH(QString, expected);
    const std::shared_ptr<const Model> loaded = load(model.toStdString());
    const Expected want = read_expected(expected.toStdString());
    QCOMPARE(loaded->spec().vocab, want.vocab);
    for (const int piece : {0, 1, 37}) {
        const auto fresh = sequence(loaded);
        const std::vector<float> found = run(*loaded, *fresh, want.tokens, piece);
        const Difference d = difference(found, want.logits, want.vocab);
        qInfo("pieces of %d: largest difference %.2e, norm %.2e", piece, d.worst_value,
              d.worst_norm);
        // Both sides compute in f32; what differs is the order of sums.
        QVERIFY2(d.worst_value <= 2e-4, qPrintable(QString::number(d.worst_value)));
        QVERIFY2(d.worst_norm <= 2e-4, qPrintable(QString::number(d.worst_norm)));
    }
}

void FamilyGoldenTest::GreedyTokensEqualTheReference() {
    QFETCH(QString, model);
    QFETCH(QString, expected);
    const std::shared_ptr<const Model> loaded = load(model.toStdString());
    const Expected want = read_expected(expected.toStdString());
    const auto fresh = sequence(loaded);
    const std::vector<float> prompt = run(*loaded, *fresh, want.tokens);
    const auto vocab = static_cast<std::size_t>(want.vocab);
    std::int32_t next = largest(std::span(prompt).last(vocab));
    std::vector<std::int32_t> greedy;
    while (greedy.size() < want.greedy.size()) {
        greedy.push_back(next);
        next = largest(run(*loaded, *fresh, {&greedy.back(), 1}));
    }
    QCOMPARE(greedy, want.greedy);
}

QTEST_GUILESS_MAIN(FamilyGoldenTest)
#include "family_golden_test.moc"
