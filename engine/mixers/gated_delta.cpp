// Gated delta rule with a short convolution (Gated DeltaNet). The projections are here, what lies
// between them is one op of the backend.

#include "engine/mixers/linear_state.h"
#include "engine/mixers/mixers.h"

#include <vector>

namespace hs {
namespace {

class GatedDelta final : public TokenMixer {
public:
    GatedDeltaSpec m_spec;
    float m_eps = 1e-6f;
    std::vector<Weight> m_qkv; // one, or queries, keys and values
    Weight m_z, m_b, m_a, m_out;
    std::span<const float> m_conv, m_decay_rate, m_dt_bias, m_norm;

    Result<std::unique_ptr<MixerState>> make_state(StateLedger& ledger, int layer,
                                                   const StateOptions&) const override {
        const GatedDeltaSpec& s = m_spec;
        return LinearState::create(ledger, layer, s.value_heads * s.key_dim * s.value_dim,
                                   s.conv_channels() * (s.conv_kernel - 1));
    }

    Result<void> forward(Backend& backend, View<const float, 2> x, MixerState& state,
                         const Step& step, View<float, 2> out) const override {
        auto& delta = static_cast<LinearState&>(state);
        const GatedDeltaSpec& s = m_spec;
        const std::int64_t tokens = x.extent[0];
        HS_ASSERT(step.first_position == delta.position());

        const View<float, 2> qkv = backend.scratch(tokens, s.conv_channels());
        const View<float, 2> z = backend.scratch(tokens, s.value_heads * s.value_dim);
        const View<float, 2> b = backend.scratch(tokens, s.value_heads);
        const View<float, 2> a = backend.scratch(tokens, s.value_heads);
        std::vector<Product> products{{m_z, z, nullptr}, {m_b, b, nullptr}, {m_a, a, nullptr}};
        std::int64_t column = 0;
        for (const Weight& part : m_qkv) {
            const View<float, 2> columns(qkv.data + column, {tokens, part.rows},
                                         {qkv.stride[0], 1});
            products.push_back({part, columns, nullptr});
            column += part.rows;
        }
        backend.matmul(x, products);

        GatedDeltaOp op;
        op.spec = s;
        op.qkv = qkv;
        op.z = z;
        op.b = b;
        op.a = a;
        op.conv_weight = m_conv.data();
        op.decay_rate = m_decay_rate.data();
        op.dt_bias = m_dt_bias.data();
        op.norm_weight = m_norm.data();
        op.norm_eps = m_eps;
        op.conv_state = delta.conv();
        op.state = delta.matrix();
        op.out = backend.scratch(tokens, s.value_heads * s.value_dim);
        const bool tapped = shows_gates(step);
        if (tapped) {
            op.decay_out = backend.scratch(tokens, s.value_heads).data;
            op.beta_out = backend.scratch(tokens, s.value_heads).data;
        }
        if (step.tentative > 0) {
            TRY(delta.hold(backend, tokens, {&op.qkv, &op.z, &op.b, &op.a}));
            delta.set_again([&backend, op](std::int64_t n) {
                GatedDeltaOp first = op;
                first.qkv = op.qkv.slice(0, n);
                first.z = op.z.slice(0, n);
                first.b = op.b.slice(0, n);
                first.a = op.a.slice(0, n);
                first.out = backend.scratch(n, op.out.extent[1]);
                first.decay_out = first.beta_out = nullptr;
                backend.gated_delta(first);
            });
        }
        backend.gated_delta(op);
        delta.advance(tokens);
        backend.matmul(op.out, m_out, out);
        if (tapped) {
            show_gates(backend, step, tokens, s.value_heads, op.decay_out, op.beta_out);
        }
        return {};
    }
};

} // namespace

Result<std::unique_ptr<TokenMixer>> make_gated_delta(const TokenMixerSpec& spec,
                                                     const MixerContext& context) {
    const auto& s = std::get<GatedDeltaSpec>(spec);
    auto mixer = std::make_unique<GatedDelta>();
    mixer->m_spec = s;
    mixer->m_eps = static_cast<float>(s.norm_eps > 0 ? s.norm_eps : context.norm_eps);
    const std::int64_t values = s.value_heads * s.value_dim;
    const std::int64_t keys = s.key_heads * s.key_dim;
    if (s.joined_qkv) {
        mixer->m_qkv.push_back(TRY(context.matrix("qkv", s.conv_channels(), context.hidden)));
    } else {
        mixer->m_qkv.push_back(TRY(context.matrix("q", keys, context.hidden)));
        mixer->m_qkv.push_back(TRY(context.matrix("k", keys, context.hidden)));
        mixer->m_qkv.push_back(TRY(context.matrix("v", values, context.hidden)));
    }
    mixer->m_z = TRY(context.matrix("z", values, context.hidden));
    mixer->m_b = TRY(context.matrix("b", s.value_heads, context.hidden));
    mixer->m_a = TRY(context.matrix("a", s.value_heads, context.hidden));
    mixer->m_out = TRY(context.matrix("out", context.hidden, values));
    mixer->m_conv = TRY(context.vector("conv", s.conv_channels() * s.conv_kernel));
    mixer->m_decay_rate = TRY(context.vector("decay_rate", s.value_heads));
    mixer->m_dt_bias = TRY(context.vector("dt_bias", s.value_heads));
    mixer->m_norm = TRY(context.vector("norm", s.value_dim));
    return std::unique_ptr<TokenMixer>(std::move(mixer));
}

} // namespace hs
