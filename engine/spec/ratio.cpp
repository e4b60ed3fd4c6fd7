#include "engine/spec/ratio.h"

#include <algorithm>
#include <numeric>

namespace hs {

Ratio ratio_of(const ModelSpec& spec) {
    Ratio ratio;
    for (const LayerSpec& layer : spec.layers) {
        if (is_full(kind_of(layer.mixer))) {
            ++ratio.full;
        } else {
            ++ratio.other;
        }
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
    const auto full = std::find_if(spec.layers.begin(), spec.layers.end(),
                                   [](const auto& layer) { return is_full(kind_of(layer.mixer)); });
    if (full == spec.layers.end()) {
        return std::nullopt;
    }
    const TokenMixerSpec mixer = full->mixer;
    ModelSpec twin = spec;
    for (LayerSpec& layer : twin.layers) {
        layer.mixer = mixer;
    }
    return twin;
}

} // namespace hs
