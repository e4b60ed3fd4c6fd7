// Seeded random weights.

#include "engine/run/weights.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <fmt/format.h>

namespace hs {
namespace {

// For values of ordinary size, which is all that is asked of it here.
std::uint16_t float_to_half(float f) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(f);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    const std::int32_t exponent = static_cast<std::int32_t>((bits >> 23) & 0xffu) - 112;
    if (exponent <= 0) {
        return static_cast<std::uint16_t>(sign);
    }
    const std::uint32_t rounded = ((bits & 0x7fffffu) + 0x1000u) >> 13;
    return static_cast<std::uint16_t>(
        sign + (static_cast<std::uint32_t>(std::min(exponent, 30)) << 10) + rounded);
}

// SplitMix64: small, good, and the same everywhere.
class Random {
public:
    explicit Random(std::uint64_t seed)
        : m_state(seed) {}

    std::uint64_t bits() {
        std::uint64_t z = m_state += 0x9e3779b97f4a7c15ull;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }
    // In [-1, 1).
    float uniform() { return static_cast<float>(bits() >> 40) * 0x1.0p-23f - 1.0f; }

private:
    std::uint64_t m_state;
};

std::uint64_t seed_of(std::uint64_t seed, const std::string& name) {
    std::uint64_t hash = 0xcbf29ce484222325ull ^ seed; // FNV-1a
    for (const char c : name) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
    }
    return hash;
}

void put_half(std::byte* at, float value) {
    const std::uint16_t half = float_to_half(value);
    std::memcpy(at, &half, 2);
}

// Random bits are random quants; the factors are set so that values spread over +-amplitude.
void fill_block(DType dtype, std::byte* block, std::size_t bytes, float amplitude, Random& random) {
    for (std::size_t i = 0; i < bytes; ++i) {
        block[i] = static_cast<std::byte>(random.bits() >> 56);
    }
    switch (dtype) {
    case DType::Q8_0:
        put_half(block, amplitude / 127.0f);
        break;
    case DType::Q4_0:
        put_half(block, amplitude / 8.0f);
        break;
    default: // Q4_K: scales of about 31, quants of 0..15, minimum in the middle
        put_half(block, amplitude / (31.0f * 7.5f));
        put_half(block + 2, amplitude / 31.0f);
        break;
    }
}

} // namespace

SyntheticWeights::SyntheticWeights(Backend& backend, std::uint64_t seed, DType dtype,
                                   WeightMemory& memory, std::stop_token stop)
    : m_backend(&backend)
    , m_seed(seed)
    , m_dtype(dtype)
    , m_memory(&memory)
    , m_stop(std::move(stop)) {}

std::int64_t synthetic_bytes(const ModelSpec& spec, DType dtype) {
    const DTypeInfo& type = info(dtype);
    return static_cast<std::int64_t>(static_cast<double>(count_parameters(spec).total) *
                                     type.block_bytes / type.block_elems);
}

Result<Weight> SyntheticWeights::matrix(const std::string& name, std::int64_t rows,
                                        std::int64_t cols) {
    constexpr std::array<DType, 6> known{DType::F32,  DType::F16,  DType::BF16,
                                         DType::Q8_0, DType::Q4_0, DType::Q4_K};
    if (std::find(known.begin(), known.end(), m_dtype) == known.end()) {
        return Error{ErrorCode::Unsupported,
                     fmt::format("expected random weights in F32, F16, BF16, Q8_0, Q4_0 or Q4_K, "
                                 "found {}",
                                 to_string(m_dtype)),
                     {}};
    }
    if (m_stop.stop_requested()) {
        m_stopped = true;
        return Error{ErrorCode::InvalidArgument, "making weights was stopped", {}};
    }
    Weight weight;
    weight.dtype = cols % info(m_dtype).block_elems == 0 ? m_dtype : DType::BF16;
    weight.rows = rows;
    weight.cols = cols;
    weight.row_stride_bytes = row_bytes(weight.dtype, cols);
    std::unique_ptr<std::byte[]> values = allocate_bytes(weight.bytes());
    if (values == nullptr) {
        return out_of_memory(name, weight.bytes());
    }
    const DTypeInfo& type = info(weight.dtype);
    // Uniform in +-sqrt(3 / cols) has variance 1 / cols, which keeps a product's variance.
    const float amplitude = std::sqrt(3.0f / static_cast<float>(cols));
    Random random(seed_of(m_seed, name));
    const auto block_bytes = static_cast<std::size_t>(type.block_bytes);
    const auto blocks = static_cast<std::size_t>(weight.bytes()) / block_bytes;
    for (std::size_t i = 0; i < blocks; ++i) {
        std::byte* const at = values.get() + i * block_bytes;
        if (type.quantised) {
            fill_block(weight.dtype, at, block_bytes, amplitude, random);
            continue;
        }
        const float value = amplitude * random.uniform();
        if (weight.dtype == DType::F32) {
            std::memcpy(at, &value, sizeof(value));
        } else if (weight.dtype == DType::F16) {
            put_half(at, value);
        } else {
            const auto upper =
                static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
            std::memcpy(at, &upper, sizeof(upper));
        }
    }
    weight.data = values.get();
    const Weight placed = TRY(m_backend->place(weight, m_memory->buffers).with_context(name));
    if (placed.data == values.get()) {
        m_memory->copies.push_back(std::move(values));
    }
    m_memory->bytes += weight.bytes();
    m_memory->rounds_inputs = m_memory->rounds_inputs || rounds_inputs(weight.dtype);
    return placed;
}

Result<std::span<const float>> SyntheticWeights::vector(const std::string& name,
                                                        std::int64_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    Random random(seed_of(m_seed, name));
    const std::string_view part = std::string_view(name).substr(name.rfind('.') + 1);
    for (float& value : values) {
        const float u = random.uniform();
        if (part.ends_with("norm") || part.ends_with("norm_after")) {
            value = 1.0f + 0.1f * u;
        } else if (part == "decay_rate") {
            value = -(0.05f + 0.5f * (u + 1.0f)); // memories of a few to some dozens of tokens
        } else if (part == "conv") {
            value = 0.5f * u;
        } else {
            value = 0.1f * u; // biases
        }
    }
    m_memory->bytes += count * static_cast<std::int64_t>(sizeof(float));
    return place_values(*m_backend, *m_memory, values).with_context(name);
}

Result<std::span<const float>> SyntheticWeights::constants(std::span<const float> values) {
    return place_values(*m_backend, *m_memory, values);
}

} // namespace hs
