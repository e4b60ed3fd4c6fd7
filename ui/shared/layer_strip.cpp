#include "ui/shared/layer_strip.h"

#include "ui/shared/theme.h"
#include "ui/shared/units.h"

#include <QAccessible>
#include <QAccessibleWidget>
#include <QHelpEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QPainter>
#include <QPainterPath>
#include <QToolTip>

#include <algorithm>
#include <cmath>
#include <map>

namespace hs {

namespace {

constexpr double kGap = 3.0;
constexpr double kLeastCell = 16.0;
constexpr double kMostCell = 132.0;
constexpr double kBox = 26.0;
constexpr double kBytesFrom = 46.0; // cells at least this wide print their bytes
constexpr double kLeastBytes = 1024.0;

// --- The accessible tree: the strip is a list, each layer an item in it --------------------------

class StripAccessible;

class CellAccessible final : public QAccessibleInterface {
public:
    CellAccessible(LayerStrip* strip, int layer)
        : m_strip(strip)
        , m_layer(layer) {}

    bool isValid() const override { return m_strip && m_layer < m_strip->layers(); }
    QObject* object() const override { return nullptr; }
    QWindow* window() const override { return nullptr; }
    QAccessibleInterface* childAt(int, int) const override { return nullptr; }
    QAccessibleInterface* parent() const override {
        return QAccessible::queryAccessibleInterface(m_strip);
    }
    QAccessibleInterface* child(int) const override { return nullptr; }
    int childCount() const override { return 0; }
    int indexOfChild(const QAccessibleInterface*) const override { return -1; }
    QString text(QAccessible::Text kind) const override {
        if (!isValid()) {
            return {};
        }
        if (kind == QAccessible::Name) {
            return LayerStrip::tr("Layer %1, %2")
                .arg(m_layer + 1)
                .arg(QLatin1String(to_string(m_strip->kind(m_layer))));
        }
        return kind == QAccessible::Description || kind == QAccessible::Value
                   ? m_strip->describe(m_layer)
                   : QString();
    }
    void setText(QAccessible::Text, const QString&) override {}
    QRect rect() const override {
        if (!isValid()) {
            return {};
        }
        const QRect cell = m_strip->cell_rect(m_layer);
        return {m_strip->mapToGlobal(cell.topLeft()), cell.size()};
    }
    QAccessible::Role role() const override { return QAccessible::ListItem; }
    QAccessible::State state() const override {
        QAccessible::State state;
        state.focusable = true;
        state.selectable = true;
        if (isValid() && m_strip->current_layer() == m_layer) {
            state.selected = true;
            state.focused = m_strip->hasFocus();
        }
        return state;
    }

private:
    QPointer<LayerStrip> m_strip;
    int m_layer;
};

class StripAccessible final : public QAccessibleWidget {
public:
    explicit StripAccessible(LayerStrip* strip)
        : QAccessibleWidget(strip, QAccessible::List)
        , m_strip(strip) {}
    ~StripAccessible() override {
        for (const auto& [layer, id] : m_ids) {
            QAccessible::deleteAccessibleInterface(id);
        }
    }
    StripAccessible(const StripAccessible&) = delete;
    StripAccessible& operator=(const StripAccessible&) = delete;

    int childCount() const override { return m_strip->layers(); }
    QAccessibleInterface* child(int index) const override {
        if (index < 0 || index >= childCount()) {
            return nullptr;
        }
        auto found = m_ids.find(index);
        if (found == m_ids.end()) {
            const QAccessible::Id id =
                QAccessible::registerAccessibleInterface(new CellAccessible(m_strip, index));
            found = m_ids.emplace(index, id).first;
        }
        return QAccessible::accessibleInterface(found->second);
    }
    int indexOfChild(const QAccessibleInterface* wanted) const override {
        for (const auto& [layer, id] : m_ids) {
            if (QAccessible::accessibleInterface(id) == wanted) {
                return layer;
            }
        }
        return -1;
    }
    QAccessibleInterface* focusChild() const override {
        return m_strip->hasFocus() ? child(m_strip->current_layer()) : nullptr;
    }

private:
    LayerStrip* m_strip;
    mutable std::map<int, QAccessible::Id> m_ids;
};

QAccessibleInterface* make_strip_accessible(const QString&, QObject* object) {
    auto* const strip = qobject_cast<LayerStrip*>(object);
    return strip ? new StripAccessible(strip) : nullptr;
}

} // namespace

LayerStrip::LayerStrip(QWidget* parent)
    : QWidget(parent) {
    static const bool installed = [] {
        QAccessible::installFactory(make_strip_accessible);
        return true;
    }();
    Q_UNUSED(installed)
    setMouseTracking(true);
    setFocusPolicy(Qt::StrongFocus);
    QSizePolicy policy(QSizePolicy::Expanding, QSizePolicy::Minimum);
    policy.setHeightForWidth(true);
    setSizePolicy(policy);
    refresh_accessible();
}

void LayerStrip::set_spec(const ModelSpec& spec) {
    std::vector<MixerKind> kinds;
    kinds.reserve(spec.layers.size());
    for (const LayerSpec& layer : spec.layers) {
        kinds.push_back(kind_of(layer.mixer));
    }
    set_kinds(std::move(kinds));
}

void LayerStrip::set_kinds(std::vector<MixerKind> kinds) {
    m_kinds = std::move(kinds);
    m_entries.assign(m_kinds.size(), {});
    m_notes.clear();
    m_context_tokens = 0;
    m_current = std::min(m_current, layers() - 1);
    m_hovered = -1;
    updateGeometry();
    refresh_accessible();
    update();
}

void LayerStrip::clear() {
    set_kinds({});
}

void LayerStrip::set_state(const StateEvent& state) {
    set_entries(state.entries, state.context_tokens);
}

void LayerStrip::set_entries(const std::vector<LedgerEntry>& entries, std::int64_t context_tokens) {
    m_context_tokens = context_tokens;
    if (!entries.empty()) {
        for (std::vector<LedgerEntry>& layer : m_entries) {
            layer.clear();
        }
        for (const LedgerEntry& entry : entries) {
            if (entry.layer >= 0 && entry.layer < layers()) {
                m_entries[static_cast<std::size_t>(entry.layer)].push_back(entry);
            }
        }
    }
    update();
}

void LayerStrip::set_full_scale(std::int64_t bytes) {
    m_full_scale = bytes;
    update();
}

void LayerStrip::set_notes(std::vector<QString> notes) {
    m_notes = std::move(notes);
    update();
}

void LayerStrip::set_title(const QString& title) {
    m_title = title;
    refresh_accessible();
    update();
}

void LayerStrip::set_caption_visible(bool visible) {
    m_caption_visible = visible;
    updateGeometry();
    update();
}

void LayerStrip::set_current_layer(int layer) {
    m_current = std::clamp(layer, -1, layers() - 1);
    update();
}

std::int64_t LayerStrip::layer_bytes(int layer) const {
    std::int64_t bytes = 0;
    for (const LedgerEntry& entry : m_entries[static_cast<std::size_t>(layer)]) {
        bytes += entry.used_bytes;
    }
    return bytes;
}

std::int64_t LayerStrip::total_bytes() const {
    std::int64_t bytes = 0;
    for (int layer = 0; layer < layers(); ++layer) {
        bytes += layer_bytes(layer);
    }
    return bytes;
}

QString LayerStrip::describe(int layer) const {
    const auto index = static_cast<std::size_t>(layer);
    QString text = tr("Layer %1 of %2, %3")
                       .arg(layer + 1)
                       .arg(layers())
                       .arg(QLatin1String(to_string(m_kinds[index])));
    if (!m_entries[index].empty()) {
        QStringList parts;
        for (const LedgerEntry& entry : m_entries[index]) {
            parts << QStringLiteral("%1 %2").arg(QLatin1String(to_string(entry.kind)),
                                                 bytes_text(entry.used_bytes));
        }
        text += tr(": %1 (%2)").arg(bytes_text(layer_bytes(layer)), parts.join(tr(", ")));
    }
    if (index < m_notes.size() && !m_notes[index].isEmpty()) {
        text += tr("; %1").arg(m_notes[index]);
    }
    text += is_linear(m_kinds[index]) ? tr(". Fixed size: it does not grow with the context.")
            : m_kinds[index] == MixerKind::SlidingWindow ? tr(". Grows up to its window.")
            : m_kinds[index] == MixerKind::Compressed
                ? tr(". Grows with the context, by one entry for many tokens.")
                : tr(". Grows with every token.");
    return text;
}

LayerStrip::Grid LayerStrip::grid_for(int width) const {
    Grid grid;
    const int count = std::max(layers(), 1);
    const double room = std::max(width - 2.0, kLeastCell + kGap);
    const double text = QFontMetricsF(font()).height();
    const int most = std::max(1, static_cast<int>(room / (kLeastCell + kGap)));
    grid.rows = (count + most - 1) / most;
    // Even rows: 94 layers stand as 47 and 47, not as 62 and 32.
    grid.columns = (count + grid.rows - 1) / grid.rows;
    grid.cell_width = std::min(room / grid.columns, kMostCell + kGap);
    const bool prints_bytes = grid.cell_width - kGap >= kBytesFrom;
    grid.row_height = text + kBox + (prints_bytes ? text : 0.0) + 6.0;
    grid.top = caption_height();
    return grid;
}

int LayerStrip::caption_height() const {
    return m_caption_visible ? static_cast<int>(std::ceil(QFontMetricsF(font()).height())) + 6 : 0;
}

QRectF LayerStrip::cell_area(const Grid& grid, int layer) const {
    const int row = layer / grid.columns;
    const int column = layer % grid.columns;
    return {1.0 + column * grid.cell_width, grid.top + row * grid.row_height,
            grid.cell_width - kGap, grid.row_height - 4.0};
}

QRect LayerStrip::cell_rect(int layer) const {
    return cell_area(grid_for(width()), layer).toAlignedRect();
}

int LayerStrip::layer_at(const QPointF& point) const {
    const Grid grid = grid_for(width());
    for (int layer = 0; layer < layers(); ++layer) {
        if (cell_area(grid, layer).adjusted(0, 0, kGap, 0).contains(point)) {
            return layer;
        }
    }
    return -1;
}

double LayerStrip::filled(std::int64_t bytes) const {
    std::int64_t most = m_full_scale;
    for (int layer = 0; layer < layers(); ++layer) {
        most = std::max(most, layer_bytes(layer));
    }
    const double full = std::max(static_cast<double>(most), 2.0 * kLeastBytes);
    const double share = std::log2(std::max(static_cast<double>(bytes), 1.0) / kLeastBytes) /
                         std::log2(full / kLeastBytes);
    // Anything held at all shows as a line at least.
    return bytes <= 0 ? 0.0 : std::clamp(share, 0.04, 1.0);
}

QSize LayerStrip::sizeHint() const {
    const int width = std::max(layers(), 8) * 48;
    return {width, heightForWidth(width)};
}

QSize LayerStrip::minimumSizeHint() const {
    const int width = 240;
    return {width, std::min(heightForWidth(width), heightForWidth(960))};
}

int LayerStrip::heightForWidth(int width) const {
    const Grid grid = grid_for(width);
    return static_cast<int>(std::ceil(grid.top + grid.rows * grid.row_height));
}

void LayerStrip::paint_caption(QPainter& painter) const {
    const Colours& c = colours(palette());
    const QFontMetricsF metrics(font());
    const double height = metrics.height();
    double right = width() - 2.0;
    const auto words_right = [&](const QString& words, const QColor& ink) {
        const double size = metrics.horizontalAdvance(words);
        painter.setPen(ink);
        painter.drawText(QRectF(right - size, 0, size + 1, height), Qt::AlignVCenter, words);
        right -= size;
    };
    const std::int64_t total = total_bytes();
    if (total > 0) {
        words_right(
            tr("state %1 at %2 tokens").arg(bytes_text(total), count_text(m_context_tokens)),
            c.text);
        right -= 16;
    }
    std::vector<MixerKind> present;
    for (const MixerKind kind : m_kinds) {
        if (std::find(present.begin(), present.end(), kind) == present.end()) {
            present.push_back(kind);
        }
    }
    std::sort(present.begin(), present.end());
    std::reverse(present.begin(), present.end());
    for (const MixerKind kind : present) {
        const KindStyle style = kind_style(kind, palette());
        const auto count = std::count(m_kinds.begin(), m_kinds.end(), kind);
        words_right(QStringLiteral("%1 %2 %3").arg(style.letter).arg(count).arg(style.name),
                    c.muted);
        right -= 18;
        const QRectF swatch(right, (height - 12) / 2, 12, 12);
        fill_pattern(painter, swatch, style);
        painter.setPen(QPen(style.colour, 1));
        painter.drawRect(swatch.adjusted(0.5, 0.5, -0.5, -0.5));
        right -= 16;
    }
    QFont bold = font();
    bold.setWeight(QFont::DemiBold);
    painter.setFont(bold);
    painter.setPen(c.text);
    const QFontMetricsF bold_metrics(bold);
    painter.drawText(QRectF(1, 0, std::max(right - 8, 0.0), height), Qt::AlignVCenter,
                     bold_metrics.elidedText(m_title, Qt::ElideRight, std::max(right - 8, 0.0)));
    painter.setFont(font());
}

void LayerStrip::paint_cell(QPainter& painter, const QRectF& area, int layer) const {
    const Colours& c = colours(palette());
    const auto index = static_cast<std::size_t>(layer);
    const KindStyle style = kind_style(m_kinds[index], palette());
    const double text = QFontMetricsF(font()).height();
    const bool chosen = layer == m_current || layer == m_hovered;

    // The letter stands above the box, in the text's colour: it must be read over any fill.
    painter.setPen(chosen ? c.text : c.muted);
    painter.drawText(QRectF(area.left(), area.top(), area.width(), text), Qt::AlignCenter,
                     QString(style.letter));

    const QRectF box(area.left(), area.top() + text, area.width(), kBox);
    QPainterPath outline;
    outline.addRoundedRect(box.adjusted(0.5, 0.5, -0.5, -0.5), 3, 3);
    painter.save();
    painter.setClipPath(outline);
    painter.fillRect(box, c.base);
    const double share = filled(layer_bytes(layer));
    const double level = std::round((kBox - 2) * share);
    fill_pattern(painter, QRectF(box.left() + 1, box.bottom() - 1 - level, box.width() - 2, level),
                 style);
    painter.restore();
    painter.setRenderHint(QPainter::Antialiasing);
    painter.setPen(QPen(chosen ? c.text : style.colour, chosen ? 1.5 : 1.0));
    painter.drawPath(outline);
    painter.setRenderHint(QPainter::Antialiasing, false);

    if (area.width() >= kBytesFrom) {
        const QString note = index < m_notes.size() ? m_notes[index] : QString();
        const std::int64_t bytes = layer_bytes(layer);
        const QString words = !note.isEmpty() ? note
                              : bytes > 0     ? bytes_text(bytes)
                                              : QStringLiteral("–");
        QFont small = font();
        small.setPointSizeF(small.pointSizeF() * 0.85);
        painter.setFont(small);
        painter.setPen(chosen ? c.text : c.muted);
        painter.drawText(QRectF(area.left() - 2, box.bottom() + 1, area.width() + 4, text),
                         Qt::AlignCenter, words);
        painter.setFont(font());
    }
    if (hasFocus() && layer == m_current) {
        draw_focus_ring(painter, area.adjusted(-2, 0, 2, 2), palette());
    }
}

void LayerStrip::paintEvent(QPaintEvent*) {
    QPainter painter(this);
    if (m_kinds.empty()) {
        painter.setPen(colours(palette()).muted);
        painter.drawText(rect(), Qt::AlignLeft | Qt::AlignVCenter | Qt::TextWordWrap,
                         tr("The layers of a model appear here: one cell each, with its kind and "
                            "the bytes it holds."));
        if (hasFocus()) {
            draw_focus_ring(painter, rect(), palette());
        }
        return;
    }
    if (m_caption_visible) {
        paint_caption(painter);
    }
    const Grid grid = grid_for(width());
    for (int layer = 0; layer < layers(); ++layer) {
        paint_cell(painter, cell_area(grid, layer), layer);
    }
}

void LayerStrip::mouseMoveEvent(QMouseEvent* event) {
    const int layer = layer_at(event->position());
    if (layer != m_hovered) {
        m_hovered = layer;
        update();
    }
}

void LayerStrip::mousePressEvent(QMouseEvent* event) {
    const int layer = layer_at(event->position());
    if (layer >= 0 && event->button() == Qt::LeftButton) {
        choose(layer);
    }
}

void LayerStrip::leaveEvent(QEvent*) {
    m_hovered = -1;
    update();
}

void LayerStrip::choose(int layer) {
    m_current = layer;
    refresh_accessible();
    update();
    if (QAccessible::isActive()) {
        QAccessibleEvent focus(this, QAccessible::Focus);
        focus.setChild(layer);
        QAccessible::updateAccessibility(&focus);
    }
    emit layer_chosen(layer);
}

void LayerStrip::keyPressEvent(QKeyEvent* event) {
    if (m_kinds.empty()) {
        QWidget::keyPressEvent(event);
        return;
    }
    const int columns = grid_for(width()).columns;
    int layer = std::max(m_current, 0);
    switch (event->key()) {
    case Qt::Key_Left:
        layer -= 1;
        break;
    case Qt::Key_Right:
        layer += m_current < 0 ? 0 : 1;
        break;
    case Qt::Key_Up:
        layer -= columns;
        break;
    case Qt::Key_Down:
        layer += columns;
        break;
    case Qt::Key_Home:
        layer = 0;
        break;
    case Qt::Key_End:
        layer = layers() - 1;
        break;
    case Qt::Key_Return:
    case Qt::Key_Enter:
    case Qt::Key_Space:
        break;
    default:
        QWidget::keyPressEvent(event);
        return;
    }
    if (layer >= 0 && layer < layers()) {
        choose(layer);
        QToolTip::showText(mapToGlobal(cell_rect(layer).bottomLeft()), describe(layer), this);
    }
}

void LayerStrip::focusInEvent(QFocusEvent* event) {
    if (m_current < 0 && !m_kinds.empty()) {
        m_current = 0;
        refresh_accessible();
    }
    QWidget::focusInEvent(event);
    update();
}

void LayerStrip::resizeEvent(QResizeEvent* event) {
    QWidget::resizeEvent(event);
    update();
}

void LayerStrip::changeEvent(QEvent* event) {
    if (event->type() == QEvent::PaletteChange || event->type() == QEvent::FontChange) {
        updateGeometry();
        update();
    }
    QWidget::changeEvent(event);
}

bool LayerStrip::event(QEvent* event) {
    if (event->type() == QEvent::ToolTip) {
        const auto* const help = static_cast<QHelpEvent*>(event);
        const int layer = layer_at(help->pos());
        if (layer >= 0) {
            QToolTip::showText(help->globalPos(),
                               describe(layer) + QLatin1Char('\n') +
                                   tr("The fill is logarithmic, from 1 KiB to the largest layer at "
                                      "the end of the context."),
                               this, cell_rect(layer));
        } else {
            QToolTip::hideText();
        }
        return true;
    }
    return QWidget::event(event);
}

void LayerStrip::refresh_accessible() {
    setAccessibleName(m_title.isEmpty() ? tr("Layers") : tr("Layers of %1").arg(m_title));
    setAccessibleDescription(m_current >= 0 && m_current < layers()
                                 ? describe(m_current)
                                 : tr("Layers: %1; the arrow keys go through them").arg(layers()));
}

} // namespace hs
