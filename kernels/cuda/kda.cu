// Kimi delta attention between its projections (delta.md section 5.2).

#include "kernels/cuda/device/mixers_chunks.cuh"

using namespace hs::cuda;

HS_DELTA_KERNELS(kda, true)
