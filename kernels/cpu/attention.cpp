// Softmax attention over a cache (softmax.md sections 1.1 and 1.2), online, in float32.
//
// A row is one query head of one token. All rows that share a KV head go through the keys
// together, so that the cache is read once for them. Few rows (decode) take each key as it comes
// from memory; many rows (prefill) lie in the lanes of vectors, keys one after another, so that no
// sum ever goes across lanes.

// The order matters: foreach_target includes this file once per instruction set.
// clang-format off
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/cache_control.h>
#include <hwy/contrib/math/math-inl.h>

#include "kernels/cpu/kernels.h"
// clang-format on

#include <algorithm>
#include <cmath>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace hs::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

constexpr float kMasked = -1e30f;  // a logit that adds nothing
constexpr float kNone = -1e29f;    // the largest of no logits; above kMasked
constexpr std::int64_t kKeys = 64; // of a tile

struct F32Cache {
    static constexpr Format kFormat = Format::F32;
    static constexpr std::int64_t kBytes = 4;
    static HWY_INLINE V load(const std::byte* p, std::int64_t i) {
        return hn::LoadU(D(), reinterpret_cast<const float*>(p) + i);
    }
};
struct F16Cache {
    static constexpr Format kFormat = Format::F16;
    static constexpr std::int64_t kBytes = 2;
    static HWY_INLINE V load(const std::byte* p, std::int64_t i) {
        const hn::Rebind<hwy::float16_t, D> half;
        return hn::PromoteTo(D(), hn::LoadU(half, reinterpret_cast<const hwy::float16_t*>(p) + i));
    }
};
struct BF16Cache {
    static constexpr Format kFormat = Format::BF16;
    static constexpr std::int64_t kBytes = 2;
    static HWY_INLINE V load(const std::byte* p, std::int64_t i) {
        const hn::Rebind<std::uint16_t, D> half;
        const hn::RebindToUnsigned<D> word;
        const auto bits =
            hn::PromoteTo(word, hn::LoadU(half, reinterpret_cast<const std::uint16_t*>(p) + i));
        return hn::BitCast(D(), hn::ShiftLeft<16>(bits));
    }
};

// Where the rows of a call are, and which keys each sees.
struct Rows {
    const Attention& op;
    std::int64_t kv_head;
    std::int64_t first; // token
    std::int64_t group; // rows of a token

    const float* query(std::int64_t row) const {
        return op.q + (first + row / group) * op.q_token_stride +
               (kv_head * (op.query_heads / op.kv_heads) + op.group_first + row % group) *
                   op.q_head_stride;
    }
    std::int64_t end(std::int64_t row) const {
        return op.length - op.tokens + first + row / group + 1;
    }
    std::int64_t begin(std::int64_t row) const {
        return op.window > 0 ? std::max<std::int64_t>(0, end(row) - op.window) : 0;
    }
};

HWY_INLINE const std::byte* entry(const Attention& op, const std::byte* cache, std::int64_t kv_head,
                                  std::int64_t position, std::int64_t bytes) {
    const std::int64_t slot = op.slots != nullptr ? op.slots[position]
                              : op.ring > 0       ? position % op.ring
                                                  : position;
    return cache + (slot * op.kv_heads + kv_head) * bytes;
}

// Entries of one head lie far apart, where no hardware prefetcher follows: they are asked for a
// tile before they are used.
constexpr std::int64_t kAhead = kKeys;

HWY_INLINE void ask_for(const std::byte* p, std::int64_t bytes) {
    for (std::int64_t line = 0; line < bytes; line += 64) {
        hwy::Prefetch(reinterpret_cast<const char*>(p) + line);
    }
}

// --- few rows --------------------------------------------------------------------------------

// kCount queries times one key.
template <class Cache, int kCount>
HWY_INLINE void dots(const float* const* q, const std::byte* key, std::int64_t dims, float* out) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    std::int64_t i = 0;
    for (; i + n <= dims; i += n) {
        const V k = Cache::load(key, i);
        s0 = hn::MulAdd(k, hn::LoadU(d, q[0] + i), s0);
        if constexpr (kCount > 1) {
            s1 = hn::MulAdd(k, hn::LoadU(d, q[1] + i), s1);
        }
        if constexpr (kCount > 2) {
            s2 = hn::MulAdd(k, hn::LoadU(d, q[2] + i), s2);
            s3 = hn::MulAdd(k, hn::LoadU(d, q[3] + i), s3);
        }
    }
    out[0] = hn::GetLane(hn::SumOfLanes(d, s0));
    if constexpr (kCount > 1) {
        out[1] = hn::GetLane(hn::SumOfLanes(d, s1));
    }
    if constexpr (kCount > 2) {
        out[2] = hn::GetLane(hn::SumOfLanes(d, s2));
        out[3] = hn::GetLane(hn::SumOfLanes(d, s3));
    }
    if (i < dims) {
        float rest[64]; // of the key; Lanes(d) is at most 16
        dequantise(Cache::kFormat, key + i * Cache::kBytes, rest, dims - i);
        for (int r = 0; r < kCount; ++r) {
            for (std::int64_t j = i; j < dims; ++j) {
                out[r] += q[r][j] * rest[j - i];
            }
        }
    }
}

// acc[r] = acc[r] * keep[r] + sum over keys of weight(r, key) * value(key), for kCount rows.
template <class Cache, int kCount>
HWY_INLINE void add_values(const std::byte* const* values, std::int64_t keys, const float* weights,
                           const float* keep, std::int64_t dims, float* acc) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    std::int64_t i = 0;
    for (; i + 2 * n <= dims; i += 2 * n) {
        V a[kCount];
        V b[kCount];
        HWY_UNROLL(4)
        for (int r = 0; r < kCount; ++r) {
            const V k = hn::Set(d, keep[r]);
            a[r] = hn::Mul(hn::LoadU(d, acc + r * dims + i), k);
            b[r] = hn::Mul(hn::LoadU(d, acc + r * dims + i + n), k);
        }
        for (std::int64_t key = 0; key < keys; ++key) {
            const V v = Cache::load(values[key], i);
            const V w = Cache::load(values[key], i + n);
            HWY_UNROLL(4)
            for (int r = 0; r < kCount; ++r) {
                const V p = hn::Set(d, weights[r * kKeys + key]);
                a[r] = hn::MulAdd(p, v, a[r]);
                b[r] = hn::MulAdd(p, w, b[r]);
            }
        }
        HWY_UNROLL(4)
        for (int r = 0; r < kCount; ++r) {
            hn::StoreU(a[r], d, acc + r * dims + i);
            hn::StoreU(b[r], d, acc + r * dims + i + n);
        }
    }
    if (i < dims) {
        float rest[64];
        for (int r = 0; r < kCount; ++r) {
            scale(acc + r * dims + i, keep[r], dims - i);
        }
        for (std::int64_t key = 0; key < keys; ++key) {
            dequantise(Cache::kFormat, values[key] + i * Cache::kBytes, rest, dims - i);
            for (int r = 0; r < kCount; ++r) {
                for (std::int64_t j = i; j < dims; ++j) {
                    acc[r * dims + j] += weights[r * kKeys + key] * rest[j - i];
                }
            }
        }
    }
}

// Up to four rows over keys [first_key, last_key).
template <class Cache, int kCount>
HWY_INLINE void few(const Rows& rows, std::int64_t row, std::int64_t first_key,
                    std::int64_t last_key, float* most, float* sum, float* acc) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    const Attention& op = rows.op;
    const float* q[kCount];
    std::int64_t seen_from[kCount];
    std::int64_t seen_to[kCount];
    for (int r = 0; r < kCount; ++r) {
        q[r] = rows.query(row + r);
        seen_from[r] = rows.begin(row + r);
        seen_to[r] = rows.end(row + r);
    }
    const V factor = hn::Set(d, op.scale);
    const std::int64_t key_bytes = op.head_dim * Cache::kBytes;
    const std::int64_t value_bytes = op.value_stride * Cache::kBytes;
    const bool shared = op.values == op.keys;
    HWY_ALIGN float weights[4 * kKeys];
    const std::byte* values[kKeys];
    for (std::int64_t base = first_key; base < last_key; base += kKeys) {
        const std::int64_t keys = std::min(kKeys, last_key - base);
        for (std::int64_t key = 0; key < keys; ++key) {
            float s[4];
            const std::byte* k = entry(op, op.keys, rows.kv_head, base + key, key_bytes);
            values[key] = entry(op, op.values, rows.kv_head, base + key, value_bytes);
            const std::int64_t next = std::min(base + key + kAhead, op.length - 1);
            ask_for(entry(op, op.keys, rows.kv_head, next, key_bytes), key_bytes);
            if (!shared) {
                ask_for(entry(op, op.values, rows.kv_head, next, value_bytes), value_bytes);
            }
            dots<Cache, kCount>(q, k, op.head_dim, s);
            for (int r = 0; r < kCount; ++r) {
                weights[r * kKeys + key] = s[r];
            }
        }
        const std::int64_t whole = (keys + n - 1) / n * n;
        float keep[4];
        for (int r = 0; r < kCount; ++r) {
            float* w = weights + r * kKeys;
            std::fill(w + keys, w + whole, 0.0f);
            V largest = hn::Set(d, most[r]);
            for (std::int64_t key = 0; key < whole; key += n) {
                hn::Store(hn::Mul(hn::Load(d, w + key), factor), d, w + key);
            }
            std::fill(w + keys, w + whole, kMasked);
            if (base < seen_from[r] || base + keys > seen_to[r]) {
                for (std::int64_t key = 0; key < keys; ++key) {
                    if (base + key < seen_from[r] || base + key >= seen_to[r]) {
                        w[key] = kMasked;
                    }
                }
            }
            for (std::int64_t key = 0; key < whole; key += n) {
                largest = hn::Max(largest, hn::Load(d, w + key));
            }
            largest = hn::MaxOfLanes(d, largest);
            const float now = hn::GetLane(largest);
            V total = hn::Zero(d);
            for (std::int64_t key = 0; key < whole; key += n) {
                const V e = hn::Exp(d, hn::Sub(hn::Load(d, w + key), largest));
                total = hn::Add(total, e);
                hn::Store(e, d, w + key);
            }
            keep[r] = std::exp(most[r] - now);
            sum[r] = sum[r] * keep[r] + hn::GetLane(hn::SumOfLanes(d, total));
            most[r] = now;
        }
        add_values<Cache, kCount>(values, keys, weights, keep, op.value_dim, acc);
    }
}

// --- many rows -------------------------------------------------------------------------------

constexpr std::int64_t kManyRows = kMostRows;

// Entries of the cache as floats, (kKeys, dims); `stride` values from one to the next.
template <class Cache>
HWY_INLINE void widen(const Attention& op, const std::byte* cache, std::int64_t kv_head,
                      std::int64_t base, std::int64_t keys, std::int64_t dims, std::int64_t stride,
                      float* to) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    const std::int64_t bytes = stride * Cache::kBytes;
    for (std::int64_t key = 0; key < keys; ++key) {
        ask_for(entry(op, cache, kv_head, std::min(base + key + kAhead, op.length - 1), bytes),
                bytes);
        const std::byte* from = entry(op, cache, kv_head, base + key, bytes);
        std::int64_t i = 0;
        for (; i + n <= dims; i += n) {
            hn::StoreU(Cache::load(from, i), d, to + key * dims + i);
        }
        if (i < dims) {
            dequantise(Cache::kFormat, from + i * Cache::kBytes, to + key * dims + i, dims - i);
        }
    }
}

// logits (kKeys, kManyRows) of four keys for the rows in two vectors, from row r on.
HWY_INLINE void logits_4x2(const float* queries, const float* k, std::int64_t dims, std::int64_t r,
                           V factor, float* logits) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    const bool two = r + n < kManyRows;
    const float* k1 = k + dims;
    const float* k2 = k1 + dims;
    const float* k3 = k2 + dims;
    V a0 = hn::Zero(d), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
    const float* q = queries + r;
    const std::int64_t next = two ? n : 0;
    for (std::int64_t i = 0; i < dims; ++i, q += kManyRows) {
        const V qa = hn::Load(d, q);
        const V qb = hn::Load(d, q + next);
        const V v0 = hn::Set(d, k[i]);
        const V v1 = hn::Set(d, k1[i]);
        const V v2 = hn::Set(d, k2[i]);
        const V v3 = hn::Set(d, k3[i]);
        a0 = hn::MulAdd(v0, qa, a0);
        b0 = hn::MulAdd(v0, qb, b0);
        a1 = hn::MulAdd(v1, qa, a1);
        b1 = hn::MulAdd(v1, qb, b1);
        a2 = hn::MulAdd(v2, qa, a2);
        b2 = hn::MulAdd(v2, qb, b2);
        a3 = hn::MulAdd(v3, qa, a3);
        b3 = hn::MulAdd(v3, qb, b3);
    }
    float* to = logits + r;
    hn::Store(hn::Mul(a0, factor), d, to);
    hn::Store(hn::Mul(a1, factor), d, to + kManyRows);
    hn::Store(hn::Mul(a2, factor), d, to + 2 * kManyRows);
    hn::Store(hn::Mul(a3, factor), d, to + 3 * kManyRows);
    hn::Store(hn::Mul(b0, factor), d, to + next);
    hn::Store(hn::Mul(b1, factor), d, to + kManyRows + next);
    hn::Store(hn::Mul(b2, factor), d, to + 2 * kManyRows + next);
    hn::Store(hn::Mul(b3, factor), d, to + 3 * kManyRows + next);
}

// The same of eight keys for the rows in one vector: of few rows, half of what the above makes
// would be thrown away.
HWY_INLINE void logits_8x1(const float* queries, const float* k, std::int64_t dims, std::int64_t r,
                           V factor, float* logits) {
    const D d;
    V sum[8];
    HWY_UNROLL(8)
    for (int key = 0; key < 8; ++key) {
        sum[key] = hn::Zero(d);
    }
    const float* q = queries + r;
    for (std::int64_t i = 0; i < dims; ++i, q += kManyRows) {
        const V rows = hn::Load(d, q);
        HWY_UNROLL(8)
        for (int key = 0; key < 8; ++key) {
            sum[key] = hn::MulAdd(hn::Set(d, k[key * dims + i]), rows, sum[key]);
        }
    }
    HWY_UNROLL(8)
    for (int key = 0; key < 8; ++key) {
        hn::Store(hn::Mul(sum[key], factor), d, logits + key * kManyRows + r);
    }
}

// acc rows r .. r + 3, two vectors of value dimensions from i on: acc * keep + weights * values.
template <int kVectors>
HWY_INLINE void add_values_4(const float* weights, const float* values, std::int64_t stride,
                             std::int64_t keys, std::int64_t dims, std::int64_t r, std::int64_t i,
                             const float* keep, float* acc) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    V a[4];
    V b[4];
    HWY_UNROLL(4)
    for (int j = 0; j < 4; ++j) {
        const V k = hn::Set(d, keep[r + j]);
        a[j] = hn::Mul(hn::LoadU(d, acc + (r + j) * dims + i), k);
        if constexpr (kVectors > 1) {
            b[j] = hn::Mul(hn::LoadU(d, acc + (r + j) * dims + i + n), k);
        }
    }
    for (std::int64_t key = 0; key < keys; ++key) {
        const V v = hn::LoadU(d, values + key * stride + i);
        const V w = kVectors > 1 ? hn::LoadU(d, values + key * stride + i + n) : v;
        HWY_UNROLL(4)
        for (int j = 0; j < 4; ++j) {
            const V p = hn::Set(d, weights[key * kManyRows + r + j]);
            a[j] = hn::MulAdd(p, v, a[j]);
            if constexpr (kVectors > 1) {
                b[j] = hn::MulAdd(p, w, b[j]);
            }
        }
    }
    HWY_UNROLL(4)
    for (int j = 0; j < 4; ++j) {
        hn::StoreU(a[j], d, acc + (r + j) * dims + i);
        if constexpr (kVectors > 1) {
            hn::StoreU(b[j], d, acc + (r + j) * dims + i + n);
        }
    }
}

// A block of up to kManyRows rows from `row` on, over keys [first_key, last_key).
template <class Cache>
void many(const Rows& rows, std::int64_t row, std::int64_t count, std::int64_t first_key,
          std::int64_t last_key, float* most, float* sum, float* acc, float* scratch) {
    const D d;
    const auto n = static_cast<std::int64_t>(hn::Lanes(d));
    const Attention& op = rows.op;
    float* queries = scratch; // (head_dim, kManyRows)
    float* keys_f = queries + op.head_dim * kManyRows;
    float* values_f = keys_f + kKeys * op.head_dim;
    float* logits = values_f + kKeys * op.value_dim; // (kKeys, kManyRows)
    // Of latent attention values are the beginnings of the keys.
    const bool shared = op.values == op.keys;
    const float* const v = shared ? keys_f : values_f;
    const std::int64_t v_stride = shared ? op.head_dim : op.value_dim;
    float* keep = logits + kKeys * kManyRows;
    std::memset(queries, 0, static_cast<std::size_t>(op.head_dim * kManyRows) * sizeof(float));
    for (std::int64_t r = 0; r < count; ++r) {
        const float* q = rows.query(row + r);
        for (std::int64_t i = 0; i < op.head_dim; ++i) {
            queries[i * kManyRows + r] = q[i];
        }
    }
    first_key = std::max(first_key, rows.begin(row)); // rows see later keys, never earlier ones
    last_key = std::min(last_key, rows.end(row + count - 1));
    for (std::int64_t base = first_key; base < last_key; base += kKeys) {
        const std::int64_t keys = std::min(kKeys, last_key - base);
        widen<Cache>(op, op.keys, rows.kv_head, base, keys, op.head_dim, op.head_dim, keys_f);
        if (!shared) {
            widen<Cache>(op, op.values, rows.kv_head, base, keys, op.value_dim, op.value_stride,
                         values_f);
        }
        const std::int64_t whole = (keys + 7) / 8 * 8;
        for (std::int64_t i = keys * op.head_dim; i < whole * op.head_dim; ++i) {
            keys_f[i] = 0;
        }
        const V factor = hn::Set(d, op.scale);
        for (std::int64_t key = 0; key < whole; key += 8) {
            const float* const k = keys_f + key * op.head_dim;
            float* const to = logits + key * kManyRows;
            for (std::int64_t r = 0; r < count; r += 2 * n) {
                if (count - r <= n) {
                    logits_8x1(queries, k, op.head_dim, r, factor, to);
                } else {
                    logits_4x2(queries, k, op.head_dim, r, factor, to);
                    logits_4x2(queries, k + 4 * op.head_dim, op.head_dim, r, factor,
                               to + 4 * kManyRows);
                }
            }
        }
        // Keys that only some rows see.
        if (base < rows.begin(row + count - 1) || base + keys > rows.end(row)) {
            for (std::int64_t r = 0; r < count; ++r) {
                for (std::int64_t key = 0; key < keys; ++key) {
                    if (base + key < rows.begin(row + r) || base + key >= rows.end(row + r)) {
                        logits[key * kManyRows + r] = kMasked;
                    }
                }
            }
        }
        for (std::int64_t r = 0; r < count; r += n) {
            const V before = hn::Load(d, most + r);
            V largest = before;
            for (std::int64_t key = 0; key < keys; ++key) {
                largest = hn::Max(largest, hn::Load(d, logits + key * kManyRows + r));
            }
            V total = hn::Zero(d);
            for (std::int64_t key = 0; key < keys; ++key) {
                float* w = logits + key * kManyRows + r;
                const V e = hn::Exp(d, hn::Sub(hn::Load(d, w), largest));
                total = hn::Add(total, e);
                hn::Store(e, d, w);
            }
            const V kept = hn::Exp(d, hn::Sub(before, largest));
            hn::Store(kept, d, keep + r);
            hn::Store(largest, d, most + r);
            hn::Store(hn::MulAdd(hn::Load(d, sum + r), kept, total), d, sum + r);
        }
        for (std::int64_t r = 0; r < count; r += 4) {
            std::int64_t i = 0;
            for (; i + 2 * n <= op.value_dim; i += 2 * n) {
                add_values_4<2>(logits, v, v_stride, keys, op.value_dim, r, i, keep, acc);
            }
            for (; i + n <= op.value_dim; i += n) {
                add_values_4<1>(logits, v, v_stride, keys, op.value_dim, r, i, keep, acc);
            }
            for (; i < op.value_dim; ++i) {
                for (std::int64_t j = r; j < r + 4; ++j) {
                    float y = acc[j * op.value_dim + i] * keep[j];
                    for (std::int64_t key = 0; key < keys; ++key) {
                        y += logits[key * kManyRows + j] * v[key * v_stride + i];
                    }
                    acc[j * op.value_dim + i] = y;
                }
            }
        }
    }
}

template <class Cache>
void attend(const Attention& op, std::int64_t kv_head, std::int64_t first, std::int64_t last,
            std::int64_t first_key, std::int64_t last_key, float* part, bool fresh,
            float* scratch) {
    const std::int64_t group = op.group_count;
    const Rows rows{op, kv_head, first, group};
    const std::int64_t count = (last - first) * group;
    const std::int64_t held = attention_part_rows(op);
    float* most = part;
    float* sum = most + held;
    float* acc = sum + held;
    if (fresh) {
        std::fill_n(most, held, kNone);
        std::fill_n(sum, held, 0.0f);
        std::fill_n(acc, held * op.value_dim, 0.0f);
    }
    if (op.tokens * group > kFewRows) {
        many<Cache>(rows, 0, count, first_key, last_key, most, sum, acc, scratch);
        return;
    }
    first_key = std::max(first_key, rows.begin(0));
    last_key = std::min(last_key, rows.end(count - 1));
    std::int64_t row = 0;
    const auto step = [&](auto kernel, std::int64_t n) {
        for (; count - row >= n; row += n) {
            kernel(rows, row, first_key, last_key, most + row, sum + row, acc + row * op.value_dim);
        }
    };
    step([](auto&&... a) HWY_ATTR { few<Cache, 4>(a...); }, 4);
    step([](auto&&... a) HWY_ATTR { few<Cache, 2>(a...); }, 2);
    step([](auto&&... a) HWY_ATTR { few<Cache, 1>(a...); }, 1);
}

void ToF16(const float* x, std::byte* to, std::int64_t n) {
    const D d;
    const hn::Rebind<hwy::float16_t, D> half;
    const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
    auto* out = reinterpret_cast<hwy::float16_t*>(to);
    std::int64_t i = 0;
    // Before AVX2 there is no instruction for it, and Highway's emulation does not round to even.
    for (; HWY_TARGET <= HWY_AVX2 && i + lanes <= n; i += lanes) {
        hn::StoreU(hn::DemoteTo(half, hn::LoadU(d, x + i)), half, out + i);
    }
    for (; i < n; ++i) {
        const std::uint16_t h = to_f16(x[i]);
        std::memcpy(to + 2 * i, &h, 2);
    }
}

void Attend(const Attention& op, std::int64_t kv_head, std::int64_t first, std::int64_t last,
            std::int64_t first_key, std::int64_t last_key, float* part, bool fresh,
            float* scratch) {
    switch (op.cache) {
    case Format::F32:
        return attend<F32Cache>(op, kv_head, first, last, first_key, last_key, part, fresh,
                                scratch);
    case Format::F16:
        return attend<F16Cache>(op, kv_head, first, last, first_key, last_key, part, fresh,
                                scratch);
    default:
        return attend<BF16Cache>(op, kv_head, first, last, first_key, last_key, part, fresh,
                                 scratch);
    }
}

} // namespace hs::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace hs::cpu {

HWY_EXPORT(Attend);
HWY_EXPORT(ToF16);

void store_cache(const float* x, Format format, std::byte* to, std::int64_t n) {
    if (format == Format::F32) {
        std::memcpy(to, x, static_cast<std::size_t>(n) * sizeof(float));
    } else if (format == Format::F16) {
        HWY_DYNAMIC_DISPATCH(ToF16)(x, to, n);
    } else {
        for (std::int64_t i = 0; i < n; ++i) {
            const std::uint16_t h = to_bf16(x[i]);
            std::memcpy(to + 2 * i, &h, 2);
        }
    }
}

std::int64_t attention_block_tokens(const Attention& op) {
    return std::max<std::int64_t>(1, kMostRows / op.group_count);
}

std::int64_t attention_part_rows(const Attention& op) {
    return op.tokens * op.group_count <= kFewRows ? kFewRows : kMostRows;
}

std::int64_t attention_part_floats(const Attention& op) {
    return (attention_part_rows(op) * (2 + op.value_dim) + 15) / 16 * 16;
}

std::int64_t attention_scratch_floats(const Attention& op) {
    return op.head_dim * (kMostRows + 64) + op.value_dim * 64 + 64 * kMostRows + kMostRows + 64;
}

void attend(const Attention& op, std::int64_t kv_head, std::int64_t first, std::int64_t last,
            std::int64_t first_key, std::int64_t last_key, float* part, bool fresh,
            float* scratch) {
    HWY_DYNAMIC_DISPATCH(Attend)
    (op, kv_head, first, last, first_key, last_key, part, fresh, scratch);
}

void merge_attention(const Attention& op, std::int64_t kv_head, std::int64_t first,
                     std::int64_t last, const float* parts, std::int64_t stride,
                     std::int64_t count) {
    const std::int64_t group = op.group_count;
    const std::int64_t held = attention_part_rows(op);
    for (std::int64_t row = 0; row < (last - first) * group; ++row) {
        const std::int64_t head =
            kv_head * (op.query_heads / op.kv_heads) + op.group_first + row % group;
        float* out =
            op.out + (first + row / group) * op.out_token_stride + head * op.out_head_stride;
        float most = op.sinks != nullptr ? op.sinks[head] : parts[row];
        for (std::int64_t p = 0; p < count; ++p) {
            most = std::max(most, parts[p * stride + row]);
        }
        float sum = op.sinks != nullptr ? std::exp(op.sinks[head] - most) : 0.0f;
        std::fill_n(out, op.value_dim, 0.0f);
        for (std::int64_t p = 0; p < count; ++p) {
            const float* part = parts + p * stride;
            const float factor = std::exp(part[row] - most);
            sum += factor * part[held + row];
            multiply_add(out, factor, part + 2 * held + row * op.value_dim, op.value_dim);
        }
        scale(out, 1.0f / sum, op.value_dim);
    }
}

} // namespace hs::cpu
#endif // HWY_ONCE
