// Latent attention against its expanded form in float64, and what has to hold of the positions
// that sparse attention chooses (softmax.md section 12).

#include "engine/lab/reference.h"
#include "engine/mixers/mixers.h"
#include "tests/engine/run/checkpoint_files.h"

#include <map>
#include <random>

using namespace hs;
using namespace hs::test;

namespace {

constexpr std::int64_t kHidden = 40;

std::vector<float> random_values(std::int64_t count, std::uint32_t seed, float spread = 1.0f) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0.0f, spread);
    std::vector<float> values(static_cast<std::size_t>(count));
    std::generate(values.begin(), values.end(), [&] { return normal(random); });
    return values;
}

// Random weights that stay where a reference can read them.
class KeptWeights final : public WeightSource {
public:
    Result<Weight> matrix(const std::string& name, std::int64_t rows, std::int64_t cols) override {
        const auto& values = made(name, rows * cols, 1.0f / std::sqrt(static_cast<float>(cols)), 0);
        Weight weight;
        weight.rows = rows;
        weight.cols = cols;
        weight.data = reinterpret_cast<const std::byte*>(values.data());
        weight.row_stride_bytes = cols * static_cast<std::int64_t>(sizeof(float));
        return weight;
    }
    Result<std::span<const float>> vector(const std::string& name, std::int64_t count) override {
        return std::span<const float>(made(name, count, 0.2f, name.ends_with("norm") ? 1.0f : 0));
    }
    Result<std::span<const float>> constants(std::span<const float>) override {
        return Error{ErrorCode::InvalidArgument, "latent attention computes no constants", {}};
    }
    std::span<const float> get(std::string_view part) const {
        return m_values.at("mixer." + std::string(part));
    }

private:
    const std::vector<float>& made(const std::string& name, std::int64_t count, float spread,
                                   float centre) {
        std::vector<float>& values = m_values[name];
        const auto seed = static_cast<std::uint32_t>(std::hash<std::string>()(name));
        values = random_values(count, seed, spread);
        for (float& v : values) {
            v += centre;
        }
        return values;
    }
    std::map<std::string, std::vector<float>> m_values;
};

std::vector<float> run_mixer(const TokenMixer& mixer, const std::vector<float>& x,
                             std::int64_t piece, DType kv = DType::F32) {
    StateLedger ledger(*cpu());
    StateOptions options;
    options.kv_dtype = kv;
    options.context_tokens = 512;
    const auto state = mixer.make_state(ledger, 0, options);
    std::vector<float> out(x.size());
    const auto tokens = static_cast<std::int64_t>(x.size()) / kHidden;
    for (std::int64_t first = 0; first < tokens; first += piece) {
        const std::int64_t count = std::min(piece, tokens - first);
        Step step;
        step.first_position = first;
        cpu()->reset_scratch();
        const auto done = mixer.forward(
            *cpu(), View<const float, 2>(x.data() + first * kHidden, {count, kHidden}), **state,
            step, View<float, 2>(out.data() + first * kHidden, {count, kHidden}));
        if (!done.ok()) {
            qFatal("%s", done.error().text().c_str());
        }
    }
    return out;
}

std::vector<LatentSpec> specs() {
    std::vector<LatentSpec> all;
    for (const char* row : {"latent attention", "sparse attention"}) {
        for (const TokenMixerRow& mixer : token_mixers()) {
            if (std::string(mixer.name) == row) {
                for (const TokenMixerSpec& spec : mixer.examples()) {
                    all.push_back(std::get<LatentSpec>(spec));
                }
            }
        }
    }
    // Odd shapes, heads in more than one block of rows, rotation of halves.
    std::mt19937 random(5);
    const auto pick = [&](std::initializer_list<std::int64_t> from) {
        return *(from.begin() + random() % from.size());
    };
    for (int i = 0; i < 10; ++i) {
        LatentSpec s;
        s.query_heads = pick({1, 3, 5, 16, 33, 70});
        s.nope_dim = pick({4, 7, 16, 32});
        s.rope_dim = pick({2, 6, 8, 16});
        s.value_dim = pick({3, 8, 17});
        s.kv_rank = pick({5, 16, 31, 64});
        s.query_rank = pick({0, 9, 24});
        s.scale = 1.0 / std::sqrt(static_cast<double>(s.query_dim()));
        s.latent_norm_eps = 1e-5;
        s.output_gate = i % 4 == 1;
        s.rope.dims = i % 5 == 0 ? 0 : s.rope_dim;
        s.rope.layout = i % 2 == 0 ? RopeLayout::Interleaved : RopeLayout::HalfSplit;
        if (i % 2 == 1) {
            s.indexer = IndexerSpec{.heads = pick({1, 2, 5, 8}),
                                    .head_dim = s.rope_dim + pick({0, 5, 8}),
                                    .top_k = pick({1, 13, 60}),
                                    .rope = s.rope};
        }
        all.push_back(s);
    }
    // So many heads that tokens are taken in several blocks, dense and sparse.
    LatentSpec many = all.back();
    many.query_heads = 300;
    many.nope_dim = 4;
    many.value_dim = 3;
    many.kv_rank = 5;
    many.scale = 1.0 / std::sqrt(static_cast<double>(many.query_dim()));
    all.push_back(many);
    many.indexer.reset();
    all.push_back(many);
    return all;
}

} // namespace

class LatentTest : public QObject {
    Q_OBJECT

private slots:
    void AbsorbedEqualsExpanded_data();
    void AbsorbedEqualsExpanded();
    void ChoosingAllIsDense();
    void ChoiceDoesNotDependOnTheCut_data();
    void ChoiceDoesNotDependOnTheCut();
    void PredictionLayersAreKnown_data();
    void PredictionLayersAreKnown();
};

void LatentTest::AbsorbedEqualsExpanded_data() {
    QTest::addColumn<int>("example");
    for (std::size_t i = 0; i < specs().size(); ++i) {
        QTest::addRow("%zu", i) << int(i);
    }
}

void LatentTest::AbsorbedEqualsExpanded() {
    QFETCH(int, example);
    const LatentSpec spec = specs()[std::size_t(example)];
    KeptWeights weights;
    const MixerContext context{&weights, "mixer", kHidden, 1e-6};
    const auto mixer = make_token_mixer(spec, context);
    QVERIFY(mixer.ok());
    const std::vector<float> x = random_values(101 * kHidden, 11);
    const reference::Values wanted =
        reference::latent({.spec = spec,
                           .hidden = kHidden,
                           .weight = [&](std::string_view part) { return weights.get(part); }},
                          x);
    const std::vector<float> expected(wanted.begin(), wanted.end());
    for (const std::int64_t piece : {101, 1, 13}) {
        const Difference d = difference(run_mixer(**mixer, x, piece), expected, kHidden);
        // Sums of float32 in another order, through three products and a softmax.
        QVERIFY2(d.worst_value < 2e-5,
                 qPrintable(QString("pieces of %1: %2").arg(piece).arg(d.worst_value)));
    }
}

void LatentTest::ChoosingAllIsDense() {
    LatentSpec sparse = specs()[2];
    QVERIFY(sparse.indexer.has_value());
    LatentSpec dense = sparse;
    dense.indexer.reset();
    const std::vector<float> x = random_values(90 * kHidden, 12);
    const auto run_with = [&](const LatentSpec& spec, std::int64_t piece, DType kv) {
        KeptWeights weights;
        const auto mixer = make_token_mixer(spec, MixerContext{&weights, "mixer", kHidden, 1e-6});
        return run_mixer(**mixer, x, piece, kv);
    };
    for (const DType kv : {DType::F32, DType::F16, DType::BF16}) {
        for (const std::int64_t piece : {90, 7, 1}) {
            for (const std::int64_t top_k : {90, 1000}) {
                sparse.indexer->top_k = top_k;
                QCOMPARE(run_with(sparse, piece, kv), run_with(dense, piece, kv));
            }
        }
    }
}

void LatentTest::ChoiceDoesNotDependOnTheCut_data() {
    QTest::addColumn<int>("heads");
    QTest::addColumn<int>("most");
    QTest::addColumn<bool>("coarse");
    for (const int heads : {1, 2, 4, 7, 64}) {
        for (const int most : {1, 40, 128}) {
            QTest::addRow("%d heads, %d of 300", heads, most) << heads << most << false;
            QTest::addRow("%d heads, %d of 300, many ties", heads, most) << heads << most << true;
        }
    }
}

void LatentTest::ChoiceDoesNotDependOnTheCut() {
    QFETCH(int, heads);
    QFETCH(int, most);
    QFETCH(bool, coarse);
    constexpr std::int64_t kLength = 300;
    constexpr std::int64_t kDim = 24;
    std::vector<float> q = random_values(kLength * heads * kDim, 1);
    std::vector<float> weights = random_values(kLength * heads, 2);
    std::vector<float> keys = random_values(kLength * kDim, 3);
    if (coarse) {
        // Few values: every sum is exact and many are equal.
        for (auto* values : {&q, &weights, &keys}) {
            for (float& v : *values) {
                v = std::trunc(v);
            }
        }
    }
    const auto chosen_in = [&](std::int64_t piece) {
        std::vector<std::int32_t> all;
        for (std::int64_t first = 0; first < kLength; first += piece) {
            const std::int64_t count = std::min(piece, kLength - first);
            std::vector<std::int32_t> chosen(static_cast<std::size_t>(count * most), 99999);
            ChooseKeysOp op;
            op.q = {q.data() + first * heads * kDim, {count, heads, kDim}};
            op.weights = {weights.data() + first * heads, {count, heads}};
            op.cache_dtype = DType::F32;
            op.keys = reinterpret_cast<const std::byte*>(keys.data());
            op.length = first + count;
            op.most = most;
            op.chosen = chosen.data();
            cpu()->choose_keys(op);
            all.insert(all.end(), chosen.begin(), chosen.end());
        }
        return all;
    };
    const std::vector<std::int32_t> whole = chosen_in(kLength);
    for (const std::int64_t piece : {1, 37, 64, 65}) {
        QVERIFY(chosen_in(piece) == whole);
    }
    if (coarse) {
        const auto wanted = reference::choose_keys(
            {.tokens = kLength, .length = kLength, .heads = heads, .head_dim = kDim, .most = most},
            q, weights, keys);
        QVERIFY(whole == wanted.positions);
    }
}

void LatentTest::PredictionLayersAreKnown_data() {
    QTest::addColumn<QString>("model");
    QTest::addColumn<int>("tensors");
    QTest::newRow("safetensors") << "deepseek-v3/hf" << 4;
    QTest::newRow("gguf") << "deepseek-v3/model.gguf" << 3;
    QTest::newRow("sparse, safetensors") << "deepseek-v3.2/hf" << 4;
    QTest::newRow("sparse, gguf") << "glm-5/model.gguf" << 3;
}

void LatentTest::PredictionLayersAreKnown() {
    QFETCH(QString, model);
    QFETCH(int, tensors);
    const auto loaded = load(std::filesystem::path(HS_TEST_CHECKPOINTS) / model.toStdString());
    const std::vector<std::string>& unused = loaded->unused_tensors();
    QCOMPARE(int(unused.size()), tensors);
    for (const std::string& tensor : unused) {
        QVERIFY2(tensor.ends_with("(multi-token prediction)"), tensor.c_str());
    }
}

QTEST_GUILESS_MAIN(LatentTest)
#include "latent_test.moc"
