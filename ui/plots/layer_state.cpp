// State per layer: over context, one line for each kind of layer an arm has; and at the end, one
// bar for each layer.

#include "ui/plots/plots.h"

#include <QCoreApplication>

#include <algorithm>

namespace hs {

namespace {

// Samples of the layers of one kind alone, and how many layers that are.
std::pair<ArmSource, std::int64_t> layers_of_kind(const ArmSource& arm, MixerKind kind) {
    ArmSource part = arm;
    for (RunSource& run : part.runs) {
        std::erase_if(run.samples, [&](const Sample& sample) {
            const auto layer = static_cast<std::size_t>(sample.layer);
            return sample.layer < 0 || layer >= arm.layers.size() || arm.layers[layer] != kind;
        });
    }
    return {std::move(part), std::count(arm.layers.begin(), arm.layers.end(), kind)};
}

} // namespace

PlotContent layer_state_plot(const PlotSource& source) {
    PlotContent content;
    content.x_title = QCoreApplication::translate("Plots", "context, tokens");
    content.y_title = QCoreApplication::translate("Plots", "one layer");
    content.unit = CurveUnit::Bytes;
    for (std::size_t i = 0; i < source.arms.size(); ++i) {
        for (int k = 0; k <= static_cast<int>(kLastMixerKind); ++k) {
            const auto kind = static_cast<MixerKind>(k);
            const auto [part, layers] = layers_of_kind(source.arms[i], kind);
            if (layers == 0) {
                continue;
            }
            ValuesByContext values = values_by_context(part, SampleKind::StateUsedBytes);
            for (auto& [context, sums] : values) {
                for (double& sum : sums) {
                    sum /= static_cast<double>(layers);
                }
            }
            PlotCurve series =
                median_series(QCoreApplication::translate("Plots", "%1: %2 (%3)")
                                  .arg(source.arms[i].label, QString::fromUtf8(to_string(kind)),
                                       QString(QChar::fromLatin1(letter(kind)))),
                              static_cast<int>(i), values);
            series.reference = is_linear(kind); // dotted: it does not grow
            content.series.append(std::move(series));
        }
    }
    content.method = QCoreApplication::translate(
        "Plots", "Mean over an arm's layers of one kind; dotted: linear layers, whose state is "
                 "fixed");
    return content;
}

PlotContent state_by_layer_plot(const PlotSource& source) {
    PlotContent content;
    content.shape = PlotShape::Bars;
    content.x_title = QCoreApplication::translate("Plots", "layer");
    content.y_title = QCoreApplication::translate("Plots", "state");
    content.unit = CurveUnit::Bytes;
    std::size_t layers = 0;
    for (std::size_t i = 0; i < source.arms.size(); ++i) {
        PlotCurve series{source.arms[i].label, static_cast<int>(i), {}, {}, {}, {}, false};
        std::vector<double> bytes(source.arms[i].layers.size(), 0.0);
        for (const LedgerEntry& entry : last_state(source.arms[i]).entries) {
            if (static_cast<std::size_t>(entry.layer) < bytes.size()) {
                bytes[static_cast<std::size_t>(entry.layer)] +=
                    static_cast<double>(entry.used_bytes);
            }
        }
        for (std::size_t layer = 0; layer < bytes.size(); ++layer) {
            series.x.append(static_cast<double>(layer));
            series.y.append(bytes[layer]);
        }
        layers = std::max(layers, bytes.size());
        content.series.append(std::move(series));
    }
    for (std::size_t layer = 0; layer < layers; ++layer) {
        content.x_labels.append(QString::number(layer));
    }
    content.method = QCoreApplication::translate(
        "Plots", "Bytes used per layer at the largest context of the last run");
    return content;
}

} // namespace hs
