#pragma once
// Cutting a normalized text into the pieces that are merged one by one.

#include "engine/text/regex.h"

#include <optional>
#include <string>
#include <vector>

namespace hs {

enum class SplitBehavior { Isolated, Removed, MergedWithPrevious, MergedWithNext, Contiguous };
enum class PrependScheme { Never, First, Always };

struct PreTokenizer {
    enum class Kind { Split, Metaspace, PrefixSpace };
    Kind kind = Kind::Split;
    std::optional<Regex> pattern; // Split; Metaspace: its replacement, as a pattern
    SplitBehavior behavior = SplitBehavior::Isolated;
    bool invert = false;
    std::string replacement; // Metaspace, for a space
    PrependScheme prepend = PrependScheme::Never;
    bool split = true; // Metaspace
};

// A text and the pieces it is cut into, in order.
struct Pieces {
    std::string text;
    std::vector<Range> ranges;
    bool starts_text = false; // the first piece is the start of the whole text
};

void pre_tokenize(const std::vector<PreTokenizer>& steps, Pieces& pieces, RegexRun& run);

// One range as matches and gaps, put together as the behaviour says; appended to `out`.
void apply_split(const std::vector<Range>& matches, Range whole, SplitBehavior behavior,
                 bool invert, std::vector<Range>& out);

} // namespace hs
