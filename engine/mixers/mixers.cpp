#include "engine/mixers/mixers.h"

#include <array>
#include <cmath>

namespace hs {
namespace {

SoftmaxSpec softmax_example(std::int64_t query_heads, std::int64_t kv_heads, std::int64_t head_dim,
                            std::int64_t rotated) {
    SoftmaxSpec spec;
    spec.query_heads = query_heads;
    spec.kv_heads = kv_heads;
    spec.head_dim = head_dim;
    spec.value_head_dim = head_dim;
    spec.scale = 1.0 / std::sqrt(static_cast<double>(head_dim));
    spec.rope.dims = rotated;
    return spec;
}

std::vector<TokenMixerSpec> full_attention_examples() {
    SoftmaxSpec plain = softmax_example(4, 2, 16, 16);
    SoftmaxSpec gated = softmax_example(6, 2, 24, 6);
    gated.qk_norm = QkNorm::PerHead;
    gated.output_gate = true;
    SoftmaxSpec biased = softmax_example(3, 3, 10, 10);
    biased.qkv_bias = true;
    biased.output_bias = true;
    biased.rope.layout = RopeLayout::Interleaved;
    SoftmaxSpec unrotated = softmax_example(2, 1, 32, 0);
    unrotated.qk_norm = QkNorm::AllHeads;
    return {plain, gated, biased, unrotated};
}

std::vector<TokenMixerSpec> window_examples() {
    SoftmaxSpec small = softmax_example(4, 2, 16, 16);
    small.window = 5;
    SoftmaxSpec normed = softmax_example(4, 1, 16, 8);
    normed.window = 32;
    normed.qk_norm = QkNorm::PerHead;
    SoftmaxSpec sunk = softmax_example(4, 2, 24, 8);
    sunk.value_head_dim = 16;
    sunk.window = 16;
    sunk.sinks = true;
    sunk.value_scale = 0.7;
    return {small, normed, sunk};
}

std::vector<TokenMixerSpec> gated_delta_examples() {
    GatedDeltaSpec equal;
    equal.key_heads = 2;
    equal.value_heads = 2;
    equal.key_dim = 16;
    equal.value_dim = 16;
    GatedDeltaSpec grouped = equal;
    grouped.value_heads = 6;
    grouped.value_dim = 24;
    GatedDeltaSpec tiled = grouped;
    tiled.head_map = HeadMap::Tiled;
    tiled.conv_kernel = 3;
    GatedDeltaSpec strong = equal;
    strong.beta_scale = 2.0;
    strong.key_dim = 10;
    strong.joined_qkv = false;
    return {equal, grouped, tiled, strong};
}

LatentSpec latent_example(std::int64_t query_rank, std::int64_t rotated) {
    LatentSpec spec;
    spec.query_heads = 4;
    spec.nope_dim = 12;
    spec.rope_dim = 8;
    spec.value_dim = 10;
    spec.kv_rank = 16;
    spec.query_rank = query_rank;
    spec.scale = 1.0 / std::sqrt(20.0);
    spec.rope.dims = rotated;
    spec.rope.layout = RopeLayout::Interleaved;
    return spec;
}

std::vector<TokenMixerSpec> latent_examples() {
    LatentSpec gated = latent_example(0, 0);
    gated.output_gate = true;
    return {latent_example(24, 8), gated};
}

std::vector<TokenMixerSpec> sparse_examples() {
    LatentSpec sparse = latent_example(24, 8);
    sparse.indexer = IndexerSpec{.heads = 3, .head_dim = 16, .top_k = 20, .rope = {}};
    sparse.indexer->rope.dims = 8;
    LatentSpec wide = latent_example(0, 8);
    wide.indexer = IndexerSpec{.heads = 2, .head_dim = 10, .top_k = 1000, .rope = {}};
    return {sparse, wide};
}

std::vector<TokenMixerSpec> kda_examples() {
    KdaSpec plain;
    plain.heads = 2;
    plain.head_dim = 16;
    plain.decay_rank = 16;
    plain.gate_rank = 16;
    KdaSpec bounded;
    bounded.heads = 3;
    bounded.head_dim = 10;
    bounded.conv_kernel = 3;
    bounded.decay_rank = 6;
    bounded.decay_bound = -5.0;
    return {plain, bounded};
}

std::vector<TokenMixerSpec> lightning_examples() {
    LightningSpec silu;
    silu.heads = 4;
    silu.head_dim = 16;
    silu.silu = true;
    silu.qkv_per_head = true;
    LightningSpec normed;
    normed.heads = 6;
    normed.head_dim = 10;
    normed.qk_norm = true;
    normed.scale = 1.0 / std::sqrt(10.0);
    normed.norm_groups = 3;
    normed.layer_factor = 0.25;
    normed.rope.dims = 4;
    return {silu, normed};
}

std::vector<ChannelMixerSpec> dense_examples() {
    std::vector<ChannelMixerSpec> all;
    for (const GluSpec::Kind kind : {GluSpec::Kind::Silu, GluSpec::Kind::GeluTanh,
                                     GluSpec::Kind::Clamped, GluSpec::Kind::Situ}) {
        DenseSpec spec;
        spec.intermediate = kind == GluSpec::Kind::Silu ? 40 : 33;
        spec.bias = kind == GluSpec::Kind::GeluTanh;
        spec.glu.kind = kind;
        all.emplace_back(spec);
    }
    return all;
}

std::vector<ChannelMixerSpec> moe_examples() {
    MoeSpec plain;
    plain.experts = 8;
    plain.top_k = 3;
    plain.intermediate = 20;
    MoeSpec shared = plain;
    shared.normalise_top_k = false;
    shared.shared_intermediate = 24;
    shared.shared_gate = true;
    MoeSpec chosen = plain;
    chosen.score = MoeSpec::Score::Sigmoid;
    chosen.choice_bias = true;
    chosen.weight_scale = 2.5;
    MoeSpec grouped = chosen;
    grouped.groups = 4;
    grouped.groups_kept = 2;
    MoeSpec biased = plain;
    biased.score = MoeSpec::Score::SoftmaxOfChosen;
    biased.router_bias = true;
    biased.expert_bias = true;
    biased.glu.kind = GluSpec::Kind::Clamped;
    MoeSpec latent = chosen;
    latent.latent = 28;
    latent.latent_norm = true;
    latent.shared_intermediate = 24;
    return {plain, shared, chosen, grouped, biased, latent};
}

// Kinds of attention that no op computes yet, such as sparse over a KV cache, have no row.
template <MixerKind kKind, typename Spec>
bool is(const TokenMixerSpec& spec) {
    return std::holds_alternative<Spec>(spec) && kind_of(spec) == kKind;
}
bool is_dense(const ChannelMixerSpec& spec) {
    return std::holds_alternative<DenseSpec>(spec);
}
bool is_moe(const ChannelMixerSpec& spec) {
    return std::holds_alternative<MoeSpec>(spec);
}

// REGISTER A MIXER HERE: one row.
constexpr std::array<TokenMixerRow, 7> kTokenMixers{{
    {"full attention", is<MixerKind::FullAttention, SoftmaxSpec>, make_softmax_attention,
     full_attention_examples},
    {"sliding window", is<MixerKind::SlidingWindow, SoftmaxSpec>, make_softmax_attention,
     window_examples},
    {"latent attention", is<MixerKind::Latent, LatentSpec>, make_latent_attention, latent_examples},
    {"sparse attention", is<MixerKind::Sparse, LatentSpec>, make_latent_attention, sparse_examples},
    {"gated delta", is<MixerKind::GatedDelta, GatedDeltaSpec>, make_gated_delta,
     gated_delta_examples},
    {"KDA", is<MixerKind::Kda, KdaSpec>, make_kda, kda_examples},
    {"lightning", is<MixerKind::Lightning, LightningSpec>, make_lightning, lightning_examples},
}};
constexpr std::array<ChannelMixerRow, 2> kChannelMixers{{
    {"dense", is_dense, make_dense, dense_examples},
    {"mixture of experts", is_moe, make_moe, moe_examples},
}};

} // namespace

std::vector<std::byte> MixerState::tail(std::int64_t) const {
    HS_ASSERT(false); // a state that can be cut says what was cut off
    return {};
}

Result<void> MixerState::add_tail(std::int64_t, std::span<const std::byte>) {
    HS_ASSERT(false);
    return {};
}

std::span<const TokenMixerRow> token_mixers() {
    return kTokenMixers;
}

std::span<const ChannelMixerRow> channel_mixers() {
    return kChannelMixers;
}

Result<std::unique_ptr<TokenMixer>> make_token_mixer(const TokenMixerSpec& spec,
                                                     const MixerContext& context) {
    for (const TokenMixerRow& row : kTokenMixers) {
        if (row.answers_to(spec)) {
            return row.create(spec, context);
        }
    }
    return Error{ErrorCode::Unsupported, context.prefix + ": no token mixer of this kind", {}};
}

Result<std::unique_ptr<ChannelMixer>> make_channel_mixer(const ChannelMixerSpec& spec,
                                                         const MixerContext& context) {
    for (const ChannelMixerRow& row : kChannelMixers) {
        if (row.answers_to(spec)) {
            return row.create(spec, context);
        }
    }
    return Error{ErrorCode::Unsupported, context.prefix + ": no channel mixer of this kind", {}};
}

} // namespace hs
