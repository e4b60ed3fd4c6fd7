#pragma once
// What every page of the window offers the main window, and asks of it. Pages know the engine host
// and plain values; they do not know each other.

#include <QString>
#include <QStringList>
#include <QWidget>

namespace hs {

class Page : public QWidget {
    Q_OBJECT

public:
    explicit Page(QWidget* parent = nullptr)
        : QWidget(parent) {}

    // Called when the page comes to the front: put the keyboard where work begins.
    virtual void take_focus() { setFocus(); }

signals:
    // What went wrong and what the person can do; the window shows it in its bar.
    void trouble(const QString& what, const QString& remedy);
    // Asks the window for something another page does.
    void open_model_wanted(const QString& model);    // load it and chat
    void inspect_model_wanted(const QString& model); // show its layers
    void compare_models_wanted(const QStringList& models);
    void open_session_wanted(qint64 session); // where its kind belongs
};

} // namespace hs
