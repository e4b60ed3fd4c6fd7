#include "ui/inspect/layers_model.h"

#include "ui/shared/units.h"

namespace hs {

namespace {

// One overload per mixer: the dimensions a reader compares.
QString shape_of(const SoftmaxSpec& mixer) {
    QString text = LayersModel::tr("%1 query heads, %2 KV heads × %3")
                       .arg(mixer.query_heads)
                       .arg(mixer.kv_heads)
                       .arg(mixer.head_dim);
    if (mixer.window > 0) {
        text += LayersModel::tr(", window %1").arg(mixer.window);
    }
    if (mixer.indexer) {
        text +=
            LayersModel::tr(", %1 keys chosen").arg(mixer.indexer->top_k * mixer.indexer->block);
    }
    return text;
}

QString shape_of(const CompressedSpec& mixer) {
    QString text =
        LayersModel::tr("%1 heads over a row of %2").arg(mixer.query_heads).arg(mixer.head_dim);
    if (mixer.window > 0) {
        text += LayersModel::tr(", window %1").arg(mixer.window);
    }
    if (mixer.rate > 0) {
        text += LayersModel::tr(", %1 tokens an entry").arg(mixer.rate);
    }
    if (mixer.indexer) {
        text += LayersModel::tr(", %1 entries chosen").arg(mixer.indexer->top_k);
    }
    return text;
}

QString shape_of(const GatedDeltaSpec& mixer) {
    return LayersModel::tr("%1 heads, state %2 × %3, conv %4")
        .arg(mixer.value_heads)
        .arg(mixer.key_dim)
        .arg(mixer.value_dim)
        .arg(mixer.conv_kernel);
}

QString shape_of(const LatentSpec& mixer) {
    QString text = LayersModel::tr("%1 heads over a row of %2 + %3")
                       .arg(mixer.query_heads)
                       .arg(mixer.kv_rank)
                       .arg(mixer.rope_dim);
    if (mixer.indexer) {
        text += LayersModel::tr(", %1 keys chosen").arg(mixer.indexer->top_k);
    }
    return text;
}

QString shape_of(const KdaSpec& mixer) {
    return LayersModel::tr("%1 heads, state %2 × %2, conv %3")
        .arg(mixer.heads)
        .arg(mixer.head_dim)
        .arg(mixer.conv_kernel);
}

QString shape_of(const LightningSpec& mixer) {
    return LayersModel::tr("%1 heads, state %2 × %2").arg(mixer.heads).arg(mixer.head_dim);
}

QString shape_of(const DenseSpec& channel) {
    return LayersModel::tr("dense, %1 wide").arg(channel.intermediate);
}

QString shape_of(const MoeSpec& channel) {
    return LayersModel::tr("%1 of %2 experts, %3 wide")
        .arg(channel.top_k)
        .arg(channel.experts)
        .arg(channel.intermediate);
}

std::vector<std::int64_t> predicted_by_layer(const ModelSpec& spec, std::int64_t tokens,
                                             const StateOptions& options) {
    std::vector<std::int64_t> bytes(spec.layers.size(), 0);
    for (const LedgerEntry& entry : predict_state(spec, tokens, options)) {
        bytes[static_cast<std::size_t>(entry.layer)] += entry.used_bytes;
    }
    return bytes;
}

} // namespace

LayersModel::LayersModel(QObject* parent)
    : QAbstractTableModel(parent) {}

void LayersModel::set_spec(const ModelSpec& spec, const StateOptions& options) {
    beginResetModel();
    m_spec = spec;
    m_options = options;
    m_rows.clear();
    // What one more token costs far from any window's edge: the mean of many, where some tokens
    // make an entry and others none.
    constexpr std::int64_t kFar = std::int64_t{1} << 20;
    constexpr std::int64_t kMany = std::int64_t{1} << 16;
    const auto far = predicted_by_layer(spec, kFar + kMany, options);
    const auto before = predicted_by_layer(spec, kFar, options);
    for (std::size_t i = 0; i < spec.layers.size(); ++i) {
        const LayerSpec& layer = spec.layers[i];
        const MixerKind kind = kind_of(layer.mixer);
        m_rows.push_back(
            {tr("%1 · %2").arg(QChar::fromLatin1(letter(kind))).arg(QLatin1String(to_string(kind))),
             std::visit([](const auto& mixer) { return shape_of(mixer); }, layer.mixer),
             std::visit([](const auto& channel) { return shape_of(channel); }, layer.channel),
             (far[i] - before[i]) / kMany, 0, 0, 0});
    }
    predict(0);
    endResetModel();
}

void LayersModel::set_state(const StateEvent& state) {
    for (Row& row : m_rows) {
        row.used_bytes = 0;
        row.held_bytes = 0;
    }
    for (const LedgerEntry& entry : state.entries) {
        const auto layer = static_cast<std::size_t>(entry.layer);
        if (layer < m_rows.size()) {
            m_rows[layer].used_bytes += entry.used_bytes;
            m_rows[layer].held_bytes += entry.held_bytes;
        }
    }
    predict(state.context_tokens);
    if (!m_rows.empty()) {
        emit dataChanged(index(0, Used), index(rowCount() - 1, Predicted));
    }
}

void LayersModel::clear() {
    set_spec({}, {});
}

void LayersModel::predict(std::int64_t tokens) {
    const auto bytes = predicted_by_layer(m_spec, tokens, m_options);
    for (std::size_t i = 0; i < m_rows.size(); ++i) {
        m_rows[i].predicted_bytes = bytes[i];
    }
}

std::vector<std::int64_t> LayersModel::used_by_layer() const {
    std::vector<std::int64_t> bytes;
    for (const Row& row : m_rows) {
        bytes.push_back(row.used_bytes);
    }
    return bytes;
}

int LayersModel::rowCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(m_rows.size());
}

int LayersModel::columnCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : ColumnCount;
}

QVariant LayersModel::data(const QModelIndex& index, int role) const {
    if (!index.isValid() || index.row() >= rowCount()) {
        return {};
    }
    const Row& row = m_rows[static_cast<std::size_t>(index.row())];
    if (role == Qt::TextAlignmentRole && index.column() >= Growth) {
        return QVariant(Qt::AlignRight | Qt::AlignVCenter);
    }
    if (role != Qt::DisplayRole && role != Qt::AccessibleTextRole) {
        return {};
    }
    switch (index.column()) {
    case Layer:
        return index.row();
    case Kind:
        return row.kind;
    case Shape:
        return row.shape;
    case Channel:
        return row.channel;
    case Growth:
        return row.growth_bytes_per_token > 0 ? bytes_text(row.growth_bytes_per_token)
                                              : tr("fixed");
    case Used:
        return bytes_text(row.used_bytes);
    case Held:
        return bytes_text(row.held_bytes);
    case Predicted:
        return bytes_text(row.predicted_bytes);
    default:
        return {};
    }
}

QVariant LayersModel::headerData(int section, Qt::Orientation orientation, int role) const {
    if (orientation != Qt::Horizontal) {
        return {};
    }
    if (role == Qt::ToolTipRole) {
        switch (section) {
        case Growth:
            return tr("State bytes that one more token of context adds");
        case Used:
            return tr("What tokens fill now, as the ledger accounts it");
        case Held:
            return tr("What the device gave: whole pages");
        case Predicted:
            return tr("What the planner says from the dimensions alone; equal to “used”");
        default:
            return {};
        }
    }
    if (role != Qt::DisplayRole) {
        return {};
    }
    switch (section) {
    case Layer:
        return tr("Layer");
    case Kind:
        return tr("Token mixer");
    case Shape:
        return tr("Heads");
    case Channel:
        return tr("Channel mixer");
    case Growth:
        return tr("Per token");
    case Used:
        return tr("Used");
    case Held:
        return tr("Held");
    case Predicted:
        return tr("Predicted");
    default:
        return {};
    }
}

} // namespace hs
