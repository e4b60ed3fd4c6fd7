#include "ui/shared/icon_file.h"

#include <QImage>
#include <QPainter>

namespace hs {

// The pictures are black where the icon is: their shape is kept, their colour is not.
void draw_icon_file(QPainter& painter, const QRect& rect, const QByteArray& file,
                    const QColor& ink) {
    QImage shape = QImage::fromData(file).convertToFormat(QImage::Format_ARGB32_Premultiplied);
    if (shape.isNull()) {
        return;
    }
    QPainter tint(&shape);
    tint.setCompositionMode(QPainter::CompositionMode_SourceIn);
    tint.fillRect(shape.rect(), ink);
    tint.end();
    painter.save();
    painter.setRenderHint(QPainter::SmoothPixmapTransform);
    painter.drawImage(rect, shape);
    painter.restore();
}

} // namespace hs
