#pragma once
// The hybrid ratio of a schedule, full:other in that order, and changing it.

#include "engine/core/result.h"
#include "engine/spec/model_spec.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

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

// The same with full attention at every layer, made up where the model has none: sparse attention
// that reads all keys, or keys and values as wide as those of its linear layers.
ModelSpec all_full(const ModelSpec& spec);

// A change to a schedule as a person writes it.
struct ScheduleEdit {
    // Which layers have full attention: "" as they are, "full", "none", "1:N" (the last of every
    // N + 1), or a list, "0,4,8".
    std::string full;
    // What the others have: "" what the model's own others have, else "window" or "window N",
    // "gated delta", "KDA" or "lightning", made as wide as the model's full attention.
    std::string other;
    std::int64_t layers = 0; // > 0: the first so many alone

    bool empty() const { return full.empty() && other.empty() && layers == 0; }
    bool operator==(const ScheduleEdit&) const = default;
};

struct EditedSpec {
    ModelSpec spec;
    std::vector<int> changed; // layers whose mixer is another now
    // The model's own weights fit still: nothing changed but windows put over full attention.
    bool keeps_weights = false;
};
// Errors: InvalidArgument for an edit that cannot be read or has no mixer to put in, with what is
// possible.
Result<EditedSpec> edit_schedule(const ModelSpec& spec, const ScheduleEdit& edit);

} // namespace hs
