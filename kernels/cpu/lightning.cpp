// Lightning attention between its projections (lightning.md section 1): a matrix per head that
// fades by a constant.
//
// Decode passes over the state once, row by row as it lies in memory. Prefill takes blocks of 64
// tokens as products of small matrices: what the state held before the block, what its tokens read
// of each other, and what they leave behind. A token then costs 2 D^2 + 64 D multiply-adds from
// registers, where the recurrence has 3 D^2 with a load and a store for each. Taking eight heads
// through a block before the next, so that the projection's pages stay near, gained nothing:
// 21.2 and 21.6 us per token for 16 heads of 128 (one thread, AMD Zen 4, 24 November 2026).
//
// Decays are exp(-rate n) of differences of positions n >= 0 alone, never of their negatives, which
// would overflow: factors that fall below float32 are zero, and so is what they multiply.

// The order matters: foreach_target includes this file once per instruction set.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/lightning.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/cpu/kernels.h"
// clang-format on

#include <algorithm>
#include <cmath>

#ifndef HS_LIGHTNING_ONCE
#define HS_LIGHTNING_ONCE
namespace hs::cpu {

constexpr std::int64_t kBlock = 64; // tokens

// What one head needs for one block. Columns of matrices are padded to whole vectors.
struct LightningScratch {
    LightningScratch(float* memory, std::int64_t dim)
        : stride((dim + 15) / 16 * 16)
        , q(memory)
        , v(q + kBlock * stride)
        , out(v + kBlock * stride)
        , keys(out + kBlock * stride)
        , scores(keys + dim * kBlock)
        , state(scores + kBlock * kBlock)
        , decay(state + dim * stride)
        , factors(decay + kBlock + 16) {}
    static std::int64_t floats(std::int64_t dim) {
        const std::int64_t stride = (dim + 15) / 16 * 16;
        return (3 * kBlock + dim) * stride + (dim + kBlock) * kBlock + 3 * kBlock + 16;
    }

    std::int64_t stride;
    float* q;       // (kBlock, stride)
    float* v;       // (kBlock, stride)
    float* out;     // (kBlock, stride)
    float* keys;    // (dim, kBlock): transposed
    float* scores;  // (kBlock, kBlock)
    float* state;   // (dim, stride)
    float* decay;   // (kBlock + 1): exp(-rate n)
    float* factors; // (2 kBlock): scale exp(-rate (kBlock - 1 - m)), zeros from m = kBlock on
};

} // namespace hs::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace hs::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

constexpr int kTileRows = 6;
// With 32 registers, 6 x 4 sums leave room for the operands; with 16, 6 x 2.
constexpr int kTileVectors = HWY_MAX_BYTES >= 64 ? 4 : 2;

// c = keep c + a b for kRows rows and kVectors vectors of columns; c = a b without keep.
//   a (kRows, depth), b (depth, columns); keep holds a factor per row, keep_step apart
template <int kRows, int kVectors>
HWY_INLINE void tile(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride,
                     std::int64_t depth, const float* keep, std::int64_t keep_step, float* c,
                     std::int64_t c_stride) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    V sum[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
        for (int j = 0; j < kVectors; ++j) {
            sum[r][j] = hn::Zero(d);
        }
    }
    for (std::int64_t p = 0; p < depth; ++p) {
        V row[kVectors];
        for (int j = 0; j < kVectors; ++j) {
            row[j] = hn::LoadU(d, b + p * b_stride + j * n);
        }
        for (int r = 0; r < kRows; ++r) {
            const V x = hn::Set(d, a[r * a_stride + p]);
            for (int j = 0; j < kVectors; ++j) {
                sum[r][j] = hn::MulAdd(x, row[j], sum[r][j]);
            }
        }
    }
    for (int r = 0; r < kRows; ++r) {
        for (int j = 0; j < kVectors; ++j) {
            float* const to = c + r * c_stride + j * n;
            if (keep != nullptr) {
                sum[r][j] =
                    hn::MulAdd(hn::Set(d, keep[r * keep_step]), hn::LoadU(d, to), sum[r][j]);
            }
            hn::StoreU(sum[r][j], d, to);
        }
    }
}

// The same for up to kTileRows rows and any whole number of vectors.
template <int kRows>
HWY_INLINE void strip(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride,
                      std::int64_t depth, std::int64_t columns, const float* keep,
                      std::int64_t keep_step, float* c, std::int64_t c_stride) {
    const auto n = static_cast<std::int64_t>(hn::Lanes(D()));
    std::int64_t j = 0;
    for (; j + kTileVectors * n <= columns; j += kTileVectors * n) {
        tile<kRows, kTileVectors>(a, a_stride, b + j, b_stride, depth, keep, keep_step, c + j,
                                  c_stride);
    }
    for (; j < columns; j += n) {
        tile<kRows, 1>(a, a_stride, b + j, b_stride, depth, keep, keep_step, c + j, c_stride);
    }
}

HWY_NOINLINE void rows_product(std::int64_t rows, const float* a, std::int64_t a_stride,
                               const float* b, std::int64_t b_stride, std::int64_t depth,
                               std::int64_t columns, const float* keep, std::int64_t keep_step,
                               float* c, std::int64_t c_stride) {
    switch (rows) {
    case 1:
        return strip<1>(a, a_stride, b, b_stride, depth, columns, keep, keep_step, c, c_stride);
    case 2:
        return strip<2>(a, a_stride, b, b_stride, depth, columns, keep, keep_step, c, c_stride);
    case 3:
        return strip<3>(a, a_stride, b, b_stride, depth, columns, keep, keep_step, c, c_stride);
    case 4:
        return strip<4>(a, a_stride, b, b_stride, depth, columns, keep, keep_step, c, c_stride);
    case 5:
        return strip<5>(a, a_stride, b, b_stride, depth, columns, keep, keep_step, c, c_stride);
    default:
        return strip<kTileRows>(a, a_stride, b, b_stride, depth, columns, keep, keep_step, c,
                                c_stride);
    }
}

// One block of `count` tokens: q, v and keys of the scratch; out and state may lie elsewhere.
void Block(const LightningScratch& s, std::int64_t dim, std::int64_t count, float scale,
           float* state, std::int64_t state_stride, float* out, std::int64_t out_stride) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    const std::int64_t columns = (dim + n - 1) / n * n;
    for (std::int64_t first = 0; first < count; first += kTileRows) {
        const std::int64_t rows = std::min<std::int64_t>(kTileRows, count - first);
        const std::int64_t seen = first + rows; // no row of these reads a later token
        const std::int64_t width = (seen + n - 1) / n * n;
        const float* const q = s.q + first * s.stride;
        float* const scores = s.scores + first * kBlock;
        float* const to = out + first * out_stride;
        rows_product(rows, q, s.stride, s.keys, kBlock, dim, width, nullptr, 0, scores, kBlock);
        for (std::int64_t r = 0; r < rows; ++r) {
            const float* const factors = s.factors + kBlock - 1 - (first + r);
            for (std::int64_t j = 0; j < width; j += n) {
                float* const at = scores + r * kBlock + j;
                hn::StoreU(hn::Mul(hn::LoadU(d, at), hn::LoadU(d, factors + j)), d, at);
            }
        }
        rows_product(rows, q, s.stride, state, state_stride, dim, columns, nullptr, 0, to,
                     out_stride);
        float keep[kTileRows];
        for (std::int64_t r = 0; r < rows; ++r) {
            keep[r] = scale * s.decay[first + r + 1];
        }
        rows_product(rows, scores, kBlock, s.v, s.stride, seen, columns, keep, 1, to, out_stride);
    }
    for (std::int64_t t = 0; t < count; ++t) { // as much as is left of it at the block's end
        const V left = hn::Set(d, s.decay[count - 1 - t]);
        for (std::int64_t j = 0; j < columns; j += n) {
            float* const at = s.v + t * s.stride + j;
            hn::StoreU(hn::Mul(left, hn::LoadU(d, at)), d, at);
        }
    }
    for (std::int64_t i = 0; i < dim; i += kTileRows) {
        const std::int64_t rows = std::min<std::int64_t>(kTileRows, dim - i);
        rows_product(rows, s.keys + i * kBlock, kBlock, s.v, s.stride, count, columns,
                     s.decay + count, 0, state + i * state_stride, state_stride);
    }
}

// All rows of kVectors vectors of columns: fade, add, read.
template <int kVectors>
HWY_INLINE void step(const float* q, const float* k, const float* v, float decay, float scale,
                     std::int64_t dim, float* state, float* out) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    const V keep = hn::Set(d, decay);
    V sum[kVectors];
    for (int j = 0; j < kVectors; ++j) {
        sum[j] = hn::Zero(d);
    }
    for (std::int64_t i = 0; i < dim; ++i) {
        const V ki = hn::Set(d, k[i]);
        const V qi = hn::Set(d, q[i]);
        float* const row = state + i * dim;
        for (int j = 0; j < kVectors; ++j) {
            const V faded = hn::Mul(keep, hn::LoadU(d, row + j * n));
            const V next = hn::MulAdd(ki, hn::LoadU(d, v + j * n), faded);
            hn::StoreU(next, d, row + j * n);
            sum[j] = hn::MulAdd(qi, next, sum[j]);
        }
    }
    for (int j = 0; j < kVectors; ++j) {
        hn::StoreU(hn::Mul(hn::Set(d, scale), sum[j]), d, out + j * n);
    }
}

void Step(const float* q, const float* k, const float* v, float decay, float scale,
          std::int64_t dim, float* state, float* out) {
    const auto n = static_cast<std::int64_t>(hn::Lanes(D()));
    std::int64_t j = 0;
    for (; j + 8 * n <= dim; j += 8 * n) {
        step<8>(q, k, v + j, decay, scale, dim, state + j, out + j);
    }
    for (; j + n <= dim; j += n) {
        step<1>(q, k, v + j, decay, scale, dim, state + j, out + j);
    }
    for (; j < dim; ++j) {
        float sum = 0.0f;
        for (std::int64_t i = 0; i < dim; ++i) {
            float& value = state[i * dim + j];
            value = decay * value + k[i] * v[j];
            sum += q[i] * value;
        }
        out[j] = scale * sum;
    }
}

std::int64_t VectorLanes() {
    return static_cast<std::int64_t>(hn::Lanes(D()));
}

} // namespace hs::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hs::cpu {

HWY_EXPORT(Block);
HWY_EXPORT(Step);
HWY_EXPORT(VectorLanes);

std::int64_t lightning_scratch_floats(const Lightning& op) {
    return LightningScratch::floats(op.head_dim);
}

namespace {

const float* row_of(const Lightning::Rows& rows, std::int64_t token, std::int64_t head) {
    return rows.data + token * rows.token_stride + head * rows.head_stride;
}

// A row into `to`, through SiLU where the mixer has it.
void take_row(const Lightning& op, const float* from, float* to) {
    std::copy_n(from, op.head_dim, to);
    if (op.silu) {
        silu(to, op.head_dim);
    }
}

void one_token(const Lightning& op, std::int64_t head, float* state, const LightningScratch& s) {
    float* const q = s.q;
    float* const k = s.q + s.stride;
    take_row(op, row_of(op.q, 0, head), q);
    take_row(op, row_of(op.k, 0, head), k);
    take_row(op, row_of(op.v, 0, head), s.v);
    HWY_DYNAMIC_DISPATCH(Step)
    (q, k, s.v, std::exp(-op.decay_rates[head]), op.scale, op.head_dim, state,
     op.out + head * op.head_dim);
}

void fill_decays(const Lightning& op, float rate, const LightningScratch& s) {
    for (std::int64_t n = 0; n <= kBlock; ++n) {
        s.decay[n] =
            static_cast<float>(std::exp(-static_cast<double>(rate) * static_cast<double>(n)));
    }
    for (std::int64_t m = 0; m < kBlock; ++m) {
        s.factors[m] = op.scale * s.decay[kBlock - 1 - m];
        s.factors[kBlock + m] = 0.0f;
    }
}

} // namespace

void lightning_head(const Lightning& op, std::int64_t head, float* scratch) {
    const LightningScratch s(scratch, op.head_dim);
    const std::int64_t dim = op.head_dim;
    float* const state = op.state + head * dim * dim;
    if (op.tokens == 1) {
        one_token(op, head, state, s);
        return;
    }
    fill_decays(op, op.decay_rates[head], s);
    const bool whole = dim % HWY_DYNAMIC_DISPATCH(VectorLanes)() == 0;
    if (!whole) {
        // Padding takes part in the arithmetic: zeros stay zeros.
        std::fill(s.v, s.v + kBlock * s.stride, 0.0f);
        std::fill(s.state, s.state + dim * s.stride, 0.0f);
        for (std::int64_t i = 0; i < dim; ++i) {
            std::copy_n(state + i * dim, dim, s.state + i * s.stride);
        }
    }
    for (std::int64_t first = 0; first < op.tokens; first += kBlock) {
        const std::int64_t count = std::min(kBlock, op.tokens - first);
        for (std::int64_t t = 0; t < count; ++t) {
            float* const k = s.out; // free until the block is computed
            take_row(op, row_of(op.q, first + t, head), s.q + t * s.stride);
            take_row(op, row_of(op.v, first + t, head), s.v + t * s.stride);
            take_row(op, row_of(op.k, first + t, head), k);
            for (std::int64_t i = 0; i < dim; ++i) {
                s.keys[i * kBlock + t] = k[i];
            }
        }
        float* const out = op.out + first * op.out_stride + head * dim;
        if (whole) {
            HWY_DYNAMIC_DISPATCH(Block)(s, dim, count, op.scale, state, dim, out, op.out_stride);
            continue;
        }
        HWY_DYNAMIC_DISPATCH(Block)
        (s, dim, count, op.scale, s.state, s.stride, s.out, s.stride);
        for (std::int64_t t = 0; t < count; ++t) {
            std::copy_n(s.out + t * s.stride, dim, out + t * op.out_stride);
        }
    }
    if (!whole) {
        for (std::int64_t i = 0; i < dim; ++i) {
            std::copy_n(s.state + i * s.stride, dim, state + i * dim);
        }
    }
}

void lightning_gate(const Lightning& op, std::int64_t token) {
    float* const out = op.out + token * op.out_stride;
    const std::int64_t channels = op.heads * op.head_dim;
    const std::int64_t width = channels / op.norm_groups;
    for (std::int64_t first = 0; first < channels; first += width) {
        rms_norm(out + first, op.norm_weight + first, op.norm_eps, width, out + first);
    }
    sigmoid_multiply(out, op.gate + token * op.gate_stride, channels);
}

} // namespace hs::cpu
#endif // HWY_ONCE
