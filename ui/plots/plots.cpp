#include "ui/plots/plots.h"

#include <QCoreApplication>

#include <algorithm>

namespace hs {

PlotContent state_growth_plot(const PlotSource& source);
PlotContent layer_state_plot(const PlotSource& source);
PlotContent state_by_layer_plot(const PlotSource& source);
PlotContent decode_speed_plot(const PlotSource& source);
PlotContent token_time_plot(const PlotSource& source);
PlotContent memory_plot(const PlotSource& source);

std::span<const PlotRow> plots() {
    static constexpr PlotRow kRows[] = {
        {"state_growth", QT_TRANSLATE_NOOP("Plots", "State"), state_growth_plot},
        {"decode_speed", QT_TRANSLATE_NOOP("Plots", "Throughput"), decode_speed_plot},
        {"token_time", QT_TRANSLATE_NOOP("Plots", "Time per token"), token_time_plot},
        {"layer_state", QT_TRANSLATE_NOOP("Plots", "State per layer"), layer_state_plot},
        {"state_by_layer", QT_TRANSLATE_NOOP("Plots", "Layers"), state_by_layer_plot},
        {"memory", QT_TRANSLATE_NOOP("Plots", "Process memory"), memory_plot},
    };
    return kRows;
}

QString plot_title(const PlotRow& row) {
    return QCoreApplication::translate("Plots", row.title);
}

PlotCurve median_series(const QString& label, int style, const ValuesByContext& values,
                        int points) {
    PlotCurve series{label, style, {}, {}, {}, {}, false};
    const std::size_t group =
        std::max<std::size_t>(1, (values.size() + static_cast<std::size_t>(points) - 1) /
                                     static_cast<std::size_t>(points));
    bool spread = false;
    for (auto at = values.begin(); at != values.end();) {
        std::vector<double> together;
        std::int64_t context = 0;
        for (std::size_t i = 0; i < group && at != values.end(); ++i, ++at) {
            context = at->first;
            together.insert(together.end(), at->second.begin(), at->second.end());
        }
        const Figure of_group = figure(std::move(together));
        series.x.append(static_cast<double>(context));
        series.y.append(of_group.median);
        series.low.append(of_group.low);
        series.high.append(of_group.high);
        spread = spread || of_group.low != of_group.high;
    }
    if (!spread) {
        series.low.clear();
        series.high.clear();
    }
    return series;
}

QString method_line(const PlotSource& source) {
    return QCoreApplication::translate("Plots", "%1 × each arm after warm-up, arms in turn; "
                                                "line: median, band: least to most")
        .arg(source.plan.repeats);
}

} // namespace hs
