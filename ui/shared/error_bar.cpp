#include "ui/shared/error_bar.h"

#include "ui/shared/theme.h"

#include <QApplication>
#include <QClipboard>
#include <QHBoxLayout>
#include <QLabel>
#include <QToolButton>
#include <QVBoxLayout>

namespace hs {

namespace {

constexpr int kMostWaiting = 20;

QLabel* selectable_label(QWidget* parent, const QString& name) {
    auto* const label = new QLabel(parent);
    label->setWordWrap(true);
    label->setTextFormat(Qt::PlainText);
    label->setTextInteractionFlags(Qt::TextSelectableByMouse | Qt::TextSelectableByKeyboard);
    label->setAccessibleName(name);
    return label;
}

} // namespace

ErrorBar::ErrorBar(QWidget* parent)
    : QFrame(parent) {
    setProperty("frame_role", "error");
    setObjectName(QStringLiteral("error_bar"));
    m_sign = new QLabel(this);
    m_sign->setPixmap(icon("warning").pixmap(20, 20));
    m_what = selectable_label(this, tr("What happened"));
    set_text_role(m_what, "heading");
    m_remedy = selectable_label(this, tr("What you can do"));
    m_copy = new QToolButton(this);
    m_copy->setIcon(icon("copy"));
    m_copy->setText(tr("Copy"));
    m_copy->setToolButtonStyle(Qt::ToolButtonTextBesideIcon);
    m_copy->setToolTip(tr("Copy the message"));
    m_close = new QToolButton(this);
    m_close->setIcon(icon("close"));
    m_close->setText(tr("Dismiss"));
    m_close->setAccessibleName(tr("Dismiss the message"));
    m_close->setToolTip(tr("Dismiss"));

    auto* const words = new QVBoxLayout;
    words->setSpacing(2);
    words->addWidget(m_what);
    words->addWidget(m_remedy);
    auto* const row = new QHBoxLayout(this);
    row->setContentsMargins(2 * kSpace, kSpace, kSpace, kSpace);
    row->setSpacing(kSpace);
    row->addWidget(m_sign, 0, Qt::AlignTop);
    row->addLayout(words, 1);
    row->addWidget(m_copy, 0, Qt::AlignTop);
    row->addWidget(m_close, 0, Qt::AlignTop);

    connect(m_copy, &QToolButton::clicked, this,
            [this] { QApplication::clipboard()->setText(text()); });
    connect(m_close, &QToolButton::clicked, this, &ErrorBar::dismiss);
    hide();
}

void ErrorBar::show_trouble(const QString& what, const QString& remedy) {
    for (const Trouble& known : m_waiting) {
        if (known.what == what) {
            return; // said already
        }
    }
    if (m_waiting.size() < kMostWaiting) {
        m_waiting.append({what, remedy});
    }
    if (m_waiting.size() == 1) {
        show_first();
    }
}

void ErrorBar::show_first() {
    const Trouble& first = m_waiting.first();
    m_what->setText(first.what);
    m_remedy->setText(first.remedy);
    m_remedy->setVisible(!first.remedy.isEmpty());
    setAccessibleName(tr("Trouble: %1 %2").arg(first.what, first.remedy));
    m_sign->setPixmap(icon("warning").pixmap(QSize(20, 20), devicePixelRatioF()));
    show();
}

void ErrorBar::dismiss() {
    if (!m_waiting.isEmpty()) {
        m_waiting.removeFirst();
    }
    if (m_waiting.isEmpty()) {
        hide();
    } else {
        show_first();
    }
}

QString ErrorBar::text() const {
    if (m_waiting.isEmpty()) {
        return {};
    }
    const Trouble& first = m_waiting.first();
    return first.remedy.isEmpty() ? first.what : first.what + QLatin1Char('\n') + first.remedy;
}

} // namespace hs
