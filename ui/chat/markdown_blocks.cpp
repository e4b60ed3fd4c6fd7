#include "ui/chat/markdown_blocks.h"

#include <algorithm>

namespace hs {

namespace {

qsizetype indent_of(QStringView line) {
    qsizetype n = 0;
    while (n < line.size() && line[n] == QLatin1Char(' ')) {
        ++n;
    }
    return n;
}

// "```" or "~~~", three or more, indented at most three; empty when the line is none.
QString fence_of(QStringView line) {
    const qsizetype indent = indent_of(line);
    if (indent > 3 || indent == line.size()) {
        return {};
    }
    const QChar sign = line[indent];
    if (sign != QLatin1Char('`') && sign != QLatin1Char('~')) {
        return {};
    }
    qsizetype n = indent;
    while (n < line.size() && line[n] == sign) {
        ++n;
    }
    if (n - indent < 3) {
        return {};
    }
    // A backtick later in the line makes it inline code.
    if (sign == QLatin1Char('`') && line.mid(n).contains(QLatin1Char('`'))) {
        return {};
    }
    return line.mid(indent, n - indent).toString();
}

bool closes(QStringView line, const QString& fence) {
    const QStringView trimmed = line.trimmed();
    return indent_of(line) <= 3 && trimmed.size() >= fence.size() &&
           std::all_of(trimmed.begin(), trimmed.end(), [&](QChar c) { return c == fence[0]; });
}

bool starts_list_item(QStringView line) {
    const QStringView text = line.trimmed();
    if (text.size() >= 2 && QStringView(u"-*+").contains(text[0]) && text[1] == QLatin1Char(' ')) {
        return true;
    }
    qsizetype digits = 0;
    while (digits < text.size() && digits < 9 && text[digits].isDigit()) {
        ++digits;
    }
    return digits > 0 && text.size() > digits + 1 &&
           (text[digits] == QLatin1Char('.') || text[digits] == QLatin1Char(')')) &&
           text[digits + 1] == QLatin1Char(' ');
}

bool is_heading(QStringView line) {
    const QStringView text = line.trimmed();
    qsizetype n = 0;
    while (n < text.size() && text[n] == QLatin1Char('#')) {
        ++n;
    }
    return n >= 1 && n <= 6 && n < text.size() && text[n] == QLatin1Char(' ');
}

} // namespace

MarkdownBlock& MarkdownBlocks::open(MarkdownBlock::Kind kind) {
    if (m_blocks.empty() || m_blocks.back().closed || m_blocks.back().kind != kind) {
        close();
        m_blocks.push_back({kind, {}, {}, false});
        m_shown_before.clear();
    }
    m_first_changed = std::min(m_first_changed, m_blocks.size() - 1);
    return m_blocks.back();
}

void MarkdownBlocks::close() {
    if (!m_blocks.empty() && !m_blocks.back().closed) {
        m_blocks.back().closed = true;
        m_first_changed = std::min(m_first_changed, m_blocks.size() - 1);
    }
    m_in_list = false;
    m_blank_before = false;
}

void MarkdownBlocks::take_line(QStringView line) {
    if (!m_fence.isEmpty()) {
        if (closes(line, m_fence)) {
            m_fence.clear();
            close();
            return;
        }
        MarkdownBlock& block = open(MarkdownBlock::Kind::Code);
        block.text += line;
        block.text += QLatin1Char('\n');
        return;
    }
    if (line.trimmed().isEmpty()) {
        // A list may go on after a blank line; anything else ends.
        if (m_in_list) {
            m_blank_before = true;
        } else {
            close();
        }
        return;
    }
    const bool item = starts_list_item(line);
    const bool inside_item = m_in_list && indent_of(line) >= 2;
    const QString fence = inside_item ? QString() : fence_of(line);
    if (!fence.isEmpty()) {
        close();
        m_fence = fence;
        MarkdownBlock& block = open(MarkdownBlock::Kind::Code);
        block.language = line.trimmed().mid(fence.size()).trimmed().toString();
        return;
    }
    if (m_blank_before && !item && !inside_item) {
        close();
    }
    if (is_heading(line) && !m_in_list) {
        close();
    }
    MarkdownBlock& block = open(MarkdownBlock::Kind::Text);
    if (m_blank_before) {
        block.text += QLatin1Char('\n');
        m_blank_before = false;
    }
    block.text += line;
    block.text += QLatin1Char('\n');
    m_in_list = m_in_list || item;
    if (is_heading(line) && !m_in_list) {
        close();
    }
}

// The unfinished line is shown at the end of the open block and taken back when more comes.
void MarkdownBlocks::append(QStringView text) {
    if (m_partial_shown) {
        m_blocks.back().text = m_shown_before;
        if (m_blocks.back().text.isEmpty() && m_blocks.back().kind == MarkdownBlock::Kind::Text) {
            m_blocks.pop_back();
            m_first_changed = std::min(m_first_changed, m_blocks.size());
        } else {
            m_first_changed = std::min(m_first_changed, m_blocks.size() - 1);
        }
        m_partial_shown = false;
    }
    while (true) {
        const qsizetype end = text.indexOf(QLatin1Char('\n'));
        if (end < 0) {
            m_line += text;
            break;
        }
        m_line += text.left(end);
        const QString line = std::exchange(m_line, {});
        take_line(line);
        text = text.mid(end + 1);
    }
    show_partial();
}

void MarkdownBlocks::show_partial() {
    if (m_line.isEmpty()) {
        return;
    }
    // What may still become a fence is not shown as text.
    const QStringView trimmed = QStringView(m_line).trimmed();
    if (trimmed.startsWith(u"```") || trimmed.startsWith(u"~~~") || trimmed == u"``" ||
        trimmed == u"`" || trimmed.isEmpty()) {
        return;
    }
    const MarkdownBlock::Kind kind =
        m_fence.isEmpty() ? MarkdownBlock::Kind::Text : MarkdownBlock::Kind::Code;
    if (m_fence.isEmpty() && !m_blocks.empty() && !m_blocks.back().closed && m_blank_before &&
        !starts_list_item(m_line) && indent_of(m_line) < 2) {
        // Not known yet whether the list goes on: "1" may become "1. ". Shown apart meanwhile.
        if (m_line.size() > 4) {
            close();
        }
    }
    MarkdownBlock& block = open(kind);
    m_shown_before = block.text;
    block.text += m_line;
    m_partial_shown = true;
}

void MarkdownBlocks::finish() {
    append(u"\n");
    m_fence.clear();
    close();
}

void MarkdownBlocks::clear() {
    *this = MarkdownBlocks();
}

std::size_t MarkdownBlocks::take_first_changed() {
    return std::exchange(m_first_changed, m_blocks.size());
}

} // namespace hs
