#pragma once
// A conversation as an item model: the rows are the branch that is shown, the tree behind it keeps
// every edit and regeneration. Knows no engine and no file; the panel tells it what happened.

#include "engine/run/events.h"
#include "engine/store/sessions.h"

#include <QAbstractListModel>
#include <QString>

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

namespace hs {

class ChatModel : public QAbstractListModel {
    Q_OBJECT

public:
    enum Role {
        IdRole = Qt::UserRole + 1,
        AuthorRole, // "user", "assistant", "system"
        ThinkingRole,
        StateRole, // MessageState as int
        ModelRole,
        SiblingRole, // 0-based place among its siblings
        SiblingCountRole,
        FiguresRole,   // one line; empty for what a person wrote
        ReuseNoteRole, // why tokens were read again
        ErrorRole,
        ThinkingTokensRole,
    };

    explicit ChatModel(QObject* parent = nullptr);

    void clear();
    // tree: all messages, parents before children; branch: the path shown.
    void load(std::vector<MessageRow> tree, const std::vector<MessageRow>& branch);
    // Adds under its parent; the branch shown then ends with it.
    void add(const MessageRow& message);
    // More of a reply in progress.
    void grow(std::int64_t message, const std::string& text, const std::string& thinking,
              std::int64_t thinking_tokens);
    void finish(std::int64_t message, const GenerateResult& result, const Sampling& sampling);
    // Shows the branch through this message: its latest descendants.
    void choose(std::int64_t message);

    int rowCount(const QModelIndex& parent = {}) const override;
    QVariant data(const QModelIndex& index, int role) const override;
    QHash<int, QByteArray> roleNames() const override;

    const MessageRow& message(int row) const;
    int row_of(std::int64_t message) const; // -1: not on this branch
    std::int64_t last_id() const;           // 0: empty
    // The ids of a row's siblings, itself among them, oldest first.
    std::vector<std::int64_t> siblings(int row) const;
    // What a reply under `last` is asked to continue: everything up to it, system prompt first.
    std::vector<ChatMessage> conversation(std::int64_t last, const QString& system_prompt) const;
    // The latest system prompt on the branch; empty when there is none.
    QString system_prompt() const;
    const std::optional<Metrics>& metrics(int row) const;

signals:
    // A reply's row grew; the view appends instead of laying the row out again.
    void grew(int row, const QString& text, const QString& thinking);

private:
    struct Node {
        MessageRow row;
        std::optional<Metrics> metrics;
        std::int64_t thinking_tokens = 0;
    };
    Node& node(int row) { return m_nodes.at(m_branch[static_cast<std::size_t>(row)]); }
    const Node& node(int row) const { return m_nodes.at(m_branch[static_cast<std::size_t>(row)]); }
    void insert(const MessageRow& message);
    std::vector<std::int64_t> path_to(std::int64_t message) const;
    QString figures(const Node& node) const;

    std::unordered_map<std::int64_t, Node> m_nodes;
    std::unordered_map<std::int64_t, std::vector<std::int64_t>> m_children; // 0: roots
    std::vector<std::int64_t> m_branch;
};

} // namespace hs
