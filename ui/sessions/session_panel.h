#pragma once
// The page Sessions: everything that was kept, searched, reopened, renamed, exported, deleted.
// Reads and writes go through the bridge's side thread; the window never waits for the file.

#include "engine/store/sessions.h"
#include "ui/shared/page.h"

#include <QTimer>

class QLabel;
class QLineEdit;
class QPushButton;
class QStackedWidget;
class QTableView;

namespace hs {

class EngineHost;
class SessionsModel;

class SessionPanel : public Page {
    Q_OBJECT

public:
    explicit SessionPanel(EngineHost& host, QWidget* parent = nullptr);

    SessionsModel* model() const { return m_model; }
    // Reads the list again, soon; calls within a moment become one.
    void refresh();
    void focus_search();
    void take_focus() override;

signals:
    void session_renamed(std::int64_t session, const QString& title);
    void session_removed(std::int64_t session);

public slots:
    void open_current();
    void rename_current();
    void remove_current();
    void export_current();

protected:
    void showEvent(QShowEvent* event) override;

private:
    void read();
    void show_details();
    const SessionRow* current() const;

    EngineHost* m_host;
    SessionsModel* m_model;
    QLineEdit* m_search;
    QTableView* m_table;
    QStackedWidget* m_stack;
    QLabel* m_empty;
    QLabel* m_details;
    QPushButton* m_open;
    QPushButton* m_rename;
    QPushButton* m_export;
    QPushButton* m_remove;
    QTimer m_read_soon;
    std::uint64_t m_asked = 0; // answers to older questions are dropped
    bool m_stale = true;
};

} // namespace hs
