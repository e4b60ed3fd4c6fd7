// Dequantisation by the closed forms of formats.md section 2.2, in their order of operations, and
// the conversions of half formats. Compiled without contraction to FMA: results are equal in every
// bit to ggml's scalar code on every machine. The fast paths of matmul.cpp are held against this.

#include "kernels/cpu/kernels.h"

#include <bit>
#include <cstring>

namespace hs::cpu {

namespace {

struct FormatRow {
    std::int64_t elems;
    std::int64_t bytes;
};
constexpr FormatRow kRows[kFormats] = {
    {1, 4},     {1, 2},     {1, 2},   {1, 1},     {32, 18},   {32, 20},
    {32, 22},   {32, 24},   {32, 34}, {256, 84},  {256, 110}, {256, 144},
    {256, 176}, {256, 210}, {32, 18}, {256, 136}, {32, 17},
};

constexpr std::int8_t kNonlinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                        1,    13,   25,  38,  53,  69,  89,  113};
// Twice the E2M1 values.
constexpr std::int8_t kE2M1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

using Bytes = const std::uint8_t*;

std::uint16_t u16(Bytes b) {
    return static_cast<std::uint16_t>(b[0] | b[1] << 8);
}
std::uint32_t u32(Bytes b) {
    return static_cast<std::uint32_t>(u16(b)) | static_cast<std::uint32_t>(u16(b + 2)) << 16;
}
float half(Bytes b) {
    return from_f16(u16(b));
}
// Element i of 32 nibbles in 16 bytes: the first half in the low ones.
int nibble(Bytes b, int i) {
    return i < 16 ? b[i] & 15 : b[i - 16] >> 4;
}

// 2^(e - 128), subnormal for e < 2.
float e8m0_half(std::uint8_t e) {
    return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<std::uint32_t>(e - 1) << 23);
}

void q4_0(Bytes b, float* y) {
    const float d = half(b);
    for (int i = 0; i < 32; ++i) {
        y[i] = static_cast<float>(nibble(b + 2, i) - 8) * d;
    }
}
void q4_1(Bytes b, float* y) {
    const float d = half(b);
    const float m = half(b + 2);
    for (int i = 0; i < 32; ++i) {
        y[i] = static_cast<float>(nibble(b + 4, i)) * d + m;
    }
}
void q5_0(Bytes b, float* y) {
    const float d = half(b);
    const std::uint32_t high = u32(b + 2);
    for (int i = 0; i < 32; ++i) {
        const int q = nibble(b + 6, i) | static_cast<int>(high >> i & 1) << 4;
        y[i] = static_cast<float>(q - 16) * d;
    }
}
void q5_1(Bytes b, float* y) {
    const float d = half(b);
    const float m = half(b + 2);
    const std::uint32_t high = u32(b + 4);
    for (int i = 0; i < 32; ++i) {
        const int q = nibble(b + 8, i) | static_cast<int>(high >> i & 1) << 4;
        y[i] = static_cast<float>(q) * d + m;
    }
}
void q8_0(Bytes b, float* y) {
    const float d = half(b);
    for (int i = 0; i < 32; ++i) {
        y[i] = static_cast<float>(static_cast<std::int8_t>(b[2 + i])) * d;
    }
}
void iq4_nl(Bytes b, float* y) {
    const float d = half(b);
    for (int i = 0; i < 32; ++i) {
        y[i] = d * static_cast<float>(kNonlinear[nibble(b + 2, i)]);
    }
}
void mxfp4(Bytes b, float* y) {
    const float d = e8m0_half(b[0]);
    for (int i = 0; i < 32; ++i) {
        y[i] = static_cast<float>(kE2M1[nibble(b + 1, i)]) * d;
    }
}

void q2_k(Bytes b, float* y) {
    const float d = half(b + 80);
    const float dmin = half(b + 82);
    for (int i = 0; i < 256; ++i) {
        const int s = b[i / 16];
        const int q = b[16 + 32 * (i / 128) + i % 32] >> (2 * (i % 128 / 32)) & 3;
        y[i] = d * static_cast<float>(s & 15) * static_cast<float>(q) -
               dmin * static_cast<float>(s >> 4);
    }
}
void q3_k(Bytes b, float* y) {
    const float d = half(b + 108);
    for (int i = 0; i < 256; ++i) {
        const int j = i / 16;
        const int low = j < 8 ? b[96 + j] & 15 : b[96 + j - 8] >> 4;
        const int high = b[104 + j % 4] >> (2 * (j / 4)) & 3;
        const int s = (low | high << 4) - 32;
        const int q2 = b[32 + 32 * (i / 128) + i % 32] >> (2 * (i % 128 / 32)) & 3;
        const int q = q2 - ((b[i % 32] >> (i / 32) & 1) != 0 ? 0 : 4);
        y[i] = d * static_cast<float>(s) * static_cast<float>(q);
    }
}
// Scale and minimum of group g of Q4_K and Q5_K, from their twelve packed bytes.
void packed_scale(Bytes s, int g, int& scale, int& minimum) {
    if (g < 4) {
        scale = s[g] & 63;
        minimum = s[g + 4] & 63;
    } else {
        scale = (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
        minimum = (s[g + 4] >> 4) | (s[g] >> 6) << 4;
    }
}
void q4_k(Bytes b, float* y) {
    const float d = half(b);
    const float dmin = half(b + 2);
    for (int g = 0; g < 8; ++g) {
        int scale = 0;
        int minimum = 0;
        packed_scale(b + 4, g, scale, minimum);
        const float ds = d * static_cast<float>(scale);
        const float dm = dmin * static_cast<float>(minimum);
        for (int l = 0; l < 32; ++l) {
            const int v = b[16 + 32 * (g / 2) + l];
            const int q = g % 2 == 0 ? v & 15 : v >> 4;
            y[32 * g + l] = ds * static_cast<float>(q) - dm;
        }
    }
}
void q5_k(Bytes b, float* y) {
    const float d = half(b);
    const float dmin = half(b + 2);
    for (int g = 0; g < 8; ++g) {
        int scale = 0;
        int minimum = 0;
        packed_scale(b + 4, g, scale, minimum);
        const float ds = d * static_cast<float>(scale);
        const float dm = dmin * static_cast<float>(minimum);
        for (int l = 0; l < 32; ++l) {
            const int v = b[48 + 32 * (g / 2) + l];
            const int q = (g % 2 == 0 ? v & 15 : v >> 4) | (b[16 + l] >> g & 1) << 4;
            y[32 * g + l] = ds * static_cast<float>(q) - dm;
        }
    }
}
void q6_k(Bytes b, float* y) {
    const float d = half(b + 208);
    for (int i = 0; i < 256; ++i) {
        const int h = i / 128;
        const int k = i % 128 / 32;
        const int l = i % 32;
        const int v = b[64 * h + 32 * (k & 1) + l];
        const int low = k < 2 ? v & 15 : v >> 4;
        const int high = b[128 + 32 * h + l] >> (2 * k) & 3;
        const int q = (low | high << 4) - 32;
        const float ds = d * static_cast<float>(static_cast<std::int8_t>(b[192 + i / 16]));
        y[i] = ds * static_cast<float>(q);
    }
}
void iq4_xs(Bytes b, float* y) {
    const float d = half(b);
    const int high = u16(b + 2);
    for (int g = 0; g < 8; ++g) {
        const int s = (b[4 + g / 2] >> (4 * (g % 2)) & 15) | (high >> (2 * g) & 3) << 4;
        const float ds = d * static_cast<float>(s - 32);
        for (int i = 0; i < 32; ++i) {
            y[32 * g + i] = ds * static_cast<float>(kNonlinear[nibble(b + 8 + 16 * g, i)]);
        }
    }
}

template <class Block>
void blocks(const std::byte* from, float* to, std::int64_t n, Format format, Block block) {
    auto b = reinterpret_cast<Bytes>(from);
    const FormatRow row = kRows[static_cast<int>(format)];
    for (std::int64_t i = 0; i < n; i += row.elems, b += row.bytes) {
        block(b, to + i);
    }
}

// E4M3 without infinities: bias 7, 0x7F and 0xFF are NaN.
float from_e4m3(std::uint8_t b) {
    const std::uint32_t sign = static_cast<std::uint32_t>(b & 0x80) << 24;
    const std::uint32_t magnitude = b & 0x7Fu;
    if (magnitude == 0x7F) {
        return std::bit_cast<float>(sign | 0x7FC00000u);
    }
    if (magnitude < 8) { // subnormal: m * 2^-9
        const float value = static_cast<float>(magnitude) * 0x1p-9f;
        return sign != 0 ? -value : value;
    }
    return std::bit_cast<float>(sign | ((magnitude << 20) + (120u << 23)));
}

} // namespace

std::int64_t block_elems(Format format) {
    return kRows[static_cast<int>(format)].elems;
}
std::int64_t block_bytes(Format format) {
    return kRows[static_cast<int>(format)].bytes;
}

float from_f16(std::uint16_t h) {
    const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000) << 16;
    const std::uint32_t magnitude = h & 0x7FFFu;
    if (magnitude >= 0x7C00) { // infinity or NaN
        return std::bit_cast<float>(sign | 0x7F800000u | (magnitude & 0x3FFu) << 13);
    }
    if (magnitude < 0x400) { // subnormal: m * 2^-24
        const float value = static_cast<float>(magnitude) * 0x1p-24f;
        return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(value));
    }
    return std::bit_cast<float>(sign | ((magnitude << 13) + (112u << 23)));
}

std::uint16_t to_f16(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
    const std::uint32_t magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) {
        return static_cast<std::uint16_t>(sign | 0x7E00);
    }
    if (magnitude >= 0x477FF000u) { // rounds to 65536 or more
        return static_cast<std::uint16_t>(sign | 0x7C00);
    }
    if (magnitude < 0x38800000u) { // subnormal: the addition rounds to multiples of 2^-24
        const float rounded = std::bit_cast<float>(magnitude) + 0.5f;
        return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(rounded) & 0x7FFu));
    }
    const std::uint32_t odd = magnitude >> 13 & 1;
    const std::uint32_t rounded = magnitude + 0xFFFu + odd - (112u << 23);
    return static_cast<std::uint16_t>(sign | rounded >> 13);
}

float from_bf16(std::uint16_t h) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(h) << 16);
}

std::uint16_t to_bf16(float value) {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) {
        return static_cast<std::uint16_t>(bits >> 16 | 0x40);
    }
    return static_cast<std::uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16);
}

void dequantise(Format format, const std::byte* from, float* to, std::int64_t n) {
    const auto b = reinterpret_cast<Bytes>(from);
    switch (format) {
    case Format::F32:
        std::memcpy(to, from, static_cast<std::size_t>(n) * sizeof(float));
        return;
    case Format::F16:
        for (std::int64_t i = 0; i < n; ++i) {
            to[i] = half(b + 2 * i);
        }
        return;
    case Format::BF16:
        for (std::int64_t i = 0; i < n; ++i) {
            to[i] = from_bf16(u16(b + 2 * i));
        }
        return;
    case Format::F8E4M3:
        for (std::int64_t i = 0; i < n; ++i) {
            to[i] = from_e4m3(b[i]);
        }
        return;
    case Format::Q4_0:
        return blocks(from, to, n, format, q4_0);
    case Format::Q4_1:
        return blocks(from, to, n, format, q4_1);
    case Format::Q5_0:
        return blocks(from, to, n, format, q5_0);
    case Format::Q5_1:
        return blocks(from, to, n, format, q5_1);
    case Format::Q8_0:
        return blocks(from, to, n, format, q8_0);
    case Format::Q2_K:
        return blocks(from, to, n, format, q2_k);
    case Format::Q3_K:
        return blocks(from, to, n, format, q3_k);
    case Format::Q4_K:
        return blocks(from, to, n, format, q4_k);
    case Format::Q5_K:
        return blocks(from, to, n, format, q5_k);
    case Format::Q6_K:
        return blocks(from, to, n, format, q6_k);
    case Format::IQ4_NL:
        return blocks(from, to, n, format, iq4_nl);
    case Format::IQ4_XS:
        return blocks(from, to, n, format, iq4_xs);
    case Format::MXFP4:
        return blocks(from, to, n, format, mxfp4);
    }
}

void dequantise_row(const Matrix& matrix, std::int64_t row, float* to) {
    dequantise(matrix.format, matrix.data + row * matrix.row_stride, to, matrix.cols);
    if (matrix.scales == nullptr) {
        return;
    }
    const float* scales = matrix.scales + row / matrix.scale_rows * matrix.scale_stride;
    for (std::int64_t c = 0; c < matrix.cols; ++c) {
        to[c] *= scales[c / matrix.scale_cols];
    }
}

} // namespace hs::cpu
