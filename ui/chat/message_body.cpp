#include "ui/chat/message_body.h"

#include "ui/shared/theme.h"

#include <QAbstractTextDocumentLayout>
#include <QApplication>
#include <QClipboard>
#include <QDesktopServices>
#include <QMouseEvent>
#include <QPainter>
#include <QTextBlock>
#include <QTextCursor>
#include <QTextFrame>
#include <QTextTable>
#include <QTimer>
#include <QUrl>

#include <algorithm>
#include <cmath>

namespace hs {

namespace {

constexpr double kBlockGap = 8.0;
constexpr double kCodePadding = 10.0;
// Above this an open block is shown plain until it closes: parsing it thirty times a second would
// be felt (measured: about 1 ms per 700 characters on two shared cores).
constexpr qsizetype kMostLiveMarkdown = 2000;

// Qt's importer makes headings and code too loud for a page of conversation.
void tone_down(QTextDocument& document, const Colours& c, const QFont& font) {
    const QFont mono = mono_font(font);
    for (QTextBlock block = document.begin(); block.isValid(); block = block.next()) {
        QTextCursor cursor(block);
        QTextBlockFormat block_format;
        block_format.setLineHeight(128, QTextBlockFormat::ProportionalHeight);
        cursor.mergeBlockFormat(block_format);
        const int level = block.blockFormat().headingLevel();
        if (level > 0) {
            cursor.select(QTextCursor::BlockUnderCursor);
            QTextCharFormat format;
            format.setProperty(QTextFormat::FontSizeAdjustment, 0);
            format.setFontPointSize(font.pointSizeF() * (level == 1   ? 1.3
                                                         : level == 2 ? 1.18
                                                                      : 1.06));
            format.setFontWeight(QFont::DemiBold);
            cursor.mergeCharFormat(format);
        }
        std::vector<std::pair<int, int>> code;
        std::vector<std::pair<int, int>> links;
        for (auto it = block.begin(); !it.atEnd(); ++it) {
            const QTextFragment fragment = it.fragment();
            if (fragment.charFormat().fontFixedPitch()) {
                code.emplace_back(fragment.position(), fragment.length());
            }
            if (fragment.charFormat().isAnchor()) {
                links.emplace_back(fragment.position(), fragment.length());
            }
        }
        const auto restyle = [&](std::pair<int, int> range, const QTextCharFormat& format) {
            QTextCursor part(&document);
            part.setPosition(range.first);
            part.setPosition(range.first + range.second, QTextCursor::KeepAnchor);
            part.mergeCharFormat(format);
        };
        for (const auto& range : code) {
            QTextCharFormat format;
            format.setFontFamilies({mono.family()});
            format.setFontPointSize(mono.pointSizeF());
            format.setBackground(c.code);
            restyle(range, format);
        }
        for (const auto& range : links) {
            QTextCharFormat format;
            format.setForeground(c.accent);
            format.setFontUnderline(true);
            restyle(range, format);
        }
    }
    for (QTextFrame* const frame : document.rootFrame()->childFrames()) {
        if (auto* const table = qobject_cast<QTextTable*>(frame)) {
            QTextTableFormat format = table->format();
            format.setBorder(1);
            format.setBorderBrush(c.border);
            format.setBorderStyle(QTextFrameFormat::BorderStyle_Solid);
            format.setBorderCollapse(true);
            format.setCellPadding(5);
            table->setFormat(format);
        }
    }
}

} // namespace

MessageBody::MessageBody(Format format, QWidget* parent)
    : QWidget(parent)
    , m_format(format) {
    QSizePolicy policy(QSizePolicy::Expanding, QSizePolicy::Minimum);
    policy.setHeightForWidth(true);
    setSizePolicy(policy);
    setMouseTracking(true);
    setCursor(Qt::IBeamCursor);
}

void MessageBody::set_text(const QString& text) {
    m_text.clear();
    m_source.clear();
    m_blocks.clear();
    m_anchor = m_end = {};
    append(text);
    finish();
}

void MessageBody::append(const QString& text) {
    m_text += text;
    if (m_format == Format::Plain) {
        m_blocks.clear();
        rebuild_from(0);
        return;
    }
    m_source.append(text);
    rebuild_from(m_source.take_first_changed());
}

void MessageBody::finish() {
    if (m_format == Format::Markdown) {
        m_source.finish();
        rebuild_from(m_source.take_first_changed());
    }
}

MessageBody::Block MessageBody::make_block(const MarkdownBlock& source, bool as_markdown) const {
    Block block;
    block.kind = source.kind;
    block.language = source.language;
    block.document = std::make_unique<QTextDocument>();
    block.document->setUndoRedoEnabled(false);
    block.document->setDocumentMargin(0);
    QFont face = font();
    QTextOption option = block.document->defaultTextOption();
    option.setWrapMode(QTextOption::WrapAtWordBoundaryOrAnywhere);
    if (source.kind == MarkdownBlock::Kind::Code) {
        face = mono_font(face);
        block.code = source.text;
    }
    block.document->setDefaultFont(face);
    block.document->setDefaultTextOption(option);
    if (source.kind == MarkdownBlock::Kind::Code || !as_markdown) {
        QString text = source.text;
        while (text.endsWith(QLatin1Char('\n'))) {
            text.chop(1);
        }
        block.document->setPlainText(text);
        if (source.kind == MarkdownBlock::Kind::Text) {
            QTextCursor cursor(block.document.get());
            cursor.select(QTextCursor::Document);
            QTextBlockFormat format;
            format.setLineHeight(128, QTextBlockFormat::ProportionalHeight);
            cursor.mergeBlockFormat(format);
        }
    } else {
        // HTML inside Markdown would let a model place pictures and colours of its own.
        block.document->setMarkdown(
            source.text, QTextDocument::MarkdownFeatures(QTextDocument::MarkdownDialectGitHub) |
                             QTextDocument::MarkdownNoHTML);
        tone_down(*block.document, colours(palette()), face);
    }
    return block;
}

void MessageBody::rebuild_from(std::size_t first) {
    std::vector<MarkdownBlock> plain;
    const std::vector<MarkdownBlock>* source = &m_source.blocks();
    if (m_format == Format::Plain) {
        plain.push_back({MarkdownBlock::Kind::Text, m_text, {}, false});
        source = &plain;
    }
    m_blocks.resize(std::min(first, m_blocks.size()));
    for (std::size_t i = m_blocks.size(); i < source->size(); ++i) {
        const MarkdownBlock& block = (*source)[i];
        const bool as_markdown = m_format == Format::Markdown &&
                                 (block.closed || block.text.size() <= kMostLiveMarkdown);
        m_blocks.push_back(make_block(block, as_markdown));
    }
    const auto last = static_cast<int>(m_blocks.size()) - 1;
    if (m_end.block > last || m_anchor.block > last) {
        m_anchor = m_end = {};
    }
    m_laid_out_width = -1;
    const double before = m_height;
    if (width() > 0) {
        lay_out(width());
    }
    if (before != m_height) {
        updateGeometry();
    }
    update();
}

void MessageBody::lay_out(int width) const {
    if (width == m_laid_out_width) {
        return;
    }
    m_laid_out_width = width;
    double y = 0;
    for (Block& block : m_blocks) {
        const bool code = block.kind == MarkdownBlock::Kind::Code;
        const double frame = code ? kCodePadding : 0;
        const double inner = std::max(40.0, width - 2 * frame);
        if (block.document->textWidth() != inner) {
            block.document->setTextWidth(inner);
        }
        const double header = code ? QFontMetricsF(font()).height() + 6 : 0;
        block.top = y;
        block.height = block.document->size().height() + 2 * frame + header;
        y += block.height + kBlockGap;
    }
    m_height = m_blocks.empty() ? 0 : y - kBlockGap;
}

int MessageBody::heightForWidth(int width) const {
    lay_out(width);
    return static_cast<int>(std::ceil(m_height));
}

QSize MessageBody::sizeHint() const {
    const int wide = width() > 0 ? width() : 480;
    return {wide, heightForWidth(wide)};
}

QSize MessageBody::minimumSizeHint() const {
    return {120, 0};
}

QPointF MessageBody::origin(const Block& block) const {
    if (block.kind == MarkdownBlock::Kind::Text) {
        return {0, block.top};
    }
    return {kCodePadding, block.top + kCodePadding + QFontMetricsF(font()).height() + 6};
}

QRectF MessageBody::copy_button(const Block& block) const {
    const QFontMetricsF metrics(font());
    const double wide = metrics.horizontalAdvance(tr("Copied")) + 12;
    return {width() - wide - 4, block.top + 5, wide, metrics.height() + 4};
}

void MessageBody::paintEvent(QPaintEvent* event) {
    lay_out(width());
    const Colours& c = colours(palette());
    QPainter painter(this);
    const Place from = std::min(m_anchor, m_end);
    const Place to = std::max(m_anchor, m_end);
    for (std::size_t i = 0; i < m_blocks.size(); ++i) {
        const Block& block = m_blocks[i];
        const QRectF area(0, block.top, width(), block.height);
        if (!area.intersects(event->rect())) {
            continue;
        }
        if (block.kind == MarkdownBlock::Kind::Code) {
            painter.setRenderHint(QPainter::Antialiasing);
            painter.setPen(c.border);
            painter.setBrush(c.code);
            painter.drawRoundedRect(area.adjusted(0.5, 0.5, -0.5, -0.5), 6, 6);
            painter.setPen(c.muted);
            const double high = QFontMetricsF(font()).height();
            painter.drawText(QRectF(kCodePadding, block.top + 7, width() / 2.0, high),
                             Qt::AlignVCenter,
                             block.language.isEmpty() ? tr("code") : block.language);
            painter.setPen(c.accent);
            painter.drawText(copy_button(block), Qt::AlignCenter,
                             m_copied_block == static_cast<int>(i) ? tr("Copied") : tr("Copy"));
        }
        QAbstractTextDocumentLayout::PaintContext context;
        context.palette = palette();
        context.palette.setColor(QPalette::Text, c.text);
        const auto index = static_cast<int>(i);
        if (from != to && index >= from.block && index <= to.block) {
            QTextCursor cursor(block.document.get());
            const int most = block.document->characterCount() - 1;
            cursor.setPosition(index == from.block ? std::min(from.position, most) : 0);
            cursor.setPosition(index == to.block ? std::min(to.position, most) : most,
                               QTextCursor::KeepAnchor);
            QAbstractTextDocumentLayout::Selection selection;
            selection.cursor = cursor;
            selection.format.setBackground(c.accent);
            selection.format.setForeground(c.on_accent);
            context.selections.append(selection);
        }
        painter.save();
        const QPointF at = origin(block);
        painter.translate(at);
        context.clip = QRectF(event->rect()).translated(-at);
        block.document->documentLayout()->draw(&painter, context);
        painter.restore();
    }
}

void MessageBody::resizeEvent(QResizeEvent* event) {
    QWidget::resizeEvent(event);
    lay_out(width());
    updateGeometry();
}

void MessageBody::changeEvent(QEvent* event) {
    if (event->type() == QEvent::PaletteChange || event->type() == QEvent::FontChange ||
        event->type() == QEvent::StyleChange) {
        m_blocks.clear(); // colours and sizes are in the documents
        rebuild_from(0);
        updateGeometry();
    }
    QWidget::changeEvent(event);
}

MessageBody::Place MessageBody::place_at(const QPointF& point) const {
    if (m_blocks.empty()) {
        return {};
    }
    std::size_t i = 0;
    while (i + 1 < m_blocks.size() && point.y() >= m_blocks[i + 1].top) {
        ++i;
    }
    const Block& block = m_blocks[i];
    const int position =
        block.document->documentLayout()->hitTest(point - origin(block), Qt::FuzzyHit);
    return {static_cast<int>(i), std::max(position, 0)};
}

QString MessageBody::anchor_at(const QPointF& point) const {
    for (const Block& block : m_blocks) {
        if (point.y() >= block.top && point.y() < block.top + block.height) {
            return block.document->documentLayout()->anchorAt(point - origin(block));
        }
    }
    return {};
}

void MessageBody::mousePressEvent(QMouseEvent* event) {
    if (event->button() != Qt::LeftButton) {
        QWidget::mousePressEvent(event);
        return;
    }
    for (std::size_t i = 0; i < m_blocks.size(); ++i) {
        if (m_blocks[i].kind == MarkdownBlock::Kind::Code &&
            copy_button(m_blocks[i]).contains(event->position())) {
            QApplication::clipboard()->setText(m_blocks[i].code);
            m_copied_block = static_cast<int>(i);
            QTimer::singleShot(1500, this, [this] {
                m_copied_block = -1;
                update();
            });
            update();
            return;
        }
    }
    m_pressed_link = anchor_at(event->position());
    const Place place = place_at(event->position());
    m_end = place;
    if (!(event->modifiers() & Qt::ShiftModifier)) {
        m_anchor = place;
    }
    update();
    event->ignore(); // the message takes the focus
}

void MessageBody::mouseMoveEvent(QMouseEvent* event) {
    if (event->buttons() & Qt::LeftButton) {
        m_end = place_at(event->position());
        update();
        return;
    }
    bool hand = !anchor_at(event->position()).isEmpty();
    for (const Block& block : m_blocks) {
        hand = hand || (block.kind == MarkdownBlock::Kind::Code &&
                        copy_button(block).contains(event->position()));
    }
    setCursor(hand ? Qt::PointingHandCursor : Qt::IBeamCursor);
}

void MessageBody::mouseReleaseEvent(QMouseEvent* event) {
    const QString link = std::exchange(m_pressed_link, {});
    if (link.isEmpty() || has_selection() || anchor_at(event->position()) != link) {
        return;
    }
    const QUrl url(link);
    // A model may write any link; only those a browser takes are followed.
    if (url.scheme() == QLatin1String("https") || url.scheme() == QLatin1String("http")) {
        QDesktopServices::openUrl(url);
    }
}

void MessageBody::mouseDoubleClickEvent(QMouseEvent* event) {
    const Place place = place_at(event->position());
    if (place.block < 0) {
        return;
    }
    QTextCursor cursor(m_blocks[static_cast<std::size_t>(place.block)].document.get());
    cursor.setPosition(place.position);
    cursor.select(QTextCursor::WordUnderCursor);
    m_anchor = {place.block, cursor.selectionStart()};
    m_end = {place.block, cursor.selectionEnd()};
    update();
}

bool MessageBody::has_selection() const {
    return m_anchor != m_end;
}

QString MessageBody::selected_text() const {
    const Place from = std::min(m_anchor, m_end);
    const Place to = std::max(m_anchor, m_end);
    if (from == to || from.block < 0) {
        return {};
    }
    QStringList parts;
    for (int i = from.block; i <= to.block; ++i) {
        QTextDocument* const document = m_blocks[static_cast<std::size_t>(i)].document.get();
        QTextCursor cursor(document);
        const int most = document->characterCount() - 1;
        cursor.setPosition(i == from.block ? std::min(from.position, most) : 0);
        cursor.setPosition(i == to.block ? std::min(to.position, most) : most,
                           QTextCursor::KeepAnchor);
        parts << cursor.selectedText().replace(QChar(0x2029), QLatin1Char('\n'));
    }
    return parts.join(QStringLiteral("\n\n"));
}

void MessageBody::select_all() {
    if (m_blocks.empty()) {
        return;
    }
    m_anchor = {0, 0};
    m_end = {static_cast<int>(m_blocks.size()) - 1, m_blocks.back().document->characterCount() - 1};
    update();
}

void MessageBody::clear_selection() {
    m_anchor = m_end = {};
    update();
}

QStringList MessageBody::code_blocks() const {
    QStringList code;
    for (const Block& block : m_blocks) {
        if (block.kind == MarkdownBlock::Kind::Code) {
            code << block.code;
        }
    }
    return code;
}

} // namespace hs
