#pragma once
// Finding added tokens in a text: leftmost, of those the longest, with the neighbours each asks
// for.

#include "engine/text/regex.h"
#include "engine/text/vocabulary.h"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

struct AddedToken {
    TokenId id = -1;
    std::string content;
    bool special = false;
    bool normalized = false;  // matched in the normalized text
    bool single_word = false; // only where no word character touches it
    bool left_strip = false;  // swallows white space before it
    bool right_strip = false;
};

class AddedTokens {
public:
    // The search is quadratic in this in the worst case.
    static constexpr std::size_t kLongest = 512;

    // Errors: Corrupt when a content is too long or all together are.
    Result<void> add(const AddedToken& token);
    bool empty() const { return m_tokens.empty(); }

    struct Match {
        TokenId id = -1;
        Range range;
    };
    // allowed: ranges of the text, ascending and apart, in which tokens may lie (wholly).
    std::vector<Match> matches(std::string_view text, const std::vector<Range>& allowed) const;

private:
    std::vector<AddedToken> m_tokens;
    // A trie: (node, byte) to node, and the token that ends at a node.
    PairMap m_children;
    std::vector<std::int32_t> m_token_at = {-1};
    std::array<bool, 256> m_starts{};
};

} // namespace hs
