#pragma once
// The engine as the host calls it: a few functions and one loaded model. The real ones stand in
// real_engine.cpp; tests put a scripted engine in their place.

#include "engine/lab/recorder.h"
#include "engine/lab/runner.h"
#include "engine/run/events.h"
#include "engine/run/model.h"
#include "engine/spec/model_spec.h"

#include <QString>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

namespace hs {

// What the window may know of a model, loaded or looked at.
struct ModelSummary {
    QString path;
    QString name;
    ModelSpec spec;
    std::int64_t weight_bytes = 0;
    std::int64_t file_bytes = 0;
    QString device;   // empty when only looked at
    QString kv_dtype; // "f16"
    std::int64_t context_limit = 0;
    Sampling recommended;
    bool template_is_fallback = false;
    bool can_think = false;      // the template knows a thinking switch
    bool weights_present = true; // false: a config.json alone; weight_bytes is an estimate in bf16
};

struct OpenModelRequest {
    std::string model; // path or bundled name
    std::string device = "auto";
    int threads = 0;
    std::string kv_dtype = "auto";
    std::int64_t context_tokens = 0; // 0: the smaller of the model's own and 32768
    std::int64_t snapshot_budget_bytes = std::int64_t{512} << 20;
};

// A loaded model and the sequences kept on it, one per session. Used by the worker alone.
class ChatEngine {
public:
    virtual ~ChatEngine() = default;
    virtual ModelSummary summary() const = 0;
    virtual GenerateResult generate(std::int64_t session, const GenerateRequest& request,
                                    const GenerateSink& sink, std::stop_token stop) = 0;
};

struct EngineFunctions {
    // Empty when stopped.
    std::function<Result<std::optional<std::unique_ptr<ChatEngine>>>(const OpenModelRequest&,
                                                                     const LoadOptions&)>
        load;
    // Reads a header only. Called on the side thread, so that it never waits for a reply.
    std::function<Result<ModelSummary>(const std::string& model)> inspect;
    std::function<RecordedExperiment(const Experiment&, Database&, std::int64_t session,
                                     const RunnerSink&, std::stop_token)>
        run_experiment;
};

EngineFunctions real_engine();

} // namespace hs
