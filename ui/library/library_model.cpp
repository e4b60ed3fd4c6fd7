#include "ui/library/library_model.h"

#include "app/bridge/engine_host.h"
#include "ui/shared/units.h"

#include <QFileInfo>
#include <QRegularExpression>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <system_error>

namespace hs {

namespace {

namespace fs = std::filesystem;

// Deep enough for the folders other programs keep (owner/name/file), shallow enough for a home.
constexpr int kDeepest = 4;
constexpr std::size_t kMostFound = 2000;

QString text(const fs::path& path) {
    return QString::fromStdU16String(path.u16string());
}
fs::path path_of(const QString& text) {
    return fs::path(text.toStdU16String());
}

bool is_weights_file(const fs::path& path) {
    std::u16string extension = path.extension().u16string();
    std::transform(extension.begin(), extension.end(), extension.begin(),
                   [](char16_t c) { return c >= u'A' && c <= u'Z' ? char16_t(c + 32) : c; });
    return extension == u".gguf";
}

// Of a split file only the first part is a model of its own.
bool is_later_part(const fs::path& path) {
    static const QRegularExpression part(QStringLiteral("-(\\d{5})-of-\\d{5}$"));
    const QRegularExpressionMatch match = part.match(text(path.stem()));
    return match.hasMatch() && match.captured(1).toInt() != 1;
}

void find_models(const fs::path& folder, int depth, std::vector<fs::path>& found) {
    std::error_code error;
    if (fs::is_regular_file(folder / "config.json", error)) {
        found.push_back(folder);
        return;
    }
    fs::directory_iterator entries(folder, fs::directory_options::skip_permission_denied, error);
    for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
        if (found.size() >= kMostFound) {
            return;
        }
        std::error_code ignored;
        const fs::path& path = entries->path();
        if (entries->is_directory(ignored) && !entries->is_symlink(ignored)) {
            if (depth < kDeepest) {
                find_models(path, depth + 1, found);
            }
        } else if (is_weights_file(path) && !is_later_part(path)) {
            found.push_back(path);
        }
    }
}

LibraryModel::Entry entry_of(const fs::path& path, LibraryModel::Origin origin) {
    LibraryModel::Entry entry;
    entry.model = text(path);
    entry.label = path.filename() == "config.json" ? text(path.parent_path().filename())
                                                   : text(path.filename());
    entry.origin = origin;
    return entry;
}

std::vector<LibraryModel::Entry> scan(const QStringList& places) {
    std::vector<LibraryModel::Entry> entries;
    std::vector<LibraryModel::Entry> architectures; // after what can be opened
    for (const NamedModel& bundled : bundled_models()) {
        LibraryModel::Entry entry;
        entry.model = QString::fromStdString(bundled.name);
        entry.label = bundled_label(entry.model);
        entry.origin = LibraryModel::Origin::Bundled;
        entries.push_back(std::move(entry));
    }
    for (const NamedModel& published : published_architectures()) {
        LibraryModel::Entry entry;
        entry.model = QString::fromStdString(published.name);
        entry.label = entry.model; // its own title once it is read
        entry.origin = LibraryModel::Origin::Published;
        architectures.push_back(std::move(entry));
    }
    for (const QString& place : places) {
        const fs::path path = path_of(place);
        std::error_code ignored;
        if (fs::is_directory(path, ignored)) {
            std::vector<fs::path> found;
            find_models(path, 0, found);
            std::sort(found.begin(), found.end());
            for (const fs::path& each : found) {
                entries.push_back(entry_of(each, each == path ? LibraryModel::Origin::Added
                                                              : LibraryModel::Origin::Found));
            }
        } else {
            entries.push_back(entry_of(path, LibraryModel::Origin::Added));
        }
    }
    std::move(architectures.begin(), architectures.end(), std::back_inserter(entries));
    return entries;
}

} // namespace

QString first_bundled_model() {
    const std::vector<NamedModel> bundled = bundled_models();
    for (const NamedModel& model : bundled) {
        if (model.name.find("1-3") != std::string::npos) {
            return QString::fromStdString(model.name);
        }
    }
    return bundled.empty() ? QString() : QString::fromStdString(bundled.front().name);
}

LibraryModel::LibraryModel(EngineHost& host, QObject* parent)
    : QAbstractListModel(parent)
    , m_host(&host) {
    connect(m_host, &EngineHost::model_inspected, this,
            [this](RequestId request, const ModelSummary& summary) {
                if (request != m_inspecting) {
                    return;
                }
                const int row = static_cast<int>(m_next) - 1;
                Entry& read = m_entries[m_next - 1];
                read.summary = summary;
                if (read.origin == Origin::Published) {
                    read.label = QString::fromStdString(summary.spec.name);
                }
                emit dataChanged(index(row), index(row));
                emit entry_read(row);
                inspect_next();
            });
    connect(m_host, &EngineHost::failed, this,
            [this](RequestId request, const QString& what, const QString&) {
                if (request == 0 || request != m_inspecting) {
                    return;
                }
                const int row = static_cast<int>(m_next) - 1;
                m_entries[m_next - 1].trouble = what;
                emit dataChanged(index(row), index(row));
                emit entry_read(row);
                inspect_next();
            });
}

void LibraryModel::refresh(const QStringList& places) {
    const int wanted = ++m_scan;
    m_host->side().run(
        this, [places](Database&) { return scan(places); },
        [this, wanted](std::vector<Entry> entries) {
            if (wanted == m_scan) {
                show(std::move(entries));
            }
        });
}

void LibraryModel::show(std::vector<Entry> entries) {
    beginResetModel();
    // What was read stays read.
    for (Entry& entry : entries) {
        const int known = row_of(entry.model);
        if (known >= 0) {
            Entry& before = m_entries[static_cast<std::size_t>(known)];
            entry.summary = std::move(before.summary);
            entry.label = std::move(before.label);
        }
    }
    m_entries = std::move(entries);
    endResetModel();
    m_next = 0;
    inspect_next();
}

void LibraryModel::inspect_next() {
    m_inspecting = 0;
    while (m_next < m_entries.size() && m_entries[m_next].summary) {
        ++m_next;
    }
    if (m_next < m_entries.size()) {
        m_inspecting = m_host->inspect(m_entries[m_next].model.toStdString());
        m_asked.insert(m_inspecting);
        ++m_next;
    }
}

int LibraryModel::row_of(const QString& model) const {
    const auto found = std::find_if(m_entries.begin(), m_entries.end(),
                                    [&](const Entry& entry) { return entry.model == model; });
    return found == m_entries.end() ? -1 : static_cast<int>(found - m_entries.begin());
}

int LibraryModel::rowCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(m_entries.size());
}

QVariant LibraryModel::data(const QModelIndex& index, int role) const {
    if (!checkIndex(index, CheckIndexOption::IndexIsValid | CheckIndexOption::ParentIsInvalid)) {
        return {};
    }
    const Entry& at = entry(index.row());
    switch (role) {
    case Qt::DisplayRole:
        return at.label;
    case Qt::ToolTipRole:
        return at.trouble.isEmpty() ? at.model : at.trouble;
    case Qt::AccessibleTextRole:
        return QStringLiteral("%1, %2").arg(at.label, data(index, DetailRole).toString());
    case PathRole:
        return at.model;
    case OriginRole:
        return static_cast<int>(at.origin);
    case SizeRole:
        return at.summary ? QVariant::fromValue<qlonglong>(at.summary->weight_bytes) : QVariant();
    case DetailRole: {
        if (!at.trouble.isEmpty()) {
            return tr("cannot be read");
        }
        if (!at.summary) {
            return tr("reading the header");
        }
        const QString size =
            at.summary->weights_present
                ? bytes_text(at.summary->weight_bytes)
                : tr("no weights, %1 in bf16").arg(bytes_text(at.summary->weight_bytes));
        return QStringLiteral("%1 · %2").arg(
            QString::fromStdString(describe_schedule(at.summary->spec)), size);
    }
    case KindsRole: {
        QList<int> kinds;
        if (at.summary) {
            for (const LayerSpec& layer : at.summary->spec.layers) {
                kinds << static_cast<int>(kind_of(layer.mixer));
            }
        }
        return QVariant::fromValue(kinds);
    }
    default:
        return {};
    }
}

} // namespace hs
