#pragma once
// A checkpoint on disk as named tensors and metadata, whichever container holds it: a GGUF file
// (split or not) or a folder with config.json and safetensors. Nothing here knows what a tensor is
// for; families do.

#include "engine/core/json.h"
#include "engine/core/memory.h"
#include "engine/core/tensor_view.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

// One tensor as it lies in its file. `shape` is outermost first, as PyTorch prints it: a GGUF
// dims [in, out] appears as {out, in}. Rows (the last extent) are contiguous.
struct TensorInfo {
    std::string name;
    DType dtype = DType::F32;
    // Name of a type that is known but cannot be computed ("IQ2_XXS"); `dtype` means nothing then.
    // Only header-only checkpoints hold such tensors: Need::Tensors refuses them by name.
    std::string_view foreign_type;
    std::vector<std::int64_t> shape;
    // Empty when the checkpoint was opened header-only. Safetensors may lie at any address: copy
    // out or use unaligned loads, never cast.
    std::span<const std::byte> data;
    std::int64_t bytes = 0;
    int file = 0; // index into Checkpoint::files()

    std::int64_t elements() const;
    std::string describe() const; // "(4096, 1024) Q4_K"
};

enum class Container { Gguf, Safetensors };

// How much of a checkpoint has to be there. HeaderOnly reads a GGUF's header (of the parts of a
// split that are there, the first at least) or config.json alone, and looks at no weights.
enum class Need { Tensors, HeaderOnly };

class Checkpoint {
public:
    // path: a .gguf file (any part of a split), a folder with config.json (and safetensors unless
    // HeaderOnly), or a config.json itself (HeaderOnly). A weight file of such a folder stands for
    // the folder; any other .safetensors file opens alone, without metadata or architecture.
    // Errors: NotFound, Io, Corrupt (file, field, offset, expected, found), Unsupported (type
    // names).
    static Result<Checkpoint> open(const std::filesystem::path& path, Need need = Need::Tensors);

    Container container() const { return m_container; }
    // The path the person named, every weight file read, and the bytes of these files.
    const std::filesystem::path& path() const { return m_path; }
    const std::vector<std::filesystem::path>& files() const { return m_files; }
    std::int64_t file_bytes() const { return m_file_bytes; }

    // GGUF metadata as JSON values under their full keys ("qwen35.block_count"); large arrays of
    // the tokenizer are kept here too. Strings are the file's bytes, not always UTF-8: dump() them
    // with error_handler_t::replace. For safetensors: config.json.
    const Json& metadata() const { return m_metadata; }
    // "general.architecture" or config.json's architectures[0] (falling back to model_type).
    const std::string& architecture() const { return m_architecture; }

    const TensorInfo* find(std::string_view name) const;
    std::span<const TensorInfo> tensors() const { return m_tensors; }

    // The folder's side files for safetensors (tokenizer.json, chat_template.jinja, ...), read with
    // a size limit of 64 MiB. `name` is a plain file name. NotFound for GGUF.
    Result<std::string> read_side_file(std::string_view name) const;

    // Tells the system that a part of a tensor will not be read again soon.
    void forget(const TensorInfo& tensor, std::span<const std::byte> part) const;

private:
    friend Result<Checkpoint> open_gguf(const std::filesystem::path&, Need);
    friend Result<Checkpoint> open_safetensors(const std::filesystem::path&, Need);

    Container m_container = Container::Gguf;
    std::filesystem::path m_path;
    std::vector<std::filesystem::path> m_files;
    std::vector<MappedFile> m_maps;
    std::int64_t m_file_bytes = 0;
    Json m_metadata;
    std::string m_architecture;
    std::vector<TensorInfo> m_tensors;
    std::map<std::string, std::size_t, std::less<>> m_by_name;
};

Result<Checkpoint> open_gguf(const std::filesystem::path& path, Need need);
Result<Checkpoint> open_safetensors(const std::filesystem::path& path, Need need);

} // namespace hs
