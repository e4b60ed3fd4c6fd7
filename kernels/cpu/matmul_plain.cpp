// Products in float32: F32, F16, BF16, FP8 and MXFP4 weights, and other block formats on machines
// without AVX2. Activations are not rounded: checkpoints in the formats that models are released in
// give the logits of float32 arithmetic.

// The order matters: foreach_target includes this file once per instruction set.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul_plain.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/cache_control.h>

#include "kernels/cpu/kernels.h"
// clang-format on

#include <algorithm>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace hs::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// Readers give Lanes(d) weights from element k on, and single ones for the tail.
struct F32Reader {
    static HWY_INLINE V load(const std::byte* w, std::int64_t k) {
        return hn::LoadU(D(), reinterpret_cast<const float*>(w) + k);
    }
};
struct F16Reader {
    static HWY_INLINE V load(const std::byte* w, std::int64_t k) {
        const hn::Rebind<hwy::float16_t, D> half;
        return hn::PromoteTo(D(), hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(w) + k));
    }
};
struct BF16Reader {
    static HWY_INLINE V load(const std::byte* w, std::int64_t k) {
        const hn::Rebind<std::uint16_t, D> half;
        const hn::RebindToUnsigned<D> word;
        const auto bits =
            hn::PromoteTo(word, hn::LoadU(half, reinterpret_cast<const std::uint16_t*>(w) + k));
        return hn::BitCast(D(), hn::ShiftLeft<16>(bits));
    }
};
// E4M3's bits are those of a half with the exponent's bias off by 8. 0x7F, its NaN, reads as 480:
// no checkpoint has it, and the value harms nobody.
struct F8Reader {
    static HWY_INLINE V load(const std::byte* w, std::int64_t k) {
        const hn::Rebind<std::uint8_t, D> byte;
        const hn::Rebind<std::uint16_t, D> word;
        const hn::Rebind<hwy::float16_t, D> half;
        const auto b =
            hn::PromoteTo(word, hn::LoadU(byte, reinterpret_cast<const std::uint8_t*>(w) + k));
        const auto sign = hn::ShiftLeft<8>(hn::And(b, hn::Set(word, 0x80)));
        const auto rest = hn::ShiftLeft<7>(hn::And(b, hn::Set(word, 0x7F)));
        return hn::Mul(hn::PromoteTo(D(), hn::BitCast(half, hn::Or(sign, rest))),
                       hn::Set(D(), 256.0f));
    }
};

template <class Reader>
HWY_INLINE float dot_range(const std::byte* w, Format format, const float* x, std::int64_t first,
                           std::int64_t last) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    V a = hn::Zero(d);
    V b = hn::Zero(d);
    V c = hn::Zero(d);
    V e = hn::Zero(d);
    const std::int64_t bytes = block_bytes(format);
    std::int64_t k = first;
    for (; k + 4 * n <= last; k += 4 * n) {
        hwy::Prefetch(w + k * bytes + 2048);
        hwy::Prefetch(w + (k + 2 * n) * bytes + 2048);
        a = hn::MulAdd(Reader::load(w, k), hn::LoadU(d, x + k), a);
        b = hn::MulAdd(Reader::load(w, k + n), hn::LoadU(d, x + k + n), b);
        c = hn::MulAdd(Reader::load(w, k + 2 * n), hn::LoadU(d, x + k + 2 * n), c);
        e = hn::MulAdd(Reader::load(w, k + 3 * n), hn::LoadU(d, x + k + 3 * n), e);
    }
    for (; k + n <= last; k += n) {
        a = hn::MulAdd(Reader::load(w, k), hn::LoadU(d, x + k), a);
    }
    float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(a, b), hn::Add(c, e))));
    for (; k < last; ++k) {
        float value;
        dequantise(format, w + k * bytes, &value, 1);
        sum += value * x[k];
    }
    return sum;
}

// One row of weights as floats, factors applied.
template <class Reader>
HWY_INLINE void widen(const Matrix& m, std::int64_t row, float* to) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    const std::byte* w = m.data + row * m.row_stride;
    const std::int64_t bytes = block_bytes(m.format);
    std::int64_t k = 0;
    for (; k + n <= m.cols; k += n) {
        hn::StoreU(Reader::load(w, k), d, to + k);
    }
    dequantise(m.format, w + k * bytes, to + k, m.cols - k);
    if (m.scales != nullptr) {
        const float* scales = m.scales + row / m.scale_rows * m.scale_stride;
        for (std::int64_t c = 0; c < m.cols; c += m.scale_cols) {
            scale(to + c, scales[c / m.scale_cols], std::min(m.scale_cols, m.cols - c));
        }
    }
}

// A block of MXFP4: the factor 2^(e - 127), then 32 values, the first half in the low nibbles.
constexpr std::int64_t kMxBlock = 32;
constexpr std::int64_t kMxBytes = 17;

// Twice the values of a block, which are whole, and half its factor.
struct MxBlock {
    HWY_ALIGN std::int8_t twice[kMxBlock];
    float half_factor;

    HWY_INLINE explicit MxBlock(const std::byte* b) {
        const hn::FixedTag<std::uint8_t, 16> bytes;
        const hn::FixedTag<std::int8_t, 16> levels;
        HWY_ALIGN static constexpr std::int8_t kTwice[16] = {0, 1,  2,  3,  4,  6,  8,  12,
                                                             0, -1, -2, -3, -4, -6, -8, -12};
        const auto table = hn::Load(levels, kTwice);
        const auto pairs = hn::LoadU(bytes, reinterpret_cast<const std::uint8_t*>(b) + 1);
        const auto low = hn::And(pairs, hn::Set(bytes, 15));
        hn::Store(hn::TableLookupBytes(table, hn::BitCast(levels, low)), levels, twice);
        hn::Store(hn::TableLookupBytes(table, hn::BitCast(levels, hn::ShiftRight<4>(pairs))),
                  levels, twice + 16);
        const auto e = static_cast<std::uint32_t>(b[0]);
        const std::uint32_t bits = e < 2 ? 0x00200000u << e : (e - 1) << 23; // subnormal below 2
        std::memcpy(&half_factor, &bits, sizeof bits);
    }
    HWY_INLINE V load(std::int64_t k) const {
        const hn::Rebind<std::int8_t, D> level;
        const hn::RebindToSigned<D> word;
        return hn::ConvertTo(D(), hn::PromoteTo(word, hn::LoadU(level, twice + k)));
    }
};

HWY_INLINE float dot_mxfp4(const std::byte* w, std::int64_t cols, const float* x) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    V even = hn::Zero(d);
    V odd = hn::Zero(d);
    for (std::int64_t c = 0; c < cols; c += kMxBlock, w += kMxBytes) {
        hwy::Prefetch(w + 2048);
        const MxBlock block(w);
        V a = hn::Zero(d);
        V b = hn::Zero(d);
        for (std::int64_t k = 0; k < kMxBlock; k += 2 * n) {
            a = hn::MulAdd(block.load(k), hn::LoadU(d, x + c + k), a);
            b = hn::MulAdd(block.load(k + n), hn::LoadU(d, x + c + k + n), b);
        }
        const V factor = hn::Set(d, block.half_factor);
        even = hn::MulAdd(a, factor, even);
        odd = hn::MulAdd(b, factor, odd);
    }
    return hn::GetLane(hn::SumOfLanes(d, hn::Add(even, odd)));
}

HWY_INLINE void widen_mxfp4(const std::byte* w, std::int64_t cols, float* to) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    for (std::int64_t c = 0; c < cols; c += kMxBlock, w += kMxBytes) {
        const MxBlock block(w);
        const V factor = hn::Set(d, block.half_factor);
        for (std::int64_t k = 0; k < kMxBlock; k += n) {
            hn::StoreU(hn::Mul(block.load(k), factor), d, to + c + k);
        }
    }
}

constexpr int kWide = 16;  // rows of weights that are widened together: few tokens' activations
                           // stay in the first-level cache while they meet all of them
constexpr int kRows = 4;   // of them at a time
constexpr int kTokens = 3; // twelve sums, so that they and their inputs fit into sixteen registers

// kRows rows of w (apart by cols) times `kCount` tokens.
template <int kCount>
HWY_INLINE void micro(const float* w, std::int64_t cols, const float* x, std::int64_t x_stride,
                      std::int64_t rows, const float* bias, float* out, std::int64_t out_stride) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    V s00 = hn::Zero(d), s01 = s00, s02 = s00, s10 = s00, s11 = s00, s12 = s00;
    V s20 = s00, s21 = s00, s22 = s00, s30 = s00, s31 = s00, s32 = s00;
    const float* w1 = w + cols;
    const float* w2 = w1 + cols;
    const float* w3 = w2 + cols;
    const float* x1 = x + (kCount > 1 ? x_stride : 0);
    const float* x2 = x + (kCount > 2 ? 2 * x_stride : 0);
    std::int64_t k = 0;
    for (; k + n <= cols; k += n) {
        const V a0 = hn::LoadU(d, w + k);
        const V a1 = hn::LoadU(d, w1 + k);
        const V a2 = hn::LoadU(d, w2 + k);
        const V a3 = hn::LoadU(d, w3 + k);
        const V b0 = hn::LoadU(d, x + k);
        s00 = hn::MulAdd(a0, b0, s00);
        s10 = hn::MulAdd(a1, b0, s10);
        s20 = hn::MulAdd(a2, b0, s20);
        s30 = hn::MulAdd(a3, b0, s30);
        if constexpr (kCount > 1) {
            const V b1 = hn::LoadU(d, x1 + k);
            s01 = hn::MulAdd(a0, b1, s01);
            s11 = hn::MulAdd(a1, b1, s11);
            s21 = hn::MulAdd(a2, b1, s21);
            s31 = hn::MulAdd(a3, b1, s31);
        }
        if constexpr (kCount > 2) {
            const V b2 = hn::LoadU(d, x2 + k);
            s02 = hn::MulAdd(a0, b2, s02);
            s12 = hn::MulAdd(a1, b2, s12);
            s22 = hn::MulAdd(a2, b2, s22);
            s32 = hn::MulAdd(a3, b2, s32);
        }
    }
    const auto sum = [&](V v) { return hn::GetLane(hn::SumOfLanes(d, v)); };
    float result[kTokens][kRows] = {{sum(s00), sum(s10), sum(s20), sum(s30)},
                                    {sum(s01), sum(s11), sum(s21), sum(s31)},
                                    {sum(s02), sum(s12), sum(s22), sum(s32)}};
    for (int t = 0; t < kCount; ++t) {
        for (std::int64_t r = 0; r < rows; ++r) {
            float y = result[t][r];
            for (std::int64_t i = k; i < cols; ++i) {
                y += w[r * cols + i] * x[t * x_stride + i];
            }
            out[t * out_stride + r] = y + (bias != nullptr ? bias[r] : 0.0f);
        }
    }
}

template <class Widen>
HWY_INLINE void multiply_widened(const Matrix& m, std::int64_t first, std::int64_t last,
                                 const Activations& a, float* out, std::int64_t out_stride,
                                 const float* bias, std::byte* scratch, const Widen& widen_row) {
    auto* rows = reinterpret_cast<float*>(scratch);
    for (std::int64_t r = first; r < last; r += kWide) {
        const std::int64_t count = std::min<std::int64_t>(kWide, last - r);
        for (std::int64_t i = 0; i < (count + kRows - 1) / kRows * kRows; ++i) {
            widen_row(std::min(r + i, last - 1), rows + i * m.cols);
        }
        for (std::int64_t t = 0; t < a.tokens;) {
            const std::int64_t tokens = a.tokens - t >= kTokens ? kTokens : 1;
            const float* x = a.x + t * a.stride;
            for (std::int64_t i = 0; i < count; i += kRows) {
                const std::int64_t some = std::min<std::int64_t>(kRows, count - i);
                const float* b = bias != nullptr ? bias + r + i : nullptr;
                float* y = out + t * out_stride + r + i;
                if (tokens == kTokens) {
                    micro<kTokens>(rows + i * m.cols, m.cols, x, a.stride, some, b, y, out_stride);
                } else {
                    micro<1>(rows + i * m.cols, m.cols, x, a.stride, some, b, y, out_stride);
                }
            }
            t += tokens;
        }
    }
}

template <class Reader>
void multiply(const Matrix& m, std::int64_t first, std::int64_t last, const Activations& a,
              float* out, std::int64_t out_stride, const float* bias, std::byte* scratch) {
    if (a.tokens > 1) {
        multiply_widened(m, first, last, a, out, out_stride, bias, scratch,
                         [&](std::int64_t row, float* to) { widen<Reader>(m, row, to); });
        return;
    }
    for (std::int64_t r = first; r < last; ++r) {
        const std::byte* w = m.data + r * m.row_stride;
        float y = 0;
        if (m.scales == nullptr) {
            y = dot_range<Reader>(w, m.format, a.x, 0, m.cols);
        } else {
            const float* scales = m.scales + r / m.scale_rows * m.scale_stride;
            for (std::int64_t c = 0; c < m.cols; c += m.scale_cols) {
                y += scales[c / m.scale_cols] *
                     dot_range<Reader>(w, m.format, a.x, c, std::min(c + m.scale_cols, m.cols));
            }
        }
        out[r] = bias != nullptr ? y + bias[r] : y;
    }
}

void multiply_mxfp4(const Matrix& m, std::int64_t first, std::int64_t last, const Activations& a,
                    float* out, std::int64_t out_stride, const float* bias, std::byte* scratch) {
    if (a.tokens > 1) {
        multiply_widened(m, first, last, a, out, out_stride, bias, scratch,
                         [&](std::int64_t row, float* to) {
                             widen_mxfp4(m.data + row * m.row_stride, m.cols, to);
                         });
        return;
    }
    for (std::int64_t r = first; r < last; ++r) {
        const float y = dot_mxfp4(m.data + r * m.row_stride, m.cols, a.x);
        out[r] = bias != nullptr ? y + bias[r] : y;
    }
}

void MultiplyPlain(const Matrix& m, std::int64_t first, std::int64_t last, const Activations& a,
                   float* out, std::int64_t out_stride, const float* bias, std::byte* scratch) {
    switch (m.format) {
    case Format::F32:
        return multiply<F32Reader>(m, first, last, a, out, out_stride, bias, scratch);
    case Format::F16:
        return multiply<F16Reader>(m, first, last, a, out, out_stride, bias, scratch);
    case Format::BF16:
        return multiply<BF16Reader>(m, first, last, a, out, out_stride, bias, scratch);
    case Format::F8E4M3:
        return multiply<F8Reader>(m, first, last, a, out, out_stride, bias, scratch);
    case Format::MXFP4:
        return multiply_mxfp4(m, first, last, a, out, out_stride, bias, scratch);
    default:
        return multiply_widened(m, first, last, a, out, out_stride, bias, scratch,
                                [&](std::int64_t row, float* to) { dequantise_row(m, row, to); });
    }
}

} // namespace hs::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hs::cpu {

HWY_EXPORT(MultiplyPlain);

void matmul_plain(const Matrix& matrix, std::int64_t first, std::int64_t last,
                  const Activations& activations, float* out, std::int64_t out_stride,
                  const float* bias, std::byte* scratch) {
    HWY_DYNAMIC_DISPATCH(MultiplyPlain)
    (matrix, first, last, activations, out, out_stride, bias, scratch);
}

std::int64_t matmul_plain_scratch_bytes(const Matrix& matrix) {
    return 16 * matrix.cols * static_cast<std::int64_t>(sizeof(float));
}

} // namespace hs::cpu
#endif // HWY_ONCE
