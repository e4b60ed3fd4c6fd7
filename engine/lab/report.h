#pragma once
// Reports drawn from stored samples alone, so that one can always be made again: HTML with inline
// SVG that opens offline, and tidy CSV with one measurement per row. Lives in the engine because
// the command line program exports too.

#include "engine/core/result.h"
#include "engine/store/database.h"

#include <cstdint>
#include <string>

namespace hs {

// A chat becomes its transcript with figures; a comparison its method, table, plots and answers.
Result<std::string> report_html(Database& database, std::int64_t session);
Result<std::string> report_csv(Database& database, std::int64_t session);
Result<std::string> report_json(Database& database, std::int64_t session);

} // namespace hs
