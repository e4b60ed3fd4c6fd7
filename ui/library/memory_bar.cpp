#include "ui/library/memory_bar.h"

#include "ui/shared/theme.h"
#include "ui/shared/units.h"

#include <QPainter>
#include <QPainterPath>

#include <algorithm>
#include <array>

namespace hs {

namespace {

constexpr double kBar = 22.0;

} // namespace

MemoryBar::MemoryBar(QWidget* parent)
    : QWidget(parent) {
    setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Fixed);
    setAccessibleName(tr("Memory needed"));
}

void MemoryBar::set_estimate(const MemoryEstimate& estimate, std::int64_t available_bytes) {
    m_estimate = estimate;
    m_available = available_bytes;
    setAccessibleDescription(
        tr("Weights %1, growing cache %2, fixed state %3, snapshots %4; %5 "
           "free on this machine")
            .arg(bytes_text(estimate.weight_bytes), bytes_text(estimate.growing_bytes),
                 bytes_text(estimate.fixed_bytes), bytes_text(estimate.snapshot_bytes),
                 bytes_text(available_bytes)));
    update();
}

QSize MemoryBar::sizeHint() const {
    return {320, static_cast<int>(kBar + QFontMetricsF(font()).height() + 8)};
}

void MemoryBar::paintEvent(QPaintEvent*) {
    const Colours& c = colours(palette());
    QPainter painter(this);
    painter.setRenderHint(QPainter::Antialiasing);
    const QRectF bar(1, 1, width() - 2, kBar);
    QPainterPath outline;
    outline.addRoundedRect(bar, 4, 4);
    painter.fillPath(outline, c.base);
    const double needed = static_cast<double>(m_estimate.total_bytes());
    const double available = static_cast<double>(m_available);
    const double most = std::max({needed * 1.05, available, 1.0});
    const std::array<std::pair<std::int64_t, KindStyle>, 4> terms = {
        std::pair{m_estimate.weight_bytes, weights_style(palette())},
        std::pair{m_estimate.growing_bytes, kind_style(MixerKind::FullAttention, palette())},
        std::pair{m_estimate.fixed_bytes, kind_style(MixerKind::GatedDelta, palette())},
        std::pair{m_estimate.snapshot_bytes, other_style(palette())},
    };
    painter.save();
    painter.setClipPath(outline);
    double x = bar.left();
    for (const auto& [bytes, style] : terms) {
        if (bytes <= 0) {
            continue;
        }
        // A term that is there is seen, however small beside the rest.
        const double wide = std::max(2.0, bar.width() * static_cast<double>(bytes) / most);
        fill_pattern(painter, QRectF(x, bar.top(), wide, bar.height()), style);
        x += wide;
        painter.fillRect(QRectF(x - 1, bar.top(), 1, bar.height()), c.base);
    }
    painter.restore();
    painter.setPen(QPen(c.strong_border, 1));
    painter.drawPath(outline);
    if (m_available <= 0) {
        return;
    }
    const double edge = bar.left() + bar.width() * available / most;
    painter.setPen(QPen(needed > available ? c.danger : c.text, 2));
    painter.drawLine(QPointF(std::min(edge, bar.right() - 1), bar.top() - 1),
                     QPointF(std::min(edge, bar.right() - 1), bar.bottom() + 4));
    painter.setPen(c.muted);
    const QString words = tr("%1 free now").arg(bytes_text(m_available));
    const double size = QFontMetricsF(font()).horizontalAdvance(words);
    const double left = std::clamp(edge - size, 0.0, std::max(0.0, width() - size));
    painter.drawText(QRectF(left, bar.bottom() + 4, size + 2, QFontMetricsF(font()).height()),
                     Qt::AlignLeft, words);
}

} // namespace hs
