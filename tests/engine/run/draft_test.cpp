// The multi-token prediction head guesses what the reference guesses, however the tokens before are
// cut; and tokens that were taken back leave no trace.

#include "engine/run/generator.h"
#include "tests/engine/run/checkpoint_files.h"

using namespace hs;
using namespace hs::test;

namespace {

std::vector<CheckpointFile> with_head() {
    std::vector<CheckpointFile> files = checkpoint_files();
    std::erase_if(files, [](const CheckpointFile& file) {
        return file.name.find("-draft") == std::string::npos;
    });
    return files;
}

std::unique_ptr<Sequence> drafting_sequence(const std::shared_ptr<const Model>& model) {
    SequenceOptions options;
    options.state.kv_dtype = DType::F32;
    options.state.context_tokens = 512;
    options.draft = true;
    auto made = Sequence::create(model, options);
    return made.ok() ? std::move(*made) : nullptr;
}

std::vector<float> guess_after(const Model& model, Sequence& held, std::int32_t next) {
    std::vector<float> logits(static_cast<std::size_t>(model.spec().vocab));
    const auto result =
        model.draft(held, next, View<float, 2>(logits.data(), {1, model.spec().vocab}));
    return result.ok() ? logits : std::vector<float>();
}

} // namespace

class DraftTest : public QObject {
    Q_OBJECT

private slots:
    void GuessesEqualTheReference();
    void TakenBackGuessesLeaveNoTrace();
    void AHeadThatMissedTokensStaysSilent();
    void AHeadGoesBackWithItsSequence();
};

void DraftTest::GuessesEqualTheReference() {
    const auto files = with_head();
    QVERIFY(files.size() >= 2);
    for (const CheckpointFile& file : files) {
        const auto model = load(file.model);
        QVERIFY(model->can_draft());
        QVERIFY(model->unused_tensors().empty());
        const Expected want = read_expected(file.expected);
        const auto reference = read_floats(file.expected, "draft");
        const auto vocab = static_cast<std::size_t>(want.vocab);
        for (const std::int64_t piece : {500, 1, 37}) {
            const auto held = drafting_sequence(model);
            std::int64_t read = 0;
            for (const std::int64_t stop : {1, 2, 50, 118}) {
                while (read < stop) {
                    const std::int64_t count = std::min(piece, stop - read);
                    run(*model, *held,
                        std::span(want.tokens)
                            .subspan(static_cast<std::size_t>(read),
                                     static_cast<std::size_t>(count)));
                    read += count;
                }
                const std::int32_t next = want.tokens[static_cast<std::size_t>(stop)];
                // Asked twice, and once about a token that does not come.
                guess_after(*model, *held, (next + 1) % static_cast<std::int32_t>(vocab));
                const std::vector<float> found = guess_after(*model, *held, next);
                QCOMPARE(found.size(), vocab);
                const std::span<const float> row(
                    reference.data() + static_cast<std::size_t>(stop - 1) * vocab, vocab);
                const Difference d =
                    difference(found, std::vector<float>(row.begin(), row.end()), want.vocab);
                QVERIFY2(d.worst_value <= 2e-4,
                         qPrintable(QString("%1, pieces of %2, at %3: %4")
                                        .arg(QString::fromStdString(file.name))
                                        .arg(piece)
                                        .arg(stop)
                                        .arg(d.worst_value)));
            }
        }
    }
}

// Decoding with a guess after every token, now right, now wrong, gives the logits of plain
// decoding.
void DraftTest::TakenBackGuessesLeaveNoTrace() {
    for (const CheckpointFile& file : checkpoint_files()) {
        const auto model = load(file.model);
        const Expected want = read_expected(file.expected);
        const auto vocab = static_cast<std::size_t>(want.vocab);
        const auto plain = sequence(model);
        const auto guessing = drafting_sequence(model);
        QVERIFY(guessing != nullptr);
        const std::span<const std::int32_t> begin = std::span(want.tokens).first(40);
        run(*model, *plain, begin);
        run(*model, *guessing, begin);
        std::vector<float> pair(2 * vocab);
        for (std::size_t i = 0; i + 1 < 24; i += 1) {
            const std::int32_t id = want.greedy[i];
            const std::vector<float> expected = run(*model, *plain, {&id, 1});
            const bool right = i % 3 != 0;
            const std::int32_t next = want.greedy[i + 1];
            const std::array<std::int32_t, 2> ids{
                id, right ? next : (next + 1) % static_cast<std::int32_t>(vocab)};
            QVERIFY(model
                        ->forward(*guessing, ids, Model::Logits::All,
                                  View<float, 2>(pair.data(), {2, want.vocab}), nullptr, {}, 1)
                        .ok());
            const std::vector<float> first(pair.begin(),
                                           pair.begin() + static_cast<std::ptrdiff_t>(vocab));
            const Difference d = difference(first, expected, want.vocab);
            QVERIFY2(d.worst_value <= 5e-5, qPrintable(QString("%1, token %2: %3")
                                                           .arg(QString::fromStdString(file.name))
                                                           .arg(i)
                                                           .arg(d.worst_value)));
            // A right guess is read as part of the pair; here it is taken back all the same, so
            // that both kinds of step are followed by one that depends on them.
            QVERIFY(guessing->take_back(1).ok());
            QCOMPARE(guessing->position(), plain->position());
        }
        const std::int32_t last = want.greedy[30];
        const Difference d = difference(run(*model, *guessing, {&last, 1}),
                                        run(*model, *plain, {&last, 1}), want.vocab);
        QVERIFY(d.worst_value <= 5e-5);
    }
}

void DraftTest::AHeadThatMissedTokensStaysSilent() {
    const auto files = with_head();
    const auto model = load(files.front().model);
    const Expected want = read_expected(files.front().expected);
    const auto plain = sequence(model);
    QVERIFY(!plain->drafts()); // was not asked for
    const auto held = drafting_sequence(model);
    run(*model, *held, std::span(want.tokens).first(60));
    QVERIFY(held->drafts());
    held->snapshot();
    run(*model, *held, std::span(want.tokens).subspan(60, 30));
    // Back, on another way, and back again to a branch that the head has not seen.
    auto other = want.tokens;
    other.resize(61);
    other[60] = (other[60] + 1) % 90;
    QCOMPARE(*held->keep_common_prefix(other), std::int64_t{60});
    run(*model, *held, std::span(want.tokens).subspan(61, 20));
    QCOMPARE(*held->keep_common_prefix(want.tokens), std::int64_t{90});
    QVERIFY(!held->drafts());
    QVERIFY(guess_after(*model, *held, 3).empty());
}

// Whatever the head's layer keeps. Of what it reads then, one row is not there any more: once that
// has left the window, guesses are those of the reference again.
void DraftTest::AHeadGoesBackWithItsSequence() {
    bool with_window = false;
    for (const CheckpointFile& file : with_head()) {
        const auto model = load(file.model);
        const Expected want = read_expected(file.expected);
        const auto vocab = static_cast<std::size_t>(want.vocab);
        const auto held = drafting_sequence(model);
        const std::span ids(want.tokens);
        run(*model, *held, ids.first(60));
        held->snapshot();
        run(*model, *held, ids.subspan(60, 50));
        QCOMPARE(guess_after(*model, *held, 3).size(), vocab);
        QCOMPARE(*held->restore(60), std::int64_t{60});
        QVERIFY2(held->drafts(), file.name.c_str());
        run(*model, *held, ids.subspan(60, 50));
        const std::vector<float> found = guess_after(*model, *held, want.tokens[110]);
        QCOMPARE(found.size(), vocab);
        const auto* softmax = std::get_if<SoftmaxSpec>(&model->spec().draft->mixer);
        if (softmax != nullptr && softmax->window > 0) {
            with_window = true;
            const auto reference = read_floats(file.expected, "draft");
            const auto row = reference.begin() + 109 * want.vocab;
            const Difference d =
                difference(found, std::vector<float>(row, row + want.vocab), want.vocab);
            QVERIFY2(d.worst_value <= 2e-4, qPrintable(QString::number(d.worst_value)));
        }
    }
    QVERIFY(with_window);
}

QTEST_GUILESS_MAIN(DraftTest)
#include "draft_test.moc"
