#include "engine/backend/devices.h"

#include "engine/backend/cuda/open.h"

#include <utility>

namespace hs {

std::vector<DeviceReport> list_devices() {
    std::vector<DeviceReport> reports;
    DeviceReport cpu;
    cpu.info = make_cpu_backend(0)->device();
    cpu.usable = true;
    reports.push_back(std::move(cpu));
    for (DeviceReport& report : cuda_devices()) {
        reports.push_back(std::move(report));
    }
    return reports;
}

Result<std::unique_ptr<Backend>> open_backend(const DeviceOptions& options) {
    if (options.threads < 0 || options.threads > 1024) {
        return Error{ErrorCode::InvalidArgument,
                     "threads: expected 0 to 1024, found " + std::to_string(options.threads),
                     "0 takes all physical cores"};
    }
    if (options.device == "cuda") {
        return open_cuda_backend();
    }
    if (options.device == "auto") {
        if (auto cuda = open_cuda_backend(); cuda.ok()) {
            return cuda;
        }
        return make_cpu_backend(options.threads);
    }
    if (options.device == "cpu") {
        return make_cpu_backend(options.threads);
    }
    return Error{ErrorCode::InvalidArgument, "unknown device \"" + options.device + "\"",
                 "The devices are cpu, cuda and auto"};
}

} // namespace hs
