#include "ui/chat/transcript_view.h"

#include "ui/chat/chat_model.h"
#include "ui/chat/message_view.h"
#include "ui/shared/theme.h"

#include <QLabel>
#include <QPushButton>
#include <QScrollBar>
#include <QTimer>
#include <QVBoxLayout>

#include <algorithm>

namespace hs {

namespace {

constexpr int kMostViews = 60;
constexpr int kWidestColumn = 820;
constexpr int kNearEnd = 48; // pixels from the end that still count as reading along

} // namespace

TranscriptView::TranscriptView(ChatModel& model, QWidget* parent)
    : QScrollArea(parent)
    , m_model(&model) {
    setObjectName(QStringLiteral("transcript"));
    setAccessibleName(tr("Conversation"));
    setWidgetResizable(true);
    setFrameShape(QFrame::NoFrame);
    setFocusPolicy(Qt::NoFocus); // its messages take the keyboard
    setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    m_page = new QWidget;
    m_page->setObjectName(QStringLiteral("transcript_page"));
    m_column = new QVBoxLayout(m_page);
    m_column->setSpacing(kSpace);
    m_earlier = new QPushButton(tr("Show earlier messages"), m_page);
    set_button_role(m_earlier, "flat");
    m_earlier->hide();
    connect(m_earlier, &QPushButton::clicked, this, &TranscriptView::show_earlier);
    m_column->addWidget(m_earlier, 0, Qt::AlignHCenter);
    m_column->addStretch(1);
    setWidget(m_page);
    viewport()->setAutoFillBackground(false);
    m_page->setAutoFillBackground(false);

    connect(m_model, &ChatModel::modelReset, this, &TranscriptView::rebuild);
    connect(m_model, &ChatModel::rowsInserted, this,
            [this](const QModelIndex&, int first, int last) { insert_rows(first, last); });
    connect(m_model, &ChatModel::rowsRemoved, this,
            [this](const QModelIndex&, int first, int last) { remove_rows(first, last); });
    connect(m_model, &ChatModel::dataChanged, this,
            [this](const QModelIndex& from, const QModelIndex& to, const QList<int>& roles) {
                if (roles.isEmpty()) { // growth has its own signal
                    refresh_rows(from.row(), to.row());
                }
            });
    connect(m_model, &ChatModel::grew, this,
            [this](int row, const QString& text, const QString& thinking) {
                if (MessageView* const view = view_of(row)) {
                    view->grow(
                        text, thinking,
                        m_model->index(row).data(ChatModel::ThinkingTokensRole).toLongLong());
                }
            });
    connect(verticalScrollBar(), &QScrollBar::valueChanged, this,
            [this](int value) { m_follow = value >= verticalScrollBar()->maximum() - kNearEnd; });
    connect(verticalScrollBar(), &QScrollBar::rangeChanged, this, [this](int, int most) {
        if (m_follow) {
            verticalScrollBar()->setValue(most);
        }
    });
    rebuild();
}

void TranscriptView::set_placeholder(QWidget* widget) {
    m_placeholder = widget;
    m_column->insertWidget(1, widget, 1);
    show_placeholder();
}

void TranscriptView::show_placeholder() {
    const bool empty = m_views.empty();
    if (m_placeholder) {
        m_placeholder->setVisible(empty);
    }
    // The stretch at the end belongs to a page with messages; an empty one is the placeholder's.
    m_column->setStretch(m_column->count() - 1, empty ? 0 : 1);
    m_earlier->setVisible(m_first_row > 0);
}

MessageView* TranscriptView::make_view(int row) {
    auto* const view = new MessageView(m_model->index(row), m_page);
    connect(view, &MessageView::edited, this, &TranscriptView::edited);
    connect(view, &MessageView::regenerate_wanted, this, &TranscriptView::regenerate_wanted);
    connect(view, &MessageView::sibling_wanted, this, &TranscriptView::sibling_wanted);
    return view;
}

void TranscriptView::rebuild() {
    for (MessageView* const view : m_views) {
        view->hide();
        view->deleteLater();
    }
    m_views.clear();
    m_first_row = std::max(0, m_model->rowCount() - kMostViews);
    m_follow = true;
    if (m_model->rowCount() > 0) {
        insert_rows(m_first_row, m_model->rowCount() - 1);
    }
    show_placeholder();
}

void TranscriptView::insert_rows(int first, int last) {
    // Rows are only ever added at the end: a conversation grows there.
    for (int row = std::max(first, m_first_row); row <= last; ++row) {
        MessageView* const view = make_view(row);
        m_column->insertWidget(m_column->count() - 1, view);
        m_views.push_back(view);
    }
    if (first > 0) {
        refresh_rows(first - 1, first - 1);
    }
    show_placeholder();
    scroll_to_end();
}

void TranscriptView::remove_rows(int first, int last) {
    const int from = std::max(first - m_first_row, 0);
    const int to = last - m_first_row;
    for (int i = to; i >= from && i < static_cast<int>(m_views.size()); --i) {
        MessageView* const view = m_views[static_cast<std::size_t>(i)];
        m_column->removeWidget(view);
        view->hide();
        view->deleteLater();
        m_views.erase(m_views.begin() + i);
    }
    m_first_row = std::min(m_first_row, m_model->rowCount());
    show_placeholder();
}

void TranscriptView::refresh_rows(int first, int last) {
    for (int row = first; row <= last; ++row) {
        if (MessageView* const view = view_of(row)) {
            view->refresh(m_model->index(row));
        }
    }
}

void TranscriptView::show_earlier() {
    const int last = m_first_row - 1;
    const int first = std::max(0, m_first_row - kMostViews);
    const int from_end = verticalScrollBar()->maximum() - verticalScrollBar()->value();
    for (int row = last; row >= first; --row) {
        MessageView* const view = make_view(row);
        m_column->insertWidget(m_placeholder ? 2 : 1, view);
        m_views.insert(m_views.begin(), view);
    }
    m_first_row = first;
    show_placeholder();
    QTimer::singleShot(0, this, [this, from_end] {
        verticalScrollBar()->setValue(verticalScrollBar()->maximum() - from_end);
    });
}

MessageView* TranscriptView::view_of(int row) const {
    const int i = row - m_first_row;
    return i >= 0 && i < static_cast<int>(m_views.size()) ? m_views[static_cast<std::size_t>(i)]
                                                          : nullptr;
}

MessageView* TranscriptView::focused() const {
    for (MessageView* const view : m_views) {
        if (view->hasFocus()) {
            return view;
        }
    }
    return nullptr;
}

void TranscriptView::focus_message(int row) {
    if (MessageView* const view = view_of(row)) {
        view->setFocus(Qt::ShortcutFocusReason);
        ensureWidgetVisible(view, 0, 24);
    }
}

void TranscriptView::step_focus(int step) {
    if (m_views.empty()) {
        return;
    }
    MessageView* const now = focused();
    const int last = m_model->rowCount() - 1;
    const int row = now ? m_model->row_of(now->id()) + step : last;
    focus_message(std::clamp(row, m_first_row, last));
}

void TranscriptView::set_activity(const QString& text, double fraction) {
    if (!m_views.empty()) {
        m_views.back()->set_activity(text, fraction);
    }
}

void TranscriptView::scroll_to_end() {
    m_follow = true;
    verticalScrollBar()->setValue(verticalScrollBar()->maximum());
}

void TranscriptView::resizeEvent(QResizeEvent* event) {
    // A column no wider than can be read with ease, in the middle of a wide window.
    const int side = std::max(2 * kSpace, (viewport()->width() - kWidestColumn) / 2);
    m_column->setContentsMargins(side, 2 * kSpace, side, 2 * kSpace);
    QScrollArea::resizeEvent(event);
}

} // namespace hs
