#include "app/main_window.h"

#include "app/about_dialog.h"
#include "engine/store/sessions.h"
#include "ui/chat/chat_panel.h"
#include "ui/compare/compare_panel.h"
#include "ui/inspect/inspect_panel.h"
#include "ui/library/library_model.h"
#include "ui/library/library_panel.h"
#include "ui/sessions/session_panel.h"
#include "ui/settings/settings.h"
#include "ui/settings/settings_dialog.h"
#include "ui/shared/error_bar.h"
#include "ui/shared/status_strip.h"
#include "ui/shared/theme.h"
#include "ui/shared/units.h"

#include <QAction>
#include <QActionGroup>
#include <QApplication>
#include <QCloseEvent>
#include <QDialog>
#include <QDialogButtonBox>
#include <QDropEvent>
#include <QFileDialog>
#include <QFileInfo>
#include <QGuiApplication>
#include <QHBoxLayout>
#include <QHeaderView>
#include <QMenuBar>
#include <QMimeData>
#include <QScreen>
#include <QStackedWidget>
#include <QStyleHints>
#include <QTableWidget>
#include <QToolButton>
#include <QVBoxLayout>

#include <array>

namespace hs {

namespace {

struct PageRow {
    MainWindow::PageId id;
    const char* name;
    const char* icon;
};
constexpr std::array kPages = {
    PageRow{MainWindow::PageId::Chat, QT_TRANSLATE_NOOP("hs::MainWindow", "Chat"), "chat"},
    PageRow{MainWindow::PageId::Compare, QT_TRANSLATE_NOOP("hs::MainWindow", "Compare"), "compare"},
    PageRow{MainWindow::PageId::Inspect, QT_TRANSLATE_NOOP("hs::MainWindow", "Inspect"), "inspect"},
    PageRow{MainWindow::PageId::Sessions, QT_TRANSLATE_NOOP("hs::MainWindow", "Sessions"),
            "sessions"},
    PageRow{MainWindow::PageId::Models, QT_TRANSLATE_NOOP("hs::MainWindow", "Models"), "models"},
};

QString plain(QString text) {
    return text.remove(QLatin1Char('&'));
}

} // namespace

MainWindow::MainWindow(EngineHost& host, WindowSettings& settings, QWidget* parent)
    : QMainWindow(parent)
    , m_host(&host)
    , m_settings(&settings) {
    setObjectName(QStringLiteral("main_window"));
    setWindowTitle(QStringLiteral("Hybridscope"));
    setWindowIcon(QIcon(QStringLiteral(":/icons/hybridscope.svg")));
    setAcceptDrops(true);
    setMinimumSize(720, 480);

    apply_look(); // before the first widget, so that each is made with its font
    m_chat = new ChatPanel(host);
    m_compare = new ComparePanel(host);
    m_inspect = new InspectPanel(host);
    m_sessions = new SessionPanel(host);
    m_library = new LibraryPanel(host);
    m_pages = new QStackedWidget(this);
    for (Page* const page :
         std::initializer_list<Page*>{m_chat, m_compare, m_inspect, m_sessions, m_library}) {
        m_pages->addWidget(page);
        connect_page(page);
    }
    m_error_bar = new ErrorBar(this);
    m_status = new StatusStrip(this);
    m_model_menu = new QMenu(this);

    make_actions();
    auto* const centre = new QWidget(this);
    auto* const row = new QHBoxLayout(centre);
    row->setContentsMargins(0, 0, 0, 0);
    row->setSpacing(0);
    auto* const column = new QVBoxLayout;
    column->setSpacing(0);
    column->addWidget(m_error_bar);
    column->addWidget(m_pages, 1);
    row->addWidget(make_rail());
    row->addLayout(column, 1);
    auto* const whole = new QVBoxLayout;
    whole->setContentsMargins(0, 0, 0, 0);
    whole->setSpacing(0);
    auto* const outer = new QWidget(this);
    outer->setLayout(whole);
    whole->addWidget(centre, 1);
    whole->addWidget(m_status);
    setCentralWidget(outer);
    make_menus();
    connect_host();

    connect(m_model_menu, &QMenu::aboutToShow, this, &MainWindow::fill_model_menu);
    fill_model_menu();
    m_chat->set_model_menu(m_model_menu);
    m_chat->set_side_list_visible(m_settings->flag("chat/side_list"));
    m_chat->set_side_panel_visible(m_settings->flag("chat/side_panel"));
    connect(m_chat, &ChatPanel::side_list_changed, this,
            [this](bool on) { m_settings->set("chat/side_list", on); });
    connect(m_chat, &ChatPanel::side_panel_changed, this,
            [this](bool on) { m_settings->set("chat/side_panel", on); });
    connect(m_chat, &ChatPanel::sessions_changed, m_sessions, &SessionPanel::refresh);
    connect(m_chat, &ChatPanel::state_changed, this, [this](const StateEvent& state) {
        std::int64_t used = 0;
        for (const LedgerEntry& entry : state.entries) {
            used += entry.used_bytes;
        }
        m_status->set_context(state.context_tokens, state.context_limit);
        m_status->set_state_bytes(used);
        m_inspect->show_state(state);
    });
    connect(m_chat, &ChatPanel::rate_changed, m_status, &StatusStrip::set_rate);
    connect(m_compare, &ComparePanel::finished, m_sessions, &SessionPanel::refresh);
    connect(m_sessions, &SessionPanel::session_removed, this, [this](std::int64_t session) {
        if (session == m_chat->session()) {
            m_chat->new_chat();
        }
        emit m_chat->sessions_changed();
    });
    connect(m_sessions, &SessionPanel::session_renamed, m_chat, &ChatPanel::sessions_changed);
    connect(m_library, &LibraryPanel::places_changed, this,
            [this](const QStringList& places) { m_settings->set_places(places); });
    connect(m_status, &StatusStrip::models_wanted, this, [this] { show_page(PageId::Models); });
    connect(m_status, &StatusStrip::chat_wanted, this, [this] { show_page(PageId::Chat); });
    connect(m_status, &StatusStrip::inspect_wanted, this, [this] { show_page(PageId::Inspect); });
    connect(m_status, &StatusStrip::cancel_wanted, this,
            [this] { m_host->stop(m_loading != 0 ? m_loading : m_experiment); });
    connect(m_settings, &WindowSettings::changed, this, &MainWindow::apply_settings);

    m_library->set_places(m_settings->places());
    const QString first = first_bundled_model();
    m_chat->set_first_model(first, bundled_label(first));
    if (!first.isEmpty()) {
        m_previewing = m_host->inspect(first.toStdString());
    }
    apply_settings();
    if (!restoreGeometry(m_settings->geometry())) {
        const QSize room = screen()->availableSize();
        resize(std::min(1280, room.width()), std::min(800, room.height()));
    }
    show_page(PageId::Chat);
    update_actions();
}

QWidget* MainWindow::make_rail() {
    m_rail = new QFrame(this);
    m_rail->setObjectName(QStringLiteral("rail"));
    m_rail->setProperty("frame_role", "rail");
    m_rail->setAccessibleName(tr("Pages"));
    auto* const column = new QVBoxLayout(m_rail);
    column->setContentsMargins(6, kSpace, 6, kSpace);
    column->setSpacing(4);
    const auto button = [&](QAction* act) {
        auto* const made = new QToolButton(m_rail);
        made->setDefaultAction(act);
        made->setToolButtonStyle(Qt::ToolButtonTextUnderIcon);
        made->setIconSize(QSize(22, 22));
        made->setMinimumWidth(72);
        made->setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Fixed);
        made->setAccessibleName(plain(act->text()));
        made->setFocusPolicy(Qt::StrongFocus);
        set_button_role(made, "rail");
        column->addWidget(made);
        return made;
    };
    for (const PageRow& page : kPages) {
        m_rail_buttons.push_back(button(m_actions.at(page.name)));
    }
    column->addStretch(1);
    button(m_actions.at("settings"));
    return m_rail;
}

QAction* MainWindow::add_action(const char* name, const QString& text,
                                std::initializer_list<QKeySequence> keys, const char* icon_name,
                                std::function<void()> act) {
    auto* const made = new QAction(text, this);
    made->setObjectName(QLatin1String(name));
    made->setShortcuts(QList<QKeySequence>(keys));
    if (icon_name) {
        made->setIcon(icon(icon_name));
    }
    QString tip = plain(text);
    if (keys.size() > 0) {
        tip += QStringLiteral(" (%1)").arg(keys.begin()->toString(QKeySequence::NativeText));
    }
    made->setToolTip(tip);
    connect(made, &QAction::triggered, this, std::move(act));
    addAction(made);
    m_actions[name] = made;
    return made;
}

void MainWindow::make_actions() {
    auto* const group = new QActionGroup(this);
    int number = 1;
    for (const PageRow& page : kPages) {
        QAction* const act =
            add_action(page.name, tr(page.name), {QKeySequence(Qt::CTRL | (Qt::Key_0 + number))},
                       page.icon, [this, id = page.id] { show_page(id); });
        act->setCheckable(true);
        group->addAction(act);
        ++number;
    }
    add_action("settings", tr("&Settings"), {QKeySequence(Qt::CTRL | Qt::Key_Comma)}, "settings",
               [this] { show_settings(); });
    add_action("new_chat", tr("&New chat"), {QKeySequence::New}, "plus", [this] {
        m_chat->new_chat();
        show_page(PageId::Chat);
    });
    add_action("new_comparison", tr("New c&omparison"),
               {QKeySequence(Qt::CTRL | Qt::SHIFT | Qt::Key_N)}, "compare",
               [this] { show_page(PageId::Compare); });
    add_action("open_file", tr("&Open a model…"), {QKeySequence::Open}, "file",
               [this] { choose_file(); });
    add_action("open_folder", tr("Open a model &folder…"),
               {QKeySequence(Qt::CTRL | Qt::SHIFT | Qt::Key_O)}, "folder",
               [this] { choose_folder(); });
    add_action("export", tr("&Export a report…"), {QKeySequence(Qt::CTRL | Qt::Key_E)}, "export",
               [this] {
                   if (page() == PageId::Compare) {
                       m_compare->export_report();
                   } else {
                       show_page(PageId::Sessions);
                       m_sessions->export_current();
                   }
               });
    add_action("quit", tr("&Quit"), {QKeySequence(Qt::CTRL | Qt::Key_Q)}, nullptr,
               [this] { close(); });
    add_action("unload", tr("&Unload the model"), {}, "eject", [this] { m_host->close_model(); });

    add_action("stop", tr("&Stop"), {QKeySequence(Qt::Key_Escape)}, "stop", [this] { stop(); });
    add_action("answer_again", tr("&Answer again"), {QKeySequence(Qt::CTRL | Qt::Key_R)},
               "regenerate", [this] { m_chat->regenerate_last(); });
    add_action("edit_message", tr("&Edit my message"), {QKeySequence(Qt::CTRL | Qt::Key_Up)},
               "edit", [this] { m_chat->edit_last(); });
    add_action("previous_message", tr("&Previous message"), {QKeySequence(Qt::ALT | Qt::Key_Up)},
               "up", [this] { m_chat->step_message(-1); });
    add_action("next_message", tr("Ne&xt message"), {QKeySequence(Qt::ALT | Qt::Key_Down)}, "down",
               [this] { m_chat->step_message(1); });
    add_action("previous_sibling", tr("Ea&rlier version"), {QKeySequence(Qt::ALT | Qt::Key_Left)},
               "left", [this] { m_chat->step_sibling(-1); });
    add_action("next_sibling", tr("&Later version"), {QKeySequence(Qt::ALT | Qt::Key_Right)},
               "right", [this] { m_chat->step_sibling(1); });
    add_action("side_list", tr("&Recent chats"), {QKeySequence(Qt::CTRL | Qt::Key_B)}, "panel",
               [this] { m_chat->set_side_list_visible(!m_chat->side_list_visible()); });
    add_action("side_panel", tr("System prompt and sa&mpling"),
               {QKeySequence(Qt::CTRL | Qt::SHIFT | Qt::Key_B)}, "sliders",
               [this] { m_chat->set_side_panel_visible(!m_chat->side_panel_visible()); });
    add_action("search", tr("&Search everywhere"), {QKeySequence(Qt::CTRL | Qt::SHIFT | Qt::Key_F)},
               "search", [this] {
                   show_page(PageId::Sessions);
                   m_sessions->focus_search();
               });
    add_action("text_larger", tr("Text &larger"),
               {QKeySequence(Qt::CTRL | Qt::Key_Equal), QKeySequence(Qt::CTRL | Qt::Key_Plus)},
               nullptr, [this] { change_text_size(10); });
    add_action("text_smaller", tr("Text s&maller"), {QKeySequence(Qt::CTRL | Qt::Key_Minus)},
               nullptr, [this] { change_text_size(-10); });
    add_action("text_normal", tr("Text &normal"), {QKeySequence(Qt::CTRL | Qt::Key_0)}, nullptr,
               [this] { m_settings->set("look/text_percent", 100); });
    add_action("next_region", tr("Next &region"), {QKeySequence(Qt::Key_F6)}, nullptr,
               [this] { next_region(1); });
    add_action("previous_region", tr("Pre&vious region"), {QKeySequence(Qt::SHIFT | Qt::Key_F6)},
               nullptr, [this] { next_region(-1); });
    add_action("shortcuts", tr("&Keyboard"),
               {QKeySequence(Qt::CTRL | Qt::Key_Slash), QKeySequence(Qt::Key_F1)}, nullptr,
               [this] { show_shortcuts(); });
    add_action("about", tr("&About Hybridscope"), {}, "info", [this] { show_about(); });
}

void MainWindow::make_menus() {
    const auto add = [this](QMenu* menu, std::initializer_list<const char*> names) {
        for (const char* const name : names) {
            if (name) {
                menu->addAction(m_actions.at(name));
            } else {
                menu->addSeparator();
            }
        }
    };
    add(menuBar()->addMenu(tr("&File")),
        {"new_chat", "new_comparison", nullptr, "open_file", "open_folder", nullptr, "export",
         nullptr, "settings", nullptr, "quit"});
    add(menuBar()->addMenu(tr("&Chat")),
        {"stop", "answer_again", "edit_message", nullptr, "previous_message", "next_message",
         "previous_sibling", "next_sibling"});
    QMenu* const model = menuBar()->addMenu(tr("&Model"));
    connect(model, &QMenu::aboutToShow, this, [this, model] {
        fill_model_menu();
        model->clear();
        model->addActions(m_model_menu->actions());
    });
    QMenu* const view = menuBar()->addMenu(tr("&View"));
    for (const PageRow& page : kPages) {
        view->addAction(m_actions.at(page.name));
    }
    add(view, {nullptr, "side_list", "side_panel", "search", nullptr});
    QMenu* const theme = view->addMenu(tr("&Theme"));
    m_theme_group = new QActionGroup(this);
    for (const auto& [stored, shown] : setting_row("look/theme").choices) {
        QAction* const act =
            theme->addAction(QCoreApplication::translate("hs::WindowSettings", shown), this,
                             [this, stored = QString::fromLatin1(stored)] {
                                 m_settings->set("look/theme", stored);
                             });
        act->setCheckable(true);
        act->setData(QLatin1String(stored));
        m_theme_group->addAction(act);
    }
    add(view,
        {"text_larger", "text_smaller", "text_normal", nullptr, "next_region", "previous_region"});
    add(menuBar()->addMenu(tr("&Help")), {"shortcuts", "about"});
}

void MainWindow::fill_model_menu() {
    m_model_menu->clear();
    const QString loaded = m_host->model() ? m_host->model()->path : QString();
    const auto add = [&](const QString& label, const QString& model, bool is_loaded) {
        QAction* const act =
            m_model_menu->addAction(label, this, [this, model] { load_model(model); });
        act->setToolTip(model);
        act->setCheckable(is_loaded);
        act->setChecked(is_loaded);
    };
    const std::vector<NamedModel> bundled = bundled_models();
    for (const NamedModel& model : bundled) {
        const QString name = QString::fromStdString(model.name);
        add(tr("%1 (bundled)").arg(bundled_label(name)), name,
            !loaded.isEmpty() && QString::fromStdU16String(model.path.u16string()) == loaded);
    }
    if (!bundled.empty()) {
        m_model_menu->addSeparator();
    }
    for (const QString& place : m_settings->places()) {
        if (QFileInfo(place).isFile() && !place.endsWith(QLatin1String("config.json"))) {
            add(QFileInfo(place).fileName(), place, place == loaded);
        }
    }
    m_model_menu->addAction(m_actions.at("open_file"));
    m_model_menu->addAction(m_actions.at("open_folder"));
    m_model_menu->addAction(m_actions.at("Models"));
    m_model_menu->addSeparator();
    m_model_menu->addAction(m_actions.at("unload"));
}

void MainWindow::connect_page(Page* page) {
    connect(page, &Page::trouble, this, [this](const QString& what, const QString& remedy) {
        m_error_bar->show_trouble(what, remedy);
    });
    connect(page, &Page::open_model_wanted, this, [this, page](const QString& model) {
        load_model(model);
        if (page != m_chat) {
            show_page(PageId::Chat);
        }
    });
    connect(page, &Page::inspect_model_wanted, this, [this](const QString& model) {
        m_inspecting = m_host->inspect(model.toStdString());
        show_page(PageId::Inspect);
    });
    connect(page, &Page::compare_models_wanted, this, [this](const QStringList& models) {
        m_compare->choose_models(models);
        show_page(PageId::Compare);
    });
    connect(page, &Page::open_session_wanted, this,
            [this](qint64 session) { open_session(session); });
}

void MainWindow::connect_host() {
    connect(m_host, &EngineHost::failed, this,
            [this](RequestId request, const QString& what, const QString& remedy) {
                // A header that cannot be read is said where the model is listed.
                const bool said_there =
                    request != 0 && (m_library->model()->asked(request) || request == m_previewing);
                if (!said_there) {
                    m_error_bar->show_trouble(what, remedy);
                }
                if (request != 0 && request == m_experiment) {
                    m_experiment = 0;
                    m_status->set_job({}, -1);
                }
                update_actions();
            });
    connect(m_host, &EngineHost::load_progress, this,
            [this](RequestId request, double fraction, const QString& stage) {
                m_loading = request;
                m_status->set_job(tr("Loading: %1").arg(stage), fraction);
                update_actions();
            });
    connect(m_host, &EngineHost::model_opened, this,
            [this](RequestId, const ModelSummary& summary) {
                m_loading = 0;
                m_status->set_job({}, -1);
                m_status->set_model(summary.name, summary.device);
                m_status->set_context(0, summary.context_limit);
                m_status->set_state_bytes(0);
                m_status->set_rate(0);
                m_inspect->show_model(summary);
                if (summary.template_is_fallback) {
                    m_error_bar->show_trouble(
                        tr("This model has no chat template; a plain one is used instead."),
                        tr("Answers may be poor. Files made for chat carry their own template."));
                }
                update_actions();
            });
    connect(m_host, &EngineHost::model_closed, this, [this] {
        m_loading = 0;
        m_status->set_job({}, -1);
        m_status->set_model({}, {});
        m_status->set_context(0, 0);
        m_status->set_state_bytes(0);
        m_status->set_rate(0);
        update_actions();
    });
    connect(m_host, &EngineHost::model_inspected, this,
            [this](RequestId request, const ModelSummary& summary) {
                if (request == m_inspecting) {
                    m_inspecting = 0;
                    m_inspect->show_model(summary);
                } else if (request == m_previewing) {
                    m_previewing = 0;
                    m_chat->preview(summary);
                    if (!m_host->model()) {
                        m_inspect->show_model(summary);
                    }
                }
            });
    connect(m_host, &EngineHost::experiment_started, this, [this](RequestId request) {
        m_experiment = request;
        m_status->set_job(tr("Comparing"), 0);
        update_actions();
    });
    connect(m_host, &EngineHost::experiment_progress, this,
            [this](RequestId request, const ExperimentProgress& progress) {
                if (request != m_experiment) {
                    return;
                }
                QString text = tr("Comparing: %1").arg(QString::fromStdString(progress.stage));
                if (progress.remaining_s >= 0) {
                    text += tr(", %1 left").arg(duration_text(1000 * progress.remaining_s));
                }
                m_status->set_job(text, progress.total_runs > 0
                                            ? static_cast<double>(progress.done_runs) /
                                                  progress.total_runs
                                            : 0);
            });
    connect(m_host, &EngineHost::experiment_finished, this, [this] {
        m_experiment = 0;
        m_status->set_job({}, -1);
        update_actions();
    });
    connect(m_host, &EngineHost::stopped, this, [this](RequestId request) {
        if (request == m_experiment) {
            m_experiment = 0;
            m_status->set_job({}, -1);
        }
        update_actions();
    });
    connect(m_host, &EngineHost::busy_changed, this, &MainWindow::update_actions);
    connect(m_host, &EngineHost::reply_started, this, &MainWindow::update_actions);
    connect(m_host, &EngineHost::reply_finished, this, &MainWindow::update_actions);
}

void MainWindow::apply_look() {
    const QString theme = m_settings->text("look/theme");
    const Theme wanted = theme == QLatin1String("dark")    ? Theme::Dark
                         : theme == QLatin1String("light") ? Theme::Light
                                                           : Theme::System;
    // Asked every time, applied only when it differs: a new style sheet polishes every widget.
    static QString applied;
    const QString key =
        theme + QLatin1Char(' ') + QString::number(m_settings->integer("look/text_percent"));
    if (applied != key) {
        applied = key;
        apply_theme(*qApp, wanted, m_settings->integer("look/text_percent") / 100.0);
    }
}

void MainWindow::apply_settings() {
    apply_look();
    const QString theme = m_settings->text("look/theme");
    if (m_theme_group) {
        for (QAction* const act : m_theme_group->actions()) {
            act->setChecked(act->data().toString() == theme);
        }
    }
    ChatDefaults defaults;
    defaults.sampling = {.temperature = m_settings->number("sampling/temperature"),
                         .top_k = m_settings->integer("sampling/top_k"),
                         .top_p = m_settings->number("sampling/top_p"),
                         .min_p = m_settings->number("sampling/min_p"),
                         .repetition_penalty = m_settings->number("sampling/repetition_penalty"),
                         .presence_penalty = m_settings->number("sampling/presence_penalty"),
                         .seed = 0};
    defaults.use_recommended = m_settings->flag("sampling/use_recommended");
    defaults.max_tokens = m_settings->integer("sampling/max_tokens");
    defaults.snapshot_budget_bytes = std::int64_t{m_settings->integer("engine/snapshot_mib")} << 20;
    defaults.kv_dtype = m_settings->text("engine/kv_dtype").toStdString();
    m_chat->set_defaults(defaults);
    m_library->set_memory_options(defaults.kv_dtype, defaults.snapshot_budget_bytes);
}

void MainWindow::load_model(const QString& model) {
    OpenModelRequest request;
    request.model = model.toStdString();
    request.device = m_settings->text("engine/device").toStdString();
    request.threads = m_settings->integer("engine/threads");
    request.kv_dtype = m_settings->text("engine/kv_dtype").toStdString();
    request.context_tokens = m_settings->integer("engine/context_tokens");
    request.snapshot_budget_bytes = std::int64_t{m_settings->integer("engine/snapshot_mib")} << 20;
    m_loading = m_host->open_model(request);
    m_status->set_job(tr("Loading"), 0);
    update_actions();
}

void MainWindow::open_path(const QString& path) {
    const QFileInfo info(path);
    m_library->show_model(info.absoluteFilePath());
    // A config.json, or a folder with nothing else, is looked at; it has nothing to load.
    const bool config_alone = info.fileName() == QLatin1String("config.json");
    if (config_alone) {
        show_page(PageId::Models);
        return;
    }
    load_model(info.absoluteFilePath());
    show_page(PageId::Chat);
}

void MainWindow::open_session(std::int64_t session) {
    m_host->side().run(
        this, [session](Database& database) { return SessionStore(database).find(session); },
        [this, session](const Result<std::optional<SessionRow>>& row) {
            if (!row.ok() || !*row) {
                m_error_bar->show_trouble(tr("The session could not be opened."),
                                          row.ok() ? tr("It may have been deleted.")
                                                   : QString::fromStdString(row.error().text()));
                return;
            }
            if ((*row)->kind == SessionKind::Chat) {
                m_chat->open_session(session);
                show_page(PageId::Chat);
            } else {
                m_compare->open_session(session);
                show_page(PageId::Compare);
            }
        });
}

Page* MainWindow::current() const {
    return qobject_cast<Page*>(m_pages->currentWidget());
}

void MainWindow::show_page(PageId page) {
    m_pages->setCurrentIndex(static_cast<int>(page));
    const PageRow& row = kPages[static_cast<std::size_t>(page)];
    m_actions.at(row.name)->setChecked(true);
    setWindowTitle(tr("%1 – Hybridscope").arg(tr(row.name)));
    current()->take_focus();
}

MainWindow::PageId MainWindow::page() const {
    return static_cast<PageId>(m_pages->currentIndex());
}

QAction* MainWindow::action(const char* name) const {
    const auto found = m_actions.find(name);
    return found == m_actions.end() ? nullptr : found->second;
}

void MainWindow::update_actions() {
    const bool something_runs =
        m_host->busy() || m_chat->replying() || m_loading != 0 || m_experiment != 0;
    m_actions.at("stop")->setEnabled(something_runs);
    m_actions.at("unload")->setEnabled(m_host->model().has_value());
}

void MainWindow::stop() {
    if (m_chat->replying()) {
        m_chat->stop();
    } else if (m_experiment != 0) {
        m_compare->stop();
        m_host->stop(m_experiment);
    } else if (m_loading != 0) {
        m_chat->stop();
        m_host->stop(m_loading);
    } else {
        m_host->stop_all();
    }
}

void MainWindow::change_text_size(int percent) {
    m_settings->set("look/text_percent", m_settings->integer("look/text_percent") + percent);
}

void MainWindow::next_region(int step) {
    const std::array<QWidget*, 3> regions = {m_rail, current(), m_status};
    std::size_t now = 1;
    for (std::size_t i = 0; i < regions.size(); ++i) {
        if (QWidget* const focus = QApplication::focusWidget();
            focus && (regions[i] == focus || regions[i]->isAncestorOf(focus))) {
            now = i;
        }
    }
    for (std::size_t tried = 1; tried <= regions.size(); ++tried) {
        const auto moves = static_cast<int>(now) + step * static_cast<int>(tried);
        const auto next = static_cast<std::size_t>((moves + 2 * static_cast<int>(regions.size())) %
                                                   static_cast<int>(regions.size()));
        if (next == 1) {
            current()->take_focus();
            return;
        }
        for (QToolButton* const button : regions[next]->findChildren<QToolButton*>()) {
            if (button->isVisible() && button->isEnabled() && (next != 0 || button->isChecked())) {
                button->setFocus(Qt::TabFocusReason);
                return;
            }
        }
    }
}

void MainWindow::show_settings() {
    auto* const dialog = new SettingsDialog(
        *m_settings, QString::fromStdU16String(m_host->database_path().u16string()), this);
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->open();
}

void MainWindow::show_shortcuts() {
    auto* const dialog = new QDialog(this);
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->setWindowTitle(tr("Keyboard"));
    auto* const table = new QTableWidget(0, 2, dialog);
    table->setAccessibleName(tr("Actions and their keys"));
    table->setHorizontalHeaderLabels({tr("Action"), tr("Keys")});
    table->horizontalHeader()->setSectionResizeMode(0, QHeaderView::Stretch);
    table->verticalHeader()->hide();
    table->setEditTriggers(QAbstractItemView::NoEditTriggers);
    table->setShowGrid(false);
    const auto add = [&](const QString& text, const QString& keys) {
        const int row = table->rowCount();
        table->insertRow(row);
        table->setItem(row, 0, new QTableWidgetItem(text));
        table->setItem(row, 1, new QTableWidgetItem(keys));
    };
    add(tr("Send the message"), tr("Enter"));
    add(tr("New line in a message"), tr("Shift+Enter"));
    for (const QAction* const act : actions()) {
        if (!act->shortcuts().isEmpty()) {
            add(plain(act->text()),
                QKeySequence::listToString(act->shortcuts(), QKeySequence::NativeText));
        }
    }
    table->resizeColumnToContents(1);
    auto* const buttons = new QDialogButtonBox(QDialogButtonBox::Close, dialog);
    connect(buttons, &QDialogButtonBox::rejected, dialog, &QDialog::reject);
    auto* const column = new QVBoxLayout(dialog);
    column->addWidget(table);
    column->addWidget(buttons);
    dialog->resize(480, 560);
    dialog->open();
}

void MainWindow::show_about() {
    auto* const dialog = new AboutDialog(this);
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->open();
}

void MainWindow::choose_file() {
    const QString file = QFileDialog::getOpenFileName(
        this, tr("Open a model"), QString(),
        tr("Models (*.gguf config.json *.safetensors);;All files (*)"));
    if (!file.isEmpty()) {
        open_path(file);
    }
}

void MainWindow::choose_folder() {
    const QString folder = QFileDialog::getExistingDirectory(
        this, tr("Open a folder with config.json and safetensors"));
    if (!folder.isEmpty()) {
        open_path(folder);
    }
}

void MainWindow::closeEvent(QCloseEvent* event) {
    m_settings->set_geometry(saveGeometry());
    m_chat->save_draft_now();
    m_host->stop_all();
    QMainWindow::closeEvent(event);
}

void MainWindow::dragEnterEvent(QDragEnterEvent* event) {
    const QList<QUrl> urls = event->mimeData()->urls();
    if (!urls.isEmpty() && urls.first().isLocalFile()) {
        event->acceptProposedAction();
    }
}

void MainWindow::dropEvent(QDropEvent* event) {
    const QList<QUrl> urls = event->mimeData()->urls();
    if (!urls.isEmpty()) {
        open_path(urls.first().toLocalFile());
        event->acceptProposedAction();
    }
}

} // namespace hs
