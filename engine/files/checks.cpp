#include "engine/files/checks.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>
#include <set>
#include <system_error>

namespace hs {

Error corrupt(std::string what, std::string remedy) {
    return {ErrorCode::Corrupt, std::move(what), std::move(remedy)};
}

Error unsupported(std::string what, std::string remedy) {
    return {ErrorCode::Unsupported, std::move(what), std::move(remedy)};
}

Error incomplete(std::uint64_t found_bytes, std::uint64_t expected_bytes) {
    return corrupt(fmt::format("file is incomplete: {} of {} bytes", found_bytes, expected_bytes),
                   "The usual reason is an interrupted download; fetch the file again");
}

namespace {

// Length of the UTF-8 sequence at the start of `text`, 0 when there is none (overlong forms,
// surrogates and values above U+10FFFF are none).
std::size_t utf8_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(0);
    if (lead < 0x80) {
        return 1;
    }
    const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || text.size() < length) {
        return 0;
    }
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xC0) != 0x80) {
            return 0;
        }
    }
    const bool bad_second = (lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F) ||
                            (lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) > 0x8F);
    return bad_second ? 0 : length;
}

// C0 and C1 controls and DEL.
bool is_control(std::string_view sequence) {
    const auto lead = static_cast<unsigned char>(sequence[0]);
    return lead < 0x20 || lead == 0x7F ||
           (lead == 0xC2 && static_cast<unsigned char>(sequence[1]) < 0xA0);
}

} // namespace

std::string in_quotes(std::string_view text) {
    constexpr std::size_t kShown = 80;
    std::string out = "'";
    std::size_t i = 0;
    while (i < text.size() && i < kShown) {
        const std::string_view rest = text.substr(i);
        const std::size_t length = utf8_length(rest);
        if (length != 0 && !is_control(rest)) {
            out += rest.substr(0, length);
            i += length;
        } else {
            out += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[i]));
            ++i;
        }
    }
    out += i < text.size() ? "...'" : "'";
    return out;
}

bool is_printable_utf8(std::string_view text) {
    while (!text.empty()) {
        const std::size_t length = utf8_length(text);
        if (length == 0 || is_control(text)) {
            return false;
        }
        text.remove_prefix(length);
    }
    return true;
}

bool is_plain_file_name(std::string_view name) {
    return !name.empty() && name.size() <= 255 && name != "." && name != ".." &&
           name.find_first_of("/\\:") == std::string_view::npos && is_printable_utf8(name);
}

Result<MappedFile> map_regular_file(const std::filesystem::path& path) {
    std::error_code error;
    const std::filesystem::file_status status = std::filesystem::status(path, error);
    if (status.type() == std::filesystem::file_type::not_found) {
        return Error{ErrorCode::NotFound, utf8_from_path(path) + ": there is no such file", ""};
    }
    if (error) {
        return Error{ErrorCode::Io,
                     utf8_from_path(path) + ": cannot be looked at: " + error.message(), ""};
    }
    // A pipe or a device would block or never end.
    if (status.type() != std::filesystem::file_type::regular) {
        return Error{ErrorCode::Io, utf8_from_path(path) + ": is not a regular file", ""};
    }
    return MappedFile::open(path);
}

std::optional<Error> recognise_other_content(std::span<const std::byte> bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                                std::min<std::size_t>(bytes.size(), 64));
    const auto starts = [&](std::string_view prefix) { return text.starts_with(prefix); };
    const bool pickle = text.size() >= 2 && text[0] == '\x80' && text[1] >= 2 && text[1] <= 5;
    if (pickle || starts("PK\x03\x04")) {
        return unsupported("file holds pickled Python objects, which can run code when read",
                           "Use the model's safetensors or GGUF files");
    }
    if (starts("version https://git-lfs")) {
        return corrupt("file is a Git LFS pointer, not the file itself",
                       "Fetch the contents, for example with 'git lfs pull'");
    }
    if (starts("<!DOCTYPE") || starts("<!doctype") || starts("<html")) {
        return corrupt("file is a web page, not a model",
                       "The download needs a login or another address");
    }
    for (const std::string_view legacy : {"lmgg", "fmgg", "tjgg", "algg"}) {
        if (starts(legacy)) {
            return unsupported("file is in a format older than GGUF",
                               "Use a GGUF file of the model");
        }
    }
    if (!text.empty() && text.find_first_not_of('\0') == std::string_view::npos) {
        return corrupt("file begins with zeros",
                       "The usual reason is an interrupted download; fetch the file again");
    }
    return std::nullopt;
}

Result<void> check_unique_names(std::span<const TensorInfo> tensors) {
    std::vector<std::string_view> names;
    names.reserve(tensors.size());
    for (const TensorInfo& tensor : tensors) {
        names.push_back(tensor.name);
    }
    std::sort(names.begin(), names.end());
    const auto twice = std::adjacent_find(names.begin(), names.end());
    if (twice != names.end()) {
        return corrupt(fmt::format("tensor {} is declared twice", in_quotes(*twice)));
    }
    return {};
}

Result<void> check_types_computable(std::span<const TensorInfo> tensors) {
    const TensorInfo* first = nullptr;
    std::size_t count = 0;
    std::set<std::string_view> types;
    for (const TensorInfo& tensor : tensors) {
        if (!tensor.foreign_type.empty()) {
            first = first == nullptr ? &tensor : first;
            types.insert(tensor.foreign_type);
            ++count;
        }
    }
    if (first == nullptr) {
        return {};
    }
    return unsupported(
        fmt::format("tensor {} is {}, a type that cannot be computed; {} of {} tensors are of "
                    "such types: {}",
                    in_quotes(first->name), first->describe(), count, tensors.size(),
                    fmt::join(types, ", ")),
        "Use another quantisation of the model, for example Q4_K_M or Q8_0");
}

} // namespace hs
