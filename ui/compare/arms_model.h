#pragma once
// Arms by figures: medians, spread and the ratio to the baseline arm, from the samples alone. A
// difference that lies inside the spread is called "no difference seen".

#include "ui/plots/plot_source.h"

#include <QAbstractTableModel>

namespace hs {

class ArmsModel : public QAbstractTableModel {
    Q_OBJECT

public:
    enum Column { Arm, Schedule, Ttft, Prefill, Decode, State, Weights, ColumnCount };

    explicit ArmsModel(QObject* parent = nullptr);

    void set_source(const PlotSource& source);
    int baseline() const { return m_baseline; }

    int rowCount(const QModelIndex& parent = {}) const override;
    int columnCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
    QVariant headerData(int section, Qt::Orientation orientation,
                        int role = Qt::DisplayRole) const override;

private:
    struct Row {
        QString label;
        QString model;
        QString schedule;
        Figure ttft_ms, prefill, decode, state_bytes;
        double weight_bytes = 0;
    };
    QString cell(const Row& row, int column) const;
    QString against_baseline(const Figure& value, const Figure& baseline) const;

    std::vector<Row> m_rows;
    int m_baseline = 0;
};

} // namespace hs
