#include "ui/chat/chat_panel.h"

#include "app/bridge/estimates.h"
#include "engine/core/log.h"
#include "engine/store/sessions.h"
#include "ui/chat/chat_model.h"
#include "ui/chat/composer.h"
#include "ui/chat/figures_bar.h"
#include "ui/chat/message_view.h"
#include "ui/chat/sampling_panel.h"
#include "ui/chat/transcript_view.h"
#include "ui/shared/layer_strip.h"
#include "ui/shared/theme.h"
#include "ui/shared/units.h"

#include <QDateTime>
#include <QHBoxLayout>
#include <QLabel>
#include <QListView>
#include <QMenu>
#include <QPushButton>
#include <QSplitter>
#include <QStandardItemModel>
#include <QToolButton>
#include <QVBoxLayout>

#include <algorithm>
#include <fstream>
#include <system_error>

namespace hs {

namespace {

constexpr int kRecent = 30;
constexpr int kDraftAfterMs = 2000;
constexpr int kSessionRole = Qt::UserRole + 1;

QString from(const std::string& text) {
    return QString::fromUtf8(text.data(), static_cast<qsizetype>(text.size()));
}

std::filesystem::path draft_file(const std::filesystem::path& database, std::int64_t session) {
    return database.parent_path() / "drafts" / (std::to_string(session) + ".txt");
}

// Written beside and moved over, so that a crash leaves the old draft or the new one.
void write_draft(const std::filesystem::path& file, const std::string& text) {
    std::error_code ignored;
    if (text.empty()) {
        std::filesystem::remove(file, ignored);
        return;
    }
    std::filesystem::create_directories(file.parent_path(), ignored);
    std::filesystem::path beside = file;
    beside += ".new";
    {
        std::ofstream out(beside, std::ios::binary | std::ios::trunc);
        out << text;
        if (!out) {
            return;
        }
    }
    std::filesystem::rename(beside, file, ignored);
}

std::string read_draft(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    std::string text(1 << 16, '\0');
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(std::max<std::streamsize>(in.gcount(), 0)));
    return text;
}

QToolButton* tool(QWidget* parent, const char* sign, const QString& text) {
    auto* const button = new QToolButton(parent);
    button->setIcon(icon(sign));
    button->setIconSize(QSize(18, 18));
    button->setText(text);
    button->setToolTip(text);
    button->setAccessibleName(text);
    return button;
}

} // namespace

ChatPanel::ChatPanel(EngineHost& host, QWidget* parent)
    : Page(parent)
    , m_host(&host)
    , m_model(new ChatModel(this)) {
    setObjectName(QStringLiteral("chat_panel"));
    m_strip = new LayerStrip(this);
    m_strip->setObjectName(QStringLiteral("chat_strip"));
    m_transcript = new TranscriptView(*m_model, this);
    m_composer = new Composer(this);
    m_figures = new FiguresBar(this);
    m_sampling = new SamplingPanel(this);
    m_sampling->setMinimumWidth(250);
    m_sampling->setMaximumWidth(360);
    m_sampling->hide();

    auto* const middle = new QWidget(this);
    auto* const column = new QVBoxLayout(middle);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(0);
    column->addWidget(make_header());
    auto* const strip_row = new QHBoxLayout;
    strip_row->setContentsMargins(2 * kSpace, kSpace / 2, 2 * kSpace, kSpace / 2);
    strip_row->addWidget(m_strip);
    column->addLayout(strip_row);
    auto* const line = new QFrame(middle);
    line->setProperty("frame_role", "line");
    column->addWidget(line);
    column->addWidget(m_transcript, 1);
    auto* const foot = new QVBoxLayout;
    foot->setContentsMargins(2 * kSpace, 0, 2 * kSpace, kSpace);
    foot->setSpacing(kSpace);
    foot->addWidget(m_composer);
    foot->addWidget(m_figures);
    column->addLayout(foot);

    m_split = new QSplitter(Qt::Horizontal, this);
    m_split->setChildrenCollapsible(false);
    m_split->addWidget(make_side_list());
    m_split->addWidget(middle);
    m_split->addWidget(m_sampling);
    m_split->setStretchFactor(0, 0);
    m_split->setStretchFactor(1, 1);
    m_split->setStretchFactor(2, 0);
    m_split->setSizes({208, 800, 280});
    auto* const row = new QHBoxLayout(this);
    row->setContentsMargins(0, 0, 0, 0);
    row->addWidget(m_split);
    m_transcript->set_placeholder(make_placeholder());

    m_draft_soon.setSingleShot(true);
    m_draft_soon.setInterval(kDraftAfterMs);
    connect(&m_draft_soon, &QTimer::timeout, this, &ChatPanel::save_draft_now);
    connect(m_composer, &Composer::text_edited, this, [this] { m_draft_soon.start(); });
    connect(m_composer, &Composer::submitted, this, &ChatPanel::send);
    connect(m_composer, &Composer::stop_wanted, this, &ChatPanel::stop);
    connect(m_transcript, &TranscriptView::edited, this, &ChatPanel::edit);
    connect(m_transcript, &TranscriptView::regenerate_wanted, this, &ChatPanel::regenerate);
    connect(m_transcript, &TranscriptView::sibling_wanted, this, &ChatPanel::choose_sibling);

    connect(m_host, &EngineHost::frame_ready, this, &ChatPanel::take_frames);
    connect(m_host, &EngineHost::load_progress, this,
            [this](RequestId request, double fraction, const QString& stage) {
                m_load = request;
                if (m_waiting_parent != 0) {
                    m_transcript->set_activity(tr("Loading the model: %1").arg(stage), fraction);
                }
            });
    connect(m_host, &EngineHost::model_opened, this,
            [this](RequestId, const ModelSummary& summary) {
                m_load = 0;
                show_model(summary);
                if (m_waiting_parent != 0 && m_request == 0) {
                    start_reply(std::exchange(m_waiting_parent, 0));
                }
            });
    connect(m_host, &EngineHost::model_closed, this, [this] {
        m_load = 0;
        if (m_request == 0 && std::exchange(m_waiting_parent, 0) != 0) {
            reply_ended();
        }
        show_header();
    });
    connect(m_host, &EngineHost::reply_started, this,
            [this](RequestId request, std::int64_t session, std::int64_t message) {
                if (request != m_request || session != m_session) {
                    return;
                }
                m_reply = message;
                MessageRow reply;
                reply.id = message;
                reply.session = session;
                reply.parent = m_waiting_parent;
                reply.role = "assistant";
                reply.state = MessageState::Streaming;
                reply.model = m_host->model() ? m_host->model()->name.toStdString() : std::string();
                reply.created_ms = QDateTime::currentMSecsSinceEpoch();
                m_waiting_parent = 0;
                m_model->add(reply);
                m_transcript->set_activity(tr("Reading the prompt"), -1);
            });
    connect(m_host, &EngineHost::reply_finished, this,
            [this](RequestId request, std::int64_t message, const GenerateResult& result) {
                if (request == m_request) {
                    finish_reply(message, result);
                }
            });
    const auto ended_without_reply = [this](RequestId request) {
        if (request != 0 && request == m_request) {
            m_waiting_parent = 0;
            reply_ended();
        }
    };
    connect(m_host, &EngineHost::failed, this, ended_without_reply);
    connect(m_host, &EngineHost::stopped, this, ended_without_reply);
    connect(this, &ChatPanel::sessions_changed, this, &ChatPanel::list_sessions);
    show_header();
    list_sessions();
    load_draft();
}

QWidget* ChatPanel::make_side_list() {
    m_side = new QWidget(this);
    m_side->setMinimumWidth(160);
    m_side->setMaximumWidth(320);
    auto* const column = new QVBoxLayout(m_side);
    column->setContentsMargins(kSpace, kSpace, kSpace, kSpace);
    column->setSpacing(kSpace);
    auto* const fresh = new QPushButton(icon("plus"), tr("New chat"), m_side);
    fresh->setObjectName(QStringLiteral("new_chat"));
    fresh->setToolTip(tr("New chat (Ctrl+N)"));
    connect(fresh, &QPushButton::clicked, this, [this] {
        new_chat();
        take_focus();
    });
    m_sessions = new QStandardItemModel(m_side);
    m_list = new QListView(m_side);
    m_list->setObjectName(QStringLiteral("recent_chats"));
    m_list->setProperty("list_role", "plain");
    m_list->setModel(m_sessions);
    m_list->setAccessibleName(tr("Recent chats"));
    m_list->setEditTriggers(QAbstractItemView::NoEditTriggers);
    m_list->setTextElideMode(Qt::ElideRight);
    m_list->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
    m_list->setUniformItemSizes(true);
    const auto open = [this](const QModelIndex& index) {
        const qint64 session = index.data(kSessionRole).toLongLong();
        if (session != m_session) {
            open_session(session);
        }
    };
    connect(m_list, &QListView::clicked, this, open);
    connect(m_list, &QListView::activated, this, open);
    auto* const label = new QLabel(tr("&Recent"), m_side);
    label->setBuddy(m_list);
    set_text_role(label, "caption");
    column->addWidget(fresh);
    column->addWidget(label);
    column->addWidget(m_list, 1);
    return m_side;
}

QWidget* ChatPanel::make_header() {
    auto* const header = new QWidget(this);
    auto* const row = new QHBoxLayout(header);
    row->setContentsMargins(kSpace, kSpace, kSpace, kSpace / 2);
    row->setSpacing(kSpace);
    m_side_list_button = tool(header, "panel", tr("Recent chats (Ctrl+B)"));
    m_side_list_button->setCheckable(true);
    m_side_list_button->setChecked(true);
    m_picker = new QToolButton(header);
    m_picker->setObjectName(QStringLiteral("model_picker"));
    m_picker->setToolButtonStyle(Qt::ToolButtonTextBesideIcon);
    m_picker->setIcon(icon("models"));
    m_picker->setIconSize(QSize(16, 16));
    m_picker->setPopupMode(QToolButton::InstantPopup);
    set_button_role(m_picker, "picker");
    m_title_label = new QLabel(header);
    m_title_label->setTextFormat(Qt::PlainText);
    m_title_label->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
    set_text_role(m_title_label, "muted");
    m_side_panel_button = tool(header, "sliders", tr("System prompt and sampling"));
    m_side_panel_button->setCheckable(true);
    row->addWidget(m_side_list_button);
    row->addWidget(m_picker);
    row->addWidget(m_title_label, 1);
    row->addWidget(m_side_panel_button);
    connect(m_side_list_button, &QToolButton::toggled, this, [this](bool on) {
        m_side->setVisible(on);
        emit side_list_changed(on);
    });
    connect(m_side_panel_button, &QToolButton::toggled, this, [this](bool on) {
        m_sampling->setVisible(on);
        emit side_panel_changed(on);
    });
    return header;
}

QWidget* ChatPanel::make_placeholder() {
    auto* const page = new QWidget(this);
    auto* const column = new QVBoxLayout(page);
    column->setSpacing(kSpace);
    column->addStretch(2);
    auto* const title = new QLabel(tr("Talk to a hybrid model"), page);
    set_text_role(title, "title");
    title->setAlignment(Qt::AlignHCenter);
    auto* const words = new QLabel(
        tr("Every layer it uses is drawn above. Full attention grows with each token; linear "
           "attention keeps a state of fixed size. Watch them fill as you talk."),
        page);
    words->setWordWrap(true);
    words->setAlignment(Qt::AlignHCenter);
    set_text_role(words, "muted");
    column->addWidget(title);
    column->addWidget(words);
    column->addSpacing(kSpace);
    auto* const row = new QHBoxLayout;
    row->addStretch(1);
    for (const QString& example :
         {tr("What is a cello?"), tr("What is a glacier?"), tr("What is a harbour?")}) {
        auto* const button = new QPushButton(example, page);
        button->setObjectName(QStringLiteral("example"));
        button->setToolTip(tr("Asks the model this"));
        connect(button, &QPushButton::clicked, this, [this, example] { send(example); });
        row->addWidget(button);
    }
    row->addStretch(1);
    column->addLayout(row);
    column->addStretch(3);
    return page;
}

void ChatPanel::set_defaults(const ChatDefaults& defaults) {
    m_defaults = defaults;
    m_sampling->set_max_tokens(defaults.max_tokens);
    apply_recommended();
}

void ChatPanel::apply_recommended() {
    const bool own =
        m_defaults.use_recommended && m_host->model() && m_host->model()->recommended != Sampling{};
    m_sampling->set_recommended(own ? m_host->model()->recommended : m_defaults.sampling, own);
}

void ChatPanel::set_first_model(const QString& model, const QString& label) {
    m_first_model = model;
    m_first_label = label;
    show_header();
}

void ChatPanel::set_model_menu(QMenu* menu) {
    m_picker->setMenu(menu);
}

void ChatPanel::set_side_list_visible(bool visible) {
    m_side_list_button->setChecked(visible);
}

bool ChatPanel::side_list_visible() const {
    return m_side_list_button->isChecked();
}

void ChatPanel::set_side_panel_visible(bool visible) {
    m_side_panel_button->setChecked(visible);
}

bool ChatPanel::side_panel_visible() const {
    return m_side_panel_button->isChecked();
}

void ChatPanel::take_focus() {
    m_composer->take_focus();
}

void ChatPanel::show_header() {
    QString name;
    if (m_host->model()) {
        name = m_host->model()->name;
    } else if (!m_first_model.isEmpty()) {
        name = tr("%1 (loads with the first message)").arg(m_first_label);
    } else {
        name = tr("Choose a model");
    }
    m_picker->setText(name);
    m_picker->setAccessibleName(tr("Model: %1").arg(name));
    m_title_label->setText(m_title);
}

void ChatPanel::preview(const ModelSummary& summary) {
    if (m_host->model()) {
        return;
    }
    m_shown = summary;
    m_strip->set_spec(summary.spec);
    m_strip->set_title(summary.name);
    m_strip->set_full_scale(estimate(summary.spec, 0, summary.context_limit, m_defaults.kv_dtype,
                                     m_defaults.snapshot_budget_bytes)
                                .largest_layer_bytes());
}

void ChatPanel::show_model(const ModelSummary& model) {
    m_shown = model;
    m_strip->set_spec(model.spec);
    m_strip->set_title(model.name);
    m_strip->set_full_scale(estimate(model.spec, 0, model.context_limit,
                                     model.kv_dtype.toStdString(), m_defaults.snapshot_budget_bytes)
                                .largest_layer_bytes());
    m_figures->set_context(0, model.context_limit);
    m_sampling->set_can_think(model.can_think);
    apply_recommended();
    show_header();
}

// What waits and what is half written stays with the session as its draft.
void ChatPanel::leave_session() {
    save_draft_now();
    stop();
    m_composer->clear_waiting();
    m_composer->set_text({});
    m_draft_soon.stop();
    // A reply in progress ends on its own and is kept; its signals no longer concern the page.
    m_request = 0;
    m_reply = 0;
    m_waiting_parent = 0;
    m_composer->set_replying(false);
}

void ChatPanel::new_chat() {
    leave_session();
    ++m_opening;
    m_session = 0;
    m_title.clear();
    m_stored_system.clear();
    m_model->clear();
    m_figures->clear();
    if (m_host->model()) {
        show_model(*m_host->model());
    }
    m_list->clearSelection();
    show_header();
    load_draft();
}

void ChatPanel::open_session(std::int64_t session) {
    leave_session();
    struct Opened {
        std::optional<SessionRow> row;
        std::vector<MessageRow> tree;
        std::vector<MessageRow> branch;
    };
    const int opening = ++m_opening;
    m_host->side().run(
        this,
        [session](Database& database) -> Result<Opened> {
            SessionStore store(database);
            Opened opened;
            opened.row = TRY(store.find(session));
            opened.tree = TRY(store.messages(session));
            opened.branch = TRY(store.branch(session));
            return opened;
        },
        [this, session, opening](Result<Opened> opened) {
            if (opening != m_opening) {
                return;
            }
            if (!opened.ok() || !opened->row) {
                emit trouble(tr("The session could not be read"),
                             opened.ok() ? tr("It may have been deleted in another window.")
                                         : from(opened.error().text()));
                return;
            }
            m_session = session;
            m_title = from(opened->row->title);
            m_model->load(std::move(opened->tree), opened->branch);
            m_stored_system = m_model->system_prompt();
            m_sampling->set_system_prompt(m_stored_system);
            m_figures->clear();
            if (m_host->model()) {
                show_model(*m_host->model());
            }
            for (int row = m_model->rowCount() - 1; row >= 0; --row) {
                if (const auto& metrics = m_model->metrics(row)) {
                    show_state(metrics->state);
                    m_figures->set_result(metrics->timings, from(metrics->reuse_note));
                    break;
                }
            }
            show_header();
            load_draft();
            for (int row = 0; row < m_sessions->rowCount(); ++row) {
                if (m_sessions->index(row, 0).data(kSessionRole).toLongLong() == session) {
                    m_list->setCurrentIndex(m_sessions->index(row, 0));
                }
            }
        });
}

void ChatPanel::send(const QString& text) {
    if (text.trimmed().isEmpty()) {
        return;
    }
    if (replying() || m_storing || m_waiting_parent != 0) {
        m_composer->wait(text);
        return;
    }
    store_and_reply(m_model->last_id(), text);
}

// The person's message goes into the session file first, then the reply is asked for.
void ChatPanel::store_and_reply(std::int64_t parent, const QString& text) {
    struct Stored {
        std::int64_t session = 0;
        std::vector<MessageRow> rows;
    };
    m_storing = true;
    m_composer->set_replying(true);
    const QString system = m_sampling->system_prompt();
    const bool tell_system = system != m_stored_system;
    m_stored_system = system;
    const int opening = m_opening;
    m_host->side().run(
        this,
        [session = m_session, parent, text, system, tell_system,
         model = m_host->model() ? m_host->model()->name.toStdString()
                                 : std::string()](Database& database) -> Result<Stored> {
            SessionStore store(database);
            Stored stored;
            stored.session = session;
            if (session == 0) {
                stored.session =
                    TRY(store.create(SessionKind::Chat, title_text(text).toStdString()));
            }
            std::int64_t above = parent;
            const auto add = [&](const char* role, const QString& content) -> Result<void> {
                MessageRow row;
                row.session = stored.session;
                row.parent = above;
                row.role = role;
                row.content = content.toStdString();
                row.created_ms = QDateTime::currentMSecsSinceEpoch();
                row.id = TRY(store.add_message(row));
                above = row.id;
                stored.rows.push_back(std::move(row));
                return {};
            };
            if (tell_system) {
                TRY(add("system", system));
            }
            TRY(add("user", text));
            return stored;
        },
        [this, opening, text](Result<Stored> stored) {
            m_storing = false;
            if (opening != m_opening) {
                m_composer->set_replying(false);
                return; // another chat was opened meanwhile; the message is kept in its own
            }
            if (!stored.ok()) {
                m_composer->set_replying(false);
                m_composer->set_text(text);
                emit trouble(tr("The message could not be kept: %1").arg(from(stored.error().what)),
                             from(stored.error().remedy));
                return;
            }
            if (m_session == 0) {
                m_host->side().run([file = draft_file(m_host->database_path(), 0)](Database&) {
                    write_draft(file, {});
                });
                m_session = stored->session;
                m_title = title_text(text);
                show_header();
            }
            for (const MessageRow& row : stored->rows) {
                m_model->add(row);
            }
            emit sessions_changed();
            start_reply(stored->rows.back().id);
        });
}

void ChatPanel::start_reply(std::int64_t parent) {
    m_composer->set_replying(true);
    m_waiting_parent = parent;
    m_token_times.clear();
    if (!m_host->model()) {
        if (m_load == 0 && !m_first_model.isEmpty()) {
            emit open_model_wanted(m_first_model);
            m_transcript->set_activity(tr("Loading the model"), 0);
        } else if (m_load == 0) {
            m_waiting_parent = 0;
            reply_ended();
            emit trouble(tr("No model is loaded, so nothing can answer."),
                         tr("Open one: Ctrl+O, or the page Models."));
        }
        return;
    }
    ReplyRequest request;
    request.session = m_session;
    request.parent = parent;
    request.generate.messages = m_model->conversation(parent, m_sampling->system_prompt());
    request.generate.enable_thinking = m_sampling->thinking();
    m_used = m_sampling->sampling();
    request.generate.sampling = m_used;
    request.generate.max_tokens = m_sampling->max_tokens();
    m_request = m_host->generate(request);
}

void ChatPanel::take_frames() {
    for (const ReplyProgress& progress : m_host->take_replies()) {
        if (progress.request != m_request || progress.message != m_reply) {
            continue;
        }
        std::int64_t thinking_tokens = 0;
        for (const TokenEvent& token : progress.tokens) {
            thinking_tokens += token.thinking ? 1 : 0;
        }
        if (!progress.tokens.empty()) {
            m_model->grow(progress.message, progress.new_text, progress.new_thinking,
                          thinking_tokens);
            if (m_token_times.empty()) {
                m_figures->set_ttft(progress.tokens.front().elapsed_ms);
            }
            const double rate = live_rate(progress.tokens);
            if (rate > 0) {
                m_figures->set_live_rate(rate);
                emit rate_changed(rate);
            }
            if (m_shown) {
                m_figures->set_context(progress.tokens.back().position + 1, m_shown->context_limit);
            }
        } else if (progress.prefilling) {
            const PrefillEvent& prefill = progress.prefill;
            QString text =
                tr("Reading the prompt: %1 of %2 tokens")
                    .arg(count_text(prefill.done_tokens), count_text(prefill.total_tokens));
            if (prefill.done_tokens > 0 && prefill.elapsed_ms > 1000) {
                const double left =
                    prefill.elapsed_ms *
                    static_cast<double>(prefill.total_tokens - prefill.done_tokens) /
                    static_cast<double>(prefill.done_tokens);
                text += tr(", %1 left").arg(duration_text(left));
            }
            m_transcript->set_activity(text, prefill.total_tokens > 0
                                                 ? static_cast<double>(prefill.done_tokens) /
                                                       static_cast<double>(prefill.total_tokens)
                                                 : 0);
        }
        if (!progress.state.entries.empty()) {
            show_state(progress.state);
        }
    }
}

double ChatPanel::live_rate(const std::vector<TokenEvent>& tokens) {
    for (const TokenEvent& token : tokens) {
        m_token_times.push_back(token.elapsed_ms);
    }
    while (m_token_times.size() > 2 && m_token_times.back() - m_token_times.front() > 1000.0) {
        m_token_times.pop_front();
    }
    const double span = m_token_times.back() - m_token_times.front();
    return m_token_times.size() > 2 && span > 0
               ? 1000.0 * static_cast<double>(m_token_times.size() - 1) / span
               : 0.0;
}

void ChatPanel::show_state(const StateEvent& state) {
    m_strip->set_state(state);
    std::int64_t used = 0;
    for (const LedgerEntry& entry : state.entries) {
        used += entry.used_bytes;
    }
    m_figures->set_context(state.context_tokens, state.context_limit);
    m_figures->set_state_bytes(used, state.snapshot_bytes);
    emit state_changed(state);
}

void ChatPanel::finish_reply(std::int64_t message, const GenerateResult& result) {
    Sampling used = m_used;
    used.seed = result.seed;
    m_model->finish(message, result, used);
    m_figures->set_result(result.timings, from(result.reuse_note));
    if (!result.state.entries.empty()) {
        show_state(result.state);
    }
    emit rate_changed(result.timings.decode_tokens_per_s());
    if (result.reason == FinishReason::Failed) {
        emit trouble(tr("The answer could not be finished: %1").arg(from(result.error)),
                     tr("What was written so far is kept. Answer again with Ctrl+R."));
    } else if (result.reason == FinishReason::ContextFull) {
        emit trouble(tr("The context is full: the model holds %1 tokens at most.")
                         .arg(count_text(result.state.context_limit)),
                     tr("Start a new chat, or load the model with a larger context in Settings."));
    }
    reply_ended();
    emit sessions_changed();
}

void ChatPanel::reply_ended() {
    m_request = 0;
    m_reply = 0;
    m_composer->set_replying(false);
    m_transcript->set_activity({}, -1);
    if (!m_composer->waiting().isEmpty()) {
        // After the signal's other listeners have seen this reply's end.
        QTimer::singleShot(0, this, [this] {
            if (!replying() && !m_storing && m_waiting_parent == 0) {
                send(m_composer->take_waiting());
            }
        });
    }
}

void ChatPanel::stop() {
    if (m_request != 0) {
        m_host->stop(m_request);
        m_transcript->set_activity(tr("Stopping"), -1);
    } else if (m_waiting_parent != 0) {
        m_waiting_parent = 0;
        if (m_load != 0) {
            m_host->stop(m_load);
        }
        reply_ended();
    }
}

void ChatPanel::regenerate(std::int64_t message) {
    const int row = m_model->row_of(message);
    if (row < 0 || replying() || m_storing || m_waiting_parent != 0) {
        return;
    }
    start_reply(m_model->message(row).parent);
}

void ChatPanel::regenerate_last() {
    const int last = m_model->rowCount() - 1;
    if (last < 0 || replying() || m_storing || m_waiting_parent != 0) {
        return;
    }
    // A message whose reply failed to start is answered, too.
    const MessageRow& row = m_model->message(last);
    start_reply(row.role == "assistant" ? row.parent : row.id);
}

void ChatPanel::edit(std::int64_t message, const QString& text) {
    const int row = m_model->row_of(message);
    if (row < 0 || m_storing) {
        return;
    }
    if (replying() || m_waiting_parent != 0) {
        emit trouble(tr("A reply is being written, so the edited message was not sent."),
                     tr("Stop the reply (Esc), then edit the message."));
        return;
    }
    store_and_reply(m_model->message(row).parent, text);
}

void ChatPanel::edit_last() {
    MessageView* view = m_transcript->focused();
    for (int row = m_model->rowCount() - 1; row >= 0 && (!view || !view->is_user()); --row) {
        view = m_transcript->view_of(row);
    }
    if (view && view->is_user()) {
        view->begin_edit();
    }
}

void ChatPanel::step_message(int step) {
    m_transcript->step_focus(step);
}

void ChatPanel::step_sibling(int step) {
    if (MessageView* const view = m_transcript->focused()) {
        choose_sibling(view->id(), step);
        return;
    }
    // Without a chosen message: the last one that has siblings.
    for (int row = m_model->rowCount() - 1; row >= 0; --row) {
        if (m_model->siblings(row).size() > 1) {
            choose_sibling(m_model->message(row).id, step);
            return;
        }
    }
}

void ChatPanel::choose_sibling(std::int64_t message, int step) {
    const int row = m_model->row_of(message);
    if (row < 0 || replying() || m_storing) {
        return;
    }
    const std::vector<std::int64_t> siblings = m_model->siblings(row);
    const auto at = std::find(siblings.begin(), siblings.end(), message) - siblings.begin() + step;
    if (at < 0 || at >= static_cast<std::ptrdiff_t>(siblings.size())) {
        return;
    }
    m_model->choose(siblings[static_cast<std::size_t>(at)]);
    m_transcript->focus_message(row);
    m_host->side().run([leaf = m_model->last_id()](Database& database) {
        if (const auto chosen = SessionStore(database).choose(leaf); !chosen.ok()) {
            HS_LOG(Warning, "store", "the branch shown: {}", chosen.error().text());
        }
    });
}

void ChatPanel::save_draft_now() {
    m_draft_soon.stop();
    QStringList parts = m_composer->waiting();
    parts << m_composer->text();
    parts.removeAll(QString());
    m_host->side().run([file = draft_file(m_host->database_path(), m_session),
                        text = parts.join(QStringLiteral("\n\n")).toStdString()](Database&) {
        write_draft(file, text);
    });
}

void ChatPanel::load_draft() {
    m_host->side().run(
        this,
        [file = draft_file(m_host->database_path(), m_session)](Database&) {
            return read_draft(file);
        },
        [this, opening = m_opening](const std::string& text) {
            if (opening == m_opening && m_composer->text().isEmpty() && !text.empty()) {
                m_composer->set_text(from(text));
                m_draft_soon.stop(); // it is in its file already
            }
        });
}

void ChatPanel::list_sessions() {
    m_host->side().run(
        this,
        [](Database& database) {
            Result<std::vector<SessionRow>> rows = SessionStore(database).list({}, 4 * kRecent);
            return rows.ok() ? *std::move(rows) : std::vector<SessionRow>{};
        },
        [this](const std::vector<SessionRow>& rows) {
            m_sessions->clear();
            for (const SessionRow& row : rows) {
                if (row.kind != SessionKind::Chat || m_sessions->rowCount() >= kRecent) {
                    continue;
                }
                auto* const item = new QStandardItem(from(row.title));
                item->setData(QVariant::fromValue<qlonglong>(row.id), kSessionRole);
                item->setToolTip(tr("%1, %2").arg(
                    from(row.title),
                    age_text(row.updated_ms, QDateTime::currentMSecsSinceEpoch())));
                m_sessions->appendRow(item);
                if (row.id == m_session) {
                    m_list->setCurrentIndex(item->index());
                }
            }
        });
}

} // namespace hs
