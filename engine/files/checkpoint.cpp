#include "engine/files/checkpoint.h"

#include "engine/files/checks.h"

#include <fmt/format.h>
#include <system_error>

namespace hs {

std::int64_t TensorInfo::elements() const {
    std::int64_t n = 1;
    for (const std::int64_t extent : shape) {
        n *= extent;
    }
    return n;
}

std::string TensorInfo::describe() const {
    const std::string_view type = foreign_type.empty() ? to_string(dtype) : foreign_type;
    return fmt::format("({}) {}", fmt::join(shape, ", "), type);
}

Result<Checkpoint> Checkpoint::open(const std::filesystem::path& path, Need need) {
    std::error_code error;
    if (std::filesystem::is_directory(path, error)) {
        return open_safetensors(path, need);
    }
    const std::filesystem::path extension = path.extension();
    if (extension == ".safetensors" || extension == ".json") {
        return open_safetensors(path, need);
    }
    // Whatever the name: caches keep files under their hash. Other content is named by the reader.
    return open_gguf(path, need);
}

const TensorInfo* Checkpoint::find(std::string_view name) const {
    const auto found = m_by_name.find(name);
    return found == m_by_name.end() ? nullptr : &m_tensors[found->second];
}

Result<std::string> Checkpoint::read_side_file(std::string_view name) const {
    constexpr std::size_t kLimit = std::size_t{64} << 20; // the largest tokenizer.json has 32 MB
    if (m_container == Container::Gguf) {
        return Error{ErrorCode::NotFound,
                     fmt::format("{}: a GGUF file has no side files", in_quotes(name)), ""};
    }
    if (!is_plain_file_name(name)) {
        return Error{ErrorCode::InvalidArgument,
                     fmt::format("side file {}: expected a plain file name", in_quotes(name)), ""};
    }
    std::error_code error;
    const std::filesystem::path folder =
        std::filesystem::is_directory(m_path, error) ? m_path : m_path.parent_path();
    const std::filesystem::path path = folder / path_from_utf8(name);
    const MappedFile file = TRY(map_regular_file(path));
    if (file.bytes().size() > kLimit) {
        return corrupt(fmt::format("{}: expected at most {} bytes, found {}", utf8_from_path(path),
                                   kLimit, file.bytes().size()),
                       "");
    }
    return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
}

void Checkpoint::forget(const TensorInfo& tensor, std::span<const std::byte> part) const {
    const auto file = static_cast<std::size_t>(tensor.file);
    if (file < m_maps.size()) {
        m_maps[file].forget(part);
    }
}

} // namespace hs
