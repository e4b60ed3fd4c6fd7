#pragma once
// Where the person writes: grows with its text, Enter sends, Shift+Enter makes a new line. Messages
// sent while a reply is being written wait above it, where they can still be edited or removed.

#include <QFrame>
#include <QString>
#include <QStringList>

class QLabel;
class QPlainTextEdit;
class QPushButton;
class QVBoxLayout;

namespace hs {

class Composer : public QFrame {
    Q_OBJECT

public:
    explicit Composer(QWidget* parent = nullptr);

    QString text() const;
    void set_text(const QString& text);
    void take_focus();
    // While a reply is written, Send queues and Stop shows.
    void set_replying(bool replying);
    void set_hint(const QString& text);

    const QStringList& waiting() const { return m_waiting; }
    QString take_waiting(); // the first; empty when there is none
    void wait(const QString& text);
    void clear_waiting();

public slots:
    void send();

signals:
    void submitted(const QString& text);
    void stop_wanted();
    void text_edited();

protected:
    bool eventFilter(QObject* watched, QEvent* event) override;
    void changeEvent(QEvent* event) override;

private:
    void fit_height();
    void show_waiting();

    QStringList m_waiting;
    QVBoxLayout* m_chips;
    QPlainTextEdit* m_edit;
    QLabel* m_hint;
    QPushButton* m_send;
    QPushButton* m_stop;
    bool m_replying = false;
};

} // namespace hs
