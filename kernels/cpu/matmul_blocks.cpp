// Products with block formats: weights as they lie in the file times activations in int8.
//
// Decode (few tokens) reads each row once and multiplies in registers: memory sets the pace.
// Prefill unpacks a tile of rows into levels, interleaved by four columns, and multiplies it with
// up to twelve tokens at a time, so that unpacking is paid once per row.
//   AVX-512 VNNI: tiles of 16 rows, 64 products per instruction, exact in int32.
//   AVX2: tiles of 8 rows; pairs of products are summed in int16 as far as the levels allow.

// The order matters: foreach_target includes this file once per instruction set.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul_blocks.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/kernels.h"
#include "kernels/cpu/levels-inl.h"
// clang-format on

#include <algorithm>
#include <cstring>
#include <type_traits>

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3_DL
HS_BEFORE_NAMESPACE();
namespace hs::cpu::HWY_NAMESPACE {

constexpr bool kVnni = HWY_TARGET == HWY_AVX3_DL;
constexpr std::int64_t kTile = kVnni ? 16 : 8; // rows
constexpr int kMostTokens = kVnni ? 12 : 4;    // of a micro kernel
// Up to here a row is multiplied in registers, token after token: unpacking into a tile costs
// about two such passes.
constexpr std::int64_t kFewTokens = 3;

// Activations of one token.
struct Row {
    const std::int8_t* q;
    const float* scale;
    const float* sum16;
    const float* sum32;
    const float* unit;
    const std::int16_t* multiple;
    const std::int16_t* split16;
};

HWY_INLINE Row row_of(const Activations& a, std::int64_t t) {
    return {a.q + t * a.padded,
            a.scale + t * (a.padded / 32),
            a.sum16 + t * (a.padded / 16),
            a.sum32 + t * (a.padded / 32),
            a.unit + t * (a.padded / 256),
            a.multiple + t * (a.padded / 32),
            a.split16 + t * (a.padded / 16)};
}

// Sums of four products u8 * s8 in each of eight lanes.
HWY_INLINE __m256i dot4(__m256i u, __m256i s) {
#if HWY_TARGET == HWY_AVX3_DL
    return _mm256_dpbusd_epi32(_mm256_setzero_si256(), u, s);
#else
    return _mm256_madd_epi16(_mm256_maddubs_epi16(u, s), _mm256_set1_epi16(1));
#endif
}

// Products of pairs, times a word each, added to sum.
HWY_INLINE __m256i add_scaled(__m256i sum, __m256i pairs, __m256i words) {
#if HWY_TARGET == HWY_AVX3_DL
    return _mm256_dpwssd_epi32(sum, pairs, words);
#else
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, words));
#endif
}

// The sums of four vectors.
HWY_INLINE __m128 reduce(const __m256* v) {
    const __m256 x = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    return _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
}

// Formats with integer scales for groups of 16 or 32 under one factor for 256. Times the multiples
// of the activations' unit these fit into 16 bits, and 256 products are summed in int32.
template <Format kFormat>
constexpr bool kIntegerScales =
    kFormat == Format::Q4_K || kFormat == Format::Q5_K || kFormat == Format::Q6_K;

// The same in words: byte pair i of each half.
HWY_INLINE __m256i spread_word(__m256i words, int i) {
    const int pair = 0x0100 + 0x0202 * i;
    return _mm256_shuffle_epi8(words, _mm256_set1_epi16(static_cast<short>(pair)));
}

// 256 weights times 256 activations, added to acc; to low what their sums alone decide.
template <Format kFormat>
HWY_INLINE void integer_dot256(const Byte* b, const std::int8_t* x, float unit,
                               const std::int16_t* multiple, const std::int16_t* split16,
                               __m256& acc, __m256& low) {
    using L = Levels<kFormat>;
    __m256i q[8];
    L::load(b, q);
    const __m256i multiples =
        _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(multiple)));
    const __m256i sums = _mm256_load_si256(reinterpret_cast<const __m256i*>(split16));
    const auto pairs = [&](int i) {
        return _mm256_maddubs_epi16(q[i], load_32(reinterpret_cast<const Byte*>(x) + 32 * i));
    };
    if constexpr (L::kGroup == 32) {
        // 31 * 127 * 2 per pair, times 63 * 256, twice, eight times: below 2^31.
        static_assert(L::kMost <= 31);
        const __m256i both = _mm256_mullo_epi16(_mm256_cvtepu8_epi16(packed_scales(b)), multiples);
        const __m256i scales = _mm256_permute4x64_epi64(both, 0x44);
        const __m256i minima = _mm256_permute4x64_epi64(both, 0xEE);
        __m256i sum = _mm256_madd_epi16(pairs(0), spread_word(scales, 0));
        __m256i more = _mm256_madd_epi16(pairs(1), spread_word(scales, 1));
        HWY_UNROLL(3)
        for (int i = 2; i < 8; i += 2) {
            sum = add_scaled(sum, pairs(i), spread_word(scales, i));
            more = add_scaled(more, pairs(i + 1), spread_word(scales, i + 1));
        }
        const __m128 factors = _mm_mul_ps(
            _mm_cvtph_ps(_mm_cvtsi32_si128(static_cast<int>(load_u32(b)))), _mm_set1_ps(unit));
        acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_add_epi32(sum, more)),
                              _mm256_broadcastss_ps(factors), acc);
        low = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_madd_epi16(minima, sums)),
                              _mm256_broadcastss_ps(_mm_movehdup_ps(factors)), low);
    } else {
        // 63 * 127 * 2 per pair, times 128 * 256, twice: two of these fit into int32.
        static_assert(kFormat == Format::Q6_K);
        const __m128i order = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
        const __m256i scales = _mm256_mullo_epi16(
            _mm256_cvtepi8_epi16(_mm_shuffle_epi8(load_16(b + 192), order)), multiples);
        __m256 total[4];
        HWY_UNROLL(4)
        for (int i = 0; i < 4; ++i) {
            const __m256i first = _mm256_madd_epi16(pairs(2 * i), spread_word(scales, 2 * i));
            total[i] = _mm256_cvtepi32_ps(
                add_scaled(first, pairs(2 * i + 1), spread_word(scales, 2 * i + 1)));
        }
        const __m256 factor = _mm256_set1_ps(half_at(b + 208) * unit);
        acc = _mm256_fmadd_ps(
            _mm256_add_ps(_mm256_add_ps(total[0], total[1]), _mm256_add_ps(total[2], total[3])),
            factor, acc);
        low = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_madd_epi16(scales, sums)), factor, low);
    }
}

// 256 weights times 256 activations, added to acc (four partial sums) and, for the part that
// depends on the activations' sums alone, to low.
template <Format kFormat>
HWY_INLINE void dot256(const Byte* b, const std::int8_t* x, const float* scale, const float* sum16,
                       const float* sum32, __m256* acc, __m256& low) {
    using L = Levels<kFormat>;
    __m256i q[8];
    __m256 s[2];
    __m256 m[2];
    L::load(b, q);
    L::scales(b, s, m);
    const __m256 dx = _mm256_loadu_ps(scale);
    if constexpr (L::kGroup == 32) {
        alignas(32) float factors[8];
        _mm256_store_ps(factors, _mm256_mul_ps(s[0], dx));
        HWY_UNROLL(8)
        for (int i = 0; i < 8; ++i) {
            const __m256i xi = load_32(reinterpret_cast<const Byte*>(x) + 32 * i);
            const __m256i p = L::kSigned ? dot4(_mm256_abs_epi8(q[i]), _mm256_sign_epi8(xi, q[i]))
                                         : dot4(q[i], xi);
            acc[i & 3] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(p), _mm256_broadcast_ss(factors + i),
                                         acc[i & 3]);
        }
        if constexpr (L::kMinimum || L::kOffset != 0) {
            low = _mm256_fmadd_ps(L::kMinimum ? m[0] : s[0], _mm256_loadu_ps(sum32), low);
        }
    } else {
        const __m256i pairs_low = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
        const __m256i pairs_high = _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7);
        const __m256 f[2] = {_mm256_mul_ps(s[0], _mm256_permutevar8x32_ps(dx, pairs_low)),
                             _mm256_mul_ps(s[1], _mm256_permutevar8x32_ps(dx, pairs_high))};
        HWY_UNROLL(8)
        for (int i = 0; i < 8; ++i) {
            const int j = 2 * (i & 3);
            const __m256i lanes = _mm256_setr_epi32(j, j, j, j, j + 1, j + 1, j + 1, j + 1);
            const __m256i xi = load_32(reinterpret_cast<const Byte*>(x) + 32 * i);
            acc[i & 3] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot4(q[i], xi)),
                                         _mm256_permutevar8x32_ps(f[i / 4], lanes), acc[i & 3]);
        }
        low = _mm256_fmadd_ps(L::kMinimum ? m[0] : s[0], _mm256_loadu_ps(sum16), low);
        low = _mm256_fmadd_ps(L::kMinimum ? m[1] : s[1], _mm256_loadu_ps(sum16 + 8), low);
    }
}

// How far ahead of the sums the row is asked for, in bytes. Rows follow one another, so this
// crosses into the next.
constexpr int kAhead = 2048;

// Eight partial sums of a row's product.
template <Format kFormat>
HWY_INLINE __m256 dot_row(const Byte* w, const Row& x, std::int64_t cols) {
    using L = Levels<kFormat>;
    __m256 acc[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                     _mm256_setzero_ps()};
    __m256 low = _mm256_setzero_ps();
    const std::int64_t whole = cols / 256;
    for (std::int64_t i = 0; i < whole; ++i) {
        const Byte* b = w + i * L::kBytes;
        if constexpr (kIntegerScales<kFormat>) {
            integer_dot256<kFormat>(b, x.q + 256 * i, x.unit[i], x.multiple + 8 * i,
                                    x.split16 + 16 * i, acc[0], low);
        } else {
            dot256<kFormat>(b, x.q + 256 * i, x.scale + 8 * i, x.sum16 + 16 * i, x.sum32 + 8 * i,
                            acc, low);
        }
    }
    if constexpr (kIntegerScales<kFormat>) {
        if constexpr (L::kMinimum) {
            return _mm256_sub_ps(acc[0], low);
        } else {
            return _mm256_fnmadd_ps(low, _mm256_set1_ps(static_cast<float>(L::kOffset)), acc[0]);
        }
    }
    if (const std::int64_t rest = cols % 256; rest != 0) { // of formats with blocks of 32
        Byte padded[L::kBytes] = {};
        std::memcpy(padded, w + whole * L::kBytes,
                    static_cast<std::size_t>(rest / 32 * (L::kBytes / 8)));
        dot256<kFormat>(padded, x.q + 256 * whole, x.scale + 8 * whole, x.sum16 + 16 * whole,
                        x.sum32 + 8 * whole, acc, low);
    }
    __m256 sum = _mm256_add_ps(_mm256_add_ps(acc[0], acc[1]), _mm256_add_ps(acc[2], acc[3]));
    if constexpr (L::kMinimum) {
        sum = _mm256_sub_ps(sum, low);
    } else if constexpr (L::kOffset != 0) {
        sum = _mm256_fnmadd_ps(low, _mm256_set1_ps(static_cast<float>(L::kOffset)), sum);
    }
    return sum;
}

// Rows [first, last) times one token, four after another so that they share the last additions.
template <Format kFormat>
HWY_NOINLINE void dot_rows(const Matrix& matrix, std::int64_t first, std::int64_t last,
                           const Row& x, float* out, const float* bias) {
    for (std::int64_t r = first; r < last; r += 4) {
        const std::int64_t count = std::min<std::int64_t>(4, last - r);
        __m256 sums[4];
        for (std::int64_t i = 0; i < count; ++i) {
            const auto* w =
                reinterpret_cast<const Byte*>(matrix.data + (r + i) * matrix.row_stride);
            sums[i] = dot_row<kFormat>(w, x, matrix.cols);
        }
        for (std::int64_t i = count; i < 4; ++i) {
            sums[i] = _mm256_setzero_ps();
        }
        alignas(16) float y[4];
        _mm_store_ps(y, reduce(sums));
        for (std::int64_t i = 0; i < count; ++i) {
            out[r + i] = bias != nullptr ? y[i] + bias[r + i] : y[i];
        }
    }
}

// --- tiles -----------------------------------------------------------------------------------

// Rows of a matrix, unpacked.
struct Tile {
    Byte* rows;     // (kTile, padded) levels
    Byte* levels;   // (padded / 4, kTile, 4), the same interleaved
    float* scale;   // (groups, kTile)
    float* minimum; // (groups, kTile)
};

// Transposes 8 x 8 words; row i of `from` begins at i * from_stride bytes.
HWY_INLINE void transpose_words(const Byte* from, std::int64_t from_stride, Byte* to,
                                std::int64_t to_stride) {
    __m256i r[8];
    __m256i t[8];
    for (int i = 0; i < 8; ++i) {
        r[i] = load_32(from + i * from_stride);
    }
    for (int i = 0; i < 4; ++i) {
        t[2 * i] = _mm256_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
        r[4 * i] = _mm256_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm256_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm256_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm256_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    for (int i = 0; i < 4; ++i) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(to + i * to_stride),
                           _mm256_permute2x128_si256(r[i], r[i + 4], 0x20));
        _mm256_store_si256(reinterpret_cast<__m256i*>(to + (i + 4) * to_stride),
                           _mm256_permute2x128_si256(r[i], r[i + 4], 0x31));
    }
}

template <Format kFormat>
HWY_INLINE void unpack256(const Byte* b, Byte* levels, float* scale, float* minimum) {
    using L = Levels<kFormat>;
    __m256i q[8];
    __m256 s[2];
    __m256 m[2];
    L::load(b, q);
    L::scales(b, s, m);
    for (int i = 0; i < 8; ++i) {
        if (L::kSigned && kVnni) {
            q[i] = _mm256_xor_si256(q[i], _mm256_set1_epi8(-128)); // + 128
        }
        _mm256_store_si256(reinterpret_cast<__m256i*>(levels + 32 * i), q[i]);
    }
    for (int half = 0; half < 32 / L::kGroup; ++half) {
        alignas(32) float lanes[8];
        _mm256_store_ps(lanes, s[half]);
        for (int i = 0; i < 8; ++i) {
            scale[(8 * half + i) * kTile] = lanes[i];
        }
        if constexpr (L::kMinimum) {
            _mm256_store_ps(lanes, m[half]);
            for (int i = 0; i < 8; ++i) {
                minimum[(8 * half + i) * kTile] = lanes[i];
            }
        }
    }
}

template <Format kFormat>
void fill_tile(const Matrix& matrix, std::int64_t first, std::int64_t count, std::int64_t padded,
               const Tile& tile) {
    using L = Levels<kFormat>;
    const std::int64_t whole = matrix.cols / 256;
    constexpr std::int64_t kGroups = 256 / L::kGroup;
    for (std::int64_t r = 0; r < kTile; ++r) {
        if (r >= count) { // rows beyond the matrix: their sums are dropped
            std::memset(tile.rows + r * padded, 0, static_cast<std::size_t>(padded));
            for (std::int64_t g = 0; g < padded / L::kGroup; ++g) {
                tile.scale[g * kTile + r] = 0;
                tile.minimum[g * kTile + r] = 0;
            }
            continue;
        }
        const auto* w =
            reinterpret_cast<const Byte*>(matrix.data + (first + r) * matrix.row_stride);
        for (std::int64_t i = 0; i < whole; ++i) {
            const Byte* b = w + i * L::kBytes;
            for (int line = 0; line < L::kBytes; line += 64) {
                _mm_prefetch(reinterpret_cast<const char*>(b + kAhead + line), _MM_HINT_T0);
            }
            unpack256<kFormat>(b, tile.rows + r * padded + 256 * i,
                               tile.scale + i * kGroups * kTile + r,
                               tile.minimum + i * kGroups * kTile + r);
        }
        if (const std::int64_t rest = matrix.cols % 256; rest != 0) {
            Byte block[L::kBytes] = {};
            std::memcpy(block, w + whole * L::kBytes,
                        static_cast<std::size_t>(rest / 32 * (L::kBytes / 8)));
            unpack256<kFormat>(block, tile.rows + r * padded + 256 * whole,
                               tile.scale + whole * kGroups * kTile + r,
                               tile.minimum + whole * kGroups * kTile + r);
        }
    }
    for (std::int64_t r = 0; r < kTile; r += 8) {
        for (std::int64_t k = 0; k < padded; k += 32) {
            transpose_words(tile.rows + r * padded + k, padded, tile.levels + k * kTile + r * 4,
                            kTile * 4);
        }
    }
}

// What a micro kernel must know of a format.
template <Format kFormat>
struct Shape {
    using L = Levels<kFormat>;
    static constexpr int kGroup = L::kGroup;
    static constexpr bool kMinimum = L::kMinimum;
    static constexpr bool kSigned = L::kSigned && !kVnni; // else levels carry an offset
    static constexpr int kOffset = L::kSigned && kVnni ? 128 : L::kOffset;
    static constexpr bool kBegins = kOffset != 0; // sums begin at -offset * sum of activations
    // How many sums of two products fit into int16.
    static constexpr int kPairs = 32767 / (2 * 127 * L::kMost);
};

// One tile times kTokens tokens.
//   begin (kTokens, groups) int32: where the sums of each group begin
template <int kTokens, class S>
HWY_NOINLINE void micro(const Tile& tile, const Activations& a, std::int64_t t0,
                        const std::int32_t* begin, const float* bias, std::int64_t rows, float* out,
                        std::int64_t out_stride) {
    const std::int64_t padded = a.padded;
    const std::int64_t groups = padded / S::kGroup;
    const std::int8_t* x = a.q + t0 * padded;
    const float* dx = a.scale + t0 * (padded / 32);
    const float* sums = S::kGroup == 32 ? a.sum32 + t0 * groups : a.sum16 + t0 * groups;
    constexpr int kSteps = S::kGroup / 4;
    constexpr int kPerScale = 32 / S::kGroup;
#if HWY_TARGET == HWY_AVX3_DL
    __m512 acc[kTokens];
    HWY_UNROLL(12)
    for (int t = 0; t < kTokens; ++t) {
        acc[t] = _mm512_setzero_ps();
    }
    for (std::int64_t g = 0; g < groups; ++g) {
        __m512i sum[kTokens];
        HWY_UNROLL(12)
        for (int t = 0; t < kTokens; ++t) {
            sum[t] = S::kBegins ? _mm512_set1_epi32(begin[t * groups + g]) : _mm512_setzero_si512();
        }
        const Byte* w = tile.levels + g * S::kGroup * kTile;
        const std::int8_t* xg = x + g * S::kGroup;
        HWY_UNROLL(8)
        for (int k = 0; k < kSteps; ++k) {
            const __m512i wk = _mm512_load_si512(w + 64 * k);
            HWY_UNROLL(12)
            for (int t = 0; t < kTokens; ++t) {
                std::int32_t four;
                std::memcpy(&four, xg + t * padded + 4 * k, 4);
                sum[t] = _mm512_dpbusd_epi32(sum[t], wk, _mm512_set1_epi32(four));
            }
        }
        const __m512 s = _mm512_load_ps(tile.scale + g * kTile);
        HWY_UNROLL(12)
        for (int t = 0; t < kTokens; ++t) {
            const __m512 f =
                _mm512_mul_ps(s, _mm512_set1_ps(dx[t * (padded / 32) + g / kPerScale]));
            acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[t]), f, acc[t]);
        }
        if constexpr (S::kMinimum) {
            const __m512 m = _mm512_load_ps(tile.minimum + g * kTile);
            HWY_UNROLL(12)
            for (int t = 0; t < kTokens; ++t) {
                acc[t] = _mm512_fnmadd_ps(m, _mm512_set1_ps(sums[t * groups + g]), acc[t]);
            }
        }
    }
    const __mmask16 mask = static_cast<__mmask16>((1u << rows) - 1);
    HWY_UNROLL(12)
    for (int t = 0; t < kTokens; ++t) {
        if (bias != nullptr) {
            acc[t] = _mm512_add_ps(acc[t], _mm512_maskz_loadu_ps(mask, bias));
        }
        _mm512_mask_storeu_ps(out + t * out_stride, mask, acc[t]);
    }
#else
    const __m256i ones = _mm256_set1_epi16(1);
    __m256 acc[kTokens];
    HWY_UNROLL(4)
    for (int t = 0; t < kTokens; ++t) {
        acc[t] = _mm256_setzero_ps();
    }
    constexpr int kPairs = S::kSigned ? 1 : (S::kPairs < kSteps ? S::kPairs : kSteps);
    constexpr int kRun = kPairs >= 8 ? 8 : kPairs >= 4 ? 4 : kPairs >= 2 ? 2 : 1;
    for (std::int64_t g = 0; g < groups; ++g) {
        __m256i sum[kTokens];
        HWY_UNROLL(4)
        for (int t = 0; t < kTokens; ++t) {
            sum[t] = S::kBegins ? _mm256_set1_epi32(begin[t * groups + g]) : _mm256_setzero_si256();
        }
        const Byte* w = tile.levels + g * S::kGroup * kTile;
        const std::int8_t* xg = x + g * S::kGroup;
        HWY_UNROLL(8)
        for (int k = 0; k < kSteps; k += kRun) {
            __m256i pairs[kTokens];
            HWY_UNROLL(8)
            for (int j = 0; j < kRun; ++j) {
                const __m256i wk = load_32(w + 32 * (k + j));
                const __m256i magnitude = S::kSigned ? _mm256_abs_epi8(wk) : wk;
                HWY_UNROLL(4)
                for (int t = 0; t < kTokens; ++t) {
                    std::int32_t four;
                    std::memcpy(&four, xg + t * padded + 4 * (k + j), 4);
                    const __m256i xt = _mm256_set1_epi32(four);
                    const __m256i p =
                        _mm256_maddubs_epi16(magnitude, S::kSigned ? _mm256_sign_epi8(xt, wk) : xt);
                    pairs[t] = j == 0 ? p : _mm256_add_epi16(pairs[t], p);
                }
            }
            HWY_UNROLL(4)
            for (int t = 0; t < kTokens; ++t) {
                sum[t] = _mm256_add_epi32(sum[t], _mm256_madd_epi16(pairs[t], ones));
            }
        }
        const __m256 s = _mm256_load_ps(tile.scale + g * kTile);
        HWY_UNROLL(4)
        for (int t = 0; t < kTokens; ++t) {
            const __m256 f =
                _mm256_mul_ps(s, _mm256_set1_ps(dx[t * (padded / 32) + g / kPerScale]));
            acc[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[t]), f, acc[t]);
        }
        if constexpr (S::kMinimum) {
            const __m256 m = _mm256_load_ps(tile.minimum + g * kTile);
            HWY_UNROLL(4)
            for (int t = 0; t < kTokens; ++t) {
                acc[t] = _mm256_fnmadd_ps(m, _mm256_set1_ps(sums[t * groups + g]), acc[t]);
            }
        }
    }
    for (int t = 0; t < kTokens; ++t) {
        alignas(32) float lanes[8];
        _mm256_store_ps(lanes, acc[t]);
        for (std::int64_t r = 0; r < rows; ++r) {
            out[t * out_stride + r] = lanes[r] + (bias != nullptr ? bias[r] : 0.0f);
        }
    }
#endif
}

template <class S>
void multiply_tile(const Tile& tile, const Activations& a, const std::int32_t* begin,
                   const float* bias, std::int64_t rows, float* out, std::int64_t out_stride) {
    const std::int64_t groups = a.padded / S::kGroup;
    std::int64_t t = 0;
    const auto step = [&](auto kernel, std::int64_t tokens) {
        for (; a.tokens - t >= tokens; t += tokens) {
            kernel(tile, a, t, begin + t * groups, bias, rows, out + t * out_stride, out_stride);
        }
    };
    if constexpr (kMostTokens >= 12) {
        step(micro<12, S>, 12);
        step(micro<8, S>, 8);
    }
    step(micro<4, S>, 4);
    step(micro<2, S>, 2);
    step(micro<1, S>, 1);
}

// -offset * sum of each group of activations.
template <class S>
void fill_begin(const Activations& a, std::int32_t* begin) {
    const std::int64_t n = a.tokens * (a.padded / 16);
    if constexpr (S::kGroup == 16) {
        for (std::int64_t i = 0; i < n; ++i) {
            begin[i] = -S::kOffset * a.isum16[i];
        }
    } else {
        for (std::int64_t i = 0; i < n / 2; ++i) {
            begin[i] = -S::kOffset * (a.isum16[2 * i] + a.isum16[2 * i + 1]);
        }
    }
}

template <Format kFormat>
void multiply(const Matrix& matrix, std::int64_t first, std::int64_t last, const Activations& a,
              float* out, std::int64_t out_stride, const float* bias, std::byte* scratch) {
    if (a.tokens <= kFewTokens) {
        for (std::int64_t r = first; r < last; r += kRowTile) { // once from memory for all tokens
            const std::int64_t end = a.tokens == 1 ? last : std::min(r + kRowTile, last);
            for (std::int64_t t = 0; t < a.tokens; ++t) {
                dot_rows<kFormat>(matrix, r, end, row_of(a, t), out + t * out_stride, bias);
            }
            if (a.tokens == 1) {
                return;
            }
        }
        return;
    }
    using S = Shape<kFormat>;
    Tile tile;
    tile.rows = reinterpret_cast<Byte*>(scratch);
    tile.levels = tile.rows + kTile * a.padded;
    tile.scale = reinterpret_cast<float*>(tile.levels + kTile * a.padded);
    tile.minimum = tile.scale + kTile * (a.padded / 16);
    auto* begin = reinterpret_cast<std::int32_t*>(tile.minimum + kTile * (a.padded / 16));
    if constexpr (S::kBegins) {
        fill_begin<S>(a, begin);
    }
    for (std::int64_t r = first; r < last; r += kTile) {
        const std::int64_t rows = std::min(kTile, last - r);
        fill_tile<kFormat>(matrix, r, rows, a.padded, tile);
        multiply_tile<S>(tile, a, begin, bias != nullptr ? bias + r : nullptr, rows, out + r,
                         out_stride);
    }
}

// The largest magnitude of 32.
HWY_INLINE float most_of(const float* x) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 v[4];
    for (int j = 0; j < 4; ++j) {
        v[j] = _mm256_andnot_ps(sign, _mm256_loadu_ps(x + 8 * j));
    }
    const __m256 most = _mm256_max_ps(_mm256_max_ps(v[0], v[1]), _mm256_max_ps(v[2], v[3]));
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(most), _mm256_extractf128_ps(most, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    m = _mm_max_ss(m, _mm_movehdup_ps(m));
    return _mm_cvtss_f32(m);
}

// 32 levels x * inverse, and the sums of both halves of them.
HWY_INLINE void round_32(const float* x, float inverse, std::int8_t* q, std::int16_t* sums) {
    __m256i n[4];
    for (int j = 0; j < 4; ++j) {
        n[j] =
            _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + 8 * j), _mm256_set1_ps(inverse)));
    }
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(n[0], n[1]), 0xD8);
    const __m256i more = _mm256_permute4x64_epi64(_mm256_packs_epi32(n[2], n[3]), 0xD8);
    const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(words, more), 0xD8);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q), bytes);
    const auto total = [](__m256i w) {
        const __m256i p = _mm256_madd_epi16(w, _mm256_set1_epi16(1));
        __m128i s = _mm_add_epi32(_mm256_castsi256_si128(p), _mm256_extracti128_si256(p, 1));
        s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
        return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1)));
    };
    sums[0] = static_cast<std::int16_t>(total(words));
    sums[1] = static_cast<std::int16_t>(total(more));
}

// The unit of 256 activations: their largest magnitude / 127 / 256, rounded up to 15 bits so that
// its multiples are exact. 0 where its inverse would overflow, and for what is not a number.
HWY_INLINE float unit_of(float most) {
    const float least = most / (127.0f * 256.0f);
    if (!(least > 1e-37f && least < 1e37f)) {
        return 0;
    }
    std::uint32_t bits;
    std::memcpy(&bits, &least, sizeof(bits));
    bits = (bits + 511) & ~511u;
    float unit;
    std::memcpy(&unit, &bits, sizeof(unit));
    return unit;
}

// Unit, multiples, levels and sums of each 256. Each 32 get the least multiple that holds them: a
// step is wider than it need be by at most a 256th of the widest one.
void quantise(const Activations& a, std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first * (a.padded / 256); i < last * (a.padded / 256); ++i) {
        const std::int64_t t = i / (a.padded / 256);
        const std::int64_t begin = i % (a.padded / 256) * 256;
        const auto blocks = static_cast<int>(std::min<std::int64_t>(8, (a.cols - begin) / 32));
        const float* x = a.x + t * a.stride + begin;
        float most[8] = {};
        float largest = 0;
        for (int j = 0; j < blocks; ++j) {
            most[j] = most_of(x + 32 * j);
            largest = std::max(largest, most[j]);
        }
        const float unit = unit_of(largest);
        a.unit[i] = unit;
        for (int j = 0; j < 8; ++j) {
            const std::int64_t block = 8 * i + j;
            std::int16_t* sums = a.isum16 + 2 * block;
            int multiple = 0;
            if (unit > 0 && most[j] > 0) {
                const float steps = std::min(most[j] / (127.0f * unit), 256.0f);
                multiple = static_cast<int>(steps);
                multiple += static_cast<float>(multiple) < steps ? 1 : 0;
            }
            const float scale = unit * static_cast<float>(multiple);
            if (multiple > 0) {
                round_32(x + 32 * j, 1.0f / scale, a.q + 32 * block, sums);
            } else { // nothing, and the padding up to 256
                std::memset(a.q + 32 * block, 0, 32);
                sums[0] = sums[1] = 0;
            }
            a.scale[block] = scale;
            a.multiple[block] = static_cast<std::int16_t>(multiple);
            a.split16[16 * i + j] = sums[0];
            a.split16[16 * i + 8 + j] = sums[1];
            a.sum16[2 * block] = scale * static_cast<float>(sums[0]);
            a.sum16[2 * block + 1] = scale * static_cast<float>(sums[1]);
            a.sum32[block] = scale * static_cast<float>(sums[0] + sums[1]);
        }
    }
}

void Multiply(const Matrix& w, std::int64_t first, std::int64_t last, const Activations& a,
              float* out, std::int64_t out_stride, const float* bias, std::byte* scratch) {
    switch (w.format) {
    case Format::Q4_0:
        return multiply<Format::Q4_0>(w, first, last, a, out, out_stride, bias, scratch);
    case Format::Q4_1:
        return multiply<Format::Q4_1>(w, first, last, a, out, out_stride, bias, scratch);
    case Format::Q5_0:
        return multiply<Format::Q5_0>(w, first, last, a, out, out_stride, bias, scratch);
    case Format::Q5_1:
        return multiply<Format::Q5_1>(w, first, last, a, out, out_stride, bias, scratch);
    case Format::Q8_0:
        return multiply<Format::Q8_0>(w, first, last, a, out, out_stride, bias, scratch);
    case Format::Q2_K:
        return multiply<Format::Q2_K>(w, first, last, a, out, out_stride, bias, scratch);
    case Format::Q3_K:
        return multiply<Format::Q3_K>(w, first, last, a, out, out_stride, bias, scratch);
    case Format::Q4_K:
        return multiply<Format::Q4_K>(w, first, last, a, out, out_stride, bias, scratch);
    case Format::Q5_K:
        return multiply<Format::Q5_K>(w, first, last, a, out, out_stride, bias, scratch);
    case Format::Q6_K:
        return multiply<Format::Q6_K>(w, first, last, a, out, out_stride, bias, scratch);
    case Format::IQ4_NL:
        return multiply<Format::IQ4_NL>(w, first, last, a, out, out_stride, bias, scratch);
    case Format::IQ4_XS:
        return multiply<Format::IQ4_XS>(w, first, last, a, out, out_stride, bias, scratch);
    case Format::F32:
    case Format::F16:
    case Format::BF16:
    case Format::F8E4M3:
    case Format::MXFP4:
        return; // matmul_plain
    }
}

void Quantise(const Activations& a, std::int64_t first, std::int64_t last) {
    quantise(a, first, last);
}

bool HasInt8() {
    return true;
}

} // namespace hs::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#else // no AVX2: matmul_plain does it all
HWY_BEFORE_NAMESPACE();
namespace hs::cpu::HWY_NAMESPACE {

void Multiply(const Matrix&, std::int64_t, std::int64_t, const Activations&, float*, std::int64_t,
              const float*, std::byte*) {}
void Quantise(const Activations&, std::int64_t, std::int64_t) {}
bool HasInt8() {
    return false;
}

} // namespace hs::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif

#if HWY_ONCE
namespace hs::cpu {

HWY_EXPORT(Multiply);
HWY_EXPORT(Quantise);
HWY_EXPORT(HasInt8);

bool wants_int8(Format format) {
    return format >= Format::Q4_0 && format != Format::MXFP4 && HWY_DYNAMIC_DISPATCH(HasInt8)();
}

void quantise_activations(const Activations& activations, std::int64_t first, std::int64_t last) {
    HWY_DYNAMIC_DISPATCH(Quantise)(activations, first, last);
}

namespace {

constexpr std::int64_t kMostTileRows = 16;

std::int64_t pad(std::int64_t n, std::int64_t to) {
    return (n + to - 1) / to * to;
}

} // namespace

std::int64_t int8_bytes(std::int64_t tokens, std::int64_t cols) {
    const std::int64_t padded = pad(cols, 256);
    return tokens * (padded + padded / 32 * 10 + padded / 16 * 8 + padded / 256 * 4) + 8 * 64;
}

void place_int8(Activations& activations, std::byte* memory) {
    activations.padded = pad(activations.cols, 256);
    const std::int64_t n = activations.tokens * activations.padded;
    const auto take = [&](auto*& pointer, std::int64_t count) {
        pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(memory);
        memory += pad(count * static_cast<std::int64_t>(sizeof(*pointer)), 64);
    };
    take(activations.q, n);
    take(activations.scale, n / 32);
    take(activations.sum32, n / 32);
    take(activations.sum16, n / 16);
    take(activations.isum16, n / 16);
    take(activations.unit, n / 256);
    take(activations.multiple, n / 32);
    take(activations.split16, n / 16);
}

void matmul_plain(const Matrix& matrix, std::int64_t first, std::int64_t last,
                  const Activations& activations, float* out, std::int64_t out_stride,
                  const float* bias, std::byte* scratch);
std::int64_t matmul_plain_scratch_bytes(const Matrix& matrix);

std::int64_t matmul_scratch_bytes(const Matrix& matrix, std::int64_t tokens) {
    if (!wants_int8(matrix.format)) {
        return matmul_plain_scratch_bytes(matrix);
    }
    const std::int64_t padded = pad(matrix.cols, 256);
    return kMostTileRows * (2 * padded + 2 * 4 * (padded / 16)) + tokens * (padded / 16) * 4;
}

void matmul(const Matrix& matrix, std::int64_t first, std::int64_t last,
            const Activations& activations, float* out, std::int64_t out_stride, const float* bias,
            std::byte* scratch) {
    if (wants_int8(matrix.format)) {
        HWY_DYNAMIC_DISPATCH(Multiply)
        (matrix, first, last, activations, out, out_stride, bias, scratch);
    } else {
        matmul_plain(matrix, first, last, activations, out, out_stride, bias, scratch);
    }
}

} // namespace hs::cpu
#endif // HWY_ONCE
