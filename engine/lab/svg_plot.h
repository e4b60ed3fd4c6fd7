#pragma once
// Plots as inline SVG for reports: no script, no outside file, colours by CSS classes of the page
// around them. Every series has a colour, a dash and a mark, so that colour is never alone.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hs {

// Text inside HTML and SVG: markup escaped, what is no UTF-8 or no character of HTML replaced.
std::string html_text(std::string_view text);

// How a series looks; 0 to kSeriesStyles - 1, further ones repeat with other dashes.
inline constexpr int kSeriesStyles = 6;

struct PlotPoint {
    double x = 0;
    double y = 0;
    double low = 0, high = 0; // equal to y where there is no spread
};

struct PlotSeries {
    std::string label{};
    int style = 0;
    std::vector<PlotPoint> points{};
};

enum class PlotUnit { Bytes, Ms, Plain };

struct PlotText {
    std::string title{};
    std::string y_name{}; // the unit is added
    PlotUnit y_unit = PlotUnit::Plain;
};

// Lines over "context, tokens" (1K = 1024; logarithmic when the points span more than 16-fold).
// Values axis from 0; points below it or beyond reason are left out. Empty when no point is left.
std::string line_plot(const PlotText& text, const std::vector<PlotSeries>& series);

// A small line with its mark, as the legend of a table row.
std::string series_sample(int style);

struct LayerCell {
    std::string kind{}; // "full attention", "gated delta", ..., or "recurrent state"
    double bytes = 0;
};
struct LayerRow {
    std::string label{};
    std::vector<LayerCell> layers{};
};
// The layer strip: one row per arm, one cell per layer, its letter and colour.
std::string layer_strips(const std::vector<LayerRow>& rows);
// State bytes of every layer, one row of bars per arm, one scale for all.
std::string layer_bars(const std::vector<LayerRow>& rows);

// Of a layer kind's word: class name and letter. "other", "–" for words not known.
std::string_view kind_class(std::string_view kind);
std::string kind_letter(std::string_view kind);
// "F full attention, D gated delta": the kinds in these rows, as HTML.
std::string layer_legend(const std::vector<LayerRow>& rows);

// What a page must contain once for the plots above.
std::string_view plot_style();
std::string_view plot_patterns();

} // namespace hs
