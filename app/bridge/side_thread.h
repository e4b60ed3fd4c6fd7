#pragma once
// A second, quiet thread beside the engine's worker: reads and small writes of the session file,
// model headers, folder scans. What must not wait for a reply in progress, and must not block the
// window either, runs here.

#include "engine/store/database.h"

#include <QObject>
#include <QPointer>

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <type_traits>
#include <utility>

namespace hs {

class SideThread {
public:
    // Opens (creates, migrates) the session file on its own thread. When that fails, `trouble` is
    // called on `receiver`'s thread and the session is kept in a temporary file instead.
    SideThread(const std::filesystem::path& database, QObject* receiver,
               std::function<void(const Error&)> trouble);
    ~SideThread(); // does what is queued, then ends

    // work(Database&) here, then `then(result)` on the window's thread, unless `context` is gone.
    template <class Work, class Then>
    void run(QObject* context, Work work, Then then) {
        using Value = std::invoke_result_t<Work, Database&>;
        enqueue([this, guard = QPointer<QObject>(context), work = std::move(work),
                 then = std::move(then)](Database& database) mutable {
            auto value = std::make_shared<Value>(work(database));
            deliver([guard, value, then = std::move(then)]() mutable {
                if (guard) {
                    then(std::move(*value));
                }
            });
        });
    }

    // The same for work without an answer.
    void run(std::function<void(Database&)> work) { enqueue(std::move(work)); }

    // The file in use, once it is open; for the worker, which waits for the migration.
    std::filesystem::path opened_path() const { return m_opened.get(); }
    // The same without waiting: the wanted file as long as it is not open yet.
    std::filesystem::path path() const;

private:
    void enqueue(std::function<void(Database&)> work);
    void deliver(std::function<void()> then);
    void serve(std::stop_token stop);
    std::optional<Database> open();

    const std::filesystem::path m_wanted;
    std::filesystem::path m_path; // its thread's alone
    QObject* m_receiver;
    std::function<void(const Error&)> m_trouble;
    std::promise<std::filesystem::path> m_open_promise;
    std::shared_future<std::filesystem::path> m_opened;
    std::mutex m_mutex;
    std::condition_variable_any m_wake;
    std::deque<std::function<void(Database&)>> m_queue;
    std::jthread m_thread;
};

} // namespace hs
