// The numbers that decide whether DeepSeek and GLM-5 compute what they were trained to: YaRN's
// bounds, the factor of the logits, which layers choose positions (softmax.md sections 1.3, 3, 4).

#include "engine/backend/backend.h"
#include "engine/spec/families.h"
#include "tests/engine/spec/configs.h"

#include <QtTest>

#include <cmath>

using namespace hs;
using namespace hs::test;

namespace {

Json v3() {
    return parse(R"({"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3",
        "vocab_size": 129280, "hidden_size": 7168, "intermediate_size": 18432,
        "moe_intermediate_size": 2048, "num_hidden_layers": 61, "num_nextn_predict_layers": 1,
        "num_attention_heads": 128, "num_key_value_heads": 128, "n_shared_experts": 1,
        "n_routed_experts": 256, "ep_size": 1, "routed_scaling_factor": 2.5,
        "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64, "v_head_dim": 128,
        "qk_nope_head_dim": 128, "topk_method": "noaux_tc", "n_group": 8, "topk_group": 4,
        "num_experts_per_tok": 8, "moe_layer_freq": 1, "first_k_dense_replace": 3,
        "norm_topk_prob": true, "scoring_func": "sigmoid", "hidden_act": "silu",
        "max_position_embeddings": 163840, "rms_norm_eps": 1e-06, "rope_theta": 10000,
        "tie_word_embeddings": false, "attention_bias": false, "attention_dropout": 0.0,
        "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0,
            "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096, "type": "yarn"},
        "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3",
            "quant_method": "fp8", "weight_block_size": [128, 128]},
        "use_cache": true, "torch_dtype": "bfloat16", "bos_token_id": 0, "eos_token_id": 1})");
}

Json v32() {
    Json config = v3();
    config["architectures"] = Json::array({"DeepseekV32ForCausalLM"});
    config["model_type"] = "deepseek_v32";
    config["index_topk"] = 2048;
    config["index_head_dim"] = 128;
    config["index_n_heads"] = 64;
    return config;
}

Json glm() {
    return parse(R"({"architectures": ["GlmMoeDsaForCausalLM"], "model_type": "glm_moe_dsa",
        "vocab_size": 154880, "hidden_size": 6144, "intermediate_size": 12288,
        "moe_intermediate_size": 2048, "num_hidden_layers": 78, "num_attention_heads": 64,
        "num_key_value_heads": 64, "n_shared_experts": 1, "n_routed_experts": 256,
        "routed_scaling_factor": 2.5, "kv_lora_rank": 512, "q_lora_rank": 2048,
        "qk_rope_head_dim": 64, "v_head_dim": 256, "qk_nope_head_dim": 192, "n_group": 1,
        "topk_group": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 3,
        "norm_topk_prob": true, "max_position_embeddings": 202752, "rms_norm_eps": 1e-05,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000}, "index_topk": 2048,
        "index_head_dim": 128, "index_n_heads": 32, "indexer_rope_interleave": true})");
}

LatentSpec latent_of(const Json& config, std::size_t layer = 0) {
    const auto read = read_config(config);
    if (!read.ok()) {
        qFatal("%s", read.error().text().c_str());
    }
    return std::get<LatentSpec>(read->spec.layers[layer].mixer);
}

QString error_of(const Json& config) {
    const auto result = read_config(config);
    return result.ok() ? QString() : QString::fromStdString(result.error().text());
}

// The share of the stretched frequency in each of a table's frequencies.
std::vector<double> ramp_of(const RopeSpec& rope) {
    const RopeTable table = make_rope_table(rope);
    std::vector<double> ramp;
    for (std::int64_t i = 0; i < rope.dims / 2; ++i) {
        const double plain =
            std::pow(rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(rope.dims));
        const double found = table.inverse_frequency[static_cast<std::size_t>(i)] / plain;
        ramp.push_back((1.0 - found) / (1.0 - 1.0 / rope.scaling.factor));
    }
    return ramp;
}

} // namespace

class DeepseekTest : public QObject {
    Q_OBJECT

private slots:
    void YarnBoundsAreThePublishedOnes_data();
    void YarnBoundsAreThePublishedOnes();
    void LogitsAreScaledByTheMagnitudeTwice();
    void RotationsAreThoseOfEachPart();
    void CompressedQueriesCanBeAbsent();
    void LayersOfGlm52ShareChoices();
    void WhatIsNotSupportedIsRefused_data();
    void WhatIsNotSupportedIsRefused();
};

void DeepseekTest::YarnBoundsAreThePublishedOnes_data() {
    QTest::addColumn<double>("theta");
    QTest::addColumn<int>("original");
    QTest::addColumn<double>("factor");
    QTest::addColumn<bool>("truncate");
    QTest::addColumn<double>("low");
    QTest::addColumn<double>("high");
    QTest::newRow("DeepSeek-V3") << 1e4 << 4096 << 40.0 << true << 10.0 << 23.0;
    QTest::newRow("DeepSeek-V4 compressed") << 16e4 << 65536 << 16.0 << true << 15.0 << 25.0;
    QTest::newRow("gpt-oss") << 15e4 << 4096 << 32.0 << false << 8.0928 << 17.3980;
}

void DeepseekTest::YarnBoundsAreThePublishedOnes() {
    QFETCH(double, theta);
    QFETCH(int, original);
    QFETCH(double, factor);
    QFETCH(bool, truncate);
    QFETCH(double, low);
    QFETCH(double, high);
    RopeSpec rope;
    rope.dims = 64;
    rope.theta = theta;
    rope.scaling.kind = RopeScaling::Kind::Yarn;
    rope.scaling.factor = factor;
    rope.scaling.original_context = original;
    rope.scaling.truncate = truncate;
    const std::vector<double> ramp = ramp_of(rope);
    for (std::size_t i = 0; i < ramp.size(); ++i) {
        const double wanted = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
        QVERIFY2(std::fabs(ramp[i] - wanted) < 2e-5, // low and high have four decimals
                 qPrintable(QString("%1: %2, wanted %3").arg(i).arg(ramp[i]).arg(wanted)));
    }
}

void DeepseekTest::LogitsAreScaledByTheMagnitudeTwice() {
    QVERIFY(std::fabs(latent_of(v3()).scale - 0.1352338) < 1e-7);
    QVERIFY(std::fabs(latent_of(v32()).scale - 0.1352338) < 1e-7);
    QVERIFY(std::fabs(latent_of(glm()).scale - 1.0 / 16.0) < 1e-12);
    QCOMPARE(make_rope_table(latent_of(v3()).rope).magnitude, 1.0f);
    // As V2-Lite: both strengths 0.707, so that angles keep their length.
    Json lite = v3();
    lite["rope_scaling"]["mscale"] = 0.707;
    lite["rope_scaling"]["mscale_all_dim"] = 0.707;
    const double magnitude = 0.0707 * std::log(40.0) + 1.0;
    QVERIFY(std::fabs(latent_of(lite).scale - magnitude * magnitude / std::sqrt(192.0)) < 1e-9);
    QCOMPARE(make_rope_table(latent_of(lite).rope).magnitude, 1.0f);
}

void DeepseekTest::RotationsAreThoseOfEachPart() {
    QCOMPARE(latent_of(v3()).rope.layout, RopeLayout::Interleaved);
    Json halves = v3();
    halves["rope_interleave"] = false;
    QCOMPARE(latent_of(halves).rope.layout, RopeLayout::HalfSplit);
    const LatentSpec sparse = latent_of(v32());
    QCOMPARE(sparse.rope.layout, RopeLayout::Interleaved);
    QCOMPARE(sparse.indexer->rope.layout, RopeLayout::HalfSplit);
    QCOMPARE(sparse.indexer->rope.dims, std::int64_t{64});
    QCOMPARE(sparse.indexer->rope.scaling, sparse.rope.scaling);
    QCOMPARE(latent_of(glm()).indexer->rope.layout, RopeLayout::Interleaved);
    for (const Json& config : {v3(), v32(), glm()}) {
        QCOMPARE(latent_of(config).latent_norm_eps, 1e-6);
    }
}

void DeepseekTest::CompressedQueriesCanBeAbsent() {
    QCOMPARE(latent_of(v3()).query_rank, std::int64_t{1536});
    Json plain = v3();
    plain["q_lora_rank"] = nullptr;
    QCOMPARE(latent_of(plain).query_rank, std::int64_t{0});
    Json sparse = v32();
    sparse["q_lora_rank"] = nullptr;
    QVERIFY(error_of(sparse).contains("q_lora_rank"));
}

void DeepseekTest::LayersOfGlm52ShareChoices() {
    Json config = glm();
    config["index_topk_freq"] = 4;
    config["index_skip_topk_offset"] = 3;
    const auto read = read_config(config);
    QVERIFY(read.ok());
    int indexers = 0;
    for (std::size_t i = 0; i < read->spec.layers.size(); ++i) {
        const auto& latent = std::get<LatentSpec>(read->spec.layers[i].mixer);
        const bool own = i < 2 || (i - 2) % 4 == 0; // {0, 1, 2, 6, 10, ... 74}
        QCOMPARE(latent.indexer.has_value(), own);
        QCOMPARE(latent.shares_choice, !own);
        QCOMPARE(kind_of(latent), MixerKind::Sparse);
        indexers += own ? 1 : 0;
    }
    QCOMPARE(indexers, 21);
    config["index_topk_pattern"] = QString("FS").repeated(39).toStdString();
    QVERIFY(latent_of(config, 1).shares_choice);
    QVERIFY(!latent_of(config, 2).shares_choice);
    config["index_topk_pattern"] = QString("S").repeated(78).toStdString();
    QVERIFY(error_of(config).contains("first layer has no indexer"));
    config["index_topk_pattern"] = "FX";
    QVERIFY(error_of(config).contains("indexer_types"));
}

void DeepseekTest::WhatIsNotSupportedIsRefused_data() {
    QTest::addColumn<QString>("key");
    QTest::addColumn<QString>("value");
    QTest::newRow("bias") << "attention_bias"
                          << "true";
    QTest::newRow("scores") << "scoring_func"
                            << "\"softmax\"";
    QTest::newRow("choice") << "topk_method"
                            << "\"greedy\"";
    QTest::newRow("every second") << "moe_layer_freq"
                                  << "2";
    QTest::newRow("groups") << "n_group"
                            << "7";
    QTest::newRow("kept") << "topk_group"
                          << "9";
    QTest::newRow("more than kept") << "num_experts_per_tok"
                                    << "129";
    QTest::newRow("too wide") << "qk_nope_head_dim"
                              << "9000";
    QTest::newRow("all too wide") << "v_head_dim"
                                  << "8192";
    QTest::newRow("no rank") << "kv_lora_rank"
                             << "0";
    QTest::newRow("odd rotation") << "qk_rope_head_dim"
                                  << "63";
    QTest::newRow("shared") << "n_shared_experts"
                            << "8000";
    QTest::newRow("unknown") << "attention_sink_size"
                             << "4";
    QTest::newRow("indexer") << "index_head_dim"
                             << "32";
    QTest::newRow("indexer order") << "indexer_rope_interleave"
                                   << "true";
}

void DeepseekTest::WhatIsNotSupportedIsRefused() {
    QFETCH(QString, key);
    QFETCH(QString, value);
    Json config = v32();
    config[key.toStdString()] = parse(value.toUtf8().constData());
    QVERIFY(!error_of(config).isEmpty());
}

QTEST_GUILESS_MAIN(DeepseekTest)
#include "deepseek_test.moc"
