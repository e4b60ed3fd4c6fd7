#include "ui/sessions/sessions_model.h"

#include "ui/shared/units.h"

#include <QDateTime>
#include <QFileInfo>

#include <algorithm>

namespace hs {

namespace {

QString title_of(const SessionRow& row) {
    return row.title.empty() ? SessionsModel::tr("Untitled") : QString::fromStdString(row.title);
}

// The store marks a hit with control characters; a person reads brackets.
QString snippet_of(const SessionRow& row) {
    QString text = QString::fromStdString(row.snippet).simplified();
    text.replace(QChar(2), QChar(0x2039));
    text.replace(QChar(3), QChar(0x203A));
    return text;
}

} // namespace

SessionsModel::SessionsModel(QObject* parent)
    : QAbstractTableModel(parent) {}

void SessionsModel::set_rows(std::vector<SessionRow> rows) {
    beginResetModel();
    m_rows = std::move(rows);
    endResetModel();
}

const SessionRow* SessionsModel::row(const QModelIndex& index) const {
    const auto at = static_cast<std::size_t>(index.row());
    return index.isValid() && at < m_rows.size() ? &m_rows[at] : nullptr;
}

QModelIndex SessionsModel::index_of(std::int64_t session) const {
    const auto found = std::find_if(m_rows.begin(), m_rows.end(),
                                    [&](const SessionRow& row) { return row.id == session; });
    return found == m_rows.end() ? QModelIndex()
                                 : index(static_cast<int>(found - m_rows.begin()), Title);
}

int SessionsModel::rowCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(m_rows.size());
}

int SessionsModel::columnCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : ColumnCount;
}

QVariant SessionsModel::data(const QModelIndex& index, int role) const {
    const SessionRow* const session = row(index);
    if (session == nullptr) {
        return {};
    }
    if (role == Qt::ToolTipRole) {
        return session->snippet.empty() ? title_of(*session) : snippet_of(*session);
    }
    if (role != Qt::DisplayRole && role != Qt::AccessibleTextRole) {
        return {};
    }
    switch (index.column()) {
    case Title:
        return session->snippet.empty()
                   ? title_of(*session)
                   : tr("%1 — %2").arg(title_of(*session), snippet_of(*session));
    case Kind:
        return session->kind == SessionKind::Chat ? tr("Chat") : tr("Comparison");
    case Model:
        return QFileInfo(QString::fromStdString(session->model)).completeBaseName();
    case Messages:
        return session->kind == SessionKind::Chat ? count_text(session->messages) : QString();
    case Updated:
        return age_text(session->updated_ms, QDateTime::currentMSecsSinceEpoch());
    default:
        return {};
    }
}

QVariant SessionsModel::headerData(int section, Qt::Orientation orientation, int role) const {
    if (role != Qt::DisplayRole || orientation != Qt::Horizontal) {
        return {};
    }
    switch (section) {
    case Title:
        return tr("Title");
    case Kind:
        return tr("Kind");
    case Model:
        return tr("Model");
    case Messages:
        return tr("Messages");
    case Updated:
        return tr("Last change");
    default:
        return {};
    }
}

} // namespace hs
