#include "ui/chat/sampling_panel.h"

#include "ui/shared/theme.h"

#include <QCheckBox>
#include <QDoubleSpinBox>
#include <QFormLayout>
#include <QLabel>
#include <QLineEdit>
#include <QPlainTextEdit>
#include <QPushButton>
#include <QRegularExpressionValidator>
#include <QScrollArea>
#include <QSpinBox>
#include <QVBoxLayout>

namespace hs {

namespace {

QDoubleSpinBox* number(QWidget* parent, double least, double most, double step) {
    auto* const box = new QDoubleSpinBox(parent);
    box->setDecimals(2);
    box->setRange(least, most);
    box->setSingleStep(step);
    return box;
}

} // namespace

SamplingPanel::SamplingPanel(QWidget* parent)
    : QWidget(parent) {
    setObjectName(QStringLiteral("sampling_panel"));
    auto* const scroll = new QScrollArea(this);
    scroll->setWidgetResizable(true);
    scroll->setFocusPolicy(Qt::NoFocus);
    scroll->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    auto* const page = new QWidget(scroll);
    scroll->setWidget(page);
    auto* const outer = new QVBoxLayout(this);
    outer->setContentsMargins(0, 0, 0, 0);
    outer->addWidget(scroll);

    m_system = new QPlainTextEdit(page);
    m_system->setObjectName(QStringLiteral("system_prompt"));
    m_system->setPlaceholderText(tr("What the model is told before the conversation"));
    m_system->setTabChangesFocus(true);
    m_system->setAccessibleName(tr("System prompt"));
    m_system->setFixedHeight(96);
    m_thinking = new QCheckBox(tr("&Think before answering"), page);
    m_thinking->setChecked(true);
    m_thinking->setAccessibleName(tr("Think before answering"));
    m_thinking->hide();
    m_temperature = number(page, 0.0, 4.0, 0.05);
    m_top_k = new QSpinBox(page);
    m_top_k->setRange(0, 100000);
    m_top_p = number(page, 0.0, 1.0, 0.01);
    m_min_p = number(page, 0.0, 1.0, 0.01);
    m_repetition = number(page, 0.5, 2.0, 0.01);
    m_presence = number(page, -2.0, 2.0, 0.05);
    m_seed = new QLineEdit(page);
    m_seed->setPlaceholderText(tr("a fresh one per reply"));
    m_seed->setValidator(
        new QRegularExpressionValidator(QRegularExpression(QStringLiteral("[0-9]{0,18}")), m_seed));
    m_max_tokens = new QSpinBox(page);
    m_max_tokens->setRange(1, 1 << 20);
    m_max_tokens->setValue(1024);
    m_reset = new QPushButton(tr("Back to the &recommended"), page);

    auto* const column = new QVBoxLayout(page);
    column->setContentsMargins(2 * kSpace, kSpace, 2 * kSpace, 2 * kSpace);
    column->setSpacing(kSpace);
    auto* const system_label = new QLabel(tr("S&ystem prompt"), page);
    set_text_role(system_label, "heading");
    system_label->setBuddy(m_system);
    column->addWidget(system_label);
    column->addWidget(m_system);
    column->addWidget(m_thinking);
    auto* const sampling_label = new QLabel(tr("Sampling"), page);
    set_text_role(sampling_label, "heading");
    column->addSpacing(kSpace);
    column->addWidget(sampling_label);
    auto* const form = new QFormLayout;
    form->setVerticalSpacing(6);
    form->setFieldGrowthPolicy(QFormLayout::AllNonFixedFieldsGrow);
    const auto row = [&](const QString& label, QWidget* field, const QString& hint) {
        auto* const words = new QLabel(label, page);
        words->setBuddy(field);
        field->setAccessibleName(QString(label).remove(QLatin1Char('&')));
        field->setAccessibleDescription(hint);
        field->setToolTip(hint);
        form->addRow(words, field);
    };
    row(tr("&Temperature"), m_temperature, tr("0 is greedy: the same answer every time."));
    row(tr("Top-&k"), m_top_k, tr("Only the k likeliest tokens; 0 is off."));
    row(tr("Top-&p"), m_top_p, tr("The likeliest tokens that together reach p; 1 is off."));
    row(tr("M&in-p"), m_min_p, tr("Tokens at least this share of the likeliest; 0 is off."));
    row(tr("Re&petition"), m_repetition, tr("Makes tokens that occurred less likely; 1 is off."));
    row(tr("Pre&sence"), m_presence, tr("A flat penalty for tokens that occurred; 0 is off."));
    row(tr("See&d"), m_seed, tr("The same seed and settings give the same reply."));
    row(tr("&Longest"), m_max_tokens, tr("Tokens of one reply, at most."));
    column->addLayout(form);
    column->addWidget(m_reset);
    column->addStretch(1);
    connect(m_reset, &QPushButton::clicked, this, [this] { set_sampling(m_recommended); });
    set_sampling(m_recommended);
}

Sampling SamplingPanel::sampling() const {
    return {.temperature = m_temperature->value(),
            .top_k = m_top_k->value(),
            .top_p = m_top_p->value(),
            .min_p = m_min_p->value(),
            .repetition_penalty = m_repetition->value(),
            .presence_penalty = m_presence->value(),
            .seed = m_seed->text().toULongLong()};
}

void SamplingPanel::set_sampling(const Sampling& sampling) {
    m_temperature->setValue(sampling.temperature);
    m_top_k->setValue(sampling.top_k);
    m_top_p->setValue(sampling.top_p);
    m_min_p->setValue(sampling.min_p);
    m_repetition->setValue(sampling.repetition_penalty);
    m_presence->setValue(sampling.presence_penalty);
    m_seed->setText(sampling.seed == 0 ? QString() : QString::number(sampling.seed));
}

void SamplingPanel::set_recommended(const Sampling& sampling, bool from_model) {
    m_recommended = sampling;
    m_reset->setToolTip(from_model ? tr("What the model's files recommend")
                                   : tr("Your own defaults, from Settings"));
    set_sampling(sampling);
}

std::int64_t SamplingPanel::max_tokens() const {
    return m_max_tokens->value();
}

void SamplingPanel::set_max_tokens(std::int64_t tokens) {
    m_max_tokens->setValue(static_cast<int>(tokens));
}

QString SamplingPanel::system_prompt() const {
    return m_system->toPlainText().trimmed();
}

void SamplingPanel::set_system_prompt(const QString& text) {
    m_system->setPlainText(text);
}

bool SamplingPanel::thinking() const {
    return m_thinking->isChecked();
}

void SamplingPanel::set_can_think(bool can) {
    m_thinking->setVisible(can);
}

void SamplingPanel::take_focus() {
    m_system->setFocus();
}

} // namespace hs
