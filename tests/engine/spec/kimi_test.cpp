// Settings of Kimi-Linear, Kimi K3 and OLMo-Hybrid that decide what is computed: which layers hold
// what, what is bounded and gated, and what is refused by name (delta.md sections 1.1, 5 and 8).

#include "engine/spec/families.h"
#include "tests/engine/spec/configs.h"

#include <QtTest>

#include <cmath>

using namespace hs;
using namespace hs::test;

namespace {

Json kimi_linear() {
    return parse(R"({"architectures": ["KimiLinearForCausalLM"], "model_type": "kimi_linear",
        "vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128,
        "moe_intermediate_size": 32, "num_hidden_layers": 5, "num_attention_heads": 4,
        "num_key_value_heads": 4, "head_dim": 72, "kv_lora_rank": 32, "q_lora_rank": null,
        "qk_rope_head_dim": 8, "v_head_dim": 16, "qk_nope_head_dim": 16, "mla_use_nope": true,
        "linear_attn_config": {"full_attn_layers": [4, 5], "kda_layers": [1, 2, 3],
            "head_dim": 16, "num_heads": 4, "short_conv_kernel_size": 4},
        "num_experts": 8, "num_experts_per_token": 2, "num_shared_experts": 1,
        "first_k_dense_replace": 1, "moe_layer_freq": 1, "moe_renormalize": true,
        "moe_router_activation_func": "sigmoid", "routed_scaling_factor": 2.446,
        "use_grouped_topk": true, "num_expert_group": 1, "topk_group": 1, "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0, "rope_scaling": null, "model_max_length": 1048576,
        "hidden_act": "silu", "tie_word_embeddings": false, "num_nextn_predict_layers": 0})");
}

Json kimi_k3() {
    Json text = kimi_linear();
    text["q_lora_rank"] = 24;
    text["mla_use_output_gate"] = true;
    text["linear_attn_config"]["gate_lower_bound"] = -5;
    text["linear_attn_config"]["use_full_rank_gate"] = true;
    text["routed_expert_hidden_size"] = 40;
    text["latent_moe_use_norm"] = true;
    text["hidden_act"] = "situ";
    text["activation_situ_beta"] = 4;
    text["activation_situ_linear_beta"] = 25;
    text["attn_res_block_size"] = 2;
    text["quantization_config"] = {{"quant_method", "compressed-tensors"},
                                   {"format", "mxfp4-pack-quantized"}};
    Json config = {{"architectures", {"KimiK3ForConditionalGeneration"}},
                   {"model_type", "kimi_k3"}};
    config["text_config"] = text;
    return config;
}

Json olmo_hybrid() {
    return parse(R"({"architectures": ["OlmoHybridForCausalLM"], "model_type": "olmo_hybrid",
        "vocab_size": 1000, "hidden_size": 60, "intermediate_size": 90, "num_hidden_layers": 8,
        "num_attention_heads": 6, "linear_allow_neg_eigval": true, "rope_parameters": null,
        "rope_theta": null, "rms_norm_eps": 1e-06, "tie_word_embeddings": false})");
}

std::string kinds(const ModelSpec& spec) {
    std::string letters;
    for (const LayerSpec& layer : spec.layers) {
        letters += letter(kind_of(layer.mixer));
    }
    return letters;
}

} // namespace

class KimiTest : public QObject {
    Q_OBJECT

private slots:
    void LayersAreCountedFromOne();
    void NothingIsRotated();
    void ThreeBoundsGatesAndPutsStreamsAside();
    void ThreeReadsPackedExpertsAndFusedResiduals();
    void OlmoNormsBehindAttentionAndBeforeTheRest();
    void OlmoRotatesOnlyWhereThetaIsSet();
    void WhatCannotRunIsRefusedByName_data();
    void WhatCannotRunIsRefusedByName();
};

void KimiTest::LayersAreCountedFromOne() {
    const auto read = read_config(kimi_linear());
    QVERIFY2(read.ok(), read.ok() ? "" : read.error().text().c_str());
    const char kda = letter(MixerKind::Kda);
    const char latent = letter(MixerKind::Latent);
    QCOMPARE(kinds(read->spec), (std::string{kda, kda, kda, latent, latent}));
    QVERIFY(std::holds_alternative<DenseSpec>(read->spec.layers[0].channel));
    QVERIFY(std::holds_alternative<MoeSpec>(read->spec.layers[1].channel));
    QCOMPARE(read->spec.context_length, std::int64_t{1048576});
}

void KimiTest::NothingIsRotated() {
    const auto read = read_config(kimi_linear());
    QVERIFY(read.ok());
    const auto& latent = std::get<LatentSpec>(read->spec.layers[3].mixer);
    QCOMPARE(latent.rope.dims, std::int64_t{0});
    QCOMPARE(latent.rope_dim, std::int64_t{8}); // raw, but part of the key
    QCOMPARE(latent.scale, 1.0 / std::sqrt(24.0));
    QCOMPARE(latent.latent_norm_eps, 1e-6); // not rms_norm_eps
}

void KimiTest::ThreeBoundsGatesAndPutsStreamsAside() {
    const auto read = read_config(kimi_k3());
    QVERIFY2(read.ok(), read.ok() ? "" : read.error().text().c_str());
    QCOMPARE(read->spec.family, std::string("kimi-k3"));
    QCOMPARE(read->spec.residual_block, std::int64_t{2});
    const auto& kda = std::get<KdaSpec>(read->spec.layers[0].mixer);
    QCOMPARE(kda.decay_bound, -5.0);
    QCOMPARE(kda.gate_rank, std::int64_t{0});
    const auto& latent = std::get<LatentSpec>(read->spec.layers[3].mixer);
    QVERIFY(latent.output_gate);
    QCOMPARE(latent.query_rank, std::int64_t{24});
    const auto& moe = std::get<MoeSpec>(read->spec.layers[1].channel);
    QCOMPARE(moe.latent, std::int64_t{40});
    QVERIFY(moe.latent_norm && moe.glu.kind == GluSpec::Kind::Situ);
    QVERIFY(std::get<DenseSpec>(read->spec.layers[0].channel).glu.kind == GluSpec::Kind::Situ);
}

void KimiTest::ThreeReadsPackedExpertsAndFusedResiduals() {
    const auto read = read_config(kimi_k3());
    QVERIFY(read.ok());
    const auto residual = read->tensors("residual.channel.3");
    QVERIFY(residual.ok());
    QCOMPARE(residual->name, std::string("language_model.model.layers.3.mlp_res_proj.weight"));
    QCOMPARE(residual->factor, std::string("language_model.model.layers.3.mlp_res_norm.weight"));
    const auto output = read->tensors("output");
    QVERIFY(output.ok());
    QCOMPARE(output->name, std::string("language_model.lm_head.weight"));
}

void KimiTest::OlmoNormsBehindAttentionAndBeforeTheRest() {
    const auto read = read_config(olmo_hybrid());
    QVERIFY2(read.ok(), read.ok() ? "" : read.error().text().c_str());
    const LayerSpec& linear = read->spec.layers[2];
    const LayerSpec& full = read->spec.layers[3];
    QVERIFY(linear.mixer_join.norm_before && !linear.channel_join.norm_after);
    QVERIFY(!full.mixer_join.norm_before && full.channel_join.norm_after);
    const auto& delta = std::get<GatedDeltaSpec>(linear.mixer);
    QCOMPARE(delta.beta_scale, 2.0);
    QCOMPARE(delta.norm_eps, 1e-5);
    QCOMPARE(delta.key_dim, std::int64_t{7}); // three quarters of a head's width, rounded down
    QCOMPARE(delta.value_dim, std::int64_t{14});
    QVERIFY(std::get<SoftmaxSpec>(full.mixer).qk_norm == QkNorm::AllHeads);
}

void KimiTest::OlmoRotatesOnlyWhereThetaIsSet() {
    const auto dims = [](const Json& config) {
        const auto read = read_config(config);
        return read.ok() ? std::get<SoftmaxSpec>(read->spec.layers[3].mixer).rope.dims : -1;
    };
    Json config = olmo_hybrid();
    QCOMPARE(dims(config), std::int64_t{0});
    config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", nullptr}};
    QCOMPARE(dims(config), std::int64_t{0});
    config["rope_parameters"]["rope_theta"] = 5e5;
    QCOMPARE(dims(config), std::int64_t{10});
}

void KimiTest::WhatCannotRunIsRefusedByName_data() {
    QTest::addColumn<QByteArray>("key");
    QTest::addColumn<QByteArray>("value");
    QTest::newRow("rotation") << QByteArray("mla_use_nope") << QByteArray("false");
    QTest::newRow("biases") << QByteArray("attention_bias") << QByteArray("true");
    QTest::newRow("fewer keys") << QByteArray("num_key_value_heads") << QByteArray("2");
    QTest::newRow("activation") << QByteArray("hidden_act") << QByteArray("\"gelu\"");
    QTest::newRow("router") << QByteArray("moe_router_activation_func") << QByteArray("\"tanh\"");
    QTest::newRow("unknown") << QByteArray("attn_gate_scale") << QByteArray("2.0");
    QTest::newRow("unknown, inside")
        << QByteArray("linear_attn_config/conv_bias") << QByteArray("true");
    QTest::newRow("bound") << QByteArray("linear_attn_config/gate_lower_bound")
                           << QByteArray("5.0");
    QTest::newRow("a layer missing")
        << QByteArray("linear_attn_config/kda_layers") << QByteArray("[1, 2]");
    QTest::newRow("a layer twice")
        << QByteArray("linear_attn_config/full_attn_layers") << QByteArray("[3, 4, 5]");
}

void KimiTest::WhatCannotRunIsRefusedByName() {
    QFETCH(QByteArray, key);
    QFETCH(QByteArray, value);
    Json config = kimi_linear();
    const qsizetype slash = key.indexOf('/');
    const std::string inner = key.mid(slash + 1).toStdString();
    Json& object = slash < 0 ? config : config["linear_attn_config"];
    object[inner] = parse(value.constData());
    const auto read = read_config(config);
    QVERIFY(!read.ok());
    QVERIFY2(read.error().text().find(inner) != std::string::npos, read.error().text().c_str());
}

QTEST_GUILESS_MAIN(KimiTest)
#include "kimi_test.moc"
