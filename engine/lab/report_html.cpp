#include "engine/lab/report_html.h"

#include "engine/lab/svg_plot.h"
#include "engine/lab/units.h"

#include <algorithm>
#include <cmath>
#include <fmt/format.h>
#include <map>

namespace hs {

namespace {

constexpr std::string_view kStyle = R"css(
:root{color-scheme:light dark;--page:#fff;--ink:#1b1b1b;--soft:#595959;--line:#dcdcdc;--card:#f6f6f6}
@media(prefers-color-scheme:dark){:root{--page:#1e1e1e;--ink:#ececec;--soft:#ababab;--line:#3d3d3d;
--card:#282828}}
*{box-sizing:border-box}
body{margin:0 auto;padding:2rem 1.25rem 4rem;max-width:60rem;background:var(--page);
color:var(--ink);font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .2rem}
h2{font-size:1.2rem;margin:2.4rem 0 .6rem}
h3{font-size:1rem;margin:1.4rem 0 .4rem}
article h3{margin-top:0}
p{margin:.4rem 0}
.soft{color:var(--soft)}
.small{font-size:.85rem}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.88rem;width:100%}
th,td{text-align:left;vertical-align:top;padding:.4rem .8rem .4rem 0;border-bottom:1px solid
var(--line)}
th{font-weight:600}
td.arm{min-width:9.5rem}
td.n,th.n{font-variant-numeric:tabular-nums;white-space:nowrap}
.ratio{display:block;color:var(--soft);font-size:.82rem}
.ratio.differs{color:var(--ink);font-weight:600}
ul.short{padding-left:1.2rem;margin:.4rem 0}
figure{margin:1rem 0}
figcaption{color:var(--soft);font-size:.85rem}
details{margin:.4rem 0;font-size:.88rem}
summary{cursor:pointer;color:var(--soft)}
.answers{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr))}
article{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.8rem 1rem}
article.user{background:none}
.text{white-space:pre-wrap;overflow-wrap:anywhere}
.turn{margin:.8rem 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.2rem;margin:.4rem 0;
font-size:.9rem}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.8rem;background:var(--card);
padding:.8rem;border-radius:6px}
@media print{body{max-width:none;padding:0}article,figure{break-inside:avoid}}
)css";

std::string string_of(const Json& object, std::string_view key) {
    const Json* value = json_member(object, key);
    return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}

double number_of(const Json& object, std::string_view key) {
    const Json* value = json_member(object, key);
    return value != nullptr && value->is_number() ? value->get<double>() : 0;
}

// Full attention everywhere is blue and none at all orange, as their layers are; what lies between
// takes the colours that no layer kind of today's hybrids has.
std::vector<int> styles_of(const std::vector<ReportArm>& arms) {
    std::vector<int> styles;
    int full = 0;
    int none = 1;
    int next = 2;
    for (const ReportArm& arm : arms) {
        std::size_t full_layers = 0;
        for (const std::string& layer : arm.layers) {
            full_layers += layer == to_string(MixerKind::FullAttention) ||
                                   layer == to_string(MixerKind::Latent)
                               ? 1
                               : 0;
        }
        int* counter = &next;
        if (!arm.layers.empty() && full_layers == arm.layers.size()) {
            counter = &full;
        } else if (!arm.layers.empty() && full_layers == 0) {
            counter = &none;
        }
        styles.push_back(*counter);
        if (counter == &next) {
            // 2 to 5, then the same colours with other dashes.
            next += next % kSeriesStyles == kSeriesStyles - 1 ? 3 : 1;
        } else {
            *counter += kSeriesStyles;
        }
    }
    return styles;
}

std::string definition(std::string_view term, const std::string& text) {
    if (text.empty()) {
        return {};
    }
    return fmt::format("<dt>{}</dt><dd>{}</dd>\n", term, html_text(text));
}

// --- one experiment ------------------------------------------------------------------------------

class ExperimentPage {
public:
    explicit ExperimentPage(const ReportExperiment& experiment)
        : m_experiment(experiment)
        , m_styles(styles_of(experiment.arms))
        , m_depths(experiment.depths()) {}

    std::string text() const {
        std::string html;
        if (m_experiment.row.state != "complete") {
            html += fmt::format("<p><strong>This experiment is not complete: {}.</strong> What was "
                                "measured until then is shown.</p>\n",
                                html_text(m_experiment.row.state));
        }
        html += in_short();
        html += strips();
        html += tables();
        html += state_plot();
        html += layer_plot();
        html += decode_plot();
        html += answers();
        html += method();
        return html;
    }

private:
    const ReportArm& baseline() const { return m_experiment.arms[m_experiment.baseline()]; }

    struct EndState {
        std::int64_t context = 0;
        double bytes = 0;
    };
    static EndState end_state(const ReportArm& arm, std::optional<std::int64_t> depth = {}) {
        const ReportRun* run = longest_run(arm, depth);
        if (run == nullptr) {
            return {};
        }
        const std::vector<StatePoint> curve = state_curve(*run);
        return curve.empty() ? EndState{}
                             : EndState{curve.back().context_tokens, curve.back().bytes};
    }

    std::string in_short() const {
        const EndState base = end_state(baseline());
        const std::int64_t depth = m_depths.empty() ? 0 : m_depths.back();
        std::string items;
        for (const ReportArm& arm : m_experiment.arms) {
            const EndState state = end_state(arm);
            if (&arm == &baseline() || base.bytes <= 0 || state.bytes <= 0) {
                continue;
            }
            // Replies end where they end: bytes are compared per arm at its own context, and said.
            std::string line = fmt::format(
                "<strong>{}</strong> holds {}× the state of {} ({} at {} tokens; {} at "
                "{}).",
                html_text(arm.row.label), number_text(state.bytes / base.bytes),
                html_text(baseline().row.label), bytes_text(state.bytes), count_text(state.context),
                bytes_text(base.bytes), count_text(base.context));
            const Comparison decode =
                compare(arm.figure_of(SampleKind::DecodeTokensPerS, depth),
                        baseline().figure_of(SampleKind::DecodeTokensPerS, depth));
            if (decode.verdict != Comparison::Verdict::Unknown) {
                line += fmt::format(" Decode throughput: {}.", comparison_text(decode));
            }
            items += "<li>" + line + "</li>\n";
        }
        return items.empty() ? std::string()
                             : "<h2>In short</h2>\n<ul class=\"short\">\n" + items + "</ul>\n";
    }

    std::vector<LayerRow> layer_rows() const {
        std::vector<LayerRow> rows;
        for (const ReportArm& arm : m_experiment.arms) {
            LayerRow row{.label = arm.row.label};
            if (const ReportRun* run = longest_run(arm)) {
                for (const LayerState& layer : state_by_layer(arm, *run)) {
                    row.layers.push_back({layer.kind, layer.bytes});
                }
            } else {
                for (const std::string& kind : arm.layers) {
                    row.layers.push_back({kind, 0});
                }
            }
            rows.push_back(std::move(row));
        }
        return rows;
    }

    std::string strips() const {
        const std::vector<LayerRow> rows = layer_rows();
        const std::string svg = layer_strips(rows);
        if (svg.empty()) {
            return {};
        }
        return "<h2>Layers</h2>\n<figure>" + svg + "<figcaption>" + layer_legend(rows) +
               ". The state of full attention grows with the context, that of linear attention "
               "has one size.</figcaption></figure>\n";
    }

    // median (least–most) and what it is against the baseline.
    std::string figure_cell(const ReportArm& arm, SampleKind kind, std::int64_t depth) const {
        const Figure figure = arm.figure_of(kind, depth);
        if (figure.n == 0) {
            return "<td class=\"n\">–</td>";
        }
        Comparison comparison = compare(figure, baseline().figure_of(kind, depth));
        if (&arm == &baseline()) {
            comparison.verdict = Comparison::Verdict::Baseline;
        }
        const bool differs = comparison.verdict == Comparison::Verdict::Differs;
        std::string cell = fmt::format("<td class=\"n\">{}", number_text(figure.median));
        if (figure.n > 1) {
            cell += fmt::format(" <span class=\"soft\">({}–{})</span>", number_text(figure.low),
                                number_text(figure.high));
        }
        return cell + fmt::format("<span class=\"ratio{}\">{}</span></td>",
                                  differs ? " differs" : "", comparison_text(comparison));
    }

    std::string state_cell(const ReportArm& arm, std::int64_t depth) const {
        const EndState state = end_state(arm, depth);
        const EndState base = end_state(baseline(), depth);
        if (state.bytes <= 0) {
            return "<td class=\"n\">–</td>";
        }
        std::string ratio = "baseline";
        if (&arm != &baseline()) {
            ratio = base.bytes > 0 ? number_text(state.bytes / base.bytes) + "×" : "–";
        }
        return fmt::format("<td class=\"n\">{} <span class=\"soft\">at {}</span><span "
                           "class=\"ratio\">{}</span></td>",
                           bytes_text(state.bytes), count_text(state.context), ratio);
    }

    std::string table_at(std::int64_t depth) const {
        std::string html = "<div class=\"scroll\"><table>\n<thead><tr><th>Arm</th>"
                           "<th class=\"n\">Weights</th><th class=\"n\">State, end of a run</th>"
                           "<th class=\"n\">TTFT, ms</th><th class=\"n\">Prefill, tokens/s</th>"
                           "<th class=\"n\">Decode, tokens/s</th><th class=\"n\">n</th></tr>"
                           "</thead>\n<tbody>\n";
        for (std::size_t i = 0; i < m_experiment.arms.size(); ++i) {
            const ReportArm& arm = m_experiment.arms[i];
            const int n = arm.figure_of(SampleKind::TtftMs, depth).n;
            html += fmt::format(
                "<tr><td class=\"arm\">{}<strong>{}</strong><span class=\"ratio\">{}</span></td>"
                "<td class=\"n\">{}</td>{}{}{}{}<td class=\"n\">{}</td></tr>\n",
                series_sample(m_styles[i]), html_text(arm.row.label), html_text(arm.row.schedule),
                arm.row.weight_bytes > 0 ? bytes_text(static_cast<double>(arm.row.weight_bytes))
                                         : "–",
                state_cell(arm, depth), figure_cell(arm, SampleKind::TtftMs, depth),
                figure_cell(arm, SampleKind::PrefillTokensPerS, depth),
                figure_cell(arm, SampleKind::DecodeTokensPerS, depth), n);
        }
        return html + "</tbody></table></div>\n";
    }

    std::string tables() const {
        std::string html = "<h2>Figures</h2>\n";
        for (const std::int64_t depth : m_depths) {
            if (m_depths.size() > 1 || depth > 0) {
                html += depth == 0 ? "<h3>After the prompt alone</h3>\n"
                                   : fmt::format("<h3>After {} tokens of context</h3>\n",
                                                 count_text(depth));
            }
            html += table_at(depth);
        }
        return html + "<p class=\"small soft\">Median of the repeats, least and most in brackets. "
                      "A figure counts as different from the baseline only where the ranges of "
                      "their repeats do not touch; the number behind ± is half the range of both "
                      "together.</p>\n";
    }

    static std::string twin(const std::vector<PlotSeries>& series, const char* unit) {
        std::string html = "<details><summary>The same as a table</summary><div class=\"scroll\">"
                           "<table>\n<thead><tr><th>Arm</th><th class=\"n\">context, tokens</th>"
                           "<th class=\"n\">" +
                           std::string(unit) + "</th></tr></thead>\n<tbody>\n";
        for (const PlotSeries& s : series) {
            // Enough to read a value off; all of them are in the CSV.
            const std::size_t every = std::max<std::size_t>(1, (s.points.size() + 15) / 16);
            for (std::size_t i = 0; i < s.points.size(); ++i) {
                if (i % every == 0 || i + 1 == s.points.size()) {
                    html +=
                        fmt::format("<tr><td>{}</td><td class=\"n\">{:.0f}</td>"
                                    "<td class=\"n\">{}</td></tr>\n",
                                    html_text(s.label), s.points[i].x, number_text(s.points[i].y));
                }
            }
        }
        return html + "</tbody></table></div></details>\n";
    }

    std::string state_plot() const {
        std::vector<PlotSeries> series;
        for (std::size_t i = 0; i < m_experiment.arms.size(); ++i) {
            const ReportArm& arm = m_experiment.arms[i];
            PlotSeries s{.label = arm.row.label, .style = m_styles[i]};
            for (const StatePoint& point : state_curve(arm)) {
                s.points.push_back({static_cast<double>(point.context_tokens), point.bytes,
                                    point.bytes, point.bytes});
            }
            series.push_back(std::move(s));
        }
        const std::string svg = line_plot(
            {.title = "state bytes against context", .y_name = "state", .y_unit = PlotUnit::Bytes},
            series);
        if (svg.empty()) {
            return {};
        }
        return "<h2>State against context</h2>\n<figure>" + svg +
               "<figcaption>Bytes that the tokens of one sequence fill, all layers together, as "
               "the ledger has them.</figcaption></figure>\n" +
               twin(series, "state, B");
    }

    std::string layer_plot() const {
        const std::string svg = layer_bars(layer_rows());
        if (svg.empty()) {
            return {};
        }
        return "<h2>State by layer</h2>\n<figure>" + svg +
               "<figcaption>At the end of each arm's longest run.</figcaption></figure>\n";
    }

    // By depth where there are several, else by context within the runs.
    std::vector<PlotPoint> decode_points(const ReportArm& arm) const {
        std::vector<PlotPoint> points;
        if (m_depths.size() > 1) {
            for (const std::int64_t depth : m_depths) {
                const Figure f = arm.figure_of(SampleKind::DecodeTokensPerS, depth);
                if (f.n > 0 && f.low > 0) {
                    points.push_back({static_cast<double>(mean_context(arm, depth)),
                                      1000 / f.median, 1000 / f.high, 1000 / f.low});
                }
            }
            return points;
        }
        // A step's time at each context, repeats side by side, in up to 24 equal pieces.
        std::map<std::int64_t, std::vector<double>> steps;
        for (const ReportRun& run : arm.runs) {
            if (!run.measured()) {
                continue;
            }
            for (const SampleRow& sample : run.samples) {
                if (sample.kind == to_string(SampleKind::TokenMs) && std::isfinite(sample.value)) {
                    steps[sample.context_tokens].push_back(sample.value);
                }
            }
        }
        if (steps.empty()) {
            return points;
        }
        const std::int64_t first = steps.begin()->first;
        const std::int64_t piece = (steps.rbegin()->first - first) / 24 + 1;
        for (auto at = steps.begin(); at != steps.end();) {
            const std::int64_t bucket = (at->first - first) / piece;
            std::vector<double> values;
            double context = 0;
            int contexts = 0;
            for (; at != steps.end() && (at->first - first) / piece == bucket; ++at) {
                values.insert(values.end(), at->second.begin(), at->second.end());
                context += static_cast<double>(at->first);
                ++contexts;
            }
            std::sort(values.begin(), values.end());
            const Figure f = figure(values);
            // The middle half of the steps: single steps are disturbed by everything.
            points.push_back({context / contexts, f.median, values[values.size() / 4],
                              values[values.size() * 3 / 4]});
        }
        return points;
    }

    static std::int64_t mean_context(const ReportArm& arm, std::int64_t depth) {
        std::int64_t sum = 0;
        std::int64_t count = 0;
        for (const ReportRun& run : arm.runs) {
            if (!run.measured() || run.row.depth != depth) {
                continue;
            }
            for (const SampleRow& sample : run.samples) {
                if (sample.kind == to_string(SampleKind::TokenMs)) {
                    sum += std::clamp<std::int64_t>(sample.context_tokens, 0, 1 << 30);
                    ++count;
                }
            }
        }
        return count > 0 ? sum / count : depth;
    }

    std::string decode_plot() const {
        std::vector<PlotSeries> series;
        for (std::size_t i = 0; i < m_experiment.arms.size(); ++i) {
            series.push_back({.label = m_experiment.arms[i].row.label,
                              .style = m_styles[i],
                              .points = decode_points(m_experiment.arms[i])});
        }
        const std::string svg = line_plot({.title = "decode time per token against context",
                                           .y_name = "decode, per token",
                                           .y_unit = PlotUnit::Ms},
                                          series);
        if (svg.empty()) {
            return {};
        }
        const std::string band = m_depths.size() > 1
                                     ? "Median of the repeats at each depth; the band is their "
                                       "least and most."
                                     : "Median of the steps around each context; the band holds "
                                       "the middle half of them.";
        return "<h2>Decode time against context</h2>\n<figure>" + svg + "<figcaption>" + band +
               "</figcaption></figure>\n" + twin(series, "ms per token");
    }

    static const ReportRun* first_answer(const ReportArm& arm) {
        const ReportRun* answer = nullptr;
        for (const ReportRun& run : arm.runs) {
            const bool better =
                answer == nullptr || (run.row.depth == 0 && answer->row.depth != 0) ||
                (answer->row.warm_up && !run.row.warm_up && run.row.depth == answer->row.depth);
            if (better) {
                answer = &run;
            }
        }
        return answer;
    }

    std::string answers() const {
        std::string html;
        for (std::size_t i = 0; i < m_experiment.arms.size(); ++i) {
            const ReportArm& arm = m_experiment.arms[i];
            const ReportRun* run = first_answer(arm);
            if (run == nullptr || run->row.text.empty()) {
                continue;
            }
            std::string note;
            if (run->metrics) {
                note = fmt::format("{} tokens, {}", run->metrics->timings.generated_tokens,
                                   to_string(run->metrics->reason));
            } else {
                note = run->row.state;
            }
            if (run->row.depth > 0) {
                note += fmt::format(", after a filler of {} tokens", count_text(run->row.depth));
            }
            html +=
                fmt::format("<article><h3>{}{}</h3><div class=\"text\">{}</div><p class=\"small "
                            "soft\">{}</p></article>\n",
                            series_sample(m_styles[i]), html_text(arm.row.label),
                            html_text(run->row.text), html_text(note));
        }
        return html.empty() ? html
                            : "<h2>Answers</h2>\n<p class=\"small soft\">The first measured run of "
                              "each arm.</p>\n<div class=\"answers\">\n" +
                                  html + "</div>\n";
    }

    std::string models() const {
        std::string html = "<div class=\"scroll\"><table>\n<thead><tr><th>Arm</th><th>Model</th>"
                           "<th>Family</th><th class=\"n\">Parameters</th><th class=\"n\">File"
                           "</th><th>KV precision</th><th>Device</th><th>SHA-256</th></tr></thead>"
                           "\n<tbody>\n";
        for (const ReportArm& arm : m_experiment.arms) {
            const Json& d = arm.details;
            const double file = number_of(d, "file_bytes");
            const std::string hash = string_of(d, "sha256");
            html += fmt::format(
                "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}"
                "</td><td>{}</td><td>{}</td><td class=\"small\" style=\"word-break:break-all\">{}"
                "</td></tr>\n",
                html_text(arm.row.label), html_text(arm.model), html_text(string_of(d, "family")),
                count_text(
                    static_cast<std::int64_t>(std::clamp(number_of(d, "parameters"), 0.0, 9e15))),
                file > 0 ? bytes_text(file) : "–", html_text(string_of(d, "kv_dtype")),
                html_text(string_of(d, "device")), hash.empty() ? "not taken" : html_text(hash));
        }
        return html + "</tbody></table></div>\n";
    }

    std::string seeds() const {
        std::string seeds;
        if (m_experiment.plan.workload.sampling.temperature <= 0) {
            return "greedy, no seed";
        }
        for (const ReportRun& run : m_experiment.arms.front().runs) {
            if (run.measured() && run.metrics) {
                seeds += (seeds.empty() ? "" : ", ") + std::to_string(run.metrics->sampling.seed);
            }
        }
        return seeds;
    }

    std::string method() const {
        const Experiment& plan = m_experiment.plan;
        const Json& machine = m_experiment.machine;
        std::string devices;
        if (const Json* list = json_member(machine, "devices");
            list != nullptr && list->is_array()) {
            for (const Json& device : *list) {
                devices += (devices.empty() ? "" : "; ") + string_of(device, "name");
            }
        }
        std::string html = "<h2>Method</h2>\n<dl>\n";
        html += definition("Machine", devices);
        const double memory = number_of(machine, "memory_bytes");
        html += definition("Memory", memory > 0 ? bytes_text(memory) : std::string());
        html += definition("System", string_of(machine, "system"));
        html += definition("Program", string_of(machine, "program"));
        html += definition("Compiler", string_of(machine, "compiler"));
        html += definition("Begun", date_text(m_experiment.row.created_ms));
        html += definition(
            "Protocol",
            fmt::format("n = {} measured rounds after {} to warm up; in each round every arm runs "
                        "once, every second round in reverse order; a fresh sequence for each run.",
                        plan.repeats, plan.warm_ups));
        html += definition("Timers",
                           "TTFT: from taking up the request to the first token, tokenising and "
                           "prefill included. Decode: all tokens after the first, sampling "
                           "included. Monotonic clock.");
        html += definition("Length", fmt::format("up to {} tokens{}", plan.workload.generate_tokens,
                                                 plan.workload.ignore_end_token
                                                     ? ", whatever the model says"
                                                     : ", or until the model ends its reply"));
        std::string depths;
        for (const std::int64_t depth : plan.workload.depths) {
            depths += (depths.empty() ? "" : ", ") + count_text(depth);
        }
        html += definition("Depths", depths.empty()
                                         ? std::string()
                                         : depths + " tokens: seeded filler from the prompt's own "
                                                    "tokens, then the full length");
        html +=
            definition("Sampling",
                       fmt::format("temperature {}, top-k {}, top-p {}, min-p {}",
                                   plan.workload.sampling.temperature, plan.workload.sampling.top_k,
                                   plan.workload.sampling.top_p, plan.workload.sampling.min_p));
        html += definition("Seeds", seeds());
        html += definition("System prompt", plan.workload.system_prompt);
        html += definition("Prompt", plan.workload.prompt);
        html += "</dl>\n" + models();
        html += "<details><summary>The plan, to run it again</summary><pre>" +
                html_text(to_json(plan).dump(2, ' ', false, Json::error_handler_t::replace)) +
                "</pre></details>\n";
        return html;
    }

    const ReportExperiment& m_experiment;
    std::vector<int> m_styles;
    std::vector<std::int64_t> m_depths;
};

// --- a chat --------------------------------------------------------------------------------------

std::string reply_line(const Metrics& metrics) {
    const Timings& t = metrics.timings;
    double bytes = 0;
    for (const LedgerEntry& entry : metrics.state.entries) {
        bytes += static_cast<double>(entry.used_bytes);
    }
    std::string line = fmt::format(
        "context {} of {} · TTFT {} · decode {} · {} tokens · state {} · {} reused, {} read",
        count_text(metrics.state.context_tokens), count_text(metrics.state.context_limit),
        ms_text(t.ttft_ms), rate_text(t.decode_tokens_per_s()), count_text(t.generated_tokens),
        bytes_text(bytes), count_text(t.reused_tokens), count_text(t.prefilled_tokens));
    if (!metrics.reuse_note.empty()) {
        line += " · " + metrics.reuse_note;
    }
    return line;
}

std::string transcript(const std::vector<ReportMessage>& messages) {
    std::string html = "<h2>Transcript</h2>\n";
    for (const ReportMessage& message : messages) {
        const MessageRow& row = message.row;
        html += fmt::format("<article class=\"turn {}\"><h3>{}{}</h3>\n",
                            row.role == "assistant" ? "assistant" : "user", html_text(row.role),
                            row.model.empty() ? "" : " · " + html_text(row.model));
        if (!row.reasoning.empty()) {
            html += "<details><summary>Thinking</summary><div class=\"text\">" +
                    html_text(row.reasoning) + "</div></details>\n";
        }
        html += "<div class=\"text\">" + html_text(row.content) + "</div>\n";
        std::string note = date_text(row.created_ms);
        if (row.state == MessageState::Stopped) {
            note += " · stopped";
        } else if (row.state == MessageState::Failed) {
            note += " · failed";
        }
        if (message.metrics) {
            note += " · " + reply_line(*message.metrics);
            if (!message.metrics->error.empty()) {
                note += " · " + message.metrics->error;
            }
        }
        html += "<p class=\"small soft\">" + html_text(note) + "</p></article>\n";
    }
    return html;
}

std::string chat_figures(const std::vector<ReportMessage>& messages) {
    std::string rows;
    PlotSeries state{.label = "state"};
    const Metrics* last = nullptr;
    int number = 0;
    for (const ReportMessage& message : messages) {
        if (!message.metrics) {
            continue;
        }
        const Metrics& metrics = *message.metrics;
        const Timings& t = metrics.timings;
        double bytes = 0;
        for (const LedgerEntry& entry : metrics.state.entries) {
            bytes += static_cast<double>(entry.used_bytes);
        }
        const auto context = static_cast<double>(metrics.state.context_tokens);
        // Replies of a branch follow each other; a shorter context after a longer one is another
        // model or a cut conversation, and begins a new curve that would cross this one.
        if (state.points.empty() || context > state.points.back().x) {
            state.points.push_back({context, bytes, bytes, bytes});
        }
        last = &metrics;
        rows += fmt::format("<tr><td class=\"n\">{}</td><td>{}</td><td class=\"n\">{}</td><td "
                            "class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td "
                            "class=\"n\">{}</td><td class=\"n\">{} / {}</td></tr>\n",
                            ++number, html_text(message.row.model),
                            count_text(metrics.state.context_tokens), ms_text(t.ttft_ms),
                            number_text(t.prefill_tokens_per_s()),
                            number_text(t.decode_tokens_per_s()), bytes_text(bytes),
                            count_text(t.reused_tokens), count_text(t.prefilled_tokens));
    }
    if (last == nullptr) {
        return {};
    }
    std::string html =
        "<h2>Figures</h2>\n<div class=\"scroll\"><table><thead><tr><th class=\"n\">Reply</th><th>"
        "Model</th><th class=\"n\">Context, tokens</th><th class=\"n\">TTFT</th><th class=\"n\">"
        "Prefill, tokens/s</th><th class=\"n\">Decode, tokens/s</th><th class=\"n\">State</th><th "
        "class=\"n\">Tokens reused / read</th></tr></thead>\n<tbody>\n" +
        rows + "</tbody></table></div>\n";
    if (state.points.size() > 1) {
        html += "<h2>State against context</h2>\n<figure>" +
                line_plot({.title = "state bytes against context",
                           .y_name = "state",
                           .y_unit = PlotUnit::Bytes},
                          {state}) +
                "</figure>\n";
    }
    LayerRow layers{.label = "last reply"};
    for (const LayerState& layer : state_by_layer(last->state)) {
        layers.layers.push_back({layer.kind, layer.bytes});
    }
    const std::string bars = layer_bars({layers});
    if (!bars.empty()) {
        html += "<h2>State by layer</h2>\n<figure>" + layer_strips({layers}) + bars +
                "<figcaption>After the last reply. " + layer_legend({layers}) +
                ".</figcaption></figure>\n";
    }
    return html;
}

} // namespace

std::string report_page(const ReportSource& source) {
    const std::string title =
        source.session.title.empty() ? std::string("Session") : source.session.title;
    const bool chat = source.session.kind == SessionKind::Chat;
    std::string html = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                       "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                       "style-src 'unsafe-inline'\">\n"
                       "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n"
                       "<meta name=\"color-scheme\" content=\"light dark\">\n<title>" +
                       html_text(title) + " – Hybridscope</title>\n<style>" + std::string(kStyle) +
                       std::string(plot_style()) + "</style></head>\n<body>\n" +
                       std::string(plot_patterns());
    html += fmt::format("<header><h1>{}</h1><p class=\"soft\">Hybridscope {} · {}</p></header>\n",
                        html_text(title), chat ? "chat" : "comparison",
                        date_text(source.session.created_ms));
    if (chat) {
        html += chat_figures(source.messages);
        html += transcript(source.messages);
    }
    for (std::size_t i = 0; i < source.experiments.size(); ++i) {
        if (source.experiments.size() > 1) {
            html += fmt::format("<h1>Experiment {} of {}</h1>\n", i + 1, source.experiments.size());
        }
        html += ExperimentPage(source.experiments[i]).text();
    }
    if (!chat && source.experiments.empty()) {
        html += "<p>Nothing was measured in this session.</p>\n";
    }
    return html + "</body></html>\n";
}

} // namespace hs
