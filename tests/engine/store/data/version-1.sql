-- A session file as version 1 of the schema made it: tables, then some content.
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

PRAGMA user_version = 1;
PRAGMA application_id = 1215910755;
INSERT INTO sessions VALUES (1, 'chat', 'Instrumente', 1764000000000, 1764000005000, 0);
INSERT INTO messages VALUES
  (1, 1, NULL, 'user', 'Was ist ein Kontrabaß?', '', 'complete', '', '', 1764000001000, 3),
  (2, 1, 1, 'assistant', 'Ein', '', 'stopped', 'hybridscope-ratio-1-3', '{}', 1764000002000, 0),
  (3, 1, 1, 'assistant', 'Kontrabass: a bass.', 'hm', 'complete', 'hybridscope-ratio-1-3', '{}',
   1764000003000, 0),
  (4, 1, 1, 'assistant', 'A', '', 'failed', 'hybridscope-ratio-1-3', '{}', 1764000004000, 0);
INSERT INTO sessions VALUES (2, 'comparison', 'Ratios', 1764000010000, 1764000010000, 0);
INSERT INTO experiments VALUES (1, 2, '{}', '{}', 'complete', 1764000010000);
INSERT INTO arms VALUES (1, 1, 0, 'full', 'hybridscope-ratio-full', '8 full attention', '[]', 9, '{}');
INSERT INTO runs VALUES (1, 1, 0, 0, 0, 'text', '{}', 'complete');
INSERT INTO samples VALUES (1, 'token ms', 1.5, 10, -1, '', 1, 2.5);
INSERT INTO samples VALUES (1, 'state used bytes', 1.5, 10, 3, 'KV cache', 1, 4096);
