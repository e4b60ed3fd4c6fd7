// What sparse attention chooses its keys with: scores from small heads, and the best of them
// (softmax.md section 3.2). Keys lie in the lanes of vectors and every sum runs over dimensions
// and heads in one order, so that a score is the same in every bit however a prompt is cut, and
// equal scores fall the same way.

// The order matters: foreach_target includes this file once per instruction set.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/indexer.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/kernels.h"
// clang-format on

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

HWY_BEFORE_NAMESPACE();
namespace hs::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

constexpr std::int64_t kTurned = 16; // keys that are turned together

// sum[v] of two vectors of keys += weight * max(0, q . key) for kHeads heads at once: eight sums
// of products stay in registers, which 16 of them allow.
template <int kHeads>
HWY_INLINE void add_heads(const Indexer& op, const float* q, const float* weights,
                          const float* keys, V& sum_a, V& sum_b) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    V a[kHeads];
    V b[kHeads];
    HWY_UNROLL(4)
    for (int h = 0; h < kHeads; ++h) {
        a[h] = hn::Zero(d);
        b[h] = hn::Zero(d);
    }
    for (std::int64_t i = 0; i < op.head_dim; ++i) {
        const V ka = hn::Load(d, keys + i * kIndexKeys);
        const V kb = hn::Load(d, keys + i * kIndexKeys + n);
        HWY_UNROLL(4)
        for (int h = 0; h < kHeads; ++h) {
            const V x = hn::Set(d, q[h * op.q_head_stride + i]);
            a[h] = hn::MulAdd(x, ka, a[h]);
            b[h] = hn::MulAdd(x, kb, b[h]);
        }
    }
    HWY_UNROLL(4)
    for (int h = 0; h < kHeads; ++h) {
        const V w = hn::Set(d, weights[h]);
        sum_a = hn::MulAdd(w, hn::Max(a[h], hn::Zero(d)), sum_a);
        sum_b = hn::MulAdd(w, hn::Max(b[h], hn::Zero(d)), sum_b);
    }
}

// One key as floats. Not dequantise(), which goes value by value and took longer than all else.
HWY_INLINE void widen(Format format, const std::byte* from, float* to, std::int64_t dims) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    std::int64_t i = 0;
    if (format == Format::F16) {
        const hn::Rebind<hwy::float16_t, D> half;
        const auto* const p = reinterpret_cast<const hwy::float16_t*>(from);
        for (; i + n <= dims; i += n) {
            hn::StoreU(hn::PromoteTo(d, hn::LoadU(half, p + i)), d, to + i);
        }
    } else if (format == Format::BF16) {
        const hn::Rebind<std::uint16_t, D> half;
        const hn::RebindToUnsigned<D> word;
        const auto* const p = reinterpret_cast<const std::uint16_t*>(from);
        for (; i + n <= dims; i += n) {
            const auto bits = hn::PromoteTo(word, hn::LoadU(half, p + i));
            hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(bits)), d, to + i);
        }
    }
    dequantise(format, from + i * block_bytes(format), to + i, dims - i);
}

// A tile of keys side by side, (head_dim, kIndexKeys); keys that are not there are zeros. Sixteen
// keys at a time, so that a line of the cache is written whole.
HWY_INLINE void turn_keys(const Indexer& op, std::int64_t first_key, std::int64_t last_key,
                          float* tile, float* rows) {
    const D d;
    const hn::FixedTag<float, 4> four;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    const std::int64_t dims = op.head_dim;
    const std::int64_t key_bytes = dims * block_bytes(op.cache);
    HWY_ALIGN float turned[kTurned * 16]; // Lanes(d) is at most 16
    for (std::int64_t at = 0; at < kIndexKeys; at += kTurned) {
        for (std::int64_t key = 0; key < kTurned; ++key) {
            const std::int64_t s = first_key + at + key;
            if (s < last_key) {
                widen(op.cache, op.keys + s * key_bytes, rows + key * dims, dims);
            } else {
                std::fill_n(rows + key * dims, dims, 0.0f);
            }
        }
        std::int64_t i = 0;
        for (; i + n <= dims; i += n) {
            for (std::int64_t key = 0; key < kTurned; key += 4) {
                const float* const from = rows + key * dims + i;
                hn::StoreInterleaved4(hn::LoadU(d, from), hn::LoadU(d, from + dims),
                                      hn::LoadU(d, from + 2 * dims), hn::LoadU(d, from + 3 * dims),
                                      d, turned + key * n);
            }
            for (std::int64_t lane = 0; lane < n; ++lane) {
                for (std::int64_t key = 0; key < kTurned; key += 4) {
                    hn::StoreU(hn::LoadU(four, turned + key * n + 4 * lane), four,
                               tile + (i + lane) * kIndexKeys + at + key);
                }
            }
        }
        for (; i < dims; ++i) {
            for (std::int64_t key = 0; key < kTurned; ++key) {
                tile[i * kIndexKeys + at + key] = rows[key * dims + i];
            }
        }
    }
}

void IndexScores(const Indexer& op, std::int64_t first_token, std::int64_t last_token,
                 std::int64_t first_key, std::int64_t last_key, float* scores, std::int64_t stride,
                 float* scratch) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    turn_keys(op, first_key, last_key, scratch, scratch + op.head_dim * kIndexKeys);
    for (std::int64_t t = first_token; t < last_token; ++t) {
        const float* const q = op.q + t * op.q_token_stride;
        const float* const weights = op.weights + t * op.weights_stride;
        float* const to = scores + (t - first_token) * stride + first_key;
        for (std::int64_t at = 0; at < last_key - first_key; at += 2 * n) {
            V a = hn::Zero(d);
            V b = hn::Zero(d);
            std::int64_t h = 0;
            for (; h + 4 <= op.heads; h += 4) {
                add_heads<4>(op, q + h * op.q_head_stride, weights + h, scratch + at, a, b);
            }
            for (; h < op.heads; ++h) {
                add_heads<1>(op, q + h * op.q_head_stride, weights + h, scratch + at, a, b);
            }
            hn::StoreU(a, d, to + at);
            hn::StoreU(b, d, to + at + n);
        }
    }
}

} // namespace hs::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hs::cpu {

HWY_EXPORT(IndexScores);

std::int64_t index_scratch_floats(const Indexer& op) {
    return op.head_dim * (kIndexKeys + 16); // the tile, and rows on their way into it
}

void index_scores(const Indexer& op, std::int64_t first_token, std::int64_t last_token,
                  std::int64_t first_key, std::int64_t last_key, float* scores, std::int64_t stride,
                  float* scratch) {
    HWY_DYNAMIC_DISPATCH(IndexScores)
    (op, first_token, last_token, first_key, last_key, scores, stride, scratch);
}

namespace {

// Bits whose order as integers is that of the floats; both zeros are one.
std::uint32_t ordered(float score) {
    const float value = score + 0.0f;
    std::uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

} // namespace

// By the digits of the scores' bits: three passes find the least score that is taken, one more the
// positions, in order. Sorting indices took five times as long at 32768 scores, and once more as
// long for putting what it found in order.
void choose_best(const float* scores, std::int64_t n, std::int64_t most, std::int32_t* chosen) {
    std::fill_n(chosen, most, -1);
    if (n <= most) {
        std::iota(chosen, chosen + n, 0);
        return;
    }
    constexpr std::array<int, 3> kShifts{21, 10, 0};
    constexpr std::array<int, 3> kBits{11, 11, 10};
    std::array<std::int32_t, 2048> counts;
    std::uint32_t least = 0;  // of what is taken, as far as its digits are known
    std::uint32_t known = 0;  // mask of these digits
    std::int64_t rest = most; // to be taken of the scores that share them
    for (std::size_t pass = 0; pass < kShifts.size(); ++pass) {
        const std::uint32_t mask = (std::uint32_t{1} << kBits[pass]) - 1;
        counts.fill(0);
        for (std::int64_t i = 0; i < n; ++i) {
            const std::uint32_t bits = ordered(scores[i]);
            counts[(bits >> kShifts[pass]) & mask] += (bits & known) == least ? 1 : 0;
        }
        std::uint32_t digit = mask;
        while (counts[digit] < rest) {
            rest -= counts[digit--];
        }
        least |= digit << kShifts[pass];
        known |= mask << kShifts[pass];
    }
    for (std::int64_t i = 0; i < n; ++i) {
        const std::uint32_t bits = ordered(scores[i]);
        if (bits > least || (bits == least && rest-- > 0)) {
            *chosen++ = static_cast<std::int32_t>(i);
        }
    }
}

} // namespace hs::cpu
#endif // HWY_ONCE
