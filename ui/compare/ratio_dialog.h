#pragma once
// One model at several hybrid ratios, as arms of a comparison: which layers keep full attention,
// what the others become, how many layers, and what that takes. Shows the schedule before it runs.

#include "engine/lab/experiment.h"
#include "engine/spec/model_spec.h"

#include <QDialog>
#include <QMetaType>

#include <optional>
#include <vector>

class QCheckBox;
class QComboBox;
class QDialogButtonBox;
class QLabel;
class QLineEdit;
class QSpinBox;
class QVBoxLayout;

namespace hs {

class EngineHost;
class LayerStrip;
struct ModelSummary;

class RatioDialog : public QDialog {
    Q_OBJECT

public:
    struct Choice {
        QString model; // path or name
        QString label;
    };
    RatioDialog(EngineHost& host, const std::vector<Choice>& models, QWidget* parent = nullptr);

    // One arm per ratio that was chosen; empty while the model is being read.
    std::vector<Arm> arms() const;

signals:
    void chosen(const std::vector<hs::Arm>& arms);

private:
    void read_model();
    void show_model(const ModelSummary& summary);
    void show_plan();
    ScheduleEdit edit_of(const QString& full) const;
    QStringList ratios() const;

    EngineHost* m_host;
    quint64 m_inspecting = 0;
    std::optional<ModelSpec> m_spec;
    bool m_weights_present = false;
    QComboBox* m_model;
    std::vector<QCheckBox*> m_ratios;
    QLineEdit* m_list;
    QComboBox* m_other;
    QSpinBox* m_window;
    QSpinBox* m_layers;
    QComboBox* m_weights;
    QVBoxLayout* m_strips;
    std::vector<QWidget*> m_rows;
    QLabel* m_note;
    QDialogButtonBox* m_buttons;
};

} // namespace hs

Q_DECLARE_METATYPE(hs::Arm)
