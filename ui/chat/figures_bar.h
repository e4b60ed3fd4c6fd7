#pragma once
// What the last reply cost, always under the conversation: context used, TTFT, decode speed, state
// bytes, tokens reused and read again, with the reason in words.

#include "engine/run/events.h"

#include <QWidget>

class QLabel;
class QHBoxLayout;

namespace hs {

class FiguresBar : public QWidget {
    Q_OBJECT

public:
    explicit FiguresBar(QWidget* parent = nullptr);

    void clear();
    void set_context(std::int64_t used, std::int64_t limit);
    void set_state_bytes(std::int64_t bytes, std::int64_t snapshot_bytes);
    void set_live_rate(double tokens_per_s);
    void set_ttft(double ms);
    void set_result(const Timings& timings, const QString& reuse_note);

private:
    QLabel* add_figure(const QString& caption, const QString& hint);
    void set_figure(QLabel* figure, const QString& text);

    QLabel* m_context;
    QLabel* m_ttft;
    QLabel* m_decode;
    QLabel* m_state;
    QLabel* m_reused;
    QLabel* m_read;
    QLabel* m_note;
    QHBoxLayout* m_row;
};

} // namespace hs
