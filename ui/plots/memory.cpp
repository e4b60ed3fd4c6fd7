// What the process holds against context, as the system counts it: weights that were read from
// their file are part of it.

#include "ui/plots/plots.h"

#include <QCoreApplication>

namespace hs {

PlotContent memory_plot(const PlotSource& source) {
    PlotContent content;
    content.x_title = QCoreApplication::translate("Plots", "context, tokens");
    content.y_title = QCoreApplication::translate("Plots", "resident");
    content.unit = CurveUnit::Bytes;
    for (std::size_t i = 0; i < source.arms.size(); ++i) {
        content.series.append(
            median_series(source.arms[i].label, static_cast<int>(i),
                          values_by_context(source.arms[i], SampleKind::ResidentBytes)));
    }
    content.method = QCoreApplication::translate(
        "Plots", "Of the whole program, all loaded arms together: compare its growth, not its "
                 "height");
    return content;
}

} // namespace hs
