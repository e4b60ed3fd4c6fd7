// Lightning attention: a matrix per head that fades by a constant, without convolution and without
// gates inside. What is read is normed in groups and gated by a sigmoid.

#include "engine/mixers/linear_state.h"
#include "engine/mixers/mixers.h"

#include <array>
#include <cmath>

namespace hs {
namespace {

class Lightning final : public TokenMixer {
public:
    LightningSpec m_spec;
    float m_eps = 1e-6f;      // of the norms of queries and keys
    float m_norm_eps = 1e-6f; // of what is read
    Weight m_qkv, m_gate, m_out;
    std::span<const float> m_norm, m_q_norm, m_k_norm;
    std::span<const float> m_decay_rates; // (heads), on the backend
    std::vector<float> m_decay;           // (heads), what a step keeps
    RopeTable m_rope;

    Result<std::unique_ptr<MixerState>> make_state(StateLedger& ledger, int layer,
                                                   const StateOptions&) const override {
        const LightningSpec& s = m_spec;
        return LinearState::create(ledger, layer, s.heads * s.head_dim * s.head_dim, 0);
    }

    Result<void> forward(Backend& backend, View<const float, 2> x, MixerState& state,
                         const Step& step, View<float, 2> out) const override {
        auto& held = static_cast<LinearState&>(state);
        const LightningSpec& s = m_spec;
        const std::int64_t tokens = x.extent[0];
        const std::int64_t channels = s.heads * s.head_dim;
        HS_ASSERT(step.first_position == held.position());

        const View<float, 2> qkv = backend.scratch(tokens, 3 * channels);
        const View<float, 2> gate = backend.scratch(tokens, channels);
        const std::array<Product, 2> products{{{m_qkv, qkv, nullptr}, {m_gate, gate, nullptr}}};
        backend.matmul(x, products);

        // Heads lie together for each of q, k and v, or q, k and v together for each head.
        const std::int64_t part = s.qkv_per_head ? s.head_dim : channels;
        const std::int64_t head = s.qkv_per_head ? 3 * s.head_dim : s.head_dim;
        const auto heads_of = [&](std::int64_t which) {
            return View<float, 3>(qkv.data + which * part, {tokens, s.heads, s.head_dim},
                                  {qkv.stride[0], head, 1});
        };
        const View<float, 3> q = heads_of(0);
        const View<float, 3> k = heads_of(1);
        if (s.qk_norm) {
            // Rows of all heads, each head a group.
            const View<float, 2> q_rows(q.data, {tokens, channels}, {qkv.stride[0], 1});
            const View<float, 2> k_rows(k.data, {tokens, channels}, {qkv.stride[0], 1});
            backend.rms_norm(q_rows, m_q_norm, m_eps, q_rows);
            backend.rms_norm(k_rows, m_k_norm, m_eps, k_rows);
        }
        if (s.rope.dims > 0) {
            backend.rope(q, m_rope, step.first_position);
            backend.rope(k, m_rope, step.first_position);
        }
        LightningOp op;
        op.spec = s;
        op.gate = gate;
        op.decay_rates = m_decay_rates.data();
        op.norm_weight = m_norm.data();
        op.norm_eps = m_norm_eps;
        op.state = held.matrix();
        op.out = backend.scratch(tokens, channels);
        View<const float, 2> rows = qkv;
        const auto point_to_rows = [part, head, heads = s.heads, dim = s.head_dim](
                                       LightningOp& some, View<const float, 2> from) {
            const auto view = [&](std::int64_t which) {
                return View<const float, 3>(from.data + which * part, {from.extent[0], heads, dim},
                                            {from.stride[0], head, 1});
            };
            some.q = view(0);
            some.k = view(1);
            some.v = view(2);
        };
        if (step.tentative > 0) {
            TRY(held.hold(backend, tokens, {&rows, &op.gate}));
            held.set_again([&backend, op, rows, point_to_rows](std::int64_t n) {
                LightningOp first = op;
                point_to_rows(first, rows.slice(0, n));
                first.gate = op.gate.slice(0, n);
                first.out = backend.scratch(n, op.out.extent[1]);
                backend.lightning(first);
            });
        }
        point_to_rows(op, rows);
        backend.lightning(op);
        held.advance(tokens);
        backend.matmul(op.out, m_out, out);
        if (shows_gates(step)) {
            show_constant_gates(step, tokens);
        }
        return {};
    }

private:
    // Decay is the same for every token, and every token is written whole.
    void show_constant_gates(const Step& step, std::int64_t tokens) const {
        std::vector<float> decay;
        for (std::int64_t t = 0; t < tokens; ++t) {
            decay.insert(decay.end(), m_decay.begin(), m_decay.end());
        }
        const std::vector<float> beta(decay.size(), 1.0f);
        step.tap->gates(step.layer, step.first_position, tokens, m_spec.heads, decay.data(),
                        beta.data());
    }
};

} // namespace

Result<std::unique_ptr<TokenMixer>> make_lightning(const TokenMixerSpec& spec,
                                                   const MixerContext& context) {
    const auto& s = std::get<LightningSpec>(spec);
    const std::int64_t channels = s.heads * s.head_dim;
    if (s.norm_groups < 1 || channels % s.norm_groups != 0) {
        return Error{ErrorCode::Corrupt,
                     context.prefix + ": " + std::to_string(channels) +
                         " channels do not divide into " + std::to_string(s.norm_groups) +
                         " groups to norm",
                     {}};
    }
    HS_ASSERT(!s.qk_norm || !s.qkv_per_head);
    auto mixer = std::make_unique<Lightning>();
    mixer->m_spec = s;
    mixer->m_eps = static_cast<float>(context.norm_eps);
    mixer->m_norm_eps = static_cast<float>(s.norm_eps > 0 ? s.norm_eps : context.norm_eps);
    mixer->m_qkv = TRY(context.matrix("qkv", 3 * channels, context.hidden));
    mixer->m_gate = TRY(context.matrix("gate", channels, context.hidden));
    mixer->m_out = TRY(context.matrix("out", context.hidden, channels));
    mixer->m_norm = TRY(context.vector("norm", channels));
    if (s.qk_norm) {
        mixer->m_q_norm = TRY(context.vector("q_norm", s.head_dim));
        mixer->m_k_norm = TRY(context.vector("k_norm", s.head_dim));
    }
    const std::vector<float> rates = lightning_decay_rates(s);
    for (const float rate : rates) {
        mixer->m_decay.push_back(std::exp(-rate));
    }
    mixer->m_decay_rates = TRY(context.weights->constants(rates));
    if (s.rope.dims > 0) {
        mixer->m_rope = make_rope_table(s.rope);
    }
    return std::unique_ptr<TokenMixer>(std::move(mixer));
}

} // namespace hs
