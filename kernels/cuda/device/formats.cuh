#pragma once
// Weights as threads read them: eight elements at a time. Every block format comes apart into
// integers and two factors, w = scale * q - minimum, in the order of operations of the published
// formulas, so that results are equal in every bit (formats.md section 2.2; checked against
// kernels/cpu/quant.cpp). Plain C++ but for the conversions of halves: it compiles for the host
// too.

#include "kernels/cuda/abi.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace hs::cuda {

using Bytes = const unsigned char*;

__host__ __device__ inline float bits_to_float(unsigned bits) {
#ifdef __CUDA_ARCH__
    return __uint_as_float(bits);
#else
    float value;
    __builtin_memcpy(&value, &bits, sizeof(value));
    return value;
#endif
}
__host__ __device__ inline float half_to_float(unsigned bits) {
    __half_raw raw;
    raw.x = static_cast<unsigned short>(bits);
    return __half2float(__half(raw));
}
// The values of a product and a difference, each rounded: no fused multiply-add.
__host__ __device__ inline float times(float a, float b) {
#ifdef __CUDA_ARCH__
    return __fmul_rn(a, b);
#else
    return a * b;
#endif
}
__host__ __device__ inline float minus(float a, float b) {
#ifdef __CUDA_ARCH__
    return __fadd_rn(a, -b);
#else
    return a - b;
#endif
}

// E4M3 has the fields of a half with a smaller exponent: times 2^8 makes up for the bias.
__host__ __device__ inline float e4m3_to_float(unsigned byte) {
    return half_to_float((byte & 0x80) << 8 | (byte & 0x7F) << 7) * 256.0f;
}
// 2^(e - 128), subnormal for e < 2.
__host__ __device__ inline float e8m0_half_to_float(unsigned e) {
    return bits_to_float(e < 2 ? 0x00200000u << e : (e - 1) << 23);
}

template <class T>
__host__ __device__ inline T load(Bytes at) {
    return *reinterpret_cast<const T*>(at);
}

// Four bytes, none of which borrows of another.
__host__ __device__ inline unsigned minus_bytes(unsigned a, unsigned b) {
    return ((a | 0x80808080u) - b) ^ 0x80808080u; // for a and b below 128
}

// --- quants --------------------------------------------------------------------------------------

// Twice the E2M1 values, and those of IQ4, in the order of their codes.
struct CodeTable {
    unsigned words[4];
};
template <Format kFormat>
__host__ __device__ constexpr CodeTable code_table() {
    if (kFormat == Format::MXFP4) { // 0 1 2 3 4 6 8 12 and their negatives
        return {{0x03020100u, 0x0C080604u, 0xFDFEFF00u, 0xF4F8FAFCu}};
    }
    // -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113
    return {{0xBFAD9881u, 0xF6EADDCFu, 0x26190D01u, 0x71594535u}};
}
// Four codes (one per byte, 0 to 15) become four signed bytes.
template <Format kFormat>
__host__ __device__ inline unsigned look_up(unsigned codes) {
    constexpr CodeTable table = code_table<kFormat>();
#ifdef __CUDA_ARCH__
    // Four selectors of three bits; bit 3 of a code chooses the half of the table.
    const unsigned pairs = codes | codes >> 4; // bytes 0 and 2 hold two codes each
    const unsigned selector = __byte_perm(pairs, 0, 0x4420) & 0xFFFFu;
    const unsigned low = __byte_perm(table.words[0], table.words[1], selector & 0x7777u);
    const unsigned high = __byte_perm(table.words[2], table.words[3], selector & 0x7777u);
    const unsigned upper = (codes >> 3 & 0x01010101u) * 0xFFu;
    return (low & ~upper) | (high & upper);
#else
    unsigned out = 0;
    for (int i = 0; i < 4; ++i) {
        const unsigned code = codes >> (8 * i) & 15;
        out |= (table.words[code / 4] >> (8 * (code % 4)) & 255) << (8 * i);
    }
    return out;
#endif
}

// What a quant stands above its value.
HS_SHARED constexpr unsigned middle_of(Format format) {
    return format == Format::Q4_0   ? 8
           : format == Format::Q5_0 ? 16
           : format == Format::Q3_K ? 4
           : format == Format::Q6_K ? 32
                                    : 0;
}
HS_SHARED constexpr bool has_codes(Format format) {
    return format == Format::IQ4_NL || format == Format::IQ4_XS || format == Format::MXFP4;
}

HS_SHARED constexpr bool is_plain(Format format) {
    return layout_of(format).low_bits == 0;
}

// Elements [8 g, 8 g + 8) of a row as they lie in memory: read now, taken apart later.
template <Format kFormat>
struct RawGroup {
    unsigned low[is_plain(kFormat) ? 2 * layout_of(kFormat).file_bytes
                                   : (layout_of(kFormat).low_bits == 8 ? 2 : 1)];
    unsigned high;  // of blocks: high bits
    unsigned group; // factors of the group
    unsigned block; // and of the block
};

template <Format kFormat>
__host__ __device__ inline RawGroup<kFormat> load_raw(Bytes row, int cols, int g) {
    constexpr RowLayout l = layout_of(kFormat);
    RawGroup<kFormat> raw{};
    if constexpr (is_plain(kFormat)) {
        constexpr int kBytes = l.file_bytes;
        const Bytes at = row + static_cast<std::int64_t>(8) * kBytes * g;
        const int count = cols - 8 * g;
        if (count < 8) { // zeros beyond
#pragma unroll
            for (int i = 0; i < 8 * kBytes; ++i) {
                if (i < count * kBytes) {
                    raw.low[i / 4] |= static_cast<unsigned>(at[i]) << (8 * (i % 4));
                }
            }
        } else if constexpr (kBytes == 1) {
            const uint2 both = load<uint2>(at);
            raw.low[0] = both.x, raw.low[1] = both.y;
        } else {
#pragma unroll
            for (int i = 0; i < kBytes / 2; ++i) {
                const uint4 four = load<uint4>(at + 16 * i);
                raw.low[4 * i] = four.x, raw.low[4 * i + 1] = four.y;
                raw.low[4 * i + 2] = four.z, raw.low[4 * i + 3] = four.w;
            }
        }
        return raw;
    } else {
        if constexpr (l.low_bits == 8) {
            const uint2 both = load<uint2>(row + 8 * g);
            raw.low[0] = both.x, raw.low[1] = both.y;
        } else if constexpr (l.low_bits == 4) {
            raw.low[0] = load<unsigned>(row + 4 * g);
        } else {
            raw.low[0] = load<unsigned>(row + 4 * (g / 2));
        }
        if constexpr (l.high_bits > 0) {
            raw.high =
                load<unsigned>(row + high_offset(l, cols) + 4 * (g / (l.high_bits == 2 ? 2 : 4)));
        }
        if constexpr (l.group > 0) {
            const Bytes at = row + group_offset(l, cols) + 8 * g / l.group * l.group_bytes;
            raw.group = l.group_bytes == 2 ? load<unsigned short>(at) : at[0];
        }
        const Bytes at = row + block_offset(l, cols) + 8 * g / l.block * l.block_bytes;
        raw.block = l.block_bytes == 4   ? load<unsigned>(at)
                    : l.block_bytes == 2 ? load<unsigned short>(at)
                                         : at[0];
        return raw;
    }
}

struct Quants {
    unsigned low, high; // elements 0 to 3 and 4 to 7, signed bytes
};

template <Format kFormat>
__host__ __device__ inline Quants quants_of(const RawGroup<kFormat>& raw, int g) {
    constexpr RowLayout l = layout_of(kFormat);
    Quants q;
    if constexpr (l.low_bits == 8) {
        q = {raw.low[0], raw.low[1]};
    } else if constexpr (l.low_bits == 4) {
        // Byte i holds elements i and i + 4.
        q = {raw.low[0] & 0x0F0F0F0Fu, raw.low[0] >> 4 & 0x0F0F0F0Fu};
    } else {
        // Byte i of 16 elements holds i, i + 4, i + 8 and i + 12.
        const unsigned word = raw.low[0] >> (4 * (g & 1));
        q = {word & 0x03030303u, word >> 2 & 0x03030303u};
    }
    if constexpr (l.high_bits == 2) {
        const unsigned word = raw.high >> (4 * (g & 1));
        q.low |= (word & 0x03030303u) << l.low_bits;
        q.high |= (word >> 2 & 0x03030303u) << l.low_bits;
    } else if constexpr (l.high_bits == 1) {
        // Bit k of byte i of 32 elements belongs to 4 k + i.
        const unsigned word = raw.high >> (2 * (g & 3));
        q.low |= (word & 0x01010101u) << l.low_bits;
        q.high |= (word >> 1 & 0x01010101u) << l.low_bits;
    }
    constexpr unsigned middle = middle_of(kFormat);
    if constexpr (middle > 0) {
        q.low = minus_bytes(q.low, middle * 0x01010101u);
        q.high = minus_bytes(q.high, middle * 0x01010101u);
    }
    if constexpr (has_codes(kFormat)) {
        q.low = look_up<kFormat>(q.low);
        q.high = look_up<kFormat>(q.high);
    }
    return q;
}

// Elements [32 b, 32 b + 32): eight words of four.
template <Format kFormat>
__host__ __device__ inline void load_quants32(Bytes row, int cols, int b, unsigned (&q)[8]) {
    constexpr RowLayout l = layout_of(kFormat);
    if constexpr (l.low_bits == 8) {
        const uint4 first = load<uint4>(row + 32 * b);
        const uint4 second = load<uint4>(row + 32 * b + 16);
        q[0] = first.x, q[1] = first.y, q[2] = first.z, q[3] = first.w;
        q[4] = second.x, q[5] = second.y, q[6] = second.z, q[7] = second.w;
    } else if constexpr (l.low_bits == 4) {
        const uint4 all = load<uint4>(row + 16 * b);
        const unsigned words[4] = {all.x, all.y, all.z, all.w};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            q[2 * i] = words[i] & 0x0F0F0F0Fu;
            q[2 * i + 1] = words[i] >> 4 & 0x0F0F0F0Fu;
        }
    } else {
        const uint2 all = load<uint2>(row + 8 * b);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            q[i] = (i < 4 ? all.x : all.y) >> (2 * (i % 4)) & 0x03030303u;
        }
    }
    if constexpr (l.high_bits == 2) {
        const uint2 all = load<uint2>(row + high_offset(l, cols) + 8 * b);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            q[i] |= ((i < 4 ? all.x : all.y) >> (2 * (i % 4)) & 0x03030303u) << l.low_bits;
        }
    } else if constexpr (l.high_bits == 1) {
        const unsigned all = load<unsigned>(row + high_offset(l, cols) + 4 * b);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            q[i] |= (all >> i & 0x01010101u) << l.low_bits;
        }
    }
    constexpr unsigned middle = middle_of(kFormat) * 0x01010101u;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
        if constexpr (middle > 0) {
            q[i] = minus_bytes(q[i], middle);
        }
        if constexpr (has_codes(kFormat)) {
            q[i] = look_up<kFormat>(q[i]);
        }
    }
}

struct Factors {
    float scale;   // times an element
    float minimum; // taken off
};

template <Format kFormat>
__host__ __device__ inline Factors factors_of(unsigned block, unsigned group) {
    constexpr RowLayout l = layout_of(kFormat);
    Factors f{0.0f, 0.0f};
    if constexpr (kFormat == Format::MXFP4) {
        return {e8m0_half_to_float(block), 0.0f};
    } else if constexpr (l.block_bytes == 4) {
        f = {half_to_float(block & 0xFFFFu), half_to_float(block >> 16)};
    } else {
        f.scale = half_to_float(block);
    }
    if constexpr (kFormat == Format::Q4_1 || kFormat == Format::Q5_1) {
        f.minimum = -f.minimum;
    }
    if constexpr (kFormat == Format::Q2_K) { // scale and minimum in four bits each
        f.scale = times(f.scale, static_cast<float>(group & 15));
        f.minimum = times(f.minimum, static_cast<float>(group >> 4));
    } else if constexpr (l.group_bytes == 2) {
        f.scale = times(f.scale, static_cast<float>(group & 255));
        f.minimum = times(f.minimum, static_cast<float>(group >> 8));
    } else if constexpr (l.group > 0) {
        f.scale = times(f.scale, static_cast<float>(static_cast<signed char>(group)));
    }
    return f;
}
// Of elements [8 g, 8 g + 8) of a row of `cols`.
template <Format kFormat>
__host__ __device__ inline Factors load_factors(Bytes row, int cols, int g) {
    constexpr RowLayout l = layout_of(kFormat);
    unsigned group = 0;
    if constexpr (l.group > 0) {
        const Bytes at = row + group_offset(l, cols) + 8 * g / l.group * l.group_bytes;
        group = l.group_bytes == 2 ? load<unsigned short>(at) : at[0];
    }
    const Bytes at = row + block_offset(l, cols) + 8 * g / l.block * l.block_bytes;
    const unsigned block = l.block_bytes == 4   ? load<unsigned>(at)
                           : l.block_bytes == 2 ? load<unsigned short>(at)
                                                : at[0];
    return factors_of<kFormat>(block, group);
}

// Whether a format's minimum is ever other than zero.
__host__ __device__ constexpr bool has_minimum(Format format) {
    return format == Format::Q4_1 || format == Format::Q5_1 || format == Format::Q2_K ||
           format == Format::Q4_K || format == Format::Q5_K;
}

// --- elements ------------------------------------------------------------------------------------

// Eight elements as f32, zeros beyond the row; without the factors of FP8 blocks.
template <Format kFormat>
__host__ __device__ inline void decode_raw(const RawGroup<kFormat>& raw, int g, float (&w)[8]) {
    if constexpr (!is_plain(kFormat)) {
        const Quants q = quants_of<kFormat>(raw, g);
        const Factors f = factors_of<kFormat>(raw.block, raw.group);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const auto low = static_cast<float>(static_cast<signed char>(q.low >> (8 * i)));
            const auto high = static_cast<float>(static_cast<signed char>(q.high >> (8 * i)));
            w[i] = times(f.scale, low);
            w[i + 4] = times(f.scale, high);
            if constexpr (has_minimum(kFormat)) {
                w[i] = minus(w[i], f.minimum);
                w[i + 4] = minus(w[i + 4], f.minimum);
            }
        }
    } else {
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            if constexpr (kFormat == Format::F32) {
                w[i] = bits_to_float(raw.low[i]);
            } else if constexpr (kFormat == Format::F8E4M3) {
                w[i] = e4m3_to_float(raw.low[i / 4] >> (8 * (i % 4)) & 255);
            } else {
                const unsigned half = raw.low[i / 2] >> (16 * (i % 2)) & 0xFFFFu;
                w[i] = kFormat == Format::F16 ? half_to_float(half) : bits_to_float(half << 16);
            }
        }
    }
}
// Elements [8 g, 8 g + 8) of a row of `cols`.
template <Format kFormat>
__host__ __device__ inline void decode8(Bytes row, int cols, int g, float (&w)[8]) {
    decode_raw<kFormat>(load_raw<kFormat>(row, cols, g), g, w);
}

// --- from the file -------------------------------------------------------------------------------

// Quants of a block, as the file has them, element by element: low and high bits together.
template <Format kFormat>
__host__ __device__ inline int file_quant(Bytes b, int i) {
    const auto nibble = [](Bytes at, int e) { return e < 16 ? at[e] & 15 : at[e - 16] >> 4; };
    if constexpr (kFormat == Format::Q4_0 || kFormat == Format::IQ4_NL) {
        return nibble(b + 2, i);
    } else if constexpr (kFormat == Format::Q4_1) {
        return nibble(b + 4, i);
    } else if constexpr (kFormat == Format::MXFP4) {
        return nibble(b + 1, i);
    } else if constexpr (kFormat == Format::Q5_0) {
        return nibble(b + 6, i) | (b[2 + i / 8] >> (i % 8) & 1) << 4;
    } else if constexpr (kFormat == Format::Q5_1) {
        return nibble(b + 8, i) | (b[4 + i / 8] >> (i % 8) & 1) << 4;
    } else if constexpr (kFormat == Format::Q8_0) {
        return b[2 + i];
    } else if constexpr (kFormat == Format::Q2_K) {
        return b[16 + 32 * (i / 128) + i % 32] >> (2 * (i % 128 / 32)) & 3;
    } else if constexpr (kFormat == Format::Q3_K) {
        const int low = b[32 + 32 * (i / 128) + i % 32] >> (2 * (i % 128 / 32)) & 3;
        return low | (b[i % 32] >> (i / 32) & 1) << 2;
    } else if constexpr (kFormat == Format::Q4_K || kFormat == Format::Q5_K) {
        const int g = i / 32;
        const int v = b[(kFormat == Format::Q4_K ? 16 : 48) + 32 * (g / 2) + i % 32];
        const int low = g % 2 == 0 ? v & 15 : v >> 4;
        return kFormat == Format::Q4_K ? low : low | (b[16 + i % 32] >> g & 1) << 4;
    } else if constexpr (kFormat == Format::Q6_K) {
        const int k = i % 128 / 32;
        const int v = b[64 * (i / 128) + 32 * (k & 1) + i % 32];
        const int high = b[128 + 32 * (i / 128) + i % 32] >> (2 * k) & 3;
        return (k < 2 ? v & 15 : v >> 4) | high << 4;
    } else {
        return nibble(b + 8 + 16 * (i / 32), i % 32);
    }
}

// Factors of group j of a block, in one or two bytes.
template <Format kFormat>
__host__ __device__ inline unsigned file_group_factors(Bytes b, int j) {
    if constexpr (kFormat == Format::Q2_K) {
        return b[j];
    } else if constexpr (kFormat == Format::Q3_K) {
        const int low = j < 8 ? b[96 + j] & 15 : b[96 + j - 8] >> 4;
        const int high = b[104 + j % 4] >> (2 * (j / 4)) & 3;
        return static_cast<unsigned>((low | high << 4) - 32) & 255;
    } else if constexpr (kFormat == Format::Q4_K || kFormat == Format::Q5_K) {
        const Bytes s = b + 4;
        if (j < 4) {
            return (s[j] & 63) | (s[j + 4] & 63) << 8;
        }
        return ((s[j + 4] & 15) | (s[j - 4] >> 6) << 4) | ((s[j + 4] >> 4) | (s[j] >> 6) << 4) << 8;
    } else if constexpr (kFormat == Format::Q6_K) {
        return b[192 + j];
    } else {
        const int high = b[2] | b[3] << 8;
        const int s = (b[4 + j / 2] >> (4 * (j % 2)) & 15) | (high >> (2 * j) & 3) << 4;
        return static_cast<unsigned>(s - 32) & 255;
    }
}

// Where a block's own factors begin.
__host__ __device__ constexpr int file_factors_at(Format format) {
    switch (format) {
    case Format::Q2_K:
        return 80;
    case Format::Q3_K:
        return 108;
    case Format::Q6_K:
        return 208;
    default:
        return 0;
    }
}

// Lays 32 elements of a row anew: piece `piece` of a row of `cols`.
template <Format kFormat>
__host__ __device__ inline void lay_piece(Bytes file_row, unsigned char* row, int cols, int piece) {
    constexpr RowLayout l = layout_of(kFormat);
    const int block = 32 * piece / l.block;
    const int within = 32 * piece % l.block; // of the piece's first element
    const Bytes b = file_row + static_cast<std::int64_t>(block) * l.file_bytes;
    unsigned low[8] = {};  // l.low_bits words
    unsigned high[2] = {}; // l.high_bits words
    for (int e = 0; e < 32; ++e) {
        const auto q = static_cast<unsigned>(file_quant<kFormat>(b, within + e));
        const unsigned q_low = q & ((1u << l.low_bits) - 1);
        if constexpr (l.low_bits == 8) {
            low[e / 4] |= q_low << (8 * (e % 4));
        } else if constexpr (l.low_bits == 4) {
            low[e / 8] |= q_low << (8 * (e % 4) + 4 * (e / 4 % 2));
        } else {
            low[e / 16] |= q_low << (8 * (e % 4) + 2 * (e / 4 % 4));
        }
        const unsigned q_high = q >> l.low_bits;
        if constexpr (l.high_bits == 2) {
            high[e / 16] |= q_high << (8 * (e % 4) + 2 * (e / 4 % 4));
        } else if constexpr (l.high_bits == 1) {
            high[0] |= q_high << (8 * (e % 4) + e / 4);
        }
    }
    auto* const low_to = reinterpret_cast<unsigned*>(row) + piece * l.low_bits;
    for (int i = 0; i < l.low_bits; ++i) {
        low_to[i] = low[i];
    }
    if constexpr (l.high_bits > 0) {
        auto* const high_to =
            reinterpret_cast<unsigned*>(row + high_offset(l, cols)) + piece * l.high_bits;
        for (int i = 0; i < l.high_bits; ++i) {
            high_to[i] = high[i];
        }
    }
    if constexpr (l.group > 0) {
        for (int j = within / l.group; j < (within + 32) / l.group; ++j) {
            const unsigned factors = file_group_factors<kFormat>(b, j);
            unsigned char* const to =
                row + group_offset(l, cols) + (block * (l.block / l.group) + j) * l.group_bytes;
            for (int i = 0; i < l.group_bytes; ++i) {
                to[i] = static_cast<unsigned char>(factors >> (8 * i));
            }
        }
    }
    if (within == 0) {
        unsigned char* const to = row + block_offset(l, cols) + block * l.block_bytes;
        for (int i = 0; i < l.block_bytes; ++i) {
            to[i] = b[file_factors_at(kFormat) + i];
        }
    }
}

} // namespace hs::cuda
