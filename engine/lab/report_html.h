#pragma once
// The report as one HTML page: opens offline, runs no script, follows the reader's light or dark.

#include "engine/lab/report_source.h"

#include <string>

namespace hs {

// The same source gives the same bytes.
std::string report_page(const ReportSource& source);

} // namespace hs
