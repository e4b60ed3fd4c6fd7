// Latent attention in its expanded form, keys and values of every head written out, and what
// sparse attention reads (softmax.md section 3), in float64.

#include "engine/lab/reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace hs::reference {

namespace {

std::size_t at(std::int64_t i) {
    return static_cast<std::size_t>(i);
}

// (tokens, cols) times (rows, cols) transposed.
Values product(const Values& x, Inputs w, std::int64_t cols) {
    const auto rows = static_cast<std::int64_t>(w.size()) / cols;
    const auto tokens = static_cast<std::int64_t>(x.size()) / cols;
    Values out(at(tokens * rows));
    for (std::int64_t t = 0; t < tokens; ++t) {
        for (std::int64_t r = 0; r < rows; ++r) {
            for (std::int64_t c = 0; c < cols; ++c) {
                out[at(t * rows + r)] += x[at(t * cols + c)] * w[at(r * cols + c)];
            }
        }
    }
    return out;
}

// Pieces of `width` values, `stride` apart, normed in place.
void norm(Values& x, std::int64_t width, std::int64_t stride, Inputs weight, double eps) {
    for (std::size_t first = 0; first < x.size(); first += at(stride)) {
        double sum = 0;
        for (std::int64_t i = 0; i < width; ++i) {
            sum += x[first + at(i)] * x[first + at(i)];
        }
        const double rms = std::sqrt(sum / static_cast<double>(width) + eps);
        for (std::int64_t i = 0; i < width; ++i) {
            x[first + at(i)] *= weight[at(i)] / rms;
        }
    }
}

void centred_norm(Values& x, std::int64_t width, Inputs weight, Inputs bias, double eps) {
    for (std::size_t first = 0; first < x.size(); first += at(width)) {
        double mean = 0;
        for (std::int64_t i = 0; i < width; ++i) {
            mean += x[first + at(i)] / static_cast<double>(width);
        }
        double variance = 0;
        for (std::int64_t i = 0; i < width; ++i) {
            const double d = x[first + at(i)] - mean;
            variance += d * d / static_cast<double>(width);
        }
        for (std::int64_t i = 0; i < width; ++i) {
            x[first + at(i)] =
                (x[first + at(i)] - mean) / std::sqrt(variance + eps) * weight[at(i)] + bias[at(i)];
        }
    }
}

// The values from `offset` on of pieces of `width`, `heads` pieces to a token.
void rotate(Values& x, std::int64_t heads, std::int64_t width, std::int64_t offset,
            const RopeTable& table) {
    const std::int64_t pairs = table.dims / 2;
    const auto pieces = static_cast<std::int64_t>(x.size()) / width;
    for (std::int64_t piece = 0; piece < pieces; ++piece) {
        const std::int64_t position = piece / heads;
        for (std::int64_t i = 0; i < pairs; ++i) {
            const float angle =
                static_cast<float>(position) * table.inverse_frequency[at(i)]; // as trained
            const double c = std::cos(double{angle}) * table.magnitude;
            const double s = std::sin(double{angle}) * table.magnitude;
            const bool half = table.layout == RopeLayout::HalfSplit;
            double& p = x[at(piece * width + offset + (half ? i : 2 * i))];
            double& q = x[at(piece * width + offset + (half ? i + pairs : 2 * i + 1))];
            const double rotated = p * c - q * s;
            q = q * c + p * s;
            p = rotated;
        }
    }
}

// The `most` largest of n scores, the lowest first among equals; ascending, then -1.
void choose(const Values& scores, std::int64_t n, std::int64_t most,
            std::vector<std::int32_t>& chosen) {
    std::vector<std::int32_t> order(at(n));
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](std::int32_t a, std::int32_t b) { return scores[at(a)] > scores[at(b)]; });
    order.resize(at(std::min(n, most)));
    std::sort(order.begin(), order.end());
    order.resize(at(most), -1);
    chosen.insert(chosen.end(), order.begin(), order.end());
}

template <class Numbers>
Chosen choose_among(const ChooseKeys& s, const Numbers& q, const Numbers& weights,
                    const Numbers& keys) {
    Chosen result;
    for (std::int64_t t = 0; t < s.tokens; ++t) {
        const std::int64_t seen = s.length - s.tokens + t + 1;
        Values scores(at(s.length), -INFINITY);
        for (std::int64_t p = 0; p < seen; ++p) {
            scores[at(p)] = 0;
            for (std::int64_t h = 0; h < s.heads; ++h) {
                double dot = 0;
                for (std::int64_t d = 0; d < s.head_dim; ++d) {
                    dot += double{q[at((t * s.heads + h) * s.head_dim + d)]} *
                           keys[at(p * s.head_dim + d)];
                }
                scores[at(p)] += weights[at(t * s.heads + h)] * std::max(0.0, dot);
            }
        }
        choose(scores, seen, s.most, result.positions);
        result.scores.insert(result.scores.end(), scores.begin(), scores.end());
    }
    return result;
}

} // namespace

Chosen choose_keys(const ChooseKeys& shape, Inputs q, Inputs weights, Inputs keys) {
    return choose_among(shape, q, weights, keys);
}

Values sparse_attention(const Attention& s, Inputs q, Inputs keys, Inputs values,
                        std::span<const std::int32_t> chosen, std::int64_t most) {
    Values out(at(s.tokens * s.query_heads * s.value_dim));
    const std::int64_t group = s.query_heads / s.kv_heads;
    for (std::int64_t t = 0; t < s.tokens; ++t) {
        for (std::int64_t h = 0; h < s.query_heads; ++h) {
            const std::int64_t kv = h / group;
            Values logits;
            double sum = 0;
            for (std::int64_t i = 0; i < most && chosen[at(t * most + i)] >= 0; ++i) {
                double dot = 0;
                for (std::int64_t d = 0; d < s.head_dim; ++d) {
                    dot += double{q[at((t * s.query_heads + h) * s.head_dim + d)]} *
                           keys[at((chosen[at(t * most + i)] * s.kv_heads + kv) * s.head_dim + d)];
                }
                logits.push_back(dot * s.scale);
            }
            const double largest = *std::max_element(logits.begin(), logits.end());
            for (double& logit : logits) {
                logit = std::exp(logit - largest);
                sum += logit;
            }
            for (std::size_t i = 0; i < logits.size(); ++i) {
                const std::int64_t position = chosen[at(t * most) + i];
                for (std::int64_t d = 0; d < s.value_dim; ++d) {
                    out[at((t * s.query_heads + h) * s.value_dim + d)] +=
                        logits[i] / sum *
                        values[at((position * s.kv_heads + kv) * s.value_dim + d)];
                }
            }
        }
    }
    return out;
}

Values latent(const Latent& op, Inputs x) {
    const LatentSpec& s = op.spec;
    const double eps = s.latent_norm_eps > 0 ? s.latent_norm_eps : op.norm_eps;
    const auto tokens = static_cast<std::int64_t>(x.size()) / op.hidden;
    const Values in(x.begin(), x.end());
    const RopeTable table = s.rope.dims > 0 ? make_rope_table(s.rope) : RopeTable{};

    Values query_source = in;
    std::int64_t query_width = op.hidden;
    if (s.query_rank > 0) {
        query_source = product(in, op.weight("q_a"), op.hidden);
        norm(query_source, s.query_rank, s.query_rank, op.weight("q_a_norm"), eps);
        query_width = s.query_rank;
    }
    Values q = product(query_source, op.weight(s.query_rank > 0 ? "q_b" : "q"), query_width);
    Values row = product(in, op.weight("kv_a"), op.hidden);
    norm(row, s.kv_rank, s.cached_dim(), op.weight("kv_a_norm"), eps);
    if (s.rope.dims > 0) {
        rotate(q, s.query_heads, s.query_dim(), s.nope_dim, table);
        rotate(row, 1, s.cached_dim(), s.kv_rank, table);
    }
    // Keys and values of all heads, written out.
    const Inputs k_b = op.weight("k_b");
    const Inputs v_b = op.weight("v_b");
    Values keys(at(tokens * s.query_heads * s.query_dim()));
    Values values(at(tokens * s.query_heads * s.value_dim));
    for (std::int64_t t = 0; t < tokens; ++t) {
        const double* const c = row.data() + t * s.cached_dim();
        for (std::int64_t h = 0; h < s.query_heads; ++h) {
            double* const key = keys.data() + (t * s.query_heads + h) * s.query_dim();
            double* const value = values.data() + (t * s.query_heads + h) * s.value_dim;
            for (std::int64_t r = 0; r < s.kv_rank; ++r) {
                for (std::int64_t i = 0; i < s.nope_dim; ++i) {
                    key[i] += k_b[at((h * s.kv_rank + r) * s.nope_dim + i)] * c[r];
                }
                for (std::int64_t i = 0; i < s.value_dim; ++i) {
                    value[i] += v_b[at((h * s.value_dim + i) * s.kv_rank + r)] * c[r];
                }
            }
            std::copy_n(c + s.kv_rank, s.rope_dim, key + s.nope_dim);
        }
    }
    std::vector<std::int32_t> chosen;
    std::int64_t most = tokens;
    if (s.indexer) {
        const IndexerSpec& index = *s.indexer;
        most = index.top_k;
        Values index_q = product(query_source, op.weight("indexer.q"), query_width);
        Values index_k = product(in, op.weight("indexer.k"), op.hidden);
        centred_norm(index_k, index.head_dim, op.weight("indexer.k_norm"),
                     op.weight("indexer.k_norm_bias"), 1e-6);
        const Values weights = product(in, op.weight("indexer.weights"), op.hidden);
        if (index.rope.dims > 0) {
            const RopeTable angles = make_rope_table(index.rope);
            rotate(index_q, index.heads, index.head_dim, 0, angles);
            rotate(index_k, 1, index.head_dim, 0, angles);
        }
        chosen = choose_among({.tokens = tokens,
                               .length = tokens,
                               .heads = index.heads,
                               .head_dim = index.head_dim,
                               .most = most},
                              index_q, weights, index_k)
                     .positions;
    } else {
        for (std::int64_t t = 0; t < tokens; ++t) {
            for (std::int64_t p = 0; p < tokens; ++p) {
                chosen.push_back(p <= t ? static_cast<std::int32_t>(p) : -1);
            }
        }
    }
    const std::int64_t width = s.query_heads * s.value_dim;
    Values mixed(at(tokens * width));
    for (std::int64_t t = 0; t < tokens; ++t) {
        for (std::int64_t h = 0; h < s.query_heads; ++h) {
            Values logits;
            for (std::int64_t i = 0; i < most && chosen[at(t * most + i)] >= 0; ++i) {
                const double* const key =
                    keys.data() + (chosen[at(t * most + i)] * s.query_heads + h) * s.query_dim();
                const double* const query = q.data() + (t * s.query_heads + h) * s.query_dim();
                logits.push_back(s.scale *
                                 std::inner_product(key, key + s.query_dim(), query, 0.0));
            }
            const double largest = *std::max_element(logits.begin(), logits.end());
            double sum = 0;
            for (double& logit : logits) {
                logit = std::exp(logit - largest);
                sum += logit;
            }
            for (std::size_t i = 0; i < logits.size(); ++i) {
                const double* const value =
                    values.data() + (chosen[at(t * most) + i] * s.query_heads + h) * s.value_dim;
                for (std::int64_t d = 0; d < s.value_dim; ++d) {
                    mixed[at(t * width + h * s.value_dim + d)] += logits[i] / sum * value[d];
                }
            }
        }
    }
    if (s.output_gate) {
        const Values gate = product(in, op.weight("gate"), op.hidden);
        for (std::size_t i = 0; i < mixed.size(); ++i) {
            mixed[i] /= 1.0 + std::exp(-gate[i]);
        }
    }
    return product(mixed, op.weight("o"), width);
}

} // namespace hs::reference
