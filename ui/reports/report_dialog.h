#pragma once
// Exports one session as a report. What is written is drawn from the session file alone, on the
// side thread; the dialog says how large it became and where it lies.

#include <QDialog>
#include <QString>

#include <cstdint>

class QCheckBox;
class QComboBox;
class QDialogButtonBox;
class QLabel;
class QLineEdit;
class QPushButton;

namespace hs {

class EngineHost;

class ReportDialog : public QDialog {
    Q_OBJECT

public:
    ReportDialog(EngineHost& host, std::int64_t session, const QString& title,
                 QWidget* parent = nullptr);

    enum class Format { Html, Csv, JsonData };
    void set_format(Format format);
    void set_path(const QString& path);
    QString path() const;

public slots:
    void write();

signals:
    void written(const QString& path);

private:
    void suggest_path();
    void browse();
    Format format() const;

    EngineHost* m_host;
    std::int64_t m_session;
    QString m_title;
    QComboBox* m_format;
    QLineEdit* m_path;
    QPushButton* m_browse;
    QCheckBox* m_open_after;
    QLabel* m_status;
    QDialogButtonBox* m_buttons;
    bool m_path_is_ours = true; // no one typed it
};

} // namespace hs
