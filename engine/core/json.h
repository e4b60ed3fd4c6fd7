#pragma once
// JSON from files and servers: nlohmann-json behind checks of size, depth and duplicate keys, and
// typed look-ups that fail with the key's name. Key order is kept (chat templates need it).

#include "engine/core/indexed_map.h"
#include "engine/core/result.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace hs {

using Json = nlohmann::basic_json<IndexedMap>;

struct JsonLimits {
    std::size_t bytes = std::size_t{64} << 20;
    int depth = 64;
};

// Errors: Corrupt, with the byte offset.
Result<Json> parse_json(std::string_view text, const JsonLimits& limits = {});
Result<Json> read_json_file(const std::filesystem::path& path, const JsonLimits& limits = {});

// Looks a key up in an object. Errors: NotFound when absent, Corrupt when of another type or out of
// range; both name the key.
Result<std::int64_t> json_int(const Json& object, std::string_view key);
Result<double> json_number(const Json& object, std::string_view key);
Result<bool> json_bool(const Json& object, std::string_view key);
Result<std::string> json_string(const Json& object, std::string_view key);

// The same with a value for an absent or null key.
Result<std::int64_t> json_int(const Json& object, std::string_view key, std::int64_t absent);
Result<double> json_number(const Json& object, std::string_view key, double absent);
Result<bool> json_bool(const Json& object, std::string_view key, bool absent);
Result<std::string> json_string(const Json& object, std::string_view key, std::string_view absent);

// The member, or nullptr when it is absent or null.
const Json* json_member(const Json& object, std::string_view key);

} // namespace hs
