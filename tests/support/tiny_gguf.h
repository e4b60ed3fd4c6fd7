#pragma once
// Writes small GGUF and safetensors files for tests, correct ones and, where a test says so, wrong
// ones: counts, types, offsets and whole headers can be given by hand. Not a converter.

#include "engine/core/tensor_view.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace hs::test {

using Bytes = std::vector<std::byte>;

// Little-endian bytes, one field after the other.
class ByteWriter {
public:
    template <class T>
    ByteWriter& number(T value) {
        const auto* from = reinterpret_cast<const std::byte*>(&value);
        m_bytes.insert(m_bytes.end(), from, from + sizeof(T));
        return *this;
    }
    ByteWriter& raw(std::string_view text);
    ByteWriter& raw(std::span<const std::byte> bytes);
    ByteWriter& text(std::string_view text); // u64 length and the bytes
    ByteWriter& pad(std::size_t alignment);

    const Bytes& bytes() const { return m_bytes; }
    std::size_t size() const { return m_bytes.size(); }

private:
    Bytes m_bytes;
};

Bytes bytes_of(std::span<const float> values);

// Metadata values; the alternative decides the type in the file.
using GgufValue =
    std::variant<std::uint8_t, std::int8_t, std::uint16_t, std::int16_t, std::uint32_t,
                 std::int32_t, float, bool, std::string, std::uint64_t, std::int64_t, double,
                 std::vector<std::uint8_t>, std::vector<std::int32_t>, std::vector<std::uint32_t>,
                 std::vector<float>, std::vector<std::string>>;

class GgufWriter {
public:
    // What a test may set wrong.
    struct Overrides {
        std::uint32_t version = 3;
        std::optional<std::uint64_t> tensor_count = std::nullopt;
        std::optional<std::uint64_t> key_count = std::nullopt;
        std::uint64_t alignment = 32; // of the layout; the key is the caller's to set
    };
    // A tensor info as it stands in the file.
    struct Declaration {
        std::string name;
        std::vector<std::uint64_t> dims; // innermost first
        std::uint32_t type = 0;
        std::uint64_t offset = 0;
    };

    GgufWriter() = default;
    explicit GgufWriter(Overrides overrides)
        : m_overrides(std::move(overrides)) {}

    GgufWriter& set(std::string_view key, GgufValue value);
    // A literal, by reference: GCC takes uint16_t{0} for a null pointer to char.
    template <std::size_t N>
    GgufWriter& set(std::string_view key, const char (&value)[N]) {
        return set(key, GgufValue(std::string(value)));
    }
    // A key with its type word and value as given, nothing checked.
    GgufWriter& set_raw(std::string_view key, std::uint32_t type, const Bytes& value);

    // shape is outermost first, as TensorInfo has it; data must be as long as the type says.
    GgufWriter& tensor(std::string_view name, DType dtype, const std::vector<std::int64_t>& shape,
                       Bytes data);
    GgufWriter& tensor(std::string_view name, const std::vector<std::int64_t>& shape,
                       std::span<const float> values);
    // An info as given; `data` follows at the running place whatever the offset says.
    GgufWriter& declare(Declaration declaration, Bytes data = {});
    // The offset at which the next tensor's data goes.
    std::uint64_t next_offset() const;

    Bytes bytes() const;
    void write(const std::filesystem::path& path) const;

private:
    Overrides m_overrides;
    ByteWriter m_keys;
    std::uint64_t m_key_count = 0;
    std::vector<Declaration> m_declarations;
    ByteWriter m_data;
};

// The number of a type in GGUF files; only types that GGUF has.
std::uint32_t gguf_type_id(DType dtype);

class SafetensorsWriter {
public:
    SafetensorsWriter& metadata(std::string_view key, std::string_view value);
    // dtype as in the header: "F32", "BF16", "F8_E4M3".
    SafetensorsWriter& tensor(std::string_view name, std::string_view dtype,
                              const std::vector<std::int64_t>& shape, const Bytes& data);
    SafetensorsWriter& tensor(std::string_view name, const std::vector<std::int64_t>& shape,
                              std::span<const float> values);

    Bytes bytes() const;
    void write(const std::filesystem::path& path) const;

    // A file of any header and data, for wrong ones.
    static Bytes container(std::string_view header, const Bytes& data = {});

private:
    std::vector<std::string> m_entries;
    std::vector<std::string> m_metadata;
    ByteWriter m_data;
};

// Ends the program when the file cannot be written: a test has nothing to test then.
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file(const std::filesystem::path& path, std::string_view text);

// A folder of the system's temporary directory that goes with its owner.
class TemporaryFolder {
public:
    TemporaryFolder();
    ~TemporaryFolder();
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

    const std::filesystem::path& path() const { return m_path; }
    std::filesystem::path operator/(const std::filesystem::path& name) const {
        return m_path / name;
    }

private:
    std::filesystem::path m_path;
};

} // namespace hs::test
