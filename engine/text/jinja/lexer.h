#pragma once
// Template source to tokens, with the white space around tags treated as the published chat
// templates expect: trim_blocks and lstrip_blocks are on, one trailing newline is dropped.

#include "engine/core/result.h"

#include <string>
#include <string_view>
#include <vector>

namespace hs::jinja {

struct Token {
    enum class Kind {
        Text,       // template text outside of tags
        BlockBegin, // {%
        BlockEnd,
        OutputBegin, // {{
        OutputEnd,
        Name,
        String, // text holds the value, escapes resolved
        Integer,
        Real,
        Operator, // text holds it: "+", "==", "[" ...
        End
    };
    Kind kind = Kind::End;
    std::string text;
    int line = 1;
};

// Errors: Corrupt, with the line.
Result<std::vector<Token>> tokenize(std::string_view source);

} // namespace hs::jinja
