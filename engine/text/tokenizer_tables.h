#pragma once
// The parts of a tokenizer.json as they stand in the file, not yet checked against each other.
// Private to engine/text.

#include "engine/core/json.h"
#include "engine/core/result.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

// The two big tables apart, as text in one arena; everything else as a tree.
struct TokenizerTables {
    struct Text {
        std::size_t offset = 0;
        std::size_t length = 0;
    };
    struct Entry {
        Text text;
        std::int64_t id = -1;
    };
    struct Merge {
        Text left;
        Text right;
    };
    std::string arena;
    std::vector<Entry> vocabulary;
    std::vector<Merge> merges;
    Json rest = Json::object();

    Text keep(std::string_view text) {
        const Text kept{arena.size(), text.size()};
        arena += text;
        return kept;
    }
    std::string_view view(Text text) const {
        return std::string_view(arena).substr(text.offset, text.length);
    }
    // "left right", in which neither has a space.
    bool keep_merge(std::string_view line) {
        const std::size_t space = line.find(' ');
        if (space == std::string_view::npos || space == 0 || space + 1 == line.size() ||
            line.find(' ', space + 1) != std::string_view::npos) {
            return false;
        }
        const Text left = keep(line.substr(0, space));
        merges.push_back({left, keep(line.substr(space + 1))});
        return true;
    }
};

// Errors: Corrupt.
Result<TokenizerTables> tokenizer_tables(const Json& json);
// From the file's text, in one pass and without a tree of the two tables.
Result<TokenizerTables> tokenizer_tables_of_text(std::string_view text);

} // namespace hs
