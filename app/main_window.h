#pragma once
// The one file that knows every panel: pages, menus, shortcuts, who listens to whom. Reads the
// settings and hands their values down.

#include "app/bridge/engine_host.h"

#include <QMainWindow>

#include <initializer_list>
#include <map>

class QAction;
class QActionGroup;
class QMenu;
class QStackedWidget;
class QToolButton;

namespace hs {

class ChatPanel;
class ComparePanel;
class ErrorBar;
class InspectPanel;
class LibraryPanel;
class Page;
class SessionPanel;
class WindowSettings;
class StatusStrip;

class MainWindow : public QMainWindow {
    Q_OBJECT

public:
    enum class PageId { Chat, Compare, Inspect, Sessions, Models };

    MainWindow(EngineHost& host, WindowSettings& settings, QWidget* parent = nullptr);

    void show_page(PageId page);
    PageId page() const;
    // A file or folder from outside: a config.json alone is looked at, anything else loaded.
    void open_path(const QString& path);
    // A path or bundled name, with the person's engine settings.
    void load_model(const QString& model);
    void open_session(std::int64_t session);

    ChatPanel* chat() const { return m_chat; }
    ComparePanel* compare() const { return m_compare; }
    InspectPanel* inspect() const { return m_inspect; }
    SessionPanel* sessions() const { return m_sessions; }
    LibraryPanel* library() const { return m_library; }
    ErrorBar* error_bar() const { return m_error_bar; }
    StatusStrip* status() const { return m_status; }
    QAction* action(const char* name) const;

protected:
    void closeEvent(QCloseEvent* event) override;
    void dragEnterEvent(QDragEnterEvent* event) override;
    void dropEvent(QDropEvent* event) override;

private:
    QWidget* make_rail();
    void make_actions();
    void make_menus();
    QAction* add_action(const char* name, const QString& text,
                        std::initializer_list<QKeySequence> keys, const char* icon_name,
                        std::function<void()> act);
    void connect_page(Page* page);
    void connect_host();
    void apply_look();
    void apply_settings();
    void fill_model_menu();
    void change_text_size(int percent);
    void stop();
    void update_actions();
    void next_region(int step);
    void show_shortcuts();
    void show_about();
    void show_settings();
    void choose_file();
    void choose_folder();
    Page* current() const;

    EngineHost* m_host;
    WindowSettings* m_settings;
    std::map<QByteArray, QAction*> m_actions;
    RequestId m_loading = 0;
    RequestId m_experiment = 0;
    RequestId m_inspecting = 0; // for the page Inspect
    RequestId m_previewing = 0; // for the page Chat

    QWidget* m_rail = nullptr;
    QStackedWidget* m_pages;
    ChatPanel* m_chat;
    ComparePanel* m_compare;
    InspectPanel* m_inspect;
    SessionPanel* m_sessions;
    LibraryPanel* m_library;
    ErrorBar* m_error_bar;
    StatusStrip* m_status;
    QMenu* m_model_menu;
    QActionGroup* m_theme_group = nullptr;
    std::vector<QToolButton*> m_rail_buttons;
};

} // namespace hs
