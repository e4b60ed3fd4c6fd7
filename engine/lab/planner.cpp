#include "engine/lab/planner.h"

#include "engine/spec/ratio.h"
#include "engine/state/softmax_cache.h"

#include <algorithm>

namespace hs {
namespace {

// One kind of state of one layer, counted from its dimensions alone.
struct KindPlan {
    StateKind kind = StateKind::KvCache;
    std::int64_t bytes_per_entry = 0;
    std::int64_t most_tokens = 0; // 0: without end
    std::int64_t fixed_bytes = 0;
    std::int64_t tokens_per_entry = 1; // entries are of whole numbers of tokens

    std::int64_t bytes_at(std::int64_t tokens) const {
        const std::int64_t kept = most_tokens > 0 ? std::min(tokens, most_tokens) : tokens;
        return kept / tokens_per_entry * bytes_per_entry + fixed_bytes;
    }
};
using LayerPlan = std::vector<KindPlan>; // in the ledger's order

constexpr auto kF32 = static_cast<std::int64_t>(sizeof(float));

KindPlan growing(StateKind kind, std::int64_t values, const StateOptions& options) {
    return {kind, values * info(options.kv_dtype).block_bytes, 0, 0};
}

LayerPlan fixed(std::int64_t matrix_values, std::int64_t conv_values) {
    LayerPlan plan{{StateKind::RecurrentState, 0, 0, matrix_values * kF32}};
    if (conv_values > 0) {
        plan.push_back({StateKind::ConvState, 0, 0, conv_values * kF32});
    }
    return plan;
}

LayerPlan plan_of(const SoftmaxSpec& s, const StateOptions& options) {
    LayerPlan plan{
        growing(StateKind::KvCache, s.kv_heads * (s.head_dim + s.value_head_dim), options)};
    if (s.window > 0) {
        plan.front().kind = StateKind::WindowRing;
        plan.front().most_tokens = s.window + kRingSlack;
    }
    if (s.indexer) {
        plan.push_back(growing(StateKind::IndexerKeys, s.indexer->head_dim, options));
    }
    return plan;
}

LayerPlan plan_of(const LatentSpec& s, const StateOptions& options) {
    LayerPlan plan{growing(StateKind::LatentCache, s.cached_dim(), options)};
    if (s.indexer) {
        plan.push_back(growing(StateKind::IndexerKeys, s.indexer->head_dim, options));
    }
    return plan;
}

// What a compressor holds of the positions that make no whole entry yet, values and gates, at most;
// entries that overlap also need the last one's positions again.
std::int64_t compressor_bytes(const CompressedSpec& s, std::int64_t dim) {
    const std::int64_t own = s.overlapping ? 2 * dim : dim;
    return 2 * ((s.rate - 1) * own + (s.overlapping ? s.rate * dim : 0)) * kF32;
}

LayerPlan plan_of(const CompressedSpec& s, const StateOptions& options) {
    KindPlan rows = growing(StateKind::KvCache, s.head_dim, options);
    if (s.window > 0) {
        rows.kind = StateKind::WindowRing;
        rows.most_tokens = s.window; // nothing runs it yet, so that no slack is needed
    }
    LayerPlan plan{rows};
    if (s.rate > 0) {
        std::int64_t buffers = compressor_bytes(s, s.head_dim);
        const auto entries = [&](StateKind kind, std::int64_t values) {
            KindPlan grows = growing(kind, values, options);
            grows.tokens_per_entry = s.rate;
            plan.push_back(grows);
        };
        entries(StateKind::CompressedCache, s.head_dim);
        if (s.indexer) {
            entries(StateKind::IndexerKeys, s.indexer->head_dim);
            buffers += compressor_bytes(s, s.indexer->head_dim);
        }
        plan.push_back({StateKind::CompressorBuffer, 0, 0, buffers});
    }
    return plan;
}

LayerPlan plan_of(const GatedDeltaSpec& s, const StateOptions&) {
    return fixed(s.value_heads * s.key_dim * s.value_dim, s.conv_channels() * (s.conv_kernel - 1));
}

LayerPlan plan_of(const KdaSpec& s, const StateOptions&) {
    return fixed(s.channels() * s.head_dim, 3 * s.channels() * (s.conv_kernel - 1));
}

LayerPlan plan_of(const LightningSpec& s, const StateOptions&) {
    return fixed(s.heads * s.head_dim * s.head_dim, 0);
}

LayerPlan plan_of(const ModelSpec& spec, const LayerSpec& layer, const StateOptions& options) {
    LayerPlan plan =
        std::visit([&](const auto& mixer) { return plan_of(mixer, options); }, layer.mixer);
    if (layer.ngram) {
        // The positions its convolution reaches back to, and the ids before the last.
        const NgramSpec& ngram = *layer.ngram;
        const std::int64_t conv =
            (ngram.conv_kernel - 1) * ngram.longest * spec.streams.count * spec.hidden * kF32;
        const std::int64_t ids =
            (ngram.longest - 1) * static_cast<std::int64_t>(sizeof(std::int32_t));
        if (plan.back().kind != StateKind::ConvState) {
            plan.push_back({StateKind::ConvState, 0, 0, 0});
        }
        plan.back().fixed_bytes += conv + ids;
    }
    return plan;
}

} // namespace

std::vector<LedgerEntry> predict_state(const ModelSpec& spec, std::int64_t tokens,
                                       const StateOptions& options) {
    std::vector<LedgerEntry> entries;
    for (std::size_t i = 0; i < spec.layers.size(); ++i) {
        for (const KindPlan& plan : plan_of(spec, spec.layers[i], options)) {
            const std::int64_t bytes = plan.bytes_at(tokens);
            entries.push_back({static_cast<int>(i), plan.kind, bytes, bytes});
        }
    }
    return entries;
}

StatePlan plan_state(const ModelSpec& spec, const StateOptions& options) {
    StatePlan total;
    for (const LayerSpec& layer : spec.layers) {
        for (const KindPlan& plan : plan_of(spec, layer, options)) {
            if (plan.most_tokens > 0) {
                total.window_bytes += plan.most_tokens * plan.bytes_per_entry;
            } else {
                total.growth_bytes_per_token += plan.bytes_per_entry / plan.tokens_per_entry;
            }
            total.fixed_bytes += plan.fixed_bytes;
        }
    }
    return total;
}

std::int64_t state_bytes(const ModelSpec& spec, std::int64_t tokens, const StateOptions& options) {
    std::int64_t bytes = 0;
    for (const LayerSpec& layer : spec.layers) {
        for (const KindPlan& plan : plan_of(spec, layer, options)) {
            bytes += plan.bytes_at(tokens);
        }
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
