#include "ui/shared/status_strip.h"

#include "ui/shared/theme.h"
#include "ui/shared/units.h"

#include <QHBoxLayout>
#include <QLabel>
#include <QProgressBar>
#include <QToolButton>

namespace hs {

StatusStrip::StatusStrip(QWidget* parent)
    : QFrame(parent) {
    setObjectName(QStringLiteral("status_strip"));
    setProperty("frame_role", "rail");
    auto* const row = new QHBoxLayout(this);
    row->setContentsMargins(kSpace, 2, kSpace, 2);
    row->setSpacing(kSpace / 2);
    m_model = add(tr("Model"));
    m_device = new QLabel(this);
    set_text_role(m_device, "caption");
    m_context = add(tr("Context"));
    m_state = add(tr("State"));
    m_rate = add(tr("Speed"));
    m_job = new QLabel(this);
    set_text_role(m_job, "caption");
    m_progress = new QProgressBar(this);
    m_progress->setRange(0, 1000);
    m_progress->setTextVisible(false);
    m_progress->setFixedWidth(140);
    m_progress->setAccessibleName(tr("Progress of the job"));
    m_cancel = new QToolButton(this);
    m_cancel->setIcon(icon("close"));
    m_cancel->setIconSize(QSize(14, 14));
    m_cancel->setText(tr("Cancel"));
    m_cancel->setAccessibleName(tr("Cancel the job"));
    m_cancel->setToolTip(tr("Cancel the job"));
    row->addWidget(m_model);
    row->addWidget(m_device);
    row->addWidget(m_context);
    row->addWidget(m_state);
    row->addWidget(m_rate);
    row->addStretch(1);
    row->addWidget(m_job);
    row->addWidget(m_progress);
    row->addWidget(m_cancel);
    connect(m_model, &QToolButton::clicked, this, &StatusStrip::models_wanted);
    connect(m_context, &QToolButton::clicked, this, &StatusStrip::chat_wanted);
    connect(m_rate, &QToolButton::clicked, this, &StatusStrip::chat_wanted);
    connect(m_state, &QToolButton::clicked, this, &StatusStrip::inspect_wanted);
    connect(m_cancel, &QToolButton::clicked, this, &StatusStrip::cancel_wanted);
    set_model({}, {});
    set_context(0, 0);
    set_state_bytes(0);
    set_rate(0);
    set_job({}, -1);
}

QToolButton* StatusStrip::add(const QString& caption) {
    auto* const button = new QToolButton(this);
    set_button_role(button, "strip");
    button->setProperty("caption", caption);
    return button;
}

void StatusStrip::show_figure(QToolButton* button, const QString& caption, const QString& text) {
    if (button->text() != text) {
        button->setText(text);
        button->setAccessibleName(caption + QStringLiteral(": ") + text);
    }
}

void StatusStrip::set_model(const QString& name, const QString& device) {
    show_figure(m_model, tr("Model"), name.isEmpty() ? tr("no model loaded") : name);
    m_model->setToolTip(tr("Opens Models (Ctrl+5)"));
    m_device->setText(device);
    m_device->setVisible(!device.isEmpty());
}

void StatusStrip::set_context(std::int64_t used, std::int64_t limit) {
    show_figure(m_context, tr("Context"),
                tr("%1 of %2 tokens").arg(count_text(used), tokens_text(limit)));
    m_context->setToolTip(tr("Context used; opens Chat"));
    m_context->setVisible(limit > 0);
}

void StatusStrip::set_state_bytes(std::int64_t bytes) {
    show_figure(m_state, tr("State"), tr("state %1").arg(bytes_text(bytes)));
    m_state->setToolTip(tr("Bytes all layers hold; opens Inspect"));
    m_state->setVisible(bytes > 0);
}

void StatusStrip::set_rate(double tokens_per_s) {
    show_figure(m_rate, tr("Decode"), rate_text(tokens_per_s));
    m_rate->setToolTip(tr("Decode speed of the last reply"));
    m_rate->setVisible(tokens_per_s > 0);
}

void StatusStrip::set_job(const QString& text, double fraction) {
    m_job->setText(text);
    m_job->setVisible(!text.isEmpty());
    m_progress->setVisible(!text.isEmpty());
    m_cancel->setVisible(!text.isEmpty());
    if (fraction < 0) {
        m_progress->setRange(0, 1);
        m_progress->setValue(0);
    } else {
        m_progress->setRange(0, 1000);
        m_progress->setValue(static_cast<int>(1000 * fraction));
    }
}

bool StatusStrip::has_job() const {
    return !m_job->text().isEmpty();
}

} // namespace hs
