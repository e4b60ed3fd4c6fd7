#pragma once
// SHA-256 of a file's bytes, so that a report can say exactly which model it measured.

#include <cstddef>
#include <span>
#include <string>

namespace hs {

// 64 lower-case hexadecimal digits. Source: FIPS 180-4.
std::string sha256(std::span<const std::byte> bytes);

} // namespace hs
