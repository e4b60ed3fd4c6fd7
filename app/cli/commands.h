#pragma once
// The subcommands of hybridscope-cli: each declares its options and says what to do when it was
// chosen. Results go to stdout, everything about them to stderr.

#include "engine/core/result.h"

#include <CLI/CLI.hpp>
#include <functional>
#include <stop_token>

namespace hs::cli {

// The value is the program's exit code.
using Action = std::function<Result<int>(std::stop_token)>;

inline constexpr int kDone = 0;
inline constexpr int kFailed = 1;
inline constexpr int kStopped = 130; // as a shell names what Ctrl-C ended

void add_info(CLI::App& app, Action& action);
void add_models(CLI::App& app, Action& action);
void add_generate(CLI::App& app, Action& action);
void add_tokenize(CLI::App& app, Action& action);
void add_logits(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_compare(CLI::App& app, Action& action);
void add_sessions(CLI::App& app, Action& action);
void add_selftest(CLI::App& app, Action& action);

} // namespace hs::cli
