// The window: settings, log sink, host. No logic.

#include "app/bridge/engine_host.h"
#include "app/demonstration.h"
#include "app/main_window.h"
#include "engine/core/log.h"
#include "engine/core/paths.h"
#include "ui/settings/settings.h"
#include "ui/shared/theme.h"

#include <QApplication>
#include <QTextStream>
#include <QTimer>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <mutex>

namespace {

const char* const kUsage =
    "hybridscope [FILE] [options]\n"
    "\n"
    "  FILE                     a GGUF file, a folder with config.json, or a config.json\n"
    "  --data FOLDER            keep sessions and settings there\n"
    "  --theme light|dark       for this start\n"
    "  --offscreen-demo FOLDER  compare the bundled ratios without a display; write report.html,\n"
    "                           samples.csv and compare.png into FOLDER, print the table\n"
    "  --screenshot PAGE FILE   picture of chat, compare, inspect, sessions or models\n"
    "  --version, --help\n";

struct Arguments {
    QString file;
    QString data;
    QString theme;
    QString demo_folder;
    QString shot_page;
    QString shot_file;
    QString trouble;
};

Arguments parse(const QStringList& words) {
    Arguments arguments;
    for (qsizetype i = 1; i < words.size(); ++i) {
        const QString& word = words[i];
        const auto next = [&]() -> QString {
            if (i + 1 < words.size()) {
                return words[++i];
            }
            arguments.trouble = word + QStringLiteral(" needs a value");
            return {};
        };
        if (word == QLatin1String("--data")) {
            arguments.data = next();
        } else if (word == QLatin1String("--theme")) {
            arguments.theme = next();
            if (arguments.theme != QLatin1String("light") &&
                arguments.theme != QLatin1String("dark")) {
                arguments.trouble = QStringLiteral("--theme is light or dark");
            }
        } else if (word == QLatin1String("--offscreen-demo")) {
            arguments.demo_folder = next();
        } else if (word == QLatin1String("--screenshot")) {
            arguments.shot_page = next();
            arguments.shot_file = next();
        } else if (word.startsWith(QLatin1String("--"))) {
            arguments.trouble = QStringLiteral("unknown option ") + word;
        } else {
            arguments.file = word;
        }
    }
    return arguments;
}

// One file of this start's log beside the sessions; warnings also on the terminal.
void log_to(const std::filesystem::path& folder) {
    std::error_code ignored;
    std::filesystem::create_directories(folder, ignored);
    auto file = std::make_shared<std::ofstream>(folder / "hybridscope.log", std::ios::trunc);
    auto mutex = std::make_shared<std::mutex>();
    hs::set_log_sink(
        [file, mutex](hs::LogLevel level, std::string_view category, std::string_view message) {
            const std::lock_guard lock(*mutex);
            *file << category << ": " << message << '\n';
            file->flush();
            if (level >= hs::LogLevel::Warning) {
                std::fprintf(stderr, "%.*s: %.*s\n", static_cast<int>(category.size()),
                             category.data(), static_cast<int>(message.size()), message.data());
            }
        },
        hs::LogLevel::Info);
}

} // namespace

int main(int argc, char** argv) {
    // Before the application: without a display these must still answer.
    for (int i = 1; i < argc; ++i) {
        const std::string_view word = argv[i];
        if (word == "--help" || word == "-h") {
            std::fputs(kUsage, stdout);
            return 0;
        }
        if (word == "--version") {
            std::puts("hybridscope " HS_VERSION);
            return 0;
        }
    }
    QApplication application(argc, argv);
    QApplication::setApplicationName(QStringLiteral("hybridscope"));
    QApplication::setApplicationDisplayName(QStringLiteral("Hybridscope"));
    QApplication::setApplicationVersion(QStringLiteral(HS_VERSION));
    QGuiApplication::setDesktopFileName(QStringLiteral("org.hybridscope.hybridscope"));

    const Arguments arguments = parse(QApplication::arguments());
    if (!arguments.trouble.isEmpty()) {
        QTextStream(stderr) << arguments.trouble << '\n' << kUsage;
        return 2;
    }
    const std::filesystem::path data = arguments.data.isEmpty()
                                           ? hs::default_data_folder()
                                           : std::filesystem::path(arguments.data.toStdU16String());
    log_to(data);

    hs::WindowSettings settings(QString::fromStdU16String((data / "settings.ini").u16string()));
    if (!arguments.theme.isEmpty()) {
        settings.set_for_now("look/theme", arguments.theme);
    }
    hs::EngineHost host(arguments.data.isEmpty() ? hs::default_session_file()
                                                 : data / "sessions.db");
    hs::MainWindow window(host, settings);
    window.show();

    hs::Demonstration demonstration(host, window, arguments.demo_folder);
    hs::Screenshot screenshot(host, window, arguments.shot_page, arguments.shot_file);
    const auto quit = [](int code) { QApplication::exit(code); };
    QObject::connect(&demonstration, &hs::Demonstration::done, &application, quit);
    QObject::connect(&screenshot, &hs::Screenshot::done, &application, quit);
    QTimer::singleShot(0, &window, [&] {
        if (!arguments.file.isEmpty()) {
            window.open_path(arguments.file);
        }
        if (!arguments.demo_folder.isEmpty()) {
            demonstration.start();
        } else if (!arguments.shot_file.isEmpty()) {
            screenshot.start();
        }
    });
    return QApplication::exec();
}
