#include "app/bridge/side_thread.h"

#include "engine/core/log.h"
#include "engine/store/sessions.h"

#include <QMetaObject>

#include <chrono>
#include <exception>
#include <system_error>

namespace hs {

SideThread::SideThread(const std::filesystem::path& database, QObject* receiver,
                       std::function<void(const Error&)> trouble)
    : m_wanted(database)
    , m_path(database)
    , m_receiver(receiver)
    , m_trouble(std::move(trouble))
    , m_opened(m_open_promise.get_future().share()) {
    m_thread = std::jthread([this](std::stop_token stop) { serve(std::move(stop)); });
}

SideThread::~SideThread() {
    m_thread.request_stop();
    m_wake.notify_all();
    m_thread.join();
}

std::filesystem::path SideThread::path() const {
    const bool open = m_opened.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
    return open ? m_opened.get() : m_wanted;
}

void SideThread::enqueue(std::function<void(Database&)> work) {
    {
        const std::lock_guard lock(m_mutex);
        m_queue.push_back(std::move(work));
    }
    m_wake.notify_one();
}

void SideThread::deliver(std::function<void()> then) {
    QMetaObject::invokeMethod(m_receiver, std::move(then), Qt::QueuedConnection);
}

std::optional<Database> SideThread::open() {
    const auto announce = [this](const Error& error) {
        HS_LOG(Error, "store", "{}", error.text());
        deliver([trouble = m_trouble, error] { trouble(error); });
    };
    std::error_code ignored;
    if (m_path.has_parent_path()) {
        std::filesystem::create_directories(m_path.parent_path(), ignored);
    }
    Result<Database> wanted = Database::open(m_path, Access::ReadWrite);
    if (wanted.ok()) {
        return std::move(wanted).value();
    }
    announce(std::move(wanted).error().with_context("opening the session file"));
    m_path = std::filesystem::temp_directory_path(ignored) / "hybridscope-unsaved.sqlite";
    std::filesystem::remove(m_path, ignored);
    Result<Database> spare = Database::open(m_path, Access::ReadWrite);
    if (spare.ok()) {
        return std::move(spare).value();
    }
    m_path = ":memory:";
    Result<Database> last = Database::open(m_path, Access::ReadWrite);
    if (last.ok()) {
        return std::move(last).value();
    }
    announce(std::move(last).error());
    return std::nullopt;
}

void SideThread::serve(std::stop_token stop) {
    std::optional<Database> database = open();
    m_open_promise.set_value(m_path);
    if (database) {
        // Only the first connection may do this: a second window's replies are still streaming.
        const Result<int> recovered = SessionStore(*database).recover();
        if (recovered.ok() && *recovered > 0) {
            HS_LOG(Info, "store", "{} replies had been cut off; kept as far as written",
                   *recovered);
        }
    }
    while (true) {
        std::function<void(Database&)> work;
        {
            std::unique_lock lock(m_mutex);
            m_wake.wait(lock, stop, [this] { return !m_queue.empty(); });
            if (m_queue.empty()) {
                return; // asked to end, and nothing is left
            }
            work = std::move(m_queue.front());
            m_queue.pop_front();
        }
        if (!database) {
            continue;
        }
        try {
            work(*database);
        } catch (const std::exception& trouble) {
            HS_LOG(Error, "store", "work on the side thread ended early: {}", trouble.what());
        }
    }
}

} // namespace hs
