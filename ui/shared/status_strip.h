#pragma once
// The line at the foot of the window: model, device, context, state, speed, and the job in
// progress with a way to cancel it. Each figure opens the page it belongs to.

#include <QFrame>
#include <QString>

#include <cstdint>

class QLabel;
class QProgressBar;
class QToolButton;

namespace hs {

class StatusStrip : public QFrame {
    Q_OBJECT

public:
    explicit StatusStrip(QWidget* parent = nullptr);

    void set_model(const QString& name, const QString& device);
    void set_context(std::int64_t used, std::int64_t limit);
    void set_state_bytes(std::int64_t bytes);
    void set_rate(double tokens_per_s);
    // fraction below 0: not known. Empty text: no job.
    void set_job(const QString& text, double fraction);
    bool has_job() const;

signals:
    void models_wanted();
    void chat_wanted();
    void inspect_wanted();
    void cancel_wanted();

private:
    QToolButton* add(const QString& caption);
    void show_figure(QToolButton* button, const QString& caption, const QString& text);

    QToolButton* m_model;
    QLabel* m_device;
    QToolButton* m_context;
    QToolButton* m_state;
    QToolButton* m_rate;
    QLabel* m_job;
    QProgressBar* m_progress;
    QToolButton* m_cancel;
};

} // namespace hs
