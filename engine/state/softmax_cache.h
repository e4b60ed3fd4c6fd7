#pragma once
// What one softmax layer keeps per position: keys and values, or one row that is both; in a cache
// that grows with context, or in the ring of a sliding window, which stops growing. Knows positions
// and bytes, not attention.

#include "engine/core/result.h"
#include "engine/core/tensor_view.h"
#include "engine/spec/model_spec.h"
#include "engine/state/ledger.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace hs {

// Positions a ring holds beside its window, so that this many and one can be read at once.
constexpr std::int64_t kRingSlack = 63;

struct CacheShape {
    StateKind kind = StateKind::KvCache;
    std::int64_t keys = 0;   // values of all heads of one position
    std::int64_t values = 0; // likewise; 0: keys alone are kept
    std::int64_t window = 0; // > 0: positions before it are let go
};
CacheShape cache_shape(const SoftmaxSpec& spec);

class SoftmaxCache {
public:
    // dtype F32, F16 or BF16. Errors: OutOfMemory.
    static Result<SoftmaxCache> create(StateLedger& ledger, int layer, const CacheShape& shape,
                                       DType dtype, std::int64_t context_tokens);

    // Makes room for positions up to `positions`. Errors: InvalidArgument past the context,
    // OutOfMemory.
    Result<void> make_room(std::int64_t positions);
    // Says that positions [0, position) are filled; gives memory behind them back.
    void set_position(std::int64_t position);

    std::int64_t position() const { return m_position; }
    std::int64_t position_bytes() const { return m_key_bytes + m_value_bytes; }
    DType dtype() const { return m_dtype; }
    std::byte* keys() const;
    std::byte* values() const; // keys() where keys alone are kept
    // Slots of the ring, or 0 when every position has its own place.
    std::int64_t ring() const { return m_ring; }

    // Without a ring: what positions [from, position()) hold, keys, then values; and the same, or
    // its beginning, put back behind position(), which becomes `to`.
    // Errors: InvalidArgument when the bytes end before `to`, OutOfMemory.
    std::vector<std::byte> copy_tail(std::int64_t from) const;
    Result<void> add_tail(std::int64_t to, std::span<const std::byte> bytes);
    // What the ring holds, for snapshots of it: keys, then values.
    std::vector<std::byte> copy_ring() const;
    // Errors: InvalidArgument when the bytes are not those of a ring at `position`.
    Result<void> restore_ring(std::int64_t position, std::span<const std::byte> bytes);

private:
    std::int64_t slots(std::int64_t positions) const;

    StateLedger* m_ledger = nullptr;
    GrowingBuffer* m_keys = nullptr;
    GrowingBuffer* m_values = nullptr; // null where keys alone are kept
    DType m_dtype = DType::F16;
    std::int64_t m_key_bytes = 0; // of one position
    std::int64_t m_value_bytes = 0;
    std::int64_t m_context_tokens = 0;
    std::int64_t m_ring = 0;
    std::int64_t m_position = 0;
};

} // namespace hs
