#pragma once
// The session file's tables and how they came to be: one migration per version, run forward inside
// one transaction. PRAGMA user_version says which version a file has. A migration that was once
// released is never changed; a change of the tables is a new one at the end.

#include "engine/core/result.h"
#include "engine/store/database.h"

#include <span>

namespace hs {

// SQL that takes a file from version N to N + 1, N being its place in the list.
using Migration = const char*;

std::span<const Migration> migrations();
inline int schema_version() {
    return static_cast<int>(migrations().size());
}
// PRAGMA application_id of a session file, "HySc".
inline constexpr std::int64_t kApplicationId = 0x48795363;

// Brings a file to the newest version of `steps`.
// Errors: Unsupported when it is newer, InvalidArgument when it belongs to another program, Io,
// Corrupt.
Result<void> migrate(Database& db, std::span<const Migration> steps);
// The same without writing: the file must have the newest version already.
Result<void> check_version(Database& db, std::span<const Migration> steps);

} // namespace hs
