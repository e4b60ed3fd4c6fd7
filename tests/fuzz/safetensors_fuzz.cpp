// Safetensors headers and the index of a sharded folder: whatever the bytes are, an error or
// tensors that lie within them, and file names that stay in the folder.

#include "engine/files/safetensors.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace {

void check_file(std::span<const std::byte> bytes) {
    const hs::Result<std::vector<hs::TensorInfo>> tensors = hs::parse_safetensors(bytes);
    if (!tensors.ok()) {
        HS_ASSERT(!tensors.error().what.empty());
        return;
    }
    for (const hs::TensorInfo& tensor : *tensors) {
        HS_ASSERT(tensor.elements() >= 0 && !tensor.describe().empty());
        HS_ASSERT(static_cast<std::int64_t>(tensor.data.size()) == tensor.bytes);
        HS_ASSERT(tensor.data.data() >= bytes.data() &&
                  tensor.data.size() <=
                      static_cast<std::size_t>(bytes.data() + bytes.size() - tensor.data.data()));
    }
}

void check_index(std::string_view text) {
    const hs::Result<hs::SafetensorsIndex> index = hs::parse_safetensors_index(text);
    if (!index.ok()) {
        return;
    }
    HS_ASSERT(!index->files.empty() && index->entries.size() >= index->files.size());
    for (const std::string& file : index->files) {
        HS_ASSERT(file.find_first_of("/\\:") == std::string::npos && file != "..");
    }
    for (const hs::SafetensorsIndex::Entry& entry : index->entries) {
        HS_ASSERT(entry.file < index->files.size());
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    check_file(std::as_bytes(std::span(data, size)));
    check_index({reinterpret_cast<const char*>(data), size});
    return 0;
}
