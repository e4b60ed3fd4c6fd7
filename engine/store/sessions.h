#pragma once
// Sessions and their messages. A chat is a tree of messages: an edit or a regeneration adds a
// sibling, nothing is overwritten. Text being generated is written at least once a second.

#include "engine/run/events.h"
#include "engine/store/database.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

enum class SessionKind { Chat, Comparison };

struct SessionRow {
    std::int64_t id = 0;
    SessionKind kind = SessionKind::Chat;
    std::string title{};
    std::string model{};         // of a chat: the last one used
    std::int64_t created_ms = 0; // Unix time
    std::int64_t updated_ms = 0;
    std::int64_t messages = 0;
    std::string snippet{}; // of a search: where it was found, with the hit between \x02 and \x03
};

enum class MessageState { Complete, Streaming, Stopped, Failed };

struct MessageRow {
    std::int64_t id = 0;
    std::int64_t session = 0;
    std::int64_t parent = 0; // 0: the first
    std::string role{};      // "system", "user", "assistant"
    std::string content{};
    std::string reasoning{};
    MessageState state = MessageState::Complete;
    std::string model{};   // that wrote it
    std::string metrics{}; // JSON of timings, state and settings; empty for what a person wrote
    std::int64_t created_ms = 0;
};

class SessionStore {
public:
    explicit SessionStore(Database& db)
        : m_db(&db) {}

    Result<std::int64_t> create(SessionKind kind, std::string_view title);
    Result<void> rename(std::int64_t session, std::string_view title);
    Result<void> remove(std::int64_t session);
    Result<std::optional<SessionRow>> find(std::int64_t session);
    // Latest first. query: words that must occur in title or messages (FTS5); empty: all.
    Result<std::vector<SessionRow>> list(std::string_view query = {}, int limit = 500);

    // id is ignored, created_ms 0 is now. The branch runs through the new message.
    Result<std::int64_t> add_message(const MessageRow& message);
    Result<void> set_text(std::int64_t message, std::string_view content,
                          std::string_view reasoning);
    Result<void> finish(std::int64_t message, MessageState state, std::string_view metrics);
    // All messages of a session, parents before children.
    Result<std::vector<MessageRow>> messages(std::int64_t session);
    // The branch shown: the path from the root through each node's chosen (else latest) child.
    Result<std::vector<MessageRow>> branch(std::int64_t session);
    Result<void> choose(std::int64_t message); // makes the branch run through it

    // Marks what a crash left streaming as stopped; called once at start.
    Result<int> recover();

private:
    Database* m_db;
};

// The metrics column: JSON of a reply's timings, state and settings, and back.
std::string metrics_json(const GenerateResult& result, const Sampling& sampling);

struct Metrics {
    FinishReason reason = FinishReason::EndToken;
    std::string error{};
    std::string reuse_note{};
    Sampling sampling; // with the seed that was used
    Timings timings;
    StateEvent state; // at the end
};
// Errors: Corrupt, Unsupported. An empty column is Corrupt: ask for it only where there is one.
Result<Metrics> parse_metrics(std::string_view text);

} // namespace hs
