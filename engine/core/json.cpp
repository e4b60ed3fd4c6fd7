#include "engine/core/json.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <unordered_set>
#include <vector>

namespace hs {

namespace {

std::string shown(const std::filesystem::path& path) {
    const auto text = path.u8string();
    return {text.begin(), text.end()};
}

// Depth is checked on the text itself: a parser's own recursion must never meet a hostile depth.
Result<void> check_depth(std::string_view text, int most) {
    int depth = 0;
    bool in_string = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (in_string) {
            if (c == '\\') {
                ++i;
            } else if (c == '"') {
                in_string = false;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > most) {
                return Error{ErrorCode::Corrupt,
                             "JSON is nested deeper than " + std::to_string(most) + " at byte " +
                                 std::to_string(i),
                             ""};
            }
        } else if (c == '}' || c == ']') {
            --depth;
        }
    }
    return {};
}

Error wrong(ErrorCode code, std::string_view key, const std::string& what) {
    return Error{code, "\"" + std::string(key) + "\": " + what, ""};
}

// A value for a message. Metadata of GGUF files holds bytes that are not always UTF-8, and dump()
// throws on them unless told to replace them.
std::string shown(const Json& value) {
    std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (text.size() > 80) {
        std::size_t end = 80; // at the start of a character
        while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
            --end;
        }
        text.resize(end);
    }
    return text;
}

Error absent_error(std::string_view key) {
    return wrong(ErrorCode::NotFound, key, "is missing");
}

} // namespace

Result<Json> parse_json(std::string_view text, const JsonLimits& limits) {
    if (text.size() > limits.bytes) {
        return Error{ErrorCode::Corrupt,
                     "JSON of " + std::to_string(text.size()) + " bytes is over the limit of " +
                         std::to_string(limits.bytes),
                     ""};
    }
    TRY(check_depth(text, limits.depth));
    // Two values under one key would let two readers see two different files.
    std::vector<std::unordered_set<std::string>> open_objects;
    std::string repeated;
    const auto note_keys = [&](int, Json::parse_event_t event, Json& parsed) {
        if (event == Json::parse_event_t::object_start) {
            open_objects.emplace_back();
        } else if (event == Json::parse_event_t::object_end) {
            open_objects.pop_back();
        } else if (event == Json::parse_event_t::key &&
                   !open_objects.back().insert(parsed.get<std::string>()).second) {
            repeated = parsed.get<std::string>();
        }
        return true;
    };
    try {
        Json parsed = Json::parse(text, note_keys);
        if (!repeated.empty()) {
            return Error{ErrorCode::Corrupt, "JSON has the key \"" + repeated + "\" twice", ""};
        }
        return parsed;
    } catch (const Json::exception& error) {
        return Error{ErrorCode::Corrupt, std::string("not JSON: ") + error.what(), ""};
    }
}

Result<Json> read_json_file(const std::filesystem::path& path, const JsonLimits& limits) {
    std::error_code failure;
    const auto bytes = std::filesystem::file_size(path, failure);
    if (failure) {
        return Error{ErrorCode::NotFound, shown(path) + ": " + failure.message(), ""};
    }
    if (bytes > limits.bytes) {
        return Error{ErrorCode::Corrupt,
                     shown(path) + ": " + std::to_string(bytes) + " bytes are over the limit of " +
                         std::to_string(limits.bytes),
                     ""};
    }
    std::ifstream stream(path, std::ios::binary);
    std::string text(static_cast<std::size_t>(bytes), '\0');
    if (!stream.read(text.data(), static_cast<std::streamsize>(text.size()))) {
        return Error{ErrorCode::Io, shown(path) + ": cannot be read", ""};
    }
    return parse_json(text, limits).with_context(shown(path));
}

const Json* json_member(const Json& object, std::string_view key) {
    if (!object.is_object()) {
        return nullptr;
    }
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
}

Result<std::int64_t> json_int(const Json& object, std::string_view key) {
    const Json* member = json_member(object, key);
    if (member == nullptr) {
        return absent_error(key);
    }
    if (member->is_number_unsigned()) {
        const auto value = member->get<std::uint64_t>();
        if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
            return wrong(ErrorCode::Corrupt, key, "is out of range: " + shown(*member));
        }
        return static_cast<std::int64_t>(value);
    }
    if (member->is_number_integer()) {
        return member->get<std::int64_t>();
    }
    if (member->is_number_float()) { // 1e6 written by a tool that has no integers
        const double value = member->get<double>();
        if (std::floor(value) == value && std::abs(value) < 9e15) {
            return static_cast<std::int64_t>(value);
        }
    }
    return wrong(ErrorCode::Corrupt, key, "expected an integer, found " + shown(*member));
}

Result<double> json_number(const Json& object, std::string_view key) {
    const Json* member = json_member(object, key);
    if (member == nullptr) {
        return absent_error(key);
    }
    if (!member->is_number() || !std::isfinite(member->get<double>())) {
        return wrong(ErrorCode::Corrupt, key, "expected a number, found " + shown(*member));
    }
    return member->get<double>();
}

Result<bool> json_bool(const Json& object, std::string_view key) {
    const Json* member = json_member(object, key);
    if (member == nullptr) {
        return absent_error(key);
    }
    if (!member->is_boolean()) {
        return wrong(ErrorCode::Corrupt, key, "expected true or false, found " + shown(*member));
    }
    return member->get<bool>();
}

Result<std::string> json_string(const Json& object, std::string_view key) {
    const Json* member = json_member(object, key);
    if (member == nullptr) {
        return absent_error(key);
    }
    if (!member->is_string()) {
        return wrong(ErrorCode::Corrupt, key, "expected a text, found " + shown(*member));
    }
    return member->get<std::string>();
}

Result<std::int64_t> json_int(const Json& object, std::string_view key, std::int64_t absent) {
    return json_member(object, key) == nullptr ? Result<std::int64_t>(absent)
                                               : json_int(object, key);
}

Result<double> json_number(const Json& object, std::string_view key, double absent) {
    return json_member(object, key) == nullptr ? Result<double>(absent) : json_number(object, key);
}

Result<bool> json_bool(const Json& object, std::string_view key, bool absent) {
    return json_member(object, key) == nullptr ? Result<bool>(absent) : json_bool(object, key);
}

Result<std::string> json_string(const Json& object, std::string_view key, std::string_view absent) {
    return json_member(object, key) == nullptr ? Result<std::string>(std::string(absent))
                                               : json_string(object, key);
}

} // namespace hs
