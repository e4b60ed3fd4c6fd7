#include "ui/shared/theme.h"

#include "ui/shared/icon_file.h"

#include <QApplication>
#include <QFile>
#include <QFontDatabase>
#include <QGuiApplication>
#include <QIconEngine>
#include <QPainter>
#include <QPainterPath>
#include <QStyle>
#include <QStyleFactory>
#include <QWidget>

#include <cmath>

// Resources of a static library have to be asked for, outside of any namespace.
static void load_resources() {
    Q_INIT_RESOURCE(hybridscope);
}

namespace hs {

namespace {

// Text on window, base and raised is at least 4.5:1, strong borders 3:1; the accent keeps clear of
// the colours that mean a kind of layer.
const Colours kLight = {
    .dark = false,
    .window = QColor(0xF6, 0xF7, 0xF8),
    .rail = QColor(0xEC, 0xEE, 0xF0),
    .base = QColor(0xFF, 0xFF, 0xFF),
    .raised = QColor(0xEE, 0xF1, 0xF3),
    .border = QColor(0xDA, 0xDE, 0xE2),
    .strong_border = QColor(0x8A, 0x93, 0x9C),
    .text = QColor(0x1A, 0x1E, 0x22),
    .muted = QColor(0x58, 0x61, 0x6B),
    .accent = QColor(0x0B, 0x6E, 0x69),
    .on_accent = QColor(0xFF, 0xFF, 0xFF),
    .accent_soft = QColor(0xD8, 0xEB, 0xE9),
    .danger = QColor(0xA8, 0x25, 0x1D),
    .danger_soft = QColor(0xFB, 0xE9, 0xE7),
    .warning = QColor(0x7A, 0x54, 0x00),
    .code = QColor(0xF1, 0xF3, 0xF5),
};

const Colours kDark = {
    .dark = true,
    .window = QColor(0x19, 0x1A, 0x1C),
    .rail = QColor(0x13, 0x14, 0x16),
    .base = QColor(0x1E, 0x1E, 0x1E),
    .raised = QColor(0x27, 0x29, 0x2C),
    .border = QColor(0x36, 0x39, 0x3E),
    .strong_border = QColor(0x74, 0x7C, 0x85),
    .text = QColor(0xE6, 0xE8, 0xEA),
    .muted = QColor(0xA0, 0xA8, 0xB0),
    .accent = QColor(0x4F, 0xC1, 0xB4),
    .on_accent = QColor(0x0C, 0x1F, 0x1D),
    .accent_soft = QColor(0x1F, 0x3D, 0x3A),
    .danger = QColor(0xF2, 0x8B, 0x82),
    .danger_soft = QColor(0x3B, 0x23, 0x21),
    .warning = QColor(0xE3, 0xB3, 0x55),
    .code = QColor(0x16, 0x17, 0x19),
};

QPalette palette_of(const Colours& c) {
    QPalette p;
    p.setColor(QPalette::Window, c.window);
    p.setColor(QPalette::WindowText, c.text);
    p.setColor(QPalette::Base, c.base);
    p.setColor(QPalette::AlternateBase, c.raised);
    p.setColor(QPalette::Text, c.text);
    p.setColor(QPalette::PlaceholderText, c.muted);
    p.setColor(QPalette::Button, c.raised);
    p.setColor(QPalette::ButtonText, c.text);
    p.setColor(QPalette::BrightText, c.danger);
    p.setColor(QPalette::Highlight, c.accent);
    p.setColor(QPalette::HighlightedText, c.on_accent);
    p.setColor(QPalette::Link, c.accent);
    p.setColor(QPalette::LinkVisited, c.accent);
    p.setColor(QPalette::ToolTipBase, c.raised);
    p.setColor(QPalette::ToolTipText, c.text);
    p.setColor(QPalette::Light, c.base);
    p.setColor(QPalette::Midlight, c.raised);
    p.setColor(QPalette::Mid, c.border);
    p.setColor(QPalette::Dark, c.strong_border);
    p.setColor(QPalette::Shadow, c.dark ? QColor(Qt::black) : c.strong_border);
    for (const QPalette::ColorRole role :
         {QPalette::WindowText, QPalette::Text, QPalette::ButtonText, QPalette::HighlightedText}) {
        QColor faded = c.muted;
        faded.setAlphaF(0.6F);
        p.setColor(QPalette::Disabled, role, faded);
    }
    return p;
}

// Draws an icon of the resources, written in currentColor, in the program's own text colour at the
// moment of painting: a change of theme needs no new icons.
class ThemedIconEngine final : public QIconEngine {
public:
    explicit ThemedIconEngine(QByteArray file)
        : m_file(std::move(file)) {}

    void paint(QPainter* painter, const QRect& rect, QIcon::Mode mode,
               QIcon::State state) override {
        const Colours& c = colours(QGuiApplication::palette());
        QColor ink = state == QIcon::On ? c.accent : c.text;
        if (mode == QIcon::Disabled) {
            ink = c.strong_border;
        } else if (mode == QIcon::Selected) {
            ink = c.text;
        }
        draw_icon_file(*painter, rect, m_file, ink);
    }

    QPixmap pixmap(const QSize& size, QIcon::Mode mode, QIcon::State state) override {
        QPixmap picture(size);
        picture.fill(Qt::transparent);
        QPainter painter(&picture);
        paint(&painter, QRect(QPoint(), size), mode, state);
        return picture;
    }

    QIconEngine* clone() const override { return new ThemedIconEngine(m_file); }

private:
    QByteArray m_file;
};

QString css(const QColor& colour) {
    return colour.name();
}

// One style sheet for the whole program; sizes in points follow the text size. Kept in code
// because every line needs a colour of the theme.
QString style_sheet(const Colours& c, double point_size) {
    QString sheet = QStringLiteral(R"(
QToolTip { background: $raised; color: $text; border: 1px solid $border; padding: 4px 6px; }
QMainWindow, QDialog { background: $window; }
QMenuBar { background: $rail; color: $text; border: none; padding: 2px 4px; }
QMenuBar::item { padding: 4px 8px; border-radius: 4px; background: transparent; }
QMenuBar::item:selected { background: $accent_soft; }
QMenu { background: $base; color: $text; border: 1px solid $border; padding: 4px; }
QMenu::item { padding: 5px 28px 5px 24px; border-radius: 4px; }
QMenu::item:selected { background: $accent_soft; color: $text; }
QMenu::item:disabled { color: $strong_border; }
QMenu::separator { height: 1px; background: $border; margin: 4px 8px; }
QMenu::icon { padding-left: 6px; }

QLabel { background: transparent; }
QLabel[text_role="title"] { font-size: $title_pt; font-weight: 600; }
QLabel[text_role="heading"] { font-weight: 600; }
QLabel[text_role="figure"] { font-size: $figure_pt; font-weight: 600; }
QLabel[text_role="muted"], QLabel[text_role="caption"] { color: $muted; }
QLabel[text_role="caption"] { font-size: $caption_pt; }

QDialogButtonBox { dialogbuttonbox-buttons-have-icons: 0; }
QPushButton { background: $base; color: $text; border: 1px solid $strong_border;
  border-radius: 6px; padding: 5px 14px; min-height: 18px; }
QPushButton:hover { background: $raised; }
QPushButton:pressed { background: $border; }
QPushButton:focus { border: 2px solid $accent; padding: 4px 13px; }
QPushButton:disabled { color: $strong_border; border-color: $border; background: $window; }
QPushButton:checked { background: $accent_soft; border-color: $accent; }
QPushButton[button_role="primary"] { background: $accent; color: $on_accent;
  border: 1px solid $accent; font-weight: 600; }
QPushButton[button_role="primary"]:hover { background: $accent_hover; }
QPushButton[button_role="primary"]:focus { border: 2px solid $text; padding: 4px 13px; }
QPushButton[button_role="primary"]:disabled { background: $border; color: $muted;
  border-color: $border; }
QPushButton[button_role="danger"] { color: $danger; border-color: $danger; }
QPushButton[button_role="flat"] { background: transparent; border: 1px solid transparent; }
QPushButton[button_role="flat"]:hover { background: $raised; }
QPushButton[button_role="flat"]:focus { border: 2px solid $accent; }

QToolButton { background: transparent; color: $text; border: 2px solid transparent;
  border-radius: 6px; padding: 3px; }
QToolButton:hover { background: $hover; }
QToolButton:pressed, QToolButton:checked { background: $accent_soft; }
QToolButton:focus { border-color: $accent; }
QToolButton:disabled { color: $strong_border; }
QToolButton::menu-indicator { image: none; }
QToolButton[button_role="rail"] { padding: 6px 2px; border-radius: 8px; color: $muted; }
QToolButton[button_role="rail"]:checked { color: $accent; font-weight: 600; }
QToolButton[button_role="picker"] { background: $base; border: 1px solid $strong_border;
  padding: 4px 26px 4px 10px; }
QToolButton[button_role="picker"]::menu-indicator { image: url(:/icons/down-$mode.svg);
  width: 10px; height: 10px; subcontrol-origin: padding; subcontrol-position: center right;
  right: 9px; }
QToolButton[button_role="picker"]:hover { background: $raised; }
QToolButton[button_role="picker"]:focus { border: 2px solid $accent;
  padding: 3px 25px 3px 9px; }
QToolButton[button_role="strip"] { padding: 1px 6px; border-radius: 4px; color: $muted; }

QLineEdit, QPlainTextEdit, QTextEdit, QSpinBox, QDoubleSpinBox, QComboBox {
  background: $base; color: $text; border: 1px solid $strong_border; border-radius: 6px;
  padding: 4px 8px; selection-background-color: $accent; selection-color: $on_accent; }
QLineEdit:focus, QPlainTextEdit:focus, QTextEdit:focus, QSpinBox:focus, QDoubleSpinBox:focus,
QComboBox:focus { border: 2px solid $accent; padding: 3px 7px; }
QLineEdit:disabled, QPlainTextEdit:disabled, QSpinBox:disabled, QDoubleSpinBox:disabled,
QComboBox:disabled { color: $strong_border; border-color: $border; background: $window; }
QPlainTextEdit[field_role="composer"], QPlainTextEdit[field_role="composer"]:focus {
  border: none; background: transparent; padding: 4px; }
QSpinBox, QDoubleSpinBox { padding-right: 20px; }
QSpinBox:focus, QDoubleSpinBox:focus { padding-right: 19px; }
QSpinBox::up-button, QDoubleSpinBox::up-button { subcontrol-origin: border;
  subcontrol-position: top right; width: 20px; border: none; background: transparent;
  margin: 2px 2px 0 0; }
QSpinBox::down-button, QDoubleSpinBox::down-button { subcontrol-origin: border;
  subcontrol-position: bottom right; width: 20px; border: none; background: transparent;
  margin: 0 2px 2px 0; }
QSpinBox::up-button:hover, QDoubleSpinBox::up-button:hover, QSpinBox::down-button:hover,
QDoubleSpinBox::down-button:hover { background: $raised; border-radius: 3px; }
QSpinBox::up-arrow, QDoubleSpinBox::up-arrow { image: url(:/icons/up-$mode.svg); width: 10px;
  height: 10px; }
QSpinBox::down-arrow, QDoubleSpinBox::down-arrow { image: url(:/icons/down-$mode.svg);
  width: 10px; height: 10px; }
QComboBox { padding-right: 24px; min-height: 18px; }
QComboBox::drop-down { subcontrol-origin: border; subcontrol-position: center right; width: 24px;
  border: none; }
QComboBox::down-arrow { image: url(:/icons/down-$mode.svg); width: 10px; height: 10px; }
QComboBox QAbstractItemView { background: $base; color: $text; border: 1px solid $border;
  selection-background-color: $accent_soft; selection-color: $text; outline: none;
  padding: 4px; }

QCheckBox, QRadioButton { spacing: 8px; padding: 2px; border: 2px solid transparent;
  border-radius: 4px; background: transparent; }
QCheckBox:focus, QRadioButton:focus { border-color: $accent; }
QCheckBox::indicator, QRadioButton::indicator { width: 14px; height: 14px;
  border: 1px solid $strong_border; background: $base; border-radius: 3px; }
QRadioButton::indicator { border-radius: 8px; }
QCheckBox::indicator:checked { background: $accent; border-color: $accent;
  image: url(:/icons/check-$mode.svg); }
QRadioButton::indicator:checked { background: $accent; border: 4px solid $base;
  width: 8px; height: 8px; }
QCheckBox:disabled, QRadioButton:disabled { color: $strong_border; }

QAbstractItemView { background: $base; color: $text; border: 1px solid $border;
  border-radius: 6px; alternate-background-color: $window; outline: none;
  selection-background-color: $accent_soft; selection-color: $text; gridline-color: $border; }
QAbstractItemView:focus { border: 1px solid $accent; }
QListView::item { padding: 6px 8px; border-radius: 4px; }
QListView::item:hover, QTreeView::item:hover, QTableView::item:hover { background: $hover; }
QListView::item:selected, QTreeView::item:selected, QTableView::item:selected {
  background: $accent_soft; color: $text; }
QTableView::item, QTreeView::item { padding: 4px 8px; border: none; }
QListView[list_role="plain"] { background: transparent; border: none; }
QListView[list_role="plain"]:focus { border: none; }
QHeaderView { background: $base; border: none; }
QHeaderView::section { background: $base; color: $muted; border: none; text-align: left;
  border-bottom: 1px solid $border; padding: 6px 8px; font-weight: 600; }
QTableCornerButton::section { background: $base; border: none; }

QScrollArea { background: transparent; border: none; }
QScrollBar:vertical { background: transparent; width: 12px; margin: 0; border: none; }
QScrollBar:horizontal { background: transparent; height: 12px; margin: 0; border: none; }
QScrollBar::handle { background: $scroll; border-radius: 4px; margin: 2px; }
QScrollBar::handle:vertical { min-height: 32px; }
QScrollBar::handle:horizontal { min-width: 32px; }
QScrollBar::handle:hover { background: $strong_border; }
QScrollBar::add-line, QScrollBar::sub-line { width: 0; height: 0; border: none; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }

QSlider { min-height: 24px; }
QSlider::groove:horizontal { height: 4px; background: $border; border-radius: 2px; }
QSlider::sub-page:horizontal { background: $accent; border-radius: 2px; }
QSlider::handle:horizontal { width: 16px; height: 16px; margin: -6px 0; border-radius: 8px;
  background: $base; border: 2px solid $accent; }
QSlider::handle:horizontal:focus { background: $accent; border-color: $text; }

QProgressBar { background: $border; border: none; border-radius: 3px; min-height: 6px;
  max-height: 6px; color: transparent; }
QProgressBar::chunk { background: $accent; border-radius: 3px; }

QTabWidget::pane { border: none; border-top: 1px solid $border; }
QTabBar { background: transparent; }
QTabBar::tab { background: transparent; color: $muted; padding: 6px 12px; border: none;
  border-bottom: 2px solid transparent; }
QTabBar::tab:selected { color: $text; border-bottom: 2px solid $accent; font-weight: 600; }
QTabBar::tab:focus { background: $accent_soft; }

QSplitter::handle { background: $border; }
QSplitter::handle:horizontal { width: 1px; }
QSplitter::handle:vertical { height: 1px; }
QGroupBox { border: 1px solid $border; border-radius: 6px; margin-top: 10px; padding: 12px 8px 8px; }
QGroupBox::title { subcontrol-origin: margin; left: 10px; padding: 0 4px; color: $muted; }

QFrame[frame_role="rail"], QWidget[frame_role="rail"] { background: $rail; }
QFrame[frame_role="card"] { background: $base; border: 1px solid $border; border-radius: 8px; }
QFrame[frame_role="composer"] { background: $base; border: 1px solid $strong_border;
  border-radius: 10px; }
QFrame[frame_role="composer"][active="true"] { border: 2px solid $accent; }
QFrame[frame_role="error"] { background: $danger_soft; border: none;
  border-bottom: 1px solid $danger; }
QFrame[frame_role="line"] { background: $border; border: none; max-height: 1px; min-height: 1px; }
)");
    const auto points = [&](double factor) {
        return QString::number(point_size * factor, 'f', 1) + QLatin1String("pt");
    };
    QColor hover = c.text;
    hover.setAlphaF(0.06F);
    const QString hover_css =
        QStringLiteral("rgba(%1,%2,%3,16)").arg(hover.red()).arg(hover.green()).arg(hover.blue());
    const QColor scroll = c.dark ? QColor(0x4A, 0x4E, 0x54) : QColor(0xBF, 0xC5, 0xCB);
    // Longer names first: $accent is the beginning of $accent_soft.
    const std::pair<const char*, QString> words[] = {
        {"$accent_hover", css(c.dark ? c.accent.lighter(108) : c.accent.darker(112))},
        {"$accent_soft", css(c.accent_soft)},
        {"$on_accent", css(c.on_accent)},
        {"$accent", css(c.accent)},
        {"$strong_border", css(c.strong_border)},
        {"$border", css(c.border)},
        {"$window", css(c.window)},
        {"$rail", css(c.rail)},
        {"$base", css(c.base)},
        {"$raised", css(c.raised)},
        {"$muted", css(c.muted)},
        {"$danger_soft", css(c.danger_soft)},
        {"$danger", css(c.danger)},
        {"$text", css(c.text)},
        {"$hover", hover_css},
        {"$scroll", css(scroll)},
        {"$mode", c.dark ? QStringLiteral("dark") : QStringLiteral("light")},
        {"$title_pt", points(1.35)},
        {"$figure_pt", points(1.15)},
        {"$caption_pt", points(0.9)},
    };
    for (const auto& [word, value] : words) {
        sheet.replace(QLatin1String(word), value);
    }
    return sheet;
}

// The face of figures and labels: Inter where it is installed, else what the desktop uses.
QFont base_font() {
    static const QFont system = QFontDatabase::systemFont(QFontDatabase::GeneralFont);
    QFont font = system;
    if (QFontDatabase::families().contains(QLatin1String("Inter"))) {
        font.setFamily(QStringLiteral("Inter"));
    }
    // Offscreen and bare X servers report sizes that suit nobody.
    font.setPointSizeF(std::clamp(system.pointSizeF(), 9.5, 11.0));
    return font;
}

} // namespace

const Colours& colours(const QPalette& palette) {
    // By the text: a style sheet's transparent background is black to a palette.
    return palette.color(QPalette::WindowText).lightness() > 128 ? kDark : kLight;
}

bool system_is_dark() {
    // Qt 6.4 has no announcement of the desktop's scheme; the style's own palette, which platform
    // themes fill, is what it tells. Asked before we set ours.
    static const bool dark = QGuiApplication::palette().color(QPalette::Window).lightness() <
                             QGuiApplication::palette().color(QPalette::WindowText).lightness();
    return dark;
}

void apply_theme(QApplication& application, Theme theme, double text_scale) {
    const bool dark = theme == Theme::Dark || (theme == Theme::System && system_is_dark());
    const Colours& c = dark ? kDark : kLight;
    static bool styled = false;
    if (!styled) {
        load_resources();
        (void)system_is_dark(); // remembered before the palette becomes ours
        QApplication::setStyle(QStyleFactory::create(QStringLiteral("Fusion")));
        styled = true;
    }
    QFont font = base_font();
    font.setPointSizeF(font.pointSizeF() * text_scale);
    QApplication::setPalette(palette_of(c));
    QApplication::setFont(font);
    application.setStyleSheet(style_sheet(c, font.pointSizeF()));
}

KindStyle kind_style(MixerKind kind, const QPalette& palette) {
    const bool dark = colours(palette).dark;
    const QString name = QString::fromLatin1(to_string(kind));
    const QChar mark_letter = QLatin1Char(letter(kind));
    switch (kind) {
    case MixerKind::FullAttention:
        return {dark ? QColor(0x56, 0xB4, 0xE9) : QColor(0x00, 0x72, 0xB2), Pattern::Solid,
                mark_letter, QChar(0x25A0), name};
    case MixerKind::SlidingWindow:
        return {dark ? QColor(0xB6, 0x3D, 0xF2) : QColor(0x74, 0x00, 0xD9), Pattern::Horizontal,
                mark_letter, QChar(0x25B2), name};
    case MixerKind::Latent:
        return {dark ? QColor(0x4F, 0xC3, 0xB5) : QColor(0x00, 0x6D, 0x77), Pattern::Solid,
                mark_letter, QChar(0x25C6), name};
    case MixerKind::Sparse:
        return {dark ? QColor(0xCC, 0x79, 0xA7) : QColor(0xA0, 0x1A, 0x58), Pattern::Dots,
                mark_letter, QChar(0x25BC), name};
    case MixerKind::Compressed:
        return {dark ? QColor(0x9F, 0xB4, 0xC8) : QColor(0x4A, 0x5A, 0x78), Pattern::Cross,
                mark_letter, QChar(0x25C8), name};
    case MixerKind::GatedDelta:
        return {dark ? QColor(0xE6, 0x9F, 0x00) : QColor(0xD5, 0x5E, 0x00), Pattern::Diagonal,
                mark_letter, QChar(0x25CF), name};
    case MixerKind::Kda:
        return {dark ? QColor(0xF0, 0xE4, 0x42) : QColor(0x8A, 0x6A, 0x00), Pattern::Dashed,
                mark_letter, QChar(0x25B6), name};
    case MixerKind::Lightning:
        return {dark ? QColor(0x7B, 0xD3, 0x4E) : QColor(0x2B, 0x7A, 0x0B), Pattern::Diagonal,
                mark_letter, QChar(0x25C7), name};
    }
    return other_style(palette);
}

KindStyle weights_style(const QPalette& palette) {
    return {colours(palette).dark ? QColor(0x8C, 0x8C, 0x8C) : QColor(0x4C, 0x41, 0x13),
            Pattern::Dots, QLatin1Char('M'), QChar(0x25AC), QStringLiteral("weights")};
}

KindStyle other_style(const QPalette& palette) {
    return {colours(palette).dark ? QColor(0xF2, 0xF2, 0xF2) : QColor(0x8C, 0x8C, 0x8C),
            Pattern::Dashed, QChar(0x2013), QChar(0x25CB), QStringLiteral("other")};
}

void fill_pattern(QPainter& painter, const QRectF& area, const KindStyle& style) {
    if (area.isEmpty()) {
        return;
    }
    painter.save();
    if (style.pattern == Pattern::Solid) {
        painter.fillRect(area, style.colour);
        painter.restore();
        return;
    }
    QColor tint = style.colour;
    tint.setAlphaF(0.34F);
    painter.fillRect(area, tint);
    painter.setClipRect(area, Qt::IntersectClip);
    painter.setRenderHint(QPainter::Antialiasing, style.pattern != Pattern::Horizontal);
    constexpr double kStep = 5.0;
    painter.setPen(QPen(style.colour, 1.6));
    const auto diagonals = [&](bool falling) {
        for (double x = area.left() - area.height(); x < area.right(); x += kStep) {
            // Anchored to the page, so that neighbouring cells' lines meet.
            const double start = std::floor(x / kStep) * kStep;
            if (falling) {
                painter.drawLine(QPointF(start, area.top()),
                                 QPointF(start + area.height(), area.bottom()));
            } else {
                painter.drawLine(QPointF(start, area.bottom()),
                                 QPointF(start + area.height(), area.top()));
            }
        }
    };
    switch (style.pattern) {
    case Pattern::Diagonal:
        diagonals(false);
        break;
    case Pattern::Cross:
        diagonals(false);
        diagonals(true);
        break;
    case Pattern::Horizontal:
        for (double y = area.bottom() - 1.5; y > area.top(); y -= 4.0) {
            painter.fillRect(QRectF(area.left(), y, area.width(), 1.5), style.colour);
        }
        break;
    case Pattern::Dots:
    case Pattern::Dashed:
        painter.setPen(Qt::NoPen);
        painter.setBrush(style.colour);
        for (double y = area.bottom() - 2.5; y > area.top() - 2.0; y -= kStep) {
            for (double x = area.left() + 2.5; x < area.right() + 2.0; x += kStep) {
                painter.drawEllipse(QPointF(x, y), 1.1, 1.1);
            }
        }
        break;
    case Pattern::Solid:
        break;
    }
    painter.restore();
}

QIcon icon(const char* name) {
    QFile file(QStringLiteral(":/icons/%1.svg").arg(QLatin1String(name)));
    if (!file.open(QIODevice::ReadOnly)) {
        return {};
    }
    return QIcon(new ThemedIconEngine(file.readAll()));
}

QFont mono_font(const QFont& like) {
    static const QString family = [] {
        const QStringList known = QFontDatabase::families();
        for (const char* wanted : {"JetBrains Mono", "DejaVu Sans Mono"}) {
            if (known.contains(QLatin1String(wanted))) {
                return QString::fromLatin1(wanted);
            }
        }
        return QFontDatabase::systemFont(QFontDatabase::FixedFont).family();
    }();
    QFont font = like;
    font.setFamily(family);
    font.setStyleHint(QFont::Monospace);
    font.setFixedPitch(true);
    font.setPointSizeF(like.pointSizeF() * 0.94);
    return font;
}

void set_text_role(QWidget* label, const char* role) {
    label->setProperty("text_role", QLatin1String(role));
}

void set_button_role(QWidget* button, const char* role) {
    button->setProperty("button_role", QLatin1String(role));
    // A button that was styled before it had its role (those of a dialog's box are).
    button->style()->unpolish(button);
    button->style()->polish(button);
}

void draw_focus_ring(QPainter& painter, const QRectF& area, const QPalette& palette) {
    painter.save();
    painter.setRenderHint(QPainter::Antialiasing);
    painter.setBrush(Qt::NoBrush);
    painter.setPen(QPen(colours(palette).accent, 2.0));
    painter.drawRoundedRect(area.adjusted(1, 1, -1, -1), 4, 4);
    painter.restore();
}

} // namespace hs
