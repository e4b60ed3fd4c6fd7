// GGUF headers: whatever the bytes are, an error or tensors that lie within them.

#include "engine/files/gguf.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace {

void check(std::span<const std::byte> bytes, hs::Need need) {
    const hs::Result<hs::GgufFile> file = hs::parse_gguf(bytes, need);
    if (!file.ok()) {
        HS_ASSERT(!file.error().what.empty());
        return;
    }
    for (const hs::TensorInfo& tensor : file->tensors) {
        HS_ASSERT(tensor.elements() > 0 && tensor.bytes > 0 && !tensor.describe().empty());
        if (need == hs::Need::Tensors) {
            HS_ASSERT(static_cast<std::int64_t>(tensor.data.size()) == tensor.bytes);
            HS_ASSERT(tensor.data.data() >= bytes.data() &&
                      tensor.data.size() <= static_cast<std::size_t>(bytes.data() + bytes.size() -
                                                                     tensor.data.data()));
        } else {
            HS_ASSERT(tensor.data.empty());
        }
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::span<const std::byte> bytes = std::as_bytes(std::span(data, size));
    check(bytes, hs::Need::HeaderOnly);
    check(bytes, hs::Need::Tensors);
    return 0;
}
