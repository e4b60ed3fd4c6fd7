// A mixture of experts: a router chooses top_k of them for each token; a shared expert, where there
// is one, takes part always.

#include "engine/mixers/mixers.h"

#include <array>

namespace hs {
namespace {

class Moe final : public ChannelMixer {
public:
    MoeSpec m_spec;
    Weight m_router;
    const float* m_router_bias = nullptr;
    const float* m_choice_bias = nullptr;
    std::vector<Weight> m_gate, m_up, m_down; // one per expert
    std::vector<const float*> m_gate_bias, m_up_bias, m_down_bias;
    Weight m_latent_down, m_latent_up;
    std::span<const float> m_latent_norm;
    float m_eps = 1e-6f;
    Weight m_shared_gate, m_shared_up, m_shared_down, m_shared_switch;

    void forward(Backend& backend, View<const float, 2> x, const Step& step,
                 View<float, 2> out) const override {
        const std::int64_t tokens = x.extent[0];
        const View<float, 2> scores = backend.scratch(tokens, m_spec.experts);
        const Product route{m_router, scores, m_router_bias};
        backend.matmul(x, {&route, 1});
        View<const float, 2> in = x;
        View<float, 2> sum = out;
        if (m_spec.latent > 0) {
            const View<float, 2> narrow = backend.scratch(tokens, m_spec.latent);
            backend.matmul(x, m_latent_down, narrow);
            in = narrow;
            sum = backend.scratch(tokens, m_spec.latent);
        }
        MoeOp op;
        op.spec = m_spec;
        op.x = in;
        op.scores = scores;
        op.choice_bias = m_choice_bias;
        op.gate = m_gate;
        op.up = m_up;
        op.down = m_down;
        op.gate_bias = m_gate_bias;
        op.up_bias = m_up_bias;
        op.down_bias = m_down_bias;
        op.out = sum;
        const bool tapped = step.tap != nullptr && step.tap->experts;
        if (tapped) {
            // An id takes the room of a float.
            static_assert(sizeof(std::int32_t) == sizeof(float));
            op.chosen_out =
                reinterpret_cast<std::int32_t*>(backend.scratch(tokens, m_spec.top_k).data);
        }
        backend.moe(op);
        if (tapped) {
            std::vector<std::int32_t> chosen(static_cast<std::size_t>(tokens * m_spec.top_k));
            backend.copy_out(std::as_writable_bytes(std::span(chosen)),
                             reinterpret_cast<const std::byte*>(op.chosen_out));
            step.tap->experts(step.layer, step.first_position, tokens, m_spec.top_k, chosen.data());
        }
        if (m_spec.latent > 0) {
            if (m_spec.latent_norm) {
                backend.rms_norm(sum, m_latent_norm, m_eps, sum);
            }
            backend.matmul(sum, m_latent_up, out);
        }
        if (m_spec.shared_intermediate > 0) {
            add_shared(backend, x, out);
        }
    }

private:
    void add_shared(Backend& backend, View<const float, 2> x, View<float, 2> out) const {
        const std::int64_t tokens = x.extent[0];
        const View<float, 2> gate = backend.scratch(tokens, m_spec.shared_intermediate);
        const View<float, 2> up = backend.scratch(tokens, m_spec.shared_intermediate);
        const std::array<Product, 2> products{
            {{m_shared_gate, gate, nullptr}, {m_shared_up, up, nullptr}}};
        backend.matmul(x, products);
        backend.glu(m_spec.glu, gate, up, gate);
        const View<float, 2> shared = backend.scratch(tokens, out.extent[1]);
        backend.matmul(gate, m_shared_down, shared);
        if (m_spec.shared_gate) {
            const View<float, 2> strength = backend.scratch(tokens, 1);
            backend.matmul(x, m_shared_switch, strength);
            backend.sigmoid_scale_rows(shared, strength);
        }
        backend.add(out, shared);
    }
};

} // namespace

Result<std::unique_ptr<ChannelMixer>> make_moe(const ChannelMixerSpec& spec,
                                               const MixerContext& context) {
    const auto& s = std::get<MoeSpec>(spec);
    if (s.top_k < 1 || s.top_k > s.experts) {
        return Error{ErrorCode::Corrupt,
                     context.prefix + ": expected 1 to " + std::to_string(s.experts) +
                         " experts per token, found " + std::to_string(s.top_k),
                     {}};
    }
    auto mixer = std::make_unique<Moe>();
    mixer->m_spec = s;
    mixer->m_eps = static_cast<float>(context.norm_eps);
    if (s.groups < 1 || s.experts % s.groups != 0 || s.groups_kept < 1 ||
        s.groups_kept > s.groups || s.groups_kept * (s.experts / s.groups) < s.top_k) {
        return Error{ErrorCode::Corrupt,
                     context.prefix + ": " + std::to_string(s.experts) + " experts in " +
                         std::to_string(s.groups) + " groups, " + std::to_string(s.groups_kept) +
                         " kept, cannot give " + std::to_string(s.top_k) + " per token",
                     {}};
    }
    mixer->m_router = TRY(context.matrix("router", s.experts, context.hidden));
    if (s.router_bias) {
        mixer->m_router_bias = TRY(context.vector("router_bias", s.experts)).data();
    }
    const std::int64_t width = s.latent > 0 ? s.latent : context.hidden;
    if (s.latent > 0) {
        mixer->m_latent_down = TRY(context.matrix("latent.down", s.latent, context.hidden));
        mixer->m_latent_up = TRY(context.matrix("latent.up", context.hidden, s.latent));
        if (s.latent_norm) {
            mixer->m_latent_norm = TRY(context.vector("latent.norm", s.latent));
        }
    }
    if (s.choice_bias) {
        mixer->m_choice_bias = TRY(context.vector("choice_bias", s.experts)).data();
    }
    for (std::int64_t e = 0; e < s.experts; ++e) {
        const std::string expert = "experts." + std::to_string(e) + ".";
        mixer->m_gate.push_back(TRY(context.matrix(expert + "gate", s.intermediate, width)));
        mixer->m_up.push_back(TRY(context.matrix(expert + "up", s.intermediate, width)));
        mixer->m_down.push_back(TRY(context.matrix(expert + "down", width, s.intermediate)));
        if (s.expert_bias) {
            mixer->m_gate_bias.push_back(
                TRY(context.vector(expert + "gate_bias", s.intermediate)).data());
            mixer->m_up_bias.push_back(
                TRY(context.vector(expert + "up_bias", s.intermediate)).data());
            mixer->m_down_bias.push_back(TRY(context.vector(expert + "down_bias", width)).data());
        }
    }
    if (s.shared_intermediate > 0) {
        mixer->m_shared_gate =
            TRY(context.matrix("shared.gate", s.shared_intermediate, context.hidden));
        mixer->m_shared_up =
            TRY(context.matrix("shared.up", s.shared_intermediate, context.hidden));
        mixer->m_shared_down =
            TRY(context.matrix("shared.down", context.hidden, s.shared_intermediate));
        if (s.shared_gate) {
            mixer->m_shared_switch = TRY(context.matrix("shared_gate", 1, context.hidden));
        }
    }
    return std::unique_ptr<ChannelMixer>(std::move(mixer));
}

} // namespace hs
