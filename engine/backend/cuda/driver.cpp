#include "engine/backend/cuda/driver.h"

#include "engine/core/shared_library.h"

#include <string>

namespace hs {

namespace {

#ifdef _WIN32
constexpr const char* kLibrary = "nvcuda.dll";
#else
constexpr const char* kLibrary = "libcuda.so.1";
#endif
constexpr const char* kUseTheCpu = "Use the CPU (--device cpu)";
// What the kernels of this program are built with; older drivers cannot read them.
constexpr int kLeastVersion = 13000;

Error no_device(const std::string& what, const std::string& remedy) {
    return {ErrorCode::Device, what, remedy};
}

std::string version_text(int version) {
    return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

Result<Driver> load() {
    const auto opened = SharedLibrary::open(kLibrary);
    if (!opened.ok()) {
        return no_device("no NVIDIA driver: " + opened.error().what,
                         std::string("Install the driver of your card. ") + kUseTheCpu);
    }
    Driver found;
#define HS_CU_TEXT_OF(name) #name
#define HS_CU_TEXT(name) HS_CU_TEXT_OF(name)
#define HS_CU_FIND(function)                                                                       \
    found.function =                                                                               \
        reinterpret_cast<decltype(found.function)>(opened->find(HS_CU_TEXT(function)));            \
    if (found.function == nullptr) {                                                               \
        return no_device("the NVIDIA driver is too old: it lacks " HS_CU_TEXT(function),           \
                         std::string("Install driver 580 or newer. ") + kUseTheCpu);               \
    }
    HS_CU_FUNCTIONS(HS_CU_FIND)
#undef HS_CU_FIND
#undef HS_CU_TEXT
#undef HS_CU_TEXT_OF
    int version = 0;
    if (found.cuDriverGetVersion(&version) == CUDA_SUCCESS && version < kLeastVersion) {
        return no_device("the NVIDIA driver is too old: it knows CUDA " + version_text(version) +
                             ", expected " + version_text(kLeastVersion) + " or newer",
                         std::string("Install driver 580 or newer. ") + kUseTheCpu);
    }
    if (const CUresult result = found.cuInit(0); result == CUDA_ERROR_NO_DEVICE) {
        return no_device("the NVIDIA driver finds no card", kUseTheCpu);
    } else if (result != CUDA_SUCCESS) {
        Error error = driver_error(found, "cuInit", result);
        error.remedy = kUseTheCpu;
        return error;
    }
    return found;
}

} // namespace

Result<const Driver*> driver() {
    static const Result<Driver> loaded = load();
    if (!loaded.ok()) {
        return Error(loaded.error());
    }
    return &*loaded;
}

Error driver_error(const Driver& driver, const char* call, CUresult result) {
    const char* name = nullptr;
    const char* meaning = nullptr;
    driver.cuGetErrorName(result, &name);
    driver.cuGetErrorString(result, &meaning);
    return {result == CUDA_ERROR_OUT_OF_MEMORY ? ErrorCode::OutOfMemory : ErrorCode::Device,
            std::string(call) + ": " + (name != nullptr ? name : "error") + " (" +
                (meaning != nullptr ? meaning : std::to_string(static_cast<int>(result))) + ")",
            ""};
}

} // namespace hs
