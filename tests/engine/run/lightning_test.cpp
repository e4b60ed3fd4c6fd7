// Lightning attention: decay rates as published, blocks equal to the recurrence however a prompt is
// cut and whatever the state was, and what the families make of their checkpoints.

#include "engine/lab/reference.h"
#include "engine/run/sampler.h"
#include "engine/spec/families.h"
#include "kernels/cpu/kernels.h"
#include "tests/engine/run/checkpoint_files.h"

#include <QTemporaryDir>

#include <array>
#include <fstream>
#include <random>

using namespace hs;
using namespace hs::test;

namespace {

using Floats = std::vector<float>;

Floats random_values(std::int64_t count, std::uint32_t seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    Floats values(static_cast<std::size_t>(count));
    std::generate(values.begin(), values.end(), [&] { return normal(random); });
    return values;
}

// Inputs of one mixer for some tokens, and what comes of them from a given state.
struct Case {
    LightningSpec spec;
    std::int64_t tokens = 0;
    Floats q, k, v, gate, norm, rates, state;

    Case(LightningSpec of, std::int64_t length, std::uint32_t seed)
        : spec(std::move(of))
        , tokens(length) {
        const std::int64_t width = spec.heads * spec.head_dim;
        for (Floats* rows : {&q, &k, &v, &gate}) {
            *rows = random_values(tokens * width, ++seed);
        }
        norm = random_values(width, ++seed);
        state = random_values(width * spec.head_dim, ++seed);
        rates = lightning_decay_rates(spec);
    }

    // In pieces; `held` is read and written.
    Floats run(Backend& backend, const std::vector<std::int64_t>& pieces, Floats& held) const {
        const std::int64_t width = spec.heads * spec.head_dim;
        Floats out(q.size());
        std::int64_t first = 0;
        for (const std::int64_t count : pieces) {
            const auto heads = [&](const Floats& rows) {
                return View<const float, 3>(rows.data() + first * width,
                                            {count, spec.heads, spec.head_dim});
            };
            LightningOp op;
            op.spec = spec;
            op.q = heads(q);
            op.k = heads(k);
            op.v = heads(v);
            op.gate = {gate.data() + first * width, {count, width}};
            op.decay_rates = rates.data();
            op.norm_weight = norm.data();
            op.state = held.data();
            op.out = {out.data() + first * width, {count, width}};
            backend.lightning(op);
            first += count;
        }
        return out;
    }
};

template <class A, class B>
double largest_difference(const A& found, const B& wanted) {
    double worst = 0, largest = 1e-30;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        const double d = std::abs(double(found[i]) - double(wanted[i]));
        worst = std::isnan(d) ? INFINITY : std::max(worst, d);
        largest = std::max(largest, std::abs(double(wanted[i])));
    }
    return worst / largest;
}

LightningSpec with_heads(std::int64_t heads, std::int64_t head_dim = 16) {
    LightningSpec spec;
    spec.heads = heads;
    spec.head_dim = head_dim;
    return spec;
}

// A folder with a config.json alone, read.
Result<SpecAndTensors> read_config(const std::string& text) {
    const QTemporaryDir folder;
    const std::filesystem::path path = folder.path().toStdString();
    std::ofstream(path / "config.json") << text;
    const Checkpoint checkpoint = TRY(Checkpoint::open(path, Need::HeaderOnly));
    return read_model(checkpoint);
}

std::string config_of(const char* checkpoint) {
    std::ifstream file(checkpoint_folder() / checkpoint / "hf/config.json");
    return {std::istreambuf_iterator<char>(file), {}};
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const std::size_t at = text.find(from);
    if (at == std::string::npos) {
        qFatal("no %s in a configuration", from.c_str());
    }
    return text.replace(at, from.size(), to);
}

} // namespace

class LightningTest : public QObject {
    Q_OBJECT

private slots:
    void SlopesAreThePublishedOnes();
    void DecayFollowsHeadAndLayer_data();
    void DecayFollowsHeadAndLayer();
    void OtherNumbersOfHeadsInterleave();
    void AnySplitGivesWhatTheRecurrenceGives_data();
    void AnySplitGivesWhatTheRecurrenceGives();
    void LongPromptsNeitherOverflowNorVanish();
    void HeadsDoNotMix();
    void RowsWithoutTokenAreNeverSampled();
    void TheLayerBehindTheLastIsThePredictionHead();
    void RoundedDecayTablesAreNotUsed();
    void LingThreeIsRefusedByName();
    void SettingsThatChangeTheMathAreRefused_data();
    void SettingsThatChangeTheMathAreRefused();
};

// lightning.md section 1.1, computed there apart from the engine.
void LightningTest::SlopesAreThePublishedOnes() {
    struct Row {
        std::int64_t heads;
        double first, second, last;
    };
    for (const Row& row :
         {Row{16, 0.707106781, 0.5, 0.00390625}, Row{32, 0.840896415, 0.707106781, 0.00390625},
          Row{64, 0.917004043, 0.840896415, 0.00390625}}) {
        const Floats rates = lightning_decay_rates(with_heads(row.heads));
        QCOMPARE(rates.size(), static_cast<std::size_t>(row.heads));
        QVERIFY(std::abs(rates[0] - row.first) < 1e-7);
        QVERIFY(std::abs(rates[1] - row.second) < 1e-7);
        QVERIFY(std::abs(rates.back() - row.last) < 1e-9);
    }
}

void LightningTest::DecayFollowsHeadAndLayer_data() {
    QTest::addColumn<int>("layers");
    QTest::addColumn<int>("heads");
    QTest::addColumn<int>("layer");
    QTest::addColumn<double>("first");
    QTest::addColumn<double>("last");
    QTest::newRow("80 layers, the first") << 80 << 64 << 0 << 0.399711112 << 0.996101331;
    QTest::newRow("80 layers, the last linear") << 80 << 64 << 78 << 0.988450399 << 0.999950516;
    QTest::newRow("32 layers, the first") << 32 << 32 << 0 << 0.431320078 << 0.996101331;
    QTest::newRow("32 layers, the last linear") << 32 << 32 << 30 << 0.973230723 << 0.999873961;
    QTest::newRow("20 layers, the first") << 20 << 16 << 0 << 0.493065205 << 0.996101331;
    QTest::newRow("20 layers, the last linear") << 20 << 16 << 18 << 0.963461050 << 0.999794390;
}

void LightningTest::DecayFollowsHeadAndLayer() {
    QFETCH(int, layers);
    QFETCH(int, heads);
    QFETCH(int, layer);
    QFETCH(double, first);
    QFETCH(double, last);
    LightningSpec spec = with_heads(heads);
    spec.layer_factor = lightning_layer_factor(layer, layers);
    const Floats rates = lightning_decay_rates(spec);
    QVERIFY(std::abs(std::exp(-double(rates.front())) - first) < 1e-7);
    QVERIFY(std::abs(std::exp(-double(rates.back())) - last) < 1e-8);
}

void LightningTest::OtherNumbersOfHeadsInterleave() {
    // Those of four heads, then the first and third of eight.
    const Floats six = lightning_decay_rates(with_heads(6));
    QCOMPARE(six, (Floats{0x1p-2f, 0x1p-4f, 0x1p-6f, 0x1p-8f, 0x1p-1f, 0x1p-3f}));
    LightningSpec even = with_heads(6);
    even.even_rates = true;
    const Floats falling = lightning_decay_rates(even);
    QCOMPARE(falling.size(), std::size_t{6});
    for (std::size_t h = 0; h < 6; ++h) {
        QVERIFY(std::abs(falling[h] - std::pow(2.0, -8.0 * double(h + 1) / 6.0)) < 1e-7);
    }
}

void LightningTest::AnySplitGivesWhatTheRecurrenceGives_data() {
    QTest::addColumn<QString>("set");
    QTest::addColumn<int>("heads");
    QTest::addColumn<int>("head_dim");
    QTest::addColumn<bool>("silu");
    for (const std::string& set : cpu::instruction_sets()) {
        for (const int head_dim : {128, 20, 7}) {
            for (const bool silu : {false, true}) {
                QTest::addRow("%s, heads of %d%s", set.c_str(), head_dim, silu ? ", SiLU" : "")
                    << QString::fromStdString(set) << (head_dim == 128 ? 2 : 3) << head_dim << silu;
            }
        }
    }
}

void LightningTest::AnySplitGivesWhatTheRecurrenceGives() {
    QFETCH(QString, set);
    QFETCH(int, heads);
    QFETCH(int, head_dim);
    QFETCH(bool, silu);
    LightningSpec spec = with_heads(heads, head_dim);
    spec.silu = silu;
    spec.scale = 0.3;
    spec.norm_groups = heads;
    const Case one(spec, 150, 7);
    reference::Values state(one.state.begin(), one.state.end());
    const reference::Values want = reference::lightning(
        {spec, one.tokens, 1e-6, one.q, one.k, one.v, one.gate, one.rates, one.norm}, state);

    cpu::use_instruction_set(set.toStdString());
    const auto backend = make_cpu_backend(2);
    std::vector<std::vector<std::int64_t>> splits{
        {150}, std::vector<std::int64_t>(150, 1), {64, 64, 22}, {63, 65, 22}, {1, 149}, {149, 1}};
    std::mt19937 random(11);
    for (int i = 0; i < 8; ++i) {
        std::vector<std::int64_t> pieces;
        for (std::int64_t left = 150; left > 0; left -= pieces.back()) {
            pieces.push_back(std::uniform_int_distribution<std::int64_t>(
                1, std::min<std::int64_t>(left, 90))(random));
        }
        splits.push_back(pieces);
    }
    for (const auto& pieces : splits) {
        Floats held = one.state;
        const Floats found = one.run(*backend, pieces, held);
        // float32 sums of some hundred terms in any order.
        QVERIFY(largest_difference(found, want) < 2e-5);
        QVERIFY(largest_difference(held, state) < 2e-5);
    }
    cpu::use_instruction_set("");
}

void LightningTest::LongPromptsNeitherOverflowNorVanish() {
    // The fastest head forgets within a block; the slowest of a last layer hardly fades at all.
    for (const double factor : {1.0, 1e-5}) {
        LightningSpec spec = with_heads(64, 8);
        spec.layer_factor = factor;
        const Case one(spec, 5000, 3);
        Floats held(one.state.size());
        const auto backend = make_cpu_backend(1);
        const Floats found = one.run(*backend, {5000}, held);
        reference::Values state(held.size());
        const reference::Values want = reference::lightning(
            {spec, one.tokens, 1e-6, one.q, one.k, one.v, one.gate, one.rates, one.norm}, state);
        QVERIFY(largest_difference(found, want) < 2e-5);
        QVERIFY(largest_difference(held, state) < 2e-5);
    }
}

void LightningTest::HeadsDoNotMix() {
    // Without the norm over all heads: one head's inputs changed leave the others as they were.
    LightningSpec spec = with_heads(3, 12);
    spec.norm_groups = 3;
    Case one(spec, 70, 5);
    const auto backend = make_cpu_backend(1);
    Floats held = one.state;
    const Floats before = one.run(*backend, {70}, held);
    for (std::int64_t t = 0; t < 70; ++t) {
        for (std::int64_t i = 12; i < 24; ++i) {
            one.k[static_cast<std::size_t>(t * 36 + i)] += 1.0f;
        }
    }
    held = one.state;
    const Floats after = one.run(*backend, {70}, held);
    for (std::size_t i = 0; i < after.size(); ++i) {
        const bool theirs = i % 36 >= 12 && i % 36 < 24;
        QVERIFY(theirs || after[i] == before[i]);
    }
    QVERIFY(before != after);
}

void LightningTest::RowsWithoutTokenAreNeverSampled() {
    for (const char* file : {"hf", "model.gguf"}) {
        const auto model = load(checkpoint_folder() / "minimax-01" / file);
        const std::vector<std::int32_t>& never = model->spec().never_sampled;
        QCOMPARE(never, (std::vector<std::int32_t>{90, 97}));
        Sampler greedy({.temperature = 0}, never);
        Sampler warm({.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0, .seed = 4}, never);
        for (int i = 0; i < 200; ++i) {
            Floats logits(99, -1.0f); // zeros would win
            logits[90] = logits[97] = 0.0f;
            QVERIFY(greedy.sample(logits) < 90);
            logits[90] = logits[97] = 0.0f;
            const std::int32_t id = warm.sample(logits);
            QVERIFY(id != 90 && id != 97);
        }
    }
    QVERIFY(load(checkpoint_folder() / "ring-linear/hf")->spec().never_sampled.empty());
}

void LightningTest::TheLayerBehindTheLastIsThePredictionHead() {
    for (const char* file : {"hf", "model.gguf"}) {
        const auto model = load(checkpoint_folder() / "ling-hybrid-draft" / file);
        QCOMPARE(model->spec().layers.size(), std::size_t{5}); // decay counts these alone
        QVERIFY(model->can_draft());
        QVERIFY(std::holds_alternative<LatentSpec>(model->spec().draft->mixer));
        QVERIFY(model->unused_tensors().empty());
    }
    QVERIFY(!load(checkpoint_folder() / "ling-hybrid-yarn/hf")->can_draft());
}

void LightningTest::RoundedDecayTablesAreNotUsed() {
    const auto model = load(checkpoint_folder() / "minimax-port-tables/hf");
    QCOMPARE(model->unused_tensors().size(), std::size_t{8}); // four for each of two layers
    for (const std::string& unused : model->unused_tensors()) {
        QVERIFY2(unused.ends_with("(decay table)"), unused.c_str());
    }
}

void LightningTest::LingThreeIsRefusedByName() {
    const std::string ling = config_of("ling-hybrid-draft");
    for (const std::string& text :
         {replaced(ling, "BailingMoeV2_5ForCausalLM", "BailingMoeV3ForCausalLM"),
          replaced(ling, "\"use_bias\"", "\"short_conv_kernel_size\": 4, \"use_bias\""),
          replaced(ling, "\"use_bias\"", "\"kda_head_dim\": 128, \"use_bias\"")}) {
        const auto read = read_config(text);
        QVERIFY(!read.ok());
        QCOMPARE(read.error().code, ErrorCode::Unsupported);
        QVERIFY2(read.error().text().find("KDA") != std::string::npos, read.error().text().c_str());
        QVERIFY(read.error().text().find("BailingMoeV2_5ForCausalLM") != std::string::npos);
    }
    QVERIFY(read_config(ling).ok());
}

void LightningTest::SettingsThatChangeTheMathAreRefused_data() {
    QTest::addColumn<QString>("checkpoint");
    QTest::addColumn<QString>("from");
    QTest::addColumn<QString>("to");
    QTest::addColumn<QString>("names");
    const auto row = [](const char* checkpoint, const char* from, const char* to,
                        const char* names) {
        QTest::addRow("%s: %s", checkpoint, to) << checkpoint << from << to << names;
    };
    row("minimax-01", "\"shared_intermediate_size\": 0", "\"shared_intermediate_size\": 8",
        "shared_intermediate_size");
    row("minimax-01", "\"rotary_dim\": 8", "\"rotary_dim\": 7", "rotary_dim");
    row("minimax-01", "\"rotary_dim\": 8", "\"rotary_dim\": 16", "rotary_dim");
    row("minimax-01", "\"hidden_act\": \"silu\"", "\"hidden_act\": \"relu\"", "hidden_act");
    row("minimax-01", "\"postnorm\": true", "\"attn_new_gate\": true", "attn_new_gate");
    row("minimax-01", "\"layernorm_mlp_alpha\": 0.8", "\"layernorm_mlp_alpha\": \"x\"",
        "layernorm_mlp_alpha");
    row("ring-linear", "\"linear_silu\": false", "\"linear_silu\": true", "linear_silu");
    row("ring-linear", "\"use_bias\": false", "\"use_bias\": true", "use_bias");
    row("ring-linear", "\"group_norm_size\": 2", "\"group_norm_size\": 7", "groups to norm");
    row("ring-linear", "\"n_group\": 4", "\"n_group\": 3", "groups");
    row("ring-linear", "\"score_function\": \"sigmoid\"", "\"score_function\": \"tanh\"",
        "score_function");
    row("ling-hybrid-draft", "\"topk_method\": \"noaux_tc\"", "\"topk_method\": \"other\"",
        "topk_method");
    row("ling-hybrid-draft", "\"layer_group_size\": 4", "\"layer_group_size\": 0",
        "layer_group_size");
    row("ling-hybrid-draft", "\"kv_lora_rank\": 24", "\"kv_lora_rank\": 99999999999",
        "kv_lora_rank");
    row("ling-hybrid-draft", "\"use_bias\": false", "\"gated_attention\": true", "gated_attention");
}

void LightningTest::SettingsThatChangeTheMathAreRefused() {
    QFETCH(QString, checkpoint);
    QFETCH(QString, from);
    QFETCH(QString, to);
    QFETCH(QString, names);
    const auto read = read_config(
        replaced(config_of(qPrintable(checkpoint)), from.toStdString(), to.toStdString()));
    QVERIFY(!read.ok());
    QVERIFY2(read.error().text().find(names.toStdString()) != std::string::npos,
             read.error().text().c_str());
}

QTEST_GUILESS_MAIN(LightningTest)
#include "lightning_test.moc"
