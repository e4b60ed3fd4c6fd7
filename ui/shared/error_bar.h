#pragma once
// A bar across the window: what went wrong, and what the person can do. Never a box that has to be
// answered. Later trouble waits behind the first.

#include <QFrame>
#include <QString>
#include <QStringList>

class QLabel;
class QToolButton;

namespace hs {

class ErrorBar : public QFrame {
    Q_OBJECT

public:
    explicit ErrorBar(QWidget* parent = nullptr);

    void show_trouble(const QString& what, const QString& remedy);
    void dismiss(); // shows the next, or hides
    QString text() const;

private:
    void show_first();

    struct Trouble {
        QString what;
        QString remedy;
    };
    QList<Trouble> m_waiting;
    QLabel* m_sign;
    QLabel* m_what;
    QLabel* m_remedy;
    QToolButton* m_copy;
    QToolButton* m_close;
};

} // namespace hs
