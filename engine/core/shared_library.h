#pragma once
// A library of the system that is looked for while the program runs, because it need not be there.

#include "engine/core/result.h"

namespace hs {

// Stays loaded: drivers do not like to be unloaded.
class SharedLibrary {
public:
    // By its name in the system's own folders: "libcuda.so.1", "nvcuda.dll".
    // Errors: NotFound, with the system's reason.
    static Result<SharedLibrary> open(const char* name);

    // The address of a function, or null.
    void* find(const char* function) const;

private:
    explicit SharedLibrary(void* handle)
        : m_handle(handle) {}

    void* m_handle = nullptr;
};

} // namespace hs
