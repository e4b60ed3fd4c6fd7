// MiMo-V2, gpt-oss, Gemma 3 and MiniMax-M2: released configurations become the layers they
// describe, and what these families do not know is refused by name.

#include "engine/backend/backend.h"
#include "engine/spec/families.h"
#include "tests/engine/spec/configs.h"

#include <QtTest>

#include <cmath>

using namespace hs;
using namespace hs::test;

namespace {

ModelSpec spec_of(const Json& config) {
    auto read = read_config(config);
    if (!read.ok()) {
        qFatal("%s", read.error().text().c_str());
    }
    return std::move(read->spec);
}

const SoftmaxSpec& mixer(const ModelSpec& spec, std::size_t layer) {
    return std::get<SoftmaxSpec>(spec.layers[layer].mixer);
}

Json mimo() {
    return parse(R"({"architectures": ["MiMoV2FlashForCausalLM"], "model_type": "mimo_v2_flash",
        "hidden_size": 4096, "num_hidden_layers": 4, "num_attention_heads": 64,
        "swa_num_attention_heads": 64, "num_key_value_heads": 4, "swa_num_key_value_heads": 8,
        "head_dim": 192, "v_head_dim": 128, "swa_head_dim": 192, "swa_v_head_dim": 128,
        "partial_rotary_factor": 0.334, "rope_theta": 5000000, "swa_rope_theta": 10000,
        "sliding_window": 128, "sliding_window_size": 128, "attention_chunk_size": 128,
        "hybrid_layer_pattern": [0, 1, 1, 0], "moe_layer_freq": [0, 1, 1, 1],
        "hybrid_block_size": null, "add_swa_attention_sink_bias": true,
        "add_full_attention_sink_bias": false, "attention_value_scale": 0.707,
        "intermediate_size": 16384, "moe_intermediate_size": 2048, "n_routed_experts": 256,
        "num_experts_per_tok": 8, "n_shared_experts": null, "scoring_func": "sigmoid",
        "topk_method": "noaux_tc", "n_group": 1, "topk_group": 1, "norm_topk_prob": true,
        "routed_scaling_factor": null, "layernorm_epsilon": 1e-05, "attention_bias": false,
        "attention_dropout": 0.0, "tie_word_embeddings": false, "vocab_size": 152576,
        "max_position_embeddings": 262144, "hidden_act": "silu",
        "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3",
            "quant_method": "fp8", "weight_block_size": [128, 128]}})");
}

Json gpt_oss() {
    return parse(R"({"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss",
        "num_hidden_layers": 24, "num_local_experts": 32, "num_experts_per_tok": 4,
        "experts_per_token": 4, "vocab_size": 201088, "hidden_size": 2880,
        "intermediate_size": 2880, "head_dim": 64, "num_attention_heads": 64,
        "num_key_value_heads": 8, "sliding_window": 128, "initial_context_length": 4096,
        "rope_theta": 150000, "rope_scaling": {"rope_type": "yarn", "factor": 32.0,
            "beta_fast": 32.0, "beta_slow": 1.0, "truncate": false,
            "original_max_position_embeddings": 4096},
        "rms_norm_eps": 1e-05, "swiglu_limit": 7.0, "hidden_act": "silu",
        "attention_bias": true, "max_position_embeddings": 131072, "router_aux_loss_coef": 0.9,
        "output_router_logits": false, "tie_word_embeddings": false,
        "quantization_config": {"quant_method": "mxfp4",
            "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}})");
}

// As published: most of it left to the model class.
Json gemma() {
    return parse(R"({"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3",
        "boi_token_index": 255999, "eoi_token_index": 256000, "eos_token_id": [1, 106],
        "image_token_index": 262144, "initializer_range": 0.02, "mm_tokens_per_image": 256,
        "text_config": {"hidden_size": 2560, "intermediate_size": 10240,
            "model_type": "gemma3_text", "num_hidden_layers": 34,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024},
        "torch_dtype": "bfloat16",
        "vision_config": {"hidden_size": 1152, "model_type": "siglip_vision_model"}})");
}

Json minimax() {
    return parse(R"({"architectures": ["MiniMaxM2ForCausalLM"], "model_type": "minimax_m2",
        "attention_dropout": 0.0, "attn_type_list": [1, 1, 1], "bos_token_id": null,
        "head_dim": 128, "hidden_act": "silu", "hidden_size": 3072, "intermediate_size": 1536,
        "layernorm_full_attention_beta": 1.0, "layernorm_linear_attention_beta": 1.0,
        "layernorm_mlp_beta": 1.0, "max_position_embeddings": 196608,
        "mlp_intermediate_size": 8192, "mtp_transformer_layers": 1, "num_attention_heads": 48,
        "num_experts_per_tok": 8, "num_hidden_layers": 3, "num_key_value_heads": 8,
        "num_local_experts": 256, "num_mtp_modules": 3, "output_router_logits": false,
        "qk_norm_type": "per_layer", "rms_norm_eps": 1e-06, "rope_theta": 5000000,
        "rotary_dim": 64, "router_jitter_noise": 0.0, "scoring_func": "sigmoid",
        "shared_intermediate_size": 0, "shared_moe_mode": "sigmoid", "sliding_window": null,
        "tie_word_embeddings": false, "use_mtp": true, "use_qk_norm": true,
        "use_routing_bias": true, "vocab_size": 200064,
        "quantization_config": {"activation_scheme": "dynamic", "fmt": "float8_e4m3fn",
            "quant_method": "fp8", "weight_block_size": [128, 128],
            "modules_to_not_convert": ["gate", "e_score_correction_bias", "lm_head"]}})");
}

Json by_name(const QString& name) {
    return name == "mimo"      ? mimo()
           : name == "gpt-oss" ? gpt_oss()
           : name == "gemma"   ? gemma()
                               : minimax();
}

} // namespace

class SoftmaxFamiliesTest : public QObject {
    Q_OBJECT

private slots:
    void MimoLayersDifferByKind();
    void MimoWindowsAreTheKeysSeen();
    void GptOssSlidesEverySecondLayerWithSinks();
    void GptOssYarnIsNotRounded();
    void GemmaTakesWhatItsClassTakes();
    void GemmaRotationsAreSpelledInTwoWays();
    void MinimaxNormsAllHeadsAndRotatesAPart();
    void UnknownSettingsAreRefused_data();
    void UnknownSettingsAreRefused();
    void HostileSettingsAreErrors();
};

void SoftmaxFamiliesTest::MimoLayersDifferByKind() {
    const ModelSpec spec = spec_of(mimo());
    QCOMPARE(spec.layers.size(), std::size_t{4});
    QCOMPARE(spec.norm_eps, 1e-5);
    for (std::size_t i = 0; i < 4; ++i) {
        const bool slides = i == 1 || i == 2;
        const SoftmaxSpec& s = mixer(spec, i);
        QCOMPARE(s.query_heads, std::int64_t{64});
        QCOMPARE(s.kv_heads, std::int64_t{slides ? 8 : 4});
        QCOMPARE(s.head_dim, std::int64_t{192});
        QCOMPARE(s.value_head_dim, std::int64_t{128});
        QCOMPARE(s.window, std::int64_t{slides ? 128 : 0});
        QCOMPARE(s.sinks, slides);
        QCOMPARE(s.rope.dims, std::int64_t{64});
        QCOMPARE(s.rope.theta, slides ? 1e4 : 5e6);
        QCOMPARE(s.value_scale, 0.707);
        QCOMPARE(std::holds_alternative<DenseSpec>(spec.layers[i].channel), i == 0);
    }
    const auto& moe = std::get<MoeSpec>(spec.layers[1].channel);
    QCOMPARE(moe.weight_scale, 1.0);
    QVERIFY(moe.choice_bias && moe.score == MoeSpec::Score::Sigmoid);

    // transformers leaves the sliding layers' KV heads to be twice the others'.
    Json own = mimo();
    own.erase("swa_num_key_value_heads");
    QCOMPARE(mixer(spec_of(own), 1).kv_heads, std::int64_t{8});
    own["swa_num_key_value_heads"] = 4;
    QCOMPARE(mixer(spec_of(own), 1).kv_heads, std::int64_t{4});
    own["attention_value_scale"] = nullptr;
    QCOMPARE(mixer(spec_of(own), 1).value_scale, 1.0);
}

void SoftmaxFamiliesTest::MimoWindowsAreTheKeysSeen() {
    Json config = mimo();
    config["sliding_window"] = 129; // as transformers writes a size of 128
    QCOMPARE(mixer(spec_of(config), 1).window, std::int64_t{129});
    config["sliding_window"] = 200;
    const auto read = read_config(config);
    QVERIFY(!read.ok());
    QVERIFY(read.error().what.find("sliding_window_size") != std::string::npos);
}

void SoftmaxFamiliesTest::GptOssSlidesEverySecondLayerWithSinks() {
    const ModelSpec spec = spec_of(gpt_oss());
    QCOMPARE(spec.layers.size(), std::size_t{24});
    for (std::size_t i = 0; i < 24; ++i) {
        const SoftmaxSpec& s = mixer(spec, i);
        QCOMPARE(s.window, std::int64_t{i % 2 == 0 ? 128 : 0});
        QVERIFY(s.sinks && s.qkv_bias && s.output_bias);
    }
    const auto& moe = std::get<MoeSpec>(spec.layers[0].channel);
    QCOMPARE(moe.score, MoeSpec::Score::SoftmaxOfChosen);
    QCOMPARE(moe.glu.kind, GluSpec::Kind::Clamped);
    QVERIFY(moe.router_bias && moe.expert_bias);
    // 20.9 billion parameters, 3.6 of them active.
    const ParameterCount count = count_parameters(spec);
    QVERIFY(std::abs(static_cast<double>(count.total) - 20.9e9) < 0.1e9);
    QVERIFY(std::abs(static_cast<double>(count.active) - 3.6e9) < 0.6e9);
}

void SoftmaxFamiliesTest::GptOssYarnIsNotRounded() {
    const SoftmaxSpec s = mixer(spec_of(gpt_oss()), 0);
    QVERIFY(!s.rope.scaling.truncate);
    QVERIFY(std::abs(s.rope.scaling.attention_factor - 1.3465736) < 1e-6);
    // The ramp lies between 8.0928 and 17.3980 (softmax.md section 1.3).
    const RopeTable table = make_rope_table(s.rope);
    for (std::size_t i = 0; i < table.inverse_frequency.size(); ++i) {
        const double plain = std::pow(150000.0, -2.0 * static_cast<double>(i) / 64.0);
        const double ramp =
            std::clamp((static_cast<double>(i) - 8.0928) / (17.3980 - 8.0928), 0.0, 1.0);
        const double want = ramp * plain / 32.0 + (1.0 - ramp) * plain;
        QVERIFY(std::abs(table.inverse_frequency[i] - want) < 1e-4 * want);
    }
}

void SoftmaxFamiliesTest::GemmaTakesWhatItsClassTakes() {
    const ModelSpec spec = spec_of(gemma());
    QCOMPARE(spec.vocab, std::int64_t{262208});
    QVERIFY(spec.tied_embedding);
    QCOMPARE(spec.embedding_scale, std::sqrt(2560.0));
    QCOMPARE(spec.layers.size(), std::size_t{34});
    for (std::size_t i = 0; i < 34; ++i) {
        const SoftmaxSpec& s = mixer(spec, i);
        const bool full = i % 6 == 5;
        QCOMPARE(s.window, std::int64_t{full ? 0 : 1024});
        QCOMPARE(s.query_heads, std::int64_t{8});
        QCOMPARE(s.kv_heads, std::int64_t{4});
        QCOMPARE(s.head_dim, std::int64_t{256});
        QCOMPARE(s.scale, 1.0 / 16.0);
        QCOMPARE(s.rope.theta, full ? 1e6 : 1e4);
        QCOMPARE(s.rope.scaling.kind, full ? RopeScaling::Kind::Linear : RopeScaling::Kind::None);
        QVERIFY(spec.layers[i].mixer_join.norm_after && spec.layers[i].channel_join.norm_after);
    }
    QVERIFY(std::abs(static_cast<double>(count_parameters(spec).total) - 3.88e9) < 0.01e9);
}

void SoftmaxFamiliesTest::GemmaRotationsAreSpelledInTwoWays() {
    Json config = gemma();
    Json& text = config["text_config"];
    text.erase("rope_scaling");
    text["rope_parameters"] = parse(R"({
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}})");
    text["layer_types"] = Json::array();
    for (int i = 0; i < 34; ++i) {
        text["layer_types"].push_back(i % 6 == 5 ? "full_attention" : "sliding_attention");
    }
    QCOMPARE(spec_of(config).layers, spec_of(gemma()).layers);
}

void SoftmaxFamiliesTest::MinimaxNormsAllHeadsAndRotatesAPart() {
    const ModelSpec spec = spec_of(minimax());
    const SoftmaxSpec& s = mixer(spec, 2);
    QCOMPARE(s.qk_norm, QkNorm::AllHeads);
    QCOMPARE(s.rope.dims, std::int64_t{64});
    QCOMPARE(s.rope.theta, 5e6);
    QCOMPARE(s.window, std::int64_t{0});
    const auto& moe = std::get<MoeSpec>(spec.layers[0].channel);
    QCOMPARE(moe.score, MoeSpec::Score::Sigmoid);
    QVERIFY(moe.choice_bias && moe.normalise_top_k);
    Json own = minimax();
    own.erase("rotary_dim");
    QCOMPARE(mixer(spec_of(own), 0).rope.dims, std::int64_t{128});
    own["rope_parameters"] =
        parse(R"({"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25})");
    QCOMPARE(mixer(spec_of(own), 0).rope.dims, std::int64_t{32});
}

void SoftmaxFamiliesTest::UnknownSettingsAreRefused_data() {
    QTest::addColumn<QString>("family");
    QTest::addColumn<QString>("key");
    QTest::addColumn<QString>("value");
    const auto row = [](const char* family, const char* key, const char* value) {
        QTest::addRow("%s, %s", family, key) << family << key << value;
    };
    row("mimo", "scoring_func", "\"softmax\"");
    row("mimo", "topk_method", "\"greedy\"");
    row("mimo", "n_shared_experts", "1");
    row("mimo", "attention_projection_layout", "\"interleaved\"");
    row("mimo", "hybrid_layer_pattern", "[0, 1]");
    row("mimo", "rope_scaling", "{\"rope_type\": \"yarn\", \"factor\": 4.0}");
    row("mimo", "swa_num_key_value_heads", "5");
    row("mimo", "attn_logit_softcapping", "30.0");
    row("gpt-oss", "layer_types", "[\"linear_attention\"]");
    row("gpt-oss", "swiglu_limit", "-1");
    row("gpt-oss", "hidden_act", "\"gelu\"");
    row("gpt-oss", "sliding_window", "0");
    row("gpt-oss", "residual_multiplier", "0.5");
    row("minimax", "qk_norm_type", "\"per_head\"");
    row("minimax", "use_qk_norm", "false");
    row("minimax", "shared_intermediate_size", "128");
    row("minimax", "attn_type_list", "[1, 0, 1]");
    row("minimax", "layernorm_mlp_beta", "2.0");
    row("minimax", "rotary_dim", "129");
    row("gemma", "hidden_activation", "\"silu\"");
    row("gemma", "query_pre_attn_scalar", "0");
    row("gemma", "attn_logit_softcapping", "50.0");
    row("gemma", "use_bidirectional_attention", "true");
    row("gemma", "layer_types", "[\"full_attention\"]");
}

void SoftmaxFamiliesTest::UnknownSettingsAreRefused() {
    QFETCH(QString, family);
    QFETCH(QString, key);
    QFETCH(QString, value);
    Json config = by_name(family);
    QVERIFY(read_config(config).ok());
    Json& settings = family == "gemma" ? config["text_config"] : config;
    settings[key.toStdString()] = parse(qPrintable(value));
    const auto read = read_config(config);
    QVERIFY(!read.ok());
    const std::string named = key == "swa_num_key_value_heads" ? "KV heads" : key.toStdString();
    QVERIFY2(read.error().text().find(named) != std::string::npos, read.error().text().c_str());
}

void SoftmaxFamiliesTest::HostileSettingsAreErrors() {
    const Json hostile = parse(R"([null, true, -1, 0, 1, 3, 1000000007, 9223372036854775807,
        18446744073709551615, 1e308, -0.5, "", "x", [], [[1]], [-1], {}, {"a": {"b": []}},
        {"rope_type": "yarn", "factor": 0}, {"full_attention": 3, "sliding_attention": []}])");
    int refused = 0;
    for (const char* family : {"mimo", "gpt-oss", "gemma", "minimax"}) {
        const Json plain = by_name(family);
        const bool wrapped = plain.contains("text_config");
        const Json settings = wrapped ? plain["text_config"] : plain;
        std::vector<std::string> keys{"rope_parameters", "layer_types", "rope_theta"};
        for (const auto& [key, value] : settings.items()) {
            keys.push_back(key);
        }
        for (const std::string& key : keys) {
            for (const Json& value : hostile) {
                Json config = plain;
                (wrapped ? config["text_config"] : config)[key] = value;
                const auto read = read_config(config); // an error or a spec, and no more
                refused += read.ok() ? 0 : 1;
                if (read.ok()) {
                    for (const LayerSpec& layer : read->spec.layers) {
                        const auto& s = std::get<SoftmaxSpec>(layer.mixer);
                        QVERIFY(s.kv_heads > 0 && s.query_heads % s.kv_heads == 0);
                        QVERIFY(s.rope.dims <= s.head_dim && s.rope.dims % 2 == 0);
                        QVERIFY(std::isfinite(s.scale) && s.window >= 0);
                    }
                }
            }
        }
    }
    QVERIFY(refused > 1000);
}

QTEST_GUILESS_MAIN(SoftmaxFamiliesTest)
#include "softmax_families_test.moc"
