#include "ui/chat/figures_bar.h"

#include "ui/shared/theme.h"
#include "ui/shared/units.h"

#include <QHBoxLayout>
#include <QLabel>
#include <QVBoxLayout>

namespace hs {

FiguresBar::FiguresBar(QWidget* parent)
    : QWidget(parent) {
    auto* const column = new QVBoxLayout(this);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(4);
    m_row = new QHBoxLayout;
    m_row->setSpacing(3 * kSpace);
    column->addLayout(m_row);
    m_context = add_figure(tr("context"), tr("Tokens the sequence holds, of the most it may"));
    m_ttft = add_figure(tr("TTFT"), tr("From the worker taking up the request to its first token"));
    m_decode = add_figure(tr("decode"), tr("Tokens per second after the first"));
    m_state = add_figure(tr("state"), tr("Bytes all layers hold for this conversation"));
    m_reused = add_figure(tr("tokens reused"), tr("Held already, not read again"));
    m_read = add_figure(tr("tokens read"), tr("Of the prompt, read for this reply"));
    m_row->addStretch(1);
    m_note = new QLabel(this);
    m_note->setWordWrap(true);
    m_note->setAccessibleName(tr("Why tokens were read again"));
    set_text_role(m_note, "caption");
    m_note->hide();
    column->addWidget(m_note);
    clear();
}

QLabel* FiguresBar::add_figure(const QString& caption, const QString& hint) {
    auto* const cell = new QVBoxLayout;
    cell->setSpacing(0);
    auto* const figure = new QLabel(this);
    set_text_role(figure, "heading");
    figure->setToolTip(hint);
    figure->setProperty("caption", caption);
    auto* const words = new QLabel(caption, this);
    words->setToolTip(hint);
    set_text_role(words, "caption");
    cell->addWidget(figure);
    cell->addWidget(words);
    m_row->addLayout(cell);
    return figure;
}

void FiguresBar::set_figure(QLabel* figure, const QString& text) {
    if (figure->text() != text) {
        figure->setText(text);
        figure->setAccessibleName(figure->property("caption").toString() + QLatin1Char(' ') + text);
    }
}

void FiguresBar::clear() {
    for (QLabel* const figure : {m_context, m_ttft, m_decode, m_state, m_reused, m_read}) {
        set_figure(figure, QStringLiteral("–"));
    }
    m_note->clear();
    m_note->hide();
}

void FiguresBar::set_context(std::int64_t used, std::int64_t limit) {
    set_figure(m_context, limit > 0 ? tr("%1 of %2").arg(count_text(used), tokens_text(limit))
                                    : count_text(used));
}

void FiguresBar::set_state_bytes(std::int64_t bytes, std::int64_t snapshot_bytes) {
    set_figure(m_state, bytes_text(bytes));
    m_state->setToolTip(tr("Bytes all layers hold for this conversation; besides, %1 of snapshots "
                           "to return to")
                            .arg(bytes_text(snapshot_bytes)));
}

void FiguresBar::set_live_rate(double tokens_per_s) {
    set_figure(m_decode, rate_text(tokens_per_s));
}

void FiguresBar::set_ttft(double ms) {
    set_figure(m_ttft, duration_text(ms));
}

void FiguresBar::set_result(const Timings& timings, const QString& reuse_note) {
    if (timings.ttft_ms > 0) {
        set_ttft(timings.ttft_ms);
    }
    if (timings.decode_ms > 0) {
        set_live_rate(timings.decode_tokens_per_s());
    }
    QString decode = tr("Tokens per second after the first");
    if (timings.drafted_tokens > 0) {
        decode += tr(". Of %1 tokens that its multi-token prediction head guessed ahead, %2 came: "
                     "%3 × the throughput without")
                      .arg(count_text(timings.drafted_tokens), count_text(timings.accepted_tokens),
                           QString::number(timings.draft_gain, 'f', 2));
    }
    m_decode->setToolTip(decode);
    m_decode->setAccessibleDescription(decode);
    set_figure(m_reused, count_text(timings.reused_tokens));
    set_figure(m_read, count_text(timings.prefilled_tokens));
    m_read->setToolTip(reuse_note.isEmpty() ? tr("Of the prompt, read for this reply")
                                            : reuse_note);
    m_note->setText(reuse_note);
    m_note->setVisible(!reuse_note.isEmpty());
}

} // namespace hs
