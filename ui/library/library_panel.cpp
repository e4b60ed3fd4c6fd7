#include "ui/library/library_panel.h"

#include "app/bridge/estimates.h"
#include "engine/core/memory.h"
#include "ui/library/library_model.h"
#include "ui/library/memory_bar.h"
#include "ui/shared/layer_strip.h"
#include "ui/shared/theme.h"
#include "ui/shared/units.h"

#include <QFileDialog>
#include <QFrame>
#include <QGridLayout>
#include <QHBoxLayout>
#include <QLabel>
#include <QLineEdit>
#include <QListView>
#include <QPainter>
#include <QProgressBar>
#include <QPushButton>
#include <QScrollArea>
#include <QSlider>
#include <QSortFilterProxyModel>
#include <QSplitter>
#include <QStackedWidget>
#include <QStyledItemDelegate>
#include <QVBoxLayout>

#include <algorithm>
#include <cmath>

namespace hs {

namespace {

constexpr std::int64_t kLeastContext = 512;
constexpr std::int64_t kMostContext = 1 << 20;
constexpr int kStepsPerDouble = 4; // of the context slider

QString from(const std::string& text) {
    return QString::fromUtf8(text.data(), static_cast<qsizetype>(text.size()));
}

bool can_run(const ModelSummary& summary) {
    return summary.weights_present && summary.spec.cannot_run.empty();
}

// Two lines of text and the layers in small: name, layers, schedule and size.
class EntryDelegate final : public QStyledItemDelegate {
public:
    using QStyledItemDelegate::QStyledItemDelegate;

    QSize sizeHint(const QStyleOptionViewItem& option, const QModelIndex&) const override {
        return {200, 2 * option.fontMetrics.height() + kStripHeight + 24};
    }

    void paint(QPainter* painter, const QStyleOptionViewItem& option,
               const QModelIndex& index) const override {
        const Colours& c = colours(option.palette);
        painter->save();
        painter->setRenderHint(QPainter::Antialiasing);
        const QRectF area = QRectF(option.rect).adjusted(2, 1, -2, -1);
        if (option.state & QStyle::State_Selected) {
            painter->setPen(Qt::NoPen);
            painter->setBrush(c.accent_soft);
            painter->drawRoundedRect(area, 6, 6);
        }
        if ((option.state & QStyle::State_HasFocus) && (option.state & QStyle::State_Selected)) {
            draw_focus_ring(*painter, area, option.palette);
        }
        const QRectF inner = area.adjusted(10, 6, -10, -6);
        const double line = option.fontMetrics.height();
        QFont bold = option.font;
        bold.setWeight(QFont::DemiBold);
        painter->setFont(bold);
        painter->setPen(c.text);
        painter->drawText(QRectF(inner.left(), inner.top(), inner.width(), line), Qt::AlignVCenter,
                          QFontMetricsF(bold).elidedText(index.data().toString(), Qt::ElideMiddle,
                                                         inner.width()));
        const auto kinds = index.data(LibraryModel::KindsRole).value<QList<int>>();
        const double top = inner.top() + line + 4;
        if (!kinds.isEmpty()) {
            const double step = std::min(inner.width() / static_cast<double>(kinds.size()), 22.0);
            const double gap = step > 5 ? 2.0 : step > 2.5 ? 1.0 : 0.0;
            for (qsizetype i = 0; i < kinds.size(); ++i) {
                fill_pattern(*painter,
                             QRectF(inner.left() + static_cast<double>(i) * step, top, step - gap,
                                    kStripHeight),
                             kind_style(static_cast<MixerKind>(kinds[i]), option.palette));
            }
        }
        painter->setFont(option.font);
        painter->setPen(c.muted);
        painter->drawText(
            QRectF(inner.left(), top + kStripHeight + 3, inner.width(), line), Qt::AlignVCenter,
            option.fontMetrics.elidedText(index.data(LibraryModel::DetailRole).toString(),
                                          Qt::ElideRight, static_cast<int>(inner.width())));
        painter->restore();
    }

private:
    static constexpr int kStripHeight = 9;
};

QFrame* card(QWidget* parent) {
    auto* const frame = new QFrame(parent);
    frame->setProperty("frame_role", "card");
    return frame;
}

QString swatch_row(const KindStyle& style, const QString& name, const QString& figure,
                   const QString& hint) {
    return QStringLiteral("<tr><td style='color:%1'>%2&nbsp;</td><td>%3&nbsp;&nbsp;</td>"
                          "<td align='right'><b>%4</b>&nbsp;&nbsp;</td><td>%5</td></tr>")
        .arg(style.colour.name(), QString(style.mark), name, figure, hint);
}

} // namespace

LibraryPanel::LibraryPanel(EngineHost& host, QWidget* parent)
    : Page(parent)
    , m_host(&host)
    , m_model(new LibraryModel(host, this)) {
    setObjectName(QStringLiteral("library_panel"));
    auto* const split = new QSplitter(Qt::Horizontal, this);
    split->setChildrenCollapsible(false);
    split->addWidget(make_list());
    split->addWidget(make_details());
    split->setStretchFactor(0, 0);
    split->setStretchFactor(1, 1);
    split->setSizes({340, 800});
    auto* const row = new QHBoxLayout(this);
    row->setContentsMargins(0, 0, 0, 0);
    row->addWidget(split);

    connect(m_list->selectionModel(), &QItemSelectionModel::currentChanged, this,
            &LibraryPanel::show_current);
    connect(m_model, &LibraryModel::modelReset, this, [this] {
        const int wanted = m_wanted.isEmpty() ? 0 : m_model->row_of(m_wanted);
        const QModelIndex index = m_filtered->mapFromSource(m_model->index(std::max(wanted, 0)));
        if (index.isValid()) {
            m_list->setCurrentIndex(index);
        }
        show_current();
    });
    connect(m_model, &LibraryModel::entry_read, this, [this](int entry) {
        if (m_filtered->mapToSource(m_list->currentIndex()).row() == entry) {
            show_current();
        }
    });
    connect(m_host, &EngineHost::load_progress, this,
            [this](RequestId request, double fraction, const QString& stage) {
                m_load = request;
                set_loading(true);
                m_progress->setValue(static_cast<int>(1000 * fraction));
                m_stage->setText(stage);
            });
    const auto ended = [this] {
        m_load = 0;
        set_loading(false);
        show_memory();
    };
    connect(m_host, &EngineHost::model_opened, this, ended);
    connect(m_host, &EngineHost::model_closed, this, ended);
    set_loading(false);
    show_current();
}

QWidget* LibraryPanel::make_list() {
    auto* const side = new QWidget(this);
    side->setMinimumWidth(260);
    auto* const column = new QVBoxLayout(side);
    column->setContentsMargins(kSpace, kSpace, kSpace, kSpace);
    column->setSpacing(kSpace);
    m_search = new QLineEdit(side);
    m_search->setPlaceholderText(tr("Filter by name or schedule"));
    m_search->setAccessibleName(tr("Filter models"));
    m_search->setClearButtonEnabled(true);
    m_filtered = new QSortFilterProxyModel(this);
    m_filtered->setSourceModel(m_model);
    m_filtered->setFilterCaseSensitivity(Qt::CaseInsensitive);
    m_filtered->setFilterRole(Qt::AccessibleTextRole);
    connect(m_search, &QLineEdit::textChanged, m_filtered,
            &QSortFilterProxyModel::setFilterFixedString);
    m_list = new QListView(side);
    m_list->setObjectName(QStringLiteral("models"));
    m_list->setProperty("list_role", "plain");
    m_list->setModel(m_filtered);
    m_list->setItemDelegate(new EntryDelegate(m_list));
    m_list->setAccessibleName(tr("Models"));
    m_list->setUniformItemSizes(true);
    m_list->setVerticalScrollMode(QAbstractItemView::ScrollPerPixel);
    m_list->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    connect(m_list, &QListView::doubleClicked, this,
            [this] { emit open_model_wanted(current_model()); });
    auto* const row = new QHBoxLayout;
    auto* const file = new QPushButton(icon("file"), tr("Add &file"), side);
    file->setToolTip(tr("A GGUF file, or a config.json without weights"));
    auto* const folder = new QPushButton(icon("folder"), tr("Add f&older"), side);
    folder->setToolTip(tr("Looks through a folder for models; nothing is copied"));
    connect(file, &QPushButton::clicked, this, &LibraryPanel::add_file);
    connect(folder, &QPushButton::clicked, this, &LibraryPanel::add_folder);
    row->addWidget(file);
    row->addWidget(folder);
    column->addWidget(m_search);
    column->addWidget(m_list, 1);
    column->addLayout(row);
    return side;
}

QWidget* LibraryPanel::make_details() {
    m_pages = new QStackedWidget(this);
    auto* const nothing = new QLabel(
        tr("Models you can load appear at the left. Add a GGUF file, a folder of models, or a "
           "config.json alone: its layers and the memory it would take are drawn without weights."),
        m_pages);
    nothing->setWordWrap(true);
    nothing->setAlignment(Qt::AlignCenter);
    nothing->setMargin(5 * kSpace);
    set_text_role(nothing, "muted");
    m_pages->addWidget(nothing);

    auto* const scroll = new QScrollArea(m_pages);
    scroll->setWidgetResizable(true);
    scroll->setFocusPolicy(Qt::NoFocus);
    auto* const page = new QWidget(scroll);
    scroll->setWidget(page);
    m_pages->addWidget(scroll);
    auto* const column = new QVBoxLayout(page);
    column->setContentsMargins(3 * kSpace, 2 * kSpace, 3 * kSpace, 3 * kSpace);
    column->setSpacing(2 * kSpace);

    auto* const head = new QHBoxLayout;
    auto* const names = new QVBoxLayout;
    names->setSpacing(2);
    m_title = new QLabel(page);
    m_title->setWordWrap(true);
    set_text_role(m_title, "title");
    m_where = new QLabel(page);
    m_where->setTextInteractionFlags(Qt::TextSelectableByMouse);
    m_where->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
    set_text_role(m_where, "caption");
    m_schedule = new QLabel(page);
    m_schedule->setWordWrap(true);
    names->addWidget(m_title);
    names->addWidget(m_schedule);
    names->addWidget(m_where);
    head->addLayout(names, 1);
    m_load_button = new QPushButton(tr("&Load and chat"), page);
    m_load_button->setObjectName(QStringLiteral("load_model"));
    set_button_role(m_load_button, "primary");
    m_inspect_button = new QPushButton(tr("&Inspect"), page);
    m_compare_button = new QPushButton(tr("Co&mpare"), page);
    m_remove_button = new QPushButton(tr("Remove"), page);
    m_remove_button->setToolTip(tr("Takes it off this list; the file stays where it is"));
    head->addWidget(m_load_button, 0, Qt::AlignTop);
    head->addWidget(m_inspect_button, 0, Qt::AlignTop);
    head->addWidget(m_compare_button, 0, Qt::AlignTop);
    head->addWidget(m_remove_button, 0, Qt::AlignTop);
    column->addLayout(head);

    auto* const loading = new QHBoxLayout;
    m_progress = new QProgressBar(page);
    m_progress->setRange(0, 1000);
    m_progress->setTextVisible(false);
    m_progress->setAccessibleName(tr("Loading the model"));
    m_stage = new QLabel(page);
    set_text_role(m_stage, "caption");
    m_cancel = new QPushButton(tr("Cancel"), page);
    m_cancel->setAccessibleName(tr("Cancel loading"));
    loading->addWidget(m_progress, 1);
    loading->addWidget(m_stage);
    loading->addWidget(m_cancel);
    column->addLayout(loading);
    m_trouble = new QLabel(page);
    m_trouble->setWordWrap(true);
    m_trouble->setTextInteractionFlags(Qt::TextSelectableByMouse);
    column->addWidget(m_trouble);

    m_strip = new LayerStrip(page);
    column->addWidget(m_strip);

    auto* const memory = card(page);
    auto* const memory_column = new QVBoxLayout(memory);
    memory_column->setContentsMargins(2 * kSpace, 2 * kSpace, 2 * kSpace, 2 * kSpace);
    memory_column->setSpacing(kSpace);
    auto* const memory_title = new QLabel(tr("Memory at a &context of"), memory);
    set_text_role(memory_title, "heading");
    m_context = new QSlider(Qt::Horizontal, memory);
    m_context->setObjectName(QStringLiteral("context_slider"));
    m_context->setAccessibleName(tr("Context, tokens"));
    m_context->setPageStep(kStepsPerDouble);
    memory_title->setBuddy(m_context);
    m_context_words = new QLabel(memory);
    m_context_words->setMinimumWidth(110);
    set_text_role(m_context_words, "figure");
    auto* const slider_row = new QHBoxLayout;
    slider_row->setSpacing(2 * kSpace);
    slider_row->addWidget(memory_title);
    slider_row->addWidget(m_context_words);
    slider_row->addWidget(m_context, 1);
    m_bar = new MemoryBar(memory);
    m_fit = new QLabel(memory);
    m_fit->setWordWrap(true);
    set_text_role(m_fit, "heading");
    m_terms = new QLabel(memory);
    m_terms->setTextFormat(Qt::RichText);
    m_break_even = new QLabel(memory);
    m_break_even->setWordWrap(true);
    set_text_role(m_break_even, "caption");
    memory_column->addLayout(slider_row);
    memory_column->addWidget(m_bar);
    memory_column->addWidget(m_fit);
    memory_column->addWidget(m_terms);
    memory_column->addWidget(m_break_even);
    column->addWidget(memory);

    auto* const facts = card(page);
    auto* const facts_column = new QVBoxLayout(facts);
    facts_column->setContentsMargins(2 * kSpace, 2 * kSpace, 2 * kSpace, 2 * kSpace);
    auto* const facts_title = new QLabel(tr("What it is"), facts);
    set_text_role(facts_title, "heading");
    m_facts = new QLabel(facts);
    m_facts->setTextFormat(Qt::RichText);
    m_facts->setWordWrap(true);
    m_facts->setTextInteractionFlags(Qt::TextSelectableByMouse);
    facts_column->addWidget(facts_title);
    facts_column->addWidget(m_facts);
    column->addWidget(facts);
    column->addStretch(1);

    connect(m_load_button, &QPushButton::clicked, this,
            [this] { emit open_model_wanted(current_model()); });
    connect(m_inspect_button, &QPushButton::clicked, this,
            [this] { emit inspect_model_wanted(current_model()); });
    connect(m_compare_button, &QPushButton::clicked, this,
            [this] { emit compare_models_wanted({current_model()}); });
    connect(m_remove_button, &QPushButton::clicked, this, &LibraryPanel::remove_current);
    connect(m_cancel, &QPushButton::clicked, this, [this] { m_host->stop(m_load); });
    connect(m_context, &QSlider::valueChanged, this, &LibraryPanel::show_memory);
    return m_pages;
}

void LibraryPanel::take_focus() {
    m_list->setFocus();
}

void LibraryPanel::set_places(const QStringList& places) {
    m_places = places;
    m_model->refresh(places);
}

void LibraryPanel::set_memory_options(const std::string& kv_dtype,
                                      std::int64_t snapshot_budget_bytes) {
    m_kv_dtype = kv_dtype;
    m_snapshot_budget = snapshot_budget_bytes;
    show_memory();
}

QString LibraryPanel::current_model() const {
    return m_list->currentIndex().data(LibraryModel::PathRole).toString();
}

void LibraryPanel::show_model(const QString& model) {
    m_wanted = model;
    const int row = m_model->row_of(model);
    if (row >= 0) {
        m_search->clear();
        m_list->setCurrentIndex(m_filtered->mapFromSource(m_model->index(row)));
    } else {
        add_place(model);
    }
}

void LibraryPanel::add_file() {
    const QString file = QFileDialog::getOpenFileName(
        this, tr("Add a model"), QString(),
        tr("Models (*.gguf config.json *.safetensors);;All files (*)"));
    if (!file.isEmpty()) {
        show_model(file);
    }
}

void LibraryPanel::add_folder() {
    const QString folder = QFileDialog::getExistingDirectory(this, tr("Add a folder of models"));
    if (!folder.isEmpty()) {
        add_place(folder);
    }
}

void LibraryPanel::add_place(const QString& place) {
    if (!m_places.contains(place)) {
        m_places << place;
        emit places_changed(m_places);
    }
    m_model->refresh(m_places);
}

void LibraryPanel::remove_current() {
    if (m_places.removeAll(current_model()) > 0) {
        emit places_changed(m_places);
        m_model->refresh(m_places);
    }
}

void LibraryPanel::set_loading(bool loading) {
    m_progress->setVisible(loading);
    m_stage->setVisible(loading);
    m_cancel->setVisible(loading);
    m_load_button->setEnabled(!loading && (!m_summary || can_run(*m_summary)));
}

void LibraryPanel::show_current() {
    const QModelIndex source = m_filtered->mapToSource(m_list->currentIndex());
    m_pages->setCurrentIndex(source.isValid() ? 1 : 0);
    m_summary.reset();
    if (!source.isValid()) {
        return;
    }
    const LibraryModel::Entry& entry = m_model->entry(source.row());
    m_title->setText(entry.label);
    m_where->setText(entry.origin == LibraryModel::Origin::Bundled
                         ? tr("bundled with Hybridscope; trained by us, a teaching toy: see its "
                              "model card")
                         : entry.model);
    m_where->setToolTip(entry.summary ? entry.summary->path : entry.model);
    m_remove_button->setVisible(entry.origin == LibraryModel::Origin::Added);
    m_trouble->setText(entry.trouble);
    m_trouble->setVisible(!entry.trouble.isEmpty());
    for (QWidget* const widget :
         std::initializer_list<QWidget*>{m_inspect_button, m_compare_button, m_context}) {
        widget->setEnabled(entry.summary.has_value());
    }
    if (entry.summary) {
        show_summary(*entry.summary);
    } else {
        m_schedule->setText(entry.trouble.isEmpty() ? tr("Reading the header") : QString());
        m_strip->clear();
        m_facts->clear();
        m_terms->clear();
        m_fit->clear();
        m_break_even->clear();
    }
    m_compare_button->setEnabled(entry.summary && can_run(*entry.summary));
    set_loading(m_load != 0);
}

void LibraryPanel::show_summary(const ModelSummary& summary) {
    m_summary = summary;
    const ModelSpec& spec = summary.spec;
    m_schedule->setText(from(describe_schedule(spec)));
    m_strip->set_spec(spec);
    m_strip->set_title(tr("Layers"));
    const ParameterCount parameters = count_parameters(spec);
    const auto row = [](const QString& name, const QString& value) {
        return QStringLiteral("<tr><td>%1&nbsp;&nbsp;&nbsp;</td><td>%2</td></tr>")
            .arg(name, value.toHtmlEscaped());
    };
    QString facts = QStringLiteral("<table cellpadding='2'>");
    facts += row(tr("Name"), from(spec.name));
    facts += row(tr("Family"), from(spec.family));
    facts += row(tr("Parameters"), parameters.active != parameters.total
                                       ? tr("%1, of which %2 active per token")
                                             .arg(short_count_text(parameters.total),
                                                  short_count_text(parameters.active))
                                       : short_count_text(parameters.total));
    facts += row(tr("Of these"), tr("%1 token mixers, %2 channel mixers, %3 embedding")
                                     .arg(short_count_text(parameters.token_mixers),
                                          short_count_text(parameters.channel_mixers),
                                          short_count_text(parameters.embedding)));
    facts += row(tr("Layers"), count_text(static_cast<std::int64_t>(spec.layers.size())));
    facts += row(tr("Hidden size"), count_text(spec.hidden));
    facts += row(tr("Vocabulary"), count_text(spec.vocab));
    facts += row(tr("Made for"), tr("%1 tokens").arg(tokens_text(spec.context_length)));
    facts += row(tr("On disk"), summary.weights_present
                                    ? bytes_text(std::max(summary.file_bytes, summary.weight_bytes))
                                    : tr("config only; the weights would be %1 in bf16")
                                          .arg(bytes_text(summary.weight_bytes)));
    if (!spec.cannot_run.empty()) {
        facts += row(tr("Does not run"), from(spec.cannot_run));
    }
    facts += QStringLiteral("</table>");
    m_facts->setText(facts);

    const std::int64_t most =
        std::clamp(std::max<std::int64_t>(spec.context_length, 32768), kLeastContext, kMostContext);
    const int steps = static_cast<int>(
        std::lround(kStepsPerDouble * std::log2(static_cast<double>(most) / kLeastContext)));
    const QSignalBlocker blocker(m_context);
    m_context->setRange(0, steps);
    m_context->setValue(
        static_cast<int>(std::lround(kStepsPerDouble * std::log2(4096.0 / kLeastContext))));
    show_memory();
}

std::int64_t LibraryPanel::context_tokens() const {
    const double tokens = static_cast<double>(kLeastContext) *
                          std::exp2(m_context->value() / static_cast<double>(kStepsPerDouble));
    return static_cast<std::int64_t>(std::llround(tokens / 64.0)) * 64;
}

void LibraryPanel::show_memory() {
    if (!m_summary) {
        return;
    }
    const std::int64_t tokens = context_tokens();
    m_context_words->setText(tr("%1 tokens").arg(tokens_text(tokens)));
    m_context->setAccessibleDescription(m_context_words->text());
    const MemoryEstimate needs =
        estimate(m_summary->spec, m_summary->weight_bytes, tokens, m_kv_dtype, m_snapshot_budget);
    const MemoryEstimate whole =
        estimate(m_summary->spec, 0, std::max<std::int64_t>(m_summary->spec.context_length, tokens),
                 m_kv_dtype, 0);
    m_strip->set_full_scale(whole.largest_layer_bytes());
    m_strip->set_entries(needs.entries, tokens);
    const MachineMemory machine = machine_memory();
    m_bar->set_estimate(needs, machine.available_bytes);
    const std::int64_t spare = machine.available_bytes - needs.total_bytes();
    m_fit->setText(
        spare >= 0
            ? tr("✓ Fits: needs %1, %2 is free")
                  .arg(bytes_text(needs.total_bytes()), bytes_text(machine.available_bytes))
            : tr("✗ Does not fit: needs %1, %2 more than is free. A smaller context or a more "
                 "quantised file needs less.")
                  .arg(bytes_text(needs.total_bytes()), bytes_text(-spare)));
    QString terms = QStringLiteral("<table cellpadding='2'>");
    terms += swatch_row(weights_style(palette()), tr("Weights"), bytes_text(needs.weight_bytes),
                        m_summary->weights_present ? QString() : tr("estimated, bf16"));
    terms += swatch_row(kind_style(MixerKind::FullAttention, palette()), tr("Growing cache"),
                        bytes_text(needs.growing_bytes),
                        bytes_per_token_text(needs.growth_bytes_per_token));
    terms += swatch_row(kind_style(MixerKind::GatedDelta, palette()), tr("Fixed state"),
                        bytes_text(needs.fixed_bytes), tr("whatever the context"));
    terms += swatch_row(other_style(palette()), tr("Snapshots"), bytes_text(needs.snapshot_bytes),
                        tr("to edit and answer again without reading anew"));
    terms += QStringLiteral("</table>");
    m_terms->setText(terms);
    m_break_even->setText(
        needs.break_even_tokens > 0
            ? tr("Its state is smaller than that of the same model with full attention at every "
                 "layer from %1 tokens on.")
                  .arg(count_text(needs.break_even_tokens))
            : QString());
    m_break_even->setVisible(needs.break_even_tokens > 0);
}

} // namespace hs
