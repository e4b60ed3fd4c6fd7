#pragma once
// What both container readers need to distrust a file: arithmetic that cannot wrap, names that may
// be shown, and files that are mapped only when they are files. Internal to engine/files.

#include "engine/core/memory.h"
#include "engine/core/paths.h"
#include "engine/files/checkpoint.h"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace hs {

// Empty when the result does not fit.
inline std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
    std::uint64_t sum = 0;
    return __builtin_add_overflow(a, b, &sum) ? std::nullopt : std::optional(sum);
}
inline std::optional<std::uint64_t> checked_mul(std::uint64_t a, std::uint64_t b) {
    std::uint64_t product = 0;
    return __builtin_mul_overflow(a, b, &product) ? std::nullopt : std::optional(product);
}

Error corrupt(std::string what, std::string remedy = "The file is damaged; fetch it again");
Error unsupported(std::string what, std::string remedy);
Error incomplete(std::uint64_t found_bytes, std::uint64_t expected_bytes);

// Text from a file as it may stand in a message: in quotes, escaped and cut after 80 bytes.
std::string in_quotes(std::string_view text);

// Valid UTF-8 without control characters.
bool is_printable_utf8(std::string_view text);

// A name that stays in its folder: no separators, no drive, not "." or "..".
bool is_plain_file_name(std::string_view name);

// Maps a regular file (or a link to one). Errors: NotFound, Io.
Result<MappedFile> map_regular_file(const std::filesystem::path& path);

// What files are mistaken for checkpoints: pickles, unfinished downloads, pointers, web pages.
// Empty when the first bytes tell nothing.
std::optional<Error> recognise_other_content(std::span<const std::byte> bytes);

// Errors: Corrupt when a name comes twice.
Result<void> check_unique_names(std::span<const TensorInfo> tensors);

// Errors: Unsupported, naming the first tensor of a foreign type and all such types.
Result<void> check_types_computable(std::span<const TensorInfo> tensors);

} // namespace hs
