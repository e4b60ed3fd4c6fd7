#include "ui/compare/ratio_dialog.h"

#include "app/bridge/engine_host.h"
#include "app/bridge/estimates.h"
#include "engine/core/memory.h"
#include "engine/spec/ratio.h"
#include "ui/shared/layer_strip.h"
#include "ui/shared/theme.h"
#include "ui/shared/units.h"

#include <QCheckBox>
#include <QComboBox>
#include <QDialogButtonBox>
#include <QFormLayout>
#include <QHBoxLayout>
#include <QLabel>
#include <QLineEdit>
#include <QPushButton>
#include <QScrollArea>
#include <QSpinBox>
#include <QVBoxLayout>

#include <algorithm>

namespace hs {

namespace {

struct RatioChoice {
    const char* value; // of ScheduleEdit::full
    bool checked;
};
constexpr RatioChoice kRatios[] = {{"full", true}, {"1:1", false}, {"1:3", true},
                                   {"1:5", false}, {"1:7", true},  {"none", false}};

constexpr const char* kWeights[] = {"q8_0", "q4_k", "q4_0", "bf16", "f32"};
constexpr DType kWeightTypes[] = {DType::Q8_0, DType::Q4_K, DType::Q4_0, DType::BF16, DType::F32};

QString ratio_text(const QString& value) {
    if (value == QLatin1String("full")) {
        return RatioDialog::tr("all full");
    }
    return value == QLatin1String("none") ? RatioDialog::tr("none full") : value;
}

} // namespace

RatioDialog::RatioDialog(EngineHost& host, const std::vector<Choice>& models, QWidget* parent)
    : QDialog(parent)
    , m_host(&host)
    , m_model(new QComboBox)
    , m_list(new QLineEdit)
    , m_other(new QComboBox)
    , m_window(new QSpinBox)
    , m_layers(new QSpinBox)
    , m_weights(new QComboBox)
    , m_strips(new QVBoxLayout)
    , m_note(new QLabel)
    , m_buttons(new QDialogButtonBox(QDialogButtonBox::Cancel)) {
    setWindowTitle(tr("One model at several ratios"));
    setObjectName(QStringLiteral("ratio_dialog"));

    for (const Choice& choice : models) {
        m_model->addItem(choice.label, choice.model);
    }
    m_model->setAccessibleName(tr("Model"));
    auto* const boxes = new QHBoxLayout;
    for (const RatioChoice& ratio : kRatios) {
        auto* const box = new QCheckBox(ratio_text(QLatin1String(ratio.value)));
        box->setProperty("ratio", QLatin1String(ratio.value));
        box->setChecked(ratio.checked);
        connect(box, &QCheckBox::toggled, this, &RatioDialog::show_plan);
        boxes->addWidget(box);
        m_ratios.push_back(box);
    }
    boxes->addStretch(1);
    m_list->setPlaceholderText(tr("layers of your own, as 3, 7, 11"));
    m_list->setAccessibleName(tr("Layers with full attention"));
    m_other->addItem(tr("what the model has there"), QString());
    m_other->addItem(tr("sliding window"), QStringLiteral("window"));
    m_other->addItem(tr("gated delta"), QStringLiteral("gated delta"));
    m_other->addItem(tr("KDA"), QStringLiteral("KDA"));
    m_other->addItem(tr("lightning"), QStringLiteral("lightning"));
    m_other->setAccessibleName(tr("Mixer of the other layers"));
    m_window->setRange(1, 1 << 20);
    m_window->setValue(512);
    m_window->setSuffix(tr(" tokens"));
    m_window->setAccessibleName(tr("Window"));
    m_window->setEnabled(false);
    auto* const other = new QHBoxLayout;
    other->addWidget(m_other, 1);
    other->addWidget(m_window);
    m_layers->setRange(0, 0);
    m_layers->setSpecialValueText(tr("all"));
    m_layers->setAccessibleName(tr("Layers"));
    for (const char* weights : kWeights) {
        m_weights->addItem(QString::fromLatin1(weights).toUpper(), QString::fromLatin1(weights));
    }
    m_weights->setAccessibleName(tr("Type of random weights"));
    m_weights->setToolTip(tr("Where the model has no weights for a schedule, random ones stand in: "
                             "times and bytes mean something, words do not."));

    auto* const form = new QFormLayout;
    form->addRow(tr("&Model"), m_model);
    form->addRow(tr("Full attention"), boxes);
    form->addRow(QString(), m_list);
    auto* const other_label = new QLabel(tr("&Other layers"));
    other_label->setBuddy(m_other);
    form->addRow(other_label, other);
    form->addRow(tr("&Layers"), m_layers);
    form->addRow(tr("Random &weights"), m_weights);

    auto* const strips = new QWidget;
    strips->setLayout(m_strips);
    m_strips->setContentsMargins(0, 0, 0, 0);
    auto* const scroll = new QScrollArea;
    scroll->setWidgetResizable(true);
    scroll->setFrameShape(QFrame::NoFrame);
    scroll->setFocusPolicy(Qt::NoFocus);
    scroll->setWidget(strips);
    m_note->setWordWrap(true);
    set_text_role(m_note, "muted");
    QPushButton* const add =
        m_buttons->addButton(tr("&Add the arms"), QDialogButtonBox::AcceptRole);
    add->setObjectName(QStringLiteral("ratio_add"));
    add->setDefault(true);

    auto* const column = new QVBoxLayout(this);
    column->addLayout(form);
    column->addWidget(scroll, 1);
    column->addWidget(m_note);
    column->addWidget(m_buttons);
    resize(720, 560);

    connect(m_model, &QComboBox::currentIndexChanged, this, &RatioDialog::read_model);
    connect(m_list, &QLineEdit::textChanged, this, &RatioDialog::show_plan);
    connect(m_other, &QComboBox::currentIndexChanged, this, [this] {
        m_window->setEnabled(m_other->currentData().toString() == QLatin1String("window"));
        show_plan();
    });
    connect(m_window, &QSpinBox::valueChanged, this, &RatioDialog::show_plan);
    connect(m_layers, &QSpinBox::valueChanged, this, &RatioDialog::show_plan);
    connect(m_weights, &QComboBox::currentIndexChanged, this, &RatioDialog::show_plan);
    connect(m_buttons, &QDialogButtonBox::accepted, this, [this] {
        emit chosen(arms());
        accept();
    });
    connect(m_buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
    connect(m_host, &EngineHost::model_inspected, this,
            [this](RequestId request, const ModelSummary& summary) {
                if (request == m_inspecting) {
                    show_model(summary);
                }
            });
    connect(m_host, &EngineHost::failed, this,
            [this](RequestId request, const QString& what, const QString&) {
                if (request == m_inspecting && m_inspecting != 0) {
                    m_note->setText(what);
                }
            });
    read_model();
}

void RatioDialog::read_model() {
    m_spec.reset();
    show_plan();
    m_inspecting = m_host->inspect(m_model->currentData().toString().toStdString());
}

void RatioDialog::show_model(const ModelSummary& summary) {
    m_spec = summary.spec;
    m_weights_present = summary.weights_present;
    m_layers->setRange(0, static_cast<int>(m_spec->layers.size()));
    // A model of full attention alone has nothing to put into the other layers.
    if (ratio_of(*m_spec).other == 0 && m_other->currentIndex() == 0) {
        m_other->setCurrentIndex(1);
    }
    show_plan();
}

QStringList RatioDialog::ratios() const {
    QStringList all;
    for (const QCheckBox* const box : m_ratios) {
        if (box->isChecked()) {
            all << box->property("ratio").toString();
        }
    }
    const QString list = m_list->text().simplified().remove(QLatin1Char(' '));
    if (!list.isEmpty()) {
        all << list;
    }
    return all;
}

ScheduleEdit RatioDialog::edit_of(const QString& full) const {
    ScheduleEdit edit;
    edit.full = full.toStdString();
    edit.other = m_other->currentData().toString().toStdString();
    if (edit.other == "window") {
        edit.other += " " + std::to_string(m_window->value());
    }
    edit.layers = m_layers->value() == m_layers->maximum() ? 0 : m_layers->value();
    return edit;
}

std::vector<Arm> RatioDialog::arms() const {
    std::vector<Arm> made;
    if (!m_spec) {
        return made;
    }
    for (const QString& ratio : ratios()) {
        const auto edited = edit_schedule(*m_spec, edit_of(ratio));
        if (!edited.ok()) {
            continue;
        }
        Arm arm;
        arm.model = m_model->currentData().toString().toStdString();
        arm.label =
            QStringLiteral("%1 %2").arg(m_model->currentText(), ratio_text(ratio)).toStdString();
        arm.edit = edit_of(ratio);
        arm.synthetic_weights = m_weights->currentData().toString().toStdString();
        made.push_back(std::move(arm));
    }
    return made;
}

void RatioDialog::show_plan() {
    for (QWidget* const row : m_rows) {
        row->deleteLater();
    }
    m_rows.clear();
    QString trouble;
    bool random = false;
    bool fits = true;
    if (m_spec) {
        constexpr std::int64_t kContext = 32768; // at which states are compared here
        const DType type = kWeightTypes[std::max(0, m_weights->currentIndex())];
        const DTypeInfo& format = info(type);
        for (const QString& ratio : ratios()) {
            const auto edited = edit_schedule(*m_spec, edit_of(ratio));
            if (!edited.ok()) {
                trouble = QString::fromStdString(edited.error().text());
                continue;
            }
            const bool own = m_weights_present && edited->keeps_weights;
            random = random || !own;
            const double bytes = static_cast<double>(count_parameters(edited->spec).total) *
                                 format.block_bytes / format.block_elems;
            fits = fits && (own || bytes <= static_cast<double>(machine_memory().available_bytes));
            const MemoryEstimate memory =
                estimate(edited->spec, static_cast<std::int64_t>(bytes), kContext, "auto", 0);
            auto* const strip = new LayerStrip;
            strip->set_spec(edited->spec);
            strip->set_title(tr("%1 · weights %2 (%3)")
                                 .arg(ratio_text(ratio),
                                      bytes_text(static_cast<std::int64_t>(bytes)),
                                      own ? tr("its own") : tr("random")));
            strip->set_entries(memory.entries, kContext);
            m_strips->addWidget(strip);
            m_rows.push_back(strip);
        }
    }
    if (m_spec && !m_spec->cannot_run.empty()) {
        trouble = tr("%1 is planned, not run: %2")
                      .arg(QString::fromStdString(m_spec->name),
                           QString::fromStdString(m_spec->cannot_run));
    }
    QString note = trouble;
    if (note.isEmpty() && !m_spec) {
        note = tr("Reading the model…");
    } else if (note.isEmpty() && !fits) {
        note = tr("Not all of it fits into the %1 of memory that are free: take fewer layers or "
                  "narrower weights.")
                   .arg(bytes_text(machine_memory().available_bytes));
    } else if (note.isEmpty() && random) {
        note = tr("Random weights stand in where the model has none for a schedule. Times and "
                  "bytes are real, words are not: give context lengths, no prompt.");
    }
    m_note->setText(note);
    const bool some = m_spec && !ratios().isEmpty() && trouble.isEmpty() && fits;
    for (QAbstractButton* const button : m_buttons->buttons()) {
        if (m_buttons->buttonRole(button) == QDialogButtonBox::AcceptRole) {
            button->setEnabled(some);
        }
    }
}

} // namespace hs
