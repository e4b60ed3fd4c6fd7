// Kimi delta attention and what surrounds it in Kimi K3, in float64 (delta.md sections 5.2 and 8).

#include "engine/lab/reference.h"

#include <algorithm>
#include <cmath>

namespace hs::reference {

namespace {

double sigmoid(double x) {
    return 1.0 / (1.0 + std::exp(-x));
}
std::size_t at(std::int64_t i) {
    return static_cast<std::size_t>(i);
}

// One token through the convolution of one channel; the tail moves on.
double convolved(Inputs taps, double now, double* tail) {
    double sum = taps.back() * now;
    for (std::size_t j = 0; j + 1 < taps.size(); ++j) {
        sum += taps[j] * tail[j];
    }
    for (std::size_t j = 0; j + 2 < taps.size(); ++j) {
        tail[j] = tail[j + 1];
    }
    if (taps.size() > 1) {
        tail[taps.size() - 2] = now;
    }
    return sum * sigmoid(sum);
}

void unit_length(double* x, std::int64_t n, double length) {
    double sum = 1e-6;
    for (std::int64_t i = 0; i < n; ++i) {
        sum += x[i] * x[i];
    }
    for (std::int64_t i = 0; i < n; ++i) {
        x[i] *= length / std::sqrt(sum);
    }
}

} // namespace

KdaOut kda(const Kda& op, Values& conv_state, Values& state) {
    const KdaSpec& s = op.spec;
    const std::int64_t n = s.head_dim;
    const std::int64_t all = s.channels();
    const std::int64_t tail = s.conv_kernel - 1;
    KdaOut result;
    result.out.resize(at(op.tokens * all));
    result.decay.resize(at(op.tokens * s.heads));
    result.beta.resize(at(op.tokens * s.heads));
    for (std::int64_t t = 0; t < op.tokens; ++t) {
        Values x(at(3 * all)); // q | k | v
        for (std::int64_t c = 0; c < 3 * all; ++c) {
            const Inputs in = c < all ? op.q : c < 2 * all ? op.k : op.v;
            x[at(c)] = convolved(op.conv_weight.subspan(at(c * s.conv_kernel), at(s.conv_kernel)),
                                 in[at(t * all + c % all)], conv_state.data() + c * tail);
        }
        for (std::int64_t h = 0; h < s.heads; ++h) {
            double* const q = x.data() + h * n;
            double* const k = q + all;
            const double* const v = k + all;
            unit_length(q, n, 1.0 / std::sqrt(static_cast<double>(n)));
            unit_length(k, n, 1.0);
            const double rate = op.decay_rate[at(h)];
            const double beta = sigmoid(op.b[at(t * s.heads + h)]);
            double* const matrix = state.data() + h * n * n;
            double kept = 0;
            for (std::int64_t i = 0; i < n; ++i) {
                const double f =
                    double{op.decay[at(t * all + h * n + i)]} + op.dt_bias[at(h * n + i)];
                const double decay =
                    std::exp(s.decay_bound < 0 ? s.decay_bound * sigmoid(-rate * f)
                                               : rate * (f > 20 ? f : std::log1p(std::exp(f))));
                kept += decay;
                for (std::int64_t j = 0; j < n; ++j) {
                    matrix[i * n + j] *= decay;
                }
            }
            result.decay[at(t * s.heads + h)] = kept / static_cast<double>(n);
            result.beta[at(t * s.heads + h)] = beta;
            Values read(at(n));
            double squares = 0;
            for (std::int64_t j = 0; j < n; ++j) {
                double held = 0;
                for (std::int64_t i = 0; i < n; ++i) {
                    held += matrix[i * n + j] * k[i];
                }
                const double update = beta * (v[j] - held);
                for (std::int64_t i = 0; i < n; ++i) {
                    matrix[i * n + j] += k[i] * update;
                    read[at(j)] += matrix[i * n + j] * q[i];
                }
                squares += read[at(j)] * read[at(j)];
            }
            const double rms = std::sqrt(squares / static_cast<double>(n) + op.norm_eps);
            for (std::int64_t j = 0; j < n; ++j) {
                const std::size_t i = at(t * all + h * n + j);
                result.out[i] = read[at(j)] / rms * op.norm_weight[at(j)] * sigmoid(op.gate[i]);
            }
        }
    }
    return result;
}

Values situ(const GluSpec& spec, Inputs gate, Inputs up) {
    Values out(gate.size());
    for (std::size_t i = 0; i < gate.size(); ++i) {
        const double g = gate[i];
        out[i] = spec.beta * std::tanh(g / spec.beta) * sigmoid(g) * spec.linear_beta *
                 std::tanh(up[i] / spec.linear_beta);
    }
    return out;
}

Values mix_streams(std::span<const Inputs> streams, Inputs query, double eps) {
    const std::size_t width = query.size();
    Values out(streams.front().size());
    for (std::size_t row = 0; row < out.size(); row += width) {
        Values weights;
        for (const Inputs stream : streams) {
            double squares = 0;
            double dot = 0;
            for (std::size_t i = 0; i < width; ++i) {
                squares += double{stream[row + i]} * stream[row + i];
                dot += double{stream[row + i]} * query[i];
            }
            weights.push_back(dot / std::sqrt(squares / static_cast<double>(width) + eps));
        }
        const double most = *std::max_element(weights.begin(), weights.end());
        double sum = 0;
        for (double& weight : weights) {
            weight = std::exp(weight - most);
            sum += weight;
        }
        for (std::size_t s = 0; s < streams.size(); ++s) {
            for (std::size_t i = 0; i < width; ++i) {
                out[row + i] += weights[s] / sum * streams[s][row + i];
            }
        }
    }
    return out;
}

} // namespace hs::reference
