#pragma once
// StateLedger: the account of every byte a sequence holds, per layer and per kind. Mixers allocate
// their state through it; plots, planner check, inspector and reports read it. Nothing recomputes
// a size beside it.

#include "engine/core/result.h"

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace hs {

class Backend;
class Buffer;
class GrowingBuffer;

enum class StateKind {
    KvCache,
    WindowRing,
    LatentCache,
    CompressedCache,
    IndexerKeys,
    CompressorBuffer, // positions that do not make a whole entry yet
    RecurrentState,
    ConvState
};
inline constexpr StateKind kLastStateKind = StateKind::ConvState;
const char* to_string(StateKind kind);   // "KV cache", "window ring", "recurrent state" ...
bool grows_with_context(StateKind kind); // up to a window or without end

// One line of the account. `held` is what the device gave (whole pages), `used` what tokens fill.
struct LedgerEntry {
    int layer = 0;
    StateKind kind = StateKind::KvCache;
    std::int64_t held_bytes = 0;
    std::int64_t used_bytes = 0;

    bool operator==(const LedgerEntry&) const = default;
};

struct LedgerTotals {
    std::int64_t held_bytes = 0;
    std::int64_t used_bytes = 0;
};

class StateLedger {
public:
    explicit StateLedger(Backend& backend);
    ~StateLedger();
    StateLedger(const StateLedger&) = delete;
    StateLedger& operator=(const StateLedger&) = delete;

    // Fixed-size state, zeroed. The ledger owns it; the pointer stays valid as long as the ledger.
    Result<Buffer*> allocate(int layer, StateKind kind, std::int64_t bytes);
    // State that grows with context, up to most_bytes.
    Result<GrowingBuffer*> reserve(int layer, StateKind kind, std::int64_t most_bytes);
    // Mixers say what tokens fill after each change.
    void set_used(const Buffer* buffer, std::int64_t bytes);

    // Sorted by layer, then kind; buffers of one layer and kind are one entry.
    std::vector<LedgerEntry> entries() const;
    LedgerTotals totals() const;
    Backend& backend() const { return *m_backend; }

private:
    struct Account;
    Backend* m_backend;
    std::vector<std::unique_ptr<Account>> m_accounts;
};

} // namespace hs
