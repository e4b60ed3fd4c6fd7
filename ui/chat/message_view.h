#pragma once
// One message: who wrote it, its text, folded thinking, its figures, and what can be done with it.
// Takes the keyboard as a whole; its small buttons are for the mouse, the same acts have keys and
// a context menu.

#include <QFrame>
#include <QString>

#include <cstdint>

class QLabel;
class QPlainTextEdit;
class QProgressBar;
class QToolButton;
class QHBoxLayout;
class QVBoxLayout;
class QModelIndex;

namespace hs {

class MessageBody;

class MessageView : public QFrame {
    Q_OBJECT

public:
    MessageView(const QModelIndex& index, QWidget* parent = nullptr);

    std::int64_t id() const { return m_id; }
    bool is_user() const { return m_author == QLatin1String("user"); }
    MessageBody* body() const { return m_body; }

    // Everything anew from the model; cheap parts only unless the text differs.
    void refresh(const QModelIndex& index);
    void grow(const QString& text, const QString& thinking, std::int64_t thinking_tokens);
    // While nothing is written yet: "Reading 312 of 1 204 tokens". Empty: nothing to say.
    void set_activity(const QString& text, double fraction);
    void begin_edit();
    bool editing() const { return m_editor != nullptr; }
    void copy() const; // the selection, else the whole message

signals:
    void edited(qint64 message, const QString& text);
    void regenerate_wanted(qint64 message);
    void sibling_wanted(qint64 message, int step);

protected:
    void paintEvent(QPaintEvent* event) override;
    void keyPressEvent(QKeyEvent* event) override;
    void mousePressEvent(QMouseEvent* event) override;
    void contextMenuEvent(QContextMenuEvent* event) override;
    void changeEvent(QEvent* event) override;
    bool eventFilter(QObject* watched, QEvent* event) override;

private:
    QToolButton* small_button(const char* icon_name, const QString& text);
    void show_thinking();
    void end_edit(bool send);
    void update_accessible();

    std::int64_t m_id = 0;
    QString m_author;
    QString m_thinking_text;
    std::int64_t m_thinking_tokens = 0;
    bool m_thinking_open = false;
    bool m_streaming = false;

    QVBoxLayout* m_column;
    QLabel* m_name;
    QLabel* m_activity;
    QProgressBar* m_progress;
    QToolButton* m_thinking_toggle;
    MessageBody* m_thinking;
    MessageBody* m_body;
    QLabel* m_figures;
    QLabel* m_reuse;
    QToolButton* m_previous;
    QLabel* m_sibling;
    QToolButton* m_next;
    QToolButton* m_copy;
    QToolButton* m_edit;
    QToolButton* m_regenerate;
    QPlainTextEdit* m_editor = nullptr;
    QWidget* m_editor_row = nullptr;
};

} // namespace hs
