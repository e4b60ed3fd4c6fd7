#include "engine/state/ledger.h"

#include "engine/backend/backend.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

namespace hs {

const char* to_string(StateKind kind) {
    constexpr std::array<const char*, static_cast<std::size_t>(kLastStateKind) + 1> names{
        "KV cache",     "window ring",       "latent cache",    "compressed cache",
        "indexer keys", "compressor buffer", "recurrent state", "conv state"};
    return names[static_cast<std::size_t>(kind)];
}

bool grows_with_context(StateKind kind) {
    return kind < StateKind::CompressorBuffer; // those of fixed size come last
}

struct StateLedger::Account {
    int layer = 0;
    StateKind kind = StateKind::KvCache;
    std::unique_ptr<Buffer> buffer;
    std::int64_t used_bytes = 0;
};

StateLedger::StateLedger(Backend& backend)
    : m_backend(&backend) {}

StateLedger::~StateLedger() = default;

Result<Buffer*> StateLedger::allocate(int layer, StateKind kind, std::int64_t bytes) {
    auto account = std::make_unique<Account>();
    account->layer = layer;
    account->kind = kind;
    account->buffer = TRY(m_backend->allocate(bytes).with_context("layer " + std::to_string(layer) +
                                                                  ", " + to_string(kind)));
    Buffer* const buffer = account->buffer.get();
    m_accounts.push_back(std::move(account));
    return buffer;
}

Result<GrowingBuffer*> StateLedger::reserve(int layer, StateKind kind, std::int64_t most_bytes) {
    std::unique_ptr<GrowingBuffer> reserved =
        TRY(m_backend->reserve(most_bytes)
                .with_context("layer " + std::to_string(layer) + ", " + to_string(kind)));
    GrowingBuffer* const buffer = reserved.get();
    auto account = std::make_unique<Account>();
    account->layer = layer;
    account->kind = kind;
    account->buffer = std::move(reserved);
    m_accounts.push_back(std::move(account));
    return buffer;
}

void StateLedger::set_used(const Buffer* buffer, std::int64_t bytes) {
    const auto it = std::find_if(m_accounts.begin(), m_accounts.end(),
                                 [&](const auto& a) { return a->buffer.get() == buffer; });
    HS_ASSERT(it != m_accounts.end());
    HS_ASSERT(bytes >= 0 && bytes <= (*it)->buffer->bytes());
    (*it)->used_bytes = bytes;
}

std::vector<LedgerEntry> StateLedger::entries() const {
    std::vector<LedgerEntry> all;
    for (const auto& account : m_accounts) {
        all.push_back(
            {account->layer, account->kind, account->buffer->bytes(), account->used_bytes});
    }
    std::stable_sort(all.begin(), all.end(), [](const LedgerEntry& a, const LedgerEntry& b) {
        return std::pair(a.layer, a.kind) < std::pair(b.layer, b.kind);
    });
    std::vector<LedgerEntry> merged;
    for (const LedgerEntry& entry : all) {
        if (!merged.empty() && merged.back().layer == entry.layer &&
            merged.back().kind == entry.kind) {
            merged.back().held_bytes += entry.held_bytes;
            merged.back().used_bytes += entry.used_bytes;
        } else {
            merged.push_back(entry);
        }
    }
    return merged;
}

LedgerTotals StateLedger::totals() const {
    LedgerTotals totals;
    for (const auto& account : m_accounts) {
        totals.held_bytes += account->buffer->bytes();
        totals.used_bytes += account->used_bytes;
    }
    return totals;
}

} // namespace hs
