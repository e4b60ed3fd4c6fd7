#pragma once
// Bytes from the spec alone: weights, and the state of one sequence at any context. A test holds
// prediction and ledger equal.

#include "engine/mixers/token_mixer.h"
#include "engine/spec/model_spec.h"
#include "engine/state/ledger.h"

#include <cstdint>
#include <vector>

namespace hs {

// What a sequence of `tokens` uses, in the ledger's own order (layer, then kind). Equals the
// ledger's used_bytes to the byte.
std::vector<LedgerEntry> predict_state(const ModelSpec& spec, std::int64_t tokens,
                                       const StateOptions& options);

struct StatePlan {
    std::int64_t growth_bytes_per_token = 0; // of all layers whose state grows without end, mean
    std::int64_t fixed_bytes = 0;            // recurrent and conv state, compressor buffers
    std::int64_t window_bytes = 0;           // rings, at most
};
StatePlan plan_state(const ModelSpec& spec, const StateOptions& options);
std::int64_t state_bytes(const ModelSpec& spec, std::int64_t tokens, const StateOptions& options);
// The context at which this spec's state becomes smaller than that of the same spec with full
// attention at every layer; 0 when it never does or is full already.
std::int64_t break_even_tokens(const ModelSpec& spec, const StateOptions& options);

} // namespace hs
