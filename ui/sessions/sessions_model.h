#pragma once
// The kept sessions as a table: title with the hit of a search, kind, model, size, age.

#include "engine/store/sessions.h"

#include <QAbstractTableModel>

#include <vector>

namespace hs {

class SessionsModel : public QAbstractTableModel {
    Q_OBJECT

public:
    enum Column { Title, Kind, Model, Messages, Updated, ColumnCount };

    explicit SessionsModel(QObject* parent = nullptr);

    void set_rows(std::vector<SessionRow> rows);
    // Null for an invalid index.
    const SessionRow* row(const QModelIndex& index) const;
    QModelIndex index_of(std::int64_t session) const;

    int rowCount(const QModelIndex& parent = {}) const override;
    int columnCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
    QVariant headerData(int section, Qt::Orientation orientation,
                        int role = Qt::DisplayRole) const override;

private:
    std::vector<SessionRow> m_rows;
};

} // namespace hs
