#include "engine/lab/reference.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace hs::reference {

namespace {

double sigmoid(double x) {
    return 1.0 / (1.0 + std::exp(-x));
}
double silu(double x) {
    return x * sigmoid(x);
}
double softplus(double x) {
    return x > 20 ? x : std::log1p(std::exp(x));
}
std::size_t at(std::int64_t i) {
    return static_cast<std::size_t>(i);
}

} // namespace

Values rms_norm(Inputs x, Inputs weight, double eps) {
    Values out(x.size());
    const std::size_t width = weight.size();
    for (std::size_t row = 0; row < x.size(); row += width) {
        double sum = 0;
        for (std::size_t i = 0; i < width; ++i) {
            sum += double{x[row + i]} * x[row + i];
        }
        const double rms = std::sqrt(sum / static_cast<double>(width) + eps);
        for (std::size_t i = 0; i < width; ++i) {
            out[row + i] = x[row + i] / rms * weight[i];
        }
    }
    return out;
}

Values swiglu(Inputs gate, Inputs up) {
    Values out(gate.size());
    for (std::size_t i = 0; i < gate.size(); ++i) {
        out[i] = silu(gate[i]) * up[i];
    }
    return out;
}

Values rope(Inputs x, std::int64_t heads, std::int64_t head_dim, const RopeTable& table,
            std::int64_t first) {
    Values out(x.begin(), x.end());
    const std::int64_t pairs = table.dims / 2;
    for (std::int64_t row = 0; row < static_cast<std::int64_t>(x.size()) / head_dim; ++row) {
        for (std::int64_t i = 0; i < pairs; ++i) {
            const std::int64_t position = first + row / heads;
            const float angle = static_cast<float>(position) * table.inverse_frequency[at(i)];
            const double c = std::cos(double{angle}) * table.magnitude;
            const double s = std::sin(double{angle}) * table.magnitude;
            const bool half = table.layout == RopeLayout::HalfSplit;
            const std::size_t p = at(row * head_dim + (half ? i : 2 * i));
            const std::size_t q = at(row * head_dim + (half ? i + pairs : 2 * i + 1));
            out[p] = x[p] * c - x[q] * s;
            out[q] = x[q] * c + x[p] * s;
        }
    }
    return out;
}

Values matmul(Inputs x, Inputs w, Inputs bias, std::int64_t tokens, std::int64_t rows,
              std::int64_t cols) {
    Values out(at(tokens * rows));
    for (std::int64_t t = 0; t < tokens; ++t) {
        for (std::int64_t r = 0; r < rows; ++r) {
            double sum = bias.empty() ? 0.0 : bias[at(r)];
            for (std::int64_t k = 0; k < cols; ++k) {
                sum += double{x[at(t * cols + k)]} * w[at(r * cols + k)];
            }
            out[at(t * rows + r)] = sum;
        }
    }
    return out;
}

Values rounding_bound(Inputs x, Inputs w, std::int64_t tokens, std::int64_t rows,
                      std::int64_t cols) {
    Values out(at(tokens * rows));
    for (std::int64_t t = 0; t < tokens; ++t) {
        for (std::int64_t r = 0; r < rows; ++r) {
            for (std::int64_t block = 0; block < cols; block += 32) {
                double most = 0;
                double sum = 0;
                for (std::int64_t k = block; k < std::min(block + 32, cols); ++k) {
                    most = std::max(most, std::fabs(double{x[at(t * cols + k)]}));
                    sum += std::fabs(double{w[at(r * cols + k)]});
                }
                out[at(t * rows + r)] += sum * most / 254;
            }
        }
    }
    return out;
}

Values attention(const Attention& s, Inputs q, Inputs keys, Inputs values, Inputs sinks) {
    Values out(at(s.tokens * s.query_heads * s.value_dim));
    const std::int64_t group = s.query_heads / s.kv_heads;
    for (std::int64_t t = 0; t < s.tokens; ++t) {
        const std::int64_t now = s.length - s.tokens + t;
        const std::int64_t begin = s.window > 0 ? std::max<std::int64_t>(0, now - s.window + 1) : 0;
        for (std::int64_t h = 0; h < s.query_heads; ++h) {
            const std::int64_t kv = h / group;
            Values logits;
            double most = sinks.empty() ? -INFINITY : sinks[at(h)];
            for (std::int64_t p = begin; p <= now; ++p) {
                double dot = 0;
                for (std::int64_t d = 0; d < s.head_dim; ++d) {
                    dot += double{q[at((t * s.query_heads + h) * s.head_dim + d)]} *
                           keys[at((p * s.kv_heads + kv) * s.head_dim + d)];
                }
                logits.push_back(dot * s.scale);
                most = std::max(most, logits.back());
            }
            double sum = sinks.empty() ? 0.0 : std::exp(sinks[at(h)] - most);
            for (double& logit : logits) {
                logit = std::exp(logit - most);
                sum += logit;
            }
            for (std::int64_t d = 0; d < s.value_dim; ++d) {
                double y = 0;
                for (std::int64_t p = begin; p <= now; ++p) {
                    y +=
                        logits[at(p - begin)] * values[at((p * s.kv_heads + kv) * s.value_dim + d)];
                }
                out[at((t * s.query_heads + h) * s.value_dim + d)] = y / sum;
            }
        }
    }
    return out;
}

GatedDeltaOut gated_delta(const GatedDelta& op, Values& conv_state, Values& state) {
    const GatedDeltaSpec& s = op.spec;
    const std::int64_t channels = s.conv_channels();
    const std::int64_t tail = s.conv_kernel - 1;
    const std::int64_t dk = s.key_dim;
    const std::int64_t dv = s.value_dim;
    GatedDeltaOut result;
    result.out.resize(at(op.tokens * s.value_heads * dv));
    result.decay.resize(at(op.tokens * s.value_heads));
    result.beta.resize(at(op.tokens * s.value_heads));
    for (std::int64_t t = 0; t < op.tokens; ++t) {
        Values x(at(channels));
        for (std::int64_t c = 0; c < channels; ++c) {
            double sum =
                op.conv_weight[at(c * s.conv_kernel + tail)] * double{op.qkv[at(t * channels + c)]};
            for (std::int64_t j = 0; j < tail; ++j) {
                sum += op.conv_weight[at(c * s.conv_kernel + j)] * conv_state[at(c * tail + j)];
            }
            x[at(c)] = silu(sum);
            for (std::int64_t j = 0; j + 1 < tail; ++j) {
                conv_state[at(c * tail + j)] = conv_state[at(c * tail + j + 1)];
            }
            if (tail > 0) {
                conv_state[at(c * tail + tail - 1)] = op.qkv[at(t * channels + c)];
            }
        }
        for (std::int64_t h = 0; h < 2 * s.key_heads; ++h) { // queries, then keys
            double sum = 1e-6;
            for (std::int64_t i = 0; i < dk; ++i) {
                sum += x[at(h * dk + i)] * x[at(h * dk + i)];
            }
            const double length =
                std::sqrt(sum) * (h < s.key_heads ? std::sqrt(static_cast<double>(dk)) : 1.0);
            for (std::int64_t i = 0; i < dk; ++i) {
                x[at(h * dk + i)] /= length;
            }
        }
        for (std::int64_t h = 0; h < s.value_heads; ++h) {
            const std::int64_t key_head =
                s.head_map == HeadMap::Tiled ? h % s.key_heads : h / (s.value_heads / s.key_heads);
            const double* q = x.data() + key_head * dk;
            const double* k = q + s.key_heads * dk;
            const double* v = x.data() + 2 * s.key_heads * dk + h * dv;
            double* matrix = state.data() + h * dk * dv;
            const double decay =
                std::exp(op.decay_rate[at(h)] *
                         softplus(double{op.a[at(t * s.value_heads + h)]} + op.dt_bias[at(h)]));
            const double beta = s.beta_scale * sigmoid(op.b[at(t * s.value_heads + h)]);
            result.decay[at(t * s.value_heads + h)] = decay;
            result.beta[at(t * s.value_heads + h)] = beta;
            Values read(at(dv));
            double squares = 0;
            for (std::int64_t j = 0; j < dv; ++j) {
                double held = 0;
                for (std::int64_t i = 0; i < dk; ++i) {
                    matrix[i * dv + j] *= decay;
                    held += matrix[i * dv + j] * k[i];
                }
                const double update = beta * (v[j] - held);
                for (std::int64_t i = 0; i < dk; ++i) {
                    matrix[i * dv + j] += k[i] * update;
                    read[at(j)] += matrix[i * dv + j] * q[i];
                }
                squares += read[at(j)] * read[at(j)];
            }
            const double rms = std::sqrt(squares / static_cast<double>(dv) + op.norm_eps);
            for (std::int64_t j = 0; j < dv; ++j) {
                const std::size_t i = at((t * s.value_heads + h) * dv + j);
                result.out[i] = read[at(j)] / rms * op.norm_weight[at(j)] * silu(op.z[i]);
            }
        }
    }
    return result;
}

namespace {

// Experts outside the best groups can no longer be chosen.
void leave_best_groups(const MoeSpec& spec, Values& choices) {
    const std::int64_t size = spec.experts / spec.groups;
    std::vector<std::pair<double, std::int64_t>> groups; // minus the score, to sort by index next
    for (std::int64_t g = 0; g < spec.groups; ++g) {
        Values own(choices.begin() + g * size, choices.begin() + (g + 1) * size);
        std::sort(own.rbegin(), own.rend());
        double score = 0;
        for (std::int64_t i = 0; i < std::min(spec.group_best, size); ++i) {
            score += own[at(i)];
        }
        groups.emplace_back(-score, g);
    }
    std::sort(groups.begin(), groups.end());
    for (std::int64_t i = spec.groups_kept; i < spec.groups; ++i) {
        const std::int64_t g = groups[at(i)].second;
        std::fill_n(choices.begin() + g * size, size, -INFINITY);
    }
}

} // namespace

MoeOut moe(const MoeSpec& spec, Inputs x, Inputs scores, Inputs choice_bias, Inputs gate, Inputs up,
           Inputs down, std::int64_t tokens, std::int64_t hidden, const MoeBiases& biases) {
    MoeOut result;
    result.out.resize(at(tokens * hidden));
    const std::int64_t inter = spec.intermediate;
    const std::int64_t matrix = inter * hidden;
    for (std::int64_t t = 0; t < tokens; ++t) {
        const Inputs row = scores.subspan(at(t * spec.experts), at(spec.experts));
        Values weight(row.begin(), row.end());
        double sum = 0;
        const double most = *std::max_element(weight.begin(), weight.end());
        for (double& w : weight) {
            w = spec.score == MoeSpec::Score::Sigmoid ? sigmoid(w) : std::exp(w - most);
            sum += w;
        }
        // A softmax of the chosen is one of all, divided by what the chosen have together.
        if (spec.score != MoeSpec::Score::Sigmoid) {
            for (double& w : weight) {
                w /= sum;
            }
        }
        std::vector<std::int32_t> order(at(spec.experts));
        for (std::size_t e = 0; e < order.size(); ++e) {
            order[e] = static_cast<std::int32_t>(e);
        }
        Values choices = weight;
        for (std::size_t e = 0; e < choices.size() && !choice_bias.empty(); ++e) {
            choices[e] += choice_bias[e];
        }
        leave_best_groups(spec, choices);
        const auto choice = [&](std::int32_t e) { return choices[at(e)]; };
        std::stable_sort(order.begin(), order.end(),
                         [&](std::int32_t a, std::int32_t b) { return choice(a) > choice(b); });
        double total = 0;
        for (std::int64_t i = 0; i < spec.top_k; ++i) {
            total += weight[at(order[at(i)])];
        }
        for (std::int64_t i = 0; i < spec.top_k; ++i) {
            const std::int64_t e = order[at(i)];
            result.chosen.push_back(static_cast<std::int32_t>(e));
            const bool normalised =
                spec.normalise_top_k || spec.score == MoeSpec::Score::SoftmaxOfChosen;
            const double w = weight[at(e)] * spec.weight_scale / (normalised ? total + 1e-20 : 1.0);
            const auto bias = [&](Inputs all, std::int64_t width, std::int64_t index) {
                return all.empty() ? 0.0 : double{all[at(e * width + index)]};
            };
            Values mid(at(inter));
            for (std::int64_t j = 0; j < inter; ++j) {
                double g = bias(biases.gate, inter, j);
                double u = bias(biases.up, inter, j);
                for (std::int64_t k = 0; k < hidden; ++k) {
                    const double value = x[at(t * hidden + k)];
                    g += value * gate[at(e * matrix + j * hidden + k)];
                    u += value * up[at(e * matrix + j * hidden + k)];
                }
                mid[at(j)] = glu(spec.glu, g, u);
            }
            for (std::int64_t k = 0; k < hidden; ++k) {
                double y = bias(biases.down, hidden, k);
                for (std::int64_t j = 0; j < inter; ++j) {
                    y += mid[at(j)] * down[at(e * matrix + k * inter + j)];
                }
                result.out[at(t * hidden + k)] += w * y;
            }
        }
    }
    return result;
}

} // namespace hs::reference
