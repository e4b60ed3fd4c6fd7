#include "ui/chat/message_view.h"

#include "ui/chat/chat_model.h"
#include "ui/chat/message_body.h"
#include "ui/shared/theme.h"
#include "ui/shared/units.h"

#include <QApplication>
#include <QClipboard>
#include <QContextMenuEvent>
#include <QHBoxLayout>
#include <QKeyEvent>
#include <QLabel>
#include <QMenu>
#include <QPainter>
#include <QPlainTextEdit>
#include <QProgressBar>
#include <QPushButton>
#include <QToolButton>
#include <QVBoxLayout>

#include <algorithm>

namespace hs {

MessageView::MessageView(const QModelIndex& index, QWidget* parent)
    : QFrame(parent) {
    setFocusPolicy(Qt::StrongFocus);
    setObjectName(QStringLiteral("message"));
    m_author = index.data(ChatModel::AuthorRole).toString();

    m_name = new QLabel(this);
    set_text_role(m_name, "heading");
    m_previous = small_button("left", tr("Earlier version"));
    m_sibling = new QLabel(this);
    set_text_role(m_sibling, "caption");
    m_next = small_button("right", tr("Later version"));
    m_copy = small_button("copy", tr("Copy the message"));
    m_edit = small_button("edit", tr("Edit"));
    m_regenerate = small_button("regenerate", tr("Answer again"));
    auto* const head = new QHBoxLayout;
    head->setSpacing(2);
    head->addWidget(m_name);
    head->addStretch(1);
    head->addWidget(m_previous);
    head->addWidget(m_sibling);
    head->addWidget(m_next);
    head->addSpacing(kSpace);
    head->addWidget(m_edit);
    head->addWidget(m_regenerate);
    head->addWidget(m_copy);

    m_thinking_toggle = new QToolButton(this);
    m_thinking_toggle->setToolButtonStyle(Qt::ToolButtonTextBesideIcon);
    m_thinking_toggle->setIconSize(QSize(14, 14));
    m_thinking_toggle->setFocusPolicy(Qt::NoFocus);
    m_thinking = new MessageBody(MessageBody::Format::Plain, this);
    m_thinking->hide();
    m_body = new MessageBody(is_user() ? MessageBody::Format::Plain : MessageBody::Format::Markdown,
                             this);
    m_activity = new QLabel(this);
    set_text_role(m_activity, "muted");
    m_activity->hide();
    m_progress = new QProgressBar(this);
    m_progress->setTextVisible(false);
    m_progress->setRange(0, 1000);
    m_progress->setMaximumWidth(240);
    m_progress->setAccessibleName(tr("Prompt read"));
    m_progress->hide();
    m_figures = new QLabel(this);
    set_text_role(m_figures, "caption");
    m_reuse = new QLabel(this);
    m_reuse->setWordWrap(true);
    set_text_role(m_reuse, "caption");

    m_column = new QVBoxLayout(this);
    m_column->setContentsMargins(2 * kSpace, kSpace, 2 * kSpace, kSpace + 4);
    m_column->setSpacing(4);
    m_column->addLayout(head);
    m_column->addWidget(m_thinking_toggle, 0, Qt::AlignLeft);
    m_column->addWidget(m_thinking);
    m_column->addWidget(m_body);
    m_column->addWidget(m_activity);
    m_column->addWidget(m_progress);
    m_column->addWidget(m_figures);
    m_column->addWidget(m_reuse);

    connect(m_thinking_toggle, &QToolButton::clicked, this, [this] {
        m_thinking_open = !m_thinking_open;
        show_thinking();
    });
    connect(m_copy, &QToolButton::clicked, this,
            [this] { QApplication::clipboard()->setText(m_body->text()); });
    connect(m_edit, &QToolButton::clicked, this, &MessageView::begin_edit);
    connect(m_regenerate, &QToolButton::clicked, this, [this] { emit regenerate_wanted(m_id); });
    connect(m_previous, &QToolButton::clicked, this, [this] { emit sibling_wanted(m_id, -1); });
    connect(m_next, &QToolButton::clicked, this, [this] { emit sibling_wanted(m_id, 1); });
    m_body->installEventFilter(this);
    m_thinking->installEventFilter(this);
    refresh(index);
}

QToolButton* MessageView::small_button(const char* icon_name, const QString& text) {
    auto* const button = new QToolButton(this);
    button->setIcon(icon(icon_name));
    button->setIconSize(QSize(15, 15));
    button->setText(text);
    button->setToolTip(text);
    button->setAccessibleName(text);
    button->setFocusPolicy(Qt::NoFocus);
    return button;
}

void MessageView::refresh(const QModelIndex& index) {
    m_id = index.data(ChatModel::IdRole).toLongLong();
    const auto state = static_cast<MessageState>(index.data(ChatModel::StateRole).toInt());
    const bool was_streaming = m_streaming;
    m_streaming = state == MessageState::Streaming;
    const QString model = index.data(ChatModel::ModelRole).toString();
    m_name->setText(is_user() ? tr("You")
                    : m_author == QLatin1String("system")
                        ? tr("System prompt")
                        : (model.isEmpty() ? tr("Model") : model));

    const QString text = index.data(Qt::DisplayRole).toString();
    if (text != m_body->text()) {
        m_body->set_text(text);
    } else if (was_streaming && !m_streaming) {
        m_body->finish();
    }
    m_body->setVisible(!m_body->text().isEmpty() && !m_editor);
    m_thinking_text = index.data(ChatModel::ThinkingRole).toString();
    m_thinking_tokens = index.data(ChatModel::ThinkingTokensRole).toLongLong();
    show_thinking();
    if (!m_streaming) {
        set_activity({}, -1);
    }

    QString figures = index.data(ChatModel::FiguresRole).toString();
    const QString error = index.data(ChatModel::ErrorRole).toString();
    if (figures.isEmpty() && state == MessageState::Stopped) {
        figures = tr("stopped");
    }
    m_figures->setText(figures);
    m_figures->setVisible(!figures.isEmpty());
    const QString reuse = error.isEmpty() ? index.data(ChatModel::ReuseNoteRole).toString() : error;
    m_reuse->setText(reuse);
    m_reuse->setVisible(!reuse.isEmpty());
    m_figures->setToolTip(reuse);

    const int siblings = index.data(ChatModel::SiblingCountRole).toInt();
    const int place = index.data(ChatModel::SiblingRole).toInt();
    m_sibling->setText(QStringLiteral("%1/%2").arg(place + 1).arg(siblings));
    for (QWidget* const widget :
         {static_cast<QWidget*>(m_previous), static_cast<QWidget*>(m_sibling),
          static_cast<QWidget*>(m_next)}) {
        widget->setVisible(siblings > 1);
    }
    m_previous->setEnabled(place > 0);
    m_next->setEnabled(place + 1 < siblings);
    m_edit->setVisible(is_user());
    m_regenerate->setVisible(m_author == QLatin1String("assistant") && !m_streaming);
    m_copy->setVisible(!m_streaming);
    if (!m_streaming) {
        update_accessible();
    }
}

void MessageView::update_accessible() {
    setAccessibleName(tr("Message of %1").arg(m_name->text()));
    setAccessibleDescription(m_body->text() + QLatin1Char('\n') + m_figures->text());
}

void MessageView::grow(const QString& text, const QString& thinking, std::int64_t thinking_tokens) {
    m_streaming = true;
    if (!text.isEmpty() || !thinking.isEmpty()) {
        set_activity({}, -1);
    }
    if (!thinking.isEmpty()) {
        m_thinking_text += thinking;
        m_thinking_tokens = thinking_tokens;
        show_thinking();
    }
    if (!text.isEmpty()) {
        m_body->append(text);
        m_body->show();
    }
}

void MessageView::show_thinking() {
    m_thinking_toggle->setVisible(!m_thinking_text.isEmpty());
    m_thinking->setVisible(m_thinking_open && !m_thinking_text.isEmpty());
    if (m_thinking_text.isEmpty()) {
        return;
    }
    m_thinking_toggle->setIcon(icon(m_thinking_open ? "down" : "right"));
    const QString count = m_thinking_tokens > 0
                              ? tokens_phrase(m_thinking_tokens)
                              : tr("%1 characters").arg(count_text(m_thinking_text.size()));
    m_thinking_toggle->setText(tr("Thinking · %1").arg(count));
    m_thinking_toggle->setAccessibleName(m_thinking_open ? tr("Fold the thinking")
                                                         : tr("Show the thinking"));
    if (m_thinking_open) {
        // Only what is new, unless it was folded meanwhile.
        const QString shown = m_thinking->text();
        if (m_thinking_text.startsWith(shown) && !shown.isEmpty()) {
            m_thinking->append(m_thinking_text.mid(shown.size()));
        } else {
            m_thinking->set_text(m_thinking_text);
        }
    }
}

void MessageView::set_activity(const QString& text, double fraction) {
    m_activity->setText(text);
    m_activity->setVisible(!text.isEmpty());
    m_progress->setVisible(!text.isEmpty() && fraction >= 0);
    if (fraction >= 0) {
        m_progress->setValue(static_cast<int>(fraction * 1000));
    }
}

void MessageView::begin_edit() {
    if (m_editor || !is_user()) {
        return;
    }
    m_editor = new QPlainTextEdit(m_body->text(), this);
    m_editor->setAccessibleName(tr("The edited message"));
    m_editor->setTabChangesFocus(true);
    const int lines =
        std::clamp(static_cast<int>(m_body->text().count(QLatin1Char('\n'))) + 2, 3, 10);
    m_editor->setFixedHeight(QFontMetrics(font()).lineSpacing() * lines + 16);
    m_editor->moveCursor(QTextCursor::End);
    m_editor->installEventFilter(this);
    m_editor_row = new QWidget(this);
    auto* const row = new QHBoxLayout(m_editor_row);
    row->setContentsMargins(0, 0, 0, 0);
    auto* const hint = new QLabel(tr("The answer so far stays, as another version."), m_editor_row);
    set_text_role(hint, "caption");
    auto* const cancel = new QPushButton(tr("Cancel"), m_editor_row);
    auto* const send = new QPushButton(tr("Send"), m_editor_row);
    send->setObjectName(QStringLiteral("send_edit"));
    set_button_role(send, "primary");
    row->addWidget(hint, 1);
    row->addWidget(cancel);
    row->addWidget(send);
    m_column->insertWidget(3, m_editor);
    m_column->insertWidget(4, m_editor_row);
    m_body->hide();
    connect(cancel, &QPushButton::clicked, this, [this] { end_edit(false); });
    connect(send, &QPushButton::clicked, this, [this] { end_edit(true); });
    m_editor->setFocus();
}

void MessageView::end_edit(bool send) {
    if (!m_editor) {
        return;
    }
    const QString text = m_editor->toPlainText();
    m_editor->deleteLater();
    m_editor = nullptr;
    m_editor_row->deleteLater();
    m_editor_row = nullptr;
    m_body->show();
    setFocus();
    if (send && !text.trimmed().isEmpty()) {
        emit edited(m_id, text);
    }
}

bool MessageView::eventFilter(QObject* watched, QEvent* event) {
    if (watched == m_editor && event->type() == QEvent::KeyPress) {
        const auto* const key = static_cast<QKeyEvent*>(event);
        const bool enter = key->key() == Qt::Key_Return || key->key() == Qt::Key_Enter;
        if (enter && !(key->modifiers() & Qt::ShiftModifier)) {
            end_edit(true);
            return true;
        }
        if (key->key() == Qt::Key_Escape) {
            end_edit(false);
            return true;
        }
    }
    if ((watched == m_body || watched == m_thinking) && event->type() == QEvent::MouseButtonPress) {
        setFocus(Qt::MouseFocusReason);
    }
    return QFrame::eventFilter(watched, event);
}

void MessageView::copy() const {
    const QString selected = m_body->selected_text();
    QApplication::clipboard()->setText(selected.isEmpty() ? m_body->text() : selected);
}

void MessageView::keyPressEvent(QKeyEvent* event) {
    if (event->matches(QKeySequence::Copy)) {
        copy();
    } else if (event->matches(QKeySequence::SelectAll)) {
        m_body->select_all();
    } else if (event->key() == Qt::Key_F2 && is_user()) {
        begin_edit();
    } else if (event->modifiers() == Qt::AltModifier && event->key() == Qt::Key_Left) {
        emit sibling_wanted(m_id, -1);
    } else if (event->modifiers() == Qt::AltModifier && event->key() == Qt::Key_Right) {
        emit sibling_wanted(m_id, 1);
    } else if ((event->key() == Qt::Key_Space || event->key() == Qt::Key_Return) &&
               !m_thinking_text.isEmpty()) {
        m_thinking_toggle->click();
    } else {
        QFrame::keyPressEvent(event);
    }
}

void MessageView::mousePressEvent(QMouseEvent* event) {
    m_body->clear_selection();
    QFrame::mousePressEvent(event);
}

void MessageView::contextMenuEvent(QContextMenuEvent* event) {
    auto* const menu = new QMenu(this);
    menu->setAttribute(Qt::WA_DeleteOnClose);
    menu->addAction(icon("copy"),
                    m_body->has_selection() ? tr("&Copy the selection") : tr("&Copy the message"),
                    this, &MessageView::copy);
    const QStringList code = m_body->code_blocks();
    for (int i = 0; i < code.size(); ++i) {
        menu->addAction(tr("Copy code block %1").arg(i + 1), this,
                        [text = code[i]] { QApplication::clipboard()->setText(text); });
    }
    if (is_user()) {
        menu->addAction(icon("edit"), tr("&Edit\tF2"), this, &MessageView::begin_edit);
    } else if (!m_streaming) {
        menu->addAction(icon("regenerate"), tr("Answer &again"), this,
                        [this] { emit regenerate_wanted(m_id); });
    }
    if (m_previous->isEnabled() && !m_previous->isHidden()) {
        menu->addAction(tr("Earlier version\tAlt+Left"), this,
                        [this] { emit sibling_wanted(m_id, -1); });
    }
    if (m_next->isEnabled() && !m_next->isHidden()) {
        menu->addAction(tr("Later version\tAlt+Right"), this,
                        [this] { emit sibling_wanted(m_id, 1); });
    }
    menu->popup(event->globalPos());
}

void MessageView::changeEvent(QEvent* event) {
    if (event->type() == QEvent::PaletteChange) {
        update();
    }
    QFrame::changeEvent(event);
}

void MessageView::paintEvent(QPaintEvent*) {
    QPainter painter(this);
    painter.setRenderHint(QPainter::Antialiasing);
    const Colours& c = colours(palette());
    if (is_user()) {
        painter.setPen(Qt::NoPen);
        painter.setBrush(c.raised);
        painter.drawRoundedRect(QRectF(rect()).adjusted(2, 2, -2, -2), 8, 8);
    }
    if (hasFocus()) {
        draw_focus_ring(painter, QRectF(rect()), palette());
    }
}

} // namespace hs
