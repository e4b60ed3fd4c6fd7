#pragma once
// What the person can set: one table of key, type, default and range. Kept as an INI file beside
// the session file; never the history. Values are read here and handed down, not looked up below.

#include <QObject>
#include <QString>
#include <QStringList>
#include <QVariant>

#include <memory>
#include <span>

class QSettings;

namespace hs {

// One row. choices: the stored words of an enumeration, each with what the person reads.
struct SettingRow {
    const char* key;
    const char* group; // heading in the dialog; empty: not shown there
    const char* label; // with its mnemonic
    const char* hint;  // one sentence; may be empty
    QVariant initial;  // its type is the setting's type
    QVariant least = {};
    QVariant most = {};
    const char* unit = "";
    std::vector<std::pair<const char*, const char*>> choices = {};
};

std::span<const SettingRow> setting_rows();
const SettingRow& setting_row(const char* key);

class WindowSettings : public QObject {
    Q_OBJECT

public:
    // file: created when something is first changed. Empty: nothing is kept.
    explicit WindowSettings(const QString& file, QObject* parent = nullptr);
    ~WindowSettings() override;

    // Within its range whatever the file says; the default where it says nothing.
    QVariant value(const char* key) const;
    int integer(const char* key) const { return value(key).toInt(); }
    double number(const char* key) const { return value(key).toDouble(); }
    QString text(const char* key) const { return value(key).toString(); }
    bool flag(const char* key) const { return value(key).toBool(); }
    // Clamped to its range; emits changed when it differs.
    void set(const char* key, const QVariant& value);
    // For this start alone, until the person sets it; nothing is kept.
    void set_for_now(const char* key, const QVariant& value);

    QByteArray geometry() const;
    void set_geometry(const QByteArray& geometry);
    // Files and folders the person added to Models.
    QStringList places() const;
    void set_places(const QStringList& places);

signals:
    void changed(const QString& key);

private:
    std::unique_ptr<QSettings> m_file;
    QVariantMap m_for_now;
};

} // namespace hs
