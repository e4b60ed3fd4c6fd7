// The CUDA backend of a build without it: says so, and what to do.

#include "engine/backend/cuda/open.h"

namespace hs {

namespace {

constexpr const char* kAbsent = "this build of Hybridscope has no CUDA backend";
constexpr const char* kRemedy = "Use the CPU (--device cpu), which every build has";

} // namespace

std::vector<DeviceReport> cuda_devices() {
    DeviceReport report;
    report.info.name = "CUDA";
    report.info.kind = "cuda";
    report.reason = std::string(kAbsent) + ". " + kRemedy;
    return {report};
}

Result<std::unique_ptr<Backend>> open_cuda_backend() {
    return Error{ErrorCode::Device, kAbsent, kRemedy};
}

} // namespace hs
