#pragma once
// REGISTER A PLOT in plots.cpp: one declaration, one row. A plot is a function from what was
// measured to lines or bars; PlotView draws whatever it gives and knows no plot by name.

#include "ui/plots/plot_source.h"

#include <QString>
#include <QVector>

#include <span>

namespace hs {

enum class CurveUnit { Bytes, Milliseconds, TokensPerSecond };
enum class PlotShape { Lines, Bars };

// One line or one set of bars. low and high are the noise band; empty where there is none.
struct PlotCurve {
    QString label;
    int style = 0; // colour, dash and mark of an arm, the same in every plot
    QVector<double> x, y;
    QVector<double> low, high;
    bool reference = false; // a prediction or a twin, drawn dotted
};

struct PlotContent {
    PlotShape shape = PlotShape::Lines;
    QString x_title;
    CurveUnit unit = CurveUnit::Bytes;
    QString y_title;
    QVector<PlotCurve> series;
    QVector<QString> x_labels; // of bars: one per position
    QString method;            // one line: what was measured, how often
};

struct PlotRow {
    const char* id;
    const char* title; // translated under the context "Plots"
    PlotContent (*make)(const PlotSource& source);
};

std::span<const PlotRow> plots();
QString plot_title(const PlotRow& row);

// Shared by the plots: median per context with the band of least and most, at no more than about
// `points` places (neighbouring contexts are put together beyond that).
PlotCurve median_series(const QString& label, int style, const ValuesByContext& values,
                        int points = 400);
QString method_line(const PlotSource& source);

} // namespace hs
