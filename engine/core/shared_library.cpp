#include "engine/core/shared_library.h"

#include <string>
#include <system_error>

#ifdef _WIN32
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace hs {

#ifdef _WIN32

Result<SharedLibrary> SharedLibrary::open(const char* name) {
    const std::string ascii = name;
    const std::wstring wide(ascii.begin(), ascii.end());
    const HMODULE handle = LoadLibraryExW(wide.c_str(), nullptr, LOAD_LIBRARY_SEARCH_SYSTEM32);
    if (handle == nullptr) {
        return Error{
            ErrorCode::NotFound,
            ascii + ": " + std::system_category().message(static_cast<int>(GetLastError())), ""};
    }
    return SharedLibrary(handle);
}

void* SharedLibrary::find(const char* function) const {
    return reinterpret_cast<void*>(GetProcAddress(static_cast<HMODULE>(m_handle), function));
}

#else

Result<SharedLibrary> SharedLibrary::open(const char* name) {
    void* const handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
        const char* const reason = dlerror();
        return Error{ErrorCode::NotFound, reason != nullptr ? reason : std::string(name), ""};
    }
    return SharedLibrary(handle);
}

void* SharedLibrary::find(const char* function) const {
    return dlsym(m_handle, function);
}

#endif

} // namespace hs
