// What must not change what softmax attention and routing compute (softmax.md section 12), for
// every softmax row of mixers.cpp: sinks that nothing flows into, windows that hide nothing, a ring
// in place of a whole cache, where values are scaled, biases of zero, groups that are all kept.

#include "engine/mixers/mixers.h"
#include "engine/run/weights.h"
#include "tests/engine/run/checkpoint_files.h"

#include <functional>
#include <limits>
#include <random>

using namespace hs;
using namespace hs::test;

namespace {

constexpr std::int64_t kHidden = 48;
constexpr std::int64_t kTokens = 150;

std::vector<float> random_values(std::int64_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<std::size_t>(count));
    std::generate(values.begin(), values.end(), [&] { return normal(random); });
    return values;
}

// Seeded weights, some of them changed on the way.
class EditedWeights final : public WeightSource {
public:
    using Edit = std::function<void(const std::string& name, std::span<float> values)>;

    EditedWeights(WeightMemory& memory, Edit edit)
        : m_seeded(*cpu(), 11, DType::F32, memory)
        , m_edit(std::move(edit)) {}

    Result<Weight> matrix(const std::string& name, std::int64_t rows, std::int64_t cols) override {
        const Weight weight = TRY(m_seeded.matrix(name, rows, cols));
        edit(name, reinterpret_cast<const float*>(weight.data), rows * cols);
        return weight;
    }
    Result<std::span<const float>> vector(const std::string& name, std::int64_t count) override {
        const std::span<const float> values = TRY(m_seeded.vector(name, count));
        edit(name, values.data(), count);
        return values;
    }
    Result<std::span<const float>> constants(std::span<const float> values) override {
        return m_seeded.constants(values);
    }

private:
    // The seeded values lie in memory of their own, which nobody has read yet.
    void edit(const std::string& name, const float* values, std::int64_t count) const {
        if (m_edit) {
            m_edit(name.substr(name.rfind("mixer.") + 6),
                   {const_cast<float*>(values), static_cast<std::size_t>(count)});
        }
    }

    SyntheticWeights m_seeded;
    Edit m_edit;
};

std::vector<float> run_mixer(const SoftmaxSpec& spec, const EditedWeights::Edit& edit = {},
                             std::int64_t piece = kTokens) {
    WeightMemory memory;
    EditedWeights weights(memory, edit);
    const MixerContext context{&weights, "layers.0.mixer", kHidden, 1e-6};
    const auto mixer = make_token_mixer(spec, context);
    if (!mixer.ok()) {
        qFatal("%s", mixer.error().text().c_str());
    }
    StateLedger ledger(*cpu());
    StateOptions options;
    options.kv_dtype = DType::F32;
    options.context_tokens = 1024;
    const auto state = (*mixer)->make_state(ledger, 0, options);
    const std::vector<float> x = random_values(kTokens * kHidden, 5);
    std::vector<float> out(x.size());
    for (std::int64_t first = 0; first < kTokens; first += piece) {
        const std::int64_t count = std::min(piece, kTokens - first);
        Step step;
        step.first_position = first;
        cpu()->reset_scratch();
        const auto done = (*mixer)->forward(
            *cpu(), View<const float, 2>(x.data() + first * kHidden, {count, kHidden}), **state,
            step, View<float, 2>(out.data() + first * kHidden, {count, kHidden}));
        if (!done.ok()) {
            qFatal("%s", done.error().text().c_str());
        }
    }
    return out;
}

std::vector<SoftmaxSpec> softmax_examples() {
    std::vector<SoftmaxSpec> specs;
    for (const TokenMixerRow& row : token_mixers()) {
        for (const TokenMixerSpec& spec : row.examples()) {
            if (const auto* softmax = std::get_if<SoftmaxSpec>(&spec)) {
                specs.push_back(*softmax);
            }
        }
    }
    return specs;
}

EditedWeights::Edit scaling(std::initializer_list<std::string> names, float factor) {
    return [names = std::vector<std::string>(names), factor](const std::string& name,
                                                             std::span<float> values) {
        if (std::find(names.begin(), names.end(), name) != names.end()) {
            for (float& value : values) {
                value *= factor;
            }
        }
    };
}

struct Routed {
    std::vector<float> out;
    std::vector<std::int32_t> chosen;
};

Routed run_mixture(const MoeSpec& spec, const EditedWeights::Edit& edit = {}) {
    WeightMemory memory;
    EditedWeights weights(memory, edit);
    const auto mixer = make_channel_mixer(spec, {&weights, "layers.0.mixer", kHidden, 1e-6});
    if (!mixer.ok()) {
        qFatal("%s", mixer.error().text().c_str());
    }
    const std::vector<float> x = random_values(kTokens * kHidden, 6);
    Routed routed;
    routed.out.resize(x.size());
    Tap tap;
    tap.experts = [&](int, std::int64_t, std::int64_t tokens, std::int64_t top_k,
                      const std::int32_t* experts) {
        routed.chosen.assign(experts, experts + tokens * top_k);
    };
    Step step;
    step.tap = &tap;
    cpu()->reset_scratch();
    (*mixer)->forward(*cpu(), View<const float, 2>(x.data(), {kTokens, kHidden}), step,
                      View<float, 2>(routed.out.data(), {kTokens, kHidden}));
    return routed;
}

} // namespace

class SoftmaxTest : public QObject {
    Q_OBJECT

private slots:
    void SinksOfMinusInfinityAreNone_data() { rows(); }
    void SinksOfMinusInfinityAreNone();
    void SinksTakeWeightAway_data() { rows(); }
    void SinksTakeWeightAway();
    void WindowsOfTheWholeLengthHideNothing_data() { rows(); }
    void WindowsOfTheWholeLengthHideNothing();
    void WindowsOfOneSeeTheirOwnValueAlone();
    void RingsGiveWhatWholeCachesGive();
    void ValuesAreScaledAnywhereAlike_data() { rows(); }
    void ValuesAreScaledAnywhereAlike();
    void ChoiceBiasesOfZeroChangeNothing();
    void GroupsThatAreAllKeptChangeNothing();
    void SoftmaxOfTheChosenIsTheNormedSoftmaxOfAll();

private:
    static void rows() {
        QTest::addColumn<int>("example");
        for (std::size_t i = 0; i < softmax_examples().size(); ++i) {
            QTest::addRow("example %zu", i) << int(i);
        }
    }
};

#define FETCH_SOFTMAX()                                                                            \
    QFETCH(int, example);                                                                          \
    SoftmaxSpec spec = softmax_examples()[std::size_t(example)]

void SoftmaxTest::SinksOfMinusInfinityAreNone() {
    FETCH_SOFTMAX();
    spec.sinks = false;
    const std::vector<float> plain = run_mixer(spec);
    const auto nothing = [](const std::string& name, std::span<float> values) {
        if (name == "sinks") {
            std::fill(values.begin(), values.end(), -std::numeric_limits<float>::infinity());
        }
    };
    SoftmaxSpec sunk = spec;
    sunk.sinks = true;
    for (const std::int64_t piece : {kTokens, std::int64_t{1}}) {
        const Difference d = difference(run_mixer(sunk, nothing, piece), plain, kHidden);
        QVERIFY2(d.worst_value < 2e-5, qPrintable(QString::number(d.worst_value)));
    }
}

void SoftmaxTest::SinksTakeWeightAway() {
    FETCH_SOFTMAX();
    // A sink far above all logits takes all weight: what is left is the bias of the output.
    spec.sinks = true;
    spec.output_bias = false;
    const auto everything = [](const std::string& name, std::span<float> values) {
        if (name == "sinks") {
            std::fill(values.begin(), values.end(), 1e4f);
        }
    };
    for (const std::int64_t piece : {kTokens, std::int64_t{1}}) {
        for (const float value : run_mixer(spec, everything, piece)) {
            QCOMPARE(value, 0.0f);
        }
    }
}

void SoftmaxTest::WindowsOfTheWholeLengthHideNothing() {
    FETCH_SOFTMAX();
    spec.window = 0;
    const std::vector<float> full = run_mixer(spec);
    for (const std::int64_t window : {kTokens, kTokens + 1, std::int64_t{700}}) {
        spec.window = window;
        for (const std::int64_t piece : {kTokens, std::int64_t{7}, std::int64_t{1}}) {
            const Difference d = difference(run_mixer(spec, {}, piece), full, kHidden);
            QVERIFY2(d.worst_value < 2e-5, qPrintable(QString::number(d.worst_value)));
        }
    }
    spec.window = kTokens - 1; // the last position no longer sees the first
    QVERIFY(run_mixer(spec) != full);
}

void SoftmaxTest::WindowsOfOneSeeTheirOwnValueAlone() {
    for (SoftmaxSpec spec : softmax_examples()) {
        // A single weight of one: queries, keys and rotation no longer matter.
        spec.window = 1;
        spec.sinks = false;
        const std::vector<float> found = run_mixer(spec);
        const auto without_queries = [](const std::string& name, std::span<float> values) {
            if (name == "k" || name == "k_bias") {
                std::fill(values.begin(), values.end(), 0.0f);
            }
        };
        const Difference d = difference(run_mixer(spec, without_queries), found, kHidden);
        QVERIFY2(d.worst_value < 1e-6, qPrintable(QString::number(d.worst_value)));
    }
}

void SoftmaxTest::RingsGiveWhatWholeCachesGive() {
    struct Shape {
        std::int64_t query_heads, kv_heads, head_dim, value_dim, window, ring;
    };
    for (const Shape& s : {Shape{4, 2, 24, 16, 16, 79}, Shape{6, 1, 16, 16, 5, 5},
                           Shape{3, 3, 10, 20, 33, 40}, Shape{8, 4, 192, 128, 1, 3}}) {
        for (const DType dtype : {DType::F32, DType::F16, DType::BF16}) {
            const std::int64_t tokens = 4 * s.window + 100;
            const auto q = random_values(tokens * s.query_heads * s.head_dim, 1);
            const auto k = random_values(tokens * s.kv_heads * s.head_dim, 2);
            const auto v = random_values(tokens * s.kv_heads * s.value_dim, 3);
            const auto sinks = random_values(s.query_heads, 4);
            const auto run_cache = [&](std::int64_t ring) {
                const std::int64_t places = ring > 0 ? ring : tokens;
                const auto bytes = [&](std::int64_t width) {
                    return std::vector<std::byte>(
                        static_cast<std::size_t>(places * row_bytes(dtype, width)));
                };
                std::vector<std::byte> keys = bytes(s.kv_heads * s.head_dim);
                std::vector<std::byte> values = bytes(s.kv_heads * s.value_dim);
                std::vector<float> out(
                    static_cast<std::size_t>(tokens * s.query_heads * s.value_dim));
                const std::int64_t most = s.ring - s.window + 1; // that fit in beside the window
                for (std::int64_t first = 0, count = 0; first < tokens; first += count) {
                    count = std::min({most, tokens - first, 1 + first % 9});
                    cpu()->append_kv(
                        View<const float, 3>(k.data() + first * s.kv_heads * s.head_dim,
                                             {count, s.kv_heads, s.head_dim}),
                        dtype, keys.data(), first, ring);
                    cpu()->append_kv(
                        View<const float, 3>(v.data() + first * s.kv_heads * s.value_dim,
                                             {count, s.kv_heads, s.value_dim}),
                        dtype, values.data(), first, ring);
                    AttentionOp op;
                    op.q = View<const float, 3>(q.data() + first * s.query_heads * s.head_dim,
                                                {count, s.query_heads, s.head_dim});
                    op.cache_dtype = dtype;
                    op.keys = keys.data();
                    op.values = values.data();
                    op.length = first + count;
                    op.ring = ring;
                    op.kv_heads = s.kv_heads;
                    op.head_dim = s.head_dim;
                    op.value_head_dim = s.value_dim;
                    op.scale = 0.2f;
                    op.window = s.window;
                    op.sinks = sinks.data();
                    op.out = View<float, 3>(out.data() + first * s.query_heads * s.value_dim,
                                            {count, s.query_heads, s.value_dim});
                    cpu()->attention(op);
                }
                return out;
            };
            QCOMPARE(run_cache(s.ring), run_cache(0));
        }
    }
}

void SoftmaxTest::ValuesAreScaledAnywhereAlike() {
    FETCH_SOFTMAX();
    spec.output_bias = false;
    spec.value_scale = 1.0;
    SoftmaxSpec scaled = spec;
    scaled.value_scale = 0.612;
    const std::vector<float> of_the_sum = run_mixer(scaled);
    for (const auto& edit : {scaling({"v", "v_bias"}, 0.612f), scaling({"o"}, 0.612f)}) {
        const Difference d = difference(run_mixer(spec, edit), of_the_sum, kHidden);
        QVERIFY2(d.worst_value < 2e-6, qPrintable(QString::number(d.worst_value)));
    }
}

void SoftmaxTest::ChoiceBiasesOfZeroChangeNothing() {
    for (const auto score : {MoeSpec::Score::Sigmoid, MoeSpec::Score::Softmax}) {
        MoeSpec plain;
        plain.experts = 8;
        plain.top_k = 3;
        plain.intermediate = 20;
        plain.score = score;
        MoeSpec biased = plain;
        biased.choice_bias = true;
        const auto zero = [](const std::string& name, std::span<float> values) {
            if (name == "choice_bias") {
                std::fill(values.begin(), values.end(), 0.0f);
            }
        };
        const Routed expected = run_mixture(plain);
        const Routed found = run_mixture(biased, zero);
        QCOMPARE(found.chosen, expected.chosen);
        QCOMPARE(found.out, expected.out);
        // One that is equal for all moves no choice either, and never comes into the weights.
        const auto same = [](const std::string& name, std::span<float> values) {
            if (name == "choice_bias") {
                std::fill(values.begin(), values.end(), 0.5f);
            }
        };
        QCOMPARE(run_mixture(biased, same).out, expected.out);
        QVERIFY(run_mixture(biased).chosen != expected.chosen);
    }
}

void SoftmaxTest::GroupsThatAreAllKeptChangeNothing() {
    MoeSpec plain;
    plain.experts = 8;
    plain.top_k = 3;
    plain.intermediate = 20;
    plain.score = MoeSpec::Score::Sigmoid;
    plain.choice_bias = true;
    MoeSpec grouped = plain;
    grouped.groups = 4;
    grouped.groups_kept = 4;
    const Routed expected = run_mixture(plain);
    QCOMPARE(run_mixture(grouped).out, expected.out);
    grouped.groups_kept = 2;
    const Routed fewer = run_mixture(grouped);
    QVERIFY(fewer.chosen != expected.chosen);
    for (std::size_t t = 0; t < static_cast<std::size_t>(kTokens); ++t) {
        std::vector<std::int32_t> groups;
        for (std::size_t i = 0; i < 3; ++i) {
            groups.push_back(fewer.chosen[3 * t + i] / 2);
        }
        std::sort(groups.begin(), groups.end());
        groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
        QCOMPARE(groups.size(), std::size_t{2}); // three of two groups of two
    }
}

void SoftmaxTest::SoftmaxOfTheChosenIsTheNormedSoftmaxOfAll() {
    MoeSpec all;
    all.experts = 8;
    all.top_k = 3;
    all.intermediate = 20;
    MoeSpec chosen = all;
    chosen.score = MoeSpec::Score::SoftmaxOfChosen;
    const Routed expected = run_mixture(all);
    const Routed found = run_mixture(chosen);
    QCOMPARE(found.chosen, expected.chosen);
    const Difference d = difference(found.out, expected.out, kHidden);
    QVERIFY2(d.worst_value < 2e-6, qPrintable(QString::number(d.worst_value)));
}

QTEST_GUILESS_MAIN(SoftmaxTest)
#include "softmax_test.moc"
