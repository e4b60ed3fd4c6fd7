#include "engine/lab/units.h"

#include <array>
#include <chrono>
#include <cmath>
#include <fmt/format.h>

namespace hs {

std::string number_text(double value) {
    if (!std::isfinite(value)) {
        return "–";
    }
    const double size = std::fabs(value);
    if (size == 0) {
        return "0";
    }
    // As many decimals as three figures need. What rounds up to a further digit keeps one figure
    // more, which does no harm.
    const int decimals = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size >= 0.1 ? 3 : 4;
    return fmt::format("{:.{}f}", value, decimals);
}

std::string bytes_text(double bytes) {
    constexpr std::array units{"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    std::size_t unit = 0;
    while (std::fabs(bytes) >= 1024 && unit + 1 < units.size()) {
        bytes /= 1024;
        ++unit;
    }
    return (unit == 0 ? fmt::format("{:.0f}", bytes) : number_text(bytes)) + " " + units[unit];
}

std::string ms_text(double ms) {
    return ms >= 1000 ? number_text(ms / 1000) + " s" : number_text(ms) + " ms";
}

std::string rate_text(double per_s) {
    return number_text(per_s) + " tokens/s";
}

std::string count_text(std::int64_t count) {
    const std::string digits = std::to_string(count);
    std::string text;
    for (std::size_t i = 0; i < digits.size(); ++i) {
        const std::size_t left = digits.size() - i;
        if (i > 0 && left % 3 == 0 && digits[i - 1] != '-') {
            text += "\u2009"; // thin space
        }
        text += digits[i];
    }
    return text;
}

std::string tokens_text(std::int64_t tokens) {
    constexpr std::int64_t k = 1024;
    if (tokens >= k * k && tokens % (k * k) == 0) {
        return fmt::format("{}M", tokens / (k * k));
    }
    if (tokens >= k && tokens % k == 0) {
        return fmt::format("{}K", tokens / k);
    }
    return std::to_string(tokens);
}

std::string date_text(std::int64_t unix_ms) {
    using namespace std::chrono;
    // Years 0001 to 9999; a file may hold any number.
    constexpr std::int64_t least = -62'135'596'800'000;
    constexpr std::int64_t most = 253'402'300'799'999;
    if (unix_ms < least || unix_ms > most) {
        return "–";
    }
    const sys_time<milliseconds> time{milliseconds(unix_ms)};
    const sys_days day = floor<days>(time);
    const year_month_day date(day);
    const hh_mm_ss clock(floor<seconds>(time - day));
    return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC", static_cast<int>(date.year()),
                       static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                       clock.hours().count(), clock.minutes().count(), clock.seconds().count());
}

} // namespace hs
