#include "engine/spec/ratio.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <numeric>

namespace hs {
namespace {

Error unclear(std::string what, std::string remedy) {
    return {ErrorCode::InvalidArgument, std::move(what), std::move(remedy)};
}

bool has_full(const LayerSpec& layer) {
    return is_full(kind_of(layer.mixer));
}

bool has_softmax(const LayerSpec& layer) {
    return !is_linear(kind_of(layer.mixer));
}

std::optional<std::int64_t> whole_number(std::string_view text) {
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value < 0) {
        return std::nullopt;
    }
    return value;
}

// True for layers with full attention.
Result<std::vector<bool>> full_layers(const ModelSpec& spec, std::string_view text) {
    const auto layers = spec.layers.size();
    std::vector<bool> full(layers);
    if (text.empty()) {
        std::transform(spec.layers.begin(), spec.layers.end(), full.begin(), has_full);
        return full;
    }
    if (text == "full" || text == "none") {
        full.assign(layers, text == "full");
        return full;
    }
    if (text.starts_with("1:")) {
        const auto others = whole_number(text.substr(2));
        if (!others) {
            return unclear(fmt::format("\"{}\" is no ratio", text), "Write for example 1:3.");
        }
        for (std::size_t i = 0; i < layers; ++i) {
            full[i] = (static_cast<std::int64_t>(i) + 1) % (*others + 1) == 0;
        }
        return full;
    }
    for (std::size_t at = 0; at <= text.size();) {
        const std::size_t comma = std::min(text.find(',', at), text.size());
        const auto layer = whole_number(text.substr(at, comma - at));
        if (!layer || *layer >= static_cast<std::int64_t>(layers)) {
            return unclear(fmt::format("\"{}\" names no layers of 0 to {}", text, layers - 1),
                           "Write full, none, a ratio like 1:3, or layers like 3,7,11.");
        }
        full[static_cast<std::size_t>(*layer)] = true;
        at = comma + 1;
    }
    return full;
}

// Keys and values as wide as a mixer's own.
SoftmaxSpec softmax_like(const TokenMixerSpec& mixer) {
    SoftmaxSpec full;
    if (const auto* softmax = std::get_if<SoftmaxSpec>(&mixer)) {
        full = *softmax;
        full.window = 0;
        full.indexer.reset();
        return full;
    }
    if (const auto* delta = std::get_if<GatedDeltaSpec>(&mixer)) {
        full.query_heads = delta->value_heads;
        full.kv_heads = delta->key_heads;
        full.head_dim = delta->key_dim;
        full.value_head_dim = delta->value_dim;
    } else if (const auto* kda = std::get_if<KdaSpec>(&mixer)) {
        full.query_heads = full.kv_heads = kda->heads;
        full.head_dim = full.value_head_dim = kda->head_dim;
    } else if (const auto* lightning = std::get_if<LightningSpec>(&mixer)) {
        full.query_heads = full.kv_heads = lightning->heads;
        full.head_dim = full.value_head_dim = lightning->head_dim;
    }
    full.scale = 1.0 / std::sqrt(static_cast<double>(std::max<std::int64_t>(1, full.head_dim)));
    return full;
}

// Full attention for a model's layers: its own, or made up from its first layer that attends at
// all, or from its first.
TokenMixerSpec full_mixer(const ModelSpec& spec) {
    const auto begin = spec.layers.begin();
    const auto end = spec.layers.end();
    const auto own = std::find_if(begin, end, has_full);
    if (own != end) {
        return own->mixer;
    }
    const auto attends = std::find_if(begin, end, has_softmax);
    TokenMixerSpec made = attends != end ? attends->mixer : begin->mixer;
    if (auto* latent = std::get_if<LatentSpec>(&made)) {
        latent->indexer.reset();
        latent->shares_choice = false;
        return made;
    }
    if (auto* compressed = std::get_if<CompressedSpec>(&made)) {
        compressed->window = compressed->rate = 0;
        compressed->indexer.reset();
        return made;
    }
    return softmax_like(made);
}

// What linear mixers made for a model are cut into.
struct Heads {
    std::int64_t count = 0;
    std::int64_t dim = 0;
};
Heads heads_of(const TokenMixerSpec& full) {
    if (const auto* latent = std::get_if<LatentSpec>(&full)) {
        return {latent->query_heads, latent->value_dim};
    }
    if (const auto* compressed = std::get_if<CompressedSpec>(&full)) {
        return {compressed->query_heads, compressed->head_dim};
    }
    const auto& softmax = std::get<SoftmaxSpec>(full);
    return {softmax.query_heads, softmax.value_head_dim};
}

Result<TokenMixerSpec> made_mixer(const TokenMixerSpec& full, std::string_view wish) {
    const Heads heads = heads_of(full);
    if (wish.starts_with("window")) {
        if (std::holds_alternative<LatentSpec>(full)) {
            return unclear("a window goes over full attention with a KV cache, and this model has "
                           "latent attention",
                           "Choose gated delta, KDA or lightning.");
        }
        constexpr std::int64_t kUsualWindow = 512;
        std::string_view size = wish.substr(6);
        size.remove_prefix(std::min(size.find_first_not_of(" ="), size.size()));
        const auto window = size.empty() ? kUsualWindow : whole_number(size).value_or(0);
        if (window < 1) {
            return unclear(fmt::format("\"{}\" is no window", wish),
                           "Write for example window 512.");
        }
        TokenMixerSpec windowed = full;
        if (auto* softmax = std::get_if<SoftmaxSpec>(&windowed)) {
            softmax->window = window;
        } else {
            std::get<CompressedSpec>(windowed).window = window;
        }
        return windowed;
    }
    if (wish == "gated delta") {
        GatedDeltaSpec delta;
        delta.key_heads = delta.value_heads = heads.count;
        delta.key_dim = delta.value_dim = heads.dim;
        return TokenMixerSpec(delta);
    }
    if (wish == "KDA" || wish == "kda") {
        KdaSpec kda;
        kda.heads = heads.count;
        kda.head_dim = kda.decay_rank = kda.gate_rank = heads.dim;
        return TokenMixerSpec(kda);
    }
    if (wish == "lightning") {
        LightningSpec lightning;
        lightning.heads = heads.count;
        lightning.head_dim = heads.dim;
        lightning.qk_norm = true;
        lightning.scale = 1.0 / std::sqrt(static_cast<double>(heads.dim));
        return TokenMixerSpec(lightning);
    }
    return unclear(fmt::format("\"{}\" is no mixer that a layer can be given", wish),
                   "Choose window, window N, gated delta, KDA or lightning.");
}

// A window over the same attention needs no other weights.
bool same_weights(const TokenMixerSpec& before, const TokenMixerSpec& after) {
    const auto* a = std::get_if<SoftmaxSpec>(&before);
    const auto* b = std::get_if<SoftmaxSpec>(&after);
    if (a == nullptr || b == nullptr) {
        return before == after;
    }
    SoftmaxSpec alike = *b;
    alike.window = a->window;
    return alike == *a;
}

} // namespace

Ratio ratio_of(const ModelSpec& spec) {
    Ratio ratio;
    for (const LayerSpec& layer : spec.layers) {
        ++(has_full(layer) ? ratio.full : ratio.other);
    }
    if (ratio.other == 0) {
        ratio.text = "full";
    } else if (ratio.full == 0) {
        ratio.text = "none full";
    } else {
        const std::int64_t common = std::gcd(ratio.full, ratio.other);
        ratio.text =
            std::to_string(ratio.full / common) + ":" + std::to_string(ratio.other / common);
    }
    return ratio;
}

std::optional<ModelSpec> full_attention_twin(const ModelSpec& spec) {
    if (std::none_of(spec.layers.begin(), spec.layers.end(), has_full)) {
        return std::nullopt;
    }
    return all_full(spec);
}

ModelSpec all_full(const ModelSpec& spec) {
    ModelSpec changed = spec;
    if (!spec.layers.empty()) {
        const TokenMixerSpec full = full_mixer(spec);
        for (LayerSpec& layer : changed.layers) {
            layer.mixer = full;
        }
    }
    return changed;
}

Result<EditedSpec> edit_schedule(const ModelSpec& original, const ScheduleEdit& edit) {
    EditedSpec edited;
    ModelSpec& spec = edited.spec;
    spec = original;
    const auto own_layers = static_cast<std::int64_t>(original.layers.size());
    if (own_layers == 0 || edit.layers < 0 || edit.layers > own_layers) {
        return unclear(fmt::format("expected 1 to {} layers, found {}", own_layers, edit.layers),
                       "Take fewer layers than the model has.");
    }
    if (edit.layers > 0) {
        spec.layers.resize(static_cast<std::size_t>(edit.layers));
    }
    const std::vector<bool> full = TRY(full_layers(spec, edit.full));
    const TokenMixerSpec full_one = full_mixer(original);
    std::optional<TokenMixerSpec> other;
    if (!edit.other.empty()) {
        other = TRY(made_mixer(full_one, edit.other));
    } else {
        const auto own = std::find_if_not(original.layers.begin(), original.layers.end(), has_full);
        if (own != original.layers.end()) {
            other = own->mixer;
        }
    }
    for (std::size_t i = 0; i < spec.layers.size(); ++i) {
        TokenMixerSpec& mixer = spec.layers[i].mixer;
        const TokenMixerSpec before = mixer;
        if (full[i] && !has_full(spec.layers[i])) {
            mixer = full_one;
        } else if (!full[i] && (has_full(spec.layers[i]) || !edit.other.empty())) {
            if (!other) {
                return unclear("this model has full attention alone: the other layers need a mixer",
                               "Choose one: window, gated delta, KDA or lightning.");
            }
            mixer = *other;
        }
        if (auto* lightning = std::get_if<LightningSpec>(&mixer);
            lightning != nullptr && mixer != before) {
            lightning->layer_factor = lightning_layer_factor(
                static_cast<std::int64_t>(i), static_cast<std::int64_t>(full.size()));
        }
        if (mixer != before) {
            edited.changed.push_back(static_cast<int>(i));
        }
    }
    edited.keeps_weights = edit.layers == 0 || edit.layers == own_layers;
    for (const int i : edited.changed) {
        const auto at = static_cast<std::size_t>(i);
        edited.keeps_weights =
            edited.keeps_weights && same_weights(original.layers[at].mixer, spec.layers[at].mixer);
    }
    return edited;
}

} // namespace hs
