#include "ui/plots/plot_view.h"

#include "ui/shared/theme.h"

#include <QApplication>
#include <QClipboard>
#include <QContextMenuEvent>
#include <QFileDialog>
#include <QHeaderView>
#include <QKeyEvent>
#include <QLabel>
#include <QMenu>
#include <QStackedWidget>
#include <QStandardItemModel>
#include <QTableView>
#include <QVBoxLayout>
#include <qcustomplot.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

namespace hs {

namespace {

// Of a curve that is drawn wide.
constexpr qsizetype kWidePoints = 256;

bool is_dark(const QPalette& palette) {
    return colours(palette).dark;
}

// An arm is told apart by dash and mark too, never by colour alone. Colours come again after six
// arms; as many dashes, marks or hatches would come again with them.
Qt::PenStyle arm_dash(int index) {
    static constexpr std::array kDashes = {Qt::SolidLine, Qt::DashLine, Qt::DashDotLine,
                                           Qt::DashDotDotLine};
    return kDashes[static_cast<std::size_t>(index) % kDashes.size()];
}

QCPScatterStyle::ScatterShape arm_mark(int index) {
    static constexpr std::array kMarks = {
        QCPScatterStyle::ssDisc,    QCPScatterStyle::ssSquare,          QCPScatterStyle::ssTriangle,
        QCPScatterStyle::ssDiamond, QCPScatterStyle::ssCross,           QCPScatterStyle::ssPlus,
        QCPScatterStyle::ssCircle,  QCPScatterStyle::ssTriangleInverted};
    return kMarks[static_cast<std::size_t>(index) % kMarks.size()];
}

Qt::BrushStyle arm_hatch(int index) {
    static constexpr std::array kHatches = {
        Qt::SolidPattern,  Qt::BDiagPattern, Qt::HorPattern, Qt::DiagCrossPattern,
        Qt::Dense4Pattern, Qt::FDiagPattern, Qt::VerPattern};
    return kHatches[static_cast<std::size_t>(index) % kHatches.size()];
}

struct Scale {
    double divisor = 1.0;
    QString unit;
};

Scale scale_for(CurveUnit unit, double most) {
    switch (unit) {
    case CurveUnit::Milliseconds:
        return most >= 1000 ? Scale{1000.0, QObject::tr("s")} : Scale{1.0, QObject::tr("ms")};
    case CurveUnit::TokensPerSecond:
        return {1.0, QObject::tr("tokens/s")};
    case CurveUnit::Bytes:
        break;
    }
    for (const auto& [bytes, name] : {std::pair{1 << 30, "GiB"}, std::pair{1 << 20, "MiB"}}) {
        if (most >= bytes) {
            return {static_cast<double>(bytes), QString::fromLatin1(name)};
        }
    }
    return {1024.0, QStringLiteral("KiB")};
}

double most_of(const PlotContent& content) {
    double most = 0;
    for (const PlotCurve& series : content.series) {
        for (const QVector<double>& values : {series.y, series.high}) {
            for (const double value : values) {
                most = std::max(most, value);
            }
        }
    }
    return most;
}

QString number(double value) {
    const double size = std::abs(value);
    return QLocale().toString(value, 'f', size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

} // namespace

QColor arm_colour(int index, const QPalette& palette) {
    static constexpr std::array kLight = {0x0072B2, 0xD55E00, 0x7400D9,
                                          0x73004D, 0x4C4113, 0x6E6E6E};
    static constexpr std::array kDark = {0x56B4E9, 0xE69F00, 0xB63DF2,
                                         0xD93636, 0x8C8C8C, 0xF2F2F2};
    const auto& colours = is_dark(palette) ? kDark : kLight;
    return QColor::fromRgb(
        static_cast<QRgb>(colours[static_cast<std::size_t>(index) % colours.size()]));
}

PlotView::PlotView(QWidget* parent)
    : QWidget(parent)
    , m_plot(new QCustomPlot)
    , m_cursor_line(nullptr)
    , m_readout(new QLabel)
    , m_method(new QLabel)
    , m_stack(new QStackedWidget)
    , m_table_view(new QTableView)
    , m_table(new QStandardItemModel(this)) {
    setFocusPolicy(Qt::StrongFocus);
    m_plot->setFocusPolicy(Qt::NoFocus);
    m_plot->setInteractions(QCP::iRangeDrag | QCP::iRangeZoom);
    m_plot->axisRect()->setRangeZoom(Qt::Horizontal);
    m_plot->axisRect()->setRangeDrag(Qt::Horizontal);
    m_plot->setNoAntialiasingOnDrag(true);
    m_plot->legend->setVisible(true);
    // Under the axes, so that it never covers what was measured.
    m_plot->plotLayout()->addElement(1, 0, m_plot->legend);
    m_plot->plotLayout()->setRowStretchFactor(1, 0.001);
    m_plot->legend->setFillOrder(QCPLayoutGrid::foColumnsFirst);
    m_plot->setMinimumHeight(160);
    // The cursor has a buffer of its own, so that hovering does not redraw the data.
    m_plot->addLayer(QStringLiteral("cursor"), m_plot->layer(QStringLiteral("main")));
    m_plot->layer(QStringLiteral("cursor"))->setMode(QCPLayer::lmBuffered);
    m_cursor_line = new QCPItemStraightLine(m_plot);
    m_cursor_line->setLayer(QStringLiteral("cursor"));
    m_cursor_line->setVisible(false);

    m_table_view->setModel(m_table);
    m_table_view->setAccessibleName(tr("Values of the plot"));
    m_table_view->setEditTriggers(QAbstractItemView::NoEditTriggers);
    m_table_view->horizontalHeader()->setStretchLastSection(true);
    m_stack->addWidget(m_plot);
    m_stack->addWidget(m_table_view);

    m_readout->setTextInteractionFlags(Qt::TextSelectableByMouse);
    m_readout->setWordWrap(true);
    m_readout->setAccessibleName(tr("Values at the cursor"));
    m_readout->setFocusPolicy(Qt::NoFocus);
    m_method->setWordWrap(true);
    m_method->setForegroundRole(QPalette::PlaceholderText);
    QFont small = m_method->font();
    small.setPointSizeF(small.pointSizeF() * 0.9);
    m_method->setFont(small);

    auto* column = new QVBoxLayout(this);
    column->setContentsMargins(0, 0, 0, 0);
    column->setSpacing(4);
    column->addWidget(m_stack, 1);
    column->addWidget(m_readout);
    column->addWidget(m_method);

    connect(m_plot, &QCustomPlot::mouseMove, this, [this](QMouseEvent* event) {
        move_cursor(m_plot->xAxis->pixelToCoord(event->pos().x()));
    });
    connect(m_plot, &QCustomPlot::mouseDoubleClick, this, [this] {
        m_plot->rescaleAxes();
        draw();
    });
    restyle();
}

void PlotView::set_title(const QString& title) {
    m_title = title;
    setAccessibleName(tr("Plot: %1").arg(title));
    setAccessibleDescription(
        tr("Press T for the values as a table, the arrow keys to move the cursor."));
}

void PlotView::set_content(const PlotContent& content) {
    m_content = content;
    m_dirty = true;
    if (isVisible()) {
        draw();
    }
}

bool PlotView::table_shown() const {
    return m_stack->currentWidget() == m_table_view;
}

void PlotView::show_table(bool shown) {
    if (shown) {
        fill_table(m_scale);
        m_stack->setCurrentWidget(m_table_view);
        m_table_view->setFocus();
    } else {
        m_stack->setCurrentWidget(m_plot);
        setFocus();
    }
}

void PlotView::showEvent(QShowEvent* event) {
    QWidget::showEvent(event);
    if (m_dirty) {
        draw();
    }
}

void PlotView::changeEvent(QEvent* event) {
    QWidget::changeEvent(event);
    if (event->type() == QEvent::PaletteChange || event->type() == QEvent::FontChange) {
        restyle();
        m_dirty = true;
        if (isVisible()) {
            draw();
        }
    }
}

void PlotView::restyle() {
    const QColor text = palette().color(QPalette::WindowText);
    const QColor base = palette().color(QPalette::Base);
    QColor grid = text;
    grid.setAlpha(40);
    m_plot->setBackground(base);
    for (QCPAxis* axis : {m_plot->xAxis, m_plot->yAxis}) {
        axis->setBasePen(QPen(text));
        axis->setTickPen(QPen(text));
        axis->setSubTickPen(Qt::NoPen);
        axis->setTickLabelColor(text);
        axis->setLabelColor(text);
        axis->setLabelFont(font());
        axis->setTickLabelFont(font());
        axis->grid()->setPen(QPen(grid, 1, Qt::SolidLine));
        axis->grid()->setZeroLinePen(QPen(grid, 1, Qt::SolidLine));
    }
    m_plot->legend->setFont(font());
    m_plot->legend->setTextColor(text);
    QColor behind = base;
    behind.setAlpha(215);
    m_plot->legend->setBrush(behind);
    m_plot->legend->setBorderPen(Qt::NoPen);
    m_cursor_line->setPen(QPen(text, 1, Qt::DotLine));
}

void PlotView::draw() {
    m_dirty = false;
    const Scale scale = scale_for(m_content.unit, most_of(m_content));
    m_scale = scale.divisor;
    m_unit = scale.unit;
    m_plot->clearPlottables();
    m_plot->xAxis->setLabel(m_content.x_title);
    m_plot->yAxis->setLabel(m_content.y_title + QStringLiteral(", ") + m_unit);
    m_plot->legend->setVisible(m_content.series.size() > 1);
    m_plot->legend->setWrap(std::max(1, width() / 96));
    if (m_content.shape == PlotShape::Bars) {
        draw_bars(m_scale);
    } else {
        draw_lines(m_scale);
    }
    m_plot->yAxis->setRangeLower(0); // what is measured starts at nothing
    m_method->setText(m_content.method);
    if (table_shown()) {
        fill_table(m_scale);
    }
    m_plot->replot(QCustomPlot::rpQueuedReplot);
}

void PlotView::draw_lines(double scale) {
    const auto ticker = QSharedPointer<QCPAxisTickerFixed>::create(); // tokens are whole
    ticker->setTickStep(1.0);
    ticker->setScaleStrategy(QCPAxisTickerFixed::ssMultiples);
    m_plot->xAxis->setTicker(ticker);
    for (const PlotCurve& series : m_content.series) {
        const QColor colour = arm_colour(series.style, palette());
        QVector<double> y = series.y;
        for (double& value : y) {
            value /= scale;
        }
        QCPGraph* band_low = nullptr;
        if (!series.low.isEmpty()) {
            QVector<double> low = series.low;
            QVector<double> high = series.high;
            for (int i = 0; i < low.size(); ++i) {
                low[i] /= scale;
                high[i] /= scale;
            }
            QColor shade = colour;
            shade.setAlpha(28);
            band_low = m_plot->addGraph();
            band_low->setPen(Qt::NoPen);
            band_low->setData(series.x, low, true);
            band_low->removeFromLegend();
            QCPGraph* const band_high = m_plot->addGraph();
            band_high->setPen(Qt::NoPen);
            band_high->setBrush(shade);
            band_high->setChannelFillGraph(band_low);
            band_high->setData(series.x, high, true);
            band_high->removeFromLegend();
        }
        QCPGraph* const graph = m_plot->addGraph();
        graph->setName(series.label);
        // Long ones one pixel wide: wider antialiased lines cost seconds when live.
        const double line = series.x.size() <= kWidePoints ? 1.6 : 1.0;
        graph->setPen(QPen(colour, line, series.reference ? Qt::DotLine : arm_dash(series.style)));
        graph->setData(series.x, y, true);
        const bool few = series.x.size() <= 24;
        graph->setScatterStyle(few ? QCPScatterStyle(arm_mark(series.style), colour, colour, 6)
                                   : QCPScatterStyle(QCPScatterStyle::ssNone));
    }
    m_plot->rescaleAxes();
    const QCPRange x = m_plot->xAxis->range();
    m_plot->xAxis->setRange(std::max(0.0, x.lower), x.upper);
    m_plot->yAxis->setRangeUpper(m_plot->yAxis->range().upper * 1.08);
}

void PlotView::draw_bars(double scale) {
    const auto ticker = QSharedPointer<QCPAxisTickerText>::create();
    const int labels = static_cast<int>(m_content.x_labels.size());
    const int step = std::max(1, (labels + 31) / 32);
    for (int i = 0; i < labels; i += step) {
        ticker->addTick(i, m_content.x_labels[i]);
    }
    m_plot->xAxis->setTicker(ticker);
    auto* group = new QCPBarsGroup(m_plot);
    const double width = 0.8 / std::max<double>(1.0, static_cast<double>(m_content.series.size()));
    group->setSpacingType(QCPBarsGroup::stPlotCoords);
    group->setSpacing(0);
    for (const PlotCurve& series : m_content.series) {
        auto* bars = new QCPBars(m_plot->xAxis, m_plot->yAxis);
        const QColor colour = arm_colour(series.style, palette());
        QVector<double> y = series.y;
        for (double& value : y) {
            value /= scale;
        }
        bars->setName(series.label);
        bars->setPen(QPen(colour, 1));
        bars->setBrush(QBrush(colour, arm_hatch(series.style)));
        bars->setWidth(width);
        bars->setBarsGroup(group);
        bars->setData(series.x, y, true);
    }
    m_plot->rescaleAxes();
    m_plot->xAxis->setRange(-0.6, std::max(0, labels - 1) + 0.6);
    m_plot->yAxis->setRangeUpper(m_plot->yAxis->range().upper * 1.08);
}

void PlotView::fill_table(double scale) {
    std::set<double> places;
    for (const PlotCurve& series : m_content.series) {
        places.insert(series.x.begin(), series.x.end());
    }
    m_table->clear();
    QStringList header{m_content.x_title};
    for (const PlotCurve& series : m_content.series) {
        header << tr("%1, %2").arg(series.label, m_unit);
    }
    m_table->setHorizontalHeaderLabels(header);
    m_table->setRowCount(static_cast<int>(places.size()));
    int row = 0;
    for (const double x : places) {
        m_table->setItem(row, 0, new QStandardItem(QLocale().toString(x, 'f', 0)));
        for (int s = 0; s < m_content.series.size(); ++s) {
            const PlotCurve& series = m_content.series[s];
            const auto at = std::lower_bound(series.x.begin(), series.x.end(), x);
            if (at != series.x.end() && *at == x) {
                const auto index = static_cast<int>(at - series.x.begin());
                m_table->setItem(row, s + 1, new QStandardItem(number(series.y[index] / scale)));
            }
        }
        ++row;
    }
}

QString PlotView::readout(double x) const {
    QStringList parts;
    double place = x;
    for (const PlotCurve& series : m_content.series) {
        if (series.x.isEmpty()) {
            continue;
        }
        auto at = std::lower_bound(series.x.begin(), series.x.end(), x);
        if (at == series.x.end() || (at != series.x.begin() && x - *(at - 1) < *at - x)) {
            --at;
        }
        const auto index = static_cast<int>(at - series.x.begin());
        place = *at;
        parts << tr("%1: %2 %3").arg(series.label, number(series.y[index] / m_scale), m_unit);
    }
    if (parts.isEmpty()) {
        return {};
    }
    return tr("%1 %2 — %3")
        .arg(m_content.x_title, QLocale().toString(place, 'f', 0), parts.join(tr(" · ")));
}

void PlotView::move_cursor(double x) {
    double least = std::numeric_limits<double>::max();
    double most = 0;
    for (const PlotCurve& series : m_content.series) {
        if (!series.x.isEmpty()) {
            least = std::min(least, series.x.first());
            most = std::max(most, series.x.last());
        }
    }
    if (least > most) {
        return;
    }
    m_cursor = std::clamp(x, least, most);
    m_cursor_line->point1->setCoords(m_cursor, 0);
    m_cursor_line->point2->setCoords(m_cursor, 1);
    m_cursor_line->setVisible(true);
    m_plot->layer(QStringLiteral("cursor"))->replot();
    m_readout->setText(readout(m_cursor));
}

void PlotView::keyPressEvent(QKeyEvent* event) {
    const QCPRange range = m_plot->xAxis->range();
    const double step =
        range.size() / ((event->modifiers() & Qt::ShiftModifier) != 0 ? 10.0 : 100.0);
    switch (event->key()) {
    case Qt::Key_T:
        show_table(!table_shown());
        return;
    case Qt::Key_Left:
        move_cursor((m_cursor < 0 ? range.center() : m_cursor) - step);
        return;
    case Qt::Key_Right:
        move_cursor((m_cursor < 0 ? range.center() : m_cursor) + step);
        return;
    case Qt::Key_Plus:
        m_plot->xAxis->scaleRange(0.8);
        break;
    case Qt::Key_Minus:
        m_plot->xAxis->scaleRange(1.25);
        break;
    case Qt::Key_Home:
        draw();
        return;
    default:
        QWidget::keyPressEvent(event);
        return;
    }
    m_plot->replot(QCustomPlot::rpQueuedReplot);
}

void PlotView::contextMenuEvent(QContextMenuEvent* event) {
    QMenu menu(this);
    menu.addAction(table_shown() ? tr("Show the plot") : tr("Show as a table"), this,
                   [this] { show_table(!table_shown()); });
    menu.addAction(tr("Fit"), this, [this] { draw(); });
    menu.addSeparator();
    menu.addAction(tr("Copy the values"), this,
                   [this] { QApplication::clipboard()->setText(as_tsv()); });
    menu.addAction(tr("Save the image…"), this, [this] {
        auto* dialog = new QFileDialog(this, tr("Save the plot"));
        dialog->setAttribute(Qt::WA_DeleteOnClose);
        dialog->setAcceptMode(QFileDialog::AcceptSave);
        dialog->setNameFilters({tr("PNG image (*.png)"), tr("PDF document (*.pdf)")});
        dialog->setDefaultSuffix(QStringLiteral("png"));
        connect(dialog, &QFileDialog::fileSelected, this, [this](const QString& path) {
            const QString problem = save_image(path);
            if (!problem.isEmpty()) {
                m_readout->setText(problem);
            }
        });
        dialog->open();
    });
    menu.exec(event->globalPos());
}

QString PlotView::save_image(const QString& path) {
    const bool pdf = path.endsWith(QStringLiteral(".pdf"), Qt::CaseInsensitive);
    const bool written = pdf ? m_plot->savePdf(path, 900, 500, QCP::epAllowCosmetic,
                                               QStringLiteral("Hybridscope"), m_title)
                             : m_plot->savePng(path, 900, 500, 2.0);
    return written ? QString() : tr("The image could not be written to %1").arg(path);
}

QString PlotView::as_tsv() {
    fill_table(m_scale);
    QStringList lines;
    QStringList cells;
    for (int column = 0; column < m_table->columnCount(); ++column) {
        cells << m_table->headerData(column, Qt::Horizontal).toString();
    }
    lines << cells.join(QLatin1Char('\t'));
    for (int row = 0; row < m_table->rowCount(); ++row) {
        cells.clear();
        for (int column = 0; column < m_table->columnCount(); ++column) {
            cells << m_table->index(row, column).data().toString();
        }
        lines << cells.join(QLatin1Char('\t'));
    }
    return lines.join(QLatin1Char('\n'));
}

} // namespace hs
