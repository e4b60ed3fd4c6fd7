// hybridscope-cli: the engine without a window. Small and static enough to copy to a server.

#include "app/cli/commands.h"
#include "app/cli/shared.h"
#include "engine/core/log.h"
#include "engine/core/paths.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fmt/format.h>
#include <new>
#include <thread>

namespace {

std::atomic<bool> g_interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free, "set by a signal handler");

extern "C" void interrupted(int signal) {
    g_interrupted = true;
    std::signal(signal, SIG_DFL); // a second Ctrl-C ends the program at once
}

// A signal handler may do next to nothing, so a thread looks at what it left.
std::jthread watch_for_interrupt(std::stop_source& work) {
    std::signal(SIGINT, interrupted);
    std::signal(SIGTERM, interrupted);
    return std::jthread([&work](const std::stop_token& done) {
        while (!done.stop_requested()) {
            if (g_interrupted) {
                work.request_stop();
                return;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
    });
}

int report(const hs::Error& error) {
    hs::cli::note("hybridscope-cli: " + error.text());
    return hs::cli::kFailed;
}

int run(std::vector<std::string> arguments) {
    CLI::App app("Hybridscope without a window: hybrid-attention language models, run and measured "
                 "on this machine.",
                 "hybridscope-cli");
    app.set_version_flag("--version", std::string("hybridscope-cli ") + HS_VERSION);
    // Options begin with a dash on Windows too: a path or a prompt may begin with a slash.
    app.allow_windows_style_options(false);
    app.require_subcommand(1);
    app.footer("`hybridscope-cli COMMAND --help` describes a command and its JSON.\n"
               "Results go to stdout, errors to stderr with an exit code other than 0.");
    hs::cli::Action action;
    hs::cli::add_info(app, action);
    hs::cli::add_models(app, action);
    hs::cli::add_generate(app, action);
    hs::cli::add_tokenize(app, action);
    hs::cli::add_logits(app, action);
    hs::cli::add_bench(app, action);
    hs::cli::add_compare(app, action);
    hs::cli::add_sessions(app, action);
    hs::cli::add_selftest(app, action);
    try {
        arguments.erase(arguments.begin());
        std::reverse(arguments.begin(), arguments.end()); // as CLI11 takes a vector
        app.parse(arguments);
    } catch (const CLI::ParseError& error) {
        return app.exit(error);
    }
    std::stop_source work;
    const std::jthread watcher = watch_for_interrupt(work);
    const hs::Result<int> done = action(work.get_token());
    return done.ok() ? *done : report(done.error());
}

} // namespace

int main(int argc, char** argv) {
    hs::use_utf8_terminal();
    hs::set_log_sink(
        [](hs::LogLevel, std::string_view category, std::string_view message) {
            hs::cli::note(fmt::format("{}: {}", category, message));
        },
        hs::LogLevel::Warning);
    try {
        return run(hs::utf8_arguments(argc, argv));
    } catch (const std::bad_alloc&) {
        return report({hs::ErrorCode::OutOfMemory, "there is not enough memory",
                       "Take a smaller model or a shorter context."});
    } catch (const std::exception& error) {
        std::fprintf(stderr, "hybridscope-cli: %s\n", error.what());
        return hs::cli::kFailed;
    }
}
