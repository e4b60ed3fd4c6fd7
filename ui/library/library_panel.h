#pragma once
// The page Models: what is at hand, and for the chosen one its layers, its parameters and the
// memory it takes at any context, beside what is free. Loads it, with progress and a way out.

#include "app/bridge/engine_host.h"
#include "ui/shared/page.h"

class QFrame;
class QLabel;
class QLineEdit;
class QListView;
class QProgressBar;
class QPushButton;
class QSlider;
class QSortFilterProxyModel;
class QStackedWidget;

namespace hs {

class LayerStrip;
class LibraryModel;
class MemoryBar;

class LibraryPanel : public Page {
    Q_OBJECT

public:
    explicit LibraryPanel(EngineHost& host, QWidget* parent = nullptr);

    void set_places(const QStringList& places);
    void set_memory_options(const std::string& kv_dtype, std::int64_t snapshot_budget_bytes);
    // Chooses a model in the list, adding it when it is not there.
    void show_model(const QString& model);
    LibraryModel* model() const { return m_model; }
    void take_focus() override;

public slots:
    void add_file();
    void add_folder();

signals:
    void places_changed(const QStringList& places);

private:
    QWidget* make_list();
    QWidget* make_details();
    void show_current();
    void show_summary(const ModelSummary& summary);
    void show_memory();
    std::int64_t context_tokens() const;
    QString current_model() const;
    void add_place(const QString& place);
    void remove_current();
    void set_loading(bool loading);

    EngineHost* m_host;
    LibraryModel* m_model;
    QSortFilterProxyModel* m_filtered;
    QStringList m_places;
    QString m_wanted; // to be chosen once it is listed
    std::string m_kv_dtype = "auto";
    std::int64_t m_snapshot_budget = std::int64_t{512} << 20;
    std::optional<ModelSummary> m_summary;
    RequestId m_load = 0;

    QLineEdit* m_search;
    QListView* m_list;
    QStackedWidget* m_pages;
    QLabel* m_title;
    QLabel* m_where;
    QLabel* m_schedule;
    LayerStrip* m_strip;
    QLabel* m_facts;
    QSlider* m_context;
    QLabel* m_context_words;
    MemoryBar* m_bar;
    QLabel* m_terms;
    QLabel* m_fit;
    QLabel* m_break_even;
    QPushButton* m_load_button;
    QPushButton* m_inspect_button;
    QPushButton* m_compare_button;
    QPushButton* m_remove_button;
    QProgressBar* m_progress;
    QLabel* m_stage;
    QPushButton* m_cancel;
    QLabel* m_trouble;
};

} // namespace hs
