#pragma once
// Colours, fonts and icons of the window, light and dark, and how each kind of layer looks: a
// colour, a pattern, a letter and a mark, so that colour never stands alone. All custom painting
// asks here with its widget's palette, and so follows a change of theme.

#include "engine/spec/model_spec.h"

#include <QColor>
#include <QFont>
#include <QIcon>
#include <QPalette>
#include <QString>

class QApplication;
class QPainter;
class QRectF;
class QWidget;

namespace hs {

enum class Theme { System, Light, Dark };

struct Colours {
    bool dark = false;
    QColor window;        // behind everything
    QColor rail;          // side rail and status strip
    QColor base;          // fields, lists, plots
    QColor raised;        // cards, the person's messages
    QColor border;        // hairlines
    QColor strong_border; // of fields, 3:1 against base
    QColor text;
    QColor muted;  // secondary text, 4.5:1
    QColor accent; // what can be acted on, what is chosen
    QColor on_accent;
    QColor accent_soft; // background of what is chosen
    QColor danger;
    QColor danger_soft;
    QColor warning;
    QColor code; // background of code
};
const Colours& colours(const QPalette& palette);

// Sets palette, style sheet and font of the whole program. text_scale 1: the system's size.
void apply_theme(QApplication& application, Theme theme, double text_scale);
// What System means here and now: the desktop's palette, where Qt reports it.
bool system_is_dark();

// How something is drawn: in plots by colour and mark, in areas by colour and pattern.
enum class Pattern { Solid, Diagonal, Horizontal, Cross, Dots, Dashed };
struct KindStyle {
    QColor colour;
    Pattern pattern = Pattern::Solid;
    QChar letter; // "F"
    QChar mark;   // "■"
    QString name; // "full attention"
};
KindStyle kind_style(MixerKind kind, const QPalette& palette);
KindStyle weights_style(const QPalette& palette);
KindStyle other_style(const QPalette& palette); // baseline, free, other
// Fills with the pattern on a tint of its colour; device pixels stay crisp at any scale.
void fill_pattern(QPainter& painter, const QRectF& area, const KindStyle& style);

// An icon of resources/icons by name, drawn in the palette's text colour whatever the theme.
QIcon icon(const char* name);

QFont mono_font(const QFont& like);
// The style sheet's words: "title", "heading", "muted", "figure", "caption".
void set_text_role(QWidget* label, const char* role);
// "primary", "flat", "danger" for push buttons.
void set_button_role(QWidget* button, const char* role);

// The focus ring every custom widget draws.
void draw_focus_ring(QPainter& painter, const QRectF& area, const QPalette& palette);

// Spacing comes in eights.
inline constexpr int kSpace = 8;

} // namespace hs
