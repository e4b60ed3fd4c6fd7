#pragma once
// One log with categories, over spdlog. The program sets the sink (a file and the log panel, or
// stderr); without one, warnings and errors go to stderr. Prompts and replies are never logged.

#include <fmt/format.h>
#include <functional>
#include <string>
#include <string_view>

namespace hs {

enum class LogLevel { Debug, Info, Warning, Error };

using LogSink = std::function<void(LogLevel, std::string_view category, std::string_view message)>;

// Sets where lines go and from which level on. Thread-safe.
void set_log_sink(LogSink sink, LogLevel level);
void log_line(LogLevel level, std::string_view category, std::string message);
bool log_enabled(LogLevel level);

} // namespace hs

#define HS_LOG(level, category, ...)                                                               \
    do {                                                                                           \
        if (::hs::log_enabled(::hs::LogLevel::level)) {                                            \
            ::hs::log_line(::hs::LogLevel::level, category, ::fmt::format(__VA_ARGS__));           \
        }                                                                                          \
    } while (false)
