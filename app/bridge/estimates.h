#pragma once
// What a model needs at a given context, by term, from the planner; and whether that fits here.
// The window asks this and computes no size itself.

#include "app/bridge/chat_engine.h"

#include <cstdint>
#include <vector>

namespace hs {

struct MemoryEstimate {
    std::int64_t weight_bytes = 0;
    std::int64_t growing_bytes = 0;  // KV caches and window rings at this context
    std::int64_t fixed_bytes = 0;    // recurrent and conv state
    std::int64_t snapshot_bytes = 0; // the budget, as far as snapshots can fill it
    std::int64_t growth_bytes_per_token = 0;
    std::int64_t break_even_tokens = 0; // where it beats its all-full twin; 0: never, or is one
    std::vector<LedgerEntry> entries;   // per layer, for the layer strip

    std::int64_t state_bytes() const { return growing_bytes + fixed_bytes; }
    std::int64_t total_bytes() const { return weight_bytes + state_bytes() + snapshot_bytes; }
    std::int64_t largest_layer_bytes() const;
};

// kv_dtype: "auto", "f32", "f16", "bf16"; "auto" counts as f16.
MemoryEstimate estimate(const ModelSpec& spec, std::int64_t weight_bytes,
                        std::int64_t context_tokens, const std::string& kv_dtype,
                        std::int64_t snapshot_budget_bytes);

} // namespace hs
