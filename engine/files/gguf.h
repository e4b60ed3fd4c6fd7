#pragma once
// One GGUF file, version 2 or 3, read from its bytes. What a set of files is, a split or a model or
// an adapter, is decided in gguf.cpp's open_gguf. Internal to engine/files and its fuzz target.

#include "engine/files/checkpoint.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace hs {

struct GgufFile {
    std::uint32_t version = 0;
    Json metadata = Json::object();
    std::vector<TensorInfo> tensors; // `data` points into the bytes; `file` is 0
};

// Every count, length and offset is checked before it is used; nothing is allocated from a declared
// length that the remaining bytes could not fill.
//   need  HeaderOnly leaves `data` empty and does not ask for the tensors' bytes to be there
// Errors: Corrupt (field, offset, expected, found), Unsupported (byte order, version, types).
// Source: formats.md sections 1.1 and 1.4.
Result<GgufFile> parse_gguf(std::span<const std::byte> bytes, Need need);

// A tensor type by its number in GGUF files. `dtype` is meaningful when `computable`.
struct GgufType {
    std::uint32_t id = 0;
    std::string_view name;
    int block_elems = 1;
    int block_bytes = 1;
    bool computable = false;
    DType dtype = DType::F32;
};

std::span<const GgufType> gguf_types();

} // namespace hs
