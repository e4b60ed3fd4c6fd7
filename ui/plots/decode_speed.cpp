// Decode speed against context, as throughput and as time per token: the same samples twice,
// because people think in both.

#include "ui/plots/plots.h"

#include <QCoreApplication>

namespace hs {

PlotContent token_time_plot(const PlotSource& source) {
    PlotContent content;
    content.x_title = QCoreApplication::translate("Plots", "context, tokens");
    content.y_title = QCoreApplication::translate("Plots", "decode");
    content.unit = CurveUnit::Milliseconds;
    for (std::size_t i = 0; i < source.arms.size(); ++i) {
        content.series.append(median_series(source.arms[i].label, static_cast<int>(i),
                                            values_by_context(source.arms[i], SampleKind::TokenMs),
                                            60));
    }
    content.method = method_line(source);
    return content;
}

PlotContent decode_speed_plot(const PlotSource& source) {
    PlotContent content = token_time_plot(source);
    content.y_title = QCoreApplication::translate("Plots", "decode");
    content.unit = CurveUnit::TokensPerSecond;
    const auto per_second = [](QVector<double>& ms) {
        for (double& value : ms) {
            value = value > 0 ? 1000.0 / value : 0.0;
        }
    };
    for (PlotCurve& series : content.series) {
        per_second(series.y);
        per_second(series.low);
        per_second(series.high);
        series.low.swap(series.high); // the least time is the most throughput
    }
    return content;
}

} // namespace hs
