#include "ui/chat/chat_model.h"

#include "ui/shared/units.h"

#include <algorithm>

namespace hs {

namespace {

QString from(const std::string& text) {
    return QString::fromUtf8(text.data(), static_cast<qsizetype>(text.size()));
}

} // namespace

ChatModel::ChatModel(QObject* parent)
    : QAbstractListModel(parent) {}

void ChatModel::insert(const MessageRow& message) {
    Node made{message, {}, 0};
    if (!message.metrics.empty()) {
        if (Result<Metrics> metrics = parse_metrics(message.metrics); metrics.ok()) {
            made.metrics = *std::move(metrics);
        }
    }
    m_nodes.insert_or_assign(message.id, std::move(made));
    std::vector<std::int64_t>& siblings = m_children[message.parent];
    if (std::find(siblings.begin(), siblings.end(), message.id) == siblings.end()) {
        siblings.push_back(message.id);
    }
}

void ChatModel::clear() {
    load({}, {});
}

void ChatModel::load(std::vector<MessageRow> tree, const std::vector<MessageRow>& branch) {
    beginResetModel();
    m_nodes.clear();
    m_children.clear();
    m_branch.clear();
    for (const MessageRow& message : tree) {
        insert(message);
    }
    for (const MessageRow& message : branch) {
        if (m_nodes.contains(message.id)) {
            m_branch.push_back(message.id);
        }
    }
    endResetModel();
}

void ChatModel::add(const MessageRow& message) {
    int keep = 0;
    if (message.parent != 0) {
        const int parent = row_of(message.parent);
        if (parent < 0) {
            insert(message); // of a branch that is not shown
            return;
        }
        keep = parent + 1;
    }
    if (keep < rowCount()) {
        beginRemoveRows({}, keep, rowCount() - 1);
        m_branch.resize(static_cast<std::size_t>(keep));
        endRemoveRows();
    }
    beginInsertRows({}, keep, keep);
    insert(message);
    m_branch.push_back(message.id);
    endInsertRows();
}

void ChatModel::grow(std::int64_t message, const std::string& text, const std::string& thinking,
                     std::int64_t thinking_tokens) {
    const auto found = m_nodes.find(message);
    if (found == m_nodes.end()) {
        return;
    }
    found->second.row.content += text;
    found->second.row.reasoning += thinking;
    found->second.thinking_tokens += thinking_tokens;
    const int row = row_of(message);
    if (row >= 0) {
        emit grew(row, from(text), from(thinking));
        emit dataChanged(index(row), index(row),
                         {Qt::DisplayRole, ThinkingRole, ThinkingTokensRole});
    }
}

void ChatModel::finish(std::int64_t message, const GenerateResult& result,
                       const Sampling& sampling) {
    const auto found = m_nodes.find(message);
    if (found == m_nodes.end()) {
        return;
    }
    Node& node = found->second;
    node.row.content = result.text;
    node.row.reasoning = result.thinking;
    node.row.state = result.reason == FinishReason::Stopped  ? MessageState::Stopped
                     : result.reason == FinishReason::Failed ? MessageState::Failed
                                                             : MessageState::Complete;
    node.metrics = Metrics{result.reason, result.error,   result.reuse_note,
                           sampling,      result.timings, result.state};
    const int row = row_of(message);
    if (row >= 0) {
        emit dataChanged(index(row), index(row));
    }
}

void ChatModel::choose(std::int64_t message) {
    if (!m_nodes.contains(message)) {
        return;
    }
    const std::vector<std::int64_t> path = path_to(message);
    std::size_t same = 0;
    while (same < path.size() && same < m_branch.size() && path[same] == m_branch[same]) {
        ++same;
    }
    const int keep = static_cast<int>(same);
    if (keep < rowCount()) {
        beginRemoveRows({}, keep, rowCount() - 1);
        m_branch.resize(same);
        endRemoveRows();
    }
    if (same < path.size()) {
        beginInsertRows({}, keep, static_cast<int>(path.size()) - 1);
        m_branch = path;
        endInsertRows();
    }
}

std::vector<std::int64_t> ChatModel::path_to(std::int64_t message) const {
    std::vector<std::int64_t> path;
    for (std::int64_t id = message;
         id != 0 && m_nodes.contains(id) && path.size() <= m_nodes.size();
         id = m_nodes.at(id).row.parent) {
        path.push_back(id);
    }
    std::reverse(path.begin(), path.end());
    for (auto children = m_children.find(message);
         children != m_children.end() && !children->second.empty();
         children = m_children.find(path.back())) {
        path.push_back(children->second.back());
    }
    return path;
}

int ChatModel::rowCount(const QModelIndex& parent) const {
    return parent.isValid() ? 0 : static_cast<int>(m_branch.size());
}

QVariant ChatModel::data(const QModelIndex& index, int role) const {
    if (!checkIndex(index, CheckIndexOption::IndexIsValid | CheckIndexOption::ParentIsInvalid)) {
        return {};
    }
    const Node& at = node(index.row());
    const MessageRow& row = at.row;
    switch (role) {
    case Qt::DisplayRole:
        return from(row.content);
    case Qt::AccessibleTextRole:
        return QStringLiteral("%1: %2").arg(row.role == "user"     ? tr("You")
                                            : row.role == "system" ? tr("System")
                                                                   : from(row.model),
                                            from(row.content));
    case IdRole:
        return QVariant::fromValue<qlonglong>(row.id);
    case AuthorRole:
        return from(row.role);
    case ThinkingRole:
        return from(row.reasoning);
    case StateRole:
        return static_cast<int>(row.state);
    case ModelRole:
        return from(row.model);
    case SiblingRole: {
        const std::vector<std::int64_t> all = siblings(index.row());
        return static_cast<int>(std::find(all.begin(), all.end(), row.id) - all.begin());
    }
    case SiblingCountRole:
        return static_cast<int>(siblings(index.row()).size());
    case FiguresRole:
        return figures(at);
    case ReuseNoteRole:
        return at.metrics ? from(at.metrics->reuse_note) : QString();
    case ErrorRole:
        return at.metrics ? from(at.metrics->error) : QString();
    case ThinkingTokensRole:
        return QVariant::fromValue<qlonglong>(at.thinking_tokens);
    default:
        return {};
    }
}

QString ChatModel::figures(const Node& node) const {
    if (!node.metrics) {
        return {};
    }
    const Timings& t = node.metrics->timings;
    QStringList parts;
    if (t.ttft_ms > 0) {
        parts << tr("TTFT %1").arg(duration_text(t.ttft_ms));
    }
    if (t.decode_tokens_per_s() > 0) {
        parts << tr("decode %1").arg(rate_text(t.decode_tokens_per_s()));
        if (t.drafted_tokens > 0) {
            parts << tr("%1 of %2 guesses came, %3 ×")
                         .arg(count_text(t.accepted_tokens), count_text(t.drafted_tokens),
                              QString::number(t.draft_gain, 'f', 2));
        }
    }
    parts << tokens_phrase(t.generated_tokens);
    if (t.prompt_tokens > 0) {
        parts << tr("%1 reused, %2 read")
                     .arg(count_text(t.reused_tokens), count_text(t.prefilled_tokens));
    }
    switch (node.metrics->reason) {
    case FinishReason::Stopped:
        parts << tr("stopped");
        break;
    case FinishReason::TokenLimit:
        parts << tr("longest reply reached");
        break;
    case FinishReason::ContextFull:
        parts << tr("context full");
        break;
    case FinishReason::Failed:
        parts << tr("failed");
        break;
    case FinishReason::EndToken:
    case FinishReason::StopString:
        break;
    }
    return parts.join(QStringLiteral(" · "));
}

QHash<int, QByteArray> ChatModel::roleNames() const {
    QHash<int, QByteArray> names = QAbstractListModel::roleNames();
    names.insert(IdRole, "id");
    names.insert(AuthorRole, "author");
    names.insert(ThinkingRole, "thinking");
    names.insert(StateRole, "state");
    names.insert(FiguresRole, "figures");
    return names;
}

const MessageRow& ChatModel::message(int row) const {
    return node(row).row;
}

int ChatModel::row_of(std::int64_t message) const {
    // From the end: what changes is nearly always the last.
    const auto found = std::find(m_branch.rbegin(), m_branch.rend(), message);
    return found == m_branch.rend() ? -1 : static_cast<int>(m_branch.rend() - found) - 1;
}

std::int64_t ChatModel::last_id() const {
    return m_branch.empty() ? 0 : m_branch.back();
}

std::vector<std::int64_t> ChatModel::siblings(int row) const {
    const auto found = m_children.find(node(row).row.parent);
    return found == m_children.end() ? std::vector<std::int64_t>{} : found->second;
}

std::vector<ChatMessage> ChatModel::conversation(std::int64_t last,
                                                 const QString& system_prompt) const {
    std::vector<ChatMessage> messages;
    if (!system_prompt.isEmpty()) {
        messages.push_back({"system", system_prompt.toStdString(), {}});
    }
    for (const std::int64_t id : m_branch) {
        const MessageRow& row = m_nodes.at(id).row;
        // A reply that failed before its first word would only puzzle the model.
        const bool empty_reply =
            row.role == "assistant" && row.content.empty() && row.reasoning.empty();
        if (row.role != "system" && !empty_reply) {
            messages.push_back({row.role, row.content, row.reasoning});
        }
        if (id == last) {
            break;
        }
    }
    return messages;
}

QString ChatModel::system_prompt() const {
    for (auto id = m_branch.rbegin(); id != m_branch.rend(); ++id) {
        const MessageRow& row = m_nodes.at(*id).row;
        if (row.role == "system") {
            return from(row.content);
        }
    }
    return {};
}

const std::optional<Metrics>& ChatModel::metrics(int row) const {
    return node(row).metrics;
}

} // namespace hs
