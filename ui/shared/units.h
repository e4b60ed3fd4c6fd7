#pragma once
// One way to print each quantity. Binary units for bytes, thin groups for counts, the unit after a
// narrow no-break space; "–" for what is not known.

#include <QString>

#include <cstdint>

namespace hs {

QString bytes_text(std::int64_t bytes);           // "1.2 MiB", "640 B"
QString bytes_per_token_text(std::int64_t bytes); // "64 KiB per token"
QString count_text(std::int64_t count);           // "32 768"
QString short_count_text(std::int64_t count);     // "8.9 M", "1.2 B" for parameters
QString tokens_text(std::int64_t tokens);         // "512", "4k", "128k", "1M": 1k = 1024
QString tokens_phrase(std::int64_t tokens);       // "1 token", "312 tokens"
QString duration_text(double ms);                 // "84 ms", "1.24 s", "2 min 5 s"
QString rate_text(double tokens_per_s);           // "41.2 tokens/s"
QString ratio_text(double ratio);                 // "0.38×"
QString percent_text(double fraction);            // "38 %"
QString signed_percent_text(double fraction);     // "+4.1 %", "−62 %"
QString title_text(const QString& text);          // one line, at most 60 characters
// A bundled model's name as people read it: "hybridscope-ratio-1-3-kda" is "Ratio 1:3, KDA".
QString bundled_label(const QString& name);
QString age_text(std::int64_t unix_ms, std::int64_t now_ms); // "just now", "12 min ago", a date

} // namespace hs
