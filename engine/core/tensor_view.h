#pragma once
// DType, the element types of checkpoints and caches, and View<T, R>: a strided, non-owning window
// on memory. Views are checked once, where an op is called; kernels trust them.

#include "engine/core/result.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace hs {

// Storage types of tensors. Block types keep ggml's layout (formats.md section 2).
enum class DType : std::uint8_t {
    F32,
    F16,
    BF16,
    F64,
    F8E4M3,
    F8E5M2,
    F8E8M0,
    I8,
    I16,
    I32,
    I64,
    U8,
    Bool,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    IQ4_NL,
    IQ4_XS,
    MXFP4,
};

struct DTypeInfo {
    const char* name;
    int block_elems; // elements of one block; 1 for plain types
    int block_bytes; // bytes of one block
    bool quantised;  // block format with scales
};

const DTypeInfo& info(DType dtype);

inline const char* to_string(DType dtype) {
    return info(dtype).name;
}

// Whether products may round their inputs to eight bits: ggml's block formats are made for it.
// MXFP4 is a format that models are released in, and means float inputs.
inline bool rounds_inputs(DType dtype) {
    return info(dtype).quantised && dtype != DType::MXFP4;
}

// Bytes of one row of `cols` elements. cols must be a multiple of the block.
inline std::int64_t row_bytes(DType dtype, std::int64_t cols) {
    const DTypeInfo& d = info(dtype);
    return cols / d.block_elems * d.block_bytes;
}

// A window of R dimensions, innermost last, strides in elements.
template <class T, int R>
struct View {
    T* data = nullptr;
    std::array<std::int64_t, R> extent{};
    std::array<std::int64_t, R> stride{};

    View() = default;
    View(T* pointer, std::array<std::int64_t, R> extents)
        : data(pointer)
        , extent(extents) {
        std::int64_t step = 1;
        for (int i = R - 1; i >= 0; --i) {
            stride[static_cast<std::size_t>(i)] = step;
            step *= extent[static_cast<std::size_t>(i)];
        }
    }
    View(T* pointer, std::array<std::int64_t, R> extents, std::array<std::int64_t, R> strides)
        : data(pointer)
        , extent(extents)
        , stride(strides) {}

    // A view of mutable elements reads as a view of const ones.
    operator View<const T, R>() const requires(!std::is_const_v<T>) {
        return {data, extent, stride};
    }

    std::int64_t size() const {
        std::int64_t n = 1;
        for (std::int64_t e : extent) {
            n *= e;
        }
        return n;
    }
    bool contiguous() const {
        std::int64_t step = 1;
        for (int i = R - 1; i >= 0; --i) {
            const auto d = static_cast<std::size_t>(i);
            if (extent[d] != 1 && stride[d] != step) {
                return false;
            }
            step *= extent[d];
        }
        return true;
    }

    T& operator()(std::int64_t i) const requires(R == 1) { return data[i * stride[0]]; }
    T& operator()(std::int64_t i, std::int64_t j) const requires(R == 2) {
        return data[i * stride[0] + j * stride[1]];
    }
    T& operator()(std::int64_t i, std::int64_t j, std::int64_t k) const requires(R == 3) {
        return data[i * stride[0] + j * stride[1] + k * stride[2]];
    }

    // Entries [first, first + count) of the outermost dimension.
    View slice(std::int64_t first, std::int64_t count) const {
        View v = *this;
        v.data += first * stride[0];
        v.extent[0] = count;
        return v;
    }
};

} // namespace hs
