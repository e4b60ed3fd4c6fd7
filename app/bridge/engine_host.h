#pragma once
// The one seam between window and engine: owns a worker thread and its queue. Requests go in and
// return at once; answers come back as queued signals that carry values and the request's id.
// Tokens, samples and states are collected by EventBuffer and taken once per frame.

#include "app/bridge/chat_engine.h"
#include "app/bridge/event_buffer.h"
#include "app/bridge/side_thread.h"
#include "engine/lab/experiment.h"
#include "engine/lab/runner.h"
#include "engine/run/events.h"
#include "engine/spec/model_spec.h"

#include <QObject>
#include <QString>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

namespace hs {

// A reply to be written under `parent` of `session`; the host stores it as it grows.
struct ReplyRequest {
    std::int64_t session = 0;
    std::int64_t parent = 0; // the user's message
    GenerateRequest generate;
};

class EngineHost : public QObject {
    Q_OBJECT

public:
    // database: the session file; created when absent.
    explicit EngineHost(const std::filesystem::path& database, QObject* parent = nullptr);
    EngineHost(const std::filesystem::path& database, EngineFunctions functions,
               QObject* parent = nullptr);
    ~EngineHost() override; // requests a stop and joins

    // Each returns the id its signals carry.
    RequestId open_model(const OpenModelRequest& request);
    RequestId close_model();
    RequestId generate(const ReplyRequest& request);
    RequestId run_experiment(const Experiment& experiment, std::int64_t session = 0);
    // Reads a header only, for the library and for specs without weights. Does not wait for the
    // worker.
    RequestId inspect(const std::string& model);
    // Stops a request, queued or running. Felt within 100 ms.
    void stop(RequestId request);
    void stop_all();

    // The session file as it is in use: the wanted one, or a temporary one when that failed.
    std::filesystem::path database_path() const;
    bool busy() const { return m_busy; }
    // The model that is loaded, as far as the window has heard.
    const std::optional<ModelSummary>& model() const { return m_model; }
    // Reads and small writes of the session file, off the window's thread.
    SideThread& side();

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
    // A few per run; the frames carry it too.
    void experiment_progress(hs::RequestId request, const hs::ExperimentProgress& progress);
    void arm_ready(hs::RequestId request, int arm, const hs::ModelSpec& spec);
    void run_finished(hs::RequestId request, const hs::RunResult& run);
    void experiment_finished(hs::RequestId request, std::int64_t session,
                             const hs::ExperimentResult& result);
    // Any request that could not be done; stopped ones end with their own signals. Request 0: the
    // session file.
    void failed(hs::RequestId request, const QString& what, const QString& remedy);
    // A load or inspection that was stopped, and any request stopped before it began.
    void stopped(hs::RequestId request);
    // At most once per 33 ms, and only when there is something to take.
    void frame_ready();

private:
    struct Worker;
    void announce_frame(); // soon
    void flush_frame();    // now

    std::optional<ModelSummary> m_model;
    bool m_busy = false;
    std::unique_ptr<Worker> m_worker;
};

} // namespace hs

Q_DECLARE_METATYPE(hs::ModelSummary)
Q_DECLARE_METATYPE(hs::ModelSpec)
Q_DECLARE_METATYPE(hs::GenerateResult)
Q_DECLARE_METATYPE(hs::RunResult)
Q_DECLARE_METATYPE(hs::ExperimentProgress)
Q_DECLARE_METATYPE(hs::ExperimentResult)
