#pragma once
// What the kernels of every device have in common.

namespace hs::kernels {

// Storage formats of weights (formats.md section 2.2).
enum class Format : int {
    F32,
    F16,
    BF16,
    F8E4M3,
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
constexpr int kFormats = 17;

} // namespace hs::kernels
