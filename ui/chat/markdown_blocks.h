#pragma once
// Cuts Markdown that arrives in pieces into blocks, so that a finished block is laid out once and
// only the last one changes. Knows where blocks end, not what they look like.

#include <QString>
#include <QStringView>

#include <vector>

namespace hs {

struct MarkdownBlock {
    enum class Kind { Text, Code };
    Kind kind = Kind::Text;
    QString text;     // of code: without its fences
    QString language; // of code
    bool closed = false;

    bool operator==(const MarkdownBlock&) const = default;
};

class MarkdownBlocks {
public:
    void append(QStringView text);
    // The end of the message: what is open is closed.
    void finish();
    void clear();

    const std::vector<MarkdownBlock>& blocks() const { return m_blocks; }
    // Blocks before this one have not changed since the last call.
    std::size_t take_first_changed();

private:
    void take_line(QStringView line); // whole, without its line feed
    void show_partial();
    MarkdownBlock& open(MarkdownBlock::Kind kind);
    void close();

    std::vector<MarkdownBlock> m_blocks;
    std::size_t m_first_changed = 0;
    QString m_line;         // the unfinished last line
    QString m_shown_before; // the open block's text without the unfinished line
    bool m_partial_shown = false;
    bool m_blank_before = false; // a blank line came; the next decides whether the block goes on
    bool m_in_list = false;
    QString m_fence; // the fence that closes the code block; empty outside
};

} // namespace hs
