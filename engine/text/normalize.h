#pragma once
// What a tokenizer does to a text before cutting it: Unicode normal forms, replacements, prefixes.

#include "engine/text/regex.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

struct Normalizer {
    enum class Kind { Nfc, Nfd, Nfkc, Nfkd, Replace, Prepend, Strip, Lowercase };
    Kind kind = Kind::Nfc;
    std::optional<Regex> pattern; // Replace; none replaces nothing
    std::string content;          // Replace, Prepend
    bool left = true;             // Strip
    bool right = true;
};

// Valid UTF-8 in and out.
std::string normalize(const std::vector<Normalizer>& steps, std::string text, RegexRun& run);

// One of the four normal forms, in time linear in the text but for sorting the marks of one base.
std::string normal_form(Normalizer::Kind form, std::string_view text);

} // namespace hs
