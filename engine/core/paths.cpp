#include "engine/core/paths.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>

#ifdef _WIN32
// clang-format off
#include <windows.h>
#include <shellapi.h> // needs the one above
#include <fcntl.h>
#include <io.h>
// clang-format on
#else
#include <unistd.h>
#endif

namespace hs {

std::filesystem::path path_from_utf8(std::string_view text) {
    return std::filesystem::path(std::u8string(text.begin(), text.end()));
}

std::string utf8_from_path(const std::filesystem::path& path) {
    const std::u8string text = path.u8string();
    return {text.begin(), text.end()};
}

#ifdef _WIN32

namespace {

std::string utf8_from_wide(const wchar_t* text) {
    return utf8_from_path(std::filesystem::path(text));
}

} // namespace

std::optional<std::string> environment(const char* name) {
    const std::wstring wide_name(name, name + std::char_traits<char>::length(name));
    const wchar_t* value = _wgetenv(wide_name.c_str());
    if (value == nullptr || *value == 0) {
        return std::nullopt;
    }
    return utf8_from_wide(value);
}

std::vector<std::string> utf8_arguments(int argc, const char* const* argv) {
    std::vector<std::string> arguments;
    int count = 0;
    wchar_t** wide = CommandLineToArgvW(GetCommandLineW(), &count);
    if (wide == nullptr) {
        arguments.assign(argv, argv + argc);
        return arguments;
    }
    for (int i = 0; i < count; ++i) {
        arguments.push_back(utf8_from_wide(wide[i]));
    }
    LocalFree(wide);
    return arguments;
}

void use_utf8_terminal() {
    SetConsoleOutputCP(CP_UTF8);
    _setmode(_fileno(stdout), _O_BINARY); // an export is the same bytes on every system
}

bool stderr_is_terminal() {
    return _isatty(2) != 0;
}

std::filesystem::path program_folder() {
    std::wstring buffer(32768, L'\0'); // the longest path Windows knows
    const DWORD length = GetModuleFileNameW(nullptr, buffer.data(), 32768);
    if (length == 0 || length >= buffer.size()) {
        return {};
    }
    buffer.resize(length);
    return std::filesystem::path(buffer).parent_path();
}

std::string system_name() {
    return "Windows";
}

#else

std::optional<std::string> environment(const char* name) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == 0) {
        return std::nullopt;
    }
    return std::string(value);
}

std::vector<std::string> utf8_arguments(int argc, const char* const* argv) {
    return {argv, argv + argc};
}

void use_utf8_terminal() {}

bool stderr_is_terminal() {
    return isatty(STDERR_FILENO) != 0;
}

std::filesystem::path program_folder() {
    std::error_code failed;
    const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", failed);
    return failed ? std::filesystem::path() : program.parent_path();
}

std::string system_name() {
    std::string name;
    std::string release;
    std::ifstream("/proc/sys/kernel/ostype") >> name;
    std::ifstream("/proc/sys/kernel/osrelease") >> release;
    if (name.empty()) {
        return "unknown system";
    }
    return release.empty() ? name : name + " " + release;
}

#endif

std::filesystem::path default_data_folder() {
    if (const auto folder = environment("HYBRIDSCOPE_DATA")) {
        return path_from_utf8(*folder);
    }
#ifdef _WIN32
    if (const auto folder = environment("LOCALAPPDATA")) {
        return path_from_utf8(*folder) / "Hybridscope";
    }
#else
    if (const auto folder = environment("XDG_DATA_HOME")) {
        // The XDG base directory specification: a relative path is to be ignored.
        const std::filesystem::path path = path_from_utf8(*folder);
        if (path.is_absolute()) {
            return path / "hybridscope";
        }
    }
    if (const auto home = environment("HOME")) {
        return path_from_utf8(*home) / ".local" / "share" / "hybridscope";
    }
#endif
    std::error_code failed;
    const std::filesystem::path fallback = std::filesystem::temp_directory_path(failed);
    return (failed ? std::filesystem::path(".") : fallback) / "hybridscope";
}

std::filesystem::path default_session_file() {
    return default_data_folder() / "sessions.db";
}

} // namespace hs
