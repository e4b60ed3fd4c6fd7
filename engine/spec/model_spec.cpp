#include "engine/spec/model_spec.h"

#include "engine/spec/ratio.h"

#include <array>
#include <cmath>

namespace hs {
namespace {

// Of an indexer whose one key head has a norm, as its queries do.
std::int64_t index_parameters(const IndexerSpec& s, std::int64_t hidden) {
    return (s.heads + 1) * s.head_dim * hidden + 2 * s.head_dim;
}

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
    if (s.sinks) {
        n += s.query_heads;
    }
    if (s.qk_norm == QkNorm::PerHead) {
        n += 2 * s.head_dim;
    } else if (s.qk_norm == QkNorm::AllHeads) {
        n += s.query_heads * s.head_dim + key_rows;
    }
    return n + (s.indexer ? index_parameters(*s.indexer, hidden) : 0);
}

std::int64_t parameters_of(const LatentSpec& s, std::int64_t hidden) {
    const std::int64_t queries = s.query_heads * s.query_dim();
    const std::int64_t values = s.query_heads * s.value_dim;
    std::int64_t n = s.query_rank > 0 ? s.query_rank * (hidden + queries + 1) : queries * hidden;
    n += s.cached_dim() * hidden + s.kv_rank                      // kv_a and its norm
         + s.query_heads * (s.nope_dim + s.value_dim) * s.kv_rank // k_b, v_b
         + values * hidden * (s.output_gate ? 2 : 1);             // o, gate
    if (s.indexer) {
        const std::int64_t width = s.query_rank > 0 ? s.query_rank : hidden;
        n += s.indexer->heads * s.indexer->head_dim * width +
             (s.indexer->head_dim + s.indexer->heads) * hidden + 2 * s.indexer->head_dim;
    }
    return n;
}

// What makes entries `dim` wide: values and gates, a weight for every slot, and a norm.
std::int64_t compressor_parameters(const CompressedSpec& s, std::int64_t dim, std::int64_t hidden) {
    const std::int64_t width = dim * (s.overlapping ? 2 : 1);
    return 2 * width * hidden + s.rate * width + dim;
}

std::int64_t parameters_of(const CompressedSpec& s, std::int64_t hidden) {
    const std::int64_t channels = s.query_heads * s.head_dim;
    std::int64_t n = s.query_rank * (hidden + 1 + channels)                  // queries, their norm
                     + s.head_dim * (hidden + 1)                             // rows, their norm
                     + s.output_rank * (channels + s.output_groups * hidden) // output
                     + s.query_heads;                                        // sinks
    if (s.rate > 0) {
        n += compressor_parameters(s, s.head_dim, hidden);
    }
    if (s.indexer) {
        n += s.indexer->heads * (s.indexer->head_dim * s.query_rank + hidden) +
             compressor_parameters(s, s.indexer->head_dim, hidden);
    }
    return n;
}

std::int64_t parameters_of(const GatedDeltaSpec& s, std::int64_t hidden) {
    const std::int64_t values = s.value_heads * s.value_dim;
    return (s.conv_channels() + 2 * values + 2 * s.value_heads) * hidden // qkv, z, out, b, a
           + s.conv_channels() * s.conv_kernel + 2 * s.value_heads + s.value_dim;
}

std::int64_t parameters_of(const KdaSpec& s, std::int64_t hidden) {
    const std::int64_t channels = s.channels();
    const std::int64_t gate =
        s.gate_rank > 0 ? s.gate_rank * (hidden + channels) : channels * hidden;
    return 4 * channels * hidden + gate                            // q, k, v, out
           + s.decay_rank * (hidden + channels) + s.heads * hidden // decay, b
           + 3 * channels * s.conv_kernel + channels + s.heads + s.head_dim;
}

std::int64_t parameters_of(const LightningSpec& s, std::int64_t hidden) {
    const std::int64_t channels = s.heads * s.head_dim;
    return 5 * channels * hidden + channels + (s.qk_norm ? 2 * s.head_dim : 0);
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
    const std::int64_t width = s.latent > 0 ? s.latent : hidden;
    const std::int64_t expert =
        3 * s.intermediate * width + (s.expert_bias ? 2 * s.intermediate + width : 0);
    const std::int64_t always = s.experts * hidden + 3 * s.shared_intermediate * hidden +
                                (s.shared_gate ? hidden : 0) + (s.choice_bias ? s.experts : 0) +
                                (s.router_bias ? s.experts : 0) + 2 * s.latent * hidden +
                                (s.latent_norm ? s.latent : 0);
    return {always + s.experts * expert, always + s.top_k * expert};
}

// Of all layers' two mixers, and of what joins the streams at the end.
std::int64_t parameters_of(const StreamsSpec& s, std::int64_t layers, std::int64_t hidden) {
    if (s.count == 1) {
        return 0;
    }
    const std::int64_t width = s.count * hidden;
    if (s.rank > 0) {
        const std::int64_t mix = width + 2 * s.rank * width;        // norm and both products
        return 2 * layers * (mix + s.count * width) + mix - hidden; // less the final norm
    }
    const std::int64_t weights = (2 + s.count) * s.count;
    return 2 * layers * (weights * (width + 1) + 3) + s.count * (width + 1) + 1;
}

// All but the table.
std::int64_t parameters_of(const NgramSpec& s, std::int64_t streams, std::int64_t hidden) {
    const std::int64_t width = streams * hidden;
    return s.heads * s.row_dim * (width + hidden) + (3 + s.conv_kernel) * width;
}

std::int64_t norms_of(const JoinSpec& join) {
    return (join.norm_before ? 1 : 0) + (join.norm_after ? 1 : 0);
}

} // namespace

std::vector<float> lightning_decay_rates(const LightningSpec& spec) {
    // Powers of two fall evenly; other counts take the slopes of the next lower power of two, then
    // every other slope of the next higher.
    const auto slopes = [](std::int64_t n) {
        std::vector<double> all;
        for (std::int64_t h = 1; h <= n; ++h) {
            all.push_back(std::exp2(-8.0 * static_cast<double>(h) / static_cast<double>(n)));
        }
        return all;
    };
    std::int64_t power = 1;
    while (2 * power <= spec.heads) {
        power *= 2;
    }
    std::vector<double> rates = slopes(spec.even_rates ? spec.heads : power);
    const std::vector<double> finer = slopes(2 * power);
    for (std::size_t i = 0; static_cast<std::int64_t>(rates.size()) < spec.heads; i += 2) {
        rates.push_back(finer[i]);
    }
    std::vector<float> out;
    for (const double rate : rates) {
        out.push_back(static_cast<float>(rate * spec.layer_factor));
    }
    return out;
}

double lightning_layer_factor(std::int64_t layer, std::int64_t layers) {
    const double depth =
        layers > 1 ? static_cast<double>(layer) / static_cast<double>(layers - 1) : 0.0;
    return 1.0 - depth + 1e-5;
}

MixerKind kind_of(const TokenMixerSpec& mixer) {
    struct Kinds {
        MixerKind operator()(const SoftmaxSpec& s) const {
            return s.indexer      ? MixerKind::Sparse
                   : s.window > 0 ? MixerKind::SlidingWindow
                                  : MixerKind::FullAttention;
        }
        MixerKind operator()(const LatentSpec& s) const {
            return s.indexer || s.shares_choice ? MixerKind::Sparse : MixerKind::Latent;
        }
        MixerKind operator()(const CompressedSpec& s) const {
            return s.indexer      ? MixerKind::Sparse
                   : s.rate > 0   ? MixerKind::Compressed
                   : s.window > 0 ? MixerKind::SlidingWindow
                                  : MixerKind::FullAttention;
        }
        MixerKind operator()(const GatedDeltaSpec&) const { return MixerKind::GatedDelta; }
        MixerKind operator()(const KdaSpec&) const { return MixerKind::Kda; }
        MixerKind operator()(const LightningSpec&) const { return MixerKind::Lightning; }
    };
    return std::visit(Kinds{}, mixer);
}

namespace {

struct KindRow {
    const char* name;
    char letter;
    bool linear;
    bool full;
};
constexpr std::array<KindRow, static_cast<std::size_t>(kLastMixerKind) + 1> kKinds{{
    {"full attention", 'F', false, true},
    {"sliding window", 'W', false, false},
    {"latent attention", 'M', false, true},
    {"sparse attention", 'S', false, false},
    {"compressed attention", 'C', false, false},
    {"gated delta", 'D', true, false},
    {"KDA", 'K', true, false},
    {"lightning", 'L', true, false},
}};

const KindRow& row_of(MixerKind kind) {
    return kKinds[static_cast<std::size_t>(kind)];
}

} // namespace

const char* to_string(MixerKind kind) {
    return row_of(kind).name;
}

char letter(MixerKind kind) {
    return row_of(kind).letter;
}

bool is_linear(MixerKind kind) {
    return row_of(kind).linear;
}

bool is_full(MixerKind kind) {
    return row_of(kind).full;
}

ParameterCount count_parameters(const ModelSpec& spec) {
    ParameterCount count;
    count.embedding = spec.vocab * spec.hidden * (spec.tied_embedding ? 1 : 2);
    std::int64_t active_channels = 0;
    std::int64_t norms = spec.hidden;
    std::int64_t around = 0;    // of streams and n-grams
    std::int64_t looked_up = 0; // of tables of n-grams, by one token
    for (const LayerSpec& layer : spec.layers) {
        count.token_mixers +=
            std::visit([&](const auto& m) { return parameters_of(m, spec.hidden); }, layer.mixer);
        const ChannelCount channel =
            std::visit([&](const auto& c) { return parameters_of(c, spec.hidden); }, layer.channel);
        count.channel_mixers += channel.total;
        active_channels += channel.active;
        norms += (norms_of(layer.mixer_join) + norms_of(layer.channel_join)) * spec.hidden;
        if (layer.ngram) {
            count.embedding += layer.ngram->rows * layer.ngram->row_dim;
            looked_up += layer.ngram->heads * layer.ngram->row_dim;
            around += parameters_of(*layer.ngram, spec.streams.count, spec.hidden);
        }
    }
    around +=
        parameters_of(spec.streams, static_cast<std::int64_t>(spec.layers.size()), spec.hidden);
    if (spec.residual_block > 0) {
        norms += (2 * static_cast<std::int64_t>(spec.layers.size()) + 1) * 2 * spec.hidden;
    }
    if (spec.draft) {
        const auto mixer = [&](const auto& m) { return parameters_of(m, spec.hidden); };
        const auto channel = [&](const auto& c) { return parameters_of(c, spec.hidden).total; };
        const std::int64_t own_norms =
            3 + norms_of(spec.draft->mixer_join) + norms_of(spec.draft->channel_join);
        count.draft = std::visit(mixer, spec.draft->mixer) +
                      std::visit(channel, spec.draft->channel) +
                      (2 * spec.hidden + own_norms) * spec.hidden;
    }
    count.total = count.embedding + count.token_mixers + count.channel_mixers + norms + around;
    // Of an embedding table one token touches a row; of the output matrix all.
    count.active = spec.vocab * spec.hidden + spec.hidden + count.token_mixers + active_channels +
                   norms + around + looked_up - (spec.tied_embedding ? spec.hidden : 0);
    return count;
}

std::string describe_schedule(const ModelSpec& spec) {
    std::array<std::int64_t, kKinds.size()> counts{};
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
