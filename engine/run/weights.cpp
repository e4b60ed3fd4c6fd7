#include "engine/run/weights.h"

#include "engine/core/json.h"
#include "engine/run/unpack.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <functional>
#include <new>
#include <optional>

namespace hs {
namespace {

// Of matrices that are copied one behind another: a line of the cache.
constexpr std::size_t kAlignment = 64;

using Transform = TensorSource::Transform;
using RowRange = TensorSource::RowRange;

// out.size() values of a small tensor as f32, from element `first` on; block types only whole.
// False for types that hold no numbers to multiply with, and where the tensor ends before.
bool read_values(const TensorInfo& tensor, std::span<float> out, std::int64_t first = 0) {
    const DTypeInfo& type = info(tensor.dtype);
    const std::int64_t elements = tensor.elements();
    const auto wanted = static_cast<std::int64_t>(out.size());
    if (tensor.data.size() < static_cast<std::size_t>(tensor.bytes) || first < 0 ||
        wanted > elements || first > elements - wanted ||
        (type.block_elems != 1 && (first != 0 || wanted != elements))) {
        return false;
    }
    const std::byte* const from = tensor.data.data() + first * type.block_bytes;
    if (tensor.dtype == DType::F64) {
        for (std::size_t i = 0; i < out.size(); ++i) {
            double value = 0;
            std::memcpy(&value, from + sizeof(value) * i, sizeof(value));
            out[i] = static_cast<float>(value);
        }
        return true;
    }
    if (tensor.dtype == DType::F8E8M0) {
        for (std::size_t i = 0; i < out.size(); ++i) {
            out[i] = std::ldexp(1.0f, static_cast<int>(from[i]) - 127);
        }
        return true;
    }
    return dequantise(tensor.dtype,
                      tensor.data.subspan(static_cast<std::size_t>(from - tensor.data.data())), out)
        .ok();
}

bool is_fp8(DType dtype) {
    return dtype == DType::F8E4M3 || dtype == DType::F8E5M2;
}

bool is_weight_type(DType dtype) {
    return dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16 || is_fp8(dtype) ||
           info(dtype).quantised;
}

std::int64_t cols_of(const TensorInfo& tensor) {
    return tensor.shape.empty() ? 0 : tensor.shape.back();
}

std::size_t alignment_of(DType dtype) {
    if (is_fp8(dtype)) {
        return 1;
    }
    return dtype == DType::F32 ? 4 : 2;
}

// The extents of FP8 blocks that a configuration states, in one of two spellings.
Result<std::optional<std::array<std::int64_t, 2>>> block_setting(const Json& config) {
    using Found = std::optional<std::array<std::int64_t, 2>>;
    const Json* settings = json_member(config, "quantization_config");
    if (const Json* text = json_member(config, "text_config");
        settings == nullptr && text != nullptr && text->is_object()) {
        settings = json_member(*text, "quantization_config");
    }
    if (settings == nullptr || !settings->is_object()) {
        return Found();
    }
    const Json* sizes = json_member(*settings, "weight_block_size");
    const Json* const groups = json_member(*settings, "config_groups");
    if (sizes == nullptr && groups != nullptr && groups->is_object()) {
        for (const auto& [name, group] : groups->items()) {
            const Json* const weights = group.is_object() ? json_member(group, "weights") : nullptr;
            if (weights != nullptr && weights->is_object() && sizes == nullptr) {
                sizes = json_member(*weights, "block_structure");
            }
        }
    }
    if (sizes == nullptr) {
        return Found();
    }
    std::array<std::int64_t, 2> block{};
    for (std::size_t i = 0; i < 2; ++i) {
        const bool sane = sizes->is_array() && sizes->size() == 2 &&
                          (*sizes)[i].is_number_integer() && (*sizes)[i].get<std::int64_t>() >= 1 &&
                          (*sizes)[i].get<std::int64_t>() <= (1 << 20);
        if (!sane) {
            return Error{ErrorCode::Corrupt,
                         "quantization_config: weight_block_size: expected two positive integers",
                         {}};
        }
        block[i] = (*sizes)[i].get<std::int64_t>();
    }
    return Found(block);
}

// One row as f32, with its FP8 factors.
Result<void> expand_row(const Weight& weight, std::int64_t row, std::span<float> out) {
    TRY(dequantise(weight.dtype,
                   {weight.data + row * weight.row_stride_bytes,
                    static_cast<std::size_t>(weight.row_stride_bytes)},
                   out));
    if (weight.scales != nullptr) {
        const float* const factors =
            weight.scales + row / weight.scale_block_rows * weight.scale_stride;
        for (std::int64_t c = 0; c < weight.cols; ++c) {
            out[static_cast<std::size_t>(c)] *= factors[c / weight.scale_block_cols];
        }
    }
    return {};
}

std::string shape_text(std::initializer_list<std::int64_t> shape) {
    std::string text;
    for (const std::int64_t extent : shape) {
        text += (text.empty() ? "(" : ", ") + std::to_string(extent);
    }
    return text + ")";
}

} // namespace

std::unique_ptr<std::byte[]> allocate_bytes(std::int64_t bytes) {
    return std::unique_ptr<std::byte[]>(new (std::nothrow)
                                            std::byte[static_cast<std::size_t>(bytes)]);
}

Error out_of_memory(const std::string& name, std::int64_t bytes) {
    return {ErrorCode::OutOfMemory,
            fmt::format("{}: no memory for {} bytes of weights", name, bytes),
            "Close other programs, or take a smaller or more strongly quantised model."};
}

Result<std::span<const float>> place_values(Backend& backend, WeightMemory& memory,
                                            std::span<const float> values) {
    const std::span<const std::byte> bytes = std::as_bytes(values);
    std::unique_ptr<Buffer> buffer = TRY(backend.allocate(static_cast<std::int64_t>(bytes.size())));
    backend.copy_in(buffer->data(), bytes);
    const std::span<const float> placed(reinterpret_cast<const float*>(buffer->data()),
                                        values.size());
    memory.buffers.push_back(std::move(buffer));
    return placed;
}

// --- checkpoint ----------------------------------------------------------------------------------

struct CheckpointWeights::Found {
    std::string name; // of the spec
    TensorSource source;
    const TensorInfo* tensor = nullptr;

    std::string place() const { return name + " (" + source.name + ")"; }
};

Error CheckpointWeights::misfit(const Found& found, const std::string& expected) {
    return {
        ErrorCode::Corrupt,
        fmt::format("{}: expected {}, found {}", found.place(), expected, found.tensor->describe()),
        "The tensor does not fit the model's configuration; fetch the file again."};
}

CheckpointWeights::CheckpointWeights(Backend& backend, const Checkpoint& checkpoint,
                                     TensorMap tensors, WeightMemory& memory, std::stop_token stop,
                                     std::function<void(std::int64_t)> progress)
    : m_backend(&backend)
    , m_checkpoint(&checkpoint)
    , m_tensors(std::move(tensors))
    , m_memory(&memory)
    , m_stop(std::move(stop))
    , m_progress(std::move(progress)) {
    if (!GrowingMemory::has_huge_pages()) {
        return;
    }
    std::size_t bytes = 0;
    for (const TensorInfo& tensor : checkpoint.tensors()) {
        bytes += tensor.data.size() + kAlignment;
    }
    // A quarter is left to what is read with the weights, and to other programs.
    const auto available = static_cast<std::size_t>(machine_memory().available_bytes);
    if (bytes > available / 4 * 3) {
        return;
    }
    auto room = GrowingMemory::reserve(bytes, GrowingMemory::Pages::Huge);
    if (room.ok() && room->commit(bytes).ok()) {
        m_memory->taken_in = std::move(*room);
    }
}

Result<CheckpointWeights::Found> CheckpointWeights::find(const std::string& name) {
    if (m_stop.stop_requested()) {
        m_stopped = true;
        return Error{ErrorCode::InvalidArgument, "loading was stopped", {}};
    }
    Found found;
    found.name = name;
    found.source = TRY(m_tensors(name));
    found.tensor = m_checkpoint->find(found.source.name);
    if (found.tensor == nullptr && found.source.name.ends_with(".weight")) {
        // compressed-tensors packs a matrix under another name: MXFP4 as pairs in bytes, others as
        // integers in words.
        found.tensor = m_checkpoint->find(found.source.name + "_packed");
        if (found.tensor != nullptr && found.tensor->dtype == DType::U8) {
            const TensorInfo* const scales = m_checkpoint->find(found.source.name + "_scale");
            if (scales != nullptr && is_fp8(scales->dtype)) {
                return Error{ErrorCode::Unsupported,
                             fmt::format("{}: pairs of values in bytes with factors {}: expected "
                                         "MXFP4, with factors in U8",
                                         found.place(), scales->describe()),
                             "Take the model in another quantisation."};
            }
            found.source.mxfp4_scales = found.source.name + "_scale";
            found.source.name += "_packed";
        }
    }
    if (found.tensor == nullptr) {
        return Error{
            ErrorCode::NotFound,
            fmt::format("{}: tensor {} is missing from the checkpoint", name, found.source.name),
            "The file may be incomplete; fetch it again."};
    }
    if (!found.tensor->foreign_type.empty()) {
        return Error{ErrorCode::Unsupported,
                     fmt::format("{}: no products with weights of type {}", found.place(),
                                 found.tensor->foreign_type),
                     "Take the model in another quantisation."};
    }
    return found;
}

void CheckpointWeights::count(const TensorInfo& tensor) {
    if (m_used.insert(tensor.name).second) {
        m_done_bytes += tensor.bytes;
        m_memory->bytes += tensor.bytes;
        if (m_progress) {
            m_progress(m_done_bytes);
        }
    }
}

Result<Weight> CheckpointWeights::matrix(const std::string& name, std::int64_t rows,
                                         std::int64_t cols) {
    Weight weight = TRY(table(name, rows, cols));
    const Found found = TRY(find(name));
    take_in(weight, *found.tensor);
    return weight;
}

Result<Weight> CheckpointWeights::table(const std::string& name, std::int64_t rows,
                                        std::int64_t cols) {
    const Found found = TRY(find(name));
    const TensorInfo& tensor = *found.tensor;
    const TensorSource& source = found.source;
    if (source.transposed > 0) {
        // What is asked for is the transpose: (rows, cols) lies as (rows / c * cols, c).
        HS_ASSERT(source.transposed == cols);
        const std::int64_t file_cols = cols_of(tensor);
        const bool all = source.turned_rows.empty();
        if (file_cols < 1 || (all && rows % file_cols != 0)) {
            return misfit(found, fmt::format("columns that divide {}", rows));
        }
        std::int64_t chosen = 0;
        for (const RowRange& range : source.turned_rows) {
            HS_ASSERT(range.first >= 0 && range.count >= 1 && range.step >= 1);
            chosen += range.count;
            if (range.first + (range.count - 1) * range.step >= file_cols) {
                return misfit(found, fmt::format("more than {} columns",
                                                 range.first + (range.count - 1) * range.step));
            }
        }
        HS_ASSERT(all || chosen == rows);
        const std::int64_t kept = all ? rows / file_cols * cols : cols;
        Found plain = found;
        plain.source.transposed = 0;
        const Weight weight = TRY(mapped(plain, kept, file_cols));
        return transpose(weight, found);
    }
    const Weight weight = TRY(mapped(found, rows, cols));
    const std::byte* const host = weight.data;
    const Weight placed =
        TRY(m_backend->place(weight, m_memory->buffers).with_context(found.place()));
    if (placed.data != host) { // the device has its own copy
        m_checkpoint->forget(tensor, tensor.data);
        if (!m_memory->copies.empty() && m_memory->copies.back().get() == host) {
            m_memory->copies.pop_back();
        }
    }
    count(tensor);
    return placed;
}

// Copies what will be read over and over out of the mapping, as far as there is room for it.
void CheckpointWeights::take_in(Weight& weight, const TensorInfo& tensor) {
    const std::byte* const end = tensor.data.data() + tensor.data.size();
    if (weight.data < tensor.data.data() || weight.data >= end) {
        return; // a copy already, or on a device
    }
    const auto known = m_taken_in.find(weight.data); // tied: one matrix at two places
    if (known != m_taken_in.end() && known->second.rows == weight.rows &&
        known->second.cols == weight.cols) {
        weight.data = known->second.data;
        weight.row_stride_bytes = known->second.row_stride_bytes;
        return;
    }
    const std::int64_t row = row_bytes(weight.dtype, weight.cols);
    const auto bytes = static_cast<std::size_t>(weight.rows * row);
    const std::size_t first = (m_taken_in_bytes + kAlignment - 1) / kAlignment * kAlignment;
    const std::size_t room = m_memory->taken_in.committed();
    if (first > room || bytes > room - first) {
        return;
    }
    const std::byte* const from = weight.data;
    std::byte* const to = m_memory->taken_in.data() + first;
    // In pieces, so that little is held twice at a time.
    constexpr std::int64_t kPieceBytes = std::int64_t{8} << 20;
    const std::int64_t piece = std::max<std::int64_t>(1, kPieceBytes / row);
    for (std::int64_t r = 0; r < weight.rows; r += piece) {
        const std::int64_t rows = std::min(piece, weight.rows - r);
        const std::byte* const begin = from + r * weight.row_stride_bytes;
        for (std::int64_t i = 0; i < rows; ++i) {
            std::memcpy(to + (r + i) * row, begin + i * weight.row_stride_bytes,
                        static_cast<std::size_t>(row));
        }
        m_checkpoint->forget(
            tensor, {begin, static_cast<std::size_t>((rows - 1) * weight.row_stride_bytes + row)});
    }
    m_taken_in_bytes = first + bytes;
    weight.data = to;
    weight.row_stride_bytes = row;
    m_taken_in.insert_or_assign(from, weight);
}

// A matrix as it lies in the file, or its rows as the source chooses them; not on the backend yet.
Result<Weight> CheckpointWeights::mapped(const Found& found, std::int64_t rows, std::int64_t cols) {
    const TensorInfo& tensor = *found.tensor;
    const TensorSource& source = found.source;
    const bool stacked = source.expert >= 0;
    if (!source.mxfp4_scales.empty()) {
        return packed_mxfp4(found, rows, cols);
    }
    if (tensor.dtype == DType::I8 || tensor.name.ends_with(".weight_packed")) {
        return unpacked(found, rows, cols);
    }

    // The shape, outermost first: (experts, rows, cols), (rows, cols), or (cols) for one row.
    const std::int64_t file_rows = source.rows.empty() ? rows : source.file_rows;
    const std::size_t dims = tensor.shape.size();
    bool fits = false;
    if (stacked) {
        fits = dims == 3 && source.expert < tensor.shape[0] && tensor.shape[1] == file_rows &&
               tensor.shape[2] == cols;
    } else {
        // Heads may lie as a dimension of their own: (heads, rows, cols).
        fits = (dims == 2 && tensor.shape[0] == file_rows && tensor.shape[1] == cols) ||
               (dims == 3 && tensor.shape[2] == cols && tensor.elements() == file_rows * cols) ||
               (dims == 1 && file_rows == 1 && tensor.shape[0] == cols);
    }
    if (!fits) {
        const std::string expected =
            stacked ? fmt::format("(more than {}, {}, {})", source.expert, file_rows, cols)
                    : shape_text({file_rows, cols});
        return misfit(found, expected);
    }
    if (!is_weight_type(tensor.dtype)) {
        return Error{ErrorCode::Unsupported,
                     fmt::format("{}: expected weights in F32, F16, BF16, FP8 or a ggml block "
                                 "format, found {}",
                                 found.place(), tensor.describe()),
                     "Take the model in another format."};
    }
    const DTypeInfo& type = info(tensor.dtype);
    if (cols % type.block_elems != 0) {
        return Error{ErrorCode::Corrupt,
                     fmt::format("{}: expected rows of a multiple of {} values, found {}",
                                 found.place(), type.block_elems, tensor.describe()),
                     {}};
    }
    Weight weight;
    weight.dtype = tensor.dtype;
    weight.rows = file_rows;
    weight.cols = cols;
    weight.row_stride_bytes = row_bytes(tensor.dtype, cols);
    const std::int64_t matrix_bytes = file_rows * weight.row_stride_bytes;
    const std::int64_t first_byte = stacked ? source.expert * matrix_bytes : 0;
    if (static_cast<std::int64_t>(tensor.data.size()) < first_byte + matrix_bytes) {
        return Error{ErrorCode::Corrupt,
                     fmt::format("{}: expected {} bytes, found {}", found.place(),
                                 first_byte + matrix_bytes, tensor.data.size()),
                     "The file may be incomplete; fetch it again."};
    }
    weight.data = tensor.data.data() + first_byte;
    if (is_fp8(tensor.dtype)) {
        TRY(attach_scales(weight, found, file_rows));
    }
    TRY(select_rows(weight, found));
    HS_ASSERT(weight.rows == rows);

    m_memory->rounds_inputs = m_memory->rounds_inputs || rounds_inputs(tensor.dtype);
    return weight;
}

// Runs of source.transposed rows become their transposes, (runs * columns, transposed), or of a
// single run the columns that the source chooses. Plain types keep their type, others become f32.
Result<Weight> CheckpointWeights::transpose(const Weight& weight, const Found& found) {
    const std::int64_t height = found.source.transposed;
    const std::int64_t width = weight.cols;
    std::vector<std::int64_t> columns;
    for (const RowRange& range : found.source.turned_rows) {
        for (std::int64_t i = 0; i < range.count; ++i) {
            columns.push_back(range.first + i * range.step);
        }
    }
    for (std::int64_t c = 0; c < width && found.source.turned_rows.empty(); ++c) {
        columns.push_back(c);
    }
    const DTypeInfo& type = info(weight.dtype);
    const bool plain = type.block_elems == 1 && weight.scales == nullptr && !type.quantised;
    const auto chosen = static_cast<std::int64_t>(columns.size());
    Weight turned;
    turned.dtype = plain ? weight.dtype : DType::F32;
    turned.rows = weight.rows / height * chosen;
    turned.cols = height;
    turned.row_stride_bytes = row_bytes(turned.dtype, height);
    std::unique_ptr<std::byte[]> memory = allocate_bytes(turned.bytes());
    if (memory == nullptr) {
        return out_of_memory(found.place(), turned.bytes());
    }
    const std::int64_t size = info(turned.dtype).block_bytes;
    std::vector<float> row(static_cast<std::size_t>(plain ? 0 : width));
    for (std::int64_t r = 0; r < weight.rows; ++r) {
        const std::byte* from = weight.data + r * weight.row_stride_bytes;
        if (!plain) {
            TRY(expand_row(weight, r, row).with_context(found.place()));
            from = reinterpret_cast<const std::byte*>(row.data());
        }
        std::byte* to = memory.get() + ((r / height * chosen) * height + r % height) * size;
        for (const std::int64_t c : columns) {
            std::memcpy(to, from + c * size, static_cast<std::size_t>(size));
            to += height * size;
        }
    }
    turned.data = memory.get();
    const Weight placed =
        TRY(m_backend->place(turned, m_memory->buffers).with_context(found.place()));
    if (placed.data == memory.get()) {
        m_memory->copies.push_back(std::move(memory));
    }
    count(*found.tensor);
    return placed;
}

// Two tensors of bytes to ggml's blocks: the factor, then 16 bytes of which byte i holds values i
// and i + 16. In the checkpoint byte i of a row holds values 2 i and 2 i + 1, the lower first.
Result<Weight> CheckpointWeights::packed_mxfp4(const Found& found, std::int64_t rows,
                                               std::int64_t cols) {
    const TensorInfo& values = *found.tensor;
    const TensorInfo* const factors = m_checkpoint->find(found.source.mxfp4_scales);
    if (factors == nullptr) {
        return Error{ErrorCode::NotFound,
                     fmt::format("{}: tensor {} is missing from the checkpoint", found.name,
                                 found.source.mxfp4_scales),
                     "The file may be incomplete; fetch it again."};
    }
    constexpr std::int64_t kBlock = 32;
    const bool stacked = found.source.expert >= 0;
    const std::int64_t experts = stacked && !values.shape.empty() ? values.shape[0] : 1;
    const std::int64_t file_rows = found.source.rows.empty() ? rows : found.source.file_rows;
    const std::int64_t blocks = cols / kBlock;
    const bool bytes = info(values.dtype).block_bytes == 1 && info(factors->dtype).block_bytes == 1;
    if (!bytes || cols % kBlock != 0 || found.source.expert >= experts ||
        values.elements() != experts * file_rows * blocks * (kBlock / 2) ||
        factors->elements() != experts * file_rows * blocks ||
        static_cast<std::int64_t>(values.data.size()) < values.elements() ||
        static_cast<std::int64_t>(factors->data.size()) < factors->elements()) {
        return misfit(found, fmt::format("bytes of MXFP4 for {} x ({}, {}) and factors {}", experts,
                                         file_rows, cols, factors->describe()));
    }
    Weight weight;
    weight.dtype = DType::MXFP4;
    weight.rows = rows;
    weight.cols = cols;
    weight.row_stride_bytes = row_bytes(DType::MXFP4, cols);
    std::unique_ptr<std::byte[]> memory = allocate_bytes(weight.bytes());
    if (memory == nullptr) {
        return out_of_memory(found.place(), weight.bytes());
    }
    std::vector<RowRange> ranges = found.source.rows;
    if (ranges.empty()) {
        ranges.push_back({0, rows});
    }
    const std::int64_t first_row = std::max<std::int64_t>(0, found.source.expert) * file_rows;
    std::byte* to = memory.get();
    for (const RowRange& range : ranges) {
        for (std::int64_t i = 0; i < range.count; ++i) {
            const std::int64_t row = first_row + range.first + i * range.step;
            for (std::int64_t b = 0; b < blocks; ++b) {
                const std::byte* const from = values.data.data() + (row * blocks + b) * kBlock / 2;
                *to++ = factors->data[static_cast<std::size_t>(row * blocks + b)];
                // Bytes j and j + 8 hold values 2 j, 2 j + 1 and those 16 behind them.
                for (int j = 0; j < 8; ++j) {
                    const std::byte low = from[j];
                    const std::byte high = from[j + 8];
                    *to++ = (low & std::byte{15}) | (high << 4);
                    *to++ = (low >> 4) | (high & std::byte{0xF0});
                }
            }
        }
    }
    HS_ASSERT(to == memory.get() + weight.bytes());
    weight.data = memory.get();
    m_memory->copies.push_back(std::move(memory));
    count(values);
    count(*factors);
    return weight;
}

// Integers of compressed-tensors.
Result<Weight> CheckpointWeights::unpacked(const Found& found, std::int64_t rows,
                                           std::int64_t cols) {
    const std::string& name = found.source.name;
    if (found.source.expert >= 0 || !name.ends_with(".weight")) {
        return Error{ErrorCode::Unsupported,
                     fmt::format("{}: expected integers of one matrix, found {}", found.place(),
                                 found.tensor->describe()),
                     {}};
    }
    Weight weight;
    weight.rows = found.source.rows.empty() ? rows : found.source.file_rows;
    weight.cols = cols;
    const std::string module = name.substr(0, name.size() - std::string_view(".weight").size());
    Unpacked values = TRY(
        unpack_integers(*m_checkpoint, module, weight.rows, cols, [this](const TensorInfo& tensor) {
            count(tensor);
        }).with_context(found.name));
    weight.dtype = values.dtype;
    weight.row_stride_bytes = row_bytes(values.dtype, cols);
    weight.data = values.bytes.get();
    m_memory->rounds_inputs = m_memory->rounds_inputs || rounds_inputs(values.dtype);
    m_memory->copies.push_back(std::move(values.bytes));
    TRY(select_rows(weight, found));
    HS_ASSERT(weight.rows == rows);
    return weight;
}

// FP8 factors lie in a tensor of their own: one for all, one per row, or one per block
// (formats.md section 3.3). Becomes f32.
Result<void> CheckpointWeights::attach_scales(Weight& weight, const Found& found,
                                              std::int64_t file_rows) {
    const TensorInfo* scales = m_checkpoint->find(found.source.name + "_scale_inv");
    if (scales == nullptr) {
        scales = m_checkpoint->find(found.source.name + "_scale");
    }
    if (scales == nullptr) {
        return Error{ErrorCode::NotFound,
                     fmt::format("{}: FP8 weights expect a tensor {}_scale_inv or {}_scale",
                                 found.place(), found.source.name, found.source.name),
                     {}};
    }
    const std::optional<std::array<std::int64_t, 2>> said =
        TRY(block_setting(m_checkpoint->metadata()));
    const std::array<std::int64_t, 2> block = said.value_or(std::array<std::int64_t, 2>{128, 128});
    const std::int64_t experts = found.source.expert >= 0 ? found.tensor->shape[0] : 1;
    const std::int64_t elements = scales->elements();
    const std::int64_t slab = found.source.scale_slab;
    HS_ASSERT(slab == 0 || (experts == 1 && file_rows % slab == 0));
    const auto blocks = [](std::int64_t n, std::int64_t size) { return (n + size - 1) / size; };
    struct Layout {
        std::int64_t block_rows, block_cols; // extents of a block
        std::int64_t rows, cols;             // blocks
    };
    const Layout by_block{block[0], block[1],
                          slab > 0 ? file_rows / slab * blocks(slab, block[0])
                                   : blocks(file_rows, block[0]),
                          blocks(weight.cols, block[1])};
    std::vector<Layout> layouts{by_block};
    if (slab == 0) {
        const auto by_shape = said ? layouts.end() : layouts.begin();
        std::vector<Layout> shaped{{file_rows, weight.cols, 1, 1}, {1, weight.cols, file_rows, 1}};
        const std::int64_t across = elements / experts / file_rows; // of every row
        if (across > 1 && weight.cols % across == 0) {
            shaped.push_back({1, weight.cols / across, file_rows, across});
        }
        layouts.insert(by_shape, shaped.begin(), shaped.end());
    }
    const auto layout = std::find_if(layouts.begin(), layouts.end(), [&](const Layout& one) {
        return elements == experts * one.rows * one.cols;
    });
    if (layout == layouts.end()) {
        return Error{ErrorCode::Corrupt,
                     fmt::format("{}: expected {} factors in blocks of {} x {}, found {}",
                                 scales->name, experts * by_block.rows * by_block.cols, block[0],
                                 block[1], scales->describe()),
                     {}};
    }
    const std::int64_t block_rows = layout->rows;
    weight.scale_block_rows = layout->block_rows;
    weight.scale_block_cols = layout->block_cols;
    weight.scale_stride = layout->cols;
    const float*& factors = m_factors[scales->name]; // of all experts, read once
    if (factors == nullptr) {
        auto values = std::make_unique<float[]>(static_cast<std::size_t>(elements));
        TensorInfo numbers = *scales;
        if (numbers.dtype == DType::U8) { // powers of two, as MXFP8 has them
            numbers.dtype = DType::F8E8M0;
        }
        if (!read_values(numbers, {values.get(), static_cast<std::size_t>(elements)})) {
            return Error{ErrorCode::Unsupported,
                         fmt::format("{}: expected factors in F32, BF16 or F16, found {}",
                                     scales->name, scales->describe()),
                         {}};
        }
        factors = values.get();
        m_memory->scales.push_back(std::move(values));
    }
    weight.scales = factors;
    if (found.source.expert >= 0) {
        weight.scales += found.source.expert * block_rows * weight.scale_stride;
    }
    if (slab > 0) {
        // One row of factors for every row: blocks of slabs do not lie evenly in the whole.
        auto values =
            std::make_unique<float[]>(static_cast<std::size_t>(file_rows * weight.scale_stride));
        const std::int64_t slab_blocks = (slab + block[0] - 1) / block[0];
        for (std::int64_t r = 0; r < file_rows; ++r) {
            const std::int64_t from = r / slab * slab_blocks + r % slab / block[0];
            std::copy_n(weight.scales + from * weight.scale_stride, weight.scale_stride,
                        values.get() + r * weight.scale_stride);
        }
        weight.scales = values.get();
        weight.scale_block_rows = 1;
        m_memory->scales.push_back(std::move(values));
    }
    count(*scales);
    return {};
}

// Narrows the matrix to the source's rows. One run of rows stays where it is in the file; several,
// or rows at an odd address, are copied once.
Result<void> CheckpointWeights::select_rows(Weight& weight, const Found& found) {
    std::vector<RowRange> ranges = found.source.rows;
    if (ranges.empty()) {
        ranges.push_back({0, weight.rows});
    }
    std::int64_t rows = 0;
    for (const RowRange& range : ranges) {
        HS_ASSERT(range.first >= 0 && range.count >= 1 && range.step >= 1);
        HS_ASSERT(range.first + (range.count - 1) * range.step < weight.rows);
        rows += range.count;
    }
    const auto address = reinterpret_cast<std::uintptr_t>(weight.data);
    const bool aligned = address % alignment_of(weight.dtype) == 0;
    const bool scales_follow =
        weight.scales == nullptr || ranges.front().first % weight.scale_block_rows == 0;
    if (ranges.size() == 1 && ranges.front().step == 1 && aligned && scales_follow) {
        weight = weight.slice_rows(ranges.front().first, rows);
        return {};
    }

    const std::int64_t bytes = rows * weight.row_stride_bytes;
    std::unique_ptr<std::byte[]> copy = allocate_bytes(bytes);
    std::unique_ptr<float[]> scales;
    if (weight.scales != nullptr) {
        // Runs need not fall on blocks: every row brings its own factors.
        scales = std::make_unique<float[]>(static_cast<std::size_t>(rows * weight.scale_stride));
    }
    if (copy == nullptr) {
        return out_of_memory(found.place(), bytes);
    }
    std::int64_t at = 0;
    for (const RowRange& range : ranges) {
        for (std::int64_t r = 0; r < range.count; ++r, ++at) {
            const std::int64_t row = range.first + r * range.step;
            std::memcpy(copy.get() + at * weight.row_stride_bytes,
                        weight.data + row * weight.row_stride_bytes,
                        static_cast<std::size_t>(weight.row_stride_bytes));
            if (scales != nullptr) {
                const std::int64_t block = row / weight.scale_block_rows;
                std::copy_n(weight.scales + block * weight.scale_stride, weight.scale_stride,
                            scales.get() + at * weight.scale_stride);
            }
        }
    }
    weight.data = copy.get();
    weight.rows = rows;
    m_memory->copies.push_back(std::move(copy));
    if (scales != nullptr) {
        weight.scales = scales.get();
        weight.scale_block_rows = 1;
        m_memory->scales.push_back(std::move(scales));
    }
    return {};
}

// The values a source names: of one tensor or of several joined, all of them or some, and of a
// stack those of one expert.
Result<std::vector<float>> CheckpointWeights::values_of(const Found& found) {
    const TensorSource& source = found.source;
    std::vector<float> values;
    for (std::size_t i = 0; i <= source.more.size(); ++i) {
        const std::string& name = i == 0 ? source.name : source.more[i - 1];
        const TensorInfo* const tensor = m_checkpoint->find(name);
        if (tensor == nullptr) {
            return Error{
                ErrorCode::NotFound,
                fmt::format("{}: tensor {} is missing from the checkpoint", found.name, name),
                "The file may be incomplete; fetch it again."};
        }
        const std::int64_t experts =
            source.expert < 0 || tensor->shape.empty() ? 1 : tensor->shape[0];
        const std::int64_t elements = experts > 0 ? tensor->elements() / experts : 0;
        std::vector<float> read;
        // No more than the file holds: block types take half a byte per value or more.
        if (elements >= 0 && elements <= 2 * tensor->bytes && source.expert < experts) {
            read.resize(static_cast<std::size_t>(elements));
        }
        if (read.empty() ||
            !read_values(*tensor, read, std::max<std::int64_t>(0, source.expert) * elements)) {
            return Error{
                ErrorCode::Unsupported,
                fmt::format("{}: expected numbers, found {}", found.place(), tensor->describe()),
                {}};
        }
        values.insert(values.end(), read.begin(), read.end());
        count(*tensor);
    }
    if (source.rows.empty()) {
        return values;
    }
    if (static_cast<std::int64_t>(values.size()) != source.file_rows) {
        return Error{ErrorCode::Corrupt,
                     fmt::format("{}: expected {} values, found {}", found.place(),
                                 source.file_rows, found.tensor->describe()),
                     "The tensor does not fit the model's configuration; fetch the file again."};
    }
    std::vector<float> chosen;
    for (const RowRange& range : source.rows) {
        for (std::int64_t i = 0; i < range.count; ++i) {
            chosen.push_back(values[static_cast<std::size_t>(range.first + i * range.step)]);
        }
    }
    return chosen;
}

Result<std::span<const float>> CheckpointWeights::vector(const std::string& name,
                                                         std::int64_t expected) {
    const Found found = TRY(find(name));
    std::vector<float> values = TRY(values_of(found));
    if (!found.source.factor.empty()) {
        Found other = found;
        other.source = {};
        other.source.name = found.source.factor;
        other.tensor = m_checkpoint->find(other.source.name);
        const std::vector<float> factors = TRY(values_of(other));
        if (factors.size() != values.size()) {
            return misfit(other, fmt::format("{} values", values.size()));
        }
        std::transform(values.begin(), values.end(), factors.begin(), values.begin(),
                       std::multiplies<>());
    }
    if (static_cast<std::int64_t>(values.size()) != expected) {
        return Error{ErrorCode::Corrupt,
                     fmt::format("{}: expected {} values, found {}", found.place(), expected,
                                 found.tensor->describe()),
                     "The tensor does not fit the model's configuration; fetch the file again."};
    }
    for (float& value : values) {
        if (found.source.transform == Transform::AddOne) {
            value += 1.0f;
        } else if (found.source.transform == Transform::NegativeExp) {
            value = -std::exp(value);
        }
    }
    return place_values(*m_backend, *m_memory, values).with_context(name);
}

Result<std::span<const float>> CheckpointWeights::constants(std::span<const float> values) {
    return place_values(*m_backend, *m_memory, values);
}

// --- names ---------------------------------------------------------------------------------------

Result<void> NamesAlone::note(const std::string& name) {
    const TensorSource source = TRY((*m_tensors)(name));
    for (const char* const ending : {"", "_packed", "_scale", "_scale_inv"}) {
        m_used.insert(source.name + ending);
    }
    m_used.insert(source.more.begin(), source.more.end());
    m_used.insert(source.factor);
    m_used.insert(source.mxfp4_scales);
    return {};
}

// One room for all: a stack of experts would have thousands of biases.
std::span<const float> NamesAlone::zeros(std::size_t count) {
    if (m_zeros.empty() || count > m_widest) {
        m_zeros.push_back(std::make_unique<float[]>(count));
        m_widest = count;
    }
    return {m_zeros.back().get(), count};
}

Result<Weight> NamesAlone::matrix(const std::string& name, std::int64_t rows, std::int64_t cols) {
    TRY(note(name));
    Weight weight;
    weight.rows = rows;
    weight.cols = cols;
    return weight;
}

Result<std::span<const float>> NamesAlone::vector(const std::string& name, std::int64_t count) {
    TRY(note(name));
    return zeros(static_cast<std::size_t>(count));
}

Result<std::span<const float>> NamesAlone::constants(std::span<const float> values) {
    return zeros(values.size());
}

} // namespace hs
