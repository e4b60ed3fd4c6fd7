#pragma once
// One icon of the resources, drawn in one colour. icon_svg.cpp draws them as they are; a Qt without
// its SVG module (the static one for Windows) has icon_raster.cpp and pictures made at build time.

#include <QByteArray>
#include <QColor>
#include <QRect>

class QPainter;

namespace hs {

// `file` is what a resource under :/icons holds; its strokes come out in `ink`, opaque where drawn.
void draw_icon_file(QPainter& painter, const QRect& rect, const QByteArray& file,
                    const QColor& ink);

} // namespace hs
