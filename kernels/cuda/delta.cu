// The gated delta mixer between its projections (delta.md section 4.2).

#include "kernels/cuda/device/mixers_chunks.cuh"

using namespace hs::cuda;

namespace {
__device__ unsigned readers[kMostDeltaHeads];
__device__ unsigned writers[kMostDeltaHeads];
} // namespace

// The number is how many quads of key rows a lane holds: key_dim is at most 16 times as much.
#define HS_DELTA(quads)                                                                            \
    extern "C" __global__ void __launch_bounds__(kStepThreads)                                     \
        hs_delta_step_##quads(const __grid_constant__ DeltaParams p) {                             \
        delta_step<quads, false>(p, readers, writers);                                             \
    }                                                                                              \
    extern "C" __global__ void __launch_bounds__(kDeltaThreads)                                    \
        hs_delta_scan_##quads(const __grid_constant__ DeltaParams p) {                             \
        delta_scan<quads, false>(p);                                                               \
    }
HS_DELTA(2)
HS_DELTA(4)
HS_DELTA(8)
HS_DELTA(16)
#undef HS_DELTA

extern "C" __global__ void __launch_bounds__(kRowThreads)
    hs_delta_prepare(const __grid_constant__ DeltaParams p) {
    delta_prepare<false>(p);
}
extern "C" __global__ void __launch_bounds__(kRowThreads)
    hs_delta_finish(const __grid_constant__ DeltaParams p) {
    delta_finish<false>(p);
}
extern "C" __global__ void __launch_bounds__(kRowThreads)
    hs_delta_chunk_prepare(const __grid_constant__ DeltaParams p) {
    delta_chunk_prepare<false>(p);
}
extern "C" __global__ void __launch_bounds__(kChunkThreads)
    hs_delta_chunks(const __grid_constant__ DeltaParams p) {
    delta_chunks<false>(p);
}
