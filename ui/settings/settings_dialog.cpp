#include "ui/settings/settings_dialog.h"

#include "ui/settings/settings.h"
#include "ui/shared/theme.h"

#include <QCheckBox>
#include <QComboBox>
#include <QCoreApplication>
#include <QDesktopServices>
#include <QDialogButtonBox>
#include <QDoubleSpinBox>
#include <QFileInfo>
#include <QFormLayout>
#include <QLabel>
#include <QLineEdit>
#include <QPushButton>
#include <QSpinBox>
#include <QTabWidget>
#include <QUrl>
#include <QVBoxLayout>

namespace hs {

namespace {

QString words(const char* text) {
    return QCoreApplication::translate("hs::WindowSettings", text);
}

QString plain(const char* label) {
    return words(label).remove(QLatin1Char('&'));
}

} // namespace

SettingsDialog::SettingsDialog(WindowSettings& settings, const QString& session_file,
                               QWidget* parent)
    : QDialog(parent)
    , m_settings(&settings) {
    setWindowTitle(tr("Settings"));
    setObjectName(QStringLiteral("settings_dialog"));
    auto* const tabs = new QTabWidget(this);
    tabs->setAccessibleName(tr("Groups of settings"));
    QFormLayout* form = nullptr;
    QString group;
    for (const SettingRow& row : setting_rows()) {
        if (row.group[0] == '\0') {
            continue;
        }
        if (words(row.group) != group) {
            group = words(row.group);
            auto* const tab = new QWidget(tabs);
            form = new QFormLayout(tab);
            form->setContentsMargins(2 * kSpace, 2 * kSpace, 2 * kSpace, 2 * kSpace);
            form->setHorizontalSpacing(2 * kSpace);
            form->setVerticalSpacing(kSpace);
            form->setFieldGrowthPolicy(QFormLayout::AllNonFixedFieldsGrow);
            tabs->addTab(tab, group);
        }
        QWidget* const field = make_field(row.key);
        if (row.initial.typeId() == QMetaType::Bool) {
            form->addRow(QString(), field);
        } else {
            auto* const label = new QLabel(words(row.label), this);
            label->setBuddy(field);
            form->addRow(label, field);
        }
        if (row.hint[0] != '\0') {
            auto* const hint = new QLabel(words(row.hint), this);
            hint->setWordWrap(true);
            set_text_role(hint, "caption");
            field->setAccessibleDescription(hint->text());
            form->addRow(QString(), hint);
        }
    }

    auto* const files = new QWidget(tabs);
    auto* const files_form = new QFormLayout(files);
    files_form->setContentsMargins(2 * kSpace, 2 * kSpace, 2 * kSpace, 2 * kSpace);
    auto* const place = new QLineEdit(session_file, files);
    place->setReadOnly(true);
    place->setAccessibleName(tr("Session file"));
    auto* const place_label = new QLabel(tr("Session &file"), files);
    place_label->setBuddy(place);
    files_form->addRow(place_label, place);
    auto* const note = new QLabel(
        tr("Every conversation and comparison is in this one SQLite file. Start the program with "
           "--data FOLDER, or set HYBRIDSCOPE_DATA, to keep it elsewhere."),
        files);
    note->setWordWrap(true);
    set_text_role(note, "caption");
    files_form->addRow(QString(), note);
    auto* const open = new QPushButton(tr("&Open folder"), files);
    connect(open, &QPushButton::clicked, this, [session_file] {
        QDesktopServices::openUrl(QUrl::fromLocalFile(QFileInfo(session_file).absolutePath()));
    });
    files_form->addRow(QString(), open);
    tabs->addTab(files, tr("Files"));

    auto* const buttons = new QDialogButtonBox(
        QDialogButtonBox::Ok | QDialogButtonBox::Cancel | QDialogButtonBox::RestoreDefaults, this);
    set_button_role(buttons->button(QDialogButtonBox::Ok), "primary");
    connect(buttons, &QDialogButtonBox::accepted, this, &SettingsDialog::accept);
    connect(buttons, &QDialogButtonBox::rejected, this, &SettingsDialog::reject);
    connect(buttons->button(QDialogButtonBox::RestoreDefaults), &QPushButton::clicked, this,
            &SettingsDialog::show_defaults);
    auto* const column = new QVBoxLayout(this);
    column->setContentsMargins(kSpace, kSpace, kSpace, kSpace);
    column->addWidget(tabs);
    column->addWidget(buttons);
    for (const Field& field : m_fields) {
        field.show(m_settings->value(field.key));
    }
    resize(520, 480);
}

QWidget* SettingsDialog::make_field(const char* key) {
    const SettingRow& row = setting_row(key);
    QWidget* made = nullptr;
    if (!row.choices.empty()) {
        auto* const box = new QComboBox(this);
        for (const auto& [stored, shown] : row.choices) {
            box->addItem(words(shown), QLatin1String(stored));
        }
        m_fields.push_back({key, [box] { return box->currentData(); },
                            [box](const QVariant& v) { box->setCurrentIndex(box->findData(v)); }});
        made = box;
    } else if (row.initial.typeId() == QMetaType::Bool) {
        auto* const box = new QCheckBox(words(row.label), this);
        m_fields.push_back({key, [box] { return QVariant(box->isChecked()); },
                            [box](const QVariant& v) { box->setChecked(v.toBool()); }});
        made = box;
    } else if (row.initial.typeId() == QMetaType::Double) {
        auto* const box = new QDoubleSpinBox(this);
        box->setDecimals(2);
        box->setSingleStep(0.05);
        box->setRange(row.least.toDouble(), row.most.toDouble());
        m_fields.push_back({key, [box] { return QVariant(box->value()); },
                            [box](const QVariant& v) { box->setValue(v.toDouble()); }});
        made = box;
    } else {
        auto* const box = new QSpinBox(this);
        box->setRange(row.least.toInt(), row.most.toInt());
        box->setSuffix(QString::fromUtf8(row.unit));
        m_fields.push_back({key, [box] { return QVariant(box->value()); },
                            [box](const QVariant& v) { box->setValue(v.toInt()); }});
        made = box;
    }
    made->setObjectName(QLatin1String(key));
    made->setAccessibleName(plain(row.label));
    return made;
}

void SettingsDialog::show_defaults() {
    for (const Field& field : m_fields) {
        field.show(setting_row(field.key).initial);
    }
}

void SettingsDialog::accept() {
    for (const Field& field : m_fields) {
        m_settings->set(field.key, field.value());
    }
    QDialog::accept();
}

} // namespace hs
