// Kimi delta attention between its projections (delta.md section 5.2).

#include "kernels/cuda/device/mixers_chunks.cuh"

using namespace hs::cuda;

namespace {
__device__ unsigned readers[kMostDeltaHeads];
__device__ unsigned writers[kMostDeltaHeads];
} // namespace

// The number is how many quads of key rows a lane holds: key_dim is at most 16 times as much.
#define HS_DELTA(quads)                                                                            \
    extern "C" __global__ void __launch_bounds__(kStepThreads)                                     \
        hs_kda_step_##quads(const __grid_constant__ DeltaParams p) {                               \
        delta_step<quads, true>(p, readers, writers);                                              \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(kDeltaThreads)                                    \
        hs_kda_scan_##quads(const __grid_constant__ DeltaParams p) {                               \
        delta_scan<quads, true>(p);                                                                \
    }
HS_DELTA(2)
HS_DELTA(4)
HS_DELTA(8)
HS_DELTA(16)
#undef HS_DELTA

extern "C" __global__ void __launch_bounds__(kRowThreads)
    hs_kda_prepare(const __grid_constant__ DeltaParams p) {
    delta_prepare<true>(p);
}
extern "C" __global__ void __launch_bounds__(kRowThreads)
    hs_kda_finish(const __grid_constant__ DeltaParams p) {
    delta_finish<true>(p);
}
extern "C" __global__ void __launch_bounds__(kRowThreads)
    hs_kda_chunk_prepare(const __grid_constant__ DeltaParams p) {
    delta_chunk_prepare<true>(p);
}
extern "C" __global__ void __launch_bounds__(kChunkThreads)
    hs_kda_chunks(const __grid_constant__ DeltaParams p) {
    delta_chunks<true>(p);
}
