#include "tests/support/tiny_gguf.h"

#include <fmt/format.h>
#include <fstream>
#include <random>
#include <system_error>
#include <type_traits>

namespace hs::test {
namespace {

// Type words of metadata values, by the alternatives of GgufValue; arrays have their element's.
template <class T>
constexpr std::uint32_t value_type() {
    if constexpr (std::is_same_v<T, std::uint8_t>) {
        return 0;
    } else if constexpr (std::is_same_v<T, std::int8_t>) {
        return 1;
    } else if constexpr (std::is_same_v<T, std::uint16_t>) {
        return 2;
    } else if constexpr (std::is_same_v<T, std::int16_t>) {
        return 3;
    } else if constexpr (std::is_same_v<T, std::uint32_t>) {
        return 4;
    } else if constexpr (std::is_same_v<T, std::int32_t>) {
        return 5;
    } else if constexpr (std::is_same_v<T, float>) {
        return 6;
    } else if constexpr (std::is_same_v<T, bool>) {
        return 7;
    } else if constexpr (std::is_same_v<T, std::string>) {
        return 8;
    } else if constexpr (std::is_same_v<T, std::uint64_t>) {
        return 10;
    } else if constexpr (std::is_same_v<T, std::int64_t>) {
        return 11;
    } else {
        static_assert(std::is_same_v<T, double>);
        return 12;
    }
}
constexpr std::uint32_t kArrayType = 9;

template <class T>
void write_scalar(ByteWriter& out, const T& value) {
    if constexpr (std::is_same_v<T, std::string>) {
        out.text(value);
    } else {
        out.number(value);
    }
}

struct ValueWriter {
    ByteWriter& out;

    template <class T>
    void operator()(const T& value) const {
        out.number(value_type<T>());
        write_scalar(out, value);
    }
    template <class T>
    void operator()(const std::vector<T>& values) const {
        out.number(kArrayType).number(value_type<T>()).number(std::uint64_t{values.size()});
        for (const T& value : values) {
            write_scalar(out, value);
        }
    }
};

std::vector<std::uint64_t> reversed(const std::vector<std::int64_t>& shape) {
    return {shape.rbegin(), shape.rend()};
}

} // namespace

ByteWriter& ByteWriter::raw(std::string_view text) {
    return raw(std::as_bytes(std::span(text.data(), text.size())));
}

ByteWriter& ByteWriter::raw(std::span<const std::byte> bytes) {
    m_bytes.insert(m_bytes.end(), bytes.begin(), bytes.end());
    return *this;
}

ByteWriter& ByteWriter::text(std::string_view text) {
    return number(std::uint64_t{text.size()}).raw(text);
}

ByteWriter& ByteWriter::pad(std::size_t alignment) {
    m_bytes.resize((m_bytes.size() + alignment - 1) / alignment * alignment);
    return *this;
}

Bytes bytes_of(std::span<const float> values) {
    const std::span<const std::byte> bytes = std::as_bytes(values);
    return {bytes.begin(), bytes.end()};
}

std::uint32_t gguf_type_id(DType dtype) {
    switch (dtype) {
    case DType::F32:
        return 0;
    case DType::F16:
        return 1;
    case DType::Q4_0:
        return 2;
    case DType::Q4_1:
        return 3;
    case DType::Q5_0:
        return 6;
    case DType::Q5_1:
        return 7;
    case DType::Q8_0:
        return 8;
    case DType::Q2_K:
        return 10;
    case DType::Q3_K:
        return 11;
    case DType::Q4_K:
        return 12;
    case DType::Q5_K:
        return 13;
    case DType::Q6_K:
        return 14;
    case DType::IQ4_NL:
        return 20;
    case DType::IQ4_XS:
        return 23;
    case DType::I8:
        return 24;
    case DType::I16:
        return 25;
    case DType::I32:
        return 26;
    case DType::I64:
        return 27;
    case DType::F64:
        return 28;
    case DType::BF16:
        return 30;
    case DType::MXFP4:
        return 39;
    default:
        HS_ASSERT(!"a type that GGUF has");
        return 0;
    }
}

GgufWriter& GgufWriter::set(std::string_view key, GgufValue value) {
    m_keys.text(key);
    std::visit(ValueWriter{m_keys}, value);
    ++m_key_count;
    return *this;
}

GgufWriter& GgufWriter::set_raw(std::string_view key, std::uint32_t type, const Bytes& value) {
    m_keys.text(key).number(type).raw(value);
    ++m_key_count;
    return *this;
}

GgufWriter& GgufWriter::tensor(std::string_view name, DType dtype,
                               const std::vector<std::int64_t>& shape, Bytes data) {
    std::int64_t rows = 1;
    for (std::size_t i = 0; i + 1 < shape.size(); ++i) {
        rows *= shape[i];
    }
    HS_ASSERT(static_cast<std::int64_t>(data.size()) == rows * row_bytes(dtype, shape.back()));
    return declare({std::string(name), reversed(shape), gguf_type_id(dtype), next_offset()},
                   std::move(data));
}

GgufWriter& GgufWriter::tensor(std::string_view name, const std::vector<std::int64_t>& shape,
                               std::span<const float> values) {
    return tensor(name, DType::F32, shape, bytes_of(values));
}

GgufWriter& GgufWriter::declare(Declaration declaration, Bytes data) {
    m_declarations.push_back(std::move(declaration));
    m_data.pad(m_overrides.alignment).raw(std::span<const std::byte>(data));
    return *this;
}

std::uint64_t GgufWriter::next_offset() const {
    const std::uint64_t alignment = m_overrides.alignment;
    return (m_data.size() + alignment - 1) / alignment * alignment;
}

Bytes GgufWriter::bytes() const {
    ByteWriter out;
    out.raw("GGUF").number(m_overrides.version);
    out.number(m_overrides.tensor_count.value_or(m_declarations.size()));
    out.number(m_overrides.key_count.value_or(m_key_count));
    out.raw(std::span<const std::byte>(m_keys.bytes()));
    for (const Declaration& declaration : m_declarations) {
        out.text(declaration.name);
        out.number(static_cast<std::uint32_t>(declaration.dims.size()));
        for (const std::uint64_t dim : declaration.dims) {
            out.number(dim);
        }
        out.number(declaration.type).number(declaration.offset);
    }
    if (!m_declarations.empty()) {
        out.pad(m_overrides.alignment).raw(std::span<const std::byte>(m_data.bytes()));
    }
    return out.bytes();
}

void GgufWriter::write(const std::filesystem::path& path) const {
    write_file(path, bytes());
}

SafetensorsWriter& SafetensorsWriter::metadata(std::string_view key, std::string_view value) {
    m_metadata.push_back(fmt::format(R"("{}":"{}")", key, value));
    return *this;
}

SafetensorsWriter& SafetensorsWriter::tensor(std::string_view name, std::string_view dtype,
                                             const std::vector<std::int64_t>& shape,
                                             const Bytes& data) {
    const std::size_t begin = m_data.size();
    m_data.raw(std::span<const std::byte>(data));
    m_entries.push_back(fmt::format(R"("{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                                    name, dtype, fmt::join(shape, ","), begin, m_data.size()));
    return *this;
}

SafetensorsWriter& SafetensorsWriter::tensor(std::string_view name,
                                             const std::vector<std::int64_t>& shape,
                                             std::span<const float> values) {
    return tensor(name, "F32", shape, bytes_of(values));
}

Bytes SafetensorsWriter::container(std::string_view header, const Bytes& data) {
    ByteWriter out;
    return out.text(header).raw(std::span<const std::byte>(data)).bytes();
}

Bytes SafetensorsWriter::bytes() const {
    std::vector<std::string> entries = m_entries;
    if (!m_metadata.empty()) {
        entries.push_back(fmt::format(R"("__metadata__":{{{}}})", fmt::join(m_metadata, ",")));
    }
    std::string header = fmt::format("{{{}}}", fmt::join(entries, ","));
    header.resize((header.size() + 7) / 8 * 8, ' ');
    return container(header, m_data.bytes());
}

void SafetensorsWriter::write(const std::filesystem::path& path) const {
    write_file(path, bytes());
}

void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
    std::ofstream stream(path, std::ios::binary | std::ios::trunc);
    stream.write(reinterpret_cast<const char*>(bytes.data()),
                 static_cast<std::streamsize>(bytes.size()));
    stream.close();
    HS_ASSERT(stream.good());
}

void write_file(const std::filesystem::path& path, std::string_view text) {
    write_file(path, std::as_bytes(std::span(text.data(), text.size())));
}

TemporaryFolder::TemporaryFolder() {
    std::random_device random;
    do {
        m_path = std::filesystem::temp_directory_path() /
                 fmt::format("hybridscope-test-{:08x}{:08x}", random(), random());
    } while (!std::filesystem::create_directory(m_path));
}

TemporaryFolder::~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(m_path, error);
}

} // namespace hs::test
