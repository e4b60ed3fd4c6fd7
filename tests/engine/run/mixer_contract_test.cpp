// What every mixer has to hold, for every row of mixers.cpp: prefill equals decode however tokens
// are cut, a restored state goes on as if nothing had happened, the ledger counts what is held, and
// tokens of other calls leave no trace.

#include "engine/lab/planner.h"
#include "engine/mixers/mixers.h"
#include "engine/run/weights.h"
#include "tests/engine/run/checkpoint_files.h"

#include <random>

using namespace hs;
using namespace hs::test;

namespace {

constexpr std::int64_t kHidden = 48;
constexpr std::int64_t kTokens = 150; // several chunks, and more than any ring of the examples

std::vector<float> random_values(std::int64_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<std::size_t>(count));
    std::generate(values.begin(), values.end(), [&] { return normal(random); });
    return values;
}

struct Built {
    WeightMemory memory;
    std::unique_ptr<TokenMixer> token;
    std::unique_ptr<ChannelMixer> channel;
};

Built build(const TokenMixerSpec* token, const ChannelMixerSpec* channel) {
    Built built;
    SyntheticWeights weights(*cpu(), 7, DType::F32, built.memory);
    const MixerContext context{&weights, "layers.0.mixer", kHidden, 1e-6};
    if (token != nullptr) {
        auto made = make_token_mixer(*token, context);
        built.token = made.ok() ? std::move(*made) : nullptr;
    } else {
        auto made = make_channel_mixer(*channel, context);
        built.channel = made.ok() ? std::move(*made) : nullptr;
    }
    return built;
}

StateOptions options_with(DType kv) {
    StateOptions options;
    options.kv_dtype = kv;
    options.context_tokens = 256;
    return options;
}

// Rows [first, first + count) of x through the mixer, into the same rows of out.
void advance(const TokenMixer& mixer, MixerState& state, const std::vector<float>& x,
             std::vector<float>& out, std::int64_t first, std::int64_t count,
             const Tap* tap = nullptr, std::int64_t tentative = 0) {
    Step step;
    step.first_position = first;
    step.tentative = tentative;
    step.tap = tap;
    cpu()->reset_scratch();
    const auto result =
        mixer.forward(*cpu(), View<const float, 2>(x.data() + first * kHidden, {count, kHidden}),
                      state, step, View<float, 2>(out.data() + first * kHidden, {count, kHidden}));
    QVERIFY2(result.ok(), result.ok() ? "" : result.error().text().c_str());
}

std::vector<float> run_mixer(const TokenMixer& mixer, MixerState& state,
                             const std::vector<float>& x, std::int64_t piece) {
    std::vector<float> out(x.size());
    for (std::int64_t first = 0; first < kTokens; first += piece) {
        advance(mixer, state, x, out, first, std::min(piece, kTokens - first));
    }
    return out;
}

std::unique_ptr<MixerState> fresh(const TokenMixer& mixer, StateLedger& ledger, DType kv) {
    auto state = mixer.make_state(ledger, 3, options_with(kv));
    return state.ok() ? std::move(*state) : nullptr;
}

} // namespace

class MixerContractTest : public QObject {
    Q_OBJECT

private slots:
    void PrefillEqualsDecode_data() { token_rows(); }
    void PrefillEqualsDecode();
    void RestoredStateGoesOnBitEqually_data() { token_rows(); }
    void RestoredStateGoesOnBitEqually();
    void TakenBackTokensLeaveNoTrace_data() { token_rows(); }
    void TakenBackTokensLeaveNoTrace();
    void LedgerCountsWhatIsHeld_data() { token_rows(); }
    void LedgerCountsWhatIsHeld();
    void SequencesDoNotTouchEachOther_data() { token_rows(); }
    void SequencesDoNotTouchEachOther();
    void TapsShowEveryTokenOnce_data() { token_rows(); }
    void TapsShowEveryTokenOnce();
    void ChannelMixersKeepPositionsApart_data();
    void ChannelMixersKeepPositionsApart();

private:
    static void token_rows();
};

void MixerContractTest::token_rows() {
    QTest::addColumn<int>("row");
    QTest::addColumn<int>("example");
    QTest::addColumn<int>("kv");
    const auto rows = token_mixers();
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const std::size_t examples = rows[r].examples().size();
        QVERIFY(examples > 0);
        for (std::size_t e = 0; e < examples; ++e) {
            for (const DType kv : {DType::F32, DType::F16, DType::BF16}) {
                QTest::addRow("%s %zu, %s", rows[r].name, e, to_string(kv))
                    << int(r) << int(e) << int(kv);
            }
        }
    }
}

// Sums in another order, of tokens one by one or many together, differ in their last float32 bits.
// What is then kept in a narrow cache may be rounded the other way where it lay between two of its
// values: a step of one key or value, which is 2^-11 or 2^-8 of it.
double allowed(DType kv_dtype) {
    switch (kv_dtype) {
    case DType::F16:
        return 2e-5 + 0x1p-11;
    case DType::BF16:
        return 2e-5 + 0x1p-8;
    default:
        return 2e-5;
    }
}

#define FETCH_MIXER()                                                                              \
    QFETCH(int, row);                                                                              \
    QFETCH(int, example);                                                                          \
    QFETCH(int, kv);                                                                               \
    const DType kv_dtype = static_cast<DType>(kv);                                                 \
    const TokenMixerSpec spec = token_mixers()[std::size_t(row)].examples()[std::size_t(example)]; \
    const Built built = build(&spec, nullptr);                                                     \
    QVERIFY(built.token != nullptr);                                                               \
    StateLedger ledger(*cpu())

void MixerContractTest::PrefillEqualsDecode() {
    FETCH_MIXER();
    const std::vector<float> x = random_values(kTokens * kHidden, 1);
    const auto whole = fresh(*built.token, ledger, kv_dtype);
    const std::vector<float> expected = run_mixer(*built.token, *whole, x, kTokens);
    for (const std::int64_t piece : {1, 2, 7, 37, 64, 65}) {
        const auto state = fresh(*built.token, ledger, kv_dtype);
        const std::vector<float> found = run_mixer(*built.token, *state, x, piece);
        QCOMPARE(state->position(), kTokens);
        const Difference d = difference(found, expected, kHidden);
        QVERIFY2(d.worst_value < allowed(kv_dtype),
                 qPrintable(QString("pieces of %1: %2").arg(piece).arg(d.worst_value)));
    }
}

void MixerContractTest::RestoredStateGoesOnBitEqually() {
    FETCH_MIXER();
    const std::vector<float> x = random_values(kTokens * kHidden, 2);
    const std::vector<float> other = random_values(kTokens * kHidden, 3);
    const auto state = fresh(*built.token, ledger, kv_dtype);
    std::vector<float> expected(x.size());
    std::vector<float> found(x.size());
    std::vector<float> elsewhere(x.size());
    advance(*built.token, *state, x, expected, 0, 90);
    const StateImage image = state->image();
    QCOMPARE(image.position, std::int64_t{90});
    QCOMPARE(image.bytes.empty(), state->can_cut());
    advance(*built.token, *state, x, expected, 90, 40);
    advance(*built.token, *state, x, expected, 130, 1);

    // Another continuation in between, long enough to overwrite a ring.
    QVERIFY(state->restore(image).ok());
    QCOMPARE(state->position(), std::int64_t{90});
    advance(*built.token, *state, other, elsewhere, 90, 60);

    QVERIFY(state->restore(image).ok());
    advance(*built.token, *state, x, found, 90, 40);
    advance(*built.token, *state, x, found, 130, 1);
    QVERIFY(std::equal(expected.begin() + 90 * kHidden, expected.begin() + 131 * kHidden,
                       found.begin() + 90 * kHidden));

    // And back to nothing.
    QVERIFY(state->restore(StateImage{}).ok());
    std::vector<float> again(x.size());
    advance(*built.token, *state, x, again, 0, 90);
    QVERIFY(std::equal(expected.begin(), expected.begin() + 90 * kHidden, again.begin()));
}

void MixerContractTest::TakenBackTokensLeaveNoTrace() {
    FETCH_MIXER();
    const std::vector<float> x = random_values(kTokens * kHidden, 5);
    const std::vector<float> wrong = random_values(kTokens * kHidden, 6);
    const auto straight = fresh(*built.token, ledger, kv_dtype);
    const std::vector<float> expected = run_mixer(*built.token, *straight, x, 1);
    const auto state = fresh(*built.token, ledger, kv_dtype);
    std::vector<float> found(x.size());
    std::int64_t at = 0;
    for (const std::int64_t count : {1, 3, 2, 5, 2, 80, 2, 4, 3, 2}) {
        // The last `guessed` of these are taken back; what is read for them is something else.
        const std::int64_t guessed = std::min<std::int64_t>(count - 1, 2);
        std::vector<float> mixed = x;
        std::copy_n(wrong.begin() + (at + count - guessed) * kHidden, guessed * kHidden,
                    mixed.begin() + (at + count - guessed) * kHidden);
        advance(*built.token, *state, mixed, found, at, count, nullptr, guessed);
        QVERIFY(state->take_back(guessed).ok());
        at += count - guessed;
        QCOMPARE(state->position(), at);
    }
    advance(*built.token, *state, x, found, at, 1);
    ++at;
    const std::vector<float> some(found.begin(), found.begin() + at * kHidden);
    const std::vector<float> same(expected.begin(), expected.begin() + at * kHidden);
    const Difference d = difference(some, same, kHidden);
    QVERIFY2(d.worst_value < allowed(kv_dtype), qPrintable(QString::number(d.worst_value)));
}

void MixerContractTest::LedgerCountsWhatIsHeld() {
    FETCH_MIXER();
    const std::vector<float> x = random_values(kTokens * kHidden, 4);
    ModelSpec model;
    model.layers.resize(4, LayerSpec{spec, DenseSpec{}});
    const auto state = fresh(*built.token, ledger, kv_dtype);
    std::vector<float> out(x.size());
    const auto check = [&](std::int64_t tokens) {
        std::vector<LedgerEntry> predicted;
        for (const LedgerEntry& entry : predict_state(model, tokens, options_with(kv_dtype))) {
            if (entry.layer == 3) {
                predicted.push_back(entry);
            }
        }
        const std::vector<LedgerEntry> entries = ledger.entries();
        QCOMPARE(entries.size(), predicted.size());
        std::int64_t used = 0;
        for (std::size_t i = 0; i < entries.size(); ++i) {
            QCOMPARE(entries[i].layer, predicted[i].layer);
            QCOMPARE(entries[i].kind, predicted[i].kind);
            QCOMPARE(entries[i].used_bytes, predicted[i].used_bytes);
            QVERIFY(entries[i].held_bytes >= entries[i].used_bytes);
            used += entries[i].used_bytes;
        }
        QCOMPARE(ledger.totals().used_bytes, used);
    };
    check(0);
    std::int64_t at = 0;
    for (const std::int64_t tokens : {1, 2, 37, 100, 101, 150}) {
        advance(*built.token, *state, x, out, at, tokens - at);
        at = tokens;
        check(tokens);
    }
    QVERIFY(state->restore(StateImage{}).ok());
    check(0);
}

void MixerContractTest::SequencesDoNotTouchEachOther() {
    FETCH_MIXER();
    const std::vector<float> x = random_values(kTokens * kHidden, 5);
    const std::vector<float> y = random_values(kTokens * kHidden, 6);
    const auto alone = fresh(*built.token, ledger, kv_dtype);
    const std::vector<float> expected = run_mixer(*built.token, *alone, x, 10);
    const auto a = fresh(*built.token, ledger, kv_dtype);
    const auto b = fresh(*built.token, ledger, kv_dtype);
    std::vector<float> found(x.size());
    std::vector<float> other(x.size());
    for (std::int64_t first = 0; first < kTokens; first += 10) {
        advance(*built.token, *a, x, found, first, 10);
        advance(*built.token, *b, y, other, first, 10);
    }
    QCOMPARE(found, expected);
}

void MixerContractTest::TapsShowEveryTokenOnce() {
    FETCH_MIXER();
    const std::vector<float> x = random_values(kTokens * kHidden, 8);
    const auto state = fresh(*built.token, ledger, kv_dtype);
    std::int64_t seen = 0;
    Tap tap;
    tap.gates = [&](int, std::int64_t first, std::int64_t tokens, std::int64_t heads,
                    const float* decay, const float* beta) {
        QCOMPARE(first, seen);
        for (std::int64_t i = 0; i < tokens * heads; ++i) {
            QVERIFY(decay[i] > 0 && decay[i] <= 1);
            QVERIFY(beta[i] >= 0 && beta[i] <= 2);
        }
        seen += tokens;
    };
    std::vector<float> tapped(x.size());
    std::vector<float> plain(x.size());
    advance(*built.token, *state, x, tapped, 0, 100, &tap);
    advance(*built.token, *state, x, tapped, 100, 1, &tap);
    QCOMPARE(seen, is_linear(kind_of(spec)) ? std::int64_t{101} : std::int64_t{0});
    const auto untapped = fresh(*built.token, ledger, kv_dtype);
    advance(*built.token, *untapped, x, plain, 0, 100);
    advance(*built.token, *untapped, x, plain, 100, 1);
    QCOMPARE(tapped, plain); // looking changes nothing
}

void MixerContractTest::ChannelMixersKeepPositionsApart_data() {
    QTest::addColumn<int>("row");
    QTest::addColumn<int>("example");
    const auto rows = channel_mixers();
    for (std::size_t r = 0; r < rows.size(); ++r) {
        for (std::size_t e = 0; e < rows[r].examples().size(); ++e) {
            QTest::addRow("%s %zu", rows[r].name, e) << int(r) << int(e);
        }
    }
}

void MixerContractTest::ChannelMixersKeepPositionsApart() {
    QFETCH(int, row);
    QFETCH(int, example);
    const ChannelMixerSpec spec =
        channel_mixers()[std::size_t(row)].examples()[std::size_t(example)];
    const Built built = build(nullptr, &spec);
    QVERIFY(built.channel != nullptr);
    const std::vector<float> x = random_values(kTokens * kHidden, 9);
    std::vector<float> all(x.size());
    std::vector<float> single(x.size());
    std::int64_t chosen = 0;
    Tap tap;
    tap.experts = [&](int, std::int64_t, std::int64_t tokens, std::int64_t top_k,
                      const std::int32_t* experts) {
        const auto& moe = std::get<MoeSpec>(spec);
        for (std::int64_t i = 0; i < tokens * top_k; ++i) {
            QVERIFY(experts[i] >= 0 && experts[i] < moe.experts);
        }
        chosen += tokens * top_k;
    };
    Step step;
    step.tap = &tap;
    cpu()->reset_scratch();
    built.channel->forward(*cpu(), View<const float, 2>(x.data(), {kTokens, kHidden}), step,
                           View<float, 2>(all.data(), {kTokens, kHidden}));
    const bool routed = std::holds_alternative<MoeSpec>(spec);
    QCOMPARE(chosen, routed ? kTokens * std::get<MoeSpec>(spec).top_k : std::int64_t{0});
    for (std::int64_t t = 0; t < kTokens; ++t) {
        cpu()->reset_scratch();
        built.channel->forward(*cpu(), View<const float, 2>(x.data() + t * kHidden, {1, kHidden}),
                               Step{}, View<float, 2>(single.data() + t * kHidden, {1, kHidden}));
    }
    const Difference d = difference(single, all, kHidden);
    QVERIFY2(d.worst_value < 2e-5, qPrintable(QString::number(d.worst_value)));
}

QTEST_GUILESS_MAIN(MixerContractTest)
#include "mixer_contract_test.moc"
