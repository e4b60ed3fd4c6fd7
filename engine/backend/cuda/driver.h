#pragma once
// NVIDIA's driver, looked up while the program runs: nothing links against it, so one program runs
// with and without a GPU. Included by engine/backend/cuda alone.

#include "engine/core/result.h"

#include <cuda.h> // types and names; every function is found at run time

namespace hs {

// cuda.h renames functions by macro (cuMemAlloc is cuMemAlloc_v2): a member has the renamed name,
// and so has what is looked up.
#define HS_CU_FUNCTIONS(X)                                                                         \
    X(cuInit)                                                                                      \
    X(cuDriverGetVersion)                                                                          \
    X(cuGetErrorName)                                                                              \
    X(cuGetErrorString)                                                                            \
    X(cuDeviceGetCount)                                                                            \
    X(cuDeviceGet)                                                                                 \
    X(cuDeviceGetName)                                                                             \
    X(cuDeviceGetAttribute)                                                                        \
    X(cuDeviceTotalMem)                                                                            \
    X(cuDevicePrimaryCtxRetain)                                                                    \
    X(cuDevicePrimaryCtxRelease)                                                                   \
    X(cuCtxSetCurrent)                                                                             \
    X(cuModuleLoadDataEx)                                                                          \
    X(cuModuleUnload)                                                                              \
    X(cuModuleGetFunction)                                                                         \
    X(cuFuncSetAttribute)                                                                          \
    X(cuStreamCreate)                                                                              \
    X(cuStreamDestroy)                                                                             \
    X(cuStreamSynchronize)                                                                         \
    X(cuMemGetInfo)                                                                                \
    X(cuMemAlloc)                                                                                  \
    X(cuMemFree)                                                                                   \
    X(cuMemAllocHost)                                                                              \
    X(cuMemFreeHost)                                                                               \
    X(cuMemcpyHtoDAsync)                                                                           \
    X(cuMemcpyDtoHAsync)                                                                           \
    X(cuMemsetD8Async)                                                                             \
    X(cuMemAddressReserve)                                                                         \
    X(cuMemAddressFree)                                                                            \
    X(cuMemGetAllocationGranularity)                                                               \
    X(cuMemCreate)                                                                                 \
    X(cuMemRelease)                                                                                \
    X(cuMemMap)                                                                                    \
    X(cuMemUnmap)                                                                                  \
    X(cuMemSetAccess)                                                                              \
    X(cuLaunchKernel)                                                                              \
    X(cuGraphCreate)                                                                               \
    X(cuGraphAddKernelNode)                                                                        \
    X(cuGraphInstantiate)                                                                          \
    X(cuGraphExecKernelNodeSetParams)                                                              \
    X(cuGraphLaunch)                                                                               \
    X(cuGraphExecDestroy)                                                                          \
    X(cuGraphDestroy)

struct Driver {
// A member's name takes no parentheses. NOLINTNEXTLINE(bugprone-macro-parentheses)
#define HS_CU_MEMBER(function) decltype(&::function) function = nullptr;
    HS_CU_FUNCTIONS(HS_CU_MEMBER)
#undef HS_CU_MEMBER
};

// Found and initialised once. Errors: Device, with the reason and what the person can do.
Result<const Driver*> driver();

// "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY (out of memory)"
Error driver_error(const Driver& driver, const char* call, CUresult result);

} // namespace hs

// Calls driver.function(...) and returns its error as a Result.
#define HS_CU_TRY(driver, function, ...)                                                           \
    do {                                                                                           \
        if (const CUresult hs_cu = (driver).function(__VA_ARGS__); hs_cu != CUDA_SUCCESS) {        \
            return ::hs::driver_error((driver), #function, hs_cu);                                 \
        }                                                                                          \
    } while (false)
