#pragma once
// The hybrid ratio of a schedule, full:other in that order.

#include "engine/spec/model_spec.h"

#include <optional>
#include <string>

namespace hs {

struct Ratio {
    std::int64_t full = 0;  // layers
    std::int64_t other = 0; // layers
    std::string text;       // "1:3", "full", "none full", "2:5"
};
Ratio ratio_of(const ModelSpec& spec);

// The same model with the mixer of its first full-attention layer at every layer; empty when it
// has no such layer to copy.
std::optional<ModelSpec> full_attention_twin(const ModelSpec& spec);

} // namespace hs
