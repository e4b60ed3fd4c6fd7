#include "engine/text/detokenizer.h"

#include "engine/text/utf8.h"

#include <algorithm>
#include <utility>

namespace hs {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, std::vector<std::string> stop_strings)
    : m_tokenizer(&tokenizer) {
    for (std::string& text : stop_strings) {
        if (text.empty()) {
            continue; // it would end every reply before it began
        }
        std::vector<std::size_t> fallback(text.size(), 0);
        std::size_t matched = 0;
        for (std::size_t i = 1; i < text.size(); ++i) {
            while (matched > 0 && text[i] != text[matched]) {
                matched = fallback[matched - 1];
            }
            matched += text[i] == text[matched] ? 1 : 0;
            fallback[i] = matched;
        }
        m_stops.push_back({std::move(text), std::move(fallback), 0});
    }
}

std::string Detokenizer::push(TokenId id) {
    if (m_stopped || m_tokenizer->is_special(id)) {
        return {};
    }
    m_bytes += m_tokenizer->bytes_of(id, m_start);
    return release(false);
}

std::string Detokenizer::flush() {
    return m_stopped ? std::string() : release(true);
}

std::string Detokenizer::release(bool at_end) {
    const std::string text = utf8::take_text(
        m_bytes,
        m_tokenizer->shows_each_byte() ? utf8::IllFormed::PerByte : utf8::IllFormed::PerStretch,
        at_end ? utf8::More::Ended : utf8::More::MayCome);
    for (const char c : text) {
        m_held.push_back(c);
        std::size_t longest = 0; // of the stop strings that end here
        for (Stop& stop : m_stops) {
            while (stop.matched > 0 && c != stop.text[stop.matched]) {
                stop.matched = stop.fallback[stop.matched - 1];
            }
            stop.matched += c == stop.text[stop.matched] ? 1 : 0;
            if (stop.matched == stop.text.size()) {
                longest = std::max(longest, stop.matched);
                stop.matched = stop.fallback[stop.matched - 1];
            }
        }
        if (longest > 0) {
            m_stopped = true;
            m_held.resize(m_held.size() - std::min(longest, m_held.size()));
            return std::exchange(m_held, {});
        }
    }
    std::size_t keep = 0;
    for (const Stop& stop : m_stops) {
        keep = std::max(keep, at_end ? 0 : stop.matched);
    }
    // A stop string that begins inside a character (ill-formed, or meant for bytes) waits for all
    // of it.
    std::size_t certain = m_held.size() - std::min(keep, m_held.size());
    while (certain > 0 && certain < m_held.size() &&
           (static_cast<unsigned char>(m_held[certain]) & 0xC0) == 0x80) {
        --certain;
    }
    std::string released = m_held.substr(0, certain);
    m_held.erase(0, certain);
    return released;
}

} // namespace hs
