#include "engine/store/schema.h"

#include <array>
#include <fmt/format.h>

namespace hs {

namespace {

// A message is searchable from the moment it is no longer being written: indexing a reply again
// every second while it grows would cost more than writing it. The triggers keep the two apart by
// the message's state.
constexpr const char* kVersion1 = R"sql(
CREATE TABLE sessions(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL CHECK (kind IN ('chat', 'comparison')),
  title TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  updated_ms INTEGER NOT NULL,
  chosen INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX sessions_by_update ON sessions(updated_ms);

CREATE TABLE messages(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  session INTEGER NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
  parent INTEGER REFERENCES messages(id) ON DELETE CASCADE,
  role TEXT NOT NULL,
  content TEXT NOT NULL,
  reasoning TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('complete', 'streaming', 'stopped', 'failed')),
  model TEXT NOT NULL,
  metrics TEXT NOT NULL,
  created_ms INTEGER NOT NULL,
  chosen INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX messages_by_session ON messages(session, id);
CREATE INDEX messages_by_parent ON messages(parent);
CREATE INDEX messages_streaming ON messages(state) WHERE state = 'streaming';

CREATE TABLE experiments(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  session INTEGER NOT NULL REFERENCES sessions(id) ON DELETE CASCADE,
  plan TEXT NOT NULL,
  machine TEXT NOT NULL,
  state TEXT NOT NULL,
  created_ms INTEGER NOT NULL
);
CREATE INDEX experiments_by_session ON experiments(session);

CREATE TABLE arms(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  experiment INTEGER NOT NULL REFERENCES experiments(id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  label TEXT NOT NULL,
  model TEXT NOT NULL,
  schedule TEXT NOT NULL,
  layers TEXT NOT NULL,
  weight_bytes INTEGER NOT NULL,
  details TEXT NOT NULL
);
CREATE INDEX arms_by_experiment ON arms(experiment);

CREATE TABLE runs(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  arm INTEGER NOT NULL REFERENCES arms(id) ON DELETE CASCADE,
  repeat INTEGER NOT NULL,
  depth INTEGER NOT NULL,
  warm_up INTEGER NOT NULL,
  text TEXT NOT NULL,
  metrics TEXT NOT NULL,
  state TEXT NOT NULL
);
CREATE INDEX runs_by_arm ON runs(arm);

CREATE TABLE samples(
  run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
  kind TEXT NOT NULL,
  time_ms REAL NOT NULL,
  context_tokens INTEGER NOT NULL,
  layer INTEGER NOT NULL,
  state_kind TEXT NOT NULL,
  count INTEGER NOT NULL,
  value REAL NOT NULL
);
CREATE INDEX samples_by_run ON samples(run);

CREATE VIRTUAL TABLE title_search USING fts5(
  title, content = 'sessions', content_rowid = 'id',
  tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2 3');
CREATE TRIGGER title_added AFTER INSERT ON sessions BEGIN
  INSERT INTO title_search(rowid, title) VALUES (new.id, new.title);
END;
CREATE TRIGGER title_changed AFTER UPDATE OF title ON sessions BEGIN
  INSERT INTO title_search(title_search, rowid, title) VALUES ('delete', old.id, old.title);
  INSERT INTO title_search(rowid, title) VALUES (new.id, new.title);
END;
CREATE TRIGGER title_removed AFTER DELETE ON sessions BEGIN
  INSERT INTO title_search(title_search, rowid, title) VALUES ('delete', old.id, old.title);
END;

CREATE VIRTUAL TABLE message_search USING fts5(
  content, reasoning, content = 'messages', content_rowid = 'id',
  tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2 3');
CREATE TRIGGER message_added AFTER INSERT ON messages WHEN new.state <> 'streaming' BEGIN
  INSERT INTO message_search(rowid, content, reasoning)
  VALUES (new.id, new.content, new.reasoning);
END;
CREATE TRIGGER message_left AFTER UPDATE OF content, reasoning, state ON messages
WHEN old.state <> 'streaming' BEGIN
  INSERT INTO message_search(message_search, rowid, content, reasoning)
  VALUES ('delete', old.id, old.content, old.reasoning);
END;
CREATE TRIGGER message_entered AFTER UPDATE OF content, reasoning, state ON messages
WHEN new.state <> 'streaming' BEGIN
  INSERT INTO message_search(rowid, content, reasoning)
  VALUES (new.id, new.content, new.reasoning);
END;
CREATE TRIGGER message_removed AFTER DELETE ON messages WHEN old.state <> 'streaming' BEGIN
  INSERT INTO message_search(message_search, rowid, content, reasoning)
  VALUES ('delete', old.id, old.content, old.reasoning);
END;
)sql";

constexpr std::array<Migration, 1> kMigrations{kVersion1};

Result<std::int64_t> number(Database& db, std::string_view sql) {
    Statement statement = TRY(db.prepare(sql));
    if (!TRY(statement.step())) {
        return Error{ErrorCode::Corrupt, fmt::format("no answer to \"{}\"", sql), {}};
    }
    return statement.integer(0);
}

// Where a file stands: its version, after what can be said against it.
Result<int> version_of(Database& db, std::span<const Migration> steps) {
    const std::int64_t version = TRY(number(db, "PRAGMA user_version"));
    const std::int64_t application = TRY(number(db, "PRAGMA application_id"));
    const std::int64_t tables = TRY(number(db, "SELECT count(*) FROM sqlite_schema"));
    if (application != kApplicationId && (application != 0 || version != 0 || tables != 0)) {
        return Error{ErrorCode::InvalidArgument,
                     "it is an SQLite database, but not a session file of this program",
                     "choose another file"};
    }
    if (version > static_cast<std::int64_t>(steps.size())) {
        return Error{ErrorCode::Unsupported,
                     fmt::format("its schema has version {}, this program knows up to {}", version,
                                 steps.size()),
                     "open it with the newer program that wrote it"};
    }
    if (version < 0 || (version == 0 && tables != 0)) {
        return Error{ErrorCode::Corrupt,
                     fmt::format("its schema has version {} and {} tables", version, tables),
                     {}};
    }
    return static_cast<int>(version);
}

} // namespace

std::span<const Migration> migrations() {
    return kMigrations;
}

Result<void> migrate(Database& db, std::span<const Migration> steps) {
    if (TRY(version_of(db, steps)) == static_cast<int>(steps.size())) {
        return {};
    }
    // Looked at again inside the transaction: another program may have been faster.
    Database::Transaction transaction = TRY(db.begin());
    const int version = TRY(version_of(db, steps));
    for (std::size_t step = static_cast<std::size_t>(version); step < steps.size(); ++step) {
        TRY(db.execute(steps[step])
                .with_context(fmt::format("migrating from version {} to {}", step, step + 1)));
    }
    TRY(db.execute(fmt::format("PRAGMA user_version = {}", steps.size())));
    TRY(db.execute(fmt::format("PRAGMA application_id = {}", kApplicationId)));
    return transaction.commit();
}

Result<void> check_version(Database& db, std::span<const Migration> steps) {
    const int version = TRY(version_of(db, steps));
    if (version != static_cast<int>(steps.size())) {
        return Error{ErrorCode::Unsupported,
                     fmt::format("its schema has version {}, expected {}", version, steps.size()),
                     "open it once for writing, which brings it up to date"};
    }
    return {};
}

} // namespace hs
