#include "engine/files/safetensors.h"

#include "engine/files/checks.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <fmt/format.h>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <system_error>

namespace hs {
namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000; // the reference's own limit
constexpr std::size_t kMaxTensors = std::size_t{1} << 20;
constexpr std::size_t kMaxDims = 16;
constexpr std::size_t kMaxNameBytes = 1024;
constexpr std::size_t kMaxIndexBytes = std::size_t{256} << 20;
constexpr std::size_t kMaxIndexDepth = 16;
constexpr std::size_t kMaxFiles = 4096;
constexpr std::size_t kMaxConfigBytes = std::size_t{16} << 20;

struct SafetensorsType {
    std::string_view name;
    int bits;
    bool computable;
    DType dtype;
};

// formats.md section 3.1.
constexpr SafetensorsType kTypes[] = {
    {"F32", 32, true, DType::F32},
    {"BF16", 16, true, DType::BF16},
    {"F16", 16, true, DType::F16},
    {"F8_E4M3", 8, true, DType::F8E4M3},
    {"F8_E5M2", 8, true, DType::F8E5M2},
    {"F8_E8M0", 8, true, DType::F8E8M0},
    {"U8", 8, true, DType::U8},
    {"I8", 8, true, DType::I8},
    {"I16", 16, true, DType::I16},
    {"I32", 32, true, DType::I32},
    {"I64", 64, true, DType::I64},
    {"F64", 64, true, DType::F64},
    {"BOOL", 8, true, DType::Bool},
    {"U16", 16, false, DType::F32},
    {"U32", 32, false, DType::F32},
    {"U64", 64, false, DType::F32},
    {"C64", 64, false, DType::F32},
    {"F8_E4M3FNUZ", 8, false, DType::F32},
    {"F8_E5M2FNUZ", 8, false, DType::F32},
    {"F4", 4, false, DType::F32},
    {"F6_E2M3", 6, false, DType::F32},
    {"F6_E3M2", 6, false, DType::F32},
};

// Reads JSON as events, so that neither a header of 100 MB nor an index of 200,000 tensors becomes
// a tree. The derived class says what may stand where; whatever it does not take is an error.
class JsonEvents {
public:
    bool null() { return refuse("null"); }
    bool boolean(bool) { return refuse("a bool"); }
    bool number_integer(Json::number_integer_t) { return refuse("a negative number"); }
    bool number_float(Json::number_float_t, const std::string&) {
        return refuse("a number that is not an unsigned integer of 64 bits");
    }
    bool binary(Json::binary_t&) { return refuse("binary"); }
    bool parse_error(std::size_t at, const std::string&, const nlohmann::detail::exception&) {
        return fail(fmt::format("is not JSON at byte {}", at));
    }

    // The first thing that was wrong.
    const std::string& problem() const { return m_problem; }

protected:
    bool fail(std::string what) {
        if (m_problem.empty()) {
            m_problem = std::move(what);
        }
        return false;
    }
    bool refuse(std::string_view found) {
        return fail(fmt::format("{}: found {}", m_where.empty() ? "top level" : m_where, found));
    }

    std::string m_where; // what is being read, for messages

private:
    std::string m_problem;
};

// One tensor as its header declares it.
struct Declared {
    std::string name;
    std::string dtype;
    std::vector<std::uint64_t> shape;
    std::vector<std::uint64_t> offsets;
};

// {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {...}}
class HeaderEvents : public JsonEvents {
public:
    std::vector<Declared> tensors;

    bool start_object(std::size_t) {
        if (m_depth == 0 || (m_depth == 1 && m_field == Field::None)) {
            ++m_depth;
            return true;
        }
        return refuse("an object");
    }

    bool key(std::string& name) {
        if (m_depth == 1) {
            return open_entry(name);
        }
        if (m_in_metadata) {
            return true;
        }
        const std::size_t index = name == "dtype"          ? 0
                                  : name == "shape"        ? 1
                                  : name == "data_offsets" ? 2
                                                           : 3;
        if (index == 3) {
            return refuse("the unknown field " + in_quotes(name));
        }
        if (m_seen[index]) {
            return refuse("the field " + name + " twice");
        }
        m_seen[index] = true;
        m_field = static_cast<Field>(index + 1);
        return true;
    }

    bool string(std::string& value) {
        if (m_depth == 2 && m_in_metadata) {
            return true;
        }
        if (m_depth == 2 && m_field == Field::DType) {
            tensors.back().dtype = std::move(value);
            m_field = Field::None;
            return true;
        }
        return refuse("the text " + in_quotes(value));
    }

    bool start_array(std::size_t) {
        const bool expected = m_field == Field::Shape || m_field == Field::Offsets;
        if (m_depth != 2 || m_in_metadata || !expected || m_in_array) {
            return refuse("an array");
        }
        m_in_array = true;
        return true;
    }

    bool number_unsigned(Json::number_unsigned_t value) {
        if (!m_in_array) {
            return refuse("a number");
        }
        const bool shape = m_field == Field::Shape;
        std::vector<std::uint64_t>& numbers = shape ? tensors.back().shape : tensors.back().offsets;
        const std::size_t limit = shape ? kMaxDims : 2;
        if (numbers.size() == limit) {
            return refuse(
                fmt::format("more than {} numbers in {}", limit, shape ? "shape" : "data_offsets"));
        }
        numbers.push_back(value);
        return true;
    }

    bool end_array() {
        m_in_array = false;
        m_field = Field::None;
        return true;
    }

    bool end_object() {
        if (m_depth == 2 && !m_in_metadata) {
            if (!m_seen[0] || !m_seen[1] || tensors.back().offsets.size() != 2) {
                return fail(m_where + ": expected dtype, shape and two data_offsets");
            }
        }
        m_in_metadata = false;
        m_where.clear();
        --m_depth;
        return true;
    }

private:
    enum class Field { None, DType, Shape, Offsets };

    bool open_entry(std::string& name) {
        m_in_metadata = name == "__metadata__";
        if (m_in_metadata) {
            m_where = name;
            return m_metadata_seen ? refuse("it twice") : (m_metadata_seen = true);
        }
        m_where = "tensor " + in_quotes(name);
        if (name.empty() || name.size() > kMaxNameBytes || !is_printable_utf8(name)) {
            return refuse("a name that is empty, not text or longer than 1024 bytes");
        }
        if (tensors.size() == kMaxTensors) {
            return refuse(fmt::format("more than {} tensors", kMaxTensors));
        }
        m_seen = {};
        tensors.emplace_back();
        tensors.back().name = std::move(name);
        return true;
    }

    int m_depth = 0;
    bool m_in_metadata = false;
    bool m_metadata_seen = false;
    bool m_in_array = false;
    Field m_field = Field::None;
    std::array<bool, 3> m_seen{};
};

// {"metadata": {...}, "weight_map": {"name": "model-00001-of-00002.safetensors"}}
class IndexEvents : public JsonEvents {
public:
    std::vector<std::pair<std::string, std::string>> weights;

    bool null() { return in_weights() ? refuse("null") : true; }
    bool boolean(bool) { return in_weights() ? refuse("a bool") : true; }
    bool number_integer(Json::number_integer_t) { return in_weights() ? refuse("a number") : true; }
    bool number_unsigned(Json::number_unsigned_t) {
        return in_weights() ? refuse("a number") : true;
    }
    bool number_float(Json::number_float_t, const std::string&) {
        return in_weights() ? refuse("a number") : true;
    }
    bool start_array(std::size_t) { return in_weights() ? refuse("an array") : enter(); }
    bool end_array() { return leave(); }

    bool start_object(std::size_t) {
        return in_weights() && m_depth == 2 ? refuse("an object") : enter();
    }
    bool end_object() { return leave(); }

    bool key(std::string& name) {
        if (m_depth == 1) {
            m_weights_key = name == "weight_map";
            if (m_weights_key && m_weights_seen) {
                return fail("weight_map comes twice");
            }
            m_weights_seen = m_weights_seen || m_weights_key;
            m_where = in_quotes(name);
        } else if (in_weights()) {
            m_where = "weight_map: tensor " + in_quotes(name);
            if (weights.size() == kMaxTensors) {
                return refuse(fmt::format("more than {} tensors", kMaxTensors));
            }
            m_tensor = std::move(name);
        }
        return true;
    }

    bool string(std::string& value) {
        if (in_weights() && m_depth == 2) {
            weights.emplace_back(std::move(m_tensor), std::move(value));
            return true;
        }
        return in_weights() ? refuse("a text") : true;
    }

private:
    bool in_weights() const { return m_depth >= 1 && m_weights_key; }
    bool enter() {
        return m_depth == kMaxIndexDepth ? refuse("too deep a nesting") : (++m_depth, true);
    }
    bool leave() {
        --m_depth;
        m_weights_key = m_weights_key && m_depth > 1;
        return true;
    }

    std::size_t m_depth = 0;
    bool m_weights_key = false;
    bool m_weights_seen = false;
    std::string m_tensor;
};

// Types and sizes of one tensor, by itself.
Result<TensorInfo> check_declared(Declared& declared) {
    const std::string context = "tensor " + in_quotes(declared.name);
    const auto type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                   [&](const auto& t) { return t.name == declared.dtype; });
    if (type == std::end(kTypes)) {
        return unsupported(
            fmt::format("{}: dtype {} is not known", context, in_quotes(declared.dtype)), "");
    }
    TensorInfo tensor;
    tensor.name = std::move(declared.name);
    tensor.dtype = type->dtype;
    if (!type->computable) {
        tensor.foreign_type = type->name;
    }
    std::optional<std::uint64_t> elements = 1;
    for (const std::uint64_t extent : declared.shape) {
        elements = elements ? checked_mul(*elements, extent) : std::nullopt;
        if (!elements || extent > std::uint64_t{INT64_MAX} ||
            *elements > std::uint64_t{INT64_MAX}) {
            return corrupt(fmt::format("{}: shape ({}): expected fewer than 2^63 elements", context,
                                       fmt::join(declared.shape, ", ")));
        }
        tensor.shape.push_back(static_cast<std::int64_t>(extent));
    }
    const std::uint64_t begin = declared.offsets[0];
    const std::uint64_t end = declared.offsets[1];
    if (end < begin) {
        return corrupt(
            fmt::format("{}: data_offsets end at {} before they begin at {}", context, end, begin));
    }
    const std::optional<std::uint64_t> bits =
        checked_mul(*elements, static_cast<std::uint64_t>(type->bits));
    if (!bits || *bits % 8 != 0 || *bits / 8 != end - begin) {
        return corrupt(fmt::format("{}: data_offsets: expected {} bytes for ({}) {}, found {}",
                                   context, bits ? fmt::to_string(*bits / 8) : "2^61 or more",
                                   fmt::join(declared.shape, ", "), type->name, end - begin));
    }
    tensor.bytes = static_cast<std::int64_t>(end - begin); // at most 2^61
    return tensor;
}

// The reference's rule: the ranges, sorted, fill the data section without holes or overlaps.
Result<void> check_layout(std::span<const Declared> declared, std::span<const TensorInfo> tensors,
                          std::uint64_t data_bytes, std::uint64_t data_begin) {
    std::vector<std::size_t> order(declared.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return declared[a].offsets < declared[b].offsets;
    });
    const std::uint64_t data_end = order.empty() ? 0 : declared[order.back()].offsets[1];
    if (data_end > data_bytes) {
        const std::optional<std::uint64_t> file_end = checked_add(data_begin, data_end);
        return file_end ? incomplete(data_begin + data_bytes, *file_end)
                        : corrupt(fmt::format("tensor {} ends beyond 2^64",
                                              in_quotes(tensors[order.back()].name)));
    }
    std::uint64_t at = 0;
    for (const std::size_t i : order) {
        const std::uint64_t begin = declared[i].offsets[0];
        if (begin != at) {
            return corrupt(fmt::format("tensor {} {}: data_offsets: expected to begin at {}, where "
                                       "the tensor before it ends, found {}",
                                       in_quotes(tensors[i].name),
                                       begin < at ? "overlaps another" : "leaves a hole", at,
                                       begin));
        }
        at = declared[i].offsets[1];
    }
    if (at != data_bytes) {
        return corrupt(fmt::format("{} bytes follow the last tensor; expected {} bytes in all, "
                                   "found {}",
                                   data_bytes - at, data_begin + at, data_begin + data_bytes));
    }
    return {};
}

} // namespace

Result<std::vector<TensorInfo>> parse_safetensors(std::span<const std::byte> bytes) {
    constexpr std::uint64_t kLengthBytes = 8;
    if (std::optional<Error> other = recognise_other_content(bytes)) {
        return *std::move(other);
    }
    if (bytes.size() < kLengthBytes + 2) {
        return incomplete(bytes.size(), kLengthBytes + 2);
    }
    std::uint64_t header_bytes = 0;
    std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
    if (header_bytes < 2 || header_bytes > kMaxHeaderBytes ||
        std::to_integer<char>(bytes[kLengthBytes]) != '{') {
        return corrupt(fmt::format("is not a safetensors file: expected a header of 2 to {} bytes "
                                   "that begins with '{{', found a length of {} and the byte "
                                   "{:02x}",
                                   kMaxHeaderBytes, header_bytes,
                                   std::to_integer<unsigned>(bytes[kLengthBytes])));
    }
    const std::uint64_t data_begin = kLengthBytes + header_bytes;
    if (data_begin > bytes.size()) {
        return incomplete(bytes.size(), data_begin);
    }
    HeaderEvents header;
    const auto* text = reinterpret_cast<const char*>(bytes.data() + kLengthBytes);
    if (!Json::sax_parse(text, text + header_bytes, &header)) {
        return corrupt("header: " + header.problem());
    }
    std::vector<TensorInfo> tensors;
    tensors.reserve(header.tensors.size());
    for (Declared& declared : header.tensors) {
        tensors.push_back(TRY(check_declared(declared)));
    }
    TRY(check_unique_names(tensors));
    const std::uint64_t data_bytes = bytes.size() - data_begin;
    TRY(check_layout(header.tensors, tensors, data_bytes, data_begin));
    for (std::size_t i = 0; i < tensors.size(); ++i) {
        tensors[i].data = bytes.subspan(data_begin + header.tensors[i].offsets[0],
                                        static_cast<std::size_t>(tensors[i].bytes));
    }
    return tensors;
}

Result<SafetensorsIndex> parse_safetensors_index(std::string_view text) {
    IndexEvents events;
    if (!Json::sax_parse(text.begin(), text.end(), &events)) {
        return corrupt(events.problem());
    }
    if (events.weights.empty()) {
        return corrupt("expected the key 'weight_map' with the tensors' files, found none");
    }
    std::sort(events.weights.begin(), events.weights.end());
    std::map<std::string, std::size_t> files;
    for (std::size_t i = 0; i < events.weights.size(); ++i) {
        const auto& [tensor, file] = events.weights[i];
        if (i > 0 && events.weights[i - 1].first == tensor) {
            return corrupt(fmt::format("weight_map: tensor {} comes twice", in_quotes(tensor)));
        }
        if (!is_plain_file_name(file) || !file.ends_with(".safetensors")) {
            return corrupt(fmt::format("weight_map: tensor {}: expected the name of a .safetensors "
                                       "file in this folder, found {}",
                                       in_quotes(tensor), in_quotes(file)));
        }
        files.emplace(file, 0);
        if (files.size() > kMaxFiles) {
            return corrupt(fmt::format("weight_map: names more than {} files", kMaxFiles));
        }
    }
    SafetensorsIndex index;
    for (auto& [name, position] : files) {
        position = index.files.size();
        index.files.push_back(name);
    }
    index.entries.reserve(events.weights.size());
    for (auto& [tensor, file] : events.weights) {
        index.entries.push_back({std::move(tensor), files.at(file)});
    }
    return index;
}

namespace {

constexpr std::string_view kSingleName = "model.safetensors";
constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::string_view kConfigName = "config.json";

bool is_there(const std::filesystem::path& path) {
    std::error_code error;
    return std::filesystem::exists(path, error);
}

Result<Json> read_config(const std::filesystem::path& path) {
    const MappedFile file = TRY(map_regular_file(path));
    const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                                file.bytes().size());
    Json config = TRY(parse_json(text, JsonLimits{.bytes = kMaxConfigBytes, .depth = 64})
                          .with_context(utf8_from_path(path)));
    if (!config.is_object()) {
        return corrupt(utf8_from_path(path) + ": expected a JSON object");
    }
    return config;
}

Result<std::string> config_architecture(const Json& config) {
    const Json* architectures = json_member(config, "architectures");
    const Json* name = json_member(config, "model_type");
    if (architectures != nullptr && architectures->is_array() && !architectures->empty()) {
        name = &architectures->front();
    }
    if (name == nullptr || !name->is_string()) {
        return corrupt("expected a name in 'architectures' or 'model_type', found none",
                       "This is not the config.json of a model");
    }
    auto text = name->get<std::string>();
    if (text.empty() || text.size() > 128 || !is_printable_utf8(text)) {
        return corrupt(
            fmt::format("architectures: expected a short name, found {}", in_quotes(text)));
    }
    return text;
}

// The weight files of a folder, with the index that names them if there is one.
struct Weights {
    std::vector<std::string> names;
    std::optional<SafetensorsIndex> index;
};

// What stands in the folder in place of safetensors, for the message.
Error no_weights(const std::filesystem::path& folder) {
    std::error_code error;
    const std::filesystem::directory_iterator entries(folder, error);
    for (const std::filesystem::directory_entry& entry : entries) {
        const std::filesystem::path extension = entry.path().extension();
        if (extension == ".gguf") {
            return {ErrorCode::NotFound, "has no safetensors, but GGUF files",
                    "Open the .gguf file itself"};
        }
        for (const char* pickle : {".bin", ".pt", ".pth", ".ckpt", ".pkl"}) {
            if (extension == pickle) {
                return unsupported(
                    fmt::format("has no safetensors; {} holds pickled Python objects, which can "
                                "run code when read",
                                in_quotes(utf8_from_path(entry.path().filename()))),
                    "Use the model's safetensors or GGUF files");
            }
        }
    }
    return {ErrorCode::NotFound, fmt::format("has neither {} nor {}", kSingleName, kIndexName),
            "Fetch the weights into this folder"};
}

Result<Weights> find_weights(const std::filesystem::path& folder) {
    if (is_there(folder / kSingleName)) {
        return Weights{{std::string(kSingleName)}, std::nullopt};
    }
    const std::filesystem::path index_path = folder / kIndexName;
    if (!is_there(index_path)) {
        return no_weights(folder).with_context(utf8_from_path(folder));
    }
    const std::string index_text = utf8_from_path(index_path);
    const MappedFile file = TRY(map_regular_file(index_path));
    if (file.bytes().size() > kMaxIndexBytes) {
        return corrupt(fmt::format("{}: expected at most {} bytes, found {}", index_text,
                                   kMaxIndexBytes, file.bytes().size()));
    }
    const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                                file.bytes().size());
    SafetensorsIndex index = TRY(parse_safetensors_index(text).with_context(index_text));
    Weights weights;
    weights.names = index.files;
    weights.index = std::move(index);
    return weights;
}

// Every tensor is in the file that the index says, and no other tensor is anywhere.
Result<void> check_index(const SafetensorsIndex& index, const Checkpoint& checkpoint) {
    for (const SafetensorsIndex::Entry& entry : index.entries) {
        const TensorInfo* tensor = checkpoint.find(entry.tensor);
        if (tensor == nullptr) {
            return corrupt(fmt::format("tensor {}: expected in {}, found in no file",
                                       in_quotes(entry.tensor),
                                       in_quotes(index.files[entry.file])));
        }
        if (static_cast<std::size_t>(tensor->file) != entry.file) {
            return corrupt(
                fmt::format("tensor {}: expected in {}, found in {}", in_quotes(entry.tensor),
                            in_quotes(index.files[entry.file]),
                            in_quotes(index.files[static_cast<std::size_t>(tensor->file)])));
        }
    }
    if (index.entries.size() == checkpoint.tensors().size()) {
        return {};
    }
    std::set<std::string_view> names;
    for (const SafetensorsIndex::Entry& entry : index.entries) {
        names.insert(entry.tensor);
    }
    for (const TensorInfo& tensor : checkpoint.tensors()) {
        if (!names.contains(tensor.name)) {
            return corrupt(
                fmt::format("weight_map does not name tensor {} of {}", in_quotes(tensor.name),
                            in_quotes(index.files[static_cast<std::size_t>(tensor.file)])));
        }
    }
    return {};
}

// A named .safetensors file that is part of a folder's checkpoint.
Result<bool> belongs_to_folder(const std::filesystem::path& file) {
    const std::filesystem::path folder = file.parent_path();
    const bool has_weights = is_there(folder / kSingleName) || is_there(folder / kIndexName);
    if (!is_there(folder / kConfigName) || !has_weights) {
        return false;
    }
    const Weights weights = TRY(find_weights(folder));
    return std::find(weights.names.begin(), weights.names.end(), utf8_from_path(file.filename())) !=
           weights.names.end();
}

} // namespace

Result<Checkpoint> open_safetensors(const std::filesystem::path& path, Need need) {
    const std::string path_text = utf8_from_path(path);
    std::error_code error;
    std::filesystem::path folder = path;
    std::filesystem::path config = path / kConfigName;
    bool alone = false;
    if (!std::filesystem::is_directory(path, error)) {
        folder = path.parent_path();
        const std::string name = utf8_from_path(path.filename());
        if (path.extension() == ".json") {
            const bool stands_for_folder = name == kConfigName || name == kIndexName;
            config = name == kIndexName ? folder / kConfigName : path;
            if (need == Need::Tensors && !stands_for_folder) {
                return Error{ErrorCode::NotFound,
                             path_text + ": describes an architecture and has no weights",
                             "Open a folder with config.json and safetensors"};
            }
        } else {
            config = folder / kConfigName;
            alone = !TRY(belongs_to_folder(path));
        }
    }

    Checkpoint checkpoint;
    checkpoint.m_container = Container::Safetensors;
    checkpoint.m_path = path;
    checkpoint.m_metadata = Json::object();
    Weights weights;
    if (alone) {
        weights.names.push_back(utf8_from_path(path.filename()));
    } else {
        checkpoint.m_metadata = TRY(read_config(config));
        checkpoint.m_architecture =
            TRY(config_architecture(checkpoint.m_metadata).with_context(utf8_from_path(config)));
        if (need == Need::HeaderOnly) {
            return checkpoint;
        }
        weights = TRY(find_weights(folder));
    }

    for (const std::string& name : weights.names) {
        const std::filesystem::path file_path = folder / path_from_utf8(name);
        if (!is_there(file_path)) {
            return Error{ErrorCode::NotFound,
                         fmt::format("{}: weight file {} of {} is missing", utf8_from_path(folder),
                                     in_quotes(name), weights.names.size()),
                         "Fetch all weight files into this folder"};
        }
        const std::string file_text = utf8_from_path(file_path);
        MappedFile map = TRY(map_regular_file(file_path));
        std::vector<TensorInfo> tensors =
            TRY(parse_safetensors(map.bytes()).with_context(file_text));
        for (TensorInfo& tensor : tensors) {
            tensor.file = static_cast<int>(checkpoint.m_files.size());
            const auto [entry, inserted] =
                checkpoint.m_by_name.emplace(tensor.name, checkpoint.m_tensors.size());
            if (!inserted) {
                const auto other =
                    static_cast<std::size_t>(checkpoint.m_tensors[entry->second].file);
                return corrupt(fmt::format("{}: tensor {} is in {} too", file_text,
                                           in_quotes(tensor.name),
                                           utf8_from_path(checkpoint.m_files[other].filename())));
            }
            checkpoint.m_tensors.push_back(std::move(tensor));
        }
        checkpoint.m_file_bytes += static_cast<std::int64_t>(map.bytes().size());
        checkpoint.m_files.push_back(file_path);
        checkpoint.m_maps.push_back(std::move(map));
    }

    if (weights.index) {
        TRY(check_index(*weights.index, checkpoint)
                .with_context(utf8_from_path(folder / kIndexName)));
    }
    TRY(check_types_computable(checkpoint.m_tensors).with_context(path_text));
    return checkpoint;
}

} // namespace hs
