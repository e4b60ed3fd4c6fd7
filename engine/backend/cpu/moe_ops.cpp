// Mixtures of experts on the CPU backend.

#include "engine/backend/cpu/cpu_backend.h"

#include <algorithm>

namespace hs {

namespace {

cpu::Router::Score score_of(MoeSpec::Score score) {
    switch (score) {
    case MoeSpec::Score::Sigmoid:
        return cpu::Router::Score::Sigmoid;
    case MoeSpec::Score::SoftmaxOfChosen:
        return cpu::Router::Score::SoftmaxOfChosen;
    case MoeSpec::Score::Softmax:
        break;
    }
    return cpu::Router::Score::Softmax;
}

const float* bias_of(std::span<const float* const> biases, std::size_t expert) {
    return biases.empty() ? nullptr : biases[expert];
}

} // namespace

void CpuBackend::moe(const MoeOp& op) {
    const MoeSpec& spec = op.spec;
    const std::int64_t tokens = op.x.extent[0];
    const std::int64_t hidden = op.x.extent[1];
    const std::int64_t top_k = spec.top_k;
    const std::int64_t pairs = tokens * top_k; // of a token and an expert
    const auto experts = static_cast<std::size_t>(spec.experts);
    op.check();

    m_chosen.resize(static_cast<std::size_t>(pairs));
    m_weights.resize(static_cast<std::size_t>(pairs));
    route_all(op);
    if (op.chosen_out != nullptr) {
        std::copy(m_chosen.begin(), m_chosen.end(), op.chosen_out);
    }

    // Pairs in the order of their experts; m_place[pair] is where a pair lies.
    m_first.assign(experts + 1, 0);
    for (std::int32_t e : m_chosen) {
        ++m_first[static_cast<std::size_t>(e) + 1];
    }
    for (std::size_t e = 0; e < experts; ++e) {
        m_first[e + 1] += m_first[e];
    }
    m_place.resize(static_cast<std::size_t>(pairs));
    m_next.assign(m_first.begin(), m_first.end() - 1);
    for (std::size_t pair = 0; pair < m_chosen.size(); ++pair) {
        m_place[pair] = m_next[static_cast<std::size_t>(m_chosen[pair])]++;
    }

    const std::int64_t inter = spec.intermediate;
    float* gathered = m_expert_in.floats(pairs * hidden);
    float* gate = m_expert_hidden.floats(2 * pairs * inter);
    float* up = gate + pairs * inter;
    for_rows(tokens, top_k * hidden, [&](std::int64_t t) {
        for (std::int64_t i = 0; i < top_k; ++i) {
            std::copy_n(&op.x(t, 0), hidden,
                        gathered + m_place[static_cast<std::size_t>(t * top_k + i)] * hidden);
        }
    });
    const cpu::Activations in = prepare(gathered, hidden, pairs, hidden, any_int8(op.gate, op.up));
    m_jobs.clear();
    for (std::size_t e = 0; e < experts; ++e) {
        const std::int64_t first = m_first[e];
        const std::int64_t count = m_first[e + 1] - first;
        if (count == 0) {
            continue;
        }
        HS_ASSERT(op.gate[e].rows == inter && op.gate[e].cols == hidden);
        HS_ASSERT(op.up[e].rows == inter && op.up[e].cols == hidden);
        HS_ASSERT(op.down[e].rows == hidden && op.down[e].cols == inter);
        const cpu::Activations part = slice(in, first, count);
        m_jobs.push_back(
            {matrix_of(op.gate[e]), part, gate + first * inter, inter, bias_of(op.gate_bias, e)});
        m_jobs.push_back(
            {matrix_of(op.up[e]), part, up + first * inter, inter, bias_of(op.up_bias, e)});
    }
    run_jobs();
    for_rows(pairs, 8 * inter, [&](std::int64_t i) {
        cpu::glu(glu_of(spec.glu), gate + i * inter, up + i * inter, inter, gate + i * inter);
    });

    const cpu::Activations mid = prepare(gate, inter, pairs, inter, any_int8(op.down, {}));
    float* result = gathered; // no longer needed
    m_jobs.clear();
    for (std::size_t e = 0; e < experts; ++e) {
        const std::int64_t first = m_first[e];
        const std::int64_t count = m_first[e + 1] - first;
        if (count > 0) {
            m_jobs.push_back({matrix_of(op.down[e]), slice(mid, first, count),
                              result + first * hidden, hidden, bias_of(op.down_bias, e)});
        }
    }
    run_jobs();
    for_rows(tokens, top_k * hidden, [&](std::int64_t t) {
        std::fill_n(&op.out(t, 0), hidden, 0.0f);
        for (std::int64_t i = 0; i < top_k; ++i) {
            const auto pair = static_cast<std::size_t>(t * top_k + i);
            cpu::multiply_add(&op.out(t, 0), m_weights[pair], result + m_place[pair] * hidden,
                              hidden);
        }
    });
}

void CpuBackend::route_all(const MoeOp& op) {
    const cpu::Router router{.experts = op.spec.experts,
                             .top_k = op.spec.top_k,
                             .score = score_of(op.spec.score),
                             .normalise = op.spec.normalise_top_k,
                             .groups = op.spec.groups,
                             .groups_kept = op.spec.groups_kept,
                             .group_best = op.spec.group_best,
                             .weight_scale = static_cast<float>(op.spec.weight_scale),
                             .choice_bias = op.choice_bias};
    const std::int64_t tokens = op.x.extent[0];
    float* scratch = m_work.floats(2 * tokens * router.experts);
    for_rows(tokens, router.experts * (router.top_k + 8), [&](std::int64_t t) {
        cpu::route(router, &op.scores(t, 0), m_chosen.data() + t * router.top_k,
                   m_weights.data() + t * router.top_k, scratch + 2 * t * router.experts);
    });
}

} // namespace hs
