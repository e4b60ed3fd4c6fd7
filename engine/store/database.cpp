#include "engine/store/database.h"

#include "engine/core/log.h"
#include "engine/store/schema.h"

#include <fmt/format.h>
#include <sqlite3.h>

namespace hs {

namespace {

// How long a writer waits for another one: the window and a command line program may share a file.
constexpr int kBusyMs = 5000;
// No text or blob of ours comes near it; a crafted file cannot make us allocate more.
constexpr int kLongestValue = 256 << 20;

Error sqlite_error(sqlite3* db, int rc, std::string_view attempted) {
    const char* message = db != nullptr ? sqlite3_errmsg(db) : sqlite3_errstr(rc);
    Error error{ErrorCode::Io, fmt::format("{}: {}", attempted, message), {}};
    switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
        error.code = ErrorCode::Corrupt;
        error.remedy = "restore the file from a copy, or choose another one";
        break;
    case SQLITE_ERROR: // the words of a statement do not fit the tables
    case SQLITE_MISMATCH:
    case SQLITE_SCHEMA:
        error.code = ErrorCode::Corrupt;
        error.remedy = "its tables are not those of this program; choose another file";
        break;
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
        error.code = ErrorCode::OutOfMemory;
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        error.remedy = "another program holds the file; close it and try again";
        break;
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
        error.remedy = "check that the folder exists and can be written to";
        break;
    case SQLITE_FULL:
        error.remedy = "free some space on the disk";
        break;
    case SQLITE_CONSTRAINT:
        error.code = ErrorCode::InvalidArgument;
        break;
    default:
        break;
    }
    return error;
}

} // namespace

// --- Statement -----------------------------------------------------------------------------------

Statement::Statement(Statement&& other) noexcept
    : m_db(other.m_db)
    , m_statement(std::exchange(other.m_statement, nullptr)) {}

Statement& Statement::operator=(Statement&& other) noexcept {
    if (this != &other) {
        sqlite3_finalize(m_statement);
        m_db = other.m_db;
        m_statement = std::exchange(other.m_statement, nullptr);
    }
    return *this;
}

Statement::~Statement() {
    sqlite3_finalize(m_statement);
}

// A value that cannot be bound for its size stays NULL, which our NOT NULL columns refuse; a wrong
// index or a statement in mid-run is our own mistake.
Statement& Statement::bind(int index, std::int64_t value) {
    const int rc = sqlite3_bind_int64(m_statement, index, value);
    HS_ASSERT(rc != SQLITE_RANGE && rc != SQLITE_MISUSE);
    return *this;
}

Statement& Statement::bind(int index, double value) {
    const int rc = sqlite3_bind_double(m_statement, index, value);
    HS_ASSERT(rc != SQLITE_RANGE && rc != SQLITE_MISUSE);
    return *this;
}

Statement& Statement::bind(int index, std::string_view text) {
    // An empty view may have no pointer, which SQLite would take for NULL.
    const int rc = sqlite3_bind_text64(m_statement, index, text.empty() ? "" : text.data(),
                                       text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
    HS_ASSERT(rc != SQLITE_RANGE && rc != SQLITE_MISUSE);
    return *this;
}

Statement& Statement::bind(int index, std::span<const std::byte> blob) {
    const int rc = blob.empty() ? sqlite3_bind_zeroblob(m_statement, index, 0)
                                : sqlite3_bind_blob64(m_statement, index, blob.data(), blob.size(),
                                                      SQLITE_TRANSIENT);
    HS_ASSERT(rc != SQLITE_RANGE && rc != SQLITE_MISUSE);
    return *this;
}

Statement& Statement::bind_null(int index) {
    const int rc = sqlite3_bind_null(m_statement, index);
    HS_ASSERT(rc != SQLITE_RANGE && rc != SQLITE_MISUSE);
    return *this;
}

Result<bool> Statement::step() {
    const int rc = sqlite3_step(m_statement);
    if (rc == SQLITE_ROW) {
        return true;
    }
    if (rc == SQLITE_DONE) {
        return false;
    }
    return sqlite_error(m_db, rc, "the session file");
}

Result<void> Statement::run() {
    for (;;) {
        const Result<bool> row = step();
        if (!row.ok()) {
            const Error error = row.error();
            reset();
            return error;
        }
        if (!*row) {
            reset();
            return {};
        }
    }
}

void Statement::reset() {
    sqlite3_reset(m_statement); // repeats the error that step() has reported
    sqlite3_clear_bindings(m_statement);
}

std::int64_t Statement::integer(int column) const {
    return sqlite3_column_int64(m_statement, column);
}

double Statement::real(int column) const {
    return sqlite3_column_double(m_statement, column);
}

std::string Statement::text(int column) const {
    const unsigned char* text = sqlite3_column_text(m_statement, column);
    const int bytes = sqlite3_column_bytes(m_statement, column);
    if (text == nullptr || bytes <= 0) {
        return {};
    }
    return {reinterpret_cast<const char*>(text), static_cast<std::size_t>(bytes)};
}

std::vector<std::byte> Statement::blob(int column) const {
    const auto* blob = static_cast<const std::byte*>(sqlite3_column_blob(m_statement, column));
    const int bytes = sqlite3_column_bytes(m_statement, column);
    if (blob == nullptr || bytes <= 0) {
        return {};
    }
    return {blob, blob + bytes};
}

bool Statement::is_null(int column) const {
    return sqlite3_column_type(m_statement, column) == SQLITE_NULL;
}

// --- Database ------------------------------------------------------------------------------------

Result<Database> Database::open(const std::filesystem::path& path, Access access) {
    const std::u8string u8name = path.u8string();
    const std::string name(u8name.begin(), u8name.end());
    const bool in_memory = name == ":memory:";
    const std::string attempted = fmt::format("opening the session file \"{}\"", name);
    if (access == Access::ReadWrite && !in_memory && path.has_parent_path()) {
        std::error_code failed; // the open below says what is wrong
        std::filesystem::create_directories(path.parent_path(), failed);
    }

    sqlite3* handle = nullptr;
    const int flags = access == Access::ReadOnly ? SQLITE_OPEN_READONLY
                                                 : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    const int rc = sqlite3_open_v2(name.c_str(), &handle, flags | SQLITE_OPEN_NOMUTEX, nullptr);
    Database db(handle); // closes it on every way out
    if (rc != SQLITE_OK) {
        Error error = sqlite_error(handle, rc, attempted);
        std::error_code failed;
        if (access == Access::ReadOnly && !std::filesystem::exists(path, failed)) {
            error = {ErrorCode::NotFound, fmt::format("{}: there is no such file", attempted), {}};
        }
        return error;
    }

    // The file may come from anywhere: no writing to the schema itself, no second file, no value
    // beyond reason. Its triggers are trusted, since our own reach the search index, which SQLite
    // counts as unsafe; we register no function that a foreign one could misuse.
    sqlite3_extended_result_codes(handle, 1);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_ENABLE_FKEY, 1, nullptr);
    sqlite3_limit(handle, SQLITE_LIMIT_LENGTH, kLongestValue);
    sqlite3_limit(handle, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_busy_timeout(handle, kBusyMs);
    TRY(db.execute("PRAGMA cell_size_check = ON; PRAGMA foreign_keys = ON;")
            .with_context(attempted));
    if (access == Access::ReadOnly) {
        TRY(check_version(db, migrations()).with_context(attempted));
        return db;
    }
    // NORMAL in WAL mode: a killed program loses nothing, a power cut the last second or so.
    TRY(db.execute("PRAGMA synchronous = NORMAL;").with_context(attempted));
    // A file of another program is refused before its journal mode is changed.
    TRY(migrate(db, migrations()).with_context(attempted));
    TRY(db.execute("PRAGMA journal_mode = WAL;").with_context(attempted));
    return db;
}

Database::Database(Database&& other) noexcept
    : m_db(std::exchange(other.m_db, nullptr)) {}

Database& Database::operator=(Database&& other) noexcept {
    if (this != &other) {
        sqlite3_close_v2(m_db);
        m_db = std::exchange(other.m_db, nullptr);
    }
    return *this;
}

Database::~Database() {
    sqlite3_close_v2(m_db);
}

Result<Statement> Database::prepare(std::string_view sql) {
    sqlite3_stmt* statement = nullptr;
    const int rc =
        sqlite3_prepare_v2(m_db, sql.data(), static_cast<int>(sql.size()), &statement, nullptr);
    if (rc != SQLITE_OK) {
        return sqlite_error(m_db, rc, "the session file");
    }
    return Statement(m_db, statement);
}

Result<void> Database::execute(std::string_view sql) {
    const char* next = sql.data();
    const char* const end = sql.data() + sql.size();
    while (next < end) {
        sqlite3_stmt* raw = nullptr;
        const int rc = sqlite3_prepare_v2(m_db, next, static_cast<int>(end - next), &raw, &next);
        if (rc != SQLITE_OK) {
            return sqlite_error(m_db, rc, "the session file");
        }
        if (raw == nullptr) { // white space or a comment
            continue;
        }
        Statement statement(m_db, raw);
        TRY(statement.run());
    }
    return {};
}

std::int64_t Database::last_insert_id() const {
    return sqlite3_last_insert_rowid(m_db);
}

int Database::changes() const {
    return sqlite3_changes(m_db);
}

// --- Transaction ---------------------------------------------------------------------------------

Result<Database::Transaction> Database::begin() {
    // Takes the writer's place at once, so that a later write cannot fail for another writer.
    TRY(execute("BEGIN IMMEDIATE"));
    return Transaction(*this);
}

Database::Transaction::Transaction(Transaction&& other) noexcept
    : m_db(std::exchange(other.m_db, nullptr)) {}

Database::Transaction::~Transaction() {
    // SQLite rolls some failures back by itself; then there is nothing left to do.
    if (m_db != nullptr && sqlite3_get_autocommit(m_db->m_db) == 0) {
        const Result<void> undone = m_db->execute("ROLLBACK");
        if (!undone.ok()) {
            HS_LOG(Warning, "store", "a transaction was not undone: {}", undone.error().text());
        }
    }
}

Result<void> Database::Transaction::commit() {
    TRY(m_db->execute("COMMIT"));
    m_db = nullptr;
    return {};
}

} // namespace hs
