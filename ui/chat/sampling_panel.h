#pragma once
// The settings of one conversation: system prompt, thinking, and how the next token is chosen.

#include "engine/run/events.h"

#include <QWidget>

class QCheckBox;
class QDoubleSpinBox;
class QLineEdit;
class QPlainTextEdit;
class QPushButton;
class QSpinBox;

namespace hs {

class SamplingPanel : public QWidget {
    Q_OBJECT

public:
    explicit SamplingPanel(QWidget* parent = nullptr);

    Sampling sampling() const;
    void set_sampling(const Sampling& sampling);
    // What "Recommended" returns to: the model's own, or the person's defaults.
    void set_recommended(const Sampling& sampling, bool from_model);
    std::int64_t max_tokens() const;
    void set_max_tokens(std::int64_t tokens);
    QString system_prompt() const;
    void set_system_prompt(const QString& text);
    bool thinking() const;
    void set_can_think(bool can);
    void take_focus();

private:
    QPlainTextEdit* m_system;
    QCheckBox* m_thinking;
    QDoubleSpinBox* m_temperature;
    QSpinBox* m_top_k;
    QDoubleSpinBox* m_top_p;
    QDoubleSpinBox* m_min_p;
    QDoubleSpinBox* m_repetition;
    QDoubleSpinBox* m_presence;
    QLineEdit* m_seed;
    QSpinBox* m_max_tokens;
    QPushButton* m_reset;
    Sampling m_recommended;
};

} // namespace hs
