#include "engine/text/added_tokens.h"

#include "engine/text/utf8.h"

#include <algorithm>

namespace hs {

namespace {
constexpr std::size_t kMostNodes = 4'000'000;
}

Result<void> AddedTokens::add(const AddedToken& token) {
    if (token.content.empty()) {
        return {};
    }
    if (token.content.size() > kLongest) {
        return Error{ErrorCode::Corrupt,
                     "added token " + std::to_string(token.id) + " is " +
                         std::to_string(token.content.size()) + " bytes long, over the limit of " +
                         std::to_string(kLongest),
                     ""};
    }
    if (m_token_at.size() + token.content.size() > kMostNodes) {
        return Error{ErrorCode::Corrupt, "added tokens are too many or too long", ""};
    }
    std::uint32_t node = 0;
    for (const char c : token.content) {
        const auto byte = static_cast<unsigned char>(c);
        const std::uint64_t child = m_children.find(node, byte);
        if (child == PairMap::kAbsent) {
            const auto made = static_cast<std::uint32_t>(m_token_at.size());
            m_token_at.push_back(-1);
            m_children.put(node, byte, made);
            node = made;
        } else {
            node = static_cast<std::uint32_t>(child);
        }
    }
    if (m_token_at[node] < 0) { // of equal contents the first counts
        m_token_at[node] = static_cast<std::int32_t>(m_tokens.size());
        m_starts[static_cast<unsigned char>(token.content.front())] = true;
        m_tokens.push_back(token);
    }
    return {};
}

std::vector<AddedTokens::Match> AddedTokens::matches(std::string_view text,
                                                     const std::vector<Range>& allowed) const {
    std::vector<Match> found;
    std::size_t taken = 0; // what earlier matches cover
    for (const Range& range : allowed) {
        std::size_t at = range.begin;
        while (at < range.end) {
            if (!m_starts[static_cast<unsigned char>(text[at])]) {
                ++at;
                continue;
            }
            std::int32_t longest = -1;
            std::uint64_t node = 0;
            for (std::size_t i = at; i < range.end; ++i) {
                node = m_children.find(static_cast<std::uint32_t>(node),
                                       static_cast<unsigned char>(text[i]));
                if (node == PairMap::kAbsent) {
                    break;
                }
                longest = m_token_at[node] >= 0 ? m_token_at[node] : longest;
            }
            if (longest < 0) {
                ++at;
                continue;
            }
            const AddedToken& token = m_tokens[static_cast<std::size_t>(longest)];
            Range match{at, at + token.content.size()};
            at = match.end;
            if (token.single_word && (utf8::ends_with_word(text.substr(0, match.begin)) ||
                                      utf8::starts_with_word(text.substr(match.end)))) {
                continue;
            }
            if (match.begin < taken) {
                continue; // begins in white space that the token before swallowed
            }
            if (token.left_strip) {
                const std::string_view before = text.substr(taken, match.begin - taken);
                match.begin -= utf8::white_space_at_end(before);
            }
            if (token.right_strip) {
                match.end += utf8::white_space_at_start(text.substr(match.end));
            }
            taken = match.end;
            found.push_back({token.id, match});
        }
    }
    return found;
}

} // namespace hs
