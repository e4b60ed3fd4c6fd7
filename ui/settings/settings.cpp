#include "ui/settings/settings.h"

#include <QCoreApplication>
#include <QSettings>

#include <algorithm>
#include <vector>

namespace hs {

namespace {

constexpr int kSchema = 1;

QVariant in_range(const SettingRow& row, QVariant value) {
    if (!value.convert(row.initial.metaType())) {
        return row.initial;
    }
    if (!row.choices.empty()) {
        const bool known =
            std::any_of(row.choices.begin(), row.choices.end(), [&](const auto& choice) {
                return value.toString() == QLatin1String(choice.first);
            });
        return known ? value : row.initial;
    }
    if (row.least.isValid() && value.toDouble() < row.least.toDouble()) {
        return row.least;
    }
    if (row.most.isValid() && value.toDouble() > row.most.toDouble()) {
        return row.most;
    }
    return value;
}

} // namespace

std::span<const SettingRow> setting_rows() {
    static const std::vector<SettingRow> rows = {
        {"look/theme",
         QT_TRANSLATE_NOOP("hs::WindowSettings", "Look"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "&Theme"),
         "",
         QStringLiteral("system"),
         {},
         {},
         "",
         {{"system", QT_TRANSLATE_NOOP("hs::WindowSettings", "As the desktop")},
          {"light", QT_TRANSLATE_NOOP("hs::WindowSettings", "Light")},
          {"dark", QT_TRANSLATE_NOOP("hs::WindowSettings", "Dark")}}},
        {"look/text_percent", QT_TRANSLATE_NOOP("hs::WindowSettings", "Look"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "Text &size"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "Also Ctrl+= and Ctrl+−."), 100, 70, 200, " %"},
        {"engine/device",
         QT_TRANSLATE_NOOP("hs::WindowSettings", "Engine"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "&Device"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "Takes effect when a model is loaded."),
         QStringLiteral("auto"),
         {},
         {},
         "",
         {{"auto", QT_TRANSLATE_NOOP("hs::WindowSettings", "Automatic")},
          {"cpu", QT_TRANSLATE_NOOP("hs::WindowSettings", "CPU")},
          {"cuda", QT_TRANSLATE_NOOP("hs::WindowSettings", "CUDA")}}},
        {"engine/threads", QT_TRANSLATE_NOOP("hs::WindowSettings", "Engine"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "CPU t&hreads"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "0: one for each physical core."), 0, 0, 256},
        {"engine/kv_dtype",
         QT_TRANSLATE_NOOP("hs::WindowSettings", "Engine"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "&KV cache precision"),
         "",
         QStringLiteral("auto"),
         {},
         {},
         "",
         {{"auto", QT_TRANSLATE_NOOP("hs::WindowSettings", "Automatic")},
          {"f16", "f16"},
          {"bf16", "bf16"},
          {"f32", "f32"}}},
        {"engine/context_tokens", QT_TRANSLATE_NOOP("hs::WindowSettings", "Engine"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "&Context"),
         QT_TRANSLATE_NOOP("hs::WindowSettings",
                           "0: the model's own, at most 32768. Memory is taken as it fills."),
         0, 0, 1 << 22, " tokens"},
        {"engine/snapshot_mib", QT_TRANSLATE_NOOP("hs::WindowSettings", "Engine"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "S&napshot budget"),
         QT_TRANSLATE_NOOP("hs::WindowSettings",
                           "Saved states of linear layers, so that edits and regenerations need "
                           "not read the conversation again."),
         512, 0, 1 << 16, " MiB"},
        {"sampling/use_recommended", QT_TRANSLATE_NOOP("hs::WindowSettings", "Sampling"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "Start from the &model's own recommendation"), "",
         true},
        {"sampling/temperature", QT_TRANSLATE_NOOP("hs::WindowSettings", "Sampling"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "T&emperature"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "0: greedy, the same answer every time."), 0.7,
         0.0, 4.0},
        {"sampling/top_k", QT_TRANSLATE_NOOP("hs::WindowSettings", "Sampling"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "Top-&k"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "0: off."), 40, 0, 100000},
        {"sampling/top_p", QT_TRANSLATE_NOOP("hs::WindowSettings", "Sampling"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "Top-&p"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "1: off."), 0.95, 0.0, 1.0},
        {"sampling/min_p", QT_TRANSLATE_NOOP("hs::WindowSettings", "Sampling"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "M&in-p"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "0: off."), 0.0, 0.0, 1.0},
        {"sampling/repetition_penalty", QT_TRANSLATE_NOOP("hs::WindowSettings", "Sampling"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "&Repetition penalty"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "1: off."), 1.0, 0.5, 2.0},
        {"sampling/presence_penalty", QT_TRANSLATE_NOOP("hs::WindowSettings", "Sampling"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "Presence pena&lty"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "0: off."), 0.0, -2.0, 2.0},
        {"sampling/max_tokens", QT_TRANSLATE_NOOP("hs::WindowSettings", "Sampling"),
         QT_TRANSLATE_NOOP("hs::WindowSettings", "&Longest reply"), "", 1024, 1, 1 << 20,
         " tokens"},
        {"chat/side_list", "", "", "", true},
        {"chat/side_panel", "", "", "", false},
    };
    return rows;
}

const SettingRow& setting_row(const char* key) {
    const auto rows = setting_rows();
    const auto found = std::find_if(rows.begin(), rows.end(), [&](const SettingRow& row) {
        return QLatin1String(row.key) == QLatin1String(key);
    });
    Q_ASSERT(found != rows.end());
    return *found;
}

WindowSettings::WindowSettings(const QString& file, QObject* parent)
    : QObject(parent) {
    if (!file.isEmpty()) {
        m_file = std::make_unique<QSettings>(file, QSettings::IniFormat);
    } else {
        // An INI file that is never written, so that the rest needs no case for it.
        m_file = std::make_unique<QSettings>(QStringLiteral("/nonexistent/hybridscope.ini"),
                                             QSettings::IniFormat);
    }
}

WindowSettings::~WindowSettings() = default;

QVariant WindowSettings::value(const char* key) const {
    const SettingRow& row = setting_row(key);
    const auto now = m_for_now.constFind(QLatin1String(key));
    if (now != m_for_now.constEnd()) {
        return in_range(row, *now);
    }
    return in_range(row, m_file->value(QLatin1String(key), row.initial));
}

void WindowSettings::set(const char* key, const QVariant& wanted) {
    const SettingRow& row = setting_row(key);
    const QVariant valid = in_range(row, wanted);
    if (valid == value(key)) {
        return;
    }
    m_for_now.remove(QLatin1String(key));
    m_file->setValue(QStringLiteral("schema"), kSchema);
    m_file->setValue(QLatin1String(key), valid);
    emit changed(QLatin1String(key));
}

void WindowSettings::set_for_now(const char* key, const QVariant& value) {
    m_for_now.insert(QLatin1String(key), value);
    emit changed(QLatin1String(key));
}

QByteArray WindowSettings::geometry() const {
    return m_file->value(QStringLiteral("window/geometry")).toByteArray();
}

void WindowSettings::set_geometry(const QByteArray& geometry) {
    m_file->setValue(QStringLiteral("window/geometry"), geometry);
}

QStringList WindowSettings::places() const {
    return m_file->value(QStringLiteral("models/places")).toStringList();
}

void WindowSettings::set_places(const QStringList& places) {
    m_file->setValue(QStringLiteral("models/places"), places);
    emit changed(QStringLiteral("models/places"));
}

} // namespace hs
