// Sequences go back exactly, keep to their budget of saved states, and hold as many bytes as the
// planner says; models load without copying, say what does not fit, and stop when asked.

#include "engine/core/memory.h"
#include "engine/lab/planner.h"
#include "engine/spec/families.h"
#include "engine/spec/ratio.h"
#include "tests/engine/run/checkpoint_files.h"

#include <QTemporaryDir>

#include <fstream>

using namespace hs;
using namespace hs::test;

namespace {

std::filesystem::path checkpoint(const char* name) {
    return std::filesystem::path(HS_TEST_CHECKPOINTS) / name;
}

std::vector<std::int32_t> some_ids(std::int64_t count, std::int64_t vocab, unsigned seed = 1) {
    std::vector<std::int32_t> ids;
    for (std::int64_t i = 0; i < count; ++i) {
        seed = seed * 1664525u + 1013904223u;
        ids.push_back(static_cast<std::int32_t>((seed >> 8) % static_cast<unsigned>(vocab)));
    }
    return ids;
}

std::string read_text(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

Json parse(std::string_view text) {
    auto json = parse_json(text);
    if (!json.ok()) {
        qFatal("%s", json.error().text().c_str());
    }
    return std::move(*json);
}

// A copy of a checkpoint's folder with its config.json edited.
std::filesystem::path edited(const QTemporaryDir& folder, const char* name,
                             const std::function<void(Json&)>& edit) {
    const std::filesystem::path to = folder.path().toStdString();
    std::filesystem::copy(checkpoint(name) / "hf", to);
    Json config = parse(read_text(to / "config.json"));
    edit(config);
    std::ofstream(to / "config.json", std::ios::binary) << config.dump();
    return to;
}

Result<std::optional<std::shared_ptr<const Model>>> try_load(const std::filesystem::path& path,
                                                             const LoadOptions& options = {}) {
    auto file = Checkpoint::open(path);
    if (!file.ok()) {
        return std::move(file).error();
    }
    return Model::load(cpu(), std::move(*file), options);
}

} // namespace

class SequenceTest : public QObject {
    Q_OBJECT

private slots:
    void PlannerEqualsLedger_data();
    void PlannerEqualsLedger();
    void RestoreLandsOnSnapshot();
    void RestoreIsExactWhereEveryLayerCanBeCut();
    void OldestSnapshotsGoFirst();
    void CommonPrefixIsKept();
    void BranchesAreTakenUpUnread();
    void BranchesKeepToTheBudget();
    void ForwardRefusesWhatDoesNotFit();
    void StopBetweenLayersLeavesASoundState();
    void LogitsOfTheLastTokenAreTheLastRow();
    void WeightsAreHeldOnce();
    void LoadingTellsProgressAndStops();
    void ExtraTensorsAreNamedWithTheirReason();
    void NamesAloneTellWhatLoadingLeavesOut();
    void WrongTensorsAreErrorsThatSayWhich();
    void SyntheticModelsRunAndRepeat();
    void BrokenTensorsAreErrors();
};

void SequenceTest::PlannerEqualsLedger_data() {
    QTest::addColumn<QString>("model");
    for (const CheckpointFile& file : checkpoint_files()) {
        QTest::newRow(file.name.c_str()) << QString::fromStdString(file.model.string());
    }
}

void SequenceTest::PlannerEqualsLedger() {
    QFETCH(QString, model);
    const auto loaded = load(model.toStdString());
    const ModelSpec& spec = loaded->spec();
    for (const DType kv : {DType::F32, DType::F16, DType::BF16}) {
        const auto held = sequence(loaded, 300, kv);
        StateOptions options;
        options.kv_dtype = kv;
        options.context_tokens = 300;
        for (const std::int64_t tokens : {0, 1, 50, 128, 129, 300}) {
            if (tokens > held->position()) {
                const auto ids = some_ids(tokens - held->position(), spec.vocab);
                QVERIFY(loaded->forward(*held, ids, Model::Logits::None, {}).ok());
            }
            const auto predicted = predict_state(spec, tokens, options);
            const auto entries = held->ledger().entries();
            QCOMPARE(entries.size(), predicted.size());
            for (std::size_t i = 0; i < entries.size(); ++i) {
                QCOMPARE(entries[i].layer, predicted[i].layer);
                QCOMPARE(entries[i].kind, predicted[i].kind);
                QCOMPARE(entries[i].used_bytes, predicted[i].used_bytes);
                QVERIFY(entries[i].held_bytes >= entries[i].used_bytes);
                // Whole pages, two buffers of at most one growth step and one page each.
                QVERIFY(entries[i].held_bytes <=
                        entries[i].used_bytes +
                            128 * predicted[i].used_bytes / std::max<std::int64_t>(tokens, 1) +
                            2 * static_cast<std::int64_t>(GrowingMemory::page_bytes()));
            }
            QCOMPARE(held->ledger().totals().used_bytes, state_bytes(spec, tokens, options));
        }
        const StatePlan plan = plan_state(spec, options);
        QCOMPARE(state_bytes(spec, 0, options), plan.fixed_bytes);
        const std::int64_t far = 100000;
        QCOMPARE(state_bytes(spec, far, options),
                 plan.fixed_bytes + plan.window_bytes + far * plan.growth_bytes_per_token);
        const std::int64_t even = break_even_tokens(spec, options);
        // Windows and fixed states grow less than full attention; sparse attention keeps more.
        const bool grows_less =
            std::any_of(spec.layers.begin(), spec.layers.end(), [](const LayerSpec& layer) {
                const MixerKind kind = kind_of(layer.mixer);
                return is_linear(kind) || kind == MixerKind::SlidingWindow;
            });
        QCOMPARE(even == 0, !grows_less);
    }
}

void SequenceTest::RestoreLandsOnSnapshot() {
    const auto model = load(checkpoint("qwen3.5") / "hf");
    const std::int64_t vocab = model->spec().vocab;
    const auto ids = some_ids(120, vocab);
    const auto other = some_ids(60, vocab, 9);
    const auto never_left = sequence(model);
    const std::vector<float> expected = run(*model, *never_left, ids, 30);

    const auto held = sequence(model);
    QVERIFY(!held->can_cut());
    const std::span<const std::int32_t> all(ids);
    run(*model, *held, all.first(30), 30);
    held->snapshot();
    run(*model, *held, all.subspan(30, 30), 30);
    held->snapshot();
    run(*model, *held, other, 30);
    QCOMPARE(held->snapshot_positions(), (std::vector<std::int64_t>{0, 30, 60}));

    QCOMPARE(*held->restore(70), std::int64_t{60});
    QCOMPARE(held->position(), std::int64_t{60});
    QVERIFY(std::equal(held->ids().begin(), held->ids().end(), ids.begin()));
    const std::vector<float> found = run(*model, *held, all.subspan(60), 30);
    QVERIFY(std::equal(found.begin(), found.end(), expected.begin() + 60 * vocab));

    QCOMPARE(*held->restore(59), std::int64_t{30});
    QCOMPARE(held->snapshot_positions(), (std::vector<std::int64_t>{0, 30}));
    const std::vector<float> again = run(*model, *held, all.subspan(30), 30);
    QVERIFY(std::equal(again.begin(), again.end(), expected.begin() + 30 * vocab));

    QCOMPARE(*held->restore(29), std::int64_t{0});
    QCOMPARE(run(*model, *held, all, 30), expected);
}

void SequenceTest::RestoreIsExactWhereEveryLayerCanBeCut() {
    const auto model = load(checkpoint("llama") / "hf");
    const std::int64_t vocab = model->spec().vocab;
    const auto ids = some_ids(100, vocab);
    const auto held = sequence(model, 400, DType::F16);
    const std::vector<float> expected = run(*model, *held, ids, 1);
    held->snapshot();
    QCOMPARE(held->snapshot_bytes(), std::int64_t{0});
    QCOMPARE(held->snapshot_positions().size(), std::size_t{101});
    QCOMPARE(*held->restore(63), std::int64_t{63});
    const std::vector<float> found =
        run(*model, *held, std::span<const std::int32_t>(ids).subspan(63), 1);
    QVERIFY(std::equal(found.begin(), found.end(), expected.begin() + 63 * vocab));
}

void SequenceTest::OldestSnapshotsGoFirst() {
    const auto model = load(checkpoint("qwen3.5") / "hf");
    const auto ids = some_ids(100, model->spec().vocab);
    SequenceOptions options;
    options.state.context_tokens = 200;
    auto probe_made = Sequence::create(model, options);
    const std::unique_ptr<Sequence> probe = std::move(*probe_made);
    run(*model, *probe, std::span<const std::int32_t>(ids).first(10));
    probe->snapshot();
    const std::int64_t one = probe->snapshot_bytes();
    QVERIFY(one > 0);
    probe->snapshot(); // one position, one snapshot
    QCOMPARE(probe->snapshot_bytes(), one);

    options.snapshot_budget_bytes = 3 * one + one / 2;
    auto held_made = Sequence::create(model, options);
    const std::unique_ptr<Sequence> held = std::move(*held_made);
    for (int i = 0; i < 5; ++i) {
        run(*model, *held, std::span<const std::int32_t>(ids).subspan(std::size_t(i) * 10, 10));
        held->snapshot();
    }
    QCOMPARE(held->snapshot_positions(), (std::vector<std::int64_t>{0, 30, 40, 50}));
    QVERIFY(held->snapshot_bytes() <= options.snapshot_budget_bytes);
    QCOMPARE(held->state().snapshot_bytes, held->snapshot_bytes());

    run(*model, *held, std::span<const std::int32_t>(ids).subspan(50, 10));
    held->snapshot_in_passing();
    run(*model, *held, std::span<const std::int32_t>(ids).subspan(60, 10));
    held->snapshot_in_passing();
    QCOMPARE(held->snapshot_positions(), (std::vector<std::int64_t>{0, 40, 50, 70}));
    held->forget_snapshot_in_passing();
    QCOMPARE(held->snapshot_positions(), (std::vector<std::int64_t>{0, 40, 50}));
}

void SequenceTest::CommonPrefixIsKept() {
    for (const char* name : {"qwen3", "qwen3.5"}) {
        const auto model = load(checkpoint(name) / "hf");
        auto ids = some_ids(80, model->spec().vocab);
        const auto held = sequence(model);
        run(*model, *held, std::span<const std::int32_t>(ids).first(40));
        held->snapshot();
        run(*model, *held, std::span<const std::int32_t>(ids).subspan(40));
        QCOMPARE(*held->keep_common_prefix(ids), std::int64_t{80});
        ids[50] = (ids[50] + 1) % 100;
        QCOMPARE(*held->keep_common_prefix(ids), std::int64_t{held->can_cut() ? 50 : 40});
        QCOMPARE(*held->keep_common_prefix({}), std::int64_t{0});
    }
}

// Two continuations of one beginning, left and taken up in turn, go on as if nothing had happened.
void SequenceTest::BranchesAreTakenUpUnread() {
    for (const char* name : {"qwen3", "qwen3.5", "qwen3-window"}) {
        const auto model = load(checkpoint(name) / "hf");
        const std::int64_t vocab = model->spec().vocab;
        const auto begin = some_ids(60, vocab);
        const auto with = [&](unsigned seed, std::int64_t more) {
            auto ids = begin;
            const auto rest = some_ids(more, vocab, seed);
            ids.insert(ids.end(), rest.begin(), rest.end());
            return ids;
        };
        const auto first = with(7, 30);
        const auto second = with(8, 25);
        const auto next = some_ids(5, vocab, 9);
        // What each says after its last token, read straight through.
        const auto straight = [&](const std::vector<std::int32_t>& ids) {
            const auto fresh = sequence(model);
            run(*model, *fresh, ids);
            return run(*model, *fresh, next);
        };

        const auto held = sequence(model);
        run(*model, *held, begin);
        held->snapshot();
        run(*model, *held, std::span<const std::int32_t>(first).subspan(60));
        QCOMPARE(*held->keep_common_prefix(second), std::int64_t{60});
        run(*model, *held, std::span<const std::int32_t>(second).subspan(60));
        QCOMPARE(*held->keep_common_prefix(first), std::int64_t{90});
        QVERIFY(std::equal(held->ids().begin(), held->ids().end(), first.begin(), first.end()));
        QCOMPARE(run(*model, *held, next), straight(first));
        QCOMPARE(*held->keep_common_prefix(second), std::int64_t{85});
        QCOMPARE(run(*model, *held, next), straight(second));
        // A part of a branch, where its layers can stop there.
        const auto part = std::span<const std::int32_t>(first).first(80);
        QCOMPARE(*held->keep_common_prefix(part), std::int64_t{held->can_cut() ? 80 : 60});
    }
}

void SequenceTest::BranchesKeepToTheBudget() {
    const auto model = load(checkpoint("qwen3.5") / "hf");
    const auto begin = some_ids(60, model->spec().vocab);
    const auto rest = some_ids(30, model->spec().vocab, 3);
    SequenceOptions options;
    options.state.context_tokens = 256;
    options.state.kv_dtype = DType::F32;
    options.snapshot_budget_bytes = 1000; // no state fits
    auto made = Sequence::create(model, options);
    QVERIFY(made.ok());
    const std::unique_ptr<Sequence> held = std::move(*made);
    run(*model, *held, begin);
    held->snapshot();
    run(*model, *held, rest);
    QCOMPARE(*held->keep_common_prefix(begin), std::int64_t{0});
    QCOMPARE(held->snapshot_bytes(), std::int64_t{0});
    QCOMPARE(held->texts().size(), std::size_t{1});
}

void SequenceTest::ForwardRefusesWhatDoesNotFit() {
    const auto model = load(checkpoint("qwen3") / "hf");
    const std::int64_t vocab = model->spec().vocab;
    const auto held = sequence(model, 20);
    const std::vector<std::int32_t> outside{0, static_cast<std::int32_t>(vocab)};
    const std::vector<std::int32_t> negative{-1};
    for (const auto& ids : {outside, negative, std::vector<std::int32_t>{}}) {
        const auto result = model->forward(*held, ids, Model::Logits::None, {});
        QVERIFY(!result.ok());
        QCOMPARE(result.error().code, ErrorCode::InvalidArgument);
        QCOMPARE(held->position(), std::int64_t{0});
    }
    QVERIFY(!model->forward(*held, some_ids(21, vocab), Model::Logits::None, {}).ok());
    QVERIFY(model->forward(*held, some_ids(20, vocab), Model::Logits::None, {}).ok());
    const auto full = model->forward(*held, some_ids(1, vocab), Model::Logits::None, {});
    QVERIFY(!full.ok());
    QVERIFY(QString::fromStdString(full.error().text()).contains("20"));
    QCOMPARE(held->position(), std::int64_t{20});
    SequenceOptions none;
    none.state.context_tokens = 0;
    QVERIFY(!Sequence::create(model, none).ok());
    none.state.context_tokens = 10;
    none.state.kv_dtype = DType::Q8_0;
    QVERIFY(!Sequence::create(model, none).ok());
}

void SequenceTest::StopBetweenLayersLeavesASoundState() {
    for (const char* name : {"qwen3", "qwen3.5"}) {
        const auto model = load(checkpoint(name) / "hf");
        const std::int64_t vocab = model->spec().vocab;
        const auto ids = some_ids(60, vocab);
        const std::span<const std::int32_t> all(ids);
        const auto whole = sequence(model);
        const std::vector<float> expected = run(*model, *whole, ids, 20);

        const auto held = sequence(model);
        run(*model, *held, all.first(20), 20);
        held->snapshot();
        run(*model, *held, all.subspan(20, 20), 20);
        // Seen after the first layer's mixer: that layer has moved on, the others have not.
        std::stop_source source;
        source.request_stop();
        QVERIFY(model
                    ->forward(*held, all.subspan(40), Model::Logits::None, {}, nullptr,
                              source.get_token())
                    .ok());
        const std::int64_t landed = held->position();
        QCOMPARE(landed, std::int64_t{held->can_cut() ? 40 : 20});
        const std::vector<float> found =
            run(*model, *held, all.subspan(static_cast<std::size_t>(landed)), 20);
        QVERIFY(std::equal(found.begin(), found.end(), expected.begin() + landed * vocab));
    }
}

void SequenceTest::LogitsOfTheLastTokenAreTheLastRow() {
    const auto model = load(checkpoint("qwen3-moe") / "hf");
    const std::int64_t vocab = model->spec().vocab;
    const auto ids = some_ids(40, vocab);
    const auto a = sequence(model);
    const std::vector<float> all = run(*model, *a, ids);
    const auto b = sequence(model);
    std::vector<float> last(static_cast<std::size_t>(vocab));
    QVERIFY(model->forward(*b, ids, Model::Logits::Last, {last.data(), {1, vocab}}).ok());
    const std::vector<float> tail(all.end() - vocab, all.end());
    QVERIFY(difference(last, tail, vocab).worst_value < 1e-5);
}

void SequenceTest::WeightsAreHeldOnce() {
    // 30 MiB that are looked up, of which nothing has to be read before the first token, and as
    // much again that is multiplied, of which there may be a copy in place of what is mapped.
    QTemporaryDir folder;
    const std::filesystem::path to = edited(folder, "qwen3", [](Json& config) {
        config["vocab_size"] = 262144;
        config["tie_word_embeddings"] = false;
    });
    // The same tensors, but for two wide tables behind them.
    const std::string file = read_text(checkpoint("qwen3") / "hf" / "model.safetensors");
    std::uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, file.data(), sizeof(header_bytes));
    Json header = parse(std::string_view(file).substr(8, header_bytes));
    std::string data = file.substr(8 + header_bytes);
    const std::size_t old = data.size();
    const std::size_t table = std::size_t{262144} * 60 * 2;
    // Every byte belongs to a tensor: the old table stays under another name.
    header["model.old_embedding"] = header["model.embed_tokens.weight"];
    header["model.embed_tokens.weight"] = {
        {"dtype", "BF16"}, {"shape", {262144, 60}}, {"data_offsets", {old, old + table}}};
    header["lm_head.weight"] = {{"dtype", "BF16"},
                                {"shape", {262144, 60}},
                                {"data_offsets", {old + table, old + 2 * table}}};
    std::string text = header.dump();
    text.resize((text.size() + 7) / 8 * 8, ' ');
    const std::uint64_t size = text.size();
    {
        std::ofstream out(to / "model.safetensors", std::ios::binary);
        out.write(reinterpret_cast<const char*>(&size), sizeof(size));
        out << text << data;
        const std::string zeros(table, '\0');
        out << zeros << zeros;
    }
    const std::int64_t before = process_memory().resident_bytes;
    const auto model = load(to);
    const std::int64_t grown = process_memory().resident_bytes - before;
    QVERIFY2(grown < static_cast<std::int64_t>(table) + (std::int64_t{8} << 20),
             qPrintable(QString::number(grown)));
    QVERIFY(model->weight_bytes() > static_cast<std::int64_t>(2 * table));
    QCOMPARE(model->unused_tensors(), std::vector<std::string>{"model.old_embedding"});
    const auto held = sequence(model);
    std::vector<float> logits(262144);
    const auto ids = some_ids(3, 100);
    QVERIFY(model->forward(*held, ids, Model::Logits::Last, {logits.data(), {1, 262144}}).ok());
}

void SequenceTest::LoadingTellsProgressAndStops() {
    std::vector<LoadProgress> told;
    LoadOptions options;
    options.progress = [&](const LoadProgress& progress) { told.push_back(progress); };
    QVERIFY(try_load(checkpoint("qwen3.5") / "model.gguf", options).ok());
    QVERIFY(told.size() > 20);
    for (std::size_t i = 1; i < told.size(); ++i) {
        QVERIFY(told[i].done_bytes >= told[i - 1].done_bytes);
        QVERIFY(told[i].done_bytes <= told[i].total_bytes);
    }
    QCOMPARE(told.back().done_bytes, told.back().total_bytes);
    QCOMPARE(told.back().stage, std::string("layer 4 of 4"));

    std::stop_source source;
    options.stop = source.get_token();
    int calls = 0;
    options.progress = [&](const LoadProgress&) {
        if (++calls == 10) {
            source.request_stop();
        }
    };
    const auto stopped = try_load(checkpoint("qwen3.5") / "model.gguf", options);
    QVERIFY(stopped.ok());
    QVERIFY(!stopped->has_value());
    QVERIFY(calls <= 12);
}

void SequenceTest::NamesAloneTellWhatLoadingLeavesOut() {
    for (const CheckpointFile& file : checkpoint_files()) {
        const auto checkpoint = Checkpoint::open(file.model);
        QVERIFY(checkpoint.ok());
        const auto read = read_model(*checkpoint);
        QVERIFY(read.ok());
        const auto unused = Model::unused_tensors(*checkpoint, *read);
        QVERIFY2(unused.ok(), file.name.c_str());
        const auto model = load(file.model);
        QVERIFY2(*unused == model->unused_tensors(), file.name.c_str());
    }
}

void SequenceTest::ExtraTensorsAreNamedWithTheirReason() {
    const auto next = load(checkpoint("qwen3-next") / "hf");
    QCOMPARE(next->unused_tensors(),
             (std::vector<std::string>{
                 "mtp.fc.weight (multi-token prediction)",
                 "mtp.layers.0.self_attn.q_proj.weight (multi-token prediction)"}));
    const auto multimodal = load(checkpoint("qwen3.5-multimodal") / "hf");
    QVERIFY(!multimodal->unused_tensors().empty());
    for (const std::string& name : multimodal->unused_tensors()) {
        QVERIFY2(name.ends_with(" (vision)"), name.c_str());
    }
}

void SequenceTest::WrongTensorsAreErrorsThatSayWhich() {
    struct Case {
        const char* checkpoint;
        const char* key;
        Json value;
        ErrorCode code;
        std::vector<const char*> says;
    };
    const std::vector<Case> cases{
        {"qwen3",
         "intermediate_size",
         91,
         ErrorCode::Corrupt,
         {"layers.0.channel.gate", "(91, 60)", "(90, 60)"}},
        {"llama",
         "num_hidden_layers",
         4,
         ErrorCode::NotFound,
         {"layers.3", "model.layers.3.input_layernorm.weight"}},
        {"qwen3", "num_key_value_heads", 3, ErrorCode::Corrupt, {"layers.0.mixer.k", "(72, 60)"}},
        {"qwen3", "tie_word_embeddings", false, ErrorCode::NotFound, {"lm_head.weight"}},
        {"qwen3", "vocab_size", 130, ErrorCode::Corrupt, {"embedding", "(130, 60)", "(131, 60)"}},
        {"qwen3-next", "linear_num_value_heads", 4, ErrorCode::Corrupt, {"mixer.qkv"}},
        {"qwen3-next", "num_experts", 7, ErrorCode::Corrupt, {"router", "(7, 48)"}},
        {"qwen3-next", "linear_conv_kernel_dim", 3, ErrorCode::Corrupt, {"mixer.conv", "336"}},
        {"qwen3-fp8",
         "quantization_config",
         {{"quant_method", "fp8"}, {"weight_block_size", {64, 64}}},
         ErrorCode::Corrupt,
         {"scale_inv", "64 x 64"}},
    };
    for (const Case& c : cases) {
        QTemporaryDir folder;
        const auto path =
            edited(folder, c.checkpoint, [&](Json& config) { config[c.key] = c.value; });
        const auto result = try_load(path);
        QVERIFY2(!result.ok(), c.key);
        const QString text = QString::fromStdString(result.error().text());
        QVERIFY2(result.error().code == c.code, qPrintable(text));
        for (const char* part : c.says) {
            QVERIFY2(text.contains(part), qPrintable(QString(c.key) + ": " + text));
        }
    }
}

void SequenceTest::SyntheticModelsRunAndRepeat() {
    ModelSpec spec = load(checkpoint("qwen3.5-moe") / "hf")->spec();
    for (const DType dtype :
         {DType::F32, DType::F16, DType::BF16, DType::Q8_0, DType::Q4_0, DType::Q4_K}) {
        const auto made = Model::synthetic(cpu(), spec, 5, dtype);
        QVERIFY(made.ok() && made->has_value());
        const auto again = Model::synthetic(cpu(), spec, 5, dtype);
        const auto& model = *made;
        const auto& same = *again;
        const auto ids = some_ids(50, spec.vocab);
        const auto a = sequence(*model);
        const auto b = sequence(*same);
        const std::vector<float> logits = run(**model, *a, ids);
        QCOMPARE(run(**same, *b, ids), logits);
        double sum = 0;
        for (const float value : logits) {
            QVERIFY(std::isfinite(value));
            sum += double(value) * value;
        }
        const double size = std::sqrt(sum / double(logits.size()));
        QVERIFY2(size > 0.05 && size < 50, qPrintable(QString::number(size)));
        QCOMPARE((*model)->checkpoint(), nullptr);
    }
    QVERIFY(!Model::synthetic(cpu(), spec, 5, DType::I32).ok());
}

// Each of a checkpoint's tensors in turn becomes a number too few, or another type.
void SequenceTest::BrokenTensorsAreErrors() {
    for (const char* name : {"qwen3-next", "qwen3.5-moe", "llama-bias"}) {
        const std::string file = read_text(checkpoint(name) / "hf" / "model.safetensors");
        std::uint64_t header_bytes = 0;
        std::memcpy(&header_bytes, file.data(), sizeof(header_bytes));
        const Json header = parse(std::string_view(file).substr(8, header_bytes));
        int tried = 0;
        for (const auto& [tensor, entry] : header.items()) {
            if (tensor == "__metadata__" || tensor.starts_with("mtp.") || ++tried % 3 != 0) {
                continue;
            }
            QTemporaryDir folder;
            const auto to = edited(folder, name, [](Json&) {});
            Json changed = header;
            changed[tensor]["dtype"] = "I16"; // as wide as BF16
            std::string text = changed.dump();
            text.resize((text.size() + 7) / 8 * 8, ' ');
            const std::uint64_t size = text.size();
            {
                std::ofstream out(to / "model.safetensors", std::ios::binary);
                out.write(reinterpret_cast<const char*>(&size), sizeof(size));
                out << text << file.substr(8 + header_bytes);
            }
            const auto result = try_load(to);
            QVERIFY2(!result.ok(), tensor.c_str());
            QVERIFY2(QString::fromStdString(result.error().text()).contains(tensor.c_str()),
                     result.error().text().c_str());
        }
    }
}

QTEST_GUILESS_MAIN(SequenceTest)
#include "sequence_test.moc"
