#pragma once
// The messages of a ChatModel under each other, as widgets. Only the latest ones are made; earlier
// ones on request. Follows the end while text streams in, unless the person scrolled away.

#include <QPointer>
#include <QScrollArea>

#include <cstdint>
#include <vector>

class QLabel;
class QPushButton;
class QVBoxLayout;

namespace hs {

class ChatModel;
class MessageView;

class TranscriptView : public QScrollArea {
    Q_OBJECT

public:
    explicit TranscriptView(ChatModel& model, QWidget* parent = nullptr);

    // Of the last message, while nothing is written yet.
    void set_activity(const QString& text, double fraction);
    MessageView* view_of(int row) const; // nullptr: not made
    MessageView* focused() const;
    void focus_message(int row);
    void step_focus(int step); // Alt+Up, Alt+Down
    void scroll_to_end();
    // Shown while there is no message.
    void set_placeholder(QWidget* widget);

signals:
    void edited(qint64 message, const QString& text);
    void regenerate_wanted(qint64 message);
    void sibling_wanted(qint64 message, int step);

protected:
    void resizeEvent(QResizeEvent* event) override;

private:
    void rebuild();
    void insert_rows(int first, int last);
    void remove_rows(int first, int last);
    void refresh_rows(int first, int last);
    MessageView* make_view(int row);
    void show_placeholder();
    void show_earlier();

    ChatModel* m_model;
    QWidget* m_page;
    QVBoxLayout* m_column;
    QPushButton* m_earlier;
    QPointer<QWidget> m_placeholder;
    int m_first_row = 0; // of the first view that is made
    std::vector<MessageView*> m_views;
    bool m_follow = true;
};

} // namespace hs
