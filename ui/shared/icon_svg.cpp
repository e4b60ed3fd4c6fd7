#include "ui/shared/icon_file.h"

#include <QPainter>
#include <QSvgRenderer>

namespace hs {

void draw_icon_file(QPainter& painter, const QRect& rect, const QByteArray& file,
                    const QColor& ink) {
    QByteArray coloured = file;
    coloured.replace("currentColor", ink.name().toLatin1());
    QSvgRenderer renderer(coloured);
    renderer.render(&painter, rect);
}

} // namespace hs
