// Models that are read for what they weigh and keep, and not run: DeepSeek-V4, MiniMax-M3 and
// Qwen3.8-Flash-Next. Their published configurations, whose figures published_test holds against
// the makers', in other spellings and as GGUF metadata, and what their caches hold token by token.

#include "engine/core/paths.h"
#include "engine/lab/planner.h"
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

Json published(const char* name) {
    auto json = read_json_file(
        path_from_utf8(std::string(HS_MODELS) + "/../architectures/" + name + ".json"));
    if (!json.ok()) {
        qFatal("%s", json.error().text().c_str());
    }
    return std::move(*json);
}

ModelSpec spec_of(const Json& config) {
    auto found = read_config(config);
    if (!found.ok()) {
        qFatal("%s", found.error().text().c_str());
    }
    return std::move(found->spec);
}

QString error_of(const Json& config) {
    const auto found = read_config(config);
    return found.ok() ? QString("no error") : QString::fromStdString(found.error().text());
}

// Numbers under an architecture's prefix.
class Metadata {
public:
    explicit Metadata(std::string architecture)
        : m_architecture(std::move(architecture)) {
        m_writer.set("general.architecture", GgufValue(m_architecture));
    }
    void number(const char* key, std::uint32_t value) { set(key, GgufValue(value)); }
    void set(const char* key, GgufValue value) {
        m_writer.set(m_architecture + "." + key, std::move(value));
    }
    GgufWriter& writer() { return m_writer; }
    Result<SpecAndTensors> read() const {
        QTemporaryDir folder;
        const std::filesystem::path path =
            std::filesystem::path(folder.path().toStdString()) / "ours.gguf";
        const Bytes bytes = m_writer.bytes();
        std::ofstream(path, std::ios::binary)
            .write(reinterpret_cast<const char*>(bytes.data()),
                   static_cast<std::streamsize>(bytes.size()));
        auto file = Checkpoint::open(path, Need::HeaderOnly);
        if (!file.ok()) {
            return std::move(file).error();
        }
        return read_model(*file);
    }

private:
    std::string m_architecture;
    GgufWriter m_writer;
};

std::int64_t bytes_of(const std::vector<LedgerEntry>& entries, int layer, StateKind kind) {
    for (const LedgerEntry& entry : entries) {
        if (entry.layer == layer && entry.kind == kind) {
            return entry.used_bytes;
        }
    }
    return -1;
}

constexpr StateOptions kBf16{.kv_dtype = DType::BF16, .context_tokens = 1 << 20};

} // namespace

class PlannedFamiliesTest : public QObject {
    Q_OBJECT

private slots:
    void SchedulesAreThoseOfTheMakers();
    void ParametersAreCountedPartByPart();
    void EntriesGrowByWholeOnes();
    void BothSpellingsOfDeepseekAreOneModel();
    void DeepseekGgufGivesTheSameSpec();
    void MinimaxGgufGivesTheSameSpec();
    void QwenGgufGivesTheSameSpec();
    void FullTwinsKeepEveryPosition();
    void WhatIsNotUnderstoodIsNamed();
    void UnsoundSettingsAreRefused();
};

void PlannedFamiliesTest::SchedulesAreThoseOfTheMakers() {
    const auto schedule = [](const char* name) {
        return describe_schedule(spec_of(published(name)));
    };
    QCOMPARE(schedule("deepseek-v4-flash"), std::string("none full (2 sliding window, 21 sparse "
                                                        "attention, 20 compressed attention)"));
    QCOMPARE(schedule("deepseek-v4-pro"),
             std::string("none full (30 sparse attention, 31 compressed attention)"));
    QCOMPARE(schedule("minimax-m3"), std::string("1:19 (3 full attention, 57 sparse attention)"));
    QCOMPARE(schedule("qwen3.8-flash-next"),
             std::string("none full (12 sparse attention, 36 gated delta)"));
    QCOMPARE(letter(MixerKind::Compressed), 'C');
}

// Sums of tensor shapes, softmax.md section 5.6 and delta.md section 9.
void PlannedFamiliesTest::ParametersAreCountedPartByPart() {
    const ModelSpec flash = spec_of(published("deepseek-v4-flash"));
    const std::int64_t rows = 1024 * 4096 + 1024 + 32768 * 1024 + 512 * 4096 + 512; // q, kv
    const std::int64_t out = 8 * 1024 * 4096 + 4096 * 8 * 1024 + 64;                // and sinks
    const std::int64_t sparse = 2 * 1024 * 4096 + 4 * 1024 + 512 +                  // compressor
                                8192 * 1024 + 64 * 4096 +                           // indexer
                                2 * 256 * 4096 + 4 * 256 + 128;                     // and its own
    const std::int64_t heavy = 2 * 512 * 4096 + 128 * 512 + 512;
    const ParameterCount v4 = count_parameters(flash);
    QCOMPARE(v4.token_mixers, 43 * (rows + out) + 21 * sparse + 20 * heavy);
    const std::int64_t expert = 3 * 2048 * 4096;
    QCOMPARE(v4.channel_mixers, 43 * (257 * expert + 256 * 4096) + 40 * 256); // biases: not by id
    const std::int64_t streams = 43 * 2 * (24 * 16384 + 24 + 3) + 4 * 16384 + 4 + 1;
    const std::int64_t norms = (43 * 2 + 1) * 4096;
    QCOMPARE(v4.total, 2 * 129280 * 4096 + v4.token_mixers + v4.channel_mixers + streams + norms);

    ModelSpec qwen = spec_of(published("qwen3.8-flash-next"));
    const ParameterCount whole = count_parameters(qwen);
    // 16 primes from 20 million on, padded to 128: 320001536 rows of 160.
    QCOMPARE(whole.embedding, std::int64_t{2} * 248320 * 2560 + std::int64_t{320001536} * 160);
    const std::int64_t mix = 10240 + 2 * 320 * 10240;
    const std::int64_t ngram = 2560 * (10240 + 2560) + 7 * 10240;
    QCOMPARE(whole.total - whole.embedding - whole.token_mixers - whole.channel_mixers,
             96 * (mix + 4 * 10240) + mix + ngram);
    qwen.layers.resize(4);
    const ParameterCount four = count_parameters(qwen);
    std::get<SoftmaxSpec>(qwen.layers[3].mixer).indexer.reset();
    QCOMPARE(four.token_mixers - count_parameters(qwen).token_mixers,
             std::int64_t{5 * 128 * 2560 + 2 * 128});
}

void PlannedFamiliesTest::EntriesGrowByWholeOnes() {
    const ModelSpec flash = spec_of(published("deepseek-v4-flash"));
    struct Expected {
        std::int64_t tokens, window, chosen, all;
    };
    for (const Expected& e : {Expected{1, 1, 0, 0},
                              {3, 3, 0, 0},
                              {4, 4, 1, 0},
                              {127, 127, 31, 0},
                              {128, 128, 32, 1},
                              {129, 128, 32, 1},
                              {1000, 128, 250, 7}}) {
        const auto entries = predict_state(flash, e.tokens, kBf16);
        for (const int layer : {0, 2, 3}) {
            QCOMPARE(bytes_of(entries, layer, StateKind::WindowRing), e.window * 1024);
        }
        QCOMPARE(bytes_of(entries, 0, StateKind::CompressedCache), -1);
        QCOMPARE(bytes_of(entries, 2, StateKind::CompressedCache), e.chosen * 1024);
        QCOMPARE(bytes_of(entries, 2, StateKind::IndexerKeys), e.chosen * 256);
        QCOMPARE(bytes_of(entries, 3, StateKind::CompressedCache), e.all * 1024);
        QCOMPARE(bytes_of(entries, 3, StateKind::IndexerKeys), -1);
        QCOMPARE(bytes_of(entries, 2, StateKind::CompressorBuffer),
                 (3 * 2048 + 4 * 1024) * 4 + (3 * 512 + 4 * 256) * 4);
        QCOMPARE(bytes_of(entries, 3, StateKind::CompressorBuffer), 127 * 1024 * 4);
    }
}

void PlannedFamiliesTest::BothSpellingsOfDeepseekAreOneModel() {
    const Json released = published("deepseek-v4-pro");
    Json ours = released;
    Json types = Json::array();
    Json mixtures = Json::array();
    for (int i = 0; i < 61; ++i) {
        const int ratio = released["compress_ratios"][static_cast<std::size_t>(i)].get<int>();
        types.push_back(ratio == 4 ? "compressed_sparse_attention"
                                   : "heavily_compressed_attention");
        mixtures.push_back(i < 3 ? "hash_moe" : "moe");
    }
    ours.erase("compress_ratios");
    ours.erase("num_hash_layers");
    ours["layer_types"] = types;
    ours["mlp_layer_types"] = mixtures;
    ours["compress_rates"] = {{"compressed_sparse_attention", 4},
                              {"heavily_compressed_attention", 128}};
    QVERIFY(spec_of(ours) == spec_of(released));
    ours["compress_rates"]["compressed_sparse_attention"] = 8;
    QCOMPARE(std::get<CompressedSpec>(spec_of(ours).layers[2].mixer).rate, 8);
}

void PlannedFamiliesTest::DeepseekGgufGivesTheSameSpec() {
    Metadata file("deepseek4");
    file.writer().set("general.name", "DeepSeek-V4-Flash");
    file.number("block_count", 43);
    file.number("context_length", 1048576);
    file.number("embedding_length", 4096);
    file.number("vocab_size", 129280);
    file.number("attention.head_count", 64);
    file.number("attention.head_count_kv", 1);
    file.number("attention.key_length", 512);
    file.number("attention.value_length", 512);
    file.number("attention.q_lora_rank", 1024);
    file.number("attention.output_group_count", 8);
    file.number("attention.output_lora_rank", 1024);
    file.number("attention.sliding_window", 128);
    file.number("attention.indexer.head_count", 64);
    file.number("attention.indexer.key_length", 128);
    file.number("attention.indexer.top_k", 512);
    file.set("attention.compress_rope_freq_base", GgufValue(160000.0f));
    file.set("attention.layer_norm_rms_epsilon", GgufValue(1e-6f));
    std::vector<std::int32_t> ratios{0, 0};
    for (int i = 2; i < 43; ++i) {
        ratios.push_back(i % 2 == 0 ? 4 : 128);
    }
    file.set("attention.compress_ratios", GgufValue(ratios));
    file.number("expert_count", 256);
    file.number("expert_used_count", 6);
    file.number("expert_shared_count", 1);
    file.number("expert_feed_forward_length", 2048);
    file.number("expert_gating_func", 4);
    file.set("expert_weights_scale", GgufValue(1.5f));
    file.set("expert_weights_norm", GgufValue(true));
    file.number("hash_layer_count", 3);
    file.number("hyper_connection.count", 4);
    file.number("hyper_connection.sinkhorn_iterations", 20);
    file.set("hyper_connection.epsilon", GgufValue(1e-6f));
    file.set("swiglu_clamp_exp", GgufValue(std::vector<float>(43, 10.0f)));
    file.number("rope.dimension_count", 64);
    file.set("rope.freq_base", GgufValue(10000.0f));
    auto found = file.read();
    QVERIFY2(found.ok(), found.ok() ? "" : found.error().text().c_str());
    const std::string reason = found->spec.cannot_run;
    for (const char* part :
         {"attention.compress_ratios = 4 at 21 layers and 128 at 20", "hyper_connection.count = 4",
          "hash_layer_count = 3", "expert_gating_func = 4"}) {
        QVERIFY2(reason.find(part) != std::string::npos, reason.c_str());
    }
    QVERIFY2(reason.find("not understood") == std::string::npos, reason.c_str());

    ModelSpec expected = spec_of(published("deepseek-v4-flash"));
    expected.tied_embedding = true; // no output.weight in a file without tensors
    expected.norm_eps = found->spec.norm_eps;
    expected.cannot_run = reason;
    QVERIFY(found->spec == expected);
}

void PlannedFamiliesTest::MinimaxGgufGivesTheSameSpec() {
    Metadata file("minimax-m3");
    file.writer().set("general.name", "MiniMax-M3");
    file.number("block_count", 60);
    file.number("context_length", 524288);
    file.number("embedding_length", 6144);
    file.number("feed_forward_length", 3072);
    file.number("vocab_size", 200064);
    file.number("attention.head_count", 64);
    file.number("attention.head_count_kv", 4);
    file.number("attention.key_length", 128);
    file.number("attention.value_length", 128);
    file.number("attention.indexer.head_count", 4);
    file.number("attention.indexer.key_length", 128);
    file.number("attention.indexer.top_k", 16);
    file.number("attention.indexer.block_size", 128);
    file.number("attention.indexer.local_blocks", 1);
    file.set("attention.layer_norm_rms_epsilon", GgufValue(1e-6f));
    file.number("leading_dense_block_count", 3);
    file.number("expert_count", 128);
    file.number("expert_used_count", 4);
    file.number("expert_shared_count", 1);
    file.number("expert_feed_forward_length", 3072);
    file.number("expert_gating_func", 2);
    file.set("expert_weights_scale", GgufValue(2.0f));
    file.set("expert_weights_norm", GgufValue(true));
    file.number("rope.dimension_count", 64);
    file.set("rope.freq_base", GgufValue(5000000.0f));
    auto found = file.read();
    QVERIFY2(found.ok(), found.ok() ? "" : found.error().text().c_str());
    const std::string reason = found->spec.cannot_run;
    QVERIFY2(reason.find("attention.indexer.top_k = 16") != std::string::npos, reason.c_str());
    QVERIFY2(reason.find("not understood") == std::string::npos, reason.c_str());

    ModelSpec expected = spec_of(published("minimax-m3"));
    expected.tied_embedding = true;
    expected.norm_eps = found->spec.norm_eps;
    expected.cannot_run = reason;
    for (std::size_t i = 0; i < 3; ++i) { // their width stands in tensors alone
        std::get<DenseSpec>(expected.layers[i].channel).intermediate = 3072;
    }
    QVERIFY(found->spec == expected);
}

void PlannedFamiliesTest::QwenGgufGivesTheSameSpec() {
    Metadata file("qwen4exp");
    file.writer().set("general.name", "Qwen3.8-Flash-Next");
    file.number("block_count", 48);
    file.number("context_length", 262144);
    file.number("embedding_length", 2560);
    file.number("vocab_size", 248320);
    file.number("attention.head_count", 24);
    file.number("attention.head_count_kv", 2);
    file.number("attention.key_length", 256);
    file.number("attention.value_length", 256);
    file.number("attention.indexer.head_count", 4);
    file.number("attention.indexer.key_length", 128);
    file.number("attention.indexer.top_k", 2048);
    file.set("attention.layer_norm_rms_epsilon", GgufValue(1e-6f));
    std::vector<std::int32_t> ratios;
    for (int i = 0; i < 48; ++i) {
        ratios.push_back(i % 4 == 3 ? 4 : 0);
    }
    file.set("attention.compress_ratios", GgufValue(ratios));
    file.number("full_attention_interval", 4);
    file.number("ssm.conv_kernel", 4);
    file.number("ssm.state_size", 128);
    file.number("ssm.group_count", 16);
    file.number("ssm.time_step_rank", 48);
    file.number("ssm.inner_size", 6144);
    file.number("expert_count", 512);
    file.number("expert_used_count", 10);
    file.number("expert_feed_forward_length", 640);
    file.number("expert_shared_feed_forward_length", 640);
    file.number("rope.dimension_count", 64);
    file.set("rope.dimension_sections", GgufValue(std::vector<std::int32_t>{11, 11, 10, 0}));
    file.set("rope.freq_base", GgufValue(1e7f));
    file.number("hyper_connection.count", 4);
    file.number("hyper_connection.low_rank", 320);
    file.set("ple.layers", GgufValue(std::vector<std::uint32_t>{1}));
    file.number("ple.ngram_size", 3);
    file.number("ple.heads_per_ngram", 8);
    file.number("ple.conv_kernel", 4);
    file.number("ple.eos_token_id", 248044);
    file.number("embedding_length_per_layer_input", 160);
    file.set("ple.head_vocab_sizes", GgufValue(std::vector<std::uint32_t>(16, 20000090)));
    auto found = file.read();
    QVERIFY2(found.ok(), found.ok() ? "" : found.error().text().c_str());
    const std::string reason = found->spec.cannot_run;
    for (const char* part : {"hyper_connection.count = 4", "attention.indexer.top_k = 2048",
                             "ple.layers", "at layer 1"}) {
        QVERIFY2(reason.find(part) != std::string::npos, reason.c_str());
    }
    QVERIFY2(reason.find("not understood") == std::string::npos, reason.c_str());

    ModelSpec expected = spec_of(published("qwen3.8-flash-next"));
    expected.tied_embedding = true;
    expected.norm_eps = found->spec.norm_eps;
    expected.cannot_run = reason;
    expected.layers[1].ngram->rows = (16 * 20000090 + 127) / 128 * 128;
    for (LayerSpec& layer : expected.layers) {
        if (auto* delta = std::get_if<GatedDeltaSpec>(&layer.mixer)) {
            delta->head_map = HeadMap::Tiled;
        }
    }
    QVERIFY(found->spec == expected);
}

void PlannedFamiliesTest::FullTwinsKeepEveryPosition() {
    struct Expected {
        const char* name;
        std::int64_t bytes_per_token; // of all layers
    };
    // One row of 512 in bf16; 2 x 4 heads of 128; 2 x 2 heads of 256.
    for (const Expected& e : {Expected{"deepseek-v4-flash", 43 * 1024},
                              {"minimax-m3", 60 * 2048},
                              {"qwen3.8-flash-next", 48 * 2048}}) {
        const ModelSpec spec = spec_of(published(e.name));
        const ModelSpec full = all_full(spec);
        QCOMPARE(ratio_of(full).text, std::string("full"));
        const StatePlan plan = plan_state(full, kBf16);
        QCOMPARE(plan.growth_bytes_per_token, e.bytes_per_token);
        QCOMPARE(plan.window_bytes, 0);
        const auto windowed = edit_schedule(spec, {.full = "none", .other = "window 128"});
        QVERIFY2(windowed.ok(), windowed.ok() ? "" : windowed.error().text().c_str());
        QCOMPARE(plan_state(windowed->spec, kBf16).growth_bytes_per_token, 0);
        QCOMPARE(windowed->spec.cannot_run, spec.cannot_run);
    }
    // Index keys on top of a whole KV cache never pay in memory.
    QCOMPARE(break_even_tokens(spec_of(published("minimax-m3")), kBf16), 0);
    QVERIFY(break_even_tokens(spec_of(published("deepseek-v4-flash")), kBf16) > 0);
}

void PlannedFamiliesTest::WhatIsNotUnderstoodIsNamed() {
    Json config = published("deepseek-v4-flash");
    config["engram_head_dim"] = 256;
    const ModelSpec spec = spec_of(config);
    QVERIFY2(
        spec.cannot_run.find("not understood, so that sizes may differ: engram_head_dim = 256") !=
            std::string::npos,
        spec.cannot_run.c_str());
    const Result<void> runs = check_runs(spec);
    QVERIFY(!runs.ok());
    QCOMPARE(runs.error().code, ErrorCode::Unsupported);
    QVERIFY(check_runs(ModelSpec{}).ok());
}

void PlannedFamiliesTest::UnsoundSettingsAreRefused() {
    const auto text_config = [](const char* name, const char* key, const Json& value) {
        Json config = published(name);
        (config.contains("text_config") ? config["text_config"] : config)[key] = value;
        return config;
    };
    const auto v4 = [&](const char* key, const Json& value) {
        return error_of(text_config("deepseek-v4-flash", key, value));
    };
    QVERIFY(v4("compress_ratios", Json::array({0, 5})).contains("43 values"));
    QVERIFY(v4("compress_ratios", 5).contains("compress_ratios[0]: expected 0, 4 or 128, found 5"));
    QVERIFY(v4("o_groups", 7).contains("7 equal groups"));
    QVERIFY(v4("num_key_value_heads", 2).contains("num_key_value_heads: expected 1, found 2"));
    QVERIFY(v4("hc_mult", 100).contains("hc_mult"));
    QVERIFY(v4("n_shared_experts", 8192).contains("shared experts"));
    const auto m3 = [&](const char* key, const Json& value) {
        Json config = published("minimax-m3");
        config["text_config"]["sparse_attention_config"][key] = value;
        return error_of(config);
    };
    QVERIFY(m3("sparse_num_index_heads", 8).contains("4 KV heads, found 8"));
    QVERIFY(m3("sparse_disable_index_value", 0).contains("sparse_disable_index_value[3]"));
    QVERIFY(m3("sparse_attention_freq", 0).contains("sparse_attention_freq"));
    const auto qwen = [&](const char* key, const Json& value) {
        return error_of(text_config("qwen3.8-flash-next", key, value));
    };
    QVERIFY(qwen("ple_layer_ids", Json::array({49})).contains("expected 1 to 48, found 49"));
    QVERIFY(qwen("ple_embed_dim", 2561).contains("2561"));
    QVERIFY(qwen("heads_per_ngram", 160).contains("n-grams"));
    QVERIFY(qwen("hc_count", 1).contains("hc_count"));
    QVERIFY(qwen("indexer_kv_heads", 2).contains("indexer_kv_heads: expected 1, found 2"));
    // The largest that are taken seriously: nothing wraps.
    Json largest = published("qwen3.8-flash-next");
    largest["text_config"]["ngram_vocab_size_base"] = 1 << 28;
    largest["text_config"]["ple_embed_dim"] = 1 << 17;
    QVERIFY(count_parameters(spec_of(largest)).total > std::int64_t{1} << 45);
}

QTEST_GUILESS_MAIN(PlannedFamiliesTest)
#include "planned_families_test.moc"
