#pragma once
// What the rest of the engine knows of the CUDA backend: whether it is here, and how to open it.
// cuda/absent.cpp answers in a build without it.

#include "engine/backend/devices.h"

#include <memory>
#include <vector>

namespace hs {

// One report per GPU, or one that says why there is none.
std::vector<DeviceReport> cuda_devices();

// Errors: Device, with the reason and what the person can do.
Result<std::unique_ptr<Backend>> open_cuda_backend();

} // namespace hs
