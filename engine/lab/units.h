#pragma once
// One way to print a number with its unit in reports and on the terminal. Bytes are binary
// (KiB = 1024 B), three figures, decimal point.

#include <cstdint>
#include <string>

namespace hs {

std::string bytes_text(double bytes);         // "512 B", "12.3 MiB"
std::string ms_text(double ms);               // "0.512 ms", "12.3 ms", "1.23 s"
std::string rate_text(double per_s);          // "123 tokens/s"
std::string number_text(double value);        // three figures: "0.0123", "12.3", "1230"
std::string count_text(std::int64_t count);   // "1 234 567", thin spaces
std::string tokens_text(std::int64_t tokens); // "512", "4K", "1M": of 1024
std::string date_text(std::int64_t unix_ms);  // "2026-11-24 10:30:00 UTC"

} // namespace hs
