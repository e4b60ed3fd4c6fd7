#pragma once
// The text of one message: Markdown in blocks, each with its own document. A finished block is
// parsed and laid out once; while text streams in, only the last block is done again. Selection
// with the mouse goes across blocks; code has its own copy button.

#include "ui/chat/markdown_blocks.h"

#include <QTextDocument>
#include <QWidget>

#include <memory>
#include <vector>

namespace hs {

class MessageBody : public QWidget {
    Q_OBJECT

public:
    enum class Format { Markdown, Plain };

    explicit MessageBody(Format format, QWidget* parent = nullptr);

    void set_text(const QString& text); // whole and finished
    void append(const QString& text);
    void finish();
    const QString& text() const { return m_text; }

    bool has_selection() const;
    QString selected_text() const;
    void select_all();
    void clear_selection();
    // Code blocks, for a menu that keyboards reach.
    QStringList code_blocks() const;

    bool hasHeightForWidth() const override { return true; }
    int heightForWidth(int width) const override;
    QSize sizeHint() const override;
    QSize minimumSizeHint() const override;

protected:
    void paintEvent(QPaintEvent* event) override;
    void resizeEvent(QResizeEvent* event) override;
    void changeEvent(QEvent* event) override;
    void mousePressEvent(QMouseEvent* event) override;
    void mouseMoveEvent(QMouseEvent* event) override;
    void mouseReleaseEvent(QMouseEvent* event) override;
    void mouseDoubleClickEvent(QMouseEvent* event) override;

private:
    struct Block {
        std::unique_ptr<QTextDocument> document;
        MarkdownBlock::Kind kind = MarkdownBlock::Kind::Text;
        QString language;
        QString code;
        double top = 0;
        double height = 0; // with its frame
    };
    struct Place {
        int block = -1;
        int position = 0;
        auto operator<=>(const Place&) const = default;
    };

    void rebuild_from(std::size_t first);
    Block make_block(const MarkdownBlock& source, bool as_markdown) const;
    void lay_out(int width) const;
    Place place_at(const QPointF& point) const;
    QRectF copy_button(const Block& block) const;
    QString anchor_at(const QPointF& point) const;
    QPointF origin(const Block& block) const;

    Format m_format;
    QString m_text;
    MarkdownBlocks m_source;
    mutable std::vector<Block> m_blocks;
    mutable int m_laid_out_width = -1;
    mutable double m_height = 0;
    Place m_anchor;
    Place m_end;
    QString m_pressed_link;
    int m_copied_block = -1;
};

} // namespace hs
