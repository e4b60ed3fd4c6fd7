#pragma once
// Parts a reply into thinking and answer as it streams: <think> ... </think>, whichever of the two
// tags the reply itself carries.

#include <string>
#include <string_view>

namespace hs {

class ThinkingSplitter {
public:
    // opened: the prompt already ended inside a thinking block.
    explicit ThinkingSplitter(bool opened)
        : m_thinking(opened) {}

    struct Piece {
        std::string text;
        std::string thinking;
    };
    // What is now certain; the beginning of a possible tag is held back.
    Piece push(std::string_view text);
    // What was held back after all.
    Piece flush();
    bool thinking() const { return m_thinking; }

private:
    void give(Piece& piece, std::string_view text);

    bool m_thinking;
    bool m_begun = false; // the present part has text: white space after a tag is dropped
    std::string m_held;
};

} // namespace hs
