#pragma once
// The one seam between window and engine: owns a worker thread and its queue. Requests go in and
// return at once; answers come back as queued signals that carry values and the request's id.
// Tokens, samples and states are collected by EventBuffer and taken once per frame.

#include "engine/lab/experiment.h"
#include "engine/lab/runner.h"
#include "engine/run/events.h"
#include "engine/spec/model_spec.h"

#include <QObject>
#include <QString>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

namespace hs {

using RequestId = std::uint64_t;

// What the window may know of a loaded model.
struct ModelSummary {
    QString path;
    QString name;
    ModelSpec spec;
    std::int64_t weight_bytes = 0;
    std::int64_t file_bytes = 0;
    QString device;
    QString kv_dtype;
    std::int64_t context_limit = 0;
    Sampling recommended;
    bool template_is_fallback = false;
    bool can_think = false; // the template knows a thinking switch
};

struct OpenModelRequest {
    std::string model; // path or bundled name
    std::string device = "auto";
    int threads = 0;
    std::string kv_dtype = "auto";
    std::int64_t context_tokens = 0; // 0: the smaller of the model's own and 32768
};

// A reply to be written under `parent` of `session`; the host stores it as it grows.
struct ReplyRequest {
    std::int64_t session = 0;
    std::int64_t parent = 0; // the user's message
    GenerateRequest generate;
};

struct ReplyProgress {
    RequestId request = 0;
    std::int64_t message = 0; // the reply's row
    std::string new_text;     // since the last frame, thinking apart
    std::string new_thinking;
    std::vector<TokenEvent> tokens;
    PrefillEvent prefill;
    bool prefilling = false;
    StateEvent state; // latest; entries empty when nothing new
};

struct ExperimentFrame {
    RequestId request = 0;
    ExperimentProgress progress;
    struct ArmNews {
        int arm = 0;
        int repeat = 0;
        bool warm_up = false;
        std::string new_text;
        std::vector<Sample> samples;
    };
    std::vector<ArmNews> news; // in order of arrival
};

class EngineHost : public QObject {
    Q_OBJECT

public:
    // database: the session file; created when absent.
    explicit EngineHost(const std::filesystem::path& database, QObject* parent = nullptr);
    ~EngineHost() override; // requests a stop and joins

    // Each returns the id its signals carry.
    RequestId open_model(const OpenModelRequest& request);
    RequestId close_model();
    RequestId generate(const ReplyRequest& request);
    RequestId run_experiment(const Experiment& experiment, std::int64_t session = 0);
    // Reads a header only, for the library and for specs without weights.
    RequestId inspect(const std::string& model);
    // Stops a request, queued or running. Felt within 100 ms.
    void stop(RequestId request);
    void stop_all();

    std::filesystem::path database_path() const;
    bool busy() const;

    // Takes what came since the last frame; connected to frame_ready.
    std::vector<ReplyProgress> take_replies();
    std::vector<ExperimentFrame> take_experiments();

signals:
    void busy_changed(bool busy);
    void load_progress(hs::RequestId request, double fraction, const QString& stage);
    void model_opened(hs::RequestId request, const hs::ModelSummary& model);
    void model_closed(hs::RequestId request);
    void model_inspected(hs::RequestId request, const hs::ModelSummary& model);
    void reply_started(hs::RequestId request, std::int64_t session, std::int64_t message);
    void reply_finished(hs::RequestId request, std::int64_t message,
                        const hs::GenerateResult& result);
    void experiment_started(hs::RequestId request, std::int64_t session);
    void arm_ready(hs::RequestId request, int arm, const hs::ModelSpec& spec);
    void run_finished(hs::RequestId request, const hs::RunResult& run);
    void experiment_finished(hs::RequestId request, std::int64_t session,
                             const hs::ExperimentResult& result);
    // Any request that could not be done; stopped ones end with their own signals.
    void failed(hs::RequestId request, const QString& what, const QString& remedy);
    void stopped(hs::RequestId request);
    // At most once per 33 ms, and only when there is something to take.
    void frame_ready();

private:
    struct Worker;
    std::unique_ptr<Worker> m_worker;
};

} // namespace hs

Q_DECLARE_METATYPE(hs::ModelSummary)
Q_DECLARE_METATYPE(hs::ModelSpec)
Q_DECLARE_METATYPE(hs::GenerateResult)
Q_DECLARE_METATYPE(hs::RunResult)
Q_DECLARE_METATYPE(hs::ExperimentResult)
