#include "engine/state/softmax_cache.h"

#include "engine/backend/backend.h"

#include <algorithm>
#include <string>

namespace hs {
namespace {

// Caches grow by this many positions at a time: a call to the system per token would be felt, and
// more would show memory as held that no token needs.
constexpr std::int64_t kGrowthTokens = 128;

} // namespace

CacheShape cache_shape(const SoftmaxSpec& spec) {
    return {.kind = spec.window > 0 ? StateKind::WindowRing : StateKind::KvCache,
            .keys = spec.kv_heads * spec.head_dim,
            .values = spec.kv_heads * spec.value_head_dim,
            .window = spec.window};
}

Result<SoftmaxCache> SoftmaxCache::create(StateLedger& ledger, int layer, const CacheShape& shape,
                                          DType dtype, std::int64_t context_tokens) {
    HS_ASSERT(dtype == DType::F32 || dtype == DType::F16 || dtype == DType::BF16);
    HS_ASSERT(context_tokens > 0);
    SoftmaxCache cache;
    cache.m_ledger = &ledger;
    cache.m_dtype = dtype;
    cache.m_key_bytes = row_bytes(dtype, shape.keys);
    cache.m_value_bytes = row_bytes(dtype, shape.values);
    cache.m_context_tokens = context_tokens;
    const bool ring = shape.window > 0 && shape.window + kRingSlack < context_tokens;
    cache.m_ring = ring ? shape.window + kRingSlack : 0;
    const std::int64_t most = ring ? cache.m_ring : context_tokens;
    cache.m_keys = TRY(ledger.reserve(layer, shape.kind, most * cache.m_key_bytes));
    if (shape.values > 0) {
        cache.m_values = TRY(ledger.reserve(layer, shape.kind, most * cache.m_value_bytes));
    }
    return cache;
}

std::int64_t SoftmaxCache::slots(std::int64_t positions) const {
    return m_ring > 0 ? std::min(positions, m_ring) : positions;
}

Result<void> SoftmaxCache::make_room(std::int64_t positions) {
    if (positions > m_context_tokens) {
        return Error{ErrorCode::InvalidArgument,
                     "expected at most " + std::to_string(m_context_tokens) +
                         " tokens of context, found " + std::to_string(positions),
                     "Open the model with a longer context."};
    }
    const std::int64_t needed = slots(positions);
    if (needed * m_key_bytes <= m_keys->bytes() &&
        (m_values == nullptr || needed * m_value_bytes <= m_values->bytes())) {
        return {};
    }
    const std::int64_t rounded = (needed + kGrowthTokens - 1) / kGrowthTokens * kGrowthTokens;
    const std::int64_t grown = std::min(rounded, m_ring > 0 ? m_ring : m_context_tokens);
    TRY(m_keys->grow(grown * m_key_bytes));
    if (m_values != nullptr) {
        TRY(m_values->grow(grown * m_value_bytes));
    }
    return {};
}

void SoftmaxCache::set_position(std::int64_t position) {
    const bool back = position < m_position;
    m_position = position;
    const std::int64_t filled = slots(position);
    m_ledger->set_used(m_keys, filled * m_key_bytes);
    if (m_values != nullptr) {
        m_ledger->set_used(m_values, filled * m_value_bytes);
    }
    if (back) {
        m_keys->shrink(filled * m_key_bytes);
        if (m_values != nullptr) {
            m_values->shrink(filled * m_value_bytes);
        }
    }
}

std::byte* SoftmaxCache::keys() const {
    return m_keys->data();
}

std::byte* SoftmaxCache::values() const {
    return m_values != nullptr ? m_values->data() : keys();
}

std::vector<std::byte> SoftmaxCache::copy_tail(std::int64_t from) const {
    HS_ASSERT(m_ring == 0 && from >= 0 && from <= m_position);
    const auto key_bytes = static_cast<std::size_t>((m_position - from) * m_key_bytes);
    const auto value_bytes = static_cast<std::size_t>((m_position - from) * m_value_bytes);
    std::vector<std::byte> bytes(key_bytes + value_bytes);
    if (!bytes.empty()) {
        Backend& backend = m_ledger->backend();
        backend.copy_out({bytes.data(), key_bytes}, keys() + from * m_key_bytes);
        if (value_bytes > 0) {
            backend.copy_out({bytes.data() + key_bytes, value_bytes},
                             values() + from * m_value_bytes);
        }
    }
    return bytes;
}

Result<void> SoftmaxCache::add_tail(std::int64_t to, std::span<const std::byte> bytes) {
    HS_ASSERT(m_ring == 0 && to >= m_position);
    const auto held = static_cast<std::int64_t>(bytes.size()) / (m_key_bytes + m_value_bytes);
    const std::int64_t count = to - m_position;
    if (count > held) {
        return Error{ErrorCode::InvalidArgument,
                     "expected " + std::to_string(count) + " positions to put back, found " +
                         std::to_string(held),
                     {}};
    }
    TRY(make_room(to));
    if (count > 0) {
        Backend& backend = m_ledger->backend();
        backend.copy_in(keys() + m_position * m_key_bytes,
                        bytes.first(static_cast<std::size_t>(count * m_key_bytes)));
        if (m_value_bytes > 0) {
            backend.copy_in(values() + m_position * m_value_bytes,
                            bytes.subspan(static_cast<std::size_t>(held * m_key_bytes),
                                          static_cast<std::size_t>(count * m_value_bytes)));
        }
    }
    set_position(to);
    return {};
}

std::vector<std::byte> SoftmaxCache::copy_ring() const {
    const auto key_bytes = static_cast<std::size_t>(slots(m_position) * m_key_bytes);
    const auto value_bytes = static_cast<std::size_t>(slots(m_position) * m_value_bytes);
    std::vector<std::byte> bytes(key_bytes + value_bytes);
    if (!bytes.empty()) {
        Backend& backend = m_ledger->backend();
        backend.copy_out({bytes.data(), key_bytes}, keys());
        backend.copy_out({bytes.data() + key_bytes, value_bytes}, values());
    }
    return bytes;
}

Result<void> SoftmaxCache::restore_ring(std::int64_t position, std::span<const std::byte> bytes) {
    const auto key_bytes = static_cast<std::size_t>(slots(position) * m_key_bytes);
    const auto value_bytes = static_cast<std::size_t>(slots(position) * m_value_bytes);
    if (bytes.size() != key_bytes + value_bytes) {
        return Error{ErrorCode::InvalidArgument,
                     "expected a window ring of " + std::to_string(key_bytes + value_bytes) +
                         " bytes, found " + std::to_string(bytes.size()),
                     {}};
    }
    TRY(make_room(position));
    if (!bytes.empty()) {
        Backend& backend = m_ledger->backend();
        backend.copy_in(keys(), bytes.first(key_bytes));
        backend.copy_in(values(), bytes.subspan(key_bytes));
    }
    set_position(position);
    return {};
}

} // namespace hs
