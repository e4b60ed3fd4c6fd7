#pragma once
// DType to the kernels' own enum, which knows nothing of the engine, and what a backend refuses.

#include "engine/backend/backend.h"
#include "engine/core/tensor_view.h"
#include "kernels/cpu/kernels.h"

#include <optional>
#include <string>

namespace hs {

// Empty for types that hold no weights.
inline std::optional<cpu::Format> weight_format(DType dtype) {
    switch (dtype) {
    case DType::F32:
        return cpu::Format::F32;
    case DType::F16:
        return cpu::Format::F16;
    case DType::BF16:
        return cpu::Format::BF16;
    case DType::F8E4M3:
        return cpu::Format::F8E4M3;
    case DType::Q4_0:
        return cpu::Format::Q4_0;
    case DType::Q4_1:
        return cpu::Format::Q4_1;
    case DType::Q5_0:
        return cpu::Format::Q5_0;
    case DType::Q5_1:
        return cpu::Format::Q5_1;
    case DType::Q8_0:
        return cpu::Format::Q8_0;
    case DType::Q2_K:
        return cpu::Format::Q2_K;
    case DType::Q3_K:
        return cpu::Format::Q3_K;
    case DType::Q4_K:
        return cpu::Format::Q4_K;
    case DType::Q5_K:
        return cpu::Format::Q5_K;
    case DType::Q6_K:
        return cpu::Format::Q6_K;
    case DType::IQ4_NL:
        return cpu::Format::IQ4_NL;
    case DType::IQ4_XS:
        return cpu::Format::IQ4_XS;
    case DType::MXFP4:
        return cpu::Format::MXFP4;
    default:
        return std::nullopt;
    }
}

// The format of a matrix that is to be placed. Errors: Unsupported, Corrupt.
inline Result<cpu::Format> placeable_format(const Weight& weight) {
    const auto format = weight_format(weight.dtype);
    if (!format) {
        return Error{ErrorCode::Unsupported,
                     std::string("no products with weights of type ") + to_string(weight.dtype),
                     "Convert the model to one of the supported formats"};
    }
    if (weight.cols % cpu::block_elems(*format) != 0) {
        return Error{ErrorCode::Corrupt,
                     "expected a row length that is a multiple of " +
                         std::to_string(cpu::block_elems(*format)) + " for " +
                         to_string(weight.dtype) + ", found " + std::to_string(weight.cols),
                     ""};
    }
    return *format;
}

} // namespace hs
