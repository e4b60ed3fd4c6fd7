#include "app/bridge/estimates.h"

#include "engine/lab/planner.h"

#include <algorithm>
#include <map>

namespace hs {

namespace {

// A chat keeps about this many snapshots: one per turn boundary that can still be returned to.
constexpr std::int64_t kUsualSnapshots = 16;

StateOptions options_of(const std::string& kv_dtype, std::int64_t context_tokens) {
    StateOptions options;
    options.context_tokens = context_tokens;
    options.kv_dtype = kv_dtype == "f32"    ? DType::F32
                       : kv_dtype == "bf16" ? DType::BF16
                                            : DType::F16;
    return options;
}

} // namespace

std::int64_t MemoryEstimate::largest_layer_bytes() const {
    std::map<int, std::int64_t> layers;
    std::int64_t most = 0;
    for (const LedgerEntry& entry : entries) {
        most = std::max(most, layers[entry.layer] += entry.used_bytes);
    }
    return most;
}

MemoryEstimate estimate(const ModelSpec& spec, std::int64_t weight_bytes,
                        std::int64_t context_tokens, const std::string& kv_dtype,
                        std::int64_t snapshot_budget_bytes) {
    const StateOptions options = options_of(kv_dtype, context_tokens);
    MemoryEstimate result;
    result.weight_bytes = weight_bytes;
    result.entries = predict_state(spec, context_tokens, options);
    for (const LedgerEntry& entry : result.entries) {
        (grows_with_context(entry.kind) ? result.growing_bytes : result.fixed_bytes) +=
            entry.used_bytes;
    }
    result.growth_bytes_per_token = plan_state(spec, options).growth_bytes_per_token;
    result.break_even_tokens = break_even_tokens(spec, options);
    // Only recurrent state is copied by a snapshot; caches are kept by their length.
    result.snapshot_bytes = std::min(snapshot_budget_bytes, kUsualSnapshots * result.fixed_bytes);
    return result;
}

} // namespace hs
