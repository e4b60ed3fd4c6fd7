// Conversations: what is held is not read again, replies after going back are those of never having
// left, thinking is told from the answer, and every way to end is reported as what it is.

#include "engine/run/generator.h"
#include "engine/run/sampler.h"
#include "engine/run/thinking.h"
#include "tests/engine/run/checkpoint_files.h"

#include <chrono>
#include <cmath>

using namespace hs;
using namespace hs::test;

namespace {

const LoadedModel& chat_model() {
    static const LoadedModel loaded = [] {
        auto result = load_model(cpu(), std::filesystem::path(HS_TEST_DATA) / "data/chat_model");
        if (!result.ok()) {
            qFatal("%s", result.error().text().c_str());
        }
        return std::move(**result);
    }();
    return loaded;
}

GenerateRequest ask(std::vector<ChatMessage> messages, std::int64_t tokens = 24) {
    GenerateRequest request;
    request.messages = std::move(messages);
    request.enable_thinking = false;
    request.sampling.temperature = 0;
    request.max_tokens = tokens;
    return request;
}

GenerateResult reply(Sequence& sequence, const GenerateRequest& request,
                     const GenerateSink& sink = {}, std::stop_token stop = {}) {
    return generate(chat_model(), sequence, request, sink, std::move(stop));
}

const std::string kQuestion = "What does a cello sound like, and how large is it?";
const std::string kSecond = "And a violin? Tell me about its strings and its bow, please.";
const std::string kThird = "Which of them is older, and where was it first made, do you know?";

} // namespace

class GeneratorTest : public QObject {
    Q_OBJECT

private slots:
    void ModelsOpenWithTheirWords();
    void ATurnReadsOnlyWhatIsNew();
    void RegeneratingReadsOnlyTheHeader();
    void EditingReadsOnlyFromTheEdit();
    void GoingBackGivesWhatNeverLeavingGives();
    void RepliesAreTakenOverWithTheirOwnIds();
    void DroppedThinkingIsExplained();
    void GreedyRepliesDoNotDependOnReuse();
    void TokensMakeTheText();
    void ThinkingIsTold();
    void EveryEndIsReported();
    void StopIsFeltAtOnceAndKeepsWhatWasRead();
    void StateIsToldAtMostTenTimesASecond();
    void PenaltiesAndSeedsWork();
    void SamplerFollowsItsSettings();
    void SamplerIsSafeFromBrokenLogits();
    void SplitterHoldsBackPossibleTags();
};

void GeneratorTest::ModelsOpenWithTheirWords() {
    const LoadedModel& loaded = chat_model();
    QVERIFY(loaded.tokenizer != nullptr);
    QVERIFY(!loaded.template_is_fallback);
    QCOMPARE(loaded.recommended.temperature, 0.6);
    QCOMPARE(loaded.recommended.top_k, 20);
    QCOMPARE(loaded.recommended.top_p, 0.9);
    QCOMPARE(default_kv_dtype(*loaded.model), DType::F32);

    // Without a tokenizer a model still computes.
    const auto bare = load_model(cpu(), checkpoint_folder() / "qwen3/hf");
    QVERIFY(bare.ok());
    QVERIFY((*bare)->tokenizer == nullptr);
    QVERIFY((*bare)->template_is_fallback);
    const auto held = sequence((*bare)->model);
    const GenerateResult result = generate(**bare, *held, ask({{"user", "hello", {}}}), {}, {});
    QCOMPARE(result.reason, FinishReason::Failed);
    QVERIFY(QString::fromStdString(result.error).contains("tokenizer"));

    QVERIFY(!load_model(cpu(), "/nowhere/at/all").ok());
    std::stop_source source;
    source.request_stop();
    LoadOptions options;
    options.stop = source.get_token();
    const auto stopped = load_model(cpu(), checkpoint_folder() / "qwen3/hf", options);
    QVERIFY(stopped.ok());
    QVERIFY(!stopped->has_value());
}

void GeneratorTest::ATurnReadsOnlyWhatIsNew() {
    const auto held = sequence(chat_model().model, 2000);
    std::vector<ChatMessage> talk{{"user", kQuestion, {}}};
    std::int64_t before = 0;
    for (const std::string& next : {kSecond, kThird, std::string()}) {
        const GenerateResult result = reply(*held, ask(talk));
        QCOMPARE(result.reason, FinishReason::TokenLimit);
        const Timings& t = result.timings;
        QCOMPARE(t.prompt_tokens, static_cast<std::int64_t>(result.prompt_ids.size()));
        QCOMPARE(t.reused_tokens + t.prefilled_tokens, t.prompt_tokens);
        QCOMPARE(t.generated_tokens, std::int64_t{24});
        QCOMPARE(t.reused_tokens, before);
        QVERIFY2(result.reuse_note.empty(), result.reuse_note.c_str());
        before = held->position();
        QCOMPARE(before, t.prompt_tokens + t.generated_tokens - 1);
        talk.push_back({"assistant", result.text, {}});
        talk.push_back({"user", next, {}});
    }
}

void GeneratorTest::RegeneratingReadsOnlyTheHeader() {
    const auto held = sequence(chat_model().model, 2000);
    const GenerateRequest request = ask({{"user", kQuestion, {}}});
    const GenerateResult first = reply(*held, request);
    const GenerateResult second = reply(*held, request);
    QCOMPARE(second.text, first.text);
    QCOMPARE(second.ids, first.ids);
    QVERIFY(second.timings.prefilled_tokens <= 16);
    QVERIFY(second.timings.reused_tokens > 50);

    GenerateRequest raw;
    raw.raw = true;
    raw.raw_prompt = "Once upon a time there was a cello that wanted to be a violin.";
    raw.sampling.temperature = 0;
    raw.max_tokens = 5;
    const auto other = sequence(chat_model().model, 2000);
    const GenerateResult a = reply(*other, raw);
    const GenerateResult b = reply(*other, raw);
    QCOMPARE(b.ids, a.ids);
    QCOMPARE(b.timings.prefilled_tokens, std::int64_t{1});
}

void GeneratorTest::EditingReadsOnlyFromTheEdit() {
    const auto held = sequence(chat_model().model, 2000);
    std::vector<ChatMessage> talk{{"user", kQuestion, {}}};
    const GenerateResult first = reply(*held, ask(talk));
    talk.push_back({"assistant", first.text, {}});
    talk.push_back({"user", kSecond, {}});
    const GenerateResult second = reply(*held, ask(talk));
    const std::int64_t turn = first.timings.prompt_tokens + first.timings.generated_tokens - 1;

    talk.back().content = "Something else: " + kThird;
    const GenerateResult edited = reply(*held, ask(talk));
    QVERIFY(edited.timings.reused_tokens >= turn);
    QVERIFY(QString::fromStdString(edited.reuse_note).contains("edited"));

    // Back to the first question: what lies before it is nothing, and the note says why.
    talk.resize(1);
    talk[0].content = "T" + kThird;
    const GenerateResult anew = reply(*held, ask(talk));
    QVERIFY(anew.timings.reused_tokens < 40);
    QVERIFY(!anew.reuse_note.empty());
    const auto fresh = sequence(chat_model().model, 2000);
    QCOMPARE(reply(*fresh, ask(talk)).ids, anew.ids);
}

void GeneratorTest::GoingBackGivesWhatNeverLeavingGives() {
    // Three turns; then the second is asked for once more, and the talk goes on from there.
    const auto straight = sequence(chat_model().model, 2000);
    const auto wandering = sequence(chat_model().model, 2000);
    std::vector<ChatMessage> talk{{"user", kQuestion, {}}};
    const GenerateResult one = reply(*straight, ask(talk));
    QCOMPARE(reply(*wandering, ask(talk)).ids, one.ids);
    talk.push_back({"assistant", one.text, {}});
    talk.push_back({"user", kSecond, {}});
    const GenerateResult two = reply(*straight, ask(talk));
    QCOMPARE(reply(*wandering, ask(talk)).ids, two.ids);

    std::vector<ChatMessage> astray = talk;
    astray.push_back({"assistant", two.text, {}});
    astray.push_back({"user", kThird, {}});
    reply(*wandering, ask(astray));
    astray.back().content += " Or not?";
    reply(*wandering, ask(astray));
    const GenerateResult again = reply(*wandering, ask(talk));
    QCOMPARE(again.ids, two.ids);
    QVERIFY(again.timings.prefilled_tokens <= 16);

    // The states themselves are equal to the last bit.
    const std::int64_t vocab = chat_model().model->spec().vocab;
    QCOMPARE(wandering->position(), straight->position());
    const std::vector<std::int32_t> next{65, 66, 67};
    const std::vector<float> expected = run(*chat_model().model, *straight, next);
    const std::vector<float> found = run(*chat_model().model, *wandering, next);
    QVERIFY(difference(found, expected, vocab).worst_value < 1e-5);
}

void GeneratorTest::RepliesAreTakenOverWithTheirOwnIds() {
    const auto held = sequence(chat_model().model, 2000);
    std::vector<ChatMessage> talk{{"user", kQuestion, {}}};
    const GenerateResult first = reply(*held, ask(talk));
    talk.push_back({"assistant", first.text, {}});
    talk.push_back({"user", kSecond, {}});
    const GenerateResult second = reply(*held, ask(talk));
    QVERIFY(second.prompt_ids.size() > first.prompt_ids.size() + first.ids.size());
    QVERIFY(std::equal(first.ids.begin(), first.ids.end() - 1,
                       second.prompt_ids.begin() +
                           static_cast<std::ptrdiff_t>(first.prompt_ids.size())));
}

void GeneratorTest::DroppedThinkingIsExplained() {
    const auto held = sequence(chat_model().model, 2000);
    GenerateRequest request = ask({{"user", kQuestion, {}}});
    request.enable_thinking = true;
    const GenerateResult first = reply(*held, request);
    QVERIFY(first.text.empty()); // all of it is thinking: the header opened the block
    QVERIFY(!first.thinking.empty());
    request.messages.push_back({"assistant", "An answer.", first.thinking});
    request.messages.push_back({"user", kSecond, {}});
    const GenerateResult second = reply(*held, request);
    // The template leaves the thinking out: the first question and the header are held, no more.
    QVERIFY(second.timings.reused_tokens > static_cast<std::int64_t>(first.prompt_ids.size()) - 40);
    QVERIFY(QString::fromStdString(second.reuse_note).contains("thinking"));
}

void GeneratorTest::GreedyRepliesDoNotDependOnReuse() {
    const auto held = sequence(chat_model().model, 2000);
    std::vector<ChatMessage> talk{{"system", "Be brief.", {}}, {"user", kQuestion, {}}};
    for (int turn = 0; turn < 3; ++turn) {
        const GenerateResult kept = reply(*held, ask(talk));
        // The same ids through a sequence that never held anything.
        const auto fresh = sequence(chat_model().model, 2000);
        const auto vocab = static_cast<std::size_t>(chat_model().model->spec().vocab);
        std::vector<float> logits = run(*chat_model().model, *fresh, kept.prompt_ids);
        std::vector<std::int32_t> ids;
        while (ids.size() < kept.ids.size()) {
            ids.push_back(largest(std::span(logits).last(vocab)));
            logits = run(*chat_model().model, *fresh, {&ids.back(), 1});
        }
        QCOMPARE(kept.ids, ids);
        talk.push_back({"assistant", kept.text, {}});
        talk.push_back({"user", turn == 0 ? kSecond : kThird, {}});
    }
}

void GeneratorTest::TokensMakeTheText() {
    const auto held = sequence(chat_model().model, 2000);
    GenerateRequest request = ask({{"user", kQuestion, {}}}, 60);
    request.sampling.temperature = 1.0;
    request.sampling.top_k = 0;
    request.sampling.seed = 11;
    std::string text;
    std::vector<std::int32_t> ids;
    std::int64_t prefilled = 0;
    GenerateSink sink;
    double last_ms = 0;
    sink.token = [&](const TokenEvent& event) {
        QVERIFY(!event.thinking);
        QVERIFY(event.elapsed_ms >= last_ms);
        last_ms = event.elapsed_ms;
        text += event.text;
        ids.push_back(event.id);
    };
    sink.prefill = [&](const PrefillEvent& event) {
        QVERIFY(event.done_tokens > prefilled);
        QVERIFY(event.done_tokens <= event.total_tokens);
        prefilled = event.done_tokens;
    };
    const GenerateResult result = reply(*held, request, sink);
    QCOMPARE(prefilled, result.timings.prefilled_tokens);
    QCOMPARE(text, result.text);
    QVERIFY(ids.size() >= result.ids.size());
    QVERIFY(!QString::fromUtf8(text.c_str()).isEmpty());
    QVERIFY(result.timings.ttft_ms > 0);
    QVERIFY(result.timings.decode_tokens_per_s() > 0);
    QCOMPARE(result.state.context_tokens, held->position());
    QCOMPARE(result.state.context_limit, std::int64_t{2000});
}

void GeneratorTest::ThinkingIsTold() {
    const auto held = sequence(chat_model().model, 2000);
    GenerateRequest request = ask({{"user", kQuestion, {}}}, 10);
    request.enable_thinking = true;
    int thinking = 0;
    GenerateSink sink;
    sink.token = [&](const TokenEvent& event) { thinking += event.thinking ? 1 : 0; };
    const GenerateResult result = reply(*held, request, sink);
    QVERIFY(thinking > 0);
    QVERIFY(result.text.empty());
}

void GeneratorTest::EveryEndIsReported() {
    const auto limited = sequence(chat_model().model, 2000);
    const GenerateResult limit = reply(*limited, ask({{"user", kQuestion, {}}}, 7));
    QCOMPARE(limit.reason, FinishReason::TokenLimit);
    QCOMPARE(limit.ids.size(), std::size_t{7});

    // A context that ends during the reply, and one that the prompt does not fit into.
    const auto tokens = static_cast<std::int64_t>(limit.prompt_ids.size());
    const auto small = sequence(chat_model().model, tokens + 5);
    const GenerateResult full = reply(*small, ask({{"user", kQuestion, {}}}, 50));
    QCOMPARE(full.reason, FinishReason::ContextFull);
    QCOMPARE(full.ids.size(), std::size_t{6});
    const auto tiny = sequence(chat_model().model, tokens);
    const GenerateResult none = reply(*tiny, ask({{"user", kQuestion, {}}}, 50));
    QCOMPARE(none.reason, FinishReason::Failed);
    QVERIFY(QString::fromStdString(none.error).contains(QString::number(tokens)));

    // A stop string: what the greedy reply says in its middle.
    const auto whole = sequence(chat_model().model, 2000);
    const GenerateResult all = reply(*whole, ask({{"user", kQuestion, {}}}, 40));
    const QString said = QString::fromUtf8(all.text.c_str());
    QVERIFY(said.size() > 6);
    GenerateRequest request = ask({{"user", kQuestion, {}}}, 40);
    request.stop_strings = {said.mid(3, 2).toStdString()};
    const auto cut = sequence(chat_model().model, 2000);
    const GenerateResult stopped = reply(*cut, request);
    QCOMPARE(stopped.reason, FinishReason::StopString);
    QVERIFY(!QString::fromUtf8(stopped.text.c_str()).contains(said.mid(3, 2)));
    QVERIFY(said.startsWith(QString::fromUtf8(stopped.text.c_str())));

    // An end token: sampled hot, one comes sooner or later.
    bool ended = false;
    for (std::uint64_t seed = 1; seed < 20 && !ended; ++seed) {
        const auto hot = sequence(chat_model().model, 2000);
        GenerateRequest hot_request = ask({{"user", kQuestion, {}}}, 400);
        hot_request.sampling.temperature = 3.0;
        hot_request.sampling.top_k = 0;
        hot_request.sampling.top_p = 1.0;
        hot_request.sampling.seed = seed;
        const GenerateResult result = reply(*hot, hot_request);
        if (result.reason == FinishReason::EndToken) {
            ended = true;
            QVERIFY(chat_model().tokenizer->ends_reply(result.ids.back()));
            QVERIFY(!QString::fromUtf8(result.text.c_str()).contains("<|im_end|>"));
        }
    }
    QVERIFY(ended);

    GenerateRequest empty;
    empty.raw = true;
    const auto nothing = sequence(chat_model().model, 2000);
    QCOMPARE(reply(*nothing, empty).reason, FinishReason::Failed);
}

void GeneratorTest::StopIsFeltAtOnceAndKeepsWhatWasRead() {
    const auto held = sequence(chat_model().model, 4000);
    std::stop_source source;
    GenerateSink sink;
    int tokens = 0;
    std::chrono::steady_clock::time_point asked;
    sink.token = [&](const TokenEvent&) {
        if (++tokens == 5) {
            asked = std::chrono::steady_clock::now();
            source.request_stop();
        }
    };
    const GenerateResult result =
        reply(*held, ask({{"user", kQuestion, {}}}, 1000), sink, source.get_token());
    const auto took = std::chrono::steady_clock::now() - asked;
    QCOMPARE(result.reason, FinishReason::Stopped);
    QVERIFY(took < std::chrono::milliseconds(100));
    QCOMPARE(result.ids.size(), std::size_t{5});
    QVERIFY(!result.text.empty());
    // Short steps are finished, so nothing has to be read again.
    QVERIFY(held->position() >= static_cast<std::int64_t>(result.prompt_ids.size()) + 3);

    // During the prompt.
    std::stop_source early;
    std::string words;
    for (int i = 0; i < 60; ++i) {
        words += kThird;
    }
    GenerateSink prefill_sink;
    prefill_sink.prefill = [&](const PrefillEvent&) { early.request_stop(); };
    const auto other = sequence(chat_model().model, 6000);
    const GenerateResult none =
        reply(*other, ask({{"user", words, {}}}), prefill_sink, early.get_token());
    QCOMPARE(none.reason, FinishReason::Stopped);
    QVERIFY(none.ids.empty());
    QVERIFY(none.timings.prefilled_tokens < none.timings.prompt_tokens);
    QCOMPARE(none.timings.prefilled_tokens, other->position());
    const GenerateResult resumed = reply(*other, ask({{"user", words, {}}}));
    QCOMPARE(resumed.timings.reused_tokens, none.timings.prefilled_tokens);
}

void GeneratorTest::StateIsToldAtMostTenTimesASecond() {
    const auto held = sequence(chat_model().model, 4000);
    std::vector<std::chrono::steady_clock::time_point> told;
    GenerateSink sink;
    StateEvent last;
    sink.state = [&](const StateEvent& event) {
        told.push_back(std::chrono::steady_clock::now());
        last = event;
    };
    const auto begin = std::chrono::steady_clock::now();
    const GenerateResult result = reply(*held, ask({{"user", kQuestion, {}}}, 500), sink);
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    QVERIFY(told.size() >= 1);
    QVERIFY(static_cast<double>(told.size()) <= 10 * seconds + 2);
    QCOMPARE(last.context_tokens, result.state.context_tokens);
    QCOMPARE(last.entries, held->ledger().entries());
}

void GeneratorTest::PenaltiesAndSeedsWork() {
    GenerateRequest request = ask({{"user", kQuestion, {}}}, 30);
    request.sampling = {.temperature = 1.0, .top_k = 50, .seed = 5};
    const auto run_once = [&] {
        const auto held = sequence(chat_model().model, 2000);
        return reply(*held, request);
    };
    const GenerateResult a = run_once();
    QCOMPARE(a.seed, std::uint64_t{5});
    QCOMPARE(run_once().ids, a.ids);
    request.sampling.seed = 6;
    QVERIFY(run_once().ids != a.ids);
    request.sampling.seed = 0;
    const GenerateResult fresh = run_once();
    QVERIFY(fresh.seed != 0);
    request.sampling.seed = fresh.seed;
    QCOMPARE(run_once().ids, fresh.ids);
}

void GeneratorTest::SamplerFollowsItsSettings() {
    const std::vector<float> logits{1.0f, 3.0f, 2.0f, 3.0f, -1.0f};
    const auto draw = [&](const Sampling& settings, int times) {
        std::vector<int> counts(logits.size());
        Sampler sampler(settings);
        for (int i = 0; i < times; ++i) {
            std::vector<float> copy = logits;
            ++counts[static_cast<std::size_t>(sampler.sample(copy))];
        }
        return counts;
    };
    QCOMPARE(draw({.temperature = 0}, 10)[1], 10); // the lowest id among equals
    QCOMPARE(draw({.temperature = 5, .top_k = 1, .seed = 3}, 50)[1], 50);
    const auto two = draw({.temperature = 5, .top_k = 2, .top_p = 1, .seed = 3}, 1000);
    QCOMPARE(two[1] + two[3], 1000);
    QVERIFY(std::abs(two[1] - two[3]) < 150);
    // Shares at temperature 1: e^0, e^-1, e^-2, e^-4 against twice e^0.
    const double total = 2 + std::exp(-1.0) + std::exp(-2.0) + std::exp(-4.0);
    const auto all = draw({.temperature = 1, .top_k = 0, .top_p = 1, .seed = 4}, 20000);
    QVERIFY(std::abs(all[2] / 20000.0 - std::exp(-1.0) / total) < 0.01);
    QVERIFY(std::abs(all[4] / 20000.0 - std::exp(-4.0) / total) < 0.005);
    // The two largest make 0.794 of all: enough for 0.79, not for 0.8.
    const auto nucleus = draw({.temperature = 1, .top_k = 0, .top_p = 0.79, .seed = 4}, 2000);
    QCOMPARE(nucleus[1] + nucleus[3], 2000);
    const auto wider = draw({.temperature = 1, .top_k = 0, .top_p = 0.8, .seed = 4}, 2000);
    QVERIFY(wider[2] > 0 && wider[0] == 0);
    const auto least =
        draw({.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0.3, .seed = 4}, 2000);
    QVERIFY(least[2] > 0 && least[0] == 0 && least[4] == 0);
}

void GeneratorTest::SamplerIsSafeFromBrokenLogits() {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float infinity = std::numeric_limits<float>::infinity();
    for (const Sampling& settings :
         {Sampling{.temperature = 0}, Sampling{.temperature = 1, .seed = 1},
          Sampling{.temperature = 1, .top_k = 0, .min_p = 0.5, .seed = 1}}) {
        Sampler sampler(settings);
        std::vector<float> broken{nan, 1.0f, nan};
        QCOMPARE(sampler.sample(broken), 1);
        std::vector<float> all(5, nan);
        QCOMPARE(sampler.sample(all), 0);
        std::vector<float> infinite{0.0f, infinity, 0.0f};
        QCOMPARE(sampler.sample(infinite), 1);
        std::vector<float> nothing(5, -infinity);
        QCOMPARE(sampler.sample(nothing), 0);
    }
    // Penalties: what was written falls behind, what was read only for repetition.
    Sampler sampler({.temperature = 0, .repetition_penalty = 2.0});
    sampler.read(1);
    std::vector<float> logits{1.5f, 2.0f, -1.0f};
    QCOMPARE(sampler.sample(logits), 0);
    QCOMPARE(logits[1], 1.0f);
    Sampler presence({.temperature = 0, .presence_penalty = 1.0});
    presence.read(1);
    std::vector<float> again{1.5f, 2.0f, -1.0f};
    QCOMPARE(presence.sample(again), 1);
    presence.accept(1);
    again = {1.5f, 2.0f, -1.0f};
    QCOMPARE(presence.sample(again), 0);
}

void GeneratorTest::SplitterHoldsBackPossibleTags() {
    ThinkingSplitter closed(false);
    std::string text;
    std::string thinking;
    const auto push = [&](ThinkingSplitter& splitter, const char* piece) {
        const auto out = splitter.push(piece);
        text += out.text;
        thinking += out.thinking;
    };
    for (const char* piece : {"<th", "ink>", "\nhm", "m</t", "hin", "k>\n\nyes", " < no"}) {
        push(closed, piece);
    }
    const auto rest = closed.flush();
    QCOMPARE(text + rest.text, std::string("yes < no"));
    QCOMPARE(thinking, std::string("hmm"));

    ThinkingSplitter open(true);
    text.clear();
    thinking.clear();
    push(open, "so </thin");
    QCOMPARE(thinking, std::string("so "));
    push(open, "gs>");
    QCOMPARE(thinking, std::string("so </things>"));
    QVERIFY(open.thinking());
}

QTEST_GUILESS_MAIN(GeneratorTest)
#include "generator_test.moc"
