#pragma once
// The models that are at hand: bundled ones, files and folders the person added, and config.json
// files without weights. Headers are read one after another on the side thread.

#include "app/bridge/engine_host.h"

#include <QAbstractListModel>
#include <QString>
#include <QStringList>

#include <optional>
#include <set>
#include <vector>

namespace hs {

class LibraryModel : public QAbstractListModel {
    Q_OBJECT

public:
    enum class Origin { Bundled, Added, Found, Published };
    enum Role {
        PathRole = Qt::UserRole + 1, // what open_model and inspect take
        OriginRole,
        DetailRole, // one line under the name
        KindsRole,  // QList<int> of MixerKind, one per layer
        SizeRole,
    };
    struct Entry {
        QString model; // path or bundled name
        QString label;
        Origin origin = Origin::Added;
        std::optional<ModelSummary> summary;
        QString trouble; // why it could not be read
    };

    explicit LibraryModel(EngineHost& host, QObject* parent = nullptr);

    // Scans again: bundled ones and these files and folders.
    void refresh(const QStringList& places);
    const Entry& entry(int row) const { return m_entries[static_cast<std::size_t>(row)]; }
    int row_of(const QString& model) const;
    // Whether a request was this list's: its failures are said in the list.
    bool asked(RequestId request) const { return m_asked.contains(request); }

    int rowCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role) const override;

signals:
    void entry_read(int row);

private:
    void show(std::vector<Entry> entries);
    void inspect_next();

    EngineHost* m_host;
    std::vector<Entry> m_entries;
    RequestId m_inspecting = 0;
    std::set<RequestId> m_asked;
    std::size_t m_next = 0;
    int m_scan = 0;
};

// The bundled model a person meets first: 1:3, the ratio of most published hybrids. Empty when none
// is bundled.
QString first_bundled_model();

} // namespace hs
