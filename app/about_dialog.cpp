#include "app/about_dialog.h"

#include "ui/shared/theme.h"

#include <QDialogButtonBox>
#include <QFile>
#include <QHBoxLayout>
#include <QHeaderView>
#include <QJsonArray>
#include <QJsonDocument>
#include <QJsonObject>
#include <QLabel>
#include <QTreeWidget>
#include <QVBoxLayout>

#include <array>

namespace hs {

namespace {

// A group of the list: what "in" says of an entry, and what a person reads.
struct Place {
    const char* key;
    const char* title;
};
constexpr std::array kPlaces = {
    Place{"program", QT_TRANSLATE_NOOP("hs::AboutDialog", "In the program itself")},
    Place{"bundle", QT_TRANSLATE_NOOP("hs::AboutDialog", "In self-contained packages for Linux")},
    Place{"appimage", QT_TRANSLATE_NOOP("hs::AboutDialog", "In what starts the AppImage")},
    Place{"windows", QT_TRANSLATE_NOOP("hs::AboutDialog", "In the program for Windows")},
};

QTreeWidget* make_list(QWidget* parent) {
    auto* const list = new QTreeWidget(parent);
    list->setAccessibleName(AboutDialog::tr("Works of others, with their licences"));
    list->setHeaderLabels({AboutDialog::tr("Part"), AboutDialog::tr("Licence")});
    list->setSelectionMode(QAbstractItemView::NoSelection);
    QFile file(QStringLiteral(":/third_party.json"));
    const bool readable = file.open(QIODevice::ReadOnly);
    Q_ASSERT(readable);
    const QJsonArray parts = QJsonDocument::fromJson(file.readAll()).array();
    for (const Place& place : kPlaces) {
        auto* const group = new QTreeWidgetItem(list, {AboutDialog::tr(place.title)});
        group->setFirstColumnSpanned(true);
        for (const QJsonValue part : parts) {
            if (part[QLatin1String("in")].toArray().contains(QLatin1String(place.key))) {
                new QTreeWidgetItem(group, {part[QLatin1String("name")].toString(),
                                            part[QLatin1String("licence")].toString()});
            }
        }
        group->setExpanded(true);
    }
    list->resizeColumnToContents(0);
    return list;
}

} // namespace

AboutDialog::AboutDialog(QWidget* parent)
    : QDialog(parent) {
    setWindowTitle(tr("About Hybridscope"));
    auto* const sign = new QLabel(this);
    sign->setPixmap(windowIcon().pixmap(QSize(72, 72), devicePixelRatioF()));
    auto* const title = new QLabel(QStringLiteral("Hybridscope " HS_VERSION), this);
    set_text_role(title, "title");
    auto* const words = new QLabel(
        tr("An instrument for hybrid-attention language models: everything it shows is measured "
           "on this machine by its own engine.\n\nFree software under the GNU General Public "
           "License, version 3 or later. Made with Qt %1 and QCustomPlot, and with these:")
            .arg(QString::fromLatin1(qVersion())),
        this);
    words->setWordWrap(true);
    auto* const buttons = new QDialogButtonBox(QDialogButtonBox::Close, this);
    connect(buttons, &QDialogButtonBox::rejected, this, &QDialog::reject);
    auto* const row = new QHBoxLayout;
    row->setSpacing(2 * kSpace);
    auto* const texts = new QVBoxLayout;
    texts->addWidget(title);
    texts->addWidget(words);
    row->addWidget(sign, 0, Qt::AlignTop);
    row->addLayout(texts, 1);
    auto* const column = new QVBoxLayout(this);
    column->setContentsMargins(2 * kSpace, 2 * kSpace, 2 * kSpace, 2 * kSpace);
    column->addLayout(row);
    column->addWidget(make_list(this), 1);
    column->addWidget(buttons);
    resize(560, 520);
}

} // namespace hs
