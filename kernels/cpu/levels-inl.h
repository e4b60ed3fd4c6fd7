// Block formats as small integers: how 256 weights of each format become unsigned levels (or
// signed values) in order, and the scale and minimum of each group of 16 or 32. Included once per
// instruction set; formats.md section 2.2 has the closed forms.
//
//   weight = scale * (level - kOffset)          formats that are symmetric
//   weight = scale * level - minimum            formats with a minimum
//   weight = scale * value                      signed formats, kSigned

#if defined(HS_LEVELS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef HS_LEVELS_INL_H
#undef HS_LEVELS_INL_H
#else
#define HS_LEVELS_INL_H
#endif

#include "kernels/cpu/kernels.h"

#include <cstring>
#include <hwy/highway.h>

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3_DL
#include <immintrin.h>

// Highway 1.0.3 compiles AVX3_DL with AVX-VNNI, the encoding of the same instructions for machines
// without AVX-512, which Ice Lake and Zen 4 do not have, and without AVX512-VNNI, which they do.
#undef HS_BEFORE_NAMESPACE
#if HWY_TARGET == HWY_AVX3_DL
#define HS_BEFORE_NAMESPACE()                                                                      \
    HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR_AVX3 ",avx512vnni")                                         \
    static_assert(true, "For requiring trailing semicolon")
#else
#define HS_BEFORE_NAMESPACE() HWY_BEFORE_NAMESPACE()
#endif

HS_BEFORE_NAMESPACE();
namespace hs::cpu::HWY_NAMESPACE {

using Byte = std::uint8_t;

HWY_INLINE std::uint32_t load_u32(const Byte* p) {
    std::uint32_t v;
    std::memcpy(&v, p, sizeof(v));
    return v;
}
HWY_INLINE std::uint16_t load_u16(const Byte* p) {
    std::uint16_t v;
    std::memcpy(&v, p, sizeof(v));
    return v;
}
HWY_INLINE __m256i load_32(const Byte* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
HWY_INLINE __m128i load_16(const Byte* p) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
HWY_INLINE float half_at(const Byte* p) {
    return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(load_u16(p))));
}
// Halves of eight blocks, `stride` bytes apart.
HWY_INLINE __m256 halves_at(const Byte* p, int stride) {
    const auto pair = [&](int i) {
        return static_cast<int>(load_u16(p + i * stride) |
                                std::uint32_t{load_u16(p + (i + 1) * stride)} << 16);
    };
    return _mm256_cvtph_ps(_mm_setr_epi32(pair(0), pair(2), pair(4), pair(6)));
}
// Sixteen bytes of nibbles as 32 levels: the low ones first.
HWY_INLINE __m256i nibbles(const Byte* p) {
    const __m128i v = load_16(p);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(v, 4), v), _mm256_set1_epi8(15));
}
// 16 where bit i of the word is set, for 32 elements.
HWY_INLINE __m256i fifth_bits(std::uint32_t word) {
    const __m256i spread = _mm256_shuffle_epi8(
        _mm256_set1_epi32(static_cast<int>(word)),
        _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303));
    const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ULL));
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, bit), bit);
    return _mm256_and_si256(set, _mm256_set1_epi8(16));
}
template <int kShift>
HWY_INLINE __m256i shift_and(__m256i v, char mask) {
    return _mm256_and_si256(_mm256_srli_epi16(v, kShift), _mm256_set1_epi8(mask));
}
HWY_INLINE __m256 to_floats_u8(std::uint64_t eight) {
    return _mm256_cvtepi32_ps(
        _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(eight))));
}

// Unsigned levels of 256 weights as q[0..7]; scale and minimum per group as s, m[0 .. 256 / kGroup
// / 8). kMost is the largest level.
template <Format kFormat>
struct Levels;

struct SmallBlocks {
    static constexpr int kGroup = 32;
    static constexpr int kOffset = 0;
    static constexpr bool kSigned = false;
    static constexpr bool kMinimum = false;
};

template <>
struct Levels<Format::Q4_0> : SmallBlocks {
    static constexpr int kBytes = 8 * 18;
    static constexpr int kOffset = 8;
    static constexpr int kMost = 15;
    HWY_INLINE static void load(const Byte* b, __m256i* q) {
        for (int i = 0; i < 8; ++i) {
            q[i] = nibbles(b + 18 * i + 2);
        }
    }
    HWY_INLINE static void scales(const Byte* b, __m256* s, __m256*) { s[0] = halves_at(b, 18); }
};

template <>
struct Levels<Format::Q4_1> : SmallBlocks {
    static constexpr int kBytes = 8 * 20;
    static constexpr int kMost = 15;
    static constexpr bool kMinimum = true;
    HWY_INLINE static void load(const Byte* b, __m256i* q) {
        for (int i = 0; i < 8; ++i) {
            q[i] = nibbles(b + 20 * i + 4);
        }
    }
    HWY_INLINE static void scales(const Byte* b, __m256* s, __m256* m) {
        s[0] = halves_at(b, 20);
        m[0] = _mm256_sub_ps(_mm256_setzero_ps(), halves_at(b + 2, 20));
    }
};

template <>
struct Levels<Format::Q5_0> : SmallBlocks {
    static constexpr int kBytes = 8 * 22;
    static constexpr int kOffset = 16;
    static constexpr int kMost = 31;
    HWY_INLINE static void load(const Byte* b, __m256i* q) {
        for (int i = 0; i < 8; ++i) {
            q[i] = _mm256_or_si256(nibbles(b + 22 * i + 6), fifth_bits(load_u32(b + 22 * i + 2)));
        }
    }
    HWY_INLINE static void scales(const Byte* b, __m256* s, __m256*) { s[0] = halves_at(b, 22); }
};

template <>
struct Levels<Format::Q5_1> : SmallBlocks {
    static constexpr int kBytes = 8 * 24;
    static constexpr int kMost = 31;
    static constexpr bool kMinimum = true;
    HWY_INLINE static void load(const Byte* b, __m256i* q) {
        for (int i = 0; i < 8; ++i) {
            q[i] = _mm256_or_si256(nibbles(b + 24 * i + 8), fifth_bits(load_u32(b + 24 * i + 4)));
        }
    }
    HWY_INLINE static void scales(const Byte* b, __m256* s, __m256* m) {
        s[0] = halves_at(b, 24);
        m[0] = _mm256_sub_ps(_mm256_setzero_ps(), halves_at(b + 2, 24));
    }
};

template <>
struct Levels<Format::Q8_0> : SmallBlocks {
    static constexpr int kBytes = 8 * 34;
    static constexpr int kMost = 128;
    static constexpr bool kSigned = true;
    HWY_INLINE static void load(const Byte* b, __m256i* q) {
        for (int i = 0; i < 8; ++i) {
            q[i] = load_32(b + 34 * i + 2);
        }
    }
    HWY_INLINE static void scales(const Byte* b, __m256* s, __m256*) { s[0] = halves_at(b, 34); }
};

HWY_INLINE __m256i nonlinear(__m256i nibble) {
    const __m128i table =
        _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
    return _mm256_shuffle_epi8(_mm256_set_m128i(table, table), nibble);
}

template <>
struct Levels<Format::IQ4_NL> : SmallBlocks {
    static constexpr int kBytes = 8 * 18;
    static constexpr int kMost = 127;
    static constexpr bool kSigned = true;
    HWY_INLINE static void load(const Byte* b, __m256i* q) {
        for (int i = 0; i < 8; ++i) {
            q[i] = nonlinear(nibbles(b + 18 * i + 2));
        }
    }
    HWY_INLINE static void scales(const Byte* b, __m256* s, __m256*) { s[0] = halves_at(b, 18); }
};

template <>
struct Levels<Format::Q2_K> : SmallBlocks {
    static constexpr int kBytes = 84;
    static constexpr int kGroup = 16;
    static constexpr int kMost = 3;
    static constexpr bool kMinimum = true;
    HWY_INLINE static void load(const Byte* b, __m256i* q) {
        for (int h = 0; h < 2; ++h) {
            const __m256i v = load_32(b + 16 + 32 * h);
            q[4 * h] = shift_and<0>(v, 3);
            q[4 * h + 1] = shift_and<2>(v, 3);
            q[4 * h + 2] = shift_and<4>(v, 3);
            q[4 * h + 3] = shift_and<6>(v, 3);
        }
    }
    HWY_INLINE static void scales(const Byte* b, __m256* s, __m256* m) {
        const __m256 d = _mm256_set1_ps(half_at(b + 80));
        const __m256 dmin = _mm256_set1_ps(half_at(b + 82));
        for (int half = 0; half < 2; ++half) {
            const __m256i v = _mm256_cvtepu8_epi32(
                _mm_loadl_epi64(reinterpret_cast<const __m128i*>(b + 8 * half)));
            s[half] =
                _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_and_si256(v, _mm256_set1_epi32(15))));
            m[half] = _mm256_mul_ps(dmin, _mm256_cvtepi32_ps(_mm256_srli_epi32(v, 4)));
        }
    }
};

template <>
struct Levels<Format::Q3_K> : SmallBlocks {
    static constexpr int kBytes = 110;
    static constexpr int kGroup = 16;
    static constexpr int kOffset = 4;
    static constexpr int kMost = 7;
    HWY_INLINE static void load(const Byte* b, __m256i* q) {
        const __m256i high = load_32(b);
        const __m256i four = _mm256_set1_epi8(4);
        for (int h = 0; h < 2; ++h) {
            const __m256i v = load_32(b + 32 + 32 * h);
            const __m256i top = h == 0 ? high : _mm256_srli_epi16(high, 4);
            // Bit 4 h + k of `high` moves to bit 2.
            q[4 * h] = _mm256_or_si256(shift_and<0>(v, 3),
                                       _mm256_and_si256(_mm256_slli_epi16(top, 2), four));
            q[4 * h + 1] = _mm256_or_si256(shift_and<2>(v, 3),
                                           _mm256_and_si256(_mm256_slli_epi16(top, 1), four));
            q[4 * h + 2] = _mm256_or_si256(shift_and<4>(v, 3), _mm256_and_si256(top, four));
            q[4 * h + 3] = _mm256_or_si256(shift_and<6>(v, 3),
                                           _mm256_and_si256(_mm256_srli_epi16(top, 1), four));
        }
    }
    HWY_INLINE static void scales(const Byte* b, __m256* s, __m256*) {
        const std::uint32_t a0 = load_u32(b + 96);
        const std::uint32_t a1 = load_u32(b + 100);
        const std::uint32_t t = load_u32(b + 104);
        const auto join = [](std::uint32_t low, std::uint32_t high) {
            return (low & 0x0F0F0F0Fu) | (high & 0x03030303u) << 4;
        };
        const std::uint64_t first = join(a0, t) | std::uint64_t{join(a1, t >> 2)} << 32;
        const std::uint64_t second = join(a0 >> 4, t >> 4) | std::uint64_t{join(a1 >> 4, t >> 6)}
                                                                 << 32;
        const __m256 d = _mm256_set1_ps(half_at(b + 108));
        const __m256 middle = _mm256_set1_ps(32.0f);
        s[0] = _mm256_mul_ps(d, _mm256_sub_ps(to_floats_u8(first), middle));
        s[1] = _mm256_mul_ps(d, _mm256_sub_ps(to_floats_u8(second), middle));
    }
};

// The eight scales and the eight minima of Q4_K and Q5_K, six bits each, from their twelve packed
// bytes. Of the first four, the bytes hold all bits; of the others, the low four bits and, on top
// of the first ones, the high two.
HWY_INLINE __m128i packed_scales(const Byte* b) {
    const __m128i v = load_16(b);
    const __m128i low = _mm_and_si128(
        _mm_srlv_epi32(_mm_shuffle_epi8(v, _mm_setr_epi8(4, 5, 6, 7, 12, 13, 14, 15, 8, 9, 10, 11,
                                                         12, 13, 14, 15)),
                       _mm_setr_epi32(0, 0, 0, 4)),
        _mm_setr_epi32(0x3F3F3F3F, 0x0F0F0F0F, 0x3F3F3F3F, 0x0F0F0F0F));
    const __m128i high = _mm_shuffle_epi8(
        v, _mm_setr_epi8(-1, -1, -1, -1, 4, 5, 6, 7, -1, -1, -1, -1, 8, 9, 10, 11));
    return _mm_or_si128(low, _mm_and_si128(_mm_srli_epi16(high, 2), _mm_set1_epi8(0x30)));
}
HWY_INLINE void packed_scales(const Byte* b, __m256* s, __m256* m) {
    const __m128i v = packed_scales(b);
    const __m128 both = _mm_cvtph_ps(_mm_cvtsi32_si128(static_cast<int>(load_u32(b))));
    s[0] = _mm256_mul_ps(_mm256_broadcastss_ps(both), _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(v)));
    m[0] = _mm256_mul_ps(_mm256_broadcastss_ps(_mm_movehdup_ps(both)),
                         _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(v, 8))));
}

template <>
struct Levels<Format::Q4_K> : SmallBlocks {
    static constexpr int kBytes = 144;
    static constexpr int kMost = 15;
    static constexpr bool kMinimum = true;
    HWY_INLINE static void load(const Byte* b, __m256i* q) {
        for (int j = 0; j < 4; ++j) {
            const __m256i v = load_32(b + 16 + 32 * j);
            q[2 * j] = shift_and<0>(v, 15);
            q[2 * j + 1] = shift_and<4>(v, 15);
        }
    }
    HWY_INLINE static void scales(const Byte* b, __m256* s, __m256* m) { packed_scales(b, s, m); }
};

template <>
struct Levels<Format::Q5_K> : SmallBlocks {
    static constexpr int kBytes = 176;
    static constexpr int kMost = 31;
    static constexpr bool kMinimum = true;
    HWY_INLINE static void load(const Byte* b, __m256i* q) {
        const __m256i high = load_32(b + 16);
        const __m256i bit = _mm256_set1_epi8(16);
        const __m256i fifth[8] = {_mm256_slli_epi16(high, 4),
                                  _mm256_slli_epi16(high, 3),
                                  _mm256_slli_epi16(high, 2),
                                  _mm256_slli_epi16(high, 1),
                                  high,
                                  _mm256_srli_epi16(high, 1),
                                  _mm256_srli_epi16(high, 2),
                                  _mm256_srli_epi16(high, 3)};
        for (int j = 0; j < 4; ++j) {
            const __m256i v = load_32(b + 48 + 32 * j);
            q[2 * j] = _mm256_or_si256(shift_and<0>(v, 15), _mm256_and_si256(fifth[2 * j], bit));
            q[2 * j + 1] =
                _mm256_or_si256(shift_and<4>(v, 15), _mm256_and_si256(fifth[2 * j + 1], bit));
        }
    }
    HWY_INLINE static void scales(const Byte* b, __m256* s, __m256* m) { packed_scales(b, s, m); }
};

template <>
struct Levels<Format::Q6_K> : SmallBlocks {
    static constexpr int kBytes = 210;
    static constexpr int kGroup = 16;
    static constexpr int kOffset = 32;
    static constexpr int kMost = 63;
    HWY_INLINE static void load(const Byte* b, __m256i* q) {
        for (int h = 0; h < 2; ++h) {
            const __m256i low0 = load_32(b + 64 * h);
            const __m256i low1 = load_32(b + 64 * h + 32);
            const __m256i high = load_32(b + 128 + 32 * h);
            q[4 * h] = _mm256_or_si256(shift_and<0>(low0, 15),
                                       _mm256_slli_epi16(shift_and<0>(high, 3), 4));
            q[4 * h + 1] = _mm256_or_si256(shift_and<0>(low1, 15),
                                           _mm256_slli_epi16(shift_and<0>(high, 12), 2));
            q[4 * h + 2] = _mm256_or_si256(shift_and<4>(low0, 15), shift_and<0>(high, 48));
            q[4 * h + 3] = _mm256_or_si256(shift_and<4>(low1, 15), shift_and<2>(high, 48));
        }
    }
    HWY_INLINE static void scales(const Byte* b, __m256* s, __m256*) {
        const __m256 d = _mm256_set1_ps(half_at(b + 208));
        for (int half = 0; half < 2; ++half) {
            s[half] = _mm256_mul_ps(d, _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(
                                           reinterpret_cast<const __m128i*>(b + 192 + 8 * half)))));
        }
    }
};

template <>
struct Levels<Format::IQ4_XS> : SmallBlocks {
    static constexpr int kBytes = 136;
    static constexpr int kMost = 127;
    static constexpr bool kSigned = true;
    HWY_INLINE static void load(const Byte* b, __m256i* q) {
        for (int i = 0; i < 8; ++i) {
            q[i] = nonlinear(nibbles(b + 8 + 16 * i));
        }
    }
    HWY_INLINE static void scales(const Byte* b, __m256* s, __m256*) {
        const __m256i g = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        const __m256i low =
            _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(load_u32(b + 4))),
                                               _mm256_slli_epi32(g, 2)),
                             _mm256_set1_epi32(15));
        const __m256i high = _mm256_and_si256(
            _mm256_srlv_epi32(_mm256_set1_epi32(load_u16(b + 2)), _mm256_slli_epi32(g, 1)),
            _mm256_set1_epi32(3));
        const __m256i scale = _mm256_sub_epi32(_mm256_or_si256(low, _mm256_slli_epi32(high, 4)),
                                               _mm256_set1_epi32(32));
        s[0] = _mm256_mul_ps(_mm256_set1_ps(half_at(b)), _mm256_cvtepi32_ps(scale));
    }
};

} // namespace hs::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif // AVX2 and better

#endif // per target
