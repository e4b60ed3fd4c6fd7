#include "engine/core/log.h"

#include <atomic>
#include <memory>
#include <mutex>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace hs {

namespace {

struct Log {
    std::mutex mutex;
    LogSink sink;
    std::string last; // the line before, to count repeats
    std::uint64_t repeats = 0;
};

Log& the_log() {
    static Log log;
    return log;
}

std::atomic<LogLevel> g_level{LogLevel::Warning};

spdlog::level::level_enum spdlog_level(LogLevel level) {
    switch (level) {
    case LogLevel::Debug:
        return spdlog::level::debug;
    case LogLevel::Info:
        return spdlog::level::info;
    case LogLevel::Warning:
        return spdlog::level::warn;
    case LogLevel::Error:
        return spdlog::level::err;
    }
    return spdlog::level::info;
}

void write(const Log& log, LogLevel level, std::string_view category, std::string_view message) {
    if (log.sink) {
        log.sink(level, category, message);
        return;
    }
    static const auto logger = [] {
        auto made = std::make_shared<spdlog::logger>(
            "hybridscope", std::make_shared<spdlog::sinks::stderr_sink_mt>());
        made->set_pattern("%H:%M:%S.%e %l %v");
        made->set_level(spdlog::level::debug);
        return made;
    }();
    logger->log(spdlog_level(level), "{}: {}", category, message);
}

} // namespace

void set_log_sink(LogSink sink, LogLevel level) {
    Log& log = the_log();
    const std::lock_guard lock(log.mutex);
    log.sink = std::move(sink);
    g_level = level;
}

bool log_enabled(LogLevel level) {
    return level >= g_level.load(std::memory_order_relaxed);
}

// A run of equal lines becomes the first of them and a count.
void log_line(LogLevel level, std::string_view category, std::string message) {
    Log& log = the_log();
    const std::lock_guard lock(log.mutex);
    if (message == log.last) {
        ++log.repeats;
        return;
    }
    if (log.repeats > 0) {
        write(log, level, category, fmt::format("the line before came {} more times", log.repeats));
    }
    write(log, level, category, message);
    log.last = std::move(message);
    log.repeats = 0;
}

} // namespace hs
