#include "engine/run/thinking.h"

#include <algorithm>

namespace hs {

namespace {

constexpr std::string_view kOpen = "<think>";
constexpr std::string_view kClose = "</think>";

// Length of the longest end of `text` that begins `tag`.
std::size_t possible_beginning(std::string_view text, std::string_view tag) {
    for (std::size_t n = std::min(text.size(), tag.size() - 1); n > 0; --n) {
        if (text.substr(text.size() - n) == tag.substr(0, n)) {
            return n;
        }
    }
    return 0;
}

} // namespace

void ThinkingSplitter::give(Piece& piece, std::string_view text) {
    if (!m_begun) {
        const std::size_t first = text.find_first_not_of(" \r\n\t");
        text = first == std::string_view::npos ? std::string_view() : text.substr(first);
    }
    m_begun = m_begun || !text.empty();
    (m_thinking ? piece.thinking : piece.text) += text;
}

ThinkingSplitter::Piece ThinkingSplitter::push(std::string_view text) {
    Piece piece;
    m_held += text;
    while (true) {
        const std::string_view tag = m_thinking ? kClose : kOpen;
        const std::size_t at = m_held.find(tag);
        if (at == std::string::npos) {
            break;
        }
        give(piece, std::string_view(m_held).substr(0, at));
        m_held.erase(0, at + tag.size());
        m_thinking = !m_thinking;
        m_begun = false;
    }
    const std::size_t kept = possible_beginning(m_held, m_thinking ? kClose : kOpen);
    give(piece, std::string_view(m_held).substr(0, m_held.size() - kept));
    m_held.erase(0, m_held.size() - kept);
    return piece;
}

ThinkingSplitter::Piece ThinkingSplitter::flush() {
    Piece piece;
    give(piece, m_held);
    m_held.clear();
    return piece;
}

} // namespace hs
