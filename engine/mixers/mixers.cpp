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
    return {small, normed};
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
    return {equal, grouped, tiled, strong};
}

std::vector<ChannelMixerSpec> dense_examples() {
    DenseSpec plain;
    plain.intermediate = 40;
    DenseSpec biased;
    biased.intermediate = 33;
    biased.bias = true;
    return {plain, biased};
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
    return {plain, shared, chosen};
}

bool is_full(const TokenMixerSpec& spec) {
    return kind_of(spec) == MixerKind::FullAttention;
}
bool is_window(const TokenMixerSpec& spec) {
    return kind_of(spec) == MixerKind::SlidingWindow;
}
bool is_gated_delta(const TokenMixerSpec& spec) {
    return kind_of(spec) == MixerKind::GatedDelta;
}
bool is_dense(const ChannelMixerSpec& spec) {
    return std::holds_alternative<DenseSpec>(spec);
}
bool is_moe(const ChannelMixerSpec& spec) {
    return std::holds_alternative<MoeSpec>(spec);
}

// REGISTER A MIXER HERE: one row.
constexpr std::array<TokenMixerRow, 3> kTokenMixers{{
    {"full attention", is_full, make_softmax_attention, full_attention_examples},
    {"sliding window", is_window, make_softmax_attention, window_examples},
    {"gated delta", is_gated_delta, make_gated_delta, gated_delta_examples},
}};
constexpr std::array<ChannelMixerRow, 2> kChannelMixers{{
    {"dense", is_dense, make_dense, dense_examples},
    {"mixture of experts", is_moe, make_moe, moe_examples},
}};

} // namespace

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
