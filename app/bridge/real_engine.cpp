// The real engine behind the host: opens models, keeps one sequence per session, looks at headers.

#include "app/bridge/chat_engine.h"
#include "app/bridge/engine_host.h"
#include "engine/backend/devices.h"
#include "engine/files/checkpoint.h"
#include "engine/lab/timed_run.h"
#include "engine/run/generator.h"
#include "engine/run/sequence.h"
#include "engine/spec/families.h"

#include <algorithm>
#include <list>
#include <utility>

namespace hs {

namespace {

// Conversations whose state is kept; the one not used for longest goes first and is read again
// when the person returns to it.
constexpr std::size_t kSequencesKept = 3;
constexpr std::int64_t kUsualContext = 32768;

QString from(const std::string& text) {
    return QString::fromUtf8(text.data(), static_cast<qsizetype>(text.size()));
}

class LoadedChatEngine final : public ChatEngine {
public:
    LoadedChatEngine(LoadedModel loaded, ModelSummary summary, SequenceOptions options)
        : m_loaded(std::move(loaded))
        , m_summary(std::move(summary))
        , m_options(options) {}

    ModelSummary summary() const override { return m_summary; }

    GenerateResult generate(std::int64_t session, const GenerateRequest& request,
                            const GenerateSink& sink, std::stop_token stop) override {
        Result<Sequence*> sequence = sequence_of(session);
        if (!sequence.ok()) {
            GenerateResult result;
            result.reason = FinishReason::Failed;
            result.error = sequence.error().text();
            return result;
        }
        return hs::generate(m_loaded, **sequence, request, sink, std::move(stop));
    }

private:
    struct Kept {
        std::int64_t session = 0;
        std::unique_ptr<Sequence> sequence;
    };

    Result<Sequence*> sequence_of(std::int64_t session) {
        const auto found = std::find_if(m_sequences.begin(), m_sequences.end(),
                                        [&](const Kept& kept) { return kept.session == session; });
        if (found != m_sequences.end()) {
            m_sequences.splice(m_sequences.begin(), m_sequences, found);
            return m_sequences.front().sequence.get();
        }
        if (m_sequences.size() >= kSequencesKept) {
            m_sequences.pop_back();
        }
        auto sequence = TRY(Sequence::create(m_loaded.model, m_options));
        m_sequences.push_front({session, std::move(sequence)});
        return m_sequences.front().sequence.get();
    }

    LoadedModel m_loaded;
    ModelSummary m_summary;
    SequenceOptions m_options;
    std::list<Kept> m_sequences; // latest first
};

Result<std::optional<std::unique_ptr<ChatEngine>>> load(const OpenModelRequest& request,
                                                        const LoadOptions& options) {
    const std::filesystem::path path = TRY(resolve_model(request.model));
    std::shared_ptr<Backend> backend =
        TRY(open_backend({.device = request.device, .threads = request.threads}));
    std::optional<LoadedModel> loaded = TRY(load_model(backend, path, options));
    if (!loaded) {
        return std::optional<std::unique_ptr<ChatEngine>>();
    }
    const Model& model = *loaded->model;
    SequenceOptions sequence;
    sequence.state.kv_dtype = TRY(kv_dtype_named(request.kv_dtype, model));
    const std::int64_t own =
        model.spec().context_length > 0 ? model.spec().context_length : kUsualContext;
    sequence.state.context_tokens = request.context_tokens > 0
                                        ? std::min(request.context_tokens, own)
                                        : std::min(kUsualContext, own);
    sequence.snapshot_budget_bytes = request.snapshot_budget_bytes;
    sequence.draft = true; // where the model has a head for it

    ModelSummary summary;
    summary.path = QString::fromStdU16String(path.u16string());
    summary.name = from(model.spec().name);
    summary.spec = model.spec();
    summary.weight_bytes = model.weight_bytes();
    if (const Result<Checkpoint> header = Checkpoint::open(path, Need::HeaderOnly); header.ok()) {
        summary.file_bytes = header->file_bytes();
    }
    summary.device = from(backend->device().name);
    summary.kv_dtype = from(kv_dtype_name(sequence.state.kv_dtype));
    summary.context_limit = sequence.state.context_tokens;
    summary.recommended = loaded->recommended;
    summary.template_is_fallback = loaded->template_is_fallback;
    // The published templates agree on this one variable for their thinking switch.
    summary.can_think = loaded->chat_template && loaded->chat_template->source().find(
                                                     "enable_thinking") != std::string::npos;
    return std::optional<std::unique_ptr<ChatEngine>>(
        std::make_unique<LoadedChatEngine>(*std::move(loaded), std::move(summary), sequence));
}

Result<ModelSummary> inspect(const std::string& model) {
    const std::filesystem::path path = TRY(resolve_model(model));
    const Checkpoint checkpoint = TRY(Checkpoint::open(path, Need::HeaderOnly));
    SpecAndTensors read = TRY(read_model(checkpoint));
    ModelSummary summary;
    summary.path = QString::fromStdU16String(path.u16string());
    summary.name = from(read.spec.name);
    summary.file_bytes = checkpoint.file_bytes();
    for (const TensorInfo& tensor : checkpoint.tensors()) {
        summary.weight_bytes += tensor.bytes;
    }
    summary.weights_present = !checkpoint.tensors().empty();
    if (!summary.weights_present) {
        summary.weight_bytes = 2 * count_parameters(read.spec).total;
    }
    summary.context_limit =
        std::min(kUsualContext, std::max<std::int64_t>(read.spec.context_length, 1));
    summary.kv_dtype = QStringLiteral("f16");
    summary.spec = std::move(read.spec);
    return summary;
}

} // namespace

EngineFunctions real_engine() {
    return {load, inspect, run_and_record};
}

EngineHost::EngineHost(const std::filesystem::path& database, QObject* parent)
    : EngineHost(database, real_engine(), parent) {}

} // namespace hs
