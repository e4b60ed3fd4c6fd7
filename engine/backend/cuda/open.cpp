// Finds the CUDA devices and opens one.

#include "engine/backend/cuda/open.h"

#include "engine/backend/cuda/cuda_backend.h"

#include <utility>

namespace hs {

std::vector<DeviceReport> cuda_devices() {
    std::vector<DeviceReport> reports;
    const auto absent = [](const Error& error) {
        DeviceReport report;
        report.info.name = "CUDA";
        report.info.kind = "cuda";
        report.reason = error.text();
        return std::vector<DeviceReport>{report};
    };
    const auto found = driver();
    if (!found.ok()) {
        return absent(found.error());
    }
    int count = 0;
    (*found)->cuDeviceGetCount(&count);
    for (int i = 0; i < count; ++i) {
        DeviceReport report;
        report.info.kind = "cuda";
        report.info.name = "CUDA device " + std::to_string(i);
        auto opened = CudaBackend::open(i);
        report.usable = opened.ok();
        if (opened.ok()) {
            report.info = (*opened)->device();
        } else {
            report.reason = opened.error().text();
        }
        reports.push_back(std::move(report));
    }
    return reports;
}

// The first one; which that is, CUDA_VISIBLE_DEVICES says.
Result<std::unique_ptr<Backend>> open_cuda_backend() {
    return CudaBackend::open(0);
}

} // namespace hs
