#include "app/bridge/engine_host.h"

#include "engine/core/log.h"
#include "engine/store/sessions.h"

#include <QElapsedTimer>
#include <QMetaObject>
#include <QTimer>

#include <algorithm>
#include <chrono>
#include <exception>
#include <new>
#include <thread>

namespace hs {

namespace {

using Clock = std::chrono::steady_clock;

// Kept well inside the second that may be lost: a token may take half a second on its own.
constexpr auto kStoreEvery = std::chrono::milliseconds(400);
// A loader reports every tensor; the window needs no more than it can paint.
constexpr auto kProgressEvery = std::chrono::milliseconds(33);
constexpr int kFrameMs = 33;

QString from(const std::string& text) {
    return QString::fromUtf8(text.data(), static_cast<qsizetype>(text.size()));
}

} // namespace

struct EngineHost::Worker {
    struct Job {
        RequestId id = 0;
        std::stop_source stop;
        Clock::time_point queued = Clock::now();
        std::function<void(Job&)> work; // on the worker's thread
    };

    Worker(EngineHost& owner, const std::filesystem::path& path, EngineFunctions engine_functions)
        : host(owner)
        , functions(std::move(engine_functions))
        , buffer([this] { post([this] { host.announce_frame(); }); })
        , side(path, &owner, [&owner](const Error& error) {
            emit owner.failed(0, from(error.what), from(error.remedy));
        }) {
        frame_timer.setSingleShot(true);
        QObject::connect(&frame_timer, &QTimer::timeout, &owner,
                         [&owner] { owner.announce_frame(); });
        thread = std::jthread([this](std::stop_token stop) { serve(std::move(stop)); });
    }

    ~Worker() {
        {
            const std::lock_guard lock(mutex);
            queue.clear();
            if (running) {
                running->stop.request_stop();
            }
        }
        thread.request_stop();
        wake.notify_all();
        thread.join();
    }

    template <class Function>
    void post(Function function) {
        QMetaObject::invokeMethod(&host, std::move(function), Qt::QueuedConnection);
    }

    RequestId enqueue(std::function<void(Job&)> work) {
        auto job = std::make_shared<Job>();
        job->id = ++last_id;
        job->work = std::move(work);
        {
            const std::lock_guard lock(mutex);
            queue.push_back(job);
        }
        wake.notify_one();
        if (!host.m_busy) {
            host.m_busy = true;
            emit host.busy_changed(true);
        }
        return job->id;
    }

    void stop(RequestId id) {
        std::unique_lock lock(mutex);
        if (running && running->id == id) {
            running->stop.request_stop();
            return;
        }
        const auto found = std::find_if(queue.begin(), queue.end(),
                                        [&](const auto& job) { return job->id == id; });
        if (found == queue.end()) {
            return;
        }
        queue.erase(found);
        lock.unlock();
        // Queued, so that a caller that stops inside its own request call hears of it afterwards.
        post([this, id] { emit host.stopped(id); });
    }

    void stop_all() {
        std::vector<RequestId> ids;
        {
            const std::lock_guard lock(mutex);
            for (const auto& job : queue) {
                ids.push_back(job->id);
            }
            if (running) {
                ids.push_back(running->id);
            }
        }
        for (const RequestId id : ids) {
            stop(id);
        }
    }

    void fail(RequestId id, const Error& error) {
        HS_LOG(Error, "host", "{}", error.text());
        post([this, id, error] { emit host.failed(id, from(error.what), from(error.remedy)); });
    }

    void serve(std::stop_token stop) {
        while (true) {
            std::shared_ptr<Job> job;
            {
                std::unique_lock lock(mutex);
                wake.wait(lock, stop, [this] { return !queue.empty(); });
                if (stop.stop_requested()) {
                    break;
                }
                job = std::move(queue.front());
                queue.pop_front();
                running = job;
            }
            // The one place where an allocation that failed becomes an ordinary error.
            try {
                job->work(*job);
            } catch (const std::bad_alloc&) {
                fail(job->id,
                     {ErrorCode::OutOfMemory, "the machine has no memory left for this request",
                      "Close other programs, choose a smaller context, or a smaller model."});
            } catch (const std::exception& trouble) {
                fail(job->id, {ErrorCode::Device,
                               std::string("the engine ended a request early: ") + trouble.what(),
                               "Open the model again."});
            }
            bool idle = false;
            {
                const std::lock_guard lock(mutex);
                running.reset();
                idle = queue.empty();
            }
            if (idle) {
                post([this] { settle(); });
            }
        }
        engine.reset(); // weights and sequences go on the thread that made them
    }

    // On the window's thread: nothing is left to do, unless something new came meanwhile.
    void settle() {
        {
            const std::lock_guard lock(mutex);
            if (running || !queue.empty()) {
                return;
            }
        }
        if (host.m_busy) {
            host.m_busy = false;
            emit host.busy_changed(false);
        }
    }

    // The worker's own connection, opened when it is first needed.
    Result<Database*> database() {
        if (!store) {
            const std::filesystem::path path = side.opened_path();
            store.emplace(TRY(Database::open(path, Access::ReadWrite)));
        }
        return &*store;
    }

    void open_model(Job& job, const OpenModelRequest& request) {
        engine.reset(); // two models at once would need the memory of both
        post([this] { host.m_model.reset(); });
        Clock::time_point last{};
        LoadOptions options;
        options.stop = job.stop.get_token();
        options.progress = [&](const LoadProgress& progress) {
            const Clock::time_point now = Clock::now();
            if (now - last < kProgressEvery && progress.done_bytes < progress.total_bytes) {
                return;
            }
            last = now;
            const double fraction = progress.total_bytes > 0
                                        ? static_cast<double>(progress.done_bytes) /
                                              static_cast<double>(progress.total_bytes)
                                        : 0.0;
            post([this, id = job.id, fraction, stage = from(progress.stage)] {
                emit host.load_progress(id, fraction, stage);
            });
        };
        auto loaded = functions.load(request, options);
        if (!loaded.ok()) {
            fail(job.id, loaded.error());
            post([this, id = job.id] { emit host.model_closed(id); });
            return;
        }
        if (!loaded->has_value()) {
            post([this, id = job.id] {
                emit host.model_closed(id);
                emit host.stopped(id);
            });
            return;
        }
        engine = *std::move(loaded).value();
        post([this, id = job.id, summary = engine->summary()] {
            host.m_model = summary;
            emit host.model_opened(id, summary);
        });
    }

    void close_model(Job& job) {
        engine.reset();
        post([this, id = job.id] {
            host.m_model.reset();
            emit host.model_closed(id);
        });
    }

    // The reply's row, under the user's message and on the branch that is shown.
    Result<std::int64_t> add_reply(const ReplyRequest& request) {
        Database* const db = TRY(database());
        SessionStore sessions(*db);
        MessageRow row;
        row.session = request.session;
        row.parent = request.parent;
        row.role = "assistant";
        row.state = MessageState::Streaming;
        row.model = engine->summary().name.toStdString();
        row.created_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                             std::chrono::system_clock::now().time_since_epoch())
                             .count();
        return TRY(sessions.add_message(row));
    }

    void generate(Job& job, const ReplyRequest& request) {
        if (!engine) {
            fail(job.id, {ErrorCode::InvalidArgument, "no model is loaded",
                          "Open a model first: Models, or Ctrl+O."});
            return;
        }
        const double queue_ms =
            std::chrono::duration<double, std::milli>(Clock::now() - job.queued).count();
        const Result<std::int64_t> row = add_reply(request);
        if (!row.ok()) {
            fail(job.id, row.error());
            return;
        }
        const std::int64_t message = *row;
        post([this, id = job.id, session = request.session, message] {
            emit host.reply_started(id, session, message);
        });

        SessionStore sessions(*store);
        std::string text;
        std::string thinking;
        Clock::time_point stored = Clock::now();
        GenerateSink sink;
        sink.prefill = [&](const PrefillEvent& event) { buffer.add(job.id, message, event); };
        sink.state = [&](const StateEvent& event) { buffer.add(job.id, message, event); };
        sink.token = [&](const TokenEvent& event) {
            (event.thinking ? thinking : text) += event.text;
            buffer.add(job.id, message, event);
            const Clock::time_point now = Clock::now();
            if (now - stored >= kStoreEvery) {
                stored = now;
                if (const auto kept = sessions.set_text(message, text, thinking); !kept.ok()) {
                    HS_LOG(Warning, "store", "a reply in progress: {}", kept.error().text());
                }
            }
        };

        GenerateResult result;
        try {
            result =
                engine->generate(request.session, request.generate, sink, job.stop.get_token());
        } catch (const std::bad_alloc&) {
            // What was written so far is kept; only the rest is lost.
            result.reason = FinishReason::Failed;
            result.error = "the machine has no memory left for this reply";
            result.text = text;
            result.thinking = thinking;
        }
        result.timings.queue_ms = queue_ms;
        keep(sessions, message, result, request.generate.sampling);
        post([this, id = job.id, message, result = std::move(result)] {
            host.flush_frame(); // what is still in the buffer comes before the end
            emit host.reply_finished(id, message, result);
        });
    }

    void keep(SessionStore& sessions, std::int64_t message, const GenerateResult& result,
              const Sampling& sampling) {
        const auto kept = sessions.set_text(message, result.text, result.thinking);
        MessageState state = MessageState::Complete;
        if (result.reason == FinishReason::Stopped) {
            state = MessageState::Stopped;
        } else if (result.reason == FinishReason::Failed) {
            state = MessageState::Failed;
        }
        const auto ended = sessions.finish(message, state, metrics_json(result, sampling));
        for (const auto* outcome : {&kept, &ended}) {
            if (!outcome->ok()) {
                Error error = outcome->error();
                fail(0, std::move(error).with_context("keeping the reply"));
                return;
            }
        }
    }

    Result<std::int64_t> experiment_session(const Experiment& experiment, std::int64_t session) {
        Database* const db = TRY(database());
        if (session != 0) {
            return session;
        }
        return TRY(SessionStore(*db).create(SessionKind::Comparison, experiment.title));
    }

    void run_experiment(Job& job, const Experiment& experiment, std::int64_t wanted) {
        const Result<std::int64_t> session = experiment_session(experiment, wanted);
        if (!session.ok()) {
            fail(job.id, session.error());
            return;
        }
        post(
            [this, id = job.id, session = *session] { emit host.experiment_started(id, session); });
        const RequestId id = job.id;
        RunnerSink sink;
        sink.progress = [&, id](const ExperimentProgress& progress) {
            buffer.add(id, progress);
            post([this, id, progress] { emit host.experiment_progress(id, progress); });
        };
        sink.arm_ready = [&, id](int arm, const ModelSpec& spec) {
            post([this, id, arm, spec] { emit host.arm_ready(id, arm, spec); });
        };
        sink.run_begins = [&, id](int arm, int repeat, bool warm_up) {
            buffer.begin_run(id, arm, repeat, warm_up);
        };
        sink.token = [&, id](int arm, const TokenEvent& token) { buffer.add(id, arm, token); };
        sink.sample = [&, id](int arm, const Sample& sample) { buffer.add(id, arm, sample); };
        sink.run_ends = [&, id](const RunResult& run) {
            buffer.end_run();
            post([this, id, run] {
                host.flush_frame();
                emit host.run_finished(id, run);
                buffer.run_end_told();
            });
        };
        RecordedExperiment recorded =
            functions.run_experiment(experiment, *store, *session, sink, job.stop.get_token());
        if (!recorded.result.ok()) {
            fail(id, recorded.result.error());
            return;
        }
        post([this, id, session = recorded.session, result = std::move(recorded.result).value()] {
            host.flush_frame();
            emit host.experiment_finished(id, session, result);
        });
    }

    EngineHost& host;
    EngineFunctions functions;
    EventBuffer buffer;
    QTimer frame_timer;
    QElapsedTimer since_frame;
    RequestId last_id = 0; // the window's thread alone
    SideThread side;

    std::mutex mutex;
    std::condition_variable_any wake;
    std::deque<std::shared_ptr<Job>> queue;
    std::shared_ptr<Job> running;

    // The worker's thread alone.
    std::unique_ptr<ChatEngine> engine;
    std::optional<Database> store;
    std::jthread thread;
};

EngineHost::EngineHost(const std::filesystem::path& database, EngineFunctions functions,
                       QObject* parent)
    : QObject(parent)
    , m_worker(std::make_unique<Worker>(*this, database, std::move(functions))) {}

EngineHost::~EngineHost() = default;

RequestId EngineHost::open_model(const OpenModelRequest& request) {
    return m_worker->enqueue(
        [worker = m_worker.get(), request](Worker::Job& job) { worker->open_model(job, request); });
}

RequestId EngineHost::close_model() {
    return m_worker->enqueue(
        [worker = m_worker.get()](Worker::Job& job) { worker->close_model(job); });
}

RequestId EngineHost::generate(const ReplyRequest& request) {
    return m_worker->enqueue(
        [worker = m_worker.get(), request](Worker::Job& job) { worker->generate(job, request); });
}

RequestId EngineHost::run_experiment(const Experiment& experiment, std::int64_t session) {
    return m_worker->enqueue([worker = m_worker.get(), experiment, session](Worker::Job& job) {
        worker->run_experiment(job, experiment, session);
    });
}

RequestId EngineHost::inspect(const std::string& model) {
    const RequestId id = ++m_worker->last_id;
    m_worker->side.run(
        this, [inspect = m_worker->functions.inspect, model](Database&) { return inspect(model); },
        [this, id](Result<ModelSummary> summary) {
            if (summary.ok()) {
                emit model_inspected(id, *summary);
            } else {
                emit failed(id, from(summary.error().what), from(summary.error().remedy));
            }
        });
    return id;
}

void EngineHost::stop(RequestId request) {
    m_worker->stop(request);
}

void EngineHost::stop_all() {
    m_worker->stop_all();
}

std::filesystem::path EngineHost::database_path() const {
    return m_worker->side.path();
}

SideThread& EngineHost::side() {
    return m_worker->side;
}

std::vector<ReplyProgress> EngineHost::take_replies() {
    return m_worker->buffer.take_replies();
}

std::vector<ExperimentFrame> EngineHost::take_experiments() {
    return m_worker->buffer.take_experiments();
}

void EngineHost::announce_frame() {
    Worker& worker = *m_worker;
    if (worker.frame_timer.isActive()) {
        return; // it will come in its turn
    }
    const qint64 elapsed = worker.since_frame.isValid() ? worker.since_frame.elapsed() : kFrameMs;
    if (elapsed < kFrameMs) {
        worker.frame_timer.start(static_cast<int>(kFrameMs - elapsed));
        return;
    }
    flush_frame();
}

void EngineHost::flush_frame() {
    m_worker->frame_timer.stop();
    m_worker->since_frame.start();
    m_worker->buffer.announced();
    emit frame_ready();
}

} // namespace hs
