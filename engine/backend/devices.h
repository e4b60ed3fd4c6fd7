#pragma once
// What can run a model here, and the one place that opens it.

#include "engine/backend/backend.h"

#include <memory>
#include <string>
#include <vector>

namespace hs {

struct DeviceOptions {
    std::string device = "auto"; // "cpu", "cuda", "auto"
    int threads = 0;             // CPU: 0 takes all physical cores
};

// Every device that would open, and for those that would not, why.
struct DeviceReport {
    DeviceInfo info;
    bool usable = false;
    std::string reason; // of a device that is not usable
};
std::vector<DeviceReport> list_devices();

// Errors: InvalidArgument for an unknown name, Device when it is absent, with the reason.
Result<std::unique_ptr<Backend>> open_backend(const DeviceOptions& options);

} // namespace hs
