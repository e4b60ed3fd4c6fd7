#include "tests/support/fake_engine.h"

#include "engine/store/sessions.h"

#include <algorithm>
#include <map>
#include <new>
#include <numeric>
#include <thread>

namespace hs::test {

namespace {

constexpr std::int64_t kContext = 4096;

// Waits in slices, as an engine that looks at its stop token between tokens.
bool wait(std::chrono::milliseconds time, const std::stop_token& stop) {
    const auto until = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < until) {
        if (stop.stop_requested()) {
            return false;
        }
        std::this_thread::sleep_for(std::min(time, std::chrono::milliseconds(5)));
    }
    return !stop.stop_requested();
}

std::vector<LedgerEntry> entries_at(std::int64_t tokens) {
    std::vector<LedgerEntry> entries;
    for (int layer = 0; layer < 8; ++layer) {
        if (layer % 4 == 3) {
            entries.push_back({layer, StateKind::KvCache, tokens * 1024, tokens * 1024});
        } else {
            entries.push_back({layer, StateKind::RecurrentState, 65536, 65536});
            entries.push_back({layer, StateKind::ConvState, 6144, 6144});
        }
    }
    return entries;
}

std::int64_t words_in(const std::string& text) {
    return static_cast<std::int64_t>(std::count(text.begin(), text.end(), ' ')) + 1;
}

} // namespace

class FakeChatEngine final : public ChatEngine {
public:
    FakeChatEngine(FakeEngine& owner, ModelSummary summary)
        : m_owner(&owner)
        , m_summary(std::move(summary)) {}

    ModelSummary summary() const override { return m_summary; }

    GenerateResult generate(std::int64_t session, const GenerateRequest& request,
                            const GenerateSink& sink, std::stop_token stop) override {
        const FakeEngine::Script script = m_owner->script();
        {
            const std::lock_guard lock(m_owner->m_mutex);
            m_owner->m_requests.push_back(request);
        }
        if (script.out_of_memory) {
            throw std::bad_alloc();
        }
        const auto began = std::chrono::steady_clock::now();
        const auto elapsed = [&] {
            return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() -
                                                             began)
                .count();
        };
        GenerateResult result;
        result.seed = request.sampling.seed != 0 ? request.sampling.seed : 7;
        std::int64_t prompt = 0;
        for (const ChatMessage& message : request.messages) {
            prompt += words_in(message.content);
        }
        std::int64_t& held = m_held[session];
        result.timings.prompt_tokens = prompt;
        result.timings.reused_tokens = std::min(held, prompt);
        result.timings.prefilled_tokens = prompt - result.timings.reused_tokens;
        result.reuse_note = script.reuse_note;
        sink.prefill({0, result.timings.prefilled_tokens, 0});
        if (!wait(script.per_word, stop)) {
            result.reason = FinishReason::Stopped;
        }
        sink.prefill({result.timings.prefilled_tokens, result.timings.prefilled_tokens, elapsed()});
        std::int64_t position = prompt;
        const auto say = [&](const std::string& word, bool thinking) {
            if (!wait(script.per_word, stop)) {
                result.reason = FinishReason::Stopped;
                return false;
            }
            (thinking ? result.thinking : result.text) += word;
            ++result.timings.generated_tokens;
            if (result.timings.generated_tokens == 1) {
                result.timings.ttft_ms = elapsed();
            }
            sink.token({position++, 1, word, thinking, elapsed()});
            sink.state({position, kContext, entries_at(position), 73728});
            return true;
        };
        bool going = result.reason != FinishReason::Stopped;
        if (request.enable_thinking) {
            for (const std::string& word : script.thinking) {
                going = going && say(word, true);
            }
        }
        int said = 0;
        for (const std::string& word : script.words) {
            if (!going || said >= request.max_tokens) {
                break;
            }
            if (script.fail_after_words >= 0 && said == script.fail_after_words) {
                result.reason = FinishReason::Failed;
                result.error = "layers.3.mixer: the device was lost";
                break;
            }
            going = say(word, false);
            said += going ? 1 : 0;
        }
        held = position;
        result.timings.decode_ms = elapsed() - result.timings.ttft_ms;
        result.state = {position, kContext, entries_at(position), 73728};
        return result;
    }

private:
    FakeEngine* m_owner;
    ModelSummary m_summary;
    std::map<std::int64_t, std::int64_t> m_held;
};

void FakeEngine::set(Script script) {
    const std::lock_guard lock(m_mutex);
    m_script = std::move(script);
}

FakeEngine::Script FakeEngine::script() const {
    const std::lock_guard lock(m_mutex);
    return m_script;
}

std::vector<GenerateRequest> FakeEngine::requests() const {
    const std::lock_guard lock(m_mutex);
    return m_requests;
}

ModelSpec FakeEngine::spec() {
    ModelSpec spec;
    spec.family = "qwen3.5";
    spec.name = "Fake 1:3";
    spec.hidden = 256;
    spec.vocab = 4096;
    spec.context_length = 8192;
    spec.tied_embedding = true;
    for (int layer = 0; layer < 8; ++layer) {
        LayerSpec made;
        if (layer % 4 == 3) {
            SoftmaxSpec full;
            full.query_heads = 4;
            full.kv_heads = 2;
            full.head_dim = full.value_head_dim = 64;
            full.scale = 0.125;
            made.mixer = full;
        } else {
            GatedDeltaSpec linear;
            linear.key_heads = 4;
            linear.value_heads = 4;
            linear.key_dim = linear.value_dim = 64;
            made.mixer = linear;
        }
        DenseSpec dense;
        dense.intermediate = 704;
        made.channel = dense;
        spec.layers.push_back(made);
    }
    return spec;
}

EngineFunctions FakeEngine::functions() {
    const auto summary_of = [](const std::string& model) {
        ModelSummary summary;
        summary.path = QString::fromStdString(model);
        summary.name = QStringLiteral("Fake 1:3");
        summary.spec = spec();
        summary.weight_bytes = 5 << 20;
        summary.file_bytes = summary.weight_bytes;
        summary.kv_dtype = QStringLiteral("f16");
        summary.context_limit = kContext;
        summary.can_think = true;
        return summary;
    };
    EngineFunctions functions;
    functions.load = [this, summary_of](const OpenModelRequest& request, const LoadOptions& options)
        -> Result<std::optional<std::unique_ptr<ChatEngine>>> {
        ++m_loads;
        const Script now = script();
        for (int step = 0; step < now.load_steps; ++step) {
            if (!wait(now.per_load_step, options.stop)) {
                return std::optional<std::unique_ptr<ChatEngine>>();
            }
            options.progress({step + 1, now.load_steps, "layer " + std::to_string(step + 1)});
        }
        if (now.fail_load) {
            return Error{ErrorCode::Corrupt, "model.gguf: expected magic GGUF, found PK",
                         "Fetch the file again."};
        }
        ModelSummary summary = summary_of(request.model);
        summary.device = QStringLiteral("fake device");
        return std::optional<std::unique_ptr<ChatEngine>>(
            std::make_unique<FakeChatEngine>(*this, std::move(summary)));
    };
    functions.inspect = [summary_of](const std::string& model) -> Result<ModelSummary> {
        if (model.find("broken") != std::string::npos) {
            return Error{ErrorCode::Corrupt, model + ": expected magic GGUF, found PK",
                         "Fetch the file again."};
        }
        return summary_of(model);
    };
    functions.run_experiment = [this](const Experiment& experiment, Database&, std::int64_t session,
                                      const RunnerSink& sink,
                                      std::stop_token stop) -> RecordedExperiment {
        const Script now = script();
        if (now.fail_experiment) {
            return {session, 0,
                    Error{ErrorCode::OutOfMemory, "arm 1:1: 8 GiB wanted, 2 GiB free",
                          "Choose a smaller context."}};
        }
        ExperimentResult result;
        const int arms = static_cast<int>(experiment.arms.size());
        const int total = arms * experiment.repeats;
        int done = 0;
        for (int arm = 0; arm < arms; ++arm) {
            sink.arm_ready(arm, spec());
            ArmSummary summary;
            summary.label = experiment.arms[static_cast<std::size_t>(arm)].label;
            summary.state_bytes = 100000 * (arm + 1);
            result.arms.push_back(summary);
        }
        for (int repeat = 0; repeat < experiment.repeats && !result.stopped; ++repeat) {
            for (int arm = 0; arm < arms && !result.stopped; ++arm) {
                sink.progress({done, total, arm,
                               "run " + std::to_string(done + 1) + " of " + std::to_string(total),
                               -1});
                sink.run_begins(arm, repeat, false);
                RunResult run;
                run.arm = arm;
                run.repeat = repeat;
                std::int64_t position = 10;
                for (const std::string& word : now.words) {
                    if (!wait(now.per_word, stop)) {
                        result.stopped = true;
                        break;
                    }
                    sink.token(arm, {position, 1, word, false, 0});
                    for (const LedgerEntry& entry : entries_at(position)) {
                        sink.sample(arm, {SampleKind::StateUsedBytes, 0, position, entry.layer,
                                          entry.kind, 1, static_cast<double>(entry.used_bytes)});
                    }
                    sink.sample(arm, {.kind = SampleKind::TokenMs,
                                      .context_tokens = position,
                                      .value = 2.0 + arm});
                    run.reply.text += word;
                    ++position;
                }
                result.arms[static_cast<std::size_t>(arm)].text = run.reply.text;
                sink.run_ends(run);
                result.runs.push_back(run);
                ++done;
            }
        }
        sink.progress({done, total, 0, "done", 0});
        return {session, 1, std::move(result)};
    };
    return functions;
}

} // namespace hs::test
