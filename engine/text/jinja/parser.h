#pragma once
// Template source to a tree. What the language has beyond chat templates' needs (include, import,
// extends, block, recursive loops) is refused by name.

#include "engine/core/result.h"
#include "engine/text/jinja/syntax.h"

#include <string_view>

namespace hs::jinja {

// Errors: Corrupt or Unsupported, with the template's line.
Result<Body> parse(std::string_view source);

} // namespace hs::jinja
