#pragma once
// What `./dev run` does on a machine without a display: compares the bundled ratios with a recall
// prompt in the real window, drawn off screen, and writes report, figures and a picture of it.

#include <QObject>
#include <QString>

namespace hs {

class EngineHost;
class MainWindow;

class Demonstration : public QObject {
    Q_OBJECT

public:
    Demonstration(EngineHost& host, MainWindow& window, const QString& folder,
                  QObject* parent = nullptr);

    void start();

signals:
    void done(int exit_code);

private:
    void write(std::int64_t session);
    void fail(const QString& why);

    EngineHost* m_host;
    MainWindow* m_window;
    QString m_folder;
};

// Shows a page as it is in use (a short chat, a quick comparison) and saves its picture.
class Screenshot : public QObject {
    Q_OBJECT

public:
    Screenshot(EngineHost& host, MainWindow& window, const QString& page, const QString& file,
               QObject* parent = nullptr);

    void start();

signals:
    void done(int exit_code);

private:
    void save_soon();

    EngineHost* m_host;
    MainWindow* m_window;
    QString m_page;
    QString m_file;
};

} // namespace hs
