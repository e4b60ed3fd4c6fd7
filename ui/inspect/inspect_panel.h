#pragma once
// The page Inspect: the layers of a model, loaded or only looked at, what each holds now, and how
// the state grows with context beside the same model with full attention at every layer.

#include "app/bridge/chat_engine.h"
#include "engine/lab/planner.h"
#include "ui/shared/page.h"

#include <map>

class QLabel;
class QPushButton;
class QStackedWidget;
class QTableView;

namespace hs {

class EngineHost;
class LayerStrip;
class LayersModel;
class PlotView;

class InspectPanel : public Page {
    Q_OBJECT

public:
    explicit InspectPanel(EngineHost& host, QWidget* parent = nullptr);

    LayersModel* model() const { return m_layers; }
    PlotView* plot() const { return m_plot; }

    void show_model(const ModelSummary& summary);
    // What the shown sequence holds now; drawn as points beside the prediction.
    void show_state(const StateEvent& state);
    void forget_model();
    void take_focus() override;

private:
    void draw_growth();

    EngineHost* m_host;
    LayersModel* m_layers;
    QStackedWidget* m_stack;
    QLabel* m_title;
    QLabel* m_facts;
    LayerStrip* m_strip;
    QTableView* m_table;
    PlotView* m_plot;
    ModelSummary m_summary;
    StateOptions m_options;
    std::map<std::int64_t, double> m_measured; // context to bytes used
};

} // namespace hs
