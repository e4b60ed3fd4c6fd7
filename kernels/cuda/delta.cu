// The gated delta mixer between its projections (delta.md section 4.2).

#include "kernels/cuda/device/mixers_chunks.cuh"

using namespace hs::cuda;

HS_DELTA_KERNELS(delta, false)
