#include "ui/inspect/inspect_panel.h"

#include "app/bridge/engine_host.h"
#include "engine/spec/ratio.h"
#include "ui/inspect/layers_model.h"
#include "ui/plots/plot_view.h"
#include "ui/shared/layer_strip.h"
#include "ui/shared/theme.h"
#include "ui/shared/units.h"

#include <QHeaderView>
#include <QLabel>
#include <QSplitter>
#include <QStackedWidget>
#include <QTableView>
#include <QVBoxLayout>

#include <algorithm>

namespace hs {

namespace {

DType kv_dtype_of(const ModelSummary& summary) {
    if (summary.kv_dtype == QLatin1String("f32")) {
        return DType::F32;
    }
    return summary.kv_dtype == QLatin1String("bf16") ? DType::BF16 : DType::F16;
}

// Predicted state over context, at lengths dense enough for a smooth line.
PlotCurve predicted(const QString& label, int style, const ModelSpec& spec,
                    const StateOptions& options, std::int64_t most_tokens) {
    PlotCurve series{label, style, {}, {}, {}, {}, false};
    constexpr int kSteps = 64;
    for (int i = 0; i <= kSteps; ++i) {
        const std::int64_t tokens = most_tokens * i / kSteps;
        series.x.append(static_cast<double>(tokens));
        series.y.append(static_cast<double>(state_bytes(spec, tokens, options)));
    }
    return series;
}

} // namespace

InspectPanel::InspectPanel(EngineHost& host, QWidget* parent)
    : Page(parent)
    , m_host(&host)
    , m_layers(new LayersModel(this))
    , m_stack(new QStackedWidget)
    , m_title(new QLabel)
    , m_facts(new QLabel)
    , m_strip(new LayerStrip)
    , m_table(new QTableView)
    , m_plot(new PlotView) {
    set_text_role(m_title, "title");
    set_text_role(m_facts, "muted");
    m_facts->setWordWrap(true);
    m_title->setAccessibleName(tr("Model"));
    m_facts->setAccessibleName(tr("About the model"));
    m_title->setTextInteractionFlags(Qt::TextSelectableByMouse);
    m_facts->setTextInteractionFlags(Qt::TextSelectableByMouse);

    m_table->setObjectName(QStringLiteral("layer_table"));
    m_table->setAccessibleName(tr("Layers"));
    m_table->setModel(m_layers);
    m_table->setSelectionBehavior(QAbstractItemView::SelectRows);
    m_table->setSelectionMode(QAbstractItemView::SingleSelection);
    m_table->setEditTriggers(QAbstractItemView::NoEditTriggers);
    m_table->setTabKeyNavigation(false);
    m_table->setShowGrid(false);
    m_table->verticalHeader()->hide();
    m_table->horizontalHeader()->setHighlightSections(false);
    m_table->horizontalHeader()->setSectionResizeMode(QHeaderView::ResizeToContents);
    m_table->horizontalHeader()->setSectionResizeMode(LayersModel::Shape, QHeaderView::Stretch);
    m_plot->set_title(tr("Growth of the state"));

    auto* rows = new QSplitter(Qt::Vertical);
    rows->setChildrenCollapsible(false);
    rows->addWidget(m_table);
    rows->addWidget(m_plot);
    rows->setStretchFactor(0, 1);
    rows->setStretchFactor(1, 1);

    auto* shown = new QWidget;
    auto* column = new QVBoxLayout(shown);
    column->setContentsMargins(2 * kSpace, 2 * kSpace, 2 * kSpace, 2 * kSpace);
    column->setSpacing(kSpace);
    column->addWidget(m_title);
    column->addWidget(m_facts);
    column->addWidget(m_strip);
    column->addWidget(rows, 1);

    auto* empty = new QLabel(
        tr("Load a model, or choose one under Models, to see its layers: the kind of each, what "
           "it holds now, and what it will hold at any context."));
    empty->setAlignment(Qt::AlignCenter);
    empty->setWordWrap(true);
    empty->setMargin(6 * kSpace);
    set_text_role(empty, "muted");
    m_stack->addWidget(empty);
    m_stack->addWidget(shown);
    auto* whole = new QVBoxLayout(this);
    whole->setContentsMargins(0, 0, 0, 0);
    whole->addWidget(m_stack);

    connect(m_strip, &LayerStrip::layer_chosen, this,
            [this](int layer) { m_table->selectRow(layer); });
    connect(m_table->selectionModel(), &QItemSelectionModel::currentRowChanged, this,
            [this](const QModelIndex& row) { m_strip->set_current_layer(row.row()); });
    connect(m_host, &EngineHost::model_opened, this,
            [this](RequestId, const ModelSummary& summary) { show_model(summary); });
    connect(m_host, &EngineHost::model_inspected, this,
            [this](RequestId, const ModelSummary& summary) {
                if (!m_host->model()) {
                    show_model(summary);
                }
            });
    connect(m_host, &EngineHost::model_closed, this, [this] { forget_model(); });
}

void InspectPanel::show_model(const ModelSummary& summary) {
    m_summary = summary;
    m_options = {kv_dtype_of(summary), std::max<std::int64_t>(1, summary.context_limit)};
    m_measured.clear();
    m_layers->set_spec(summary.spec, m_options);
    m_strip->set_spec(summary.spec);
    const ParameterCount parameters = count_parameters(summary.spec);
    const StatePlan plan = plan_state(summary.spec, m_options);
    QStringList facts;
    facts << QString::fromStdString(describe_schedule(summary.spec));
    facts << (parameters.active < parameters.total
                  ? tr("%1 parameters, %2 active")
                        .arg(short_count_text(parameters.total),
                             short_count_text(parameters.active))
                  : tr("%1 parameters").arg(short_count_text(parameters.total)));
    facts << tr("weights %1").arg(bytes_text(summary.weight_bytes));
    facts << tr("state grows %1").arg(bytes_per_token_text(plan.growth_bytes_per_token));
    if (plan.fixed_bytes > 0) {
        facts << tr("%1 fixed").arg(bytes_text(plan.fixed_bytes));
    }
    const std::int64_t even = break_even_tokens(summary.spec, m_options);
    if (even > 0) {
        facts << tr("smaller than full attention from %1 tokens").arg(count_text(even));
    }
    if (!summary.spec.cannot_run.empty()) {
        facts << tr("planned, not run: %1").arg(QString::fromStdString(summary.spec.cannot_run));
    }
    m_title->setText(summary.name);
    m_facts->setText(facts.join(tr(" · ")));
    m_stack->setCurrentIndex(1);
    draw_growth();
}

void InspectPanel::show_state(const StateEvent& state) {
    if (state.entries.empty()) {
        return;
    }
    m_layers->set_state(state);
    m_strip->set_state(state);
    double used = 0;
    for (const LedgerEntry& entry : state.entries) {
        used += static_cast<double>(entry.used_bytes);
    }
    m_measured[state.context_tokens] = used;
    if (isVisible()) {
        draw_growth();
    }
}

void InspectPanel::forget_model() {
    m_summary = {};
    m_measured.clear();
    m_layers->clear();
    m_strip->clear();
    m_stack->setCurrentIndex(0);
}

void InspectPanel::draw_growth() {
    if (m_summary.spec.layers.empty()) {
        return;
    }
    const std::int64_t most = std::max<std::int64_t>(
        1, m_summary.context_limit > 0 ? m_summary.context_limit : m_summary.spec.context_length);
    PlotContent content;
    content.x_title = tr("context, tokens");
    content.y_title = tr("state");
    content.unit = CurveUnit::Bytes;
    content.series.append(
        predicted(tr("this model, predicted"), 0, m_summary.spec, m_options, most));
    const auto twin = full_attention_twin(m_summary.spec);
    if (twin && *twin != m_summary.spec) {
        content.series.append(
            predicted(tr("full attention at every layer"), 1, *twin, m_options, most));
        content.series.back().reference = true;
    }
    if (!m_measured.empty()) {
        PlotCurve measured{tr("measured"), 2, {}, {}, {}, {}, false};
        for (const auto& [context, bytes] : m_measured) {
            measured.x.append(static_cast<double>(context));
            measured.y.append(bytes);
        }
        content.series.append(std::move(measured));
    }
    content.method = tr("Predicted from the dimensions alone with a KV cache in %1; measured: the "
                        "ledger's account of the sequence in the chat")
                         .arg(QString::fromLatin1(to_string(m_options.kv_dtype)).toLower());
    m_plot->set_content(content);
}

void InspectPanel::take_focus() {
    if (m_stack->currentIndex() == 1) {
        m_table->setFocus();
    } else {
        setFocus();
    }
}

} // namespace hs
