#pragma once
// The spec's layers, with the ledger's bytes beside what the planner predicts.

#include "engine/lab/planner.h"
#include "engine/run/events.h"
#include "engine/spec/model_spec.h"

#include <QAbstractTableModel>

#include <vector>

namespace hs {

class LayersModel : public QAbstractTableModel {
    Q_OBJECT

public:
    enum Column { Layer, Kind, Shape, Channel, Growth, Used, Held, Predicted, ColumnCount };

    explicit LayersModel(QObject* parent = nullptr);

    void set_spec(const ModelSpec& spec, const StateOptions& options);
    // What the sequence holds now; the prediction is made for its length.
    void set_state(const StateEvent& state);
    void clear();
    // Bytes used per layer now, for the strip.
    std::vector<std::int64_t> used_by_layer() const;

    int rowCount(const QModelIndex& parent = {}) const override;
    int columnCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
    QVariant headerData(int section, Qt::Orientation orientation,
                        int role = Qt::DisplayRole) const override;

private:
    struct Row {
        QString kind;
        QString shape;
        QString channel;
        std::int64_t growth_bytes_per_token = 0;
        std::int64_t used_bytes = 0;
        std::int64_t held_bytes = 0;
        std::int64_t predicted_bytes = 0;
    };
    void predict(std::int64_t tokens);

    ModelSpec m_spec;
    StateOptions m_options;
    std::vector<Row> m_rows;
};

} // namespace hs
