#pragma once
// Edits a copy of the settings and applies it whole. The form is made from the table.

#include <QDialog>
#include <QString>

#include <functional>
#include <vector>

namespace hs {

class WindowSettings;

class SettingsDialog : public QDialog {
    Q_OBJECT

public:
    SettingsDialog(WindowSettings& settings, const QString& session_file,
                   QWidget* parent = nullptr);

    void accept() override;

private:
    struct Field {
        const char* key = nullptr;
        std::function<QVariant()> value;
        std::function<void(const QVariant&)> show;
    };
    QWidget* make_field(const char* key);
    void show_defaults();

    WindowSettings* m_settings;
    std::vector<Field> m_fields;
};

} // namespace hs
