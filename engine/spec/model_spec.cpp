#include "engine/spec/model_spec.h"

#include "engine/spec/ratio.h"

#include <array>

namespace hs {
namespace {

std::int64_t parameters_of(const SoftmaxSpec& s, std::int64_t hidden) {
    const std::int64_t query_rows = s.query_heads * s.head_dim * (s.output_gate ? 2 : 1);
    const std::int64_t key_rows = s.kv_heads * s.head_dim;
    const std::int64_t value_rows = s.kv_heads * s.value_head_dim;
    const std::int64_t output_columns = s.query_heads * s.value_head_dim;
    std::int64_t n = (query_rows + key_rows + value_rows + output_columns) * hidden;
    if (s.qkv_bias) {
        n += query_rows + key_rows + value_rows;
    }
    if (s.output_bias) {
        n += hidden;
    }
    if (s.qk_norm == QkNorm::PerHead) {
        n += 2 * s.head_dim;
    } else if (s.qk_norm == QkNorm::AllHeads) {
        n += s.query_heads * s.head_dim + key_rows;
    }
    return n;
}

std::int64_t parameters_of(const GatedDeltaSpec& s, std::int64_t hidden) {
    const std::int64_t values = s.value_heads * s.value_dim;
    return (s.conv_channels() + 2 * values + 2 * s.value_heads) * hidden // qkv, z, out, b, a
           + s.conv_channels() * s.conv_kernel + 2 * s.value_heads + s.value_dim;
}

struct ChannelCount {
    std::int64_t total = 0;
    std::int64_t active = 0;
};

ChannelCount parameters_of(const DenseSpec& s, std::int64_t hidden) {
    const std::int64_t n = 3 * s.intermediate * hidden + (s.bias ? 2 * s.intermediate + hidden : 0);
    return {n, n};
}

ChannelCount parameters_of(const MoeSpec& s, std::int64_t hidden) {
    const std::int64_t expert = 3 * s.intermediate * hidden;
    const std::int64_t always = s.experts * hidden + 3 * s.shared_intermediate * hidden +
                                (s.shared_gate ? hidden : 0) + (s.choice_bias ? s.experts : 0);
    return {always + s.experts * expert, always + s.top_k * expert};
}

} // namespace

MixerKind kind_of(const TokenMixerSpec& mixer) {
    if (const auto* softmax = std::get_if<SoftmaxSpec>(&mixer)) {
        return softmax->window > 0 ? MixerKind::SlidingWindow : MixerKind::FullAttention;
    }
    return MixerKind::GatedDelta;
}

const char* to_string(MixerKind kind) {
    constexpr std::array<const char*, 3> names{"full attention", "sliding window", "gated delta"};
    return names[static_cast<std::size_t>(kind)];
}

char letter(MixerKind kind) {
    constexpr std::array<char, 3> letters{'F', 'W', 'L'};
    return letters[static_cast<std::size_t>(kind)];
}

bool is_linear(MixerKind kind) {
    return kind == MixerKind::GatedDelta;
}

ParameterCount count_parameters(const ModelSpec& spec) {
    ParameterCount count;
    count.embedding = spec.vocab * spec.hidden * (spec.tied_embedding ? 1 : 2);
    std::int64_t active_channels = 0;
    std::int64_t norms = spec.hidden;
    for (const LayerSpec& layer : spec.layers) {
        count.token_mixers +=
            std::visit([&](const auto& m) { return parameters_of(m, spec.hidden); }, layer.mixer);
        const ChannelCount channel =
            std::visit([&](const auto& c) { return parameters_of(c, spec.hidden); }, layer.channel);
        count.channel_mixers += channel.total;
        active_channels += channel.active;
        norms += 2 * spec.hidden;
    }
    count.total = count.embedding + count.token_mixers + count.channel_mixers + norms;
    // Of an embedding table one token touches a row; of the output matrix all.
    count.active = spec.vocab * spec.hidden + spec.hidden + count.token_mixers + active_channels +
                   norms - (spec.tied_embedding ? spec.hidden : 0);
    return count;
}

std::string describe_schedule(const ModelSpec& spec) {
    std::array<std::int64_t, 3> counts{};
    for (const LayerSpec& layer : spec.layers) {
        ++counts[static_cast<std::size_t>(kind_of(layer.mixer))];
    }
    std::string parts;
    int kinds = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        if (counts[i] > 0) {
            parts += (kinds++ > 0 ? ", " : "") + std::to_string(counts[i]) + " " +
                     to_string(static_cast<MixerKind>(i));
        }
    }
    if (kinds < 2) {
        return parts;
    }
    return ratio_of(spec).text + " (" + parts + ")";
}

} // namespace hs
