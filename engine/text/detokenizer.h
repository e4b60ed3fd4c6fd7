#pragma once
// Ids to text as they come: whole characters only, and nothing that may still become a stop string.

#include "engine/text/tokenizer.h"

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
    // True once a stop string was complete; push returns nothing more.
    bool stopped() const { return m_stopped; }

private:
    std::string release();

    const Tokenizer* m_tokenizer;
    std::vector<std::string> m_stop_strings;
    std::string m_held;
    bool m_stopped = false;
    bool m_first = true;
};

} // namespace hs
