#include "engine/core/result.h"

#include <cstdio>
#include <cstdlib>

namespace hs {

const char* to_string(ErrorCode code) {
    switch (code) {
    case ErrorCode::InvalidArgument:
        return "invalid argument";
    case ErrorCode::NotFound:
        return "not found";
    case ErrorCode::Corrupt:
        return "corrupt";
    case ErrorCode::Unsupported:
        return "unsupported";
    case ErrorCode::OutOfMemory:
        return "out of memory";
    case ErrorCode::Device:
        return "device";
    case ErrorCode::Io:
        return "input/output";
    }
    return "unknown";
}

Error Error::with_context(std::string_view context) && {
    what = std::string(context) + ": " + what;
    return std::move(*this);
}

std::string Error::text() const {
    if (remedy.empty()) {
        return what;
    }
    return what + ". " + remedy;
}

void assertion_failed(const char* expression, const char* file, int line) {
    std::fprintf(stderr, "hybridscope: broken invariant %s at %s:%d\n", expression, file, line);
    std::abort();
}

} // namespace hs
