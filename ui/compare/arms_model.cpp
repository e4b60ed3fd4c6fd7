#include "ui/compare/arms_model.h"

#include "ui/shared/units.h"

#include <QFont>
#include <QLocale>

#include <algorithm>

namespace hs {

namespace {

// The unit stands in the column's head.
QString figure_number(double value) {
    return QLocale().toString(value, 'f', value >= 100 ? 0 : 1);
}

} // namespace

ArmsModel::ArmsModel(QObject* parent)
    : QAbstractTableModel(parent) {}

void ArmsModel::set_source(const PlotSource& source) {
    std::vector<Row> rows;
    for (const ArmSource& arm : source.arms) {
        const auto state = static_cast<double>(last_state(arm).used_bytes());
        rows.push_back({arm.label, arm.model, arm.schedule,
                        figure(values_per_run(arm, SampleKind::TtftMs)),
                        figure(values_per_run(arm, SampleKind::PrefillTokensPerS)),
                        figure(values_per_run(arm, SampleKind::DecodeTokensPerS)),
                        state > 0 ? Figure{state, state, state, 1} : Figure{},
                        static_cast<double>(arm.weight_bytes)});
    }
    m_baseline = source.plan.baseline;
    if (rows.size() == m_rows.size() && !rows.empty()) {
        // The selection and the reader's place stay while figures come in.
        m_rows = std::move(rows);
        emit dataChanged(index(0, 0), index(rowCount() - 1, ColumnCount - 1));
        return;
    }
    beginResetModel();
    m_rows = std::move(rows);
    endResetModel();
}

int ArmsModel::rowCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(m_rows.size());
}

int ArmsModel::columnCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : ColumnCount;
}

QString ArmsModel::against_baseline(const Figure& value, const Figure& baseline) const {
    if (value.n == 0 || baseline.n == 0 || baseline.median <= 0) {
        return {};
    }
    const bool noisy = value.n > 1 || baseline.n > 1;
    if (noisy && value.low <= baseline.high && baseline.low <= value.high) {
        return tr("no difference seen");
    }
    return ratio_text(value.median / baseline.median);
}

QString ArmsModel::cell(const Row& row, int column) const {
    const bool has_baseline =
        m_baseline >= 0 && static_cast<std::size_t>(m_baseline) < m_rows.size();
    const Row* const base = has_baseline ? &m_rows[static_cast<std::size_t>(m_baseline)] : nullptr;
    const auto shown = [&](const Figure& value, const Figure Row::*member, auto print) {
        if (value.n == 0) {
            return tr("–");
        }
        QString text = print(value.median);
        if (value.n > 1) {
            text = tr("%1 (%2–%3)").arg(text, print(value.low), print(value.high));
        }
        if (base != nullptr && base != &row) {
            const QString ratio = against_baseline(value, base->*member);
            if (!ratio.isEmpty()) {
                text += tr(", %1").arg(ratio);
            }
        }
        return text;
    };
    switch (column) {
    case Arm:
        return base == &row ? tr("%1 (baseline)").arg(row.label) : row.label;
    case Schedule:
        return row.schedule;
    case Ttft:
        return shown(row.ttft_ms, &Row::ttft_ms, figure_number);
    case Prefill:
        return shown(row.prefill, &Row::prefill, figure_number);
    case Decode:
        return shown(row.decode, &Row::decode, figure_number);
    case State:
        return shown(row.state_bytes, &Row::state_bytes,
                     [](double v) { return bytes_text(static_cast<std::int64_t>(v)); });
    case Weights:
        return row.weight_bytes > 0 ? bytes_text(static_cast<std::int64_t>(row.weight_bytes))
                                    : tr("–");
    default:
        return {};
    }
}

QVariant ArmsModel::data(const QModelIndex& index, int role) const {
    if (!index.isValid() || index.row() >= rowCount()) {
        return {};
    }
    const Row& row = m_rows[static_cast<std::size_t>(index.row())];
    switch (role) {
    case Qt::DisplayRole:
    case Qt::AccessibleTextRole:
        return cell(row, index.column());
    case Qt::ToolTipRole:
        return index.column() == Arm ? row.model : cell(row, index.column());
    case Qt::FontRole:
        if (index.row() == m_baseline) {
            QFont font;
            font.setBold(true);
            return font;
        }
        return {};
    default:
        return {};
    }
}

QVariant ArmsModel::headerData(int section, Qt::Orientation orientation, int role) const {
    if (role != Qt::DisplayRole) {
        return {};
    }
    if (orientation == Qt::Vertical) {
        return section + 1;
    }
    switch (section) {
    case Arm:
        return tr("Arm");
    case Schedule:
        return tr("Layers");
    case Ttft:
        return tr("First token, ms");
    case Prefill:
        return tr("Prefill, tokens/s");
    case Decode:
        return tr("Decode, tokens/s");
    case State:
        return tr("State at the end");
    case Weights:
        return tr("Weights");
    default:
        return {};
    }
}

} // namespace hs
