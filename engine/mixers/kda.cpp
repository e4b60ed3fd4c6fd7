// Kimi delta attention: the gated delta rule with a decay for every key channel, and an output gate
// through the sigmoid. The projections are here, what lies between them is one op of the backend.

#include "engine/mixers/linear_state.h"
#include "engine/mixers/mixers.h"

#include <vector>

namespace hs {
namespace {

class Kda final : public TokenMixer {
public:
    KdaSpec m_spec;
    float m_eps = 1e-6f;
    Weight m_q, m_k, m_v, m_decay_a, m_decay_b, m_b, m_gate_a, m_gate, m_out;
    std::span<const float> m_conv, m_decay_rate, m_dt_bias, m_norm;

    Result<std::unique_ptr<MixerState>> make_state(StateLedger& ledger, int layer,
                                                   const StateOptions&) const override {
        const KdaSpec& s = m_spec;
        return LinearState::create(ledger, layer, s.channels() * s.head_dim,
                                   3 * s.channels() * (s.conv_kernel - 1));
    }

    Result<void> forward(Backend& backend, View<const float, 2> x, MixerState& state,
                         const Step& step, View<float, 2> out) const override {
        auto& held = static_cast<LinearState&>(state);
        const KdaSpec& s = m_spec;
        const std::int64_t tokens = x.extent[0];
        HS_ASSERT(step.first_position == held.position());

        const auto room = [&](std::int64_t columns) { return backend.scratch(tokens, columns); };
        const View<float, 2> q = room(s.channels());
        const View<float, 2> k = room(s.channels());
        const View<float, 2> v = room(s.channels());
        const View<float, 2> b = room(s.heads);
        const View<float, 2> decay_low = room(s.decay_rank);
        const View<float, 2> decay = room(s.channels());
        const View<float, 2> gate = room(s.channels());
        std::vector<Product> products{{m_q, q, nullptr},
                                      {m_k, k, nullptr},
                                      {m_v, v, nullptr},
                                      {m_b, b, nullptr},
                                      {m_decay_a, decay_low, nullptr}};
        if (s.gate_rank > 0) {
            const View<float, 2> gate_low = room(s.gate_rank);
            products.push_back({m_gate_a, gate_low, nullptr});
            backend.matmul(x, products);
            backend.matmul(gate_low, m_gate, gate);
        } else {
            products.push_back({m_gate, gate, nullptr});
            backend.matmul(x, products);
        }
        backend.matmul(decay_low, m_decay_b, decay);

        KdaOp op;
        op.spec = s;
        op.q = q;
        op.k = k;
        op.v = v;
        op.decay = decay;
        op.b = b;
        op.gate = gate;
        op.conv_weight = m_conv.data();
        op.decay_rate = m_decay_rate.data();
        op.dt_bias = m_dt_bias.data();
        op.norm_weight = m_norm.data();
        op.norm_eps = m_eps;
        op.conv_state = held.conv();
        op.state = held.matrix();
        op.out = room(s.channels());
        const bool tapped = shows_gates(step);
        if (tapped) {
            op.decay_out = room(s.heads).data;
            op.beta_out = room(s.heads).data;
        }
        if (step.tentative > 0) {
            TRY(held.hold(backend, tokens, {&op.q, &op.k, &op.v, &op.decay, &op.b, &op.gate}));
            held.set_again([&backend, op](std::int64_t n) {
                KdaOp first = op;
                for (auto* rows :
                     {&first.q, &first.k, &first.v, &first.decay, &first.b, &first.gate}) {
                    *rows = rows->slice(0, n);
                }
                first.out = backend.scratch(n, op.out.extent[1]);
                first.decay_out = first.beta_out = nullptr;
                backend.kda(first);
            });
        }
        backend.kda(op);
        held.advance(tokens);
        backend.matmul(op.out, m_out, out);
        if (tapped) {
            show_gates(backend, step, tokens, s.heads, op.decay_out, op.beta_out);
        }
        return {};
    }
};

} // namespace

Result<std::unique_ptr<TokenMixer>> make_kda(const TokenMixerSpec& spec,
                                             const MixerContext& context) {
    const auto& s = std::get<KdaSpec>(spec);
    auto mixer = std::make_unique<Kda>();
    mixer->m_spec = s;
    mixer->m_eps = static_cast<float>(context.norm_eps);
    mixer->m_q = TRY(context.matrix("q", s.channels(), context.hidden));
    mixer->m_k = TRY(context.matrix("k", s.channels(), context.hidden));
    mixer->m_v = TRY(context.matrix("v", s.channels(), context.hidden));
    mixer->m_b = TRY(context.matrix("b", s.heads, context.hidden));
    mixer->m_decay_a = TRY(context.matrix("decay_a", s.decay_rank, context.hidden));
    mixer->m_decay_b = TRY(context.matrix("decay_b", s.channels(), s.decay_rank));
    if (s.gate_rank > 0) {
        mixer->m_gate_a = TRY(context.matrix("gate_a", s.gate_rank, context.hidden));
        mixer->m_gate = TRY(context.matrix("gate_b", s.channels(), s.gate_rank));
    } else {
        mixer->m_gate = TRY(context.matrix("gate", s.channels(), context.hidden));
    }
    mixer->m_out = TRY(context.matrix("out", context.hidden, s.channels()));
    mixer->m_conv = TRY(context.vector("conv", 3 * s.channels() * s.conv_kernel));
    mixer->m_decay_rate = TRY(context.vector("decay_rate", s.heads));
    mixer->m_dt_bias = TRY(context.vector("dt_bias", s.channels()));
    mixer->m_norm = TRY(context.vector("norm", s.head_dim));
    return std::unique_ptr<TokenMixer>(std::move(mixer));
}

} // namespace hs
