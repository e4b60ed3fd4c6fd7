// About names every work of others that resources/third_party.json lists, where it is, and its
// licence; and the version is the program's.

#include "app/about_dialog.h"

#include <QFile>
#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <QLabel>
#include <QTreeWidget>
#include <QtTest>

using namespace hs;

class AboutTest : public QObject {
    Q_OBJECT

private slots:
    void EveryPartIsListedWithItsLicenceWhereItIs() {
        QFile file(QStringLiteral(HS_TEST_DATA "/../resources/third_party.json"));
        QVERIFY(file.open(QIODevice::ReadOnly));
        const QJsonArray parts = QJsonDocument::fromJson(file.readAll()).array();
        QVERIFY(parts.size() > 40);
        int expected = 0;
        for (const QJsonValue part : parts) {
            QVERIFY(!part[QLatin1String("licence")].toString().isEmpty());
            QVERIFY(!part[QLatin1String("source")].toString().isEmpty());
            expected += static_cast<int>(part[QLatin1String("in")].toArray().size());
        }
        AboutDialog dialog(nullptr);
        auto* const list = dialog.findChild<QTreeWidget*>();
        QVERIFY(list != nullptr);
        QCOMPARE(list->topLevelItemCount(), 4);
        int listed = 0;
        for (int group = 0; group < list->topLevelItemCount(); ++group) {
            listed += list->topLevelItem(group)->childCount();
        }
        QCOMPARE(listed, expected); // a place that the list does not know would be missing
        const auto found =
            list->findItems(QStringLiteral("SQLite"), Qt::MatchExactly | Qt::MatchRecursive);
        QCOMPARE(found.size(), 1);
        QCOMPARE(found[0]->text(1), QStringLiteral("blessing"));
    }

    void TheVersionIsThePrograms() {
        AboutDialog dialog(nullptr);
        QStringList words;
        for (const QLabel* const label : dialog.findChildren<QLabel*>()) {
            words << label->text();
        }
        QVERIFY(words.contains(QStringLiteral("Hybridscope " HS_VERSION)));
    }
};

QTEST_MAIN(AboutTest)
#include "tst_about.moc"
