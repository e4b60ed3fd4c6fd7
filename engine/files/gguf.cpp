#include "engine/files/gguf.h"

#include "engine/core/log.h"
#include "engine/files/checks.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <fmt/format.h>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

namespace hs {
namespace {

// Limits from formats.md section 1.4.
constexpr std::uint64_t kMaxTensors = std::uint64_t{1} << 20;
constexpr std::uint64_t kMaxKeys = std::uint64_t{1} << 16;
constexpr std::uint64_t kMaxKeyBytes = 65'535;
constexpr std::uint64_t kMaxTextBytes = std::uint64_t{64} << 20;
constexpr std::uint64_t kMaxTensorNameBytes = 63;
constexpr std::uint64_t kMaxMetadataMemory = std::uint64_t{1} << 30;
constexpr std::uint64_t kMinAlignment = 8;
constexpr std::uint64_t kMaxAlignment = std::uint64_t{1} << 20;
constexpr std::uint64_t kMaxDims = 4;
constexpr std::uint64_t kMaxParts = 4096;

constexpr GgufType plain(std::uint32_t id, std::string_view name, int bytes, DType dtype) {
    return {id, name, 1, bytes, true, dtype};
}
constexpr GgufType block(std::uint32_t id, std::string_view name, int elems, int bytes,
                         DType dtype) {
    return {id, name, elems, bytes, true, dtype};
}
constexpr GgufType foreign(std::uint32_t id, std::string_view name, int elems, int bytes) {
    return {id, name, elems, bytes, false, DType::F32};
}

// formats.md section 2.1, by id.
constexpr GgufType kTypes[] = {
    plain(0, "F32", 4, DType::F32),
    plain(1, "F16", 2, DType::F16),
    block(2, "Q4_0", 32, 18, DType::Q4_0),
    block(3, "Q4_1", 32, 20, DType::Q4_1),
    block(6, "Q5_0", 32, 22, DType::Q5_0),
    block(7, "Q5_1", 32, 24, DType::Q5_1),
    block(8, "Q8_0", 32, 34, DType::Q8_0),
    foreign(9, "Q8_1", 32, 36),
    block(10, "Q2_K", 256, 84, DType::Q2_K),
    block(11, "Q3_K", 256, 110, DType::Q3_K),
    block(12, "Q4_K", 256, 144, DType::Q4_K),
    block(13, "Q5_K", 256, 176, DType::Q5_K),
    block(14, "Q6_K", 256, 210, DType::Q6_K),
    foreign(15, "Q8_K", 256, 292),
    foreign(16, "IQ2_XXS", 256, 66),
    foreign(17, "IQ2_XS", 256, 74),
    foreign(18, "IQ3_XXS", 256, 98),
    foreign(19, "IQ1_S", 256, 50),
    block(20, "IQ4_NL", 32, 18, DType::IQ4_NL),
    foreign(21, "IQ3_S", 256, 110),
    foreign(22, "IQ2_S", 256, 82),
    block(23, "IQ4_XS", 256, 136, DType::IQ4_XS),
    plain(24, "I8", 1, DType::I8),
    plain(25, "I16", 2, DType::I16),
    plain(26, "I32", 4, DType::I32),
    plain(27, "I64", 8, DType::I64),
    plain(28, "F64", 8, DType::F64),
    foreign(29, "IQ1_M", 256, 56),
    plain(30, "BF16", 2, DType::BF16),
    foreign(34, "TQ1_0", 256, 54),
    foreign(35, "TQ2_0", 256, 66),
    block(39, "MXFP4", 32, 17, DType::MXFP4),
    foreign(40, "NVFP4", 64, 36),
    foreign(41, "Q1_0", 128, 18),
    foreign(42, "Q2_0", 64, 18),
};

// Errors: Unsupported, saying what kind of unknown the number is.
Result<GgufType> find_type(std::uint32_t id) {
    for (const GgufType& type : kTypes) {
        if (type.id == id) {
            return type;
        }
    }
    const bool removed = id == 4 || id == 5 || (id >= 31 && id <= 33) || (id >= 36 && id <= 38);
    const bool fork =
        (id >= 97 && id <= 99) || (id >= 133 && id <= 158) || (id >= 202 && id <= 399);
    if (removed) {
        return unsupported(
            fmt::format("tensor type {} was removed from the format and is never valid", id),
            "Use a newer GGUF file of the model");
    }
    if (fork) {
        return unsupported(fmt::format("tensor type {} exists in the ik_llama.cpp fork alone", id),
                           "Use a GGUF file made for the main line, for example Q4_K_M");
    }
    return unsupported(fmt::format("tensor type {} is not known", id),
                       "Use another quantisation of the model, for example Q4_K_M");
}

enum ValueType : std::uint32_t {
    kU8 = 0,
    kI8,
    kU16,
    kI16,
    kU32,
    kI32,
    kF32,
    kBool,
    kText,
    kArray,
    kU64,
    kI64,
    kF64,
    kValueTypes
};
// By value type; what a text or an array takes at least.
constexpr std::array<std::uint64_t, kValueTypes> kValueBytes = {1, 1, 2,  2, 4, 4, 4,
                                                                1, 8, 12, 8, 8, 8};
constexpr std::array<const char*, kValueTypes> kValueNames = {
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};

// A cursor over the header that never reads past the end.
class Reader {
public:
    explicit Reader(std::span<const std::byte> bytes)
        : m_bytes(bytes) {}

    std::uint64_t at() const { return m_at; }
    std::uint64_t left() const { return m_bytes.size() - m_at; }

    template <class T>
    Result<T> number(const char* field) {
        TRY(require(sizeof(T), field));
        return take<T>();
    }

    // A length and that many bytes, which stay in the file.
    Result<std::string_view> text(const char* field, std::uint64_t limit) {
        const auto length = TRY(number<std::uint64_t>(field));
        if (length > limit) {
            return corrupt(fmt::format("{} at byte {}: expected at most {} bytes, found {}", field,
                                       m_at - 8, limit, length));
        }
        TRY(require(length, field));
        const auto* data = reinterpret_cast<const char*>(m_bytes.data() + m_at);
        m_at += length;
        return std::string_view(data, length);
    }

    Result<void> require(std::uint64_t count, const char* field) const {
        if (count > left()) {
            return corrupt(
                fmt::format("file ends too early: {} at byte {} needs {} bytes, {} are left", field,
                            m_at, count, left()),
                "The usual reason is an interrupted download; fetch the file again");
        }
        return {};
    }

    // The caller has required the bytes.
    template <class T>
    T take() {
        T value;
        std::memcpy(&value, m_bytes.data() + m_at, sizeof(T));
        m_at += sizeof(T);
        return value;
    }

private:
    std::span<const std::byte> m_bytes;
    std::uint64_t m_at = 0;
};

// Memory that the metadata takes as Json, estimated: a hostile file turns one byte into sixteen.
class MetadataBudget {
public:
    Result<void> take(std::uint64_t count, std::uint64_t bytes_each) {
        const std::optional<std::uint64_t> bytes = checked_mul(count, bytes_each);
        if (!bytes || *bytes > m_left) {
            return corrupt(
                fmt::format("metadata takes more than {} bytes of memory", kMaxMetadataMemory));
        }
        m_left -= *bytes;
        return {};
    }
    Result<void> take_text(std::uint64_t length) {
        return take(1, sizeof(std::string) + 16 + length);
    }

private:
    std::uint64_t m_left = kMaxMetadataMemory;
};

// The caller has required the bytes; `type` is not a text or an array.
Json take_scalar(Reader& reader, std::uint32_t type, bool& odd_bool) {
    switch (type) {
    case kU8:
        return reader.take<std::uint8_t>();
    case kI8:
        return reader.take<std::int8_t>();
    case kU16:
        return reader.take<std::uint16_t>();
    case kI16:
        return reader.take<std::int16_t>();
    case kU32:
        return reader.take<std::uint32_t>();
    case kI32:
        return reader.take<std::int32_t>();
    case kF32:
        return static_cast<double>(reader.take<float>());
    case kBool: {
        const auto value = reader.take<std::uint8_t>();
        odd_bool = odd_bool || value > 1;
        return value != 0;
    }
    case kU64:
        return reader.take<std::uint64_t>();
    case kI64:
        return reader.take<std::int64_t>();
    case kF64:
        return reader.take<double>();
    default:
        HS_ASSERT(!"a scalar type");
        return nullptr;
    }
}

Result<void> check_value_type(std::uint32_t type, std::uint64_t at) {
    if (type >= kValueTypes) {
        return corrupt(fmt::format("value type at byte {}: expected 0 to 12, found {}", at, type));
    }
    return {};
}

Result<Json> read_array(Reader& reader, MetadataBudget& budget, bool& odd_bool) {
    const std::uint64_t at = reader.at();
    const auto type = TRY(reader.number<std::uint32_t>("array element type"));
    TRY(check_value_type(type, at));
    if (type == kArray) {
        return corrupt(fmt::format("array at byte {}: an array of arrays is not supported", at));
    }
    const auto count = TRY(reader.number<std::uint64_t>("array length"));
    if (count > reader.left() / kValueBytes[type]) {
        return corrupt(fmt::format("array at byte {}: {} elements of type {} need more than the {} "
                                   "bytes left in the file",
                                   at, count, kValueNames[type], reader.left()));
    }
    TRY(budget.take(count, sizeof(Json)));
    Json array = Json::array();
    auto& elements = array.get_ref<Json::array_t&>();
    elements.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
        if (type == kText) {
            const std::string_view text = TRY(reader.text("array element", kMaxTextBytes));
            TRY(budget.take_text(text.size()));
            elements.emplace_back(std::string(text));
        } else {
            elements.push_back(take_scalar(reader, type, odd_bool));
        }
    }
    return array;
}

Result<Json> read_value(Reader& reader, std::uint32_t type, MetadataBudget& budget,
                        bool& odd_bool) {
    if (type == kArray) {
        return read_array(reader, budget, odd_bool);
    }
    TRY(budget.take(1, sizeof(Json)));
    if (type == kText) {
        const std::string_view text = TRY(reader.text("string value", kMaxTextBytes));
        TRY(budget.take_text(text.size()));
        return Json(std::string(text));
    }
    TRY(reader.require(kValueBytes[type], "value"));
    return take_scalar(reader, type, odd_bool);
}

struct Metadata {
    Json values = Json::object();
    std::uint64_t alignment = 32;
};

Result<Metadata> read_metadata(Reader& reader, std::uint64_t count) {
    Metadata metadata;
    MetadataBudget budget;
    auto& values = metadata.values.get_ref<Json::object_t&>();
    values.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t at = reader.at();
        const std::string_view key = TRY(reader.text("metadata key", kMaxKeyBytes));
        if (key.empty() || !is_printable_utf8(key)) {
            return corrupt(
                fmt::format("metadata key {} at byte {} is empty or not text", in_quotes(key), at));
        }
        if (values.count(key) != 0) {
            return corrupt(
                fmt::format("metadata key {} at byte {} comes twice", in_quotes(key), at));
        }
        const std::uint64_t type_at = reader.at();
        const auto type =
            TRY(reader.number<std::uint32_t>("value type").with_context(in_quotes(key)));
        TRY(check_value_type(type, type_at).with_context(in_quotes(key)));
        TRY(budget.take(1, sizeof(Json::object_t::value_type) + key.size()));
        bool odd_bool = false;
        Json value = TRY(read_value(reader, type, budget, odd_bool).with_context(in_quotes(key)));
        if (odd_bool) {
            HS_LOG(Warning, "files", "metadata key {}: a bool is neither 0 nor 1, taken as true",
                   in_quotes(key));
        }
        if (key == "general.alignment") {
            if (type != kU32) {
                return corrupt(fmt::format("general.alignment: expected type u32, found {}",
                                           kValueNames[type]));
            }
            metadata.alignment = value.get<std::uint64_t>();
            if (metadata.alignment < kMinAlignment || metadata.alignment > kMaxAlignment ||
                (metadata.alignment & (metadata.alignment - 1)) != 0) {
                return corrupt(fmt::format(
                    "general.alignment: expected a power of two from {} to {}, found {}",
                    kMinAlignment, kMaxAlignment, metadata.alignment));
            }
        }
        values.emplace(std::string(key), std::move(value));
    }
    return metadata;
}

struct TensorRange {
    std::uint64_t begin = 0; // from the start of the data section
    std::uint64_t end = 0;
    std::size_t tensor = 0;
};

Result<void> read_tensor_type_and_shape(Reader& reader, TensorInfo& tensor) {
    const auto dims = TRY(reader.number<std::uint32_t>("number of dimensions"));
    if (dims < 1 || dims > kMaxDims) {
        return corrupt(fmt::format("expected 1 to {} dimensions, found {}", kMaxDims, dims));
    }
    TRY(reader.require(std::uint64_t{8} * dims, "dimensions"));
    std::uint64_t elements = 1;
    tensor.shape.resize(dims);
    for (std::size_t i = 0; i < dims; ++i) {
        const auto extent = reader.take<std::uint64_t>();
        const std::optional<std::uint64_t> product = checked_mul(elements, extent);
        if (extent < 1 || !product || *product > std::uint64_t{INT64_MAX}) {
            return corrupt(fmt::format("dimension {}: expected 1 or more and fewer than 2^63 "
                                       "elements in all, found {}",
                                       i, extent));
        }
        elements = *product;
        tensor.shape[dims - 1 - i] = static_cast<std::int64_t>(extent); // ours is outermost first
    }
    const auto type_id = TRY(reader.number<std::uint32_t>("tensor type"));
    const GgufType type = TRY(find_type(type_id));
    tensor.dtype = type.dtype;
    if (!type.computable) {
        tensor.foreign_type = type.name;
    }
    const auto block_elems = static_cast<std::uint64_t>(type.block_elems);
    const auto columns = static_cast<std::uint64_t>(tensor.shape.back());
    if (columns % block_elems != 0) {
        return corrupt(fmt::format("{}: expected rows in multiples of {} elements, found {}",
                                   type.name, block_elems, columns));
    }
    const std::optional<std::uint64_t> bytes =
        checked_mul(elements / block_elems, static_cast<std::uint64_t>(type.block_bytes));
    if (!bytes || *bytes > std::uint64_t{INT64_MAX}) {
        return corrupt(fmt::format("{} elements of {} exceed 2^63 bytes", elements, type.name));
    }
    tensor.bytes = static_cast<std::int64_t>(*bytes);
    return {};
}

Result<std::uint64_t> read_offset(Reader& reader, std::uint64_t alignment) {
    const auto offset = TRY(reader.number<std::uint64_t>("tensor offset"));
    if (offset % alignment != 0) {
        return corrupt(
            fmt::format("offset: expected a multiple of {}, found {}", alignment, offset));
    }
    return offset;
}

Result<std::vector<TensorRange>> read_tensor_infos(Reader& reader, std::uint64_t count,
                                                   std::uint64_t alignment,
                                                   std::vector<TensorInfo>& tensors) {
    std::vector<TensorRange> ranges;
    tensors.reserve(count);
    ranges.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t at = reader.at();
        const std::string_view name = TRY(reader.text("tensor name", kMaxTensorNameBytes)
                                              .with_context(fmt::format("tensor {}", i)));
        if (name.empty() || !is_printable_utf8(name)) {
            return corrupt(fmt::format("name {} of tensor {} at byte {} is empty or not text",
                                       in_quotes(name), i, at));
        }
        const std::string context = "tensor " + in_quotes(name);
        TensorInfo tensor;
        tensor.name = name;
        TRY(read_tensor_type_and_shape(reader, tensor).with_context(context));
        const std::uint64_t offset = TRY(read_offset(reader, alignment).with_context(context));
        const std::optional<std::uint64_t> end =
            checked_add(offset, static_cast<std::uint64_t>(tensor.bytes));
        if (!end) {
            return corrupt(fmt::format("{}: offset {} and {} bytes exceed 2^64", context, offset,
                                       tensor.bytes));
        }
        ranges.push_back({offset, *end, tensors.size()});
        tensors.push_back(std::move(tensor));
    }
    TRY(check_unique_names(tensors));
    return ranges;
}

// Two names on one range are never legitimate. Order and gaps are free: editors of metadata and of
// single tensors leave files that are not in the running order of the usual writers.
Result<void> check_overlaps(std::vector<TensorRange>& ranges, std::span<const TensorInfo> tensors) {
    std::sort(ranges.begin(), ranges.end(),
              [](const TensorRange& a, const TensorRange& b) { return a.begin < b.begin; });
    for (std::size_t i = 1; i < ranges.size(); ++i) {
        if (ranges[i].begin < ranges[i - 1].end) {
            return corrupt(
                fmt::format("tensor {} at offset {} overlaps tensor {}, which ends at offset {}",
                            in_quotes(tensors[ranges[i].tensor].name), ranges[i].begin,
                            in_quotes(tensors[ranges[i - 1].tensor].name), ranges[i - 1].end));
        }
    }
    return {};
}

Result<std::uint32_t> read_magic_and_version(Reader& reader, std::span<const std::byte> bytes) {
    constexpr std::uint64_t kSmallestFile = 24;
    const bool magic = bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
    if (!magic) {
        if (std::optional<Error> other = recognise_other_content(bytes)) {
            return *std::move(other);
        }
        std::string found;
        for (std::size_t i = 0; i < std::min<std::size_t>(bytes.size(), 4); ++i) {
            found += fmt::format(" {:02x}", std::to_integer<unsigned>(bytes[i]));
        }
        return corrupt(fmt::format("is not a GGUF file: expected the magic 47 47 55 46 at byte 0, "
                                   "found{} ({} bytes in all)",
                                   found.empty() ? " nothing" : found, bytes.size()),
                       "Choose a .gguf file or a folder with config.json and safetensors");
    }
    if (bytes.size() < kSmallestFile) {
        return incomplete(bytes.size(), kSmallestFile);
    }
    reader.take<std::uint32_t>();
    const auto version = reader.take<std::uint32_t>();
    if ((version & 0xFFFFU) == 0 && version != 0) {
        return unsupported(
            fmt::format("is a big-endian GGUF file (version word {:#010x})", version),
            "Use the little-endian file of the model");
    }
    if (version == 1) {
        return unsupported("is a GGUF file of version 1; versions 2 and 3 can be read",
                           "Use a newer GGUF file of the model");
    }
    if (version != 2 && version != 3) {
        return unsupported(
            fmt::format("is a GGUF file of version {}; versions 2 and 3 can be read", version), "");
    }
    return version;
}

Result<std::uint64_t> read_count(Reader& reader, const char* field, std::uint64_t limit,
                                 std::uint64_t smallest) {
    const std::uint64_t at = reader.at();
    const auto count = TRY(reader.number<std::uint64_t>(field));
    // Both counts stand before anything they count; the bytes after them bound both.
    const std::uint64_t possible = std::min(limit, reader.left() / smallest);
    if (count > possible) {
        return corrupt(
            fmt::format("{} at byte {}: expected at most {} in the {} bytes that follow, "
                        "found {}",
                        field, at, possible, reader.left(), count));
    }
    return count;
}

} // namespace

std::span<const GgufType> gguf_types() {
    return kTypes;
}

Result<GgufFile> parse_gguf(std::span<const std::byte> bytes, Need need) {
    Reader reader(bytes);
    GgufFile file;
    file.version = TRY(read_magic_and_version(reader, bytes));
    const std::uint64_t tensor_count = TRY(read_count(reader, "tensor count", kMaxTensors, 32));
    const std::uint64_t key_count = TRY(read_count(reader, "metadata key count", kMaxKeys, 13));
    Metadata metadata = TRY(read_metadata(reader, key_count));
    file.metadata = std::move(metadata.values);
    std::vector<TensorRange> ranges =
        TRY(read_tensor_infos(reader, tensor_count, metadata.alignment, file.tensors));
    if (ranges.empty()) {
        return file;
    }
    // reader.at() is at most the file's size, so this cannot wrap.
    const std::uint64_t data_begin =
        (reader.at() + metadata.alignment - 1) / metadata.alignment * metadata.alignment;
    std::uint64_t data_end = 0;
    for (const TensorRange& range : ranges) {
        data_end = std::max(data_end, range.end);
    }
    const std::optional<std::uint64_t> file_end = checked_add(data_begin, data_end);
    if (!file_end) {
        return corrupt(fmt::format("tensors end at offset {} after byte {}, beyond 2^64", data_end,
                                   data_begin));
    }
    if (need == Need::Tensors && *file_end > bytes.size()) {
        return incomplete(bytes.size(), *file_end);
    }
    TRY(check_overlaps(ranges, file.tensors));
    if (need == Need::Tensors) {
        for (const TensorRange& range : ranges) {
            file.tensors[range.tensor].data =
                bytes.subspan(data_begin + range.begin, range.end - range.begin);
        }
    }
    return file;
}

namespace {

// "<prefix>-00002-of-00003.gguf"
struct PartName {
    std::u8string prefix;
    std::uint64_t number = 0; // from 1
    std::uint64_t count = 0;
};

std::optional<PartName> part_name(const std::filesystem::path& path) {
    const std::u8string name = path.filename().u8string();
    constexpr std::size_t kSuffix = sizeof("-00001-of-00001.gguf") - 1;
    if (name.size() <= kSuffix) {
        return std::nullopt;
    }
    const std::string suffix(name.end() - kSuffix, name.end());
    PartName part;
    part.prefix = name.substr(0, name.size() - kSuffix);
    const auto five_digits = [&](std::size_t at, std::uint64_t& value) {
        const char* first = suffix.data() + at;
        const auto [end, error] = std::from_chars(first, first + 5, value);
        return error == std::errc() && end == first + 5;
    };
    if (suffix[0] != '-' || suffix.substr(6, 4) != "-of-" || suffix.substr(15) != ".gguf" ||
        !five_digits(1, part.number) || !five_digits(10, part.count)) {
        return std::nullopt;
    }
    return part;
}

std::filesystem::path part_path(const std::filesystem::path& folder, const PartName& name,
                                std::uint64_t number) {
    std::u8string file = name.prefix;
    for (const char c : fmt::format("-{:05}-of-{:05}.gguf", number, name.count)) {
        file.push_back(static_cast<char8_t>(c));
    }
    return folder / file;
}

// A non-negative integer of any width, or the absent value.
Result<std::uint64_t> metadata_count(const Json& metadata, const char* key, std::uint64_t absent) {
    const std::int64_t value = TRY(json_int(metadata, key, static_cast<std::int64_t>(absent)));
    if (value < 0) {
        return corrupt(fmt::format("{}: expected 0 or more, found {}", key, value));
    }
    return static_cast<std::uint64_t>(value);
}

// Files that are GGUF but not a model: said by what they are for.
Result<void> check_is_model(const Json& metadata, std::string_view architecture,
                            std::size_t tensors, Need need) {
    const std::string type = TRY(json_string(metadata, "general.type", "model"));
    if (type == "adapter") {
        return unsupported("is a LoRA adapter, not a model", "Open the model it was made for");
    }
    if (type == "imatrix") {
        return unsupported("is an importance matrix for quantisation, not a model",
                           "Open the model's own GGUF file");
    }
    if (type == "mmproj" || architecture == "clip") {
        return unsupported("is a projector for images or sound (mmproj), not a model",
                           "Open the language model's GGUF file beside it");
    }
    if (type != "model") {
        return unsupported(fmt::format("general.type: expected 'model', found {}", in_quotes(type)),
                           "Open the model's own GGUF file");
    }
    if (tensors == 0 && need == Need::Tensors) {
        return unsupported("holds a vocabulary and no tensors", "Open the model's own GGUF file");
    }
    return {};
}

Result<std::string> read_architecture(const Json& metadata) {
    // Adapters and importance matrices may have none; what they are is said first.
    const std::string architecture = TRY(json_string(metadata, "general.architecture", ""));
    if (architecture.size() > 64 || !is_printable_utf8(architecture)) {
        return corrupt(fmt::format("general.architecture: expected a short name, found {}",
                                   in_quotes(architecture)));
    }
    return architecture;
}

// "model.gguf.part1of2", "model.gguf-split-a": pieces of one file, cut anywhere.
bool is_byte_split(const std::filesystem::path& path) {
    const std::string name = utf8_from_path(path.filename());
    return name.find(".gguf.part") != std::string::npos ||
           name.find(".gguf-split-") != std::string::npos;
}

struct SplitKeys {
    std::uint64_t number = 0; // from 0
    std::uint64_t count = 1;
    std::optional<std::uint64_t> tensors; // over all parts
};

Result<SplitKeys> read_split_keys(const Json& metadata) {
    SplitKeys keys;
    keys.number = TRY(metadata_count(metadata, "split.no", 0));
    keys.count = TRY(metadata_count(metadata, "split.count", 1));
    if (json_member(metadata, "split.tensors.count") != nullptr) {
        keys.tensors = TRY(metadata_count(metadata, "split.tensors.count", 0));
    }
    if (keys.count > kMaxParts) {
        return corrupt(
            fmt::format("split.count: expected at most {}, found {}", kMaxParts, keys.count));
    }
    return keys;
}

struct Part {
    std::filesystem::path path;
    MappedFile map;
    GgufFile file;
    SplitKeys keys;
};

Result<Part> read_part(const std::filesystem::path& path, Need need) {
    Part part;
    part.path = path;
    // Not inside braces: GCC 12 forgets the members made so far when TRY returns from there.
    part.map = TRY(map_regular_file(path));
    const std::string text = utf8_from_path(path);
    part.file = TRY(parse_gguf(part.map.bytes(), need).with_context(text));
    part.keys = TRY(read_split_keys(part.file.metadata).with_context(text));
    return part;
}

// The paths of all parts, in order; an empty path where a part is missing and need not be there.
Result<std::vector<std::filesystem::path>> find_parts(const std::filesystem::path& path,
                                                      const SplitKeys& keys, Need need) {
    std::filesystem::path named = path;
    std::optional<PartName> name = part_name(named);
    if (!name) {
        // A link of another name beside the parts or elsewhere.
        std::error_code error;
        named = std::filesystem::canonical(path, error);
        name = error ? std::nullopt : part_name(named);
    }
    if (!name || name->count != keys.count || name->number != keys.number + 1) {
        return corrupt(fmt::format("is part {} of {}: expected a name that ends in "
                                   "-{:05}-of-{:05}.gguf",
                                   keys.number + 1, keys.count, keys.number + 1, keys.count),
                       "Give the parts their original names");
    }
    std::vector<std::filesystem::path> paths;
    std::vector<std::string> missing;
    for (std::uint64_t i = 0; i < keys.count; ++i) {
        const std::filesystem::path part = part_path(named.parent_path(), *name, i + 1);
        std::error_code error;
        const bool present = std::filesystem::exists(part, error);
        if (!present) {
            missing.push_back(utf8_from_path(part.filename()));
        }
        paths.push_back(present ? part : std::filesystem::path());
    }
    if (!missing.empty() && (need == Need::Tensors || paths[0].empty())) {
        return Error{ErrorCode::NotFound,
                     fmt::format("{} of {} parts are missing, the first is {}", missing.size(),
                                 keys.count, in_quotes(missing[0])),
                     "Put all parts into one folder"};
    }
    return paths;
}

// The file itself, or all parts of its split in order (those that are there when header-only).
Result<std::vector<Part>> read_parts(const std::filesystem::path& path, Need need) {
    Part named = TRY(read_part(path, need));
    std::vector<Part> parts;
    if (named.keys.count <= 1) {
        parts.push_back(std::move(named));
        return parts;
    }
    const std::string text = utf8_from_path(path);
    const std::vector<std::filesystem::path> paths =
        TRY(find_parts(path, named.keys, need).with_context(text));
    const std::uint64_t named_number = named.keys.number;
    const std::uint64_t count = named.keys.count;
    for (std::uint64_t i = 0; i < count; ++i) {
        if (paths[i].empty()) {
            continue;
        }
        Part part =
            i == named_number ? std::exchange(named, Part()) : TRY(read_part(paths[i], need));
        part.path = paths[i];
        if (part.keys.count != count || part.keys.number != i) {
            return corrupt(fmt::format("{}: split.no and split.count: expected part {} of {}, "
                                       "found part {} of {}",
                                       utf8_from_path(part.path), i + 1, count,
                                       part.keys.number + 1, part.keys.count),
                           "The parts belong to different models or were renamed");
        }
        parts.push_back(std::move(part));
    }
    std::uint64_t tensors = 0;
    for (const Part& part : parts) {
        tensors += part.file.tensors.size();
    }
    const std::optional<std::uint64_t> expected = parts[0].keys.tensors;
    if (parts.size() == count && expected && *expected != tensors) {
        return corrupt(fmt::format("{}: split.tensors.count: expected {} tensors in all parts, "
                                   "found {}",
                                   text, *expected, tensors),
                       "The parts belong to different models");
    }
    return parts;
}

} // namespace

Result<Checkpoint> open_gguf(const std::filesystem::path& path, Need need) {
    const std::string text = utf8_from_path(path);
    if (is_byte_split(path)) {
        return unsupported(text + ": is a piece of a GGUF file that was cut anywhere",
                           "Join the pieces in order into one file");
    }
    std::vector<Part> parts = TRY(read_parts(path, need));

    Checkpoint checkpoint;
    checkpoint.m_container = Container::Gguf;
    checkpoint.m_path = path;
    checkpoint.m_metadata = std::move(parts[0].file.metadata);
    for (Part& part : parts) {
        const int file_index = static_cast<int>(checkpoint.m_files.size());
        for (TensorInfo& tensor : part.file.tensors) {
            tensor.file = file_index;
            const auto [entry, inserted] =
                checkpoint.m_by_name.emplace(tensor.name, checkpoint.m_tensors.size());
            if (!inserted) {
                const auto other =
                    static_cast<std::size_t>(checkpoint.m_tensors[entry->second].file);
                return corrupt(fmt::format("{}: tensor {} is in {} too", utf8_from_path(part.path),
                                           in_quotes(tensor.name),
                                           utf8_from_path(checkpoint.m_files[other].filename())));
            }
            checkpoint.m_tensors.push_back(std::move(tensor));
        }
        checkpoint.m_file_bytes += static_cast<std::int64_t>(part.map.bytes().size());
        checkpoint.m_files.push_back(part.path);
        if (need == Need::Tensors) {
            checkpoint.m_maps.push_back(std::move(part.map));
        }
    }

    checkpoint.m_architecture = TRY(read_architecture(checkpoint.m_metadata).with_context(text));
    TRY(check_is_model(checkpoint.m_metadata, checkpoint.m_architecture,
                       checkpoint.m_tensors.size(), need)
            .with_context(text));
    if (checkpoint.m_architecture.empty()) {
        return corrupt(text + ": metadata key general.architecture is missing", "");
    }
    if (need == Need::Tensors) {
        TRY(check_types_computable(checkpoint.m_tensors).with_context(text));
    }
    return checkpoint;
}

} // namespace hs
