#include "app/demonstration.h"

#include "app/bridge/engine_host.h"
#include "app/main_window.h"
#include "engine/lab/report.h"
#include "ui/chat/chat_panel.h"
#include "ui/compare/compare_panel.h"
#include "ui/library/library_model.h"
#include "ui/library/library_panel.h"
#include "ui/shared/units.h"

#include <QDir>
#include <QPixmap>
#include <QSaveFile>
#include <QTextStream>
#include <QTimer>

#include <algorithm>

namespace hs {

namespace {

// Facts first, talk between, the question late: what a state of fixed size may have lost by then.
const char* const kRecallPrompt =
    "Remember this. The code of the blue door is 4821. The code of the red lamp is 1937. The code "
    "of the green box is 6054. A glacier is a slowly moving mass of ice. A harbour is a sheltered "
    "port where ships can take on or discharge cargo. A cello is a large stringed instrument. "
    "What is the code of the blue door?";

void say(const QString& line) {
    QTextStream out(stdout);
    out << line << '\n';
}

Experiment ratios_experiment(int repeats) {
    Experiment experiment;
    experiment.title = "The bundled ratios, a recall prompt";
    for (const NamedModel& model : bundled_models()) {
        Arm arm;
        arm.label = bundled_label(QString::fromStdString(model.name)).toStdString();
        arm.model = model.name;
        experiment.arms.push_back(arm);
        if (model.name.find("full") != std::string::npos) {
            experiment.baseline = static_cast<int>(experiment.arms.size()) - 1;
        }
    }
    experiment.workload.prompt = kRecallPrompt;
    experiment.workload.generate_tokens = 48;
    experiment.repeats = repeats;
    experiment.warm_ups = 1;
    return experiment;
}

QString cell(const QString& text, int width) {
    return width < 0 ? text.rightJustified(-width) : text.leftJustified(width);
}

void print_table(const ExperimentResult& result, int baseline) {
    say({});
    say(cell(QStringLiteral("arm"), 20) + cell(QStringLiteral("state"), -12) +
        cell(QStringLiteral("TTFT"), -12) + cell(QStringLiteral("prefill"), -18) +
        cell(QStringLiteral("decode"), -18) + QStringLiteral("  answer"));
    for (const ArmSummary& arm : result.arms) {
        say(cell(QString::fromStdString(arm.label), 20) + cell(bytes_text(arm.state_bytes), -12) +
            cell(duration_text(arm.ttft_ms.median), -12) +
            cell(rate_text(arm.prefill_tokens_per_s.median), -18) +
            cell(rate_text(arm.decode_tokens_per_s.median), -18) + QStringLiteral("  ") +
            QString::fromStdString(arm.text).simplified().left(60));
    }
    const auto base = static_cast<std::size_t>(baseline);
    if (base < result.arms.size()) {
        say(QStringLiteral("\nBaseline: %1. Medians of the repeats; the report has the spread.")
                .arg(QString::fromStdString(result.arms[base].label)));
    }
}

} // namespace

Demonstration::Demonstration(EngineHost& host, MainWindow& window, const QString& folder,
                             QObject* parent)
    : QObject(parent)
    , m_host(&host)
    , m_window(&window)
    , m_folder(folder) {}

void Demonstration::fail(const QString& why) {
    QTextStream(stderr) << why << '\n';
    emit done(1);
}

void Demonstration::start() {
    const Experiment experiment = ratios_experiment(3);
    if (experiment.arms.empty()) {
        fail(tr("No bundled models were found. They belong into resources/models beside the "
                "program, or into the folder HYBRIDSCOPE_MODELS names."));
        return;
    }
    if (!QDir().mkpath(m_folder)) {
        fail(tr("The folder %1 cannot be made.").arg(m_folder));
        return;
    }
    say(tr("Comparing %1 models with a recall prompt, off screen.").arg(experiment.arms.size()));
    connect(m_host, &EngineHost::experiment_progress, this,
            [](RequestId, const ExperimentProgress& progress) {
                say(QStringLiteral("  %1/%2  %3")
                        .arg(progress.done_runs)
                        .arg(progress.total_runs)
                        .arg(QString::fromStdString(progress.stage)));
            });
    connect(m_host, &EngineHost::experiment_finished, this,
            [this, baseline = experiment.baseline](RequestId, std::int64_t session,
                                                   const ExperimentResult& result) {
                print_table(result, baseline);
                write(session);
            });
    connect(m_host, &EngineHost::failed, this,
            [this](RequestId request, const QString& what, const QString& remedy) {
                if (request != 0 && !m_window->library()->model()->asked(request)) {
                    fail(what + QLatin1Char('\n') + remedy);
                }
            });
    m_window->resize(1280, 860); // whatever screen the platform pretends to have
    m_window->show_page(MainWindow::PageId::Compare);
    m_window->compare()->set_experiment(experiment);
    m_window->compare()->start();
}

void Demonstration::write(std::int64_t session) {
    struct Reports {
        std::string html;
        std::string csv;
    };
    m_host->side().run(
        this,
        [session](Database& database) -> Result<Reports> {
            Reports reports;
            reports.html = TRY(report_html(database, session));
            reports.csv = TRY(report_csv(database, session));
            return reports;
        },
        [this](const Result<Reports>& reports) {
            if (!reports.ok()) {
                fail(QString::fromStdString(reports.error().text()));
                return;
            }
            const auto save = [&](const char* name, const std::string& text) {
                const QString path = QDir(m_folder).filePath(QLatin1String(name));
                QSaveFile file(path);
                if (!file.open(QIODevice::WriteOnly) ||
                    file.write(text.data(), static_cast<qint64>(text.size())) < 0 ||
                    !file.commit()) {
                    fail(tr("%1 cannot be written: %2").arg(path, file.errorString()));
                    return false;
                }
                say(QStringLiteral("wrote %1").arg(path));
                return true;
            };
            if (!save("report.html", reports->html) || !save("samples.csv", reports->csv)) {
                return;
            }
            // Plots are redrawn ten times a second at most: the picture waits for the last.
            QTimer::singleShot(600, this, [this] {
                const QString path = QDir(m_folder).filePath(QStringLiteral("compare.png"));
                if (!m_window->grab().save(path)) {
                    fail(tr("%1 cannot be written.").arg(path));
                    return;
                }
                say(QStringLiteral("wrote %1").arg(path));
                emit done(0);
            });
        });
}

Screenshot::Screenshot(EngineHost& host, MainWindow& window, const QString& page,
                       const QString& file, QObject* parent)
    : QObject(parent)
    , m_host(&host)
    , m_window(&window)
    , m_page(page.toLower())
    , m_file(file) {}

void Screenshot::save_soon() {
    QTimer::singleShot(700, this, [this] {
        const bool saved = m_window->grab().save(m_file);
        if (!saved) {
            QTextStream(stderr) << tr("%1 cannot be written.").arg(m_file) << '\n';
        }
        emit done(saved ? 0 : 1);
    });
}

void Screenshot::start() {
    using PageId = MainWindow::PageId;
    connect(m_host, &EngineHost::failed, this, [this](RequestId request) {
        if (request != 0 && !m_window->library()->model()->asked(request)) {
            save_soon();
        }
    });
    if (m_page == QLatin1String("compare")) {
        m_window->show_page(PageId::Compare);
        m_window->compare()->set_experiment(ratios_experiment(2));
        connect(m_host, &EngineHost::experiment_finished, this, &Screenshot::save_soon);
        m_window->compare()->start();
        return;
    }
    if (m_page == QLatin1String("sessions") || m_page == QLatin1String("models")) {
        m_window->show_page(m_page == QLatin1String("models") ? PageId::Models : PageId::Sessions);
        save_soon();
        return;
    }
    const bool inspect = m_page == QLatin1String("inspect");
    if (!inspect && m_page != QLatin1String("chat")) {
        QTextStream(stderr) << tr("There is no page \"%1\": chat, compare, inspect, sessions, "
                                  "models.")
                                   .arg(m_page)
                            << '\n';
        emit done(2);
        return;
    }
    m_window->show_page(PageId::Chat);
    connect(m_host, &EngineHost::reply_finished, this, [this, inspect] {
        if (inspect) {
            m_window->show_page(PageId::Inspect);
        }
        save_soon();
    });
    m_window->chat()->send(tr("What is a cello?"));
}

} // namespace hs
