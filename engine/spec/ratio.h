#pragma once
// The hybrid ratio of a schedule, full:other in that order.

#include "engine/spec/model_spec.h"

#include <string>

namespace hs {

struct Ratio {
    std::int64_t full = 0;  // layers
    std::int64_t other = 0; // layers
    std::string text;       // "1:3", "full", "none full", "2:5"
};
Ratio ratio_of(const ModelSpec& spec);

} // namespace hs
