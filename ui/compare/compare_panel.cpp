#include "ui/compare/compare_panel.h"

#include "app/bridge/engine_host.h"
#include "ui/compare/arms_model.h"
#include "ui/compare/ratio_dialog.h"
#include "ui/plots/plot_view.h"
#include "ui/plots/plots.h"
#include "ui/reports/report_dialog.h"
#include "ui/shared/layer_strip.h"
#include "ui/shared/theme.h"
#include "ui/shared/units.h"

#include <QComboBox>
#include <QFileDialog>
#include <QFileInfo>
#include <QFormLayout>
#include <QHBoxLayout>
#include <QHeaderView>
#include <QLabel>
#include <QLineEdit>
#include <QListWidget>
#include <QPlainTextEdit>
#include <QProgressBar>
#include <QPushButton>
#include <QRegularExpression>
#include <QScrollArea>
#include <QScrollBar>
#include <QSpinBox>
#include <QSplitter>
#include <QStackedWidget>
#include <QTableView>
#include <QVBoxLayout>

#include <algorithm>
#include <map>

namespace hs {

namespace {

constexpr int kModelRole = Qt::UserRole;
constexpr int kArmRole = Qt::UserRole + 1; // an Arm with another schedule than the model's

QString label_of(const std::string& model) {
    QString name = QFileInfo(QString::fromStdString(model)).completeBaseName();
    static const QString kBundled = QStringLiteral("hybridscope-ratio-");
    if (name.startsWith(kBundled)) {
        const QString kind = name.mid(kBundled.size());
        if (kind == QLatin1String("full")) {
            return ComparePanel::tr("full");
        }
        if (kind == QLatin1String("none")) {
            return ComparePanel::tr("none full");
        }
        // Of "Ratio 1:3, KDA" the part that tells arms apart.
        static const QRegularExpression ratio(QStringLiteral("\\d.*"));
        return ratio.match(bundled_label(name)).captured();
    }
    return name.isEmpty() ? QString::fromStdString(model) : name;
}

QLabel* heading(const QString& text) {
    auto* label = new QLabel(text);
    set_text_role(label, "heading");
    return label;
}

} // namespace

ComparePanel::ComparePanel(EngineHost& host, QWidget* parent)
    : Page(parent)
    , m_host(&host)
    , m_models(new QListWidget)
    , m_add(new QPushButton(tr("&Add a model…")))
    , m_add_ratios(new QPushButton(tr("Add rati&os…")))
    , m_baseline(new QComboBox)
    , m_prompt(new QPlainTextEdit)
    , m_tokens(new QSpinBox)
    , m_repeats(new QSpinBox)
    , m_depths(new QLineEdit)
    , m_run(new QPushButton(tr("&Run the comparison")))
    , m_stop(new QPushButton(tr("S&top")))
    , m_export(new QPushButton(tr("&Export…")))
    , m_progress(new QProgressBar)
    , m_status(new QLabel)
    , m_results(new QStackedWidget)
    , m_table(new QTableView)
    , m_arms(new ArmsModel(this))
    , m_answers_row(new QSplitter(Qt::Horizontal)) {
    auto* split = new QSplitter(Qt::Horizontal);
    split->setChildrenCollapsible(false);
    split->addWidget(make_editor());
    split->addWidget(make_results());
    split->setStretchFactor(0, 0);
    split->setStretchFactor(1, 1);
    split->setSizes({296, 900});
    auto* row = new QHBoxLayout(this);
    row->setContentsMargins(0, 0, 0, 0);
    row->addWidget(split);

    m_redraw_soon.setSingleShot(true);
    m_redraw_soon.setInterval(100);
    connect(&m_redraw_soon, &QTimer::timeout, this, &ComparePanel::redraw_now);

    connect(m_host, &EngineHost::frame_ready, this, &ComparePanel::take_frames);
    connect(m_host, &EngineHost::experiment_started, this,
            [this](RequestId request, std::int64_t session) {
                if (request == m_request) {
                    m_source.session = session;
                }
            });
    connect(m_host, &EngineHost::arm_ready, this,
            [this](RequestId request, int arm, const ModelSpec& spec) {
                const auto at = static_cast<std::size_t>(arm);
                if (request != m_request || at >= m_source.arms.size()) {
                    return;
                }
                m_source.arms[at].schedule = QString::fromStdString(describe_schedule(spec));
                m_source.arms[at].layers.clear();
                for (const LayerSpec& layer : spec.layers) {
                    m_source.arms[at].layers.push_back(kind_of(layer.mixer));
                }
                redraw();
            });
    connect(m_host, &EngineHost::run_finished, this,
            [this](RequestId request, const RunResult& run) {
                const auto at = static_cast<std::size_t>(run.arm);
                if (request != m_request || at >= m_source.arms.size()) {
                    return;
                }
                take_frames(); // its samples come before its end
                std::vector<RunSource>& runs = m_source.arms[at].runs;
                if (runs.empty()) {
                    runs.emplace_back();
                }
                runs.back().repeat = run.repeat;
                runs.back().depth = run.depth;
                runs.back().warm_up = run.warm_up;
                runs.back().complete = run.reply.reason != FinishReason::Failed &&
                                       run.reply.reason != FinishReason::Stopped;
                runs.back().text = QString::fromStdString(run.reply.text);
                redraw();
            });
    connect(m_host, &EngineHost::experiment_finished, this,
            [this](RequestId request, std::int64_t session, const ExperimentResult& result) {
                if (request != m_request) {
                    return;
                }
                for (std::size_t i = 0; i < std::min(result.arms.size(), m_source.arms.size());
                     ++i) {
                    m_source.arms[i].weight_bytes = result.arms[i].weight_bytes;
                }
                m_source.session = session;
                m_source.state =
                    result.stopped ? QStringLiteral("stopped") : QStringLiteral("complete");
                set_running(false);
                say(result.stopped ? tr("Stopped; what was measured is kept.")
                                   : tr("Done. Everything measured is kept under Sessions."));
                redraw_now();
                emit finished(session);
            });
    connect(m_host, &EngineHost::failed, this,
            [this](RequestId request, const QString& what, const QString& remedy) {
                if (request == m_request && m_request != 0) {
                    set_running(false);
                    say(what);
                    emit trouble(what, remedy);
                }
            });
    connect(m_host, &EngineHost::stopped, this, [this](RequestId request) {
        if (request == m_request && m_request != 0) {
            set_running(false);
            say(tr("Stopped."));
        }
    });
    fill_bundled();
    set_running(false);
}

QWidget* ComparePanel::make_editor() {
    m_models->setObjectName(QStringLiteral("compare_models"));
    m_models->setAccessibleName(tr("Models to compare"));
    m_models->setMinimumHeight(120);
    m_add->setObjectName(QStringLiteral("compare_add"));
    m_baseline->setAccessibleName(tr("Baseline"));
    m_prompt->setObjectName(QStringLiteral("compare_prompt"));
    m_prompt->setAccessibleName(tr("Prompt"));
    m_prompt->setTabChangesFocus(true);
    m_prompt->setPlaceholderText(tr("One question for all of them"));
    m_prompt->setPlainText(
        tr("Remember: the code of the blue box is 4182. The code of the red box is 7730. "
           "What is the code of the blue box?"));
    m_tokens->setRange(1, 4096);
    m_tokens->setValue(64);
    m_tokens->setAccessibleName(tr("Tokens to generate"));
    m_repeats->setRange(1, 100);
    m_repeats->setValue(3);
    m_repeats->setAccessibleName(tr("Repeats"));
    m_depths->setObjectName(QStringLiteral("compare_depths"));
    m_depths->setAccessibleName(tr("Context lengths"));
    m_depths->setPlaceholderText(tr("none: the prompt alone"));
    m_depths->setToolTip(tr("Context to fill before decoding is timed, for example 512, 2048"));
    m_run->setObjectName(QStringLiteral("compare_run"));
    set_button_role(m_run, "primary");
    m_stop->setObjectName(QStringLiteral("compare_stop"));
    m_progress->setAccessibleName(tr("Progress of the comparison"));
    m_progress->setTextVisible(false);
    m_status->setWordWrap(true);
    m_status->setObjectName(QStringLiteral("compare_status"));

    auto* form = new QFormLayout;
    form->setContentsMargins(0, 0, 0, 0);
    form->setSpacing(kSpace);
    form->addRow(tr("&Baseline:"), m_baseline);
    form->addRow(tr("Tokens to &generate:"), m_tokens);
    form->addRow(tr("Re&peats:"), m_repeats);
    form->addRow(tr("Context &lengths:"), m_depths);

    auto* models_label = heading(tr("&Models"));
    models_label->setBuddy(m_models);
    auto* prompt_label = heading(tr("&Prompt"));
    prompt_label->setBuddy(m_prompt);
    auto* buttons = new QHBoxLayout;
    buttons->setSpacing(kSpace);
    buttons->addWidget(m_run, 1);
    buttons->addWidget(m_stop);

    auto* editor = new QWidget;
    auto* column = new QVBoxLayout(editor);
    column->setContentsMargins(2 * kSpace, 2 * kSpace, kSpace, 2 * kSpace);
    column->setSpacing(kSpace);
    column->addWidget(models_label);
    column->addWidget(m_models, 2);
    auto* const adders = new QHBoxLayout;
    adders->addWidget(m_add);
    adders->addWidget(m_add_ratios);
    adders->addStretch(1);
    column->addLayout(adders);
    column->addWidget(prompt_label);
    column->addWidget(m_prompt, 2);
    column->addLayout(form);
    column->addLayout(buttons);
    column->addWidget(m_progress);
    column->addWidget(m_status);
    editor->setMinimumWidth(264);

    connect(m_add, &QPushButton::clicked, this, &ComparePanel::add_file);
    m_add_ratios->setObjectName(QStringLiteral("compare_add_ratios"));
    m_add_ratios->setToolTip(
        tr("One model, or a published architecture, at several hybrid ratios"));
    connect(m_add_ratios, &QPushButton::clicked, this, &ComparePanel::add_ratios);
    connect(m_models, &QListWidget::itemChanged, this, &ComparePanel::fill_baselines);
    connect(m_run, &QPushButton::clicked, this, &ComparePanel::start);
    connect(m_stop, &QPushButton::clicked, this, &ComparePanel::stop);
    connect(m_export, &QPushButton::clicked, this, &ComparePanel::export_report);
    return editor;
}

QWidget* ComparePanel::make_results() {
    m_table->setObjectName(QStringLiteral("compare_table"));
    m_table->setAccessibleName(tr("Figures of the arms"));
    m_table->setModel(m_arms);
    m_table->setSelectionBehavior(QAbstractItemView::SelectRows);
    m_table->setEditTriggers(QAbstractItemView::NoEditTriggers);
    m_table->setTabKeyNavigation(false);
    m_table->setShowGrid(false);
    m_table->verticalHeader()->hide();
    m_table->horizontalHeader()->setHighlightSections(false);
    m_table->horizontalHeader()->setSectionResizeMode(QHeaderView::ResizeToContents);
    m_table->horizontalHeader()->setStretchLastSection(true);

    auto* plots_row = new QSplitter(Qt::Horizontal);
    plots_row->setChildrenCollapsible(false);
    for (int side = 0; side < 2; ++side) {
        auto* choice = new QComboBox;
        auto* view = new PlotView;
        choice->setAccessibleName(side == 0 ? tr("Left plot") : tr("Right plot"));
        for (const PlotRow& row : plots()) {
            choice->addItem(plot_title(row), QString::fromLatin1(row.id));
        }
        choice->setCurrentIndex(side);
        view->set_title(choice->currentText());
        connect(choice, &QComboBox::currentIndexChanged, this, [this, choice, view] {
            view->set_title(choice->currentText());
            redraw_now();
        });
        auto* cell = new QWidget;
        auto* column = new QVBoxLayout(cell);
        column->setContentsMargins(0, 0, 0, 0);
        column->setSpacing(kSpace / 2);
        column->addWidget(choice, 0, Qt::AlignLeft);
        column->addWidget(view, 1);
        plots_row->addWidget(cell);
        m_plots.emplace_back(choice, view);
    }

    m_answers_row->setChildrenCollapsible(false);
    auto* scroll = new QScrollArea;
    scroll->setWidgetResizable(true);
    scroll->setFrameShape(QFrame::NoFrame);
    scroll->setWidget(m_answers_row);
    scroll->setFocusPolicy(Qt::NoFocus);

    auto* rows = new QSplitter(Qt::Vertical);
    rows->setChildrenCollapsible(false);
    rows->addWidget(scroll);
    rows->addWidget(plots_row);
    rows->addWidget(m_table);
    rows->setStretchFactor(0, 3);
    rows->setStretchFactor(1, 4);
    rows->setStretchFactor(2, 2);
    rows->setSizes({200, 300, 190});

    auto* top = new QHBoxLayout;
    top->addWidget(heading(tr("Answers, side by side")), 1);
    top->addWidget(m_export);
    auto* shown = new QWidget;
    auto* column = new QVBoxLayout(shown);
    column->setContentsMargins(kSpace, 2 * kSpace, 2 * kSpace, 2 * kSpace);
    column->setSpacing(kSpace);
    column->addLayout(top);
    column->addWidget(rows, 1);

    auto* empty = new QLabel(
        tr("Choose two or more models on the left, and run.\n\nEvery arm answers the same prompt, "
           "in turn, as often as you say. Memory, throughput and the state of every layer are "
           "drawn while it happens."));
    empty->setAlignment(Qt::AlignCenter);
    empty->setWordWrap(true);
    set_text_role(empty, "muted");
    empty->setMargin(6 * kSpace);
    m_results->addWidget(empty);
    m_results->addWidget(shown);
    return m_results;
}

void ComparePanel::add_model_row(const QString& model, const QString& label, bool checked) {
    auto* item = new QListWidgetItem(label, m_models);
    item->setData(kModelRole, model);
    item->setToolTip(model);
    item->setFlags(Qt::ItemIsEnabled | Qt::ItemIsSelectable | Qt::ItemIsUserCheckable);
    item->setCheckState(checked ? Qt::Checked : Qt::Unchecked);
}

void ComparePanel::add_arm_row(const Arm& arm) {
    add_model_row(QString::fromStdString(arm.model), QString::fromStdString(arm.label), true);
    QListWidgetItem* const item = m_models->item(m_models->count() - 1);
    item->setData(kArmRole, QVariant::fromValue(arm));
    item->setToolTip(tr("%1 with another schedule").arg(QString::fromStdString(arm.model)));
}

void ComparePanel::add_ratios() {
    std::vector<RatioDialog::Choice> models;
    for (const NamedModel& model : bundled_models()) {
        models.push_back({QString::fromStdString(model.name), label_of(model.name)});
    }
    for (int i = 0; i < m_models->count(); ++i) {
        const QListWidgetItem* const item = m_models->item(i);
        const QString model = item->data(kModelRole).toString();
        if (!item->data(kArmRole).isValid() &&
            std::none_of(models.begin(), models.end(),
                         [&](const auto& choice) { return choice.model == model; })) {
            models.push_back({model, item->text()});
        }
    }
    for (const NamedModel& published : published_architectures()) {
        models.push_back(
            {QString::fromStdString(published.name), QString::fromStdString(published.name)});
    }
    auto* const dialog = new RatioDialog(*m_host, models, this);
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    connect(dialog, &RatioDialog::chosen, this, [this](const std::vector<Arm>& arms) {
        // The new arms are compared with one another.
        for (int i = 0; i < m_models->count(); ++i) {
            m_models->item(i)->setCheckState(Qt::Unchecked);
        }
        for (const Arm& arm : arms) {
            add_arm_row(arm);
        }
        fill_baselines();
    });
    dialog->open();
}

void ComparePanel::fill_bundled() {
    for (const NamedModel& model : bundled_models()) {
        add_model_row(QString::fromStdString(model.name), label_of(model.name), true);
    }
    fill_baselines();
}

void ComparePanel::add_file() {
    auto* dialog = new QFileDialog(this, tr("Add a model to the comparison"));
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->setFileMode(QFileDialog::ExistingFiles);
    dialog->setNameFilters({tr("Models (*.gguf)"), tr("All files (*)")});
    connect(dialog, &QFileDialog::filesSelected, this, &ComparePanel::choose_models);
    dialog->open();
}

void ComparePanel::choose_models(const QStringList& models) {
    for (const QString& model : models) {
        bool found = false;
        for (int i = 0; i < m_models->count(); ++i) {
            QListWidgetItem* const item = m_models->item(i);
            if (item->data(kModelRole).toString() == model) {
                item->setCheckState(Qt::Checked);
                found = true;
            }
        }
        if (!found) {
            add_model_row(model, label_of(model.toStdString()), true);
        }
    }
    fill_baselines();
}

void ComparePanel::fill_baselines() {
    const QString chosen = m_baseline->currentText();
    m_baseline->clear();
    for (int i = 0; i < m_models->count(); ++i) {
        if (m_models->item(i)->checkState() == Qt::Checked) {
            m_baseline->addItem(m_models->item(i)->text());
        }
    }
    // Full attention is what people compare with, where it takes part.
    const int again = m_baseline->findText(chosen);
    const int full = m_baseline->findText(tr("full"), Qt::MatchEndsWith);
    m_baseline->setCurrentIndex(again >= 0 ? again : std::max(0, full));
}

Experiment ComparePanel::experiment() const {
    Experiment experiment;
    for (int i = 0; i < m_models->count(); ++i) {
        const QListWidgetItem* const item = m_models->item(i);
        if (item->checkState() == Qt::Checked) {
            Arm arm;
            arm.label = item->text().toStdString();
            arm.model = item->data(kModelRole).toString().toStdString();
            if (const QVariant edited = item->data(kArmRole); edited.isValid()) {
                arm = edited.value<Arm>();
            }
            experiment.arms.push_back(std::move(arm));
        }
    }
    experiment.workload.prompt = m_prompt->toPlainText().toStdString();
    experiment.workload.generate_tokens = m_tokens->value();
    static const QRegularExpression separators(QStringLiteral("[,;\\s]+"));
    for (const QString& depth : m_depths->text().split(separators, Qt::SkipEmptyParts)) {
        bool fine = false;
        const qlonglong tokens = depth.toLongLong(&fine);
        experiment.workload.depths.push_back(fine ? tokens : -1); // check() names the bad one
    }
    experiment.repeats = m_repeats->value();
    experiment.baseline = std::max(0, m_baseline->currentIndex());
    experiment.title = title_text(m_prompt->toPlainText()).toStdString();
    return experiment;
}

void ComparePanel::set_experiment(const Experiment& experiment) {
    for (int i = 0; i < m_models->count(); ++i) {
        m_models->item(i)->setCheckState(Qt::Unchecked);
    }
    QStringList models;
    for (const Arm& arm : experiment.arms) {
        if (arm.edit.empty()) {
            models << QString::fromStdString(arm.model);
        }
    }
    choose_models(models);
    for (const Arm& arm : experiment.arms) {
        if (!arm.edit.empty()) {
            add_arm_row(arm);
        }
    }
    m_prompt->setPlainText(QString::fromStdString(experiment.workload.prompt));
    m_tokens->setValue(static_cast<int>(experiment.workload.generate_tokens));
    m_repeats->setValue(experiment.repeats);
    QStringList depths;
    for (const std::int64_t depth : experiment.workload.depths) {
        depths << QString::number(depth);
    }
    m_depths->setText(depths.join(QStringLiteral(", ")));
    m_baseline->setCurrentIndex(experiment.baseline);
}

void ComparePanel::start() {
    if (running()) {
        return;
    }
    const Experiment plan = experiment();
    if (plan.arms.size() < 2) {
        say(tr("Check at least two models: one alone has nothing to be compared with."));
        m_models->setFocus();
        return;
    }
    if (const auto checked = check(plan); !checked.ok()) {
        say(QString::fromStdString(checked.error().text()));
        return;
    }
    PlotSource source;
    source.plan = plan;
    source.state = QStringLiteral("running");
    for (const Arm& arm : plan.arms) {
        source.arms.push_back(
            {QString::fromStdString(arm.label), QString::fromStdString(arm.model), {}, {}, 0, {}});
    }
    show_source(std::move(source));
    m_request = m_host->run_experiment(plan);
    set_running(true);
    say(tr("Waiting for the engine…"));
}

void ComparePanel::stop() {
    if (running()) {
        m_host->stop(m_request);
        say(tr("Stopping…"));
    }
}

void ComparePanel::set_running(bool running) {
    if (!running) {
        m_request = 0;
    }
    m_run->setEnabled(!running);
    m_stop->setEnabled(running);
    m_export->setEnabled(!running && m_source.session != 0);
    m_progress->setVisible(running);
    m_progress->setRange(0, 0);
}

void ComparePanel::say(const QString& text) {
    m_status->setText(text);
}

void ComparePanel::open_session(std::int64_t session) {
    m_host->side().run(
        this, [session](Database& database) { return read_plot_sources(database, session); },
        [this](Result<std::vector<PlotSource>> sources) {
            if (!sources.ok()) {
                emit trouble(QString::fromStdString(sources.error().what),
                             QString::fromStdString(sources.error().remedy));
                return;
            }
            if (running() || sources->empty()) {
                return;
            }
            set_experiment(sources->back().plan);
            show_source(std::move(sources->back()));
            set_running(false);
            say(tr("A kept comparison, %1.").arg(m_source.state));
        });
}

void ComparePanel::show_source(PlotSource source) {
    m_source = std::move(source);
    make_answers();
    m_results->setCurrentIndex(1);
    redraw_now();
}

void ComparePanel::make_answers() {
    for (Answer& answer : m_answers) {
        answer.column->deleteLater();
    }
    m_answers.clear();
    for (std::size_t i = 0; i < m_source.arms.size(); ++i) {
        Answer answer;
        answer.column = new QWidget;
        answer.title = heading(m_source.arms[i].label);
        answer.strip = new LayerStrip;
        answer.strip->set_caption_visible(false);
        answer.text = new QPlainTextEdit;
        answer.text->setReadOnly(true);
        answer.text->setTabChangesFocus(true);
        answer.text->setAccessibleName(tr("Answer of %1").arg(m_source.arms[i].label));
        answer.column->setMinimumWidth(160);
        auto* column = new QVBoxLayout(answer.column);
        column->setContentsMargins(0, 0, 0, 0);
        column->setSpacing(kSpace / 2);
        column->addWidget(answer.title);
        column->addWidget(answer.strip);
        column->addWidget(answer.text, 1);
        m_answers_row->addWidget(answer.column);
        m_answers.push_back(answer);
    }
}

void ComparePanel::take_frames() {
    if (!running()) {
        return;
    }
    for (const ExperimentFrame& frame : m_host->take_experiments()) {
        if (frame.request != m_request) {
            continue;
        }
        const ExperimentProgress& progress = frame.progress;
        if (progress.total_runs > 0) {
            m_progress->setRange(0, progress.total_runs);
            m_progress->setValue(progress.done_runs);
            QString text = QString::fromStdString(progress.stage);
            if (progress.remaining_s >= 0) {
                text = tr("%1 — about %2 left")
                           .arg(text, duration_text(progress.remaining_s * 1000.0));
            }
            say(text);
        }
        for (const ExperimentFrame::ArmNews& news : frame.news) {
            append(news);
        }
        redraw();
    }
}

void ComparePanel::append(const ExperimentFrame::ArmNews& news) {
    const auto at = static_cast<std::size_t>(news.arm);
    if (at >= m_source.arms.size()) {
        return;
    }
    std::vector<RunSource>& runs = m_source.arms[at].runs;
    const bool same_run = !runs.empty() && !runs.back().complete &&
                          runs.back().repeat == news.repeat && runs.back().warm_up == news.warm_up;
    if (!same_run) {
        runs.push_back({news.repeat, 0, news.warm_up, false, {}, {}});
    }
    runs.back().text += QString::fromStdString(news.new_text);
    runs.back().samples.insert(runs.back().samples.end(), news.samples.begin(), news.samples.end());
    // The answer under way is shown as it grows; the first of an arm stays afterwards.
    Answer& answer = m_answers[at];
    const auto index = static_cast<int>(runs.size()) - 1;
    if (!news.new_text.empty()) {
        if (answer.shown_run != index) {
            answer.text->clear();
            answer.shown_run = index;
        }
        answer.text->moveCursor(QTextCursor::End);
        answer.text->insertPlainText(QString::fromStdString(news.new_text));
    }
}

void ComparePanel::redraw() {
    if (!m_redraw_soon.isActive()) {
        m_redraw_soon.start();
    }
}

void ComparePanel::redraw_now() {
    if (m_source.empty()) {
        return;
    }
    m_arms->set_source(m_source);
    for (const auto& [choice, view] : m_plots) {
        const auto at = static_cast<std::size_t>(std::max(0, choice->currentIndex()));
        view->set_content(plots()[at].make(m_source));
    }
    std::vector<StateAtEnd> states;
    std::int64_t most = 0; // of one layer of any arm: what a full cell means
    for (const ArmSource& arm : m_source.arms) {
        states.push_back(last_state(arm));
        std::map<int, std::int64_t> layers;
        for (const LedgerEntry& entry : states.back().entries) {
            most = std::max(most, layers[entry.layer] += entry.used_bytes);
        }
    }
    for (std::size_t i = 0; i < m_answers.size(); ++i) {
        const ArmSource& arm = m_source.arms[i];
        LayerStrip* const strip = m_answers[i].strip;
        if (strip->layers() != static_cast<int>(arm.layers.size())) {
            strip->set_kinds(arm.layers);
        }
        strip->set_full_scale(most);
        strip->set_entries(states[i].entries, states[i].context_tokens);
        m_answers[i].title->setText(arm.label);
        m_answers[i].title->setToolTip(arm.schedule);
        if (!running() && m_answers[i].shown_run < 0 && !arm.runs.empty()) {
            m_answers[i].text->setPlainText(arm.runs.back().text);
        }
    }
}

void ComparePanel::export_report() {
    if (m_source.session == 0) {
        return;
    }
    auto* dialog = new ReportDialog(*m_host, m_source.session,
                                    QString::fromStdString(m_source.plan.title), this);
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->open();
}

void ComparePanel::take_focus() {
    m_prompt->setFocus();
}

} // namespace hs
