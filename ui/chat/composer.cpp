#include "ui/chat/composer.h"

#include "ui/shared/theme.h"

#include <QAbstractTextDocumentLayout>
#include <QHBoxLayout>
#include <QKeyEvent>
#include <QLabel>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QStyle>
#include <QTextBlock>
#include <QToolButton>
#include <QVBoxLayout>

#include <algorithm>

namespace hs {

namespace {

constexpr int kMostLines = 8;

} // namespace

Composer::Composer(QWidget* parent)
    : QFrame(parent) {
    setProperty("frame_role", "composer");
    m_edit = new QPlainTextEdit(this);
    m_edit->setObjectName(QStringLiteral("composer"));
    m_edit->setProperty("field_role", "composer");
    m_edit->setPlaceholderText(tr("Write a message"));
    m_edit->setAccessibleName(tr("Message"));
    m_edit->setAccessibleDescription(tr("Enter sends, Shift and Enter make a new line."));
    m_edit->setTabChangesFocus(true);
    m_edit->setVerticalScrollBarPolicy(Qt::ScrollBarAsNeeded);
    m_edit->installEventFilter(this);
    m_hint = new QLabel(this);
    set_text_role(m_hint, "caption");
    m_send = new QPushButton(icon("send"), tr("Send"), this);
    m_send->setObjectName(QStringLiteral("send"));
    m_send->setAccessibleName(tr("Send the message"));
    set_button_role(m_send, "primary");
    m_send->setIcon({});
    m_stop = new QPushButton(icon("stop"), tr("Stop"), this);
    m_stop->setObjectName(QStringLiteral("stop"));
    m_stop->setAccessibleName(tr("Stop the answer"));
    m_stop->setToolTip(tr("Stop the answer (Esc)"));
    m_stop->hide();

    m_chips = new QVBoxLayout;
    m_chips->setSpacing(2);
    auto* const row = new QHBoxLayout;
    row->setContentsMargins(6, 0, 0, 0);
    row->setSpacing(kSpace);
    row->addWidget(m_hint, 1);
    row->addWidget(m_stop);
    row->addWidget(m_send);
    auto* const column = new QVBoxLayout(this);
    column->setContentsMargins(kSpace, 6, kSpace, kSpace);
    column->setSpacing(4);
    column->addLayout(m_chips);
    column->addWidget(m_edit);
    column->addLayout(row);

    connect(m_edit->document(), &QTextDocument::contentsChanged, this, [this] {
        fit_height();
        m_send->setEnabled(!text().isEmpty());
        emit text_edited();
    });
    connect(m_send, &QPushButton::clicked, this, &Composer::send);
    connect(m_stop, &QPushButton::clicked, this, &Composer::stop_wanted);
    set_hint({});
    m_send->setEnabled(false);
    fit_height();
}

QString Composer::text() const {
    return m_edit->toPlainText().trimmed();
}

void Composer::set_text(const QString& text) {
    m_edit->setPlainText(text);
    m_edit->moveCursor(QTextCursor::End);
}

void Composer::take_focus() {
    m_edit->setFocus();
}

void Composer::set_hint(const QString& text) {
    m_hint->setText(text.isEmpty() ? tr("Enter sends · Shift+Enter: new line") : text);
}

void Composer::set_replying(bool replying) {
    m_replying = replying;
    m_stop->setVisible(replying);
    m_send->setText(replying ? tr("Queue") : tr("Send"));
    m_send->setAccessibleName(replying ? tr("Queue the message") : tr("Send the message"));
}

void Composer::send() {
    const QString message = text();
    if (message.isEmpty()) {
        return;
    }
    m_edit->clear();
    emit submitted(message);
}

void Composer::wait(const QString& text) {
    m_waiting << text;
    show_waiting();
}

QString Composer::take_waiting() {
    if (m_waiting.isEmpty()) {
        return {};
    }
    const QString first = m_waiting.takeFirst();
    show_waiting();
    return first;
}

void Composer::clear_waiting() {
    m_waiting.clear();
    show_waiting();
}

void Composer::show_waiting() {
    while (QLayoutItem* const item = m_chips->takeAt(0)) {
        if (QWidget* const chip = item->widget()) {
            chip->hide();
            chip->deleteLater();
        }
        delete item;
    }
    for (int i = 0; i < m_waiting.size(); ++i) {
        auto* const chip = new QWidget(this);
        auto* const row = new QHBoxLayout(chip);
        row->setContentsMargins(6, 0, 0, 0);
        const QString line = m_waiting[i].simplified();
        auto* const words = new QLabel(
            tr("Waiting: %1").arg(line.size() > 90 ? line.left(90) + QChar(0x2026) : line), chip);
        set_text_role(words, "muted");
        row->addWidget(words, 1);
        const auto button = [&](const char* sign, const QString& text, auto act) {
            auto* const made = new QToolButton(chip);
            made->setIcon(icon(sign));
            made->setText(text);
            made->setToolTip(text);
            made->setAccessibleName(text);
            connect(made, &QToolButton::clicked, this, act);
            row->addWidget(made);
        };
        button("edit", tr("Edit the waiting message"), [this, i] {
            const QString text = m_waiting.takeAt(i);
            show_waiting();
            set_text(this->text().isEmpty() ? text : text + QLatin1Char('\n') + this->text());
            take_focus();
        });
        button("close", tr("Remove the waiting message"), [this, i] {
            m_waiting.removeAt(i);
            show_waiting();
        });
        m_chips->addWidget(chip);
    }
}

void Composer::fit_height() {
    const int lines =
        std::clamp(static_cast<int>(m_edit->document()->documentLayout()->documentSize().height()),
                   1, kMostLines);
    const int line = QFontMetrics(m_edit->font()).lineSpacing();
    m_edit->setFixedHeight(lines * line + 20);
}

bool Composer::eventFilter(QObject* watched, QEvent* event) {
    if (watched == m_edit) {
        if (event->type() == QEvent::KeyPress) {
            const auto* const key = static_cast<QKeyEvent*>(event);
            const bool enter = key->key() == Qt::Key_Return || key->key() == Qt::Key_Enter;
            if (enter && !(key->modifiers() & (Qt::ShiftModifier | Qt::AltModifier))) {
                send();
                return true;
            }
        } else if (event->type() == QEvent::FocusIn || event->type() == QEvent::FocusOut) {
            setProperty("active", event->type() == QEvent::FocusIn);
            style()->unpolish(this);
            style()->polish(this);
        } else if (event->type() == QEvent::Resize) {
            fit_height();
        }
    }
    return QFrame::eventFilter(watched, event);
}

void Composer::changeEvent(QEvent* event) {
    if (event->type() == QEvent::FontChange) {
        fit_height();
    }
    QFrame::changeEvent(event);
}

} // namespace hs
