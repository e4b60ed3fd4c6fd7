#pragma once
// Where things lie on this machine: the person's data, the program itself, what the environment
// says. Text is UTF-8 everywhere in the engine; paths become text and text paths only here.

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

// The folder of what the person makes with this program, not created by asking: HYBRIDSCOPE_DATA,
// else %LOCALAPPDATA%\Hybridscope, XDG_DATA_HOME/hybridscope or ~/.local/share/hybridscope.
std::filesystem::path default_data_folder();
// The session file in it.
std::filesystem::path default_session_file();
// The folder of the running program; empty when the system does not say.
std::filesystem::path program_folder();

std::filesystem::path path_from_utf8(std::string_view text);
std::string utf8_from_path(const std::filesystem::path& path);

// A variable of the environment as UTF-8; empty when it is unset or empty.
std::optional<std::string> environment(const char* name);
// The command line as UTF-8, the program's name first. Windows keeps it apart from main's argv.
std::vector<std::string> utf8_arguments(int argc, const char* const* argv);
// Makes the terminal take UTF-8 and leaves line ends alone, where it would not (Windows).
void use_utf8_terminal();

// Whether a person sees what goes to stderr, or a file or another program.
bool stderr_is_terminal();

// The system's name and version, "Linux 6.1.0"; for the method block of a report.
std::string system_name();

} // namespace hs
