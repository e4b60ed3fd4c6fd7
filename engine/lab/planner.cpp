#include "engine/lab/planner.h"

#include "engine/state/softmax_cache.h"

#include <algorithm>

namespace hs {
namespace {

// What one layer holds, counted from its dimensions alone.
struct LayerPlan {
    StateKind kind = StateKind::KvCache;
    std::int64_t bytes_per_token = 0;
    std::int64_t most_tokens = 0; // 0: without end
    std::int64_t fixed_bytes = 0; // recurrent state
    std::int64_t conv_bytes = 0;
};

LayerPlan plan_of(const SoftmaxSpec& s, const StateOptions& options) {
    LayerPlan plan;
    plan.bytes_per_token =
        s.kv_heads * (s.head_dim + s.value_head_dim) * info(options.kv_dtype).block_bytes;
    if (s.window > 0) {
        plan.kind = StateKind::WindowRing;
        plan.most_tokens = s.window + kRingSlack;
    }
    return plan;
}

LayerPlan plan_of(const GatedDeltaSpec& s, const StateOptions&) {
    constexpr auto f32 = static_cast<std::int64_t>(sizeof(float));
    LayerPlan plan;
    plan.kind = StateKind::RecurrentState;
    plan.fixed_bytes = s.value_heads * s.key_dim * s.value_dim * f32;
    plan.conv_bytes = s.conv_channels() * (s.conv_kernel - 1) * f32;
    return plan;
}

LayerPlan plan_of(const LayerSpec& layer, const StateOptions& options) {
    return std::visit([&](const auto& mixer) { return plan_of(mixer, options); }, layer.mixer);
}

std::int64_t growing_bytes(const LayerPlan& plan, std::int64_t tokens) {
    const std::int64_t kept = plan.most_tokens > 0 ? std::min(tokens, plan.most_tokens) : tokens;
    return kept * plan.bytes_per_token;
}

// The same spec with full attention everywhere: the first full layer's shape at every layer, or,
// where there is none, keys and values as wide as the linear layer's key and value heads.
ModelSpec all_full(const ModelSpec& spec) {
    SoftmaxSpec full;
    const auto first = std::find_if(spec.layers.begin(), spec.layers.end(), [](const LayerSpec& l) {
        return kind_of(l.mixer) == MixerKind::FullAttention;
    });
    if (first != spec.layers.end()) {
        full = std::get<SoftmaxSpec>(first->mixer);
    } else if (!spec.layers.empty()) {
        if (const auto* windowed = std::get_if<SoftmaxSpec>(&spec.layers.front().mixer)) {
            full = *windowed;
            full.window = 0;
        } else if (const auto* delta = std::get_if<GatedDeltaSpec>(&spec.layers.front().mixer)) {
            full.query_heads = delta->value_heads;
            full.kv_heads = delta->key_heads;
            full.head_dim = delta->key_dim;
            full.value_head_dim = delta->value_dim;
        }
    }
    ModelSpec changed = spec;
    for (LayerSpec& layer : changed.layers) {
        layer.mixer = full;
    }
    return changed;
}

} // namespace

std::vector<LedgerEntry> predict_state(const ModelSpec& spec, std::int64_t tokens,
                                       const StateOptions& options) {
    std::vector<LedgerEntry> entries;
    const auto add = [&](std::size_t layer, StateKind kind, std::int64_t bytes) {
        entries.push_back({static_cast<int>(layer), kind, bytes, bytes});
    };
    for (std::size_t i = 0; i < spec.layers.size(); ++i) {
        const LayerPlan plan = plan_of(spec.layers[i], options);
        if (plan.kind != StateKind::RecurrentState) {
            add(i, plan.kind, growing_bytes(plan, tokens));
            continue;
        }
        add(i, StateKind::RecurrentState, plan.fixed_bytes);
        if (plan.conv_bytes > 0) {
            add(i, StateKind::ConvState, plan.conv_bytes);
        }
    }
    return entries;
}

StatePlan plan_state(const ModelSpec& spec, const StateOptions& options) {
    StatePlan total;
    for (const LayerSpec& layer : spec.layers) {
        const LayerPlan plan = plan_of(layer, options);
        if (plan.most_tokens > 0) {
            total.window_bytes += plan.most_tokens * plan.bytes_per_token;
        } else {
            total.growth_bytes_per_token += plan.bytes_per_token;
        }
        total.fixed_bytes += plan.fixed_bytes + plan.conv_bytes;
    }
    return total;
}

std::int64_t state_bytes(const ModelSpec& spec, std::int64_t tokens, const StateOptions& options) {
    std::int64_t bytes = 0;
    for (const LayerSpec& layer : spec.layers) {
        const LayerPlan plan = plan_of(layer, options);
        bytes += growing_bytes(plan, tokens) + plan.fixed_bytes + plan.conv_bytes;
    }
    return bytes;
}

std::int64_t break_even_tokens(const ModelSpec& spec, const StateOptions& options) {
    const ModelSpec full = all_full(spec);
    const StatePlan mine = plan_state(spec, options);
    const StatePlan theirs = plan_state(full, options);
    if (mine.growth_bytes_per_token >= theirs.growth_bytes_per_token) {
        return 0;
    }
    // State never shrinks and grows in straight pieces, so the difference changes sign once.
    std::int64_t low = 0;
    std::int64_t high = 1;
    constexpr std::int64_t longest = std::int64_t{1} << 28; // beyond any context
    while (state_bytes(spec, high, options) >= state_bytes(full, high, options)) {
        if (high >= longest) {
            return 0;
        }
        low = high;
        high *= 2;
    }
    while (high - low > 1) {
        const std::int64_t middle = low + (high - low) / 2;
        if (state_bytes(spec, middle, options) < state_bytes(full, middle, options)) {
            high = middle;
        } else {
            low = middle;
        }
    }
    return high;
}

} // namespace hs
