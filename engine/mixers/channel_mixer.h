#pragma once
// The part of a layer that works within one position.

#include "engine/mixers/token_mixer.h"

namespace hs {

class ChannelMixer {
public:
    virtual ~ChannelMixer() = default;
    // out (T, hidden) for the normed input x (T, hidden).
    virtual void forward(Backend& backend, View<const float, 2> x, const Step& step,
                         View<float, 2> out) const = 0;
};

} // namespace hs
