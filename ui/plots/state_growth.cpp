// Bytes a sequence uses against the tokens it holds: the picture of a hybrid's promise.

#include "ui/plots/plots.h"

#include <QCoreApplication>

namespace hs {

PlotContent state_growth_plot(const PlotSource& source) {
    PlotContent content;
    content.x_title = QCoreApplication::translate("Plots", "context, tokens");
    content.y_title = QCoreApplication::translate("Plots", "state");
    content.unit = CurveUnit::Bytes;
    for (std::size_t i = 0; i < source.arms.size(); ++i) {
        content.series.append(
            median_series(source.arms[i].label, static_cast<int>(i),
                          values_by_context(source.arms[i], SampleKind::StateUsedBytes)));
    }
    content.method = QCoreApplication::translate(
        "Plots", "As the ledger accounts it: KV caches, recurrent and conv states of all layers");
    return content;
}

} // namespace hs
