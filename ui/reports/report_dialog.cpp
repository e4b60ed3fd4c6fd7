#include "ui/reports/report_dialog.h"

#include "app/bridge/engine_host.h"
#include "engine/lab/report.h"
#include "ui/shared/units.h"

#include <QCheckBox>
#include <QComboBox>
#include <QDesktopServices>
#include <QDialogButtonBox>
#include <QDir>
#include <QFileDialog>
#include <QFileInfo>
#include <QFormLayout>
#include <QHBoxLayout>
#include <QLabel>
#include <QLineEdit>
#include <QPushButton>
#include <QRegularExpression>
#include <QSaveFile>
#include <QStandardPaths>
#include <QUrl>
#include <QVBoxLayout>

namespace hs {

namespace {

QString ending(ReportDialog::Format format) {
    switch (format) {
    case ReportDialog::Format::Html:
        return QStringLiteral("html");
    case ReportDialog::Format::Csv:
        return QStringLiteral("csv");
    case ReportDialog::Format::JsonData:
        return QStringLiteral("json");
    }
    return {};
}

Result<std::string> report(Database& database, std::int64_t session, ReportDialog::Format format) {
    switch (format) {
    case ReportDialog::Format::Html:
        return report_html(database, session);
    case ReportDialog::Format::Csv:
        return report_csv(database, session);
    case ReportDialog::Format::JsonData:
        return report_json(database, session);
    }
    return Error{ErrorCode::InvalidArgument, "no such format", ""};
}

// Bytes written, whole or not at all.
Result<std::int64_t> write_file(const QString& path, const std::string& text) {
    QSaveFile file(path);
    if (!file.open(QIODevice::WriteOnly) ||
        file.write(text.data(), static_cast<qint64>(text.size())) !=
            static_cast<qint64>(text.size()) ||
        !file.commit()) {
        return Error{ErrorCode::Io, path.toStdString() + ": " + file.errorString().toStdString(),
                     "Choose another folder"};
    }
    return static_cast<std::int64_t>(text.size());
}

} // namespace

ReportDialog::ReportDialog(EngineHost& host, std::int64_t session, const QString& title,
                           QWidget* parent)
    : QDialog(parent)
    , m_host(&host)
    , m_session(session)
    , m_title(title)
    , m_format(new QComboBox)
    , m_path(new QLineEdit)
    , m_browse(new QPushButton(tr("&Browse…")))
    , m_open_after(new QCheckBox(tr("&Open it when it is written")))
    , m_status(new QLabel)
    , m_buttons(new QDialogButtonBox(QDialogButtonBox::Cancel)) {
    setWindowTitle(tr("Export the session"));
    m_format->addItem(tr("HTML: a report that opens in any browser, offline"),
                      static_cast<int>(Format::Html));
    m_format->addItem(tr("CSV: one measurement per row"), static_cast<int>(Format::Csv));
    m_format->addItem(tr("JSON: everything, for programs"), static_cast<int>(Format::JsonData));
    m_path->setMinimumWidth(360);
    m_path->setAccessibleName(tr("File"));
    m_status->setWordWrap(true);
    m_status->setAccessibleName(tr("What became of it"));
    m_status->setTextInteractionFlags(Qt::TextSelectableByMouse);
    m_open_after->setChecked(true);

    auto* file_row = new QHBoxLayout;
    file_row->addWidget(m_path, 1);
    file_row->addWidget(m_browse);
    auto* form = new QFormLayout;
    form->addRow(tr("&Format:"), m_format);
    auto* file_label = new QLabel(tr("F&ile:"));
    file_label->setBuddy(m_path);
    form->addRow(file_label, file_row);
    QPushButton* const save = m_buttons->addButton(tr("Export"), QDialogButtonBox::AcceptRole);
    save->setDefault(true);

    auto* column = new QVBoxLayout(this);
    column->setSpacing(12);
    column->addLayout(form);
    column->addWidget(m_open_after);
    column->addWidget(m_status);
    column->addWidget(m_buttons);

    connect(m_format, &QComboBox::currentIndexChanged, this, &ReportDialog::suggest_path);
    connect(m_path, &QLineEdit::textEdited, this, [this] { m_path_is_ours = false; });
    connect(m_browse, &QPushButton::clicked, this, &ReportDialog::browse);
    connect(save, &QPushButton::clicked, this, &ReportDialog::write);
    connect(m_buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
    suggest_path();
}

ReportDialog::Format ReportDialog::format() const {
    return static_cast<Format>(m_format->currentData().toInt());
}

void ReportDialog::set_format(Format format) {
    m_format->setCurrentIndex(m_format->findData(static_cast<int>(format)));
}

void ReportDialog::set_path(const QString& path) {
    m_path->setText(path);
    m_path_is_ours = false;
}

QString ReportDialog::path() const {
    return m_path->text();
}

void ReportDialog::suggest_path() {
    if (!m_path_is_ours) {
        const QFileInfo chosen(m_path->text());
        m_path->setText(chosen.path() + QLatin1Char('/') + chosen.completeBaseName() +
                        QLatin1Char('.') + ending(format()));
        return;
    }
    QString name = m_title.left(60).trimmed();
    static const QRegularExpression unfit(QStringLiteral("[\\\\/:*?\"<>|\\x00-\\x1f]"));
    name.replace(unfit, QStringLiteral("-"));
    const QString folder = QStandardPaths::writableLocation(QStandardPaths::DocumentsLocation);
    m_path->setText(QDir(folder).filePath((name.isEmpty() ? tr("session") : name) +
                                          QLatin1Char('.') + ending(format())));
}

void ReportDialog::browse() {
    auto* dialog = new QFileDialog(this, tr("Export to"), m_path->text());
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->setAcceptMode(QFileDialog::AcceptSave);
    dialog->setDefaultSuffix(ending(format()));
    connect(dialog, &QFileDialog::fileSelected, this, &ReportDialog::set_path);
    dialog->open();
}

void ReportDialog::write() {
    const QString path = m_path->text();
    if (path.trimmed().isEmpty()) {
        m_status->setText(tr("Name a file first."));
        m_path->setFocus();
        return;
    }
    m_status->setText(tr("Writing…"));
    m_buttons->setEnabled(false);
    m_host->side().run(
        this,
        [session = m_session, chosen = format(), path](Database& database) -> Result<std::int64_t> {
            const std::string text = TRY(report(database, session, chosen));
            return write_file(path, text);
        },
        [this, path](Result<std::int64_t> bytes) {
            m_buttons->setEnabled(true);
            if (!bytes.ok()) {
                m_status->setText(QString::fromStdString(bytes.error().text()));
                return;
            }
            m_status->setText(tr("%1 written to %2").arg(bytes_text(*bytes), path));
            if (m_open_after->isChecked()) {
                QDesktopServices::openUrl(QUrl::fromLocalFile(path));
            }
            emit written(path);
            accept();
        });
}

} // namespace hs
