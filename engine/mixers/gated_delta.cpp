// Gated delta rule with a short convolution (Gated DeltaNet). The projections are here, what lies
// between them is one op of the backend.

#include "engine/mixers/mixers.h"
#include "engine/state/recurrent_state.h"

#include <array>

namespace hs {
namespace {

class DeltaState final : public MixerState {
public:
    explicit DeltaState(RecurrentState state)
        : m_state(state) {}

    std::int64_t position() const override { return m_position; }
    bool can_cut() const override { return false; }
    StateImage image() const override { return {m_position, m_state.copy()}; }
    Result<void> restore(const StateImage& image) override {
        HS_ASSERT(image.position == 0 || !image.bytes.empty());
        TRY(m_state.restore(image.bytes));
        m_position = image.position;
        return {};
    }

    RecurrentState& values() { return m_state; }
    void advance(std::int64_t tokens) { m_position += tokens; }

private:
    RecurrentState m_state;
    std::int64_t m_position = 0;
};

class GatedDelta final : public TokenMixer {
public:
    GatedDeltaSpec m_spec;
    float m_eps = 1e-6f;
    Weight m_qkv, m_z, m_b, m_a, m_out;
    std::span<const float> m_conv, m_decay_rate, m_dt_bias, m_norm;

    Result<std::unique_ptr<MixerState>> make_state(StateLedger& ledger, int layer,
                                                   const StateOptions&) const override {
        const GatedDeltaSpec& s = m_spec;
        const RecurrentState state =
            TRY(RecurrentState::create(ledger, layer, s.value_heads * s.key_dim * s.value_dim,
                                       s.conv_channels() * (s.conv_kernel - 1)));
        return std::unique_ptr<MixerState>(std::make_unique<DeltaState>(state));
    }

    Result<void> forward(Backend& backend, View<const float, 2> x, MixerState& state,
                         const Step& step, View<float, 2> out) const override {
        auto& delta = static_cast<DeltaState&>(state);
        const GatedDeltaSpec& s = m_spec;
        const std::int64_t tokens = x.extent[0];
        HS_ASSERT(step.first_position == delta.position());

        const View<float, 2> qkv = backend.scratch(tokens, s.conv_channels());
        const View<float, 2> z = backend.scratch(tokens, s.value_heads * s.value_dim);
        const View<float, 2> b = backend.scratch(tokens, s.value_heads);
        const View<float, 2> a = backend.scratch(tokens, s.value_heads);
        const std::array<Product, 4> products{
            {{m_qkv, qkv, nullptr}, {m_z, z, nullptr}, {m_b, b, nullptr}, {m_a, a, nullptr}}};
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
        op.conv_state = delta.values().conv();
        op.state = delta.values().matrix();
        op.out = backend.scratch(tokens, s.value_heads * s.value_dim);
        const bool tapped = step.tap != nullptr && step.tap->gates;
        if (tapped) {
            op.decay_out = backend.scratch(tokens, s.value_heads).data;
            op.beta_out = backend.scratch(tokens, s.value_heads).data;
        }
        backend.gated_delta(op);
        delta.advance(tokens);
        backend.matmul(op.out, m_out, out);
        if (tapped) {
            show_gates(backend, op, step, tokens);
        }
        return {};
    }

private:
    static void show_gates(Backend& backend, const GatedDeltaOp& op, const Step& step,
                           std::int64_t tokens) {
        const std::int64_t heads = op.spec.value_heads;
        std::vector<float> decay(static_cast<std::size_t>(tokens * heads));
        std::vector<float> beta(decay.size());
        backend.copy_out(std::as_writable_bytes(std::span(decay)),
                         reinterpret_cast<const std::byte*>(op.decay_out));
        backend.copy_out(std::as_writable_bytes(std::span(beta)),
                         reinterpret_cast<const std::byte*>(op.beta_out));
        step.tap->gates(step.layer, step.first_position, tokens, heads, decay.data(), beta.data());
    }
};

} // namespace

Result<std::unique_ptr<TokenMixer>> make_gated_delta(const TokenMixerSpec& spec,
                                                     const MixerContext& context) {
    const auto& s = std::get<GatedDeltaSpec>(spec);
    auto mixer = std::make_unique<GatedDelta>();
    mixer->m_spec = s;
    mixer->m_eps = static_cast<float>(context.norm_eps);
    const std::int64_t values = s.value_heads * s.value_dim;
    mixer->m_qkv = TRY(context.matrix("qkv", s.conv_channels(), context.hidden));
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
