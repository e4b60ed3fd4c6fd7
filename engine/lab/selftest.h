#pragma once
// Holds a backend to engine/lab/reference: every op with fresh random inputs, odd sizes and
// poisoned outputs. Runs in the tests, and on a person's own device as `selftest`.

#include "engine/backend/backend.h"

#include <cstdint>
#include <stop_token>
#include <string>
#include <vector>

namespace hs {

// One comparison.
struct SelftestRow {
    std::string op;      // "matmul Q4_K"
    std::string shape;   // "T 7, (33, 512)"
    double error = 0;    // the largest, in the unit of `bound`
    double bound = 0;    // what is allowed
    bool passed = false; // false too for values that are not finite or were never written
};

struct SelftestOptions {
    std::uint64_t seed = 1;
};

// Errors: those of the backend (OutOfMemory, Device). A wrong value is a row that did not pass.
Result<std::vector<SelftestRow>> selftest(Backend& backend, const SelftestOptions& options,
                                          std::stop_token stop = {});

// One line per op and one for the whole, for a terminal.
std::string selftest_table(const std::vector<SelftestRow>& rows);

} // namespace hs
