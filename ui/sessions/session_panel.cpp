#include "ui/sessions/session_panel.h"

#include "app/bridge/engine_host.h"
#include "ui/reports/report_dialog.h"
#include "ui/sessions/sessions_model.h"
#include "ui/shared/units.h"

#include <QAction>
#include <QDateTime>
#include <QHBoxLayout>
#include <QHeaderView>
#include <QInputDialog>
#include <QLabel>
#include <QLineEdit>
#include <QLocale>
#include <QMessageBox>
#include <QPushButton>
#include <QStackedWidget>
#include <QTableView>
#include <QVBoxLayout>

namespace hs {

SessionPanel::SessionPanel(EngineHost& host, QWidget* parent)
    : Page(parent)
    , m_host(&host)
    , m_model(new SessionsModel(this))
    , m_search(new QLineEdit)
    , m_table(new QTableView)
    , m_stack(new QStackedWidget)
    , m_empty(new QLabel)
    , m_details(new QLabel)
    , m_open(new QPushButton(tr("&Open")))
    , m_rename(new QPushButton(tr("&Rename…")))
    , m_export(new QPushButton(tr("&Export…")))
    , m_remove(new QPushButton(tr("&Delete…"))) {
    m_search->setObjectName(QStringLiteral("session_search"));
    m_search->setPlaceholderText(tr("Search titles and messages"));
    m_search->setAccessibleName(tr("Search sessions"));
    m_search->setClearButtonEnabled(true);

    m_table->setObjectName(QStringLiteral("session_table"));
    m_table->setAccessibleName(tr("Sessions"));
    m_table->setModel(m_model);
    m_table->setSelectionBehavior(QAbstractItemView::SelectRows);
    m_table->setSelectionMode(QAbstractItemView::SingleSelection);
    m_table->setEditTriggers(QAbstractItemView::NoEditTriggers);
    m_table->setShowGrid(false);
    m_table->setWordWrap(false);
    m_table->setTabKeyNavigation(false);
    m_table->verticalHeader()->hide();
    m_table->horizontalHeader()->setHighlightSections(false);
    m_table->horizontalHeader()->setSectionResizeMode(QHeaderView::ResizeToContents);
    m_table->horizontalHeader()->setSectionResizeMode(SessionsModel::Title, QHeaderView::Stretch);

    m_empty->setAlignment(Qt::AlignCenter);
    m_empty->setWordWrap(true);
    m_stack->addWidget(m_table);
    m_stack->addWidget(m_empty);
    m_details->setWordWrap(true);
    m_details->setAccessibleName(tr("About the session"));
    m_details->setTextInteractionFlags(Qt::TextSelectableByMouse);

    auto* buttons = new QHBoxLayout;
    buttons->setSpacing(8);
    buttons->addWidget(m_details, 1);
    for (QPushButton* button : {m_open, m_rename, m_export, m_remove}) {
        buttons->addWidget(button);
    }
    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(16, 16, 16, 16);
    column->setSpacing(8);
    column->addWidget(m_search);
    column->addWidget(m_stack, 1);
    column->addLayout(buttons);

    connect(m_open, &QPushButton::clicked, this, &SessionPanel::open_current);
    connect(m_rename, &QPushButton::clicked, this, &SessionPanel::rename_current);
    connect(m_export, &QPushButton::clicked, this, &SessionPanel::export_current);
    connect(m_remove, &QPushButton::clicked, this, &SessionPanel::remove_current);
    connect(m_table, &QTableView::activated, this, &SessionPanel::open_current);
    connect(m_table->selectionModel(), &QItemSelectionModel::currentRowChanged, this,
            &SessionPanel::show_details);
    const auto add_key = [this](QKeySequence key, void (SessionPanel::*act)()) {
        auto* action = new QAction(this);
        action->setShortcut(key);
        action->setShortcutContext(Qt::WidgetWithChildrenShortcut);
        connect(action, &QAction::triggered, this, act);
        addAction(action);
    };
    add_key(Qt::Key_F2, &SessionPanel::rename_current);
    add_key(QKeySequence::Delete, &SessionPanel::remove_current);

    m_read_soon.setSingleShot(true);
    m_read_soon.setInterval(150);
    connect(&m_read_soon, &QTimer::timeout, this, &SessionPanel::read);
    connect(m_search, &QLineEdit::textChanged, this, &SessionPanel::refresh);
    connect(m_host, &EngineHost::reply_started, this, &SessionPanel::refresh);
    connect(m_host, &EngineHost::reply_finished, this, &SessionPanel::refresh);
    connect(m_host, &EngineHost::experiment_started, this, &SessionPanel::refresh);
    connect(m_host, &EngineHost::experiment_finished, this, &SessionPanel::refresh);
    show_details();
}

void SessionPanel::focus_search() {
    m_search->setFocus(Qt::ShortcutFocusReason);
    m_search->selectAll();
}

void SessionPanel::take_focus() {
    m_table->setFocus();
}

void SessionPanel::refresh() {
    m_stale = true;
    if (isVisible()) {
        m_read_soon.start();
    }
}

void SessionPanel::showEvent(QShowEvent* event) {
    Page::showEvent(event);
    if (m_stale) {
        read();
    }
}

void SessionPanel::read() {
    m_stale = false;
    const std::uint64_t asked = ++m_asked;
    const std::string query = m_search->text().trimmed().toStdString();
    m_host->side().run(
        this, [query](Database& database) { return SessionStore(database).list(query); },
        [this, asked](Result<std::vector<SessionRow>> rows) {
            if (asked != m_asked) {
                return;
            }
            if (!rows.ok()) {
                emit trouble(QString::fromStdString(rows.error().what),
                             QString::fromStdString(rows.error().remedy));
                return;
            }
            const SessionRow* const chosen = current();
            const std::int64_t keep = chosen != nullptr ? chosen->id : 0;
            m_model->set_rows(std::move(*rows));
            const QModelIndex again = m_model->index_of(keep);
            m_table->setCurrentIndex(again.isValid() ? again : m_model->index(0, 0));
            const bool empty = m_model->rowCount() == 0;
            m_empty->setText(
                m_search->text().isEmpty()
                    ? tr("Chats and comparisons are kept here as they happen.\nStart one, and it "
                         "will be the first.")
                    : tr("Nothing was found for “%1”.").arg(m_search->text()));
            m_stack->setCurrentIndex(empty ? 1 : 0);
            show_details();
        });
}

const SessionRow* SessionPanel::current() const {
    return m_model->row(m_table->currentIndex());
}

void SessionPanel::show_details() {
    const SessionRow* const session = current();
    for (QPushButton* button : {m_open, m_rename, m_export, m_remove}) {
        button->setEnabled(session != nullptr);
    }
    if (session == nullptr) {
        m_details->clear();
        return;
    }
    const auto when = QDateTime::fromMSecsSinceEpoch(session->created_ms);
    m_details->setText(tr("Begun %1").arg(QLocale().toString(when, QLocale::ShortFormat)));
}

void SessionPanel::open_current() {
    if (const SessionRow* session = current()) {
        emit open_session_wanted(session->id);
    }
}

void SessionPanel::rename_current() {
    const SessionRow* const session = current();
    if (session == nullptr) {
        return;
    }
    auto* dialog = new QInputDialog(this);
    dialog->setAttribute(Qt::WA_DeleteOnClose);
    dialog->setWindowTitle(tr("Rename the session"));
    dialog->setLabelText(tr("Title:"));
    dialog->setTextValue(QString::fromStdString(session->title));
    connect(dialog, &QInputDialog::textValueSelected, this,
            [this, id = session->id](const QString& title) {
                m_host->side().run(
                    this,
                    [id, text = title.trimmed().toStdString()](Database& database) {
                        return SessionStore(database).rename(id, text);
                    },
                    [this, id, title](Result<void> done) {
                        if (!done.ok()) {
                            emit trouble(QString::fromStdString(done.error().what),
                                         QString::fromStdString(done.error().remedy));
                            return;
                        }
                        emit session_renamed(id, title.trimmed());
                        read();
                    });
            });
    dialog->open();
}

void SessionPanel::remove_current() {
    const SessionRow* const session = current();
    if (session == nullptr) {
        return;
    }
    auto* question = new QMessageBox(
        QMessageBox::Question, tr("Delete the session?"),
        tr("“%1” and all that belongs to it will be deleted. This cannot be undone.")
            .arg(QString::fromStdString(session->title)),
        QMessageBox::NoButton, this);
    question->setAttribute(Qt::WA_DeleteOnClose);
    QPushButton* const remove = question->addButton(tr("Delete"), QMessageBox::DestructiveRole);
    question->setDefaultButton(question->addButton(QMessageBox::Cancel));
    connect(remove, &QPushButton::clicked, this, [this, id = session->id] {
        m_host->side().run(
            this, [id](Database& database) { return SessionStore(database).remove(id); },
            [this, id](Result<void> done) {
                if (!done.ok()) {
                    emit trouble(QString::fromStdString(done.error().what),
                                 QString::fromStdString(done.error().remedy));
                    return;
                }
                emit session_removed(id);
                read();
            });
    });
    question->open();
}

void SessionPanel::export_current() {
    if (const SessionRow* session = current()) {
        auto* dialog =
            new ReportDialog(*m_host, session->id, QString::fromStdString(session->title), this);
        dialog->setAttribute(Qt::WA_DeleteOnClose);
        dialog->open();
    }
}

} // namespace hs
