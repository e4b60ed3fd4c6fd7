#include "engine/store/sessions.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <fmt/format.h>
#include <unordered_map>
#include <unordered_set>

namespace hs {

namespace {

// More words than a person types; each costs one look-up in the index.
constexpr std::size_t kMostWords = 12;

std::int64_t now_ms() {
    using namespace std::chrono;
    return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

const char* word(SessionKind kind) {
    return kind == SessionKind::Chat ? "chat" : "comparison";
}

const char* word(MessageState state) {
    switch (state) {
    case MessageState::Complete:
        return "complete";
    case MessageState::Streaming:
        return "streaming";
    case MessageState::Stopped:
        return "stopped";
    case MessageState::Failed:
        return "failed";
    }
    return "failed";
}

MessageState state_of(std::string_view text) {
    for (const MessageState state :
         {MessageState::Complete, MessageState::Streaming, MessageState::Stopped}) {
        if (text == word(state)) {
            return state;
        }
    }
    return MessageState::Failed;
}

Error no_session(std::int64_t session) {
    return {ErrorCode::NotFound, fmt::format("there is no session {}", session), {}};
}

Error no_message(std::int64_t message) {
    return {ErrorCode::NotFound, fmt::format("there is no message {}", message), {}};
}

// The words of a query, each as an FTS5 string that also matches what it begins: "cel" finds
// "cello". Quoted, so that no sign a person types means anything to the index.
std::vector<std::string> search_terms(std::string_view query) {
    std::vector<std::string> terms;
    std::string current;
    bool searchable = false;
    const auto take = [&] {
        // A word of signs alone has nothing the index knows; asking for it would find nothing.
        if (searchable && terms.size() < kMostWords) {
            terms.push_back('"' + current + "\"*");
        }
        current.clear();
        searchable = false;
    };
    for (const char c : query) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte <= ' ' || byte == 0x7f) {
            take();
            continue;
        }
        const bool letter_or_digit = (byte >= '0' && byte <= '9') || (byte >= 'A' && byte <= 'Z') ||
                                     (byte >= 'a' && byte <= 'z') || byte >= 0x80;
        searchable = searchable || letter_or_digit;
        if (c == '"') {
            current += '"';
        }
        current += c;
    }
    take();
    return terms;
}

constexpr std::string_view kSessionColumns =
    "s.id, s.kind, s.title, s.created_ms, s.updated_ms, "
    "(SELECT count(*) FROM messages m WHERE m.session = s.id), "
    "coalesce((SELECT m.model FROM messages m WHERE m.session = s.id AND m.model <> '' "
    "ORDER BY m.id DESC LIMIT 1), '')";

SessionRow session_row(const Statement& statement) {
    SessionRow row;
    row.id = statement.integer(0);
    row.kind = statement.text(1) == "chat" ? SessionKind::Chat : SessionKind::Comparison;
    row.title = statement.text(2);
    row.created_ms = statement.integer(3);
    row.updated_ms = statement.integer(4);
    row.messages = statement.integer(5);
    row.model = statement.text(6);
    return row;
}

// A message with the child its branch runs through; 0: the latest.
struct Node {
    MessageRow message;
    std::int64_t chosen = 0;
};

Result<std::vector<Node>> read_nodes(Database& db, std::int64_t session) {
    Statement statement = TRY(db.prepare(
        "SELECT id, session, coalesce(parent, 0), role, content, reasoning, state, model, metrics, "
        "created_ms, chosen FROM messages WHERE session = ? ORDER BY id"));
    statement.bind(1, session);
    std::vector<Node> nodes;
    while (TRY(statement.step())) {
        Node node;
        MessageRow& m = node.message;
        m.id = statement.integer(0);
        m.session = statement.integer(1);
        m.parent = statement.integer(2);
        m.role = statement.text(3);
        m.content = statement.text(4);
        m.reasoning = statement.text(5);
        m.state = state_of(statement.text(6));
        m.model = statement.text(7);
        m.metrics = statement.text(8);
        m.created_ms = statement.integer(9);
        node.chosen = statement.integer(10);
        // Ids only grow, so a parent stands before its children. A file that says otherwise would
        // make a circle; its message becomes a root.
        if (m.parent >= m.id) {
            m.parent = 0;
        }
        nodes.push_back(std::move(node));
    }
    return nodes;
}

Result<void> touch(Database& db, std::int64_t session) {
    Statement statement = TRY(db.prepare("UPDATE sessions SET updated_ms = ? WHERE id = ?"));
    return statement.bind(1, now_ms()).bind(2, session).run();
}

// parent 0: the session itself chooses among its first messages.
Result<void> set_chosen(Database& db, std::int64_t session, std::int64_t parent,
                        std::int64_t child) {
    Statement statement =
        TRY(db.prepare(parent == 0 ? "UPDATE sessions SET chosen = ? WHERE id = ?"
                                   : "UPDATE messages SET chosen = ? WHERE id = ?"));
    return statement.bind(1, child).bind(2, parent == 0 ? session : parent).run();
}

// Where the terms were found in a session: the best message, else the title.
Result<std::string> find_snippet(Database& db, std::int64_t session,
                                 const std::vector<std::string>& terms) {
    std::string any;
    for (const std::string& term : terms) {
        any += (any.empty() ? "" : " OR ") + term;
    }
    Statement in_messages = TRY(db.prepare(
        "SELECT snippet(message_search, -1, char(2), char(3), '…', 16) FROM message_search "
        "JOIN messages m ON m.id = message_search.rowid "
        "WHERE message_search MATCH ? AND m.session = ? ORDER BY rank LIMIT 1"));
    in_messages.bind(1, std::string_view(any)).bind(2, session);
    if (TRY(in_messages.step())) {
        return in_messages.text(0);
    }
    Statement in_title =
        TRY(db.prepare("SELECT highlight(title_search, 0, char(2), char(3)) FROM title_search "
                       "WHERE title_search MATCH ? AND rowid = ?"));
    in_title.bind(1, std::string_view(any)).bind(2, session);
    if (TRY(in_title.step())) {
        return in_title.text(0);
    }
    return std::string();
}

} // namespace

Result<std::int64_t> SessionStore::create(SessionKind kind, std::string_view title) {
    const std::int64_t now = now_ms();
    Statement statement = TRY(m_db->prepare(
        "INSERT INTO sessions(kind, title, created_ms, updated_ms) VALUES (?, ?, ?, ?)"));
    TRY(statement.bind(1, std::string_view(word(kind)))
            .bind(2, title)
            .bind(3, now)
            .bind(4, now)
            .run());
    return m_db->last_insert_id();
}

Result<void> SessionStore::rename(std::int64_t session, std::string_view title) {
    Statement statement = TRY(m_db->prepare("UPDATE sessions SET title = ? WHERE id = ?"));
    TRY(statement.bind(1, title).bind(2, session).run());
    if (m_db->changes() == 0) {
        return no_session(session);
    }
    return {};
}

Result<void> SessionStore::remove(std::int64_t session) {
    Statement statement = TRY(m_db->prepare("DELETE FROM sessions WHERE id = ?"));
    TRY(statement.bind(1, session).run());
    if (m_db->changes() == 0) {
        return no_session(session);
    }
    return {};
}

Result<std::optional<SessionRow>> SessionStore::find(std::int64_t session) {
    Statement statement = TRY(
        m_db->prepare(fmt::format("SELECT {} FROM sessions s WHERE s.id = ?", kSessionColumns)));
    statement.bind(1, session);
    if (!TRY(statement.step())) {
        return std::optional<SessionRow>();
    }
    return std::optional<SessionRow>(session_row(statement));
}

Result<std::vector<SessionRow>> SessionStore::list(std::string_view query, int limit) {
    const std::vector<std::string> terms = search_terms(query);
    const bool blank = query.find_first_not_of(" \t\r\n") == std::string_view::npos;
    std::vector<SessionRow> rows;
    if (!blank && terms.empty()) {
        return rows; // signs alone, which nothing is found by
    }
    std::string sql = fmt::format("SELECT {} FROM sessions s", kSessionColumns);
    for (std::size_t i = 0; i < terms.size(); ++i) {
        sql += i == 0 ? " WHERE" : " AND";
        sql += " (s.id IN (SELECT rowid FROM title_search WHERE title_search MATCH ?)"
               " OR s.id IN (SELECT m.session FROM message_search JOIN messages m"
               " ON m.id = message_search.rowid WHERE message_search MATCH ?))";
    }
    sql += " ORDER BY s.updated_ms DESC, s.id DESC LIMIT ?";
    Statement statement = TRY(m_db->prepare(sql));
    int index = 0;
    for (const std::string& term : terms) {
        statement.bind(++index, std::string_view(term)); // of the title
        statement.bind(++index, std::string_view(term)); // of a message
    }
    statement.bind(++index, static_cast<std::int64_t>(std::max(limit, 0)));
    while (TRY(statement.step())) {
        rows.push_back(session_row(statement));
    }
    if (!terms.empty()) {
        for (SessionRow& row : rows) {
            row.snippet = TRY(find_snippet(*m_db, row.id, terms));
        }
    }
    return rows;
}

Result<std::int64_t> SessionStore::add_message(const MessageRow& message) {
    Database::Transaction transaction = TRY(m_db->begin());
    if (message.parent != 0) {
        Statement owner = TRY(m_db->prepare("SELECT session FROM messages WHERE id = ?"));
        owner.bind(1, message.parent);
        if (!TRY(owner.step())) {
            return no_message(message.parent);
        }
        if (owner.integer(0) != message.session) {
            return Error{ErrorCode::InvalidArgument,
                         fmt::format("message {} belongs to session {}, not to {}", message.parent,
                                     owner.integer(0), message.session),
                         {}};
        }
    }
    Statement insert = TRY(m_db->prepare(
        "INSERT INTO messages(session, parent, role, content, reasoning, state, model, metrics, "
        "created_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"));
    insert.bind(1, message.session);
    if (message.parent == 0) {
        insert.bind_null(2);
    } else {
        insert.bind(2, message.parent);
    }
    insert.bind(3, std::string_view(message.role))
        .bind(4, std::string_view(message.content))
        .bind(5, std::string_view(message.reasoning))
        .bind(6, std::string_view(word(message.state)))
        .bind(7, std::string_view(message.model))
        .bind(8, std::string_view(message.metrics))
        .bind(9, message.created_ms != 0 ? message.created_ms : now_ms());
    TRY(insert.run().with_context("adding a message"));
    const std::int64_t id = m_db->last_insert_id();
    TRY(set_chosen(*m_db, message.session, message.parent, id));
    TRY(touch(*m_db, message.session));
    TRY(transaction.commit());
    return id;
}

Result<void> SessionStore::set_text(std::int64_t message, std::string_view content,
                                    std::string_view reasoning) {
    Statement statement =
        TRY(m_db->prepare("UPDATE messages SET content = ?, reasoning = ? WHERE id = ?"));
    TRY(statement.bind(1, content).bind(2, reasoning).bind(3, message).run());
    if (m_db->changes() == 0) {
        return no_message(message);
    }
    return {};
}

Result<void> SessionStore::finish(std::int64_t message, MessageState state,
                                  std::string_view metrics) {
    Database::Transaction transaction = TRY(m_db->begin());
    Statement statement =
        TRY(m_db->prepare("UPDATE messages SET state = ?, metrics = ? WHERE id = ?"));
    TRY(statement.bind(1, std::string_view(word(state))).bind(2, metrics).bind(3, message).run());
    if (m_db->changes() == 0) {
        return no_message(message);
    }
    Statement touched = TRY(m_db->prepare("UPDATE sessions SET updated_ms = ? WHERE id = "
                                          "(SELECT session FROM messages WHERE id = ?)"));
    TRY(touched.bind(1, now_ms()).bind(2, message).run());
    return transaction.commit();
}

Result<std::vector<MessageRow>> SessionStore::messages(std::int64_t session) {
    std::vector<MessageRow> rows;
    for (Node& node : TRY(read_nodes(*m_db, session))) {
        rows.push_back(std::move(node.message));
    }
    return rows;
}

Result<std::vector<MessageRow>> SessionStore::branch(std::int64_t session) {
    Statement statement = TRY(m_db->prepare("SELECT chosen FROM sessions WHERE id = ?"));
    statement.bind(1, session);
    if (!TRY(statement.step())) {
        return no_session(session);
    }
    std::int64_t chosen = statement.integer(0);
    std::vector<Node> nodes = TRY(read_nodes(*m_db, session));
    std::unordered_map<std::int64_t, std::vector<std::size_t>> children; // by parent, by id
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        children[nodes[i].message.parent].push_back(i);
    }
    std::vector<MessageRow> path;
    std::int64_t parent = 0;
    for (auto found = children.find(parent); found != children.end();
         found = children.find(parent)) {
        std::size_t next = found->second.back();
        for (const std::size_t child : found->second) {
            if (nodes[child].message.id == chosen) {
                next = child;
            }
        }
        parent = nodes[next].message.id;
        chosen = nodes[next].chosen;
        path.push_back(std::move(nodes[next].message));
    }
    return path;
}

Result<void> SessionStore::choose(std::int64_t message) {
    Database::Transaction transaction = TRY(m_db->begin());
    Statement find_parent =
        TRY(m_db->prepare("SELECT session, coalesce(parent, 0) FROM messages WHERE id = ?"));
    std::int64_t child = message;
    while (child != 0) {
        find_parent.bind(1, child);
        if (!TRY(find_parent.step())) {
            return no_message(child);
        }
        const std::int64_t session = find_parent.integer(0);
        // As in read_nodes: what would make a circle is a root.
        const std::int64_t parent = find_parent.integer(1) < child ? find_parent.integer(1) : 0;
        find_parent.reset();
        TRY(set_chosen(*m_db, session, parent, child));
        child = parent;
    }
    return transaction.commit();
}

Result<int> SessionStore::recover() {
    Database::Transaction transaction = TRY(m_db->begin());
    TRY(m_db->execute("UPDATE messages SET state = 'stopped' WHERE state = 'streaming'"));
    const int recovered = m_db->changes();
    TRY(m_db->execute("UPDATE runs SET state = 'stopped' WHERE state = 'running'"));
    TRY(m_db->execute("UPDATE experiments SET state = 'stopped' WHERE state = 'running'"));
    TRY(transaction.commit());
    return recovered;
}

} // namespace hs
