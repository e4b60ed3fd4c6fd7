#include "engine/lab/svg_plot.h"

#include "engine/lab/units.h"
#include "engine/spec/model_spec.h"
#include "engine/state/ledger.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <fmt/format.h>
#include <optional>
#include <set>

namespace hs {

namespace {

constexpr double kWidth = 760;
constexpr double kHeight = 340;
constexpr double kLeft = 64, kRight = 170, kTop = 14, kBottom = 46;
constexpr double kLabelGap = 15; // between the labels at the line ends

// Bytes of a UTF-8 character beginning with `lead`; 0 when nothing begins so.
std::size_t sequence_length(unsigned char lead) {
    if (lead < 0x80) {
        return 1;
    }
    if (lead >= 0xc2 && lead <= 0xdf) {
        return 2;
    }
    if (lead >= 0xe0 && lead <= 0xef) {
        return 3;
    }
    return lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
}

// The character at the beginning of `text`, or 0 bytes when it is none.
std::size_t character(std::string_view text) {
    const std::size_t length = sequence_length(static_cast<unsigned char>(text[0]));
    if (length == 0 || length > text.size()) {
        return 0;
    }
    for (std::size_t i = 1; i < length; ++i) {
        if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) {
            return 0;
        }
    }
    const auto first = static_cast<unsigned char>(text[0]);
    const auto second = static_cast<unsigned char>(length > 1 ? text[1] : 0);
    const bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
    const bool outside = (first == 0xed && second > 0x9f) || (first == 0xf4 && second > 0x8f);
    return overlong || outside ? 0 : length;
}

std::string shortened(std::string_view text, std::size_t most) {
    std::string result;
    std::size_t count = 0;
    while (!text.empty()) {
        const std::size_t length = std::max<std::size_t>(character(text), 1);
        if (++count > most) {
            return result + "…";
        }
        result += text.substr(0, length);
        text.remove_prefix(length);
    }
    return result;
}

struct Scale {
    double low = 0, high = 1;
    double from = 0, to = 1; // pixels
    bool logarithmic = false;

    double at(double value) const {
        const double part =
            logarithmic ? (std::log2(value) - std::log2(low)) / (std::log2(high) - std::log2(low))
                        : (value - low) / (high - low);
        return from + part * (to - from);
    }
};

// A file may hold any number; a plot holds what lies within reason.
bool drawable(const PlotPoint& point) {
    constexpr double most_tokens = 1e12;
    constexpr double most = 1e18;
    const auto within = [](double value) { return value >= 0 && value <= most; };
    return within(point.x) && point.x <= most_tokens && within(point.y) && within(point.low) &&
           within(point.high);
}

// The unit that fits the largest value, and what one of it is.
struct Unit {
    const char* name;
    double size;
};

Unit unit_for(PlotUnit kind, double most) {
    if (kind == PlotUnit::Bytes) {
        constexpr std::array units{Unit{"B", 1}, Unit{"KiB", 1024.0}, Unit{"MiB", 1048576.0},
                                   Unit{"GiB", 1073741824.0}, Unit{"TiB", 1099511627776.0}};
        for (std::size_t i = units.size() - 1; i > 0; --i) {
            if (most >= units[i].size) {
                return units[i];
            }
        }
        return units[0];
    }
    if (kind == PlotUnit::Ms) {
        return most >= 2000 ? Unit{"s", 1000} : Unit{"ms", 1};
    }
    return {"", 1};
}

// 1, 2 or 5 times a power of ten, so that about `count` of them fill `span`.
double nice_step(double span, int count) {
    const double rough = span / count;
    const double power = std::pow(10, std::floor(std::log10(rough)));
    for (const double factor : {1.0, 2.0, 5.0}) {
        if (rough <= factor * power * 1.0001) {
            return factor * power;
        }
    }
    return 10 * power;
}

std::string tick_text(double value) {
    std::string text = fmt::format("{:.4g}", value);
    return text;
}

const char* dash_of(int style) {
    constexpr std::array dashes{"none", "8 4", "2 4", "10 4 2 4", "5 2", "1 3"};
    const int round = style / kSeriesStyles;
    return dashes[static_cast<std::size_t>((style + round) % kSeriesStyles)];
}

// A mark of 8 units around (x, y), one shape per style.
std::string mark(int style, double x, double y) {
    const int shape = style % kSeriesStyles;
    switch (shape) {
    case 0:
        return fmt::format("<rect class=\"m s{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"8\" "
                           "height=\"8\"/>",
                           shape, x - 4, y - 4);
    case 1:
        return fmt::format("<circle class=\"m s{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4.3\"/>", shape,
                           x, y);
    case 2:
        return fmt::format("<path class=\"m s{}\" d=\"M{:.1f} {:.1f}l5 9h-10z\"/>", shape, x,
                           y - 5.5);
    case 3:
        return fmt::format("<path class=\"m s{}\" d=\"M{:.1f} {:.1f}l5 5l-5 5l-5 -5z\"/>", shape, x,
                           y - 5);
    case 4:
        return fmt::format("<rect class=\"m s{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"12\" "
                           "height=\"4\"/>",
                           shape, x - 6, y - 2);
    default:
        return fmt::format("<circle class=\"o s{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"/>", shape,
                           x, y);
    }
}

std::string x_axis(const Scale& x, double bottom) {
    std::vector<double> ticks;
    if (x.logarithmic) {
        const int first = static_cast<int>(std::ceil(std::log2(x.low) - 1e-9));
        const int last = static_cast<int>(std::floor(std::log2(x.high) + 1e-9));
        const int step = std::max(1, (last - first) / 7 + (((last - first) % 7) != 0 ? 1 : 0));
        for (int power = first; power <= last; power += step) {
            ticks.push_back(std::ldexp(1.0, power));
        }
    } else {
        const double step = std::max(1.0, nice_step(x.high - x.low, 6));
        for (double value = std::ceil(x.low / step) * step; value <= x.high + step / 1000;
             value += step) {
            ticks.push_back(value);
        }
    }
    std::string svg;
    for (const double value : ticks) {
        const double at = x.at(value);
        svg += fmt::format("<line class=\"g\" x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" "
                           "y2=\"{2:.1f}\"/><text class=\"t\" text-anchor=\"middle\" "
                           "x=\"{0:.1f}\" y=\"{3:.1f}\">{4}</text>",
                           at, kTop, bottom, bottom + 17,
                           tokens_text(static_cast<std::int64_t>(std::llround(value))));
    }
    svg += fmt::format("<text class=\"t\" text-anchor=\"middle\" x=\"{:.1f}\" y=\"{:.1f}\">"
                       "context, tokens (1K = 1024)</text>",
                       (x.from + x.to) / 2, bottom + 36);
    return svg;
}

std::string y_axis(const Scale& y, double unit, const std::string& title) {
    std::string svg;
    const double step = nice_step(y.high / unit, 5);
    for (double value = 0; value <= y.high / unit * 1.0001; value += step) {
        const double at = y.at(value * unit);
        svg += fmt::format("<line class=\"g\" x1=\"{0:.1f}\" x2=\"{1:.1f}\" y1=\"{2:.1f}\" "
                           "y2=\"{2:.1f}\"/><text class=\"t\" text-anchor=\"end\" x=\"{3:.1f}\" "
                           "y=\"{4:.1f}\">{5}</text>",
                           kLeft, kWidth - kRight, at, kLeft - 7, at + 4, tick_text(value));
    }
    const double middle = (y.from + y.to) / 2;
    svg += fmt::format("<text class=\"t\" text-anchor=\"middle\" transform=\"translate(15 {:.1f}) "
                       "rotate(-90)\">{}</text>",
                       middle, html_text(title));
    return svg;
}

std::string series_lines(const PlotSeries& series, const Scale& x, const Scale& y) {
    std::string line;
    std::string upper;
    std::string lower;
    bool spread = false;
    for (const PlotPoint& point : series.points) {
        line += fmt::format("{:.1f},{:.1f} ", x.at(point.x), y.at(point.y));
        upper += fmt::format("{:.1f},{:.1f} ", x.at(point.x), y.at(point.high));
        lower = fmt::format("{:.1f},{:.1f} ", x.at(point.x), y.at(point.low)) + lower;
        spread = spread || point.high > point.low;
    }
    const int colour = series.style % kSeriesStyles;
    std::string svg;
    if (spread && series.points.size() > 1) {
        svg += fmt::format("<polygon class=\"b s{}\" points=\"{}{}\"/>", colour, upper, lower);
    } else if (spread) {
        const PlotPoint& only = series.points.front();
        svg += fmt::format("<line class=\"l s{0}\" x1=\"{1:.1f}\" x2=\"{1:.1f}\" y1=\"{2:.1f}\" "
                           "y2=\"{3:.1f}\"/>",
                           colour, x.at(only.x), y.at(only.low), y.at(only.high));
    }
    svg += fmt::format("<polyline class=\"l s{}\" stroke-dasharray=\"{}\" points=\"{}\"/>", colour,
                       dash_of(series.style), line);
    // Marks on a few of many points, so that the line stays a line.
    const std::size_t every = std::max<std::size_t>(1, (series.points.size() + 7) / 8);
    for (std::size_t i = 0; i < series.points.size(); ++i) {
        if (i % every == 0 || i + 1 == series.points.size()) {
            svg += mark(series.style, x.at(series.points[i].x), y.at(series.points[i].y));
        }
    }
    return svg;
}

// Labels beside the line ends, pushed apart until none covers another.
std::string end_labels(const std::vector<PlotSeries>& series, const Scale& y) {
    struct Label {
        const PlotSeries* series;
        double at;
    };
    std::vector<Label> labels;
    for (const PlotSeries& s : series) {
        if (!s.points.empty()) {
            labels.push_back({&s, y.at(s.points.back().y)});
        }
    }
    std::stable_sort(labels.begin(), labels.end(),
                     [](const Label& a, const Label& b) { return a.at < b.at; });
    for (std::size_t i = 1; i < labels.size(); ++i) {
        labels[i].at = std::max(labels[i].at, labels[i - 1].at + kLabelGap);
    }
    // Back up from the bottom, where pushing may have left the plot.
    double limit = kHeight - kBottom + 4;
    for (std::size_t i = labels.size(); i-- > 0;) {
        labels[i].at = std::min(labels[i].at, limit);
        limit = labels[i].at - kLabelGap;
    }
    std::string svg;
    for (const Label& label : labels) {
        const double x = kWidth - kRight + 16;
        svg += mark(label.series->style, x, label.at);
        svg += fmt::format("<text class=\"e\" x=\"{:.1f}\" y=\"{:.1f}\">{}</text>", x + 12,
                           label.at + 4, html_text(shortened(label.series->label, 20)));
    }
    return svg;
}

double largest_bytes(const std::vector<LayerRow>& rows) {
    double most = 0;
    for (const LayerRow& row : rows) {
        for (const LayerCell& cell : row.layers) {
            most = std::max(most, cell.bytes);
        }
    }
    return most;
}

std::size_t most_layers(const std::vector<LayerRow>& rows) {
    std::size_t most = 0;
    for (const LayerRow& row : rows) {
        most = std::max(most, row.layers.size());
    }
    return most;
}

// A rectangle in a kind's colour with its hatch over it.
std::string kind_rect(std::string_view kind, double x, double y, double width, double height,
                      const std::string& title) {
    const std::string_view name = kind_class(kind);
    return fmt::format("<g><title>{0}</title><rect class=\"k-{1}\" x=\"{2:.1f}\" y=\"{3:.1f}\" "
                       "width=\"{4:.1f}\" height=\"{5:.1f}\"/><rect fill=\"url(#h-{1})\" "
                       "x=\"{2:.1f}\" y=\"{3:.1f}\" width=\"{4:.1f}\" height=\"{5:.1f}\"/></g>",
                       html_text(title), name, x, y, width, height);
}

std::string cell_title(std::size_t layer, const LayerCell& cell) {
    return fmt::format("layer {}: {}, {}", layer, cell.kind, bytes_text(cell.bytes));
}

} // namespace

std::string html_text(std::string_view text) {
    std::string escaped;
    escaped.reserve(text.size() + 16);
    while (!text.empty()) {
        const std::size_t length = character(text);
        if (length == 0) {
            escaped += "\uFFFD";
            text.remove_prefix(1);
            continue;
        }
        const auto c = static_cast<unsigned char>(text[0]);
        const bool control = (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
        if (control) {
            escaped += c == '\r' ? "" : "\uFFFD";
        } else if (c == '&') {
            escaped += "&amp;";
        } else if (c == '<') {
            escaped += "&lt;";
        } else if (c == '>') {
            escaped += "&gt;";
        } else if (c == '"') {
            escaped += "&quot;";
        } else if (c == '\'') {
            escaped += "&#39;";
        } else {
            escaped += text.substr(0, length);
        }
        text.remove_prefix(length);
    }
    return escaped;
}

std::string line_plot(const PlotText& text, const std::vector<PlotSeries>& all) {
    std::vector<PlotSeries> series = all;
    for (PlotSeries& s : series) {
        std::erase_if(s.points, [](const PlotPoint& point) { return !drawable(point); });
    }
    double least_x = INFINITY;
    double most_x = -INFINITY;
    double most_y = 0;
    for (const PlotSeries& s : series) {
        for (const PlotPoint& point : s.points) {
            least_x = std::min(least_x, point.x);
            most_x = std::max(most_x, point.x);
            most_y = std::max({most_y, point.y, point.high});
        }
    }
    if (!(least_x <= most_x)) {
        return {};
    }
    Scale x{.low = least_x, .high = most_x, .from = kLeft, .to = kWidth - kRight};
    x.logarithmic = least_x >= 1 && most_x > 16 * least_x;
    if (most_x <= least_x) {
        x.low = std::max(0.0, least_x - 1);
        x.high = least_x + 1;
    }
    const Unit unit = unit_for(text.y_unit, most_y);
    const Scale y{
        .low = 0, .high = most_y > 0 ? most_y * 1.06 : 1, .from = kHeight - kBottom, .to = kTop};
    std::string svg =
        fmt::format("<svg class=\"plot\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">",
                    kWidth, kHeight, html_text(text.title));
    svg += x_axis(x, kHeight - kBottom);
    svg += y_axis(y, unit.size, *unit.name != 0 ? text.y_name + ", " + unit.name : text.y_name);
    for (const PlotSeries& s : series) {
        if (!s.points.empty()) {
            svg += series_lines(s, x, y);
        }
    }
    return svg + end_labels(series, y) + "</svg>\n";
}

std::string series_sample(int style) {
    return fmt::format("<svg class=\"key\" viewBox=\"0 0 34 12\" aria-hidden=\"true\"><line "
                       "class=\"l s{}\" stroke-dasharray=\"{}\" x1=\"1\" x2=\"33\" y1=\"6\" "
                       "y2=\"6\"/>{}</svg>",
                       style % kSeriesStyles, dash_of(style), mark(style, 17, 6));
}

std::string layer_strips(const std::vector<LayerRow>& rows) {
    const std::size_t layers = most_layers(rows);
    if (layers == 0) {
        return {};
    }
    constexpr double label_width = 150;
    const double cell = std::min(44.0, (kWidth - label_width) / static_cast<double>(layers));
    const double height = 30;
    std::string svg = fmt::format("<svg class=\"plot\" viewBox=\"0 0 {} {:.0f}\" role=\"img\" "
                                  "aria-label=\"kind of every layer, one row per arm\">",
                                  kWidth, height * static_cast<double>(rows.size()) + 16);
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const double y = height * static_cast<double>(r);
        svg += fmt::format("<text class=\"e\" x=\"0\" y=\"{:.1f}\">{}</text>", y + 18,
                           html_text(shortened(rows[r].label, 19)));
        for (std::size_t i = 0; i < rows[r].layers.size(); ++i) {
            const LayerCell& layer = rows[r].layers[i];
            const double x = label_width + cell * static_cast<double>(i);
            svg += kind_rect(layer.kind, x, y + 2, std::max(cell - 2, 0.5), height - 6,
                             cell_title(i, layer));
            if (cell >= 13) {
                svg += fmt::format("<text class=\"k c-{}\" text-anchor=\"middle\" x=\"{:.1f}\" "
                                   "y=\"{:.1f}\">{}</text>",
                                   kind_class(layer.kind), x + cell / 2 - 1, y + 18,
                                   kind_letter(layer.kind));
            }
        }
    }
    svg += fmt::format("<text class=\"t\" x=\"{}\" y=\"{:.0f}\">layer 0 to {}</text>", label_width,
                       height * static_cast<double>(rows.size()) + 12, layers - 1);
    return svg + "</svg>\n";
}

std::string layer_bars(const std::vector<LayerRow>& rows) {
    const std::size_t layers = most_layers(rows);
    const double most = largest_bytes(rows);
    if (layers == 0 || !(most > 0) || !std::isfinite(most)) {
        return {};
    }
    constexpr double label_width = 150;
    constexpr double row_height = 84;
    constexpr double bar_height = 64;
    const Unit unit = unit_for(PlotUnit::Bytes, most);
    const double cell = std::min(44.0, (kWidth - label_width) / static_cast<double>(layers));
    const double width = cell * static_cast<double>(layers);
    std::string svg = fmt::format("<svg class=\"plot\" viewBox=\"0 0 {} {:.0f}\" role=\"img\" "
                                  "aria-label=\"state bytes of every layer, one row per arm\">",
                                  kWidth, row_height * static_cast<double>(rows.size()) + 18);
    for (std::size_t r = 0; r < rows.size(); ++r) {
        const double base = row_height * static_cast<double>(r) + bar_height + 10;
        double total = 0;
        for (const LayerCell& layer : rows[r].layers) {
            total += layer.bytes;
        }
        svg += fmt::format("<text class=\"e\" x=\"0\" y=\"{:.1f}\">{}</text><text class=\"t\" "
                           "x=\"0\" y=\"{:.1f}\">{} in all</text>",
                           base - 26, html_text(shortened(rows[r].label, 19)), base - 10,
                           bytes_text(total));
        for (const double part : {0.5, 1.0}) {
            svg += fmt::format("<line class=\"g\" x1=\"{}\" x2=\"{:.1f}\" y1=\"{:.1f}\" "
                               "y2=\"{:.1f}\"/>",
                               label_width, label_width + width, base - bar_height * part,
                               base - bar_height * part);
        }
        svg += fmt::format("<text class=\"t\" text-anchor=\"end\" x=\"{}\" y=\"{:.1f}\">{} {}"
                           "</text>",
                           label_width - 5, base - bar_height + 4, number_text(most / unit.size),
                           unit.name);
        for (std::size_t i = 0; i < rows[r].layers.size(); ++i) {
            const LayerCell& layer = rows[r].layers[i];
            const double height = bar_height * std::max(layer.bytes, 0.0) / most;
            const double x = label_width + cell * static_cast<double>(i);
            svg += kind_rect(layer.kind, x + 1, base - height, std::max(cell - 3, 0.5), height,
                             cell_title(i, layer));
        }
        svg += fmt::format("<line class=\"a\" x1=\"{}\" x2=\"{:.1f}\" y1=\"{:.1f}\" "
                           "y2=\"{:.1f}\"/>",
                           label_width, label_width + width, base, base);
    }
    svg += fmt::format("<text class=\"t\" x=\"{}\" y=\"{:.0f}\">layer 0 to {}; one scale for all "
                       "rows</text>",
                       label_width, row_height * static_cast<double>(rows.size()) + 14, layers - 1);
    return svg + "</svg>\n";
}

namespace {

std::optional<MixerKind> kind_named(std::string_view name) {
    for (int k = 0; k <= static_cast<int>(kLastMixerKind); ++k) {
        if (name == to_string(static_cast<MixerKind>(k))) {
            return static_cast<MixerKind>(k);
        }
    }
    return std::nullopt; // of a later program
}

} // namespace

std::string_view kind_class(std::string_view name) {
    const std::optional<MixerKind> kind = kind_named(name);
    if (!kind) {
        return name == to_string(StateKind::RecurrentState) ? "linear" : "other";
    }
    if (is_full(*kind)) {
        return "full";
    }
    if (is_linear(*kind)) {
        return "linear";
    }
    return *kind == MixerKind::SlidingWindow ? "window" : "sparse";
}

std::string kind_letter(std::string_view name) {
    const std::optional<MixerKind> kind = kind_named(name);
    if (!kind) {
        return name == to_string(StateKind::RecurrentState) ? "R" : "–";
    }
    return std::string(1, letter(*kind));
}

std::string layer_legend(const std::vector<LayerRow>& rows) {
    std::set<std::string> kinds;
    for (const LayerRow& row : rows) {
        for (const LayerCell& layer : row.layers) {
            kinds.insert(layer.kind);
        }
    }
    std::string text;
    for (const std::string& kind : kinds) {
        text += (text.empty() ? "" : ", ") + kind_letter(kind) + " " + html_text(kind);
    }
    return text;
}

// The palette keeps at least 3:1 against both backgrounds and tells its colours apart with every
// common colour vision; hatches and letters say the same again.
std::string_view plot_style() {
    return R"css(
:root{--s0:#0072B2;--s1:#D55E00;--s2:#7400D9;--s3:#73004D;--s4:#4C4113;--s5:#8C8C8C;
--full:#0072B2;--linear:#D55E00;--window:#7400D9;--sparse:#73004D;--other:#8C8C8C}
@media(prefers-color-scheme:dark){:root{--s0:#56B4E9;--s1:#E69F00;--s2:#B63DF2;--s3:#D93636;
--s4:#8C8C8C;--s5:#F2F2F2;--full:#56B4E9;--linear:#E69F00;--window:#B63DF2;--sparse:#D93636;
--other:#F2F2F2}}
svg.plot{display:block;width:100%;max-width:52rem;height:auto}
svg.key{width:34px;height:12px;vertical-align:middle;margin-right:.4em}
svg text{font:12px system-ui,sans-serif;fill:var(--ink)}
svg text.t{fill:var(--soft);font-size:11px}
svg text.k{fill:var(--page);font-weight:700;font-size:13px;paint-order:stroke;stroke-width:3px}
svg .g{stroke:var(--line);stroke-width:1}
svg .a{stroke:var(--ink);stroke-width:1}
svg .l{fill:none;stroke-width:2}
svg .b{opacity:.18;stroke:none}
svg .o{fill:var(--page);stroke-width:2}
.l.s0,.o.s0{stroke:var(--s0)}.l.s1,.o.s1{stroke:var(--s1)}.l.s2,.o.s2{stroke:var(--s2)}
.l.s3,.o.s3{stroke:var(--s3)}.l.s4,.o.s4{stroke:var(--s4)}.l.s5,.o.s5{stroke:var(--s5)}
.m.s0,.b.s0{fill:var(--s0)}.m.s1,.b.s1{fill:var(--s1)}.m.s2,.b.s2{fill:var(--s2)}
.m.s3,.b.s3{fill:var(--s3)}.m.s4,.b.s4{fill:var(--s4)}.m.s5,.b.s5{fill:var(--s5)}
.k-full{fill:var(--full)}.k-linear{fill:var(--linear)}.k-window{fill:var(--window)}
.k-sparse{fill:var(--sparse)}.k-other{fill:var(--other)}
.c-full{stroke:var(--full)}.c-linear{stroke:var(--linear)}.c-window{stroke:var(--window)}
.c-sparse{stroke:var(--sparse)}.c-other{stroke:var(--other)}
.h{stroke:var(--page);stroke-width:1.4;opacity:.55;fill:none}
)css";
}

std::string_view plot_patterns() {
    return R"svg(<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>
<pattern id="h-full" width="8" height="8" patternUnits="userSpaceOnUse"></pattern>
<pattern id="h-linear" width="7" height="7" patternUnits="userSpaceOnUse"><path class="h" d="M-1 8L8 -1M-1 1L1 -1M6 8L8 6"/></pattern>
<pattern id="h-window" width="6" height="6" patternUnits="userSpaceOnUse"><path class="h" d="M0 3H6"/></pattern>
<pattern id="h-sparse" width="7" height="7" patternUnits="userSpaceOnUse"><path class="h" d="M0 0L7 7M7 0L0 7"/></pattern>
<pattern id="h-other" width="6" height="6" patternUnits="userSpaceOnUse"><path class="h" d="M2 3h2"/></pattern>
</defs></svg>
)svg";
}

} // namespace hs
