#pragma once
// The parts of a safetensors checkpoint, read from their bytes: one file's header, and the index of
// a sharded folder. Which files of a folder are read is decided in safetensors.cpp's
// open_safetensors. Internal to engine/files and its fuzz target.

#include "engine/files/checkpoint.h"

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

// The tensors of one file in the order of its header, with their data; `file` is 0.
// Errors: Corrupt (tensor, field, expected, found). Source: formats.md section 3.1.
Result<std::vector<TensorInfo>> parse_safetensors(std::span<const std::byte> bytes);

// Which tensor lies in which file of the folder.
struct SafetensorsIndex {
    struct Entry {
        std::string tensor;
        std::size_t file = 0; // in `files`
    };
    std::vector<std::string> files; // plain names that stay in the folder, sorted
    std::vector<Entry> entries;
};

// Errors: Corrupt, among others for a file name that leaves the folder.
Result<SafetensorsIndex> parse_safetensors_index(std::string_view text);

} // namespace hs
