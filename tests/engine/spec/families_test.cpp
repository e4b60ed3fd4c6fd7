// Published configurations become the specs they describe, whichever way they are spelled; what a
// family does not know is refused by name.

#include "engine/spec/families.h"
#include "engine/spec/ratio.h"
#include "tests/engine/spec/configs.h"
#include "tests/support/tiny_gguf.h"

#include <QTemporaryDir>
#include <QtTest>

#include <fstream>

using namespace hs;
using namespace hs::test;

namespace {

Json qwen3() {
    return parse(R"({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3",
        "hidden_size": 1024, "num_hidden_layers": 28, "num_attention_heads": 16,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 3072,
        "vocab_size": 151936, "max_position_embeddings": 40960, "rms_norm_eps": 1e-06,
        "rope_theta": 1000000, "rope_scaling": null, "tie_word_embeddings": true,
        "hidden_act": "silu", "attention_bias": false, "attention_dropout": 0.0,
        "use_sliding_window": false, "sliding_window": null, "max_window_layers": 28,
        "bos_token_id": 151643, "eos_token_id": 151645, "use_cache": true,
        "torch_dtype": "bfloat16", "transformers_version": "4.51.0",
        "initializer_range": 0.02})");
}

Json qwen35() {
    return parse(R"({"architectures": ["Qwen3_5ForConditionalGeneration"],
        "model_type": "qwen3_5", "image_token_id": 248056, "tie_word_embeddings": false,
        "text_config": {"model_type": "qwen3_5_text", "hidden_size": 5120,
            "num_hidden_layers": 64, "num_attention_heads": 24, "num_key_value_heads": 4,
            "head_dim": 256, "intermediate_size": 17408, "vocab_size": 248320,
            "full_attention_interval": 4, "linear_num_key_heads": 16,
            "linear_num_value_heads": 48, "linear_key_head_dim": 128,
            "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4,
            "mamba_ssm_dtype": "float32", "attn_output_gate": true, "mtp_num_hidden_layers": 1,
            "mtp_use_dedicated_embeddings": false, "max_position_embeddings": 262144,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000000,
                "partial_rotary_factor": 0.25, "mrope_section": [11, 11, 10],
                "mrope_interleaved": true}},
        "vision_config": {"depth": 27, "hidden_size": 1152}})");
}

Json qwen3_next() {
    return parse(R"({"architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next",
        "hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 16,
        "num_key_value_heads": 2, "head_dim": 256, "intermediate_size": 5120,
        "vocab_size": 151936, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
        "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4,
        "num_experts": 512, "num_experts_per_tok": 10, "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512, "norm_topk_prob": true, "decoder_sparse_step": 1,
        "mlp_only_layers": [], "partial_rotary_factor": 0.25, "rope_theta": 10000000,
        "max_position_embeddings": 262144, "full_attention_interval": 4, "rope_scaling": null,
        "output_router_logits": false, "router_aux_loss_coef": 0.001})");
}

Json llama() {
    return parse(R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32,
        "num_key_value_heads": 8, "intermediate_size": 8192, "vocab_size": 128256,
        "max_position_embeddings": 131072, "rms_norm_eps": 1e-05, "rope_theta": 500000.0,
        "rope_scaling": {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        "tie_word_embeddings": true, "pretraining_tp": 1, "mlp_bias": false})");
}

QString error_of(const Json& config) {
    const auto result = read_config(config);
    return result.ok() ? QString() : QString::fromStdString(result.error().text());
}

} // namespace

class FamiliesTest : public QObject {
    Q_OBJECT

private slots:
    void PublishedConfigurationsAreRead();
    void ParametersAreThoseOfThePublishedModels();
    void RopeIsFoundWhereverItIsSpelled();
    void ScheduleComesFromTypesOrInterval();
    void SchedulesAreDescribed();
    void UnknownForwardSettingsAreRefused_data();
    void UnknownForwardSettingsAreRefused();
    void HarmlessSettingsAreLeftOut();
    void HostileSettingsAreErrors();
    void UnknownArchitecturesNameTheKnown();
    void GgufKeysGiveTheSameSpec();
    void TensorNamesFollowTheCheckpoint();
};

void FamiliesTest::PublishedConfigurationsAreRead() {
    const auto dense = read_config(qwen3());
    QVERIFY(dense.ok());
    QCOMPARE(dense->spec.family, std::string("qwen3"));
    QCOMPARE(dense->spec.layers.size(), std::size_t{28});
    QVERIFY(dense->spec.tied_embedding);
    const auto& attention = std::get<SoftmaxSpec>(dense->spec.layers[5].mixer);
    QCOMPARE(attention.qk_norm, QkNorm::PerHead);
    QCOMPARE(attention.rope.dims, std::int64_t{128});
    QCOMPARE(attention.rope.theta, 1e6);
    QVERIFY(!attention.output_gate);

    const auto hybrid = read_config(qwen35());
    QVERIFY(hybrid.ok());
    QCOMPARE(hybrid->spec.family, std::string("qwen3.5"));
    const auto& delta = std::get<GatedDeltaSpec>(hybrid->spec.layers[0].mixer);
    QCOMPARE(delta.value_heads, std::int64_t{48});
    QCOMPARE(delta.head_map, HeadMap::Grouped);
    const auto& gated = std::get<SoftmaxSpec>(hybrid->spec.layers[3].mixer);
    QVERIFY(gated.output_gate);
    QCOMPARE(gated.rope.dims, std::int64_t{64});
    QCOMPARE(gated.rope.theta, 1e7);
    QCOMPARE(gated.scale, 1.0 / 16);

    const auto next = read_config(qwen3_next());
    QVERIFY(next.ok());
    const auto& moe = std::get<MoeSpec>(next->spec.layers[0].channel);
    QCOMPARE(moe.experts, std::int64_t{512});
    QVERIFY(moe.shared_gate && moe.normalise_top_k);

    const auto small = read_config(llama());
    QVERIFY(small.ok());
    const auto& plain = std::get<SoftmaxSpec>(small->spec.layers[0].mixer);
    QCOMPARE(plain.head_dim, std::int64_t{64});
    QCOMPARE(plain.rope.scaling.kind, RopeScaling::Kind::Llama3);
    QCOMPARE(plain.rope.scaling.original_context, std::int64_t{8192});
}

void FamiliesTest::ParametersAreThoseOfThePublishedModels() {
    const auto in_millions = [](std::int64_t n) { return (n + 500000) / 1000000; };
    QCOMPARE(in_millions(count_parameters(read_config(qwen3())->spec).total), std::int64_t{596});
    QCOMPARE(in_millions(count_parameters(read_config(llama())->spec).total), std::int64_t{1236});
    const ParameterCount next = count_parameters(read_config(qwen3_next())->spec);
    QVERIFY(next.total > 79'000'000'000 && next.total < 80'500'000'000); // 80B
    QVERIFY(next.active > 3'000'000'000 && next.active < 4'100'000'000); // A3B
    const ParameterCount big = count_parameters(read_config(qwen35())->spec);
    QVERIFY(big.total > 26'500'000'000 && big.total < 27'500'000'000); // 27B
    QCOMPARE(big.total, big.active + 248320LL * 5120 - 5120);
}

void FamiliesTest::RopeIsFoundWhereverItIsSpelled() {
    Json config = qwen3_next();
    const auto at_top = read_config(config);
    config.erase("rope_theta");
    config.erase("partial_rotary_factor");
    config["rope_parameters"] =
        parse(R"({"rope_type": "default", "rope_theta": 10000000, "partial_rotary_factor": 0.25})");
    const auto nested = read_config(config);
    QVERIFY(at_top.ok() && nested.ok());
    QVERIFY(at_top->spec.layers == nested->spec.layers);

    Json scaled = qwen3();
    scaled["rope_scaling"] =
        parse(R"({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768})");
    const auto yarn = read_config(scaled);
    QVERIFY(yarn.ok());
    const RopeScaling& scaling = std::get<SoftmaxSpec>(yarn->spec.layers[0].mixer).rope.scaling;
    QCOMPARE(scaling.kind, RopeScaling::Kind::Yarn);
    QVERIFY(std::abs(scaling.attention_factor - 1.1386294) < 1e-6);
    scaled["rope_scaling"]["rope_type"] = "longrope";
    QVERIFY(error_of(scaled).contains("longrope"));
    scaled["rope_scaling"] = parse(R"({"rope_type": "linear"})");
    QVERIFY(error_of(scaled).contains("factor"));
}

void FamiliesTest::ScheduleComesFromTypesOrInterval() {
    Json config = qwen3_next();
    const auto by_interval = read_config(config);
    QCOMPARE(ratio_of(by_interval->spec).text, std::string("1:3"));
    QCOMPARE(kind_of(by_interval->spec.layers[3].mixer), MixerKind::FullAttention);
    QCOMPARE(kind_of(by_interval->spec.layers[4].mixer), MixerKind::GatedDelta);
    config.erase("full_attention_interval");
    QVERIFY(read_config(config)->spec.layers == by_interval->spec.layers);
    config["num_hidden_layers"] = 3;
    config["layer_types"] = {"full_attention", "linear_attention", "full_attention"};
    const auto by_types = read_config(config);
    QVERIFY(by_types.ok());
    QCOMPARE(ratio_of(by_types->spec).text, std::string("2:1"));
    config["layer_types"] = {"full_attention"};
    QVERIFY(error_of(config).contains("expected 3 entries, found 1"));
    config["layer_types"] = {"full_attention", "linear_attention", "mamba"};
    QVERIFY(error_of(config).contains("mamba"));

    config = qwen3();
    config["use_sliding_window"] = true;
    config["sliding_window"] = 512;
    config["max_window_layers"] = 20;
    const auto windowed = read_config(config);
    QVERIFY(windowed.ok());
    QCOMPARE(ratio_of(windowed->spec).text, std::string("5:2"));
    QCOMPARE(std::get<SoftmaxSpec>(windowed->spec.layers[20].mixer).window, std::int64_t{512});
    QCOMPARE(std::get<SoftmaxSpec>(windowed->spec.layers[19].mixer).window, std::int64_t{0});

    config = qwen3_next();
    config["mlp_only_layers"] = {1, 2};
    const auto some_dense = read_config(config);
    QVERIFY(std::holds_alternative<DenseSpec>(some_dense->spec.layers[1].channel));
    QVERIFY(std::holds_alternative<MoeSpec>(some_dense->spec.layers[3].channel));
}

void FamiliesTest::SchedulesAreDescribed() {
    QCOMPARE(describe_schedule(read_config(qwen3())->spec), std::string("28 full attention"));
    QCOMPARE(describe_schedule(read_config(qwen3_next())->spec),
             std::string("1:3 (12 full attention, 36 gated delta)"));
    ModelSpec none;
    none.layers.resize(3, LayerSpec{GatedDeltaSpec{}, DenseSpec{}});
    QCOMPARE(describe_schedule(none), std::string("3 gated delta"));
    QCOMPARE(ratio_of(none).text, std::string("none full"));
    QCOMPARE(letter(MixerKind::GatedDelta), 'D');
}

void FamiliesTest::UnknownForwardSettingsAreRefused_data() {
    QTest::addColumn<QString>("key");
    QTest::addColumn<QString>("value");
    const auto row = [](const char* key, const char* value) {
        QTest::newRow(key) << QString(key) << QString(value);
    };
    row("attn_logit_softcapping", "30.0");
    row("hidden_act", "\"gelu\"");
    row("partial_rotary_factor", "0.5");
    row("logits_scaling", "8.0");
    row("residual_multiplier", "0.22");
    row("q_lora_rank", "1536");
    row("n_group", "8");
    row("attention_sink_bias", "true");
    row("use_qk_norm", "true");
    row("quantization_config", "{\"quant_method\": \"gptq\", \"bits\": 4}");
}

void FamiliesTest::UnknownForwardSettingsAreRefused() {
    QFETCH(QString, key);
    QFETCH(QString, value);
    Json config = qwen3();
    config[key.toStdString()] = parse(value.toStdString().c_str());
    const auto result = read_config(config);
    QVERIFY(!result.ok());
    QCOMPARE(result.error().code, ErrorCode::Unsupported);
    const QString text = QString::fromStdString(result.error().text());
    QVERIFY2(text.contains(key) || text.contains("quant_method"), qPrintable(text));
    QVERIFY2(text.contains("expected"), qPrintable(text));
    // Switched off, the same key is nothing to mind.
    if (!key.startsWith("hidden") && !key.startsWith("partial")) {
        config[key.toStdString()] = nullptr;
        QVERIFY2(read_config(config).ok(), qPrintable(error_of(config)));
    }
}

void FamiliesTest::HarmlessSettingsAreLeftOut() {
    Json config = qwen3();
    config["unsloth_fixed"] = true;
    config["my_note"] = "trained at home";
    config["pad_token_id"] = 5;
    config["id2label"] = {{"0", "LABEL_0"}};
    config["num_nextn_predict_layers"] = 1;
    config["_attn_implementation_autoset"] = true;
    config["attn_logit_softcapping"] = 0;
    QVERIFY2(read_config(config).ok(), qPrintable(error_of(config)));
}

void FamiliesTest::HostileSettingsAreErrors() {
    const std::vector<Json> values{-1,     0,   Json(1e300),         Json("64"), Json::array(),
                                   Json{}, 1.5, 4611686018427387904, true,       Json::object()};
    for (const char* key : {"hidden_size",
                            "num_hidden_layers",
                            "num_attention_heads",
                            "num_key_value_heads",
                            "head_dim",
                            "vocab_size",
                            "linear_num_key_heads",
                            "linear_num_value_heads",
                            "linear_key_head_dim",
                            "linear_value_head_dim",
                            "linear_conv_kernel_dim",
                            "num_experts",
                            "num_experts_per_tok",
                            "moe_intermediate_size",
                            "shared_expert_intermediate_size",
                            "decoder_sparse_step",
                            "mlp_only_layers",
                            "full_attention_interval",
                            "rms_norm_eps",
                            "rope_theta",
                            "partial_rotary_factor",
                            "max_position_embeddings",
                            "layer_types",
                            "rope_scaling",
                            "hidden_act",
                            "norm_topk_prob",
                            "tie_word_embeddings"}) {
        for (const Json& value : values) {
            Json config = qwen3_next();
            config[key] = value;
            const auto result = read_config(config); // some are valid; none may crash or wrap
            if (result.ok()) {
                QVERIFY(count_parameters(result->spec).total > 0);
            } else {
                QVERIFY(!result.error().text().empty());
            }
        }
    }
    for (const char* key : {"hidden_size", "num_hidden_layers", "vocab_size", "num_experts"}) {
        Json config = qwen3_next();
        config.erase(key);
        QVERIFY2(error_of(config).contains(key == std::string("num_experts") ? "num_local_experts"
                                                                             : key),
                 qPrintable(error_of(config)));
    }
    // The largest sizes that are let through still count without wrapping.
    Json config = qwen3_next();
    config["num_hidden_layers"] = 1024;
    config["hidden_size"] = 131072;
    config["num_experts"] = 8192;
    config["moe_intermediate_size"] = 1048576;
    config["shared_expert_intermediate_size"] = 1048576;
    config["vocab_size"] = 16777216;
    const auto largest = read_config(config);
    QVERIFY(largest.ok());
    QVERIFY(count_parameters(largest->spec).total > 0);
}

void FamiliesTest::UnknownArchitecturesNameTheKnown() {
    Json config = qwen3();
    config["architectures"] = {"BertForMaskedLM"};
    config["model_type"] = "bert";
    const QString text = error_of(config);
    QVERIFY(text.contains("BertForMaskedLM"));
    QVERIFY(text.contains("qwen3.5") && text.contains("llama"));
    for (const Family& family : families()) {
        for (const char* name : family.answers_to) {
            QCOMPARE(*find_family(name), &family);
        }
    }
}

void FamiliesTest::GgufKeysGiveTheSameSpec() {
    GgufWriter writer;
    writer.set("general.architecture", "qwen35").set("general.name", "Ours");
    const auto number = [&](const char* key, std::uint32_t value) {
        writer.set(std::string("qwen35.") + key, GgufValue(value));
    };
    number("block_count", 65); // one for multi-token prediction
    number("nextn_predict_layers", 1);
    number("context_length", 262144);
    number("embedding_length", 5120);
    number("feed_forward_length", 17408);
    number("attention.head_count", 24);
    number("attention.head_count_kv", 4);
    number("attention.key_length", 256);
    number("attention.value_length", 256);
    number("rope.dimension_count", 64);
    number("ssm.conv_kernel", 4);
    number("ssm.state_size", 128);
    number("ssm.group_count", 16);
    number("ssm.time_step_rank", 48);
    number("ssm.inner_size", 6144);
    number("full_attention_interval", 4);
    number("vocab_size", 248320);
    writer.set("qwen35.rope.freq_base", GgufValue(1e7f));
    writer.set("qwen35.attention.layer_norm_rms_epsilon", GgufValue(1e-6f));
    writer.set("qwen35.rope.dimension_sections",
               GgufValue(std::vector<std::int32_t>{11, 11, 10, 0}));
    QTemporaryDir folder;
    const std::filesystem::path path =
        std::filesystem::path(folder.path().toStdString()) / "ours.gguf";
    const Bytes bytes = writer.bytes();
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    const auto file = Checkpoint::open(path, Need::HeaderOnly);
    QVERIFY2(file.ok(), file.ok() ? "" : file.error().text().c_str());
    auto found = read_model(*file);
    QVERIFY2(found.ok(), found.ok() ? "" : found.error().text().c_str());
    QCOMPARE(found->spec.name, std::string("Ours"));

    ModelSpec expected = read_config(qwen35())->spec;
    expected.name = "Ours";
    expected.tied_embedding = true;               // no output.weight
    expected.norm_eps = static_cast<float>(1e-6); // GGUF has it in f32
    found->spec.norm_eps = static_cast<float>(found->spec.norm_eps);
    for (LayerSpec& layer : expected.layers) {
        if (auto* delta = std::get_if<GatedDeltaSpec>(&layer.mixer)) {
            delta->head_map = HeadMap::Tiled;
        }
    }
    QVERIFY(found->spec.layers == expected.layers);
    QVERIFY(found->spec == expected);
    QCOMPARE(QString(found->extra("blk.64.attn_q.weight")), QString("multi-token prediction"));
    QVERIFY(found->extra("blk.63.attn_other.weight") == nullptr);
}

void FamiliesTest::TensorNamesFollowTheCheckpoint() {
    const auto next = read_config(qwen3_next());
    const TensorSource qkv = *next->tensors("layers.7.mixer.qkv");
    QCOMPARE(qkv.name, std::string("model.layers.7.linear_attn.in_proj_qkvz.weight"));
    QCOMPARE(qkv.rows.size(), std::size_t{48});
    QCOMPARE(qkv.file_rows, std::int64_t{12288});
    QCOMPARE(qkv.rows[1].first, std::int64_t{768}); // the second key head's queries
    QCOMPARE(qkv.rows[32].first, std::int64_t{256});
    QCOMPARE(qkv.rows[32].count, std::int64_t{256});
    const TensorSource expert = *next->tensors("layers.11.channel.experts.499.down");
    QCOMPARE(expert.name, std::string("model.layers.11.mlp.experts.499.down_proj.weight"));
    QCOMPARE(next->tensors("layers.0.mixer_norm")->transform, TensorSource::Transform::AddOne);
    QCOMPARE(next->tensors("layers.0.mixer.norm")->transform, TensorSource::Transform::None);
    QCOMPARE(next->tensors("layers.0.mixer.decay_rate")->transform,
             TensorSource::Transform::NegativeExp);
    QVERIFY(!next->tensors("layers.0.mixer.nothing").ok());
    QCOMPARE(QString(next->extra("mtp.fc.weight")), QString("multi-token prediction"));
}

QTEST_GUILESS_MAIN(FamiliesTest)
#include "families_test.moc"
