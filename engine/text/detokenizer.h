#pragma once
// Ids to text as they come: whole characters only, and nothing that may still become a stop string.

#include "engine/text/tokenizer.h"

#include <cstddef>
#include <string>
#include <vector>

namespace hs {

class Detokenizer {
public:
    explicit Detokenizer(const Tokenizer& tokenizer, std::vector<std::string> stop_strings = {});

    // The text that is now certain. Special tokens give none.
    std::string push(TokenId id);
    // What is held back, with U+FFFD for bytes that never became a character.
    std::string flush();
    // True once a stop string was complete; push returns nothing more. The stop string itself is
    // not part of the text.
    bool stopped() const { return m_stopped; }

private:
    // Knuth, Morris and Pratt: how much of the stop string the text so far ends with.
    struct Stop {
        std::string text;
        std::vector<std::size_t> fallback;
        std::size_t matched = 0;
    };
    std::string release(bool at_end);

    const Tokenizer* m_tokenizer;
    std::vector<Stop> m_stops;
    std::string m_bytes; // not yet a whole character
    std::string m_held;  // characters that may begin a stop string
    Tokenizer::TextStart m_start;
    bool m_stopped = false;
};

} // namespace hs
