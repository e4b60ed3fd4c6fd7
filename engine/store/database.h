#pragma once
// SQLite behind Result: one connection, statements, transactions. WAL, foreign keys on.
// A connection belongs to one thread; each thread opens its own.

#include "engine/core/result.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct sqlite3;
struct sqlite3_stmt;

namespace hs {

class Statement {
public:
    Statement(Statement&&) noexcept;
    Statement& operator=(Statement&&) noexcept;
    ~Statement();

    // 1-based, as in SQL.
    Statement& bind(int index, std::int64_t value);
    Statement& bind(int index, double value);
    Statement& bind(int index, std::string_view text);
    Statement& bind(int index, std::span<const std::byte> blob);
    Statement& bind_null(int index);

    // True while there is a row. Errors: Io, with SQLite's message.
    Result<bool> step();
    // Runs to the end and makes it ready again.
    Result<void> run();
    void reset();

    // Columns of the current row, 0-based.
    std::int64_t integer(int column) const;
    double real(int column) const;
    std::string text(int column) const;
    std::vector<std::byte> blob(int column) const;
    bool is_null(int column) const;

private:
    friend class Database;
    Statement(sqlite3* db, sqlite3_stmt* statement)
        : m_db(db)
        , m_statement(statement) {}
    sqlite3* m_db;
    sqlite3_stmt* m_statement;
};

enum class Access { ReadWrite, ReadOnly };

class Database {
public:
    // Creates the file and migrates its schema (engine/store/schema) when ReadWrite.
    // ":memory:" works. Errors: Io, Corrupt, Unsupported for a schema newer than this program.
    static Result<Database> open(const std::filesystem::path& path, Access access);

    Database(Database&&) noexcept;
    Database& operator=(Database&&) noexcept;
    ~Database();

    Result<Statement> prepare(std::string_view sql);
    Result<void> execute(std::string_view sql); // one or more statements without rows
    std::int64_t last_insert_id() const;
    int changes() const;

    // Rolled back unless committed.
    class Transaction {
    public:
        Transaction(Transaction&&) noexcept;
        ~Transaction();
        Result<void> commit();

    private:
        friend class Database;
        explicit Transaction(Database& db)
            : m_db(&db) {}
        Database* m_db;
    };
    Result<Transaction> begin();

private:
    explicit Database(sqlite3* db)
        : m_db(db) {}
    sqlite3* m_db = nullptr;
};

} // namespace hs
