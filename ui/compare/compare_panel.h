#pragma once
// The page Compare: edits an Experiment, shows its progress, the answers side by side, figures
// against the baseline arm, and live plots. Reopens a stored comparison the same way.

#include "app/bridge/event_buffer.h"
#include "engine/lab/experiment.h"
#include "ui/plots/plot_source.h"
#include "ui/shared/page.h"

#include <QTimer>

#include <vector>

class QComboBox;
class QLabel;
class QLineEdit;
class QListWidget;
class QListWidgetItem;
class QPlainTextEdit;
class QProgressBar;
class QPushButton;
class QSpinBox;
class QSplitter;
class QStackedWidget;
class QTableView;

namespace hs {

class ArmsModel;
class EngineHost;
class LayerStrip;
class PlotView;

class ComparePanel : public Page {
    Q_OBJECT

public:
    explicit ComparePanel(EngineHost& host, QWidget* parent = nullptr);

    // What the editor says now.
    Experiment experiment() const;
    void set_experiment(const Experiment& experiment);
    // Checks these models in the list, adding those it does not have.
    void choose_models(const QStringList& models);
    // Shows a stored comparison.
    void open_session(std::int64_t session);
    bool running() const { return m_request != 0; }
    const PlotSource& source() const { return m_source; }
    ArmsModel* arms() const { return m_arms; }
    void take_focus() override;

public slots:
    void start();
    void stop();
    void export_report();

signals:
    void finished(std::int64_t session);

private:
    struct Answer { // one column of the page
        QWidget* column = nullptr;
        QLabel* title = nullptr;
        LayerStrip* strip = nullptr;
        QPlainTextEdit* text = nullptr;
        int shown_run = -1;
    };
    QWidget* make_editor();
    QWidget* make_results();
    void add_model_row(const QString& model, const QString& label, bool checked);
    void fill_bundled();
    void add_arm_row(const Arm& arm);
    void add_file();
    void add_ratios();
    void fill_baselines();
    void show_source(PlotSource source);
    void make_answers();
    void take_frames();
    void append(const ExperimentFrame::ArmNews& news);
    void redraw(); // soon, ten times a second at most
    void redraw_now();
    void set_running(bool running);
    void say(const QString& text);

    EngineHost* m_host;
    RequestId m_request = 0;
    PlotSource m_source;
    QTimer m_redraw_soon;

    QListWidget* m_models;
    QPushButton* m_add;
    QPushButton* m_add_ratios;
    QComboBox* m_baseline;
    QPlainTextEdit* m_prompt;
    QSpinBox* m_tokens;
    QSpinBox* m_repeats;
    QLineEdit* m_depths;
    QPushButton* m_run;
    QPushButton* m_stop;
    QPushButton* m_export;
    QProgressBar* m_progress;
    QLabel* m_status;
    QStackedWidget* m_results;
    QTableView* m_table;
    ArmsModel* m_arms;
    std::vector<std::pair<QComboBox*, PlotView*>> m_plots;
    QSplitter* m_answers_row;
    std::vector<Answer> m_answers;
};

} // namespace hs
