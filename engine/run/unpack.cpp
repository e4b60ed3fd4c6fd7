#include "engine/run/unpack.h"

#include "engine/backend/backend.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <new>
#include <optional>
#include <vector>

namespace hs {
namespace {

Error corrupt(std::string what) {
    return {ErrorCode::Corrupt, std::move(what), "Fetch the file again."};
}

// The half with exactly this value, where there is one.
std::optional<std::uint16_t> exact_half(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000u);
    const float magnitude = std::abs(value);
    if (magnitude == 0.0f) {
        return sign;
    }
    if (!(magnitude <= 65504.0f)) {
        return std::nullopt;
    }
    if (magnitude < 0x1p-14f) { // subnormal: a multiple of 2^-24
        const float steps = magnitude * 0x1p24f;
        if (steps != std::floor(steps)) {
            return std::nullopt;
        }
        return static_cast<std::uint16_t>(sign | static_cast<std::uint16_t>(steps));
    }
    if ((bits & 0x1fffu) != 0) {
        return std::nullopt;
    }
    const std::uint32_t exponent = ((bits >> 23) & 0xffu) - 112u;
    return static_cast<std::uint16_t>(sign | (exponent << 10) | ((bits >> 13) & 0x3ffu));
}

bool is_float(DType dtype) {
    return dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16;
}

bool whole(const TensorInfo& tensor, std::int64_t elements, DType dtype) {
    return tensor.dtype == dtype && tensor.elements() == elements &&
           static_cast<std::int64_t>(tensor.data.size()) >= elements * info(dtype).block_bytes;
}

std::uint32_t word_at(const TensorInfo& tensor, std::int64_t index) {
    std::uint32_t word = 0;
    std::memcpy(&word, tensor.data.data() + index * 4, sizeof(word));
    return word;
}

// Integers of a matrix, less the middle of their range where they are packed.
class Integers {
public:
    const TensorInfo* values = nullptr;
    int bits = 8;           // packed
    std::int64_t words = 0; // of a packed row; 0: bytes
    std::int64_t cols = 0;

    int at(std::int64_t row, std::int64_t col) const {
        if (words == 0) {
            return static_cast<std::int8_t>(
                values->data[static_cast<std::size_t>(row * cols + col)]);
        }
        const int per_word = 32 / bits;
        const std::uint32_t word = word_at(*values, row * words + col / per_word);
        const auto shift = static_cast<unsigned>(bits * static_cast<int>(col % per_word));
        return static_cast<int>((word >> shift) & ((1u << bits) - 1u)) - (1 << (bits - 1));
    }
};

// Zero points: packed along rows like the values, or one byte each; none is 0.
class ZeroPoints {
public:
    const TensorInfo* values = nullptr;
    int bits = 8;
    bool packed = false;
    std::int64_t groups = 1;

    int at(std::int64_t row, std::int64_t group) const {
        if (values == nullptr) {
            return 0;
        }
        if (!packed) {
            return static_cast<std::int8_t>(values->data[static_cast<std::size_t>(
                values->elements() == 1 ? 0 : row * groups + group)]);
        }
        const int per_word = 32 / bits;
        const std::uint32_t word = word_at(*values, row / per_word * groups + group);
        const auto shift = static_cast<unsigned>(bits * static_cast<int>(row % per_word));
        return static_cast<int>((word >> shift) & ((1u << bits) - 1u)) - (1 << (bits - 1));
    }
};

struct Source {
    Integers integers;
    ZeroPoints zeros;
    std::vector<float> scales;          // (rows, groups), or one
    std::vector<std::int32_t> group_of; // by column, or empty: equal runs
    std::int64_t groups = 1;
    std::int64_t group_cols = 1;

    float scale(std::int64_t row, std::int64_t group) const {
        return scales.size() == 1 ? scales[0]
                                  : scales[static_cast<std::size_t>(row * groups + group)];
    }
};

Result<Integers> find_integers(const Checkpoint& checkpoint, const std::string& module,
                               std::int64_t rows, std::int64_t cols) {
    Integers found;
    found.cols = cols;
    const TensorInfo* const packed = checkpoint.find(module + ".weight_packed");
    found.values = packed != nullptr ? packed : checkpoint.find(module + ".weight");
    HS_ASSERT(found.values != nullptr);
    if (packed == nullptr) {
        if (!whole(*found.values, rows * cols, DType::I8)) {
            return corrupt(fmt::format("{}: expected ({}, {}) I8, found {}", found.values->name,
                                       rows, cols, found.values->describe()));
        }
        return found;
    }
    for (const int bits : {4, 8, 2}) {
        const std::int64_t words = (cols + 32 / bits - 1) / (32 / bits);
        if (packed->shape.size() == 2 && packed->shape[0] == rows && packed->shape[1] == words &&
            whole(*packed, rows * words, DType::I32)) {
            found.bits = bits;
            found.words = words;
            return found;
        }
    }
    return corrupt(fmt::format("{}: expected ({}, {}) integers of 2, 4 or 8 bits in I32, found {}",
                               packed->name, rows, cols, packed->describe()));
}

Result<Source> find_source(const Checkpoint& checkpoint, const std::string& module,
                           std::int64_t rows, std::int64_t cols) {
    Source source;
    source.integers = TRY(find_integers(checkpoint, module, rows, cols));
    const TensorInfo* const scales = checkpoint.find(module + ".weight_scale");
    if (scales == nullptr) {
        return Error{ErrorCode::NotFound,
                     fmt::format("{}: integer weights expect a tensor {}.weight_scale",
                                 source.integers.values->name, module),
                     {}};
    }
    const std::int64_t count = scales->elements();
    if (!is_float(scales->dtype) || !whole(*scales, count, scales->dtype) || count < 1 ||
        (count != 1 && (count % rows != 0 || count / rows > cols))) {
        return corrupt(fmt::format("{}: expected factors for {} rows in F32, F16 or BF16, found {}",
                                   scales->name, rows, scales->describe()));
    }
    source.groups = count == 1 ? 1 : count / rows;
    source.group_cols = cols / source.groups;
    source.scales.resize(static_cast<std::size_t>(count));
    TRY(dequantise(scales->dtype, scales->data, source.scales).with_context(scales->name));

    if (const TensorInfo* const index = checkpoint.find(module + ".weight_g_idx")) {
        if (!whole(*index, cols, DType::I32)) {
            return corrupt(fmt::format("{}: expected ({}) I32, found {}", index->name, cols,
                                       index->describe()));
        }
        source.group_of.resize(static_cast<std::size_t>(cols));
        std::memcpy(source.group_of.data(), index->data.data(), source.group_of.size() * 4);
        for (const std::int32_t group : source.group_of) {
            if (group < 0 || group >= source.groups) {
                return corrupt(fmt::format("{}: expected groups in [0, {}), found {}", index->name,
                                           source.groups, group));
            }
        }
    } else if (cols % source.groups != 0) {
        return corrupt(fmt::format("{}: expected groups of equal width for {} columns, found {}",
                                   scales->name, cols, scales->describe()));
    }

    ZeroPoints& zeros = source.zeros;
    zeros.values = checkpoint.find(module + ".weight_zero_point");
    zeros.groups = source.groups;
    zeros.bits = source.integers.bits;
    if (zeros.values != nullptr) {
        const std::int64_t per_word = 32 / zeros.bits;
        zeros.packed = zeros.values->dtype == DType::I32 && source.integers.words > 0;
        const bool fits =
            zeros.packed
                ? whole(*zeros.values, (rows + per_word - 1) / per_word * source.groups, DType::I32)
                : whole(*zeros.values, 1, DType::I8) ||
                      whole(*zeros.values, rows * source.groups, DType::I8);
        if (!fits) {
            return corrupt(fmt::format("{}: expected zero points of {} rows in {} groups, found {}",
                                       zeros.values->name, rows, source.groups,
                                       zeros.values->describe()));
        }
    }
    return source;
}

// Q4_0 and Q8_0 say (q - middle) d with a half d per 32 values: the same numbers where every factor
// is a half.
std::optional<DType> block_type(const Source& source, std::int64_t cols) {
    const bool even = source.group_of.empty() && source.group_cols % 32 == 0 && cols % 32 == 0;
    const bool halves = std::all_of(source.scales.begin(), source.scales.end(),
                                    [](float scale) { return exact_half(scale).has_value(); });
    if (!even || !halves || source.zeros.values != nullptr || source.integers.bits == 2) {
        return std::nullopt;
    }
    return source.integers.bits == 4 ? DType::Q4_0 : DType::Q8_0;
}

void write_blocks(const Source& source, DType dtype, std::int64_t rows, std::int64_t cols,
                  std::byte* to) {
    for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t first = 0; first < cols; first += 32) {
            const std::uint16_t factor = *exact_half(source.scale(r, first / source.group_cols));
            std::memcpy(to, &factor, sizeof(factor));
            to += sizeof(factor);
            for (int i = 0; dtype == DType::Q8_0 && i < 32; ++i) {
                *to++ = static_cast<std::byte>(source.integers.at(r, first + i));
            }
            for (int i = 0; dtype == DType::Q4_0 && i < 16; ++i) {
                const int low = source.integers.at(r, first + i) + 8;
                const int high = source.integers.at(r, first + i + 16) + 8;
                *to++ = static_cast<std::byte>(low | (high << 4));
            }
        }
    }
}

void write_floats(const Source& source, std::int64_t rows, std::int64_t cols, std::byte* to) {
    for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t c = 0; c < cols; ++c) {
            const std::int64_t group = source.group_of.empty()
                                           ? c / source.group_cols
                                           : source.group_of[static_cast<std::size_t>(c)];
            const int steps = source.integers.at(r, c) - source.zeros.at(r, group);
            const float value = static_cast<float>(steps) * source.scale(r, group);
            std::memcpy(to, &value, sizeof(value));
            to += sizeof(value);
        }
    }
}

} // namespace

Result<Unpacked> unpack_integers(const Checkpoint& checkpoint, const std::string& module,
                                 std::int64_t rows, std::int64_t cols,
                                 const std::function<void(const TensorInfo&)>& used) {
    const Source source = TRY(find_source(checkpoint, module, rows, cols));
    Unpacked unpacked;
    const std::optional<DType> block = block_type(source, cols);
    unpacked.dtype = block.value_or(DType::F32);
    const std::int64_t bytes = rows * row_bytes(unpacked.dtype, cols);
    unpacked.bytes.reset(new (std::nothrow) std::byte[static_cast<std::size_t>(bytes)]);
    if (unpacked.bytes == nullptr) {
        return Error{ErrorCode::OutOfMemory,
                     fmt::format("{}: no memory for {} bytes of weights", module, bytes),
                     "Close other programs, or take a smaller model."};
    }
    if (block) {
        write_blocks(source, *block, rows, cols, unpacked.bytes.get());
    } else {
        write_floats(source, rows, cols, unpacked.bytes.get());
    }
    for (const char* part : {".weight_packed", ".weight", ".weight_scale", ".weight_zero_point",
                             ".weight_g_idx", ".weight_shape", ".input_scale"}) {
        if (const TensorInfo* tensor = checkpoint.find(module + part)) {
            used(*tensor);
        }
    }
    return unpacked;
}

} // namespace hs
