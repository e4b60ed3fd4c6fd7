#pragma once
// The page Chat: transcript and composer of one session, with layer strip and figures. Makes a
// GenerateRequest of what is shown and sends it to the engine host; keeps the conversation's tree
// in the session file.

#include "app/bridge/engine_host.h"
#include "ui/shared/page.h"

#include <QTimer>

#include <cstdint>
#include <deque>
#include <optional>

class QLabel;
class QListView;
class QMenu;
class QStandardItemModel;
class QSplitter;
class QToolButton;

namespace hs {

class ChatModel;
class Composer;
class FiguresBar;
class LayerStrip;
class SamplingPanel;
class TranscriptView;

// What the panel is told of the person's settings.
struct ChatDefaults {
    Sampling sampling;
    bool use_recommended = true; // the model's own, where it has one
    std::int64_t max_tokens = 1024;
    std::int64_t snapshot_budget_bytes = std::int64_t{512} << 20;
    std::string kv_dtype = "auto";
};

class ChatPanel : public Page {
    Q_OBJECT

public:
    explicit ChatPanel(EngineHost& host, QWidget* parent = nullptr);

    void set_defaults(const ChatDefaults& defaults);
    // Loaded at the first message when no model is; empty when none is bundled.
    void set_first_model(const QString& model, const QString& label);
    void open_session(std::int64_t session);
    void set_side_list_visible(bool visible);
    bool side_list_visible() const;
    void set_side_panel_visible(bool visible);
    bool side_panel_visible() const;
    void set_model_menu(QMenu* menu);
    // The layers of a model that is not loaded yet.
    void preview(const ModelSummary& summary);
    void take_focus() override;

    bool replying() const { return m_request != 0; }
    std::int64_t session() const { return m_session; }
    ChatModel* model() const { return m_model; }
    TranscriptView* transcript() const { return m_transcript; }
    Composer* composer() const { return m_composer; }
    LayerStrip* strip() const { return m_strip; }
    SamplingPanel* sampling_panel() const { return m_sampling; }

public slots:
    void new_chat();
    void send(const QString& text);
    void stop();
    void regenerate_last();
    void edit_last();
    void step_message(int step);
    void step_sibling(int step);
    void save_draft_now();

signals:
    // For the status strip.
    void state_changed(const hs::StateEvent& state);
    void rate_changed(double tokens_per_s);
    void side_list_changed(bool visible);
    void side_panel_changed(bool visible);
    void sessions_changed(); // one was added, renamed or grew

private:
    QWidget* make_side_list();
    QWidget* make_header();
    QWidget* make_placeholder();
    void leave_session();
    void take_frames();
    void show_model(const ModelSummary& model);
    void show_header();
    void apply_recommended();
    void store_and_reply(std::int64_t parent, const QString& text);
    void start_reply(std::int64_t parent);
    void reply_ended();
    void finish_reply(std::int64_t message, const GenerateResult& result);
    void choose_sibling(std::int64_t message, int step);
    void regenerate(std::int64_t message);
    void edit(std::int64_t message, const QString& text);
    void show_state(const StateEvent& state);
    void load_draft();
    void list_sessions();
    double live_rate(const std::vector<TokenEvent>& tokens);

    EngineHost* m_host;
    ChatDefaults m_defaults;
    QString m_first_model;
    QString m_first_label;
    ChatModel* m_model;

    std::int64_t m_session = 0;
    QString m_title;
    QString m_stored_system; // the system prompt the session's branch holds
    RequestId m_request = 0; // the reply in progress
    std::int64_t m_reply = 0;
    RequestId m_load = 0;              // a model being loaded, by anyone
    std::int64_t m_waiting_parent = 0; // a message that waits for a model
    bool m_storing = false;
    int m_opening = 0; // counts; answers of earlier openings are dropped
    Sampling m_used;
    std::optional<ModelSummary> m_shown;
    std::deque<double> m_token_times; // of the last second, for the live rate
    QTimer m_draft_soon;

    QSplitter* m_split;
    QWidget* m_side;
    QListView* m_list;
    QStandardItemModel* m_sessions;
    QToolButton* m_picker;
    QLabel* m_title_label;
    QToolButton* m_side_list_button;
    QToolButton* m_side_panel_button;
    LayerStrip* m_strip;
    TranscriptView* m_transcript;
    Composer* m_composer;
    FiguresBar* m_figures;
    SamplingPanel* m_sampling;
};

} // namespace hs
