#include "engine/core/tensor_view.h"

#include <iterator>

namespace hs {

// In the order of the enum; sizes from ggml's published block layouts (formats.md section 2.1).
const DTypeInfo& info(DType dtype) {
    static constexpr DTypeInfo kInfos[] = {
        {"F32", 1, 4, false},       {"F16", 1, 2, false},     {"BF16", 1, 2, false},
        {"F64", 1, 8, false},       {"F8_E4M3", 1, 1, false}, {"F8_E5M2", 1, 1, false},
        {"F8_E8M0", 1, 1, false},   {"I8", 1, 1, false},      {"I16", 1, 2, false},
        {"I32", 1, 4, false},       {"I64", 1, 8, false},     {"U8", 1, 1, false},
        {"BOOL", 1, 1, false},      {"Q4_0", 32, 18, true},   {"Q4_1", 32, 20, true},
        {"Q5_0", 32, 22, true},     {"Q5_1", 32, 24, true},   {"Q8_0", 32, 34, true},
        {"Q2_K", 256, 84, true},    {"Q3_K", 256, 110, true}, {"Q4_K", 256, 144, true},
        {"Q5_K", 256, 176, true},   {"Q6_K", 256, 210, true}, {"IQ4_NL", 32, 18, true},
        {"IQ4_XS", 256, 136, true}, {"MXFP4", 32, 17, true},
    };
    const auto index = static_cast<std::size_t>(dtype);
    HS_ASSERT(index < std::size(kInfos));
    return kInfos[index];
}

} // namespace hs
