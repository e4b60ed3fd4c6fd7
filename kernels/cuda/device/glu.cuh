#pragma once
// How gate and up become one, and the sigmoid.

#include "kernels/cuda/abi.h"

namespace hs::cuda {

__device__ inline float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

__device__ inline float glu_of(const Glu& glu, float g, float u) {
    switch (glu.kind) {
    case 1: { // gelu by its tanh form
        const float inner = 0.7978845608028654f * (g + 0.044715f * g * g * g);
        return 0.5f * g * (1.0f + tanhf(inner)) * u;
    }
    case 2: {
        const float most = fminf(g, glu.limit);
        const float within = fminf(fmaxf(u, -glu.limit), glu.limit);
        return (within + 1.0f) * most * sigmoid(glu.alpha * most);
    }
    case 3:
        return glu.beta * tanhf(g / glu.beta) * sigmoid(g) * glu.linear_beta *
               tanhf(u / glu.linear_beta);
    default:
        return g * sigmoid(g) * u;
    }
}

} // namespace hs::cuda
